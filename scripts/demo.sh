#!/usr/bin/env bash
# Shows TerraceFS at work: builds it, mounts a new store, copies a source tree in, deletes half of
# it, compacts, and shows the numbers. Leaves nothing behind but build/ and .deps/.
#
# demo.sh [FOLDER]   the folder to copy in; /usr/include if none is named
set -euo pipefail

source_folder=$(realpath "${1:-/usr/include}")
cd "$(dirname "$0")/.."

scripts/build.sh release terracefs
terracefs=$PWD/build/release/terracefs
if [[ ! -w /dev/fuse ]]; then
  echo "demo.sh: needs /dev/fuse, and this user may not open it" >&2
  exit 1
fi

work=$(mktemp -d)
store=$work/store
mountpoint=$work/mnt
cleanup() {
  # A mount that hangs must not keep the demo from ending: -z detaches it whatever it does.
  if mountpoint --quiet "$mountpoint"; then
    fusermount3 -u -z "$mountpoint" || true
  fi
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

mkdir "$mountpoint"
show "$terracefs" mkfs "$store"

show "$terracefs" mount "$store" "$mountpoint"
show cp -r "$source_folder" "$mountpoint/tree"
show diff -rq --no-dereference "$source_folder" "$mountpoint/tree"
show du -sh --apparent-size "$mountpoint/tree"
show cp -r "$mountpoint/tree" "$mountpoint/copy"
show rm -r "$mountpoint/tree"
show df -h "$mountpoint"
show "$terracefs" compact "$mountpoint"
show "$terracefs" stats "$mountpoint"
show diff -rq --no-dereference "$source_folder" "$mountpoint/copy"
show "$terracefs" umount "$mountpoint"
printf '\nThe store of %s on disk: ' "$source_folder"
du -sh "$store" | cut -f 1
