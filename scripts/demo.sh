#!/usr/bin/env bash
# Shows TerraceFS at work: builds it, mounts a new store, copies a source tree in, deletes half of
# it, compacts, and shows the numbers. Leaves nothing behind but build/ and .deps/.
#
# demo.sh [FOLDER]   the folder to copy in; /usr/include if none is named
set -euo pipefail

source_folder=$(realpath "${1:-/usr/include}")
cd "$(dirname "$0")/.."

scripts/build.sh release
terracefs=$PWD/build/release/terracefs
if [[ ! -w /dev/fuse ]]; then
  echo "demo.sh: needs /dev/fuse, and this user may not open it" >&2
  exit 1
fi

work=$(mktemp -d)
store=$work/store
mountpoint=$work/mnt
daemon=
cleanup() {
  # A mount that hangs must not keep the demo from ending: -z detaches it whatever it does.
  if mountpoint --quiet "$mountpoint"; then
    fusermount3 -u -z "$mountpoint" || true
  fi
  if [[ -n $daemon ]]; then
    wait "$daemon" 2>/dev/null || true
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

printf '\n$ %s mount %s %s\n' "$terracefs" "$store" "$mountpoint"
# Whether `mount` stays in the foreground or returns once mounted, this waits for the mount itself.
"$terracefs" mount "$store" "$mountpoint" &
daemon=$!
for ((attempt = 0; attempt < 100; attempt++)); do
  mountpoint --quiet "$mountpoint" && break
  sleep 0.1
done
mountpoint --quiet "$mountpoint" || {
  echo "demo.sh: not mounted after 10 seconds" >&2
  exit 1
}

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
wait "$daemon"
daemon=
printf '\nThe store of %s on disk: ' "$source_folder"
du -sh "$store" | cut -f 1
