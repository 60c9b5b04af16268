#!/usr/bin/env bash
# Builds a static libfuse 3.18 or newer into OUTDIR/prefix: build_libfuse.sh OUTDIR
#
# Debian 12 ships libfuse 3.14, which cannot speak the kernel's io_uring transport. The source
# package `fuse3` of Debian's unstable suite can, so this script lets apt fetch and verify that
# source with a configuration of its own: the sources list, the state and the cache are all inside
# OUTDIR, nothing is written to /etc/apt, and nothing is installed system-wide.
#
# The second run finds the stamp and returns at once. On failure there is one line on stderr and a
# non-zero exit: the caller goes on with Debian 12's libfuse and without the io_uring transport.
set -euo pipefail

if (($# != 1)); then
  echo "usage: build_libfuse.sh OUTDIR" >&2
  exit 2
fi

readonly package=fuse3
readonly suite=unstable
readonly version_min=3.18
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# Part of the stamp, so that a change of how libfuse is built rebuilds it.
readonly recipe=3

fixes=$(cd "$(dirname "$0")" && pwd)/libfuse_uring_replies.patch
readonly fixes
mkdir -p "$1"
outdir=$(cd "$1" && pwd)
readonly outdir log="$outdir/build.log" stamp="$outdir/stamp" prefix="$outdir/prefix"

fail() {
  echo "io_uring transport not available: $1 (details: $log)" >&2
  exit 1
}

# Two builds in one checkout would tread on each other's state directory.
exec 9>"$outdir/lock"
flock 9

if [[ -f $stamp && $(head -n 1 "$stamp") == "recipe $recipe prefix $prefix" ]]; then
  exit 0
fi

: >"$log"
rm -rf "$outdir/apt" "$outdir/source" "$outdir/build" "$prefix" "$stamp"
mkdir -p "$outdir"/apt/{state/lists/partial,cache/archives/partial} "$outdir/source"
: >"$outdir/apt/status"

[[ -r $keyring ]] || fail "no $keyring to verify the source with"

# The machine already names a mirror of the Debian archive it may reach. Security and third-party
# archives do not carry unstable, so the Debian one is recognised by its own main suite.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016  # apt expands these, not the shell.
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' \
  2>>"$log" | awk -v suite="$codename" '$1 == suite && $2 ~ /\/debian\/?$/ { print $2; exit }')
[[ -n $mirror ]] || fail "apt on this machine knows no mirror of the Debian archive"

cat >"$outdir/apt/unstable.sources" <<SOURCES
Types: deb-src
URIs: $mirror
Suites: $suite
Components: main
Signed-By: $keyring
SOURCES

# APT_CONFIG is read before the machine's own settings, so proxies keep working. The options on the
# command line are read last and win: they move every path, and they insist on signatures and on
# hashes whatever the machine allows.
private_apt() {
  apt-get --quiet \
    -o Dir::Etc::SourceList="$outdir/apt/unstable.sources" \
    -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null \
    -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State="$outdir/apt/state" \
    -o Dir::State::status="$outdir/apt/status" \
    -o Dir::Cache="$outdir/apt/cache" \
    -o APT::Sandbox::User="$(id -un)" \
    -o APT::Update::Error-Mode=any \
    -o APT::Get::AllowUnauthenticated=false \
    -o Acquire::AllowInsecureRepositories=false \
    -o Acquire::AllowWeakRepositories=false \
    -o Acquire::Retries=2 \
    -o Acquire::http::Timeout=30 \
    -o Acquire::https::Timeout=30 \
    "$@" >>"$log" 2>&1 </dev/null
}

private_apt update || fail "the $suite suite could not be fetched or its signature not verified"
(cd "$outdir/source" && private_apt source --only-source --download-only "$package") ||
  fail "apt did not fetch the source package $package"

description=$(find "$outdir/source" -maxdepth 1 -name "${package}_*.dsc" | head -n 1)
[[ -n $description ]] || fail "apt fetched no description of $package"
version=$(awk '$1 == "Version:" { print $2; exit }' "$description")
dpkg --compare-versions "$version" ge "$version_min" ||
  fail "$suite has $package $version, and $version_min is needed"

# apt has checked every file against the signed index, so the maintainer's own signature, whose key
# may be in no keyring of Debian 12, adds nothing.
dpkg-source --no-check --extract "$description" "$outdir/source/tree" >>"$log" 2>&1 ||
  fail "the source of $package $version does not unpack"

# A version that the repair does not fit may have repaired itself, or not: that is for a person to
# see, and until then /dev/fuse serves.
patch --directory="$outdir/source/tree" --strip=1 --forward --input="$fixes" >>"$log" 2>&1 ||
  fail "$(basename "$fixes") does not fit $package $version"

# bindir is where libfuse looks for Debian's fusermount3; nothing is installed there (utils=false).
meson setup "$outdir/build" "$outdir/source/tree" \
  --prefix="$prefix" --libdir=lib --bindir=/usr/bin --buildtype=release --default-library=static \
  -Dexamples=false -Dtests=false -Dutils=false -Denable-io-uring=true >>"$log" 2>&1 ||
  fail "meson does not accept $package $version"
grep --quiet --extended-regexp '#define HAVE_URING( 1)?$' "$outdir/build/fuse_config.h" ||
  fail "$package $version was configured without io_uring"
ninja -C "$outdir/build" install >>"$log" 2>&1 || fail "$package $version does not compile"

printf 'recipe %s prefix %s\n%s %s\n' "$recipe" "$prefix" "$package" "$version" >"$stamp"
# The apt state is large and of no more use; the source stays for reading in a debugger.
rm -rf "$outdir/apt" "$outdir/build"
echo "build_libfuse.sh: built $package $version"
