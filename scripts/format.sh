#!/usr/bin/env bash
# Formats every C++ file in place, or with --check reports the files that are not formatted.
# The version of clang-format is pinned, because another one lays out the same style differently.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  "") mode=(-i) ;;
  --check) mode=(--dry-run -Werror) ;;
  *)
    echo "usage: format.sh [--check]" >&2
    exit 2
    ;;
esac

folders=()
for folder in io lsm fs tests; do
  [[ -d $folder ]] && folders+=("$folder")
done
if ! find "${folders[@]}" \( -name '*.h' -o -name '*.cc' \) -print0 |
  xargs --null --no-run-if-empty --max-args=16 --max-procs="$(nproc)" clang-format-14 "${mode[@]}"; then
  echo "format.sh: run scripts/format.sh, then commit the formatting" >&2
  exit 1
fi
