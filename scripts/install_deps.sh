#!/usr/bin/env bash
# Installs everything that building, testing and checking TerraceFS needs on Debian 12.
#
# This is the only list of Debian packages in the project. When all of them are present the script
# asks apt nothing and returns at once, so every other script may call it first.
set -euo pipefail

packages=(
  # Compilers and build tools. Meson and dpkg-dev serve scripts/build_libfuse.sh.
  g++ clang-14 libclang-rt-14-dev cmake make ninja-build ccache pkg-config git meson dpkg-dev

  # The trust anchor for Debian's archives: the bookworm-updates version knows newer suites' keys.
  debian-archive-keyring ca-certificates

  # Libraries of the product. libudev-dev, libcap-dev and libnuma-dev are what libfuse looks for.
  libfuse3-dev fuse3 libudev-dev libcap-dev libnuma-dev
  liburing-dev libzstd-dev libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev

  # Tests, and the tools that end-to-end tests and benchmarks run on a mount or compare with it.
  libgtest-dev libgmock-dev libbenchmark-dev attr acl sqlite3 fio strace bindfs rsync
  e2fsprogs

  # Formatting and lints.
  clang-format-14 clang-tidy-14 shellcheck python3
)

missing=()
for package in "${packages[@]}"; do
  # dpkg-query fails for a package it never heard of, which is just another way of being missing.
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install_deps.sh: missing ${missing[*]}; run it as root, or install sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

apt_install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install \
    --yes --quiet --no-install-recommends "${missing[@]}"
}

echo "install_deps.sh: installing ${missing[*]}"
# The package lists on the machine may already be good enough. They are refreshed only when apt
# cannot do the job with them, because a refresh costs more than a small install. One source that
# is out of reach must not stop the others, so the install decides, not the refresh.
if ! apt_install; then
  "${as_root[@]}" apt-get update --quiet || true
  apt_install
fi
