#!/usr/bin/env bash
# Builds TerraceFS from nothing: build.sh [preset [target...]], with a preset of CMakePresets.json and all
# targets if none is named.
#
# Installs what is missing, makes the newer libfuse if its source is within reach, configures and
# compiles into build/<preset>. What is done already costs next to nothing.
set -euo pipefail

preset=${1:-release}
shift $(($# > 0 ? 1 : 0))
cd "$(dirname "$0")/.."

scripts/install_deps.sh
if ! scripts/build_libfuse.sh .deps/libfuse; then
  # The script has said why. Without this libfuse everything works over /dev/fuse.
  echo "build.sh: going on with Debian's libfuse $(pkg-config --modversion fuse3)" >&2
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
grep -- '-- libfuse:' "$log" || true
cmake --build --preset "$preset" --parallel "$(nproc)" ${1:+--target "$@"}
