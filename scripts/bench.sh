#!/usr/bin/env bash
# Compares TerraceFS with bindfs and with ext4 itself: bench.sh [option of fs_bench]...
#
# Builds the release preset, then lets fs_bench make, mount, measure and unmount everything in a
# temporary folder of its own, and prints its table. The sizes are fs_bench's defaults: 10,000 small
# files, one file of 1 GiB, 3 rounds. BENCH_DIR says on which disk (default: /var/tmp); it should be
# ext4 with 10 GiB free. Only root can drop the kernel's caches: for others the cold rows are warm.
set -euo pipefail

# No cd: paths among the arguments, such as that of --json, are the caller's.
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/build.sh" release

# exec, so that a signal reaches the program that has to unmount.
exec "$root/build/release/tests/fs_bench" --setup "${BENCH_DIR:-/var/tmp}" \
  --terracefs "$root/build/release/terracefs" "$@"
