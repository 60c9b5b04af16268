#!/usr/bin/env bash
# Runs clang-tidy-14: tidy.sh [file.cc ...]. Without arguments, on every source of io, lsm and fs.
#
# It is minutes of work for the whole tree, so it is not part of the tests; run it on what a change
# touches. It uses the compile commands of the clang preset, whose flags clang-tidy understands.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_deps.sh
cmake --preset clang >/dev/null
if (($# > 0)); then
  sources=("$@")
else
  mapfile -t sources < <(find io lsm fs -name '*.cc' | sort)
fi
printf '%s\0' "${sources[@]}" |
  xargs --null --max-args=1 --max-procs="$(nproc)" clang-tidy-14 --quiet -p build/clang
