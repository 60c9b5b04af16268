#!/usr/bin/env bash
# Compares TerraceFS with bindfs and with ext4 itself: bench.sh [option of fs_bench]...
#
# Builds the release preset, then lets fs_bench make, mount, measure and unmount everything in a
# temporary folder, and prints its table. The sizes are fs_bench's own defaults: 10,000 small files,
# one file of 1 GiB, 3 rounds. BENCH_DIR says on which disk (default: /var/tmp); it should be ext4
# with about 8 GiB free. Only root can drop the kernel's caches; for others the cold rows are warm.
set -euo pipefail

# Paths among the arguments, such as --json FILE, are the caller's: no cd.
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/build.sh" release

work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/terracefs-bench.XXXXXX")
# rmdir, because fs_bench leaves it empty unless it failed; then stores and logs are worth a look,
# and after a failed unmount a recursive delete would reach into the mount.
trap 'rmdir "$work" || echo "bench.sh: left for inspection: $work" >&2' EXIT
# fs_bench handles ^C by itself. The shell has to outlive it to run the trap.
trap : INT TERM

"$root/build/release/fs_bench" --setup "$work" --terracefs "$root/build/release/terracefs" "$@"
