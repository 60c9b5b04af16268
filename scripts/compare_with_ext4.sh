#!/usr/bin/env bash
# Runs the same random operations on TerraceFS and on ext4 and compares everything they do:
#
#   compare_with_ext4.sh [--build DIR] [--transport dev|uring] [--writeback] [--inline-max SIZE]
#                        [option of fs_compare]...
#
# Options of fs_compare: --ops N, --processes P, --seed S, --only GROUPS, --without GROUPS ...
# Without --build it builds the release preset first. ext4 lives in a file of a temporary folder
# (COMPARE_DIR says where; default: /var/tmp). Needs root. Whatever happens, both are unmounted; after
# a difference the log and the store stay. Exits with 77 where this cannot run.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build='' transport=dev extra=''
arguments=()
while (($# > 0)); do
  case $1 in
    --build) build=$2 && shift ;;
    --transport) transport=$2 && shift ;;
    --writeback) extra+=,writeback ;;
    --inline-max) extra+=,inline_max=$2 && shift ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

skip() {
  echo "SKIPPED: compare_with_ext4.sh: $1" >&2
  exit 77
}
((EUID == 0)) || skip "needs root"
[[ -w /dev/fuse ]] || skip "no /dev/fuse"
PATH=$PATH:/usr/sbin:/sbin
command -v mkfs.ext4 >/dev/null || skip "no mkfs.ext4"

if [[ -z $build ]]; then
  "$root/scripts/build.sh" release terracefs fs_compare
  build=$root/build/release
fi

# For a daemon that hangs: all requests fail, so that whoever waits for them goes on and ends.
abort_terracefs() {
  local connection control
  connection=$(findmnt --noheadings --output MAJ:MIN "$work/terracefs" | tr -d " ")
  fusermount3 -u -z "$work/terracefs"
  control=$work/connections
  mkdir "$control" && mount -t fusectl none "$control" || return 0
  if [[ -e $control/${connection##*:}/abort ]]; then
    echo "compare_with_ext4.sh: the daemon did not unmount; its requests are aborted" >&2
    echo 1 >"$control/${connection##*:}/abort"
  fi
  umount "$control" && rmdir "$control"
}

work=$(mktemp -d "${COMPARE_DIR:-/var/tmp}/compare.XXXXXX")
loop=''
cleanup() {
  status=$?
  trap - EXIT INT TERM HUP
  set +e
  if findmnt "$work/terracefs" >/dev/null && ! timeout 60 "$build/terracefs" umount \
    "$work/terracefs" >/dev/null 2>&1; then
    abort_terracefs
  fi
  if mountpoint --quiet "$work/ext4"; then
    umount "$work/ext4" || umount -l "$work/ext4"
  fi
  if [[ -n $loop ]]; then
    losetup --detach "$loop"
  fi
  rm -f "$work/ext4.image"
  if ((status == 0 || status == 77)); then
    rm -rf --one-file-system "$work"
  else
    echo "compare_with_ext4.sh: store and log are in $work" >&2
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

mkdir "$work/terracefs" "$work/ext4"
truncate --size 32G "$work/ext4.image"
# Values of extended attributes may be as large as ours, and blocks are our pages.
mkfs.ext4 -q -F -b 4096 -O ea_inode "$work/ext4.image"
loop=$(losetup --find --show "$work/ext4.image" 2>/dev/null) || skip "no loop devices"
mount -t ext4 -o noatime,acl,user_xattr "$loop" "$work/ext4" || skip "cannot mount ext4"

options="allow_other,noatime,transport=$transport,log_file=$work/log$extra"
"$build/terracefs" mkfs "$work/store" >/dev/null
mount_command="'$build/terracefs' mount -o '$options' '$work/store' '$work/terracefs'"
bash -c "$mount_command"
chmod 755 "$work" "$work/terracefs"

set +e
"$build/tests/fs_compare" "$work/terracefs" "$work/ext4" \
  --remount "'$build/terracefs' umount '$work/terracefs' && $mount_command" "${arguments[@]}" &
child=$!
# A signal ends the wait, then the trap runs; fs_compare ends its own processes.
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 130' INT TERM HUP
wait "$child"
