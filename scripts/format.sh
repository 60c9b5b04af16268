#!/usr/bin/env bash
# Formats every C++ file in place, or with --check reports the files that are not formatted.
# The version of clang-format is pinned, because another one lays out the same style differently.
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
for folder in io lsm fs tests; do
  [[ -d $folder ]] && folders+=("$folder")
done

clang_format() {
  find "${folders[@]}" \( -name '*.h' -o -name '*.cc' \) -print0 |
    xargs --null --no-run-if-empty --max-args=16 --max-procs="$(nproc)" clang-format-14 "$@"
}

case ${1:-} in
  "")
    clang_format -i
    ;;
  --check)
    # Which lines does not matter to anybody who can run the formatter; which files does.
    if ! report=$(clang_format --dry-run -Werror 2>&1); then
      grep --only-matching --extended-regexp '^[^ :]+:[0-9]+:[0-9]+: error' <<<"$report" |
        cut -d : -f 1 | sort | uniq --count || printf '%s\n' "$report"
      echo "these files are not formatted (with so many places); run scripts/format.sh"
      exit 1
    fi
    ;;
  *)
    echo "usage: format.sh [--check]" >&2
    exit 2
    ;;
esac
