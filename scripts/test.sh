#!/usr/bin/env bash
# Builds and runs the tests: test.sh [preset [label [seed]]]
#
#   test.sh                         all that CI runs: lints, the release build, every kind of test
#   test.sh asan                    one preset with the labels that CI runs on it
#   test.sh release property        one preset, one label (a regular expression: 'unit|crash')
#   test.sh release property 4711   replays the random tests with that seed
#
# A failure does not stop the rest. The last line is `N passed, N failed, N skipped` over all runs,
# where a build that fails counts as one failure. Exits 0 only if something ran and nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

if (($# > 3)) || [[ ${1:-} == -* ]]; then
  sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
  exit 2
fi

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
runs=0
export GTEST_COLOR=no CTEST_OUTPUT_ON_FAILURE=1
if [[ -n ${3:-} ]]; then
  export SEED=$3
fi

say() {
  printf '\n== %s (%dm%02ds)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

# One step that is no test has failed; it is counted like one.
broken() {
  echo "test.sh: $1" >&2
  echo "$1" >>"$results/broken"
}

build() {
  say "build $1"
  # shellcheck disable=SC2046 # targets are words
  scripts/build.sh "$1" $(targets_of "$1") || {
    broken "the $1 build failed"
    return 1
  }
}

# run PRESET LABELS: the tests whose label matches, in parallel where they allow it.
run() {
  runs=$((runs + 1))
  say "test $1: $2${SEED:+ with SEED=$SEED}"
  ctest --preset "$1" --label-regex "^($2)\$" --parallel "$(nproc)" --quiet \
    --output-junit "$results/$runs-$1.xml" --output-log "$results/$runs.log" >/dev/null 2>&1
  if [[ ! -s $results/$runs-$1.xml ]]; then
    broken "ctest of $1 ($2) left no report"
    tail -n 20 "$results/$runs.log" >&2
  else
    python3 scripts/test_report.py "$results/$runs-$1.xml"
  fi
}

labels_of() {
  case $1 in
    asan | tsan) echo 'unit|property|crash|regression' ;;
    clang) echo 'unit|regression' ;; # Most of what this build has to say, it says while compiling.
    *) echo 'lint|unit|regression|mount|bench' ;;
  esac
}

# What the labels above need; empty: everything.
targets_of() {
  case $1 in
    asan | tsan) echo 'io_test lsm_test fs_test property_test crash_test regression_test' ;;
    clang) echo 'terracefs io_test lsm_test fs_test regression_test' ;;
    *) ;;
  esac
}

if (($# > 0)); then
  labels=${2:-$(labels_of "$1")}
  build "$1" && run "$1" "$labels"
else
  build release && run release "$(labels_of release)"
  # The other runs repeat fixed seeds. This one looks somewhere new, and says where.
  SEED=${SEED:-$((RANDOM * 32768 + RANDOM))} run release 'property|crash'
  for preset in asan tsan clang; do
    build "$preset" && run "$preset" "$(labels_of "$preset")"
  done
fi

say "all runs"
python3 scripts/test_report.py --total "$results"
