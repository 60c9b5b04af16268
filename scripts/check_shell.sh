#!/usr/bin/env bash
# Every shell script parses and passes shellcheck.
set -euo pipefail
cd "$(dirname "$0")/.."
for script in scripts/*.sh .ci/run; do
  bash -n "$script"
done
shellcheck scripts/*.sh .ci/run
