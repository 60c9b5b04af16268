#!/usr/bin/env bash
# Each header of io, lsm, fs and tests/support compiles alone: check_headers.sh [header ...]
#
# A header that leans on what its users happen to include breaks when they stop including it. Every
# header gets a source of its own that includes nothing else, and that is compiled without warnings.
set -euo pipefail
cd "$(dirname "$0")/.."

if (($# > 0)); then
  headers=("$@")
else
  folders=()
  for folder in io lsm fs tests/support; do
    [[ -d $folder ]] && folders+=("$folder")
  done
  mapfile -t headers < <(find "${folders[@]}" -name '*.h' | sort)
fi

# The sources have fixed names below build/ and are compiled rather than only parsed, because that
# is what ccache can remember: an unchanged header then costs milliseconds.
work=build/check_headers
mkdir -p "$work"
compile=(g++ -std=c++20 -O0 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I.)
if [[ -d .deps/libfuse/prefix/include ]]; then
  compile+=(-isystem .deps/libfuse/prefix/include -isystem .deps/libfuse/prefix/include/fuse3)
else
  compile+=(-isystem /usr/include/fuse3)
fi
if command -v ccache >/dev/null; then
  compile=(ccache "${compile[@]}")
fi

check() {
  local header=$1 work=$2
  shift 2
  local source
  source="$work/${header//\//__}.cc"
  echo "#include \"$header\"" >"$source"
  if ! "$@" -c "$source" -o "$source.o"; then
    echo "$header does not compile alone: include in it what it uses" >&2
    return 1
  fi
}
export -f check

if ! printf '%s\0' "${headers[@]}" |
  xargs --null --no-run-if-empty --max-procs="$(nproc)" -I{} \
    bash -c 'check "$@"' check {} "$work" "${compile[@]}"; then
  exit 1
fi
echo "${#headers[@]} headers compile alone"
