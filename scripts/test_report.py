#!/usr/bin/env python3
"""Reads the JUnit reports that ctest writes, for test.sh.

test_report.py REPORT.xml       prints what failed, with its output, and what was skipped, with its
                                reason, then the numbers of this report
test_report.py --total FOLDER   adds up all reports in FOLDER and the lines of FOLDER/broken; its
                                last line is `N passed, N failed, N skipped`, and it exits with 1
                                if anything failed or nothing ran
"""

import pathlib
import re
import sys
import xml.etree.ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

# What XML 1.0 cannot hold. ctest copies a test's output as it is, control characters included.
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def cases(report):
    """Yields (name, outcome, reason or output) of every case in the file `report`."""
    text = NOT_XML.sub("?", report.read_text(encoding="utf-8", errors="replace"))
    for case in xml.etree.ElementTree.fromstring(text).iter("testcase"):
        name, status = case.get("name"), case.get("status")
        output = case.findtext("system-out") or ""
        if status == "run":
            yield name, PASSED, ""
            continue
        if status == "disabled":
            yield name, SKIPPED, "disabled in the source"
            continue
        message = ""
        for kind in ("failure", "skipped"):
            if case.find(kind) is not None:
                message = case.find(kind).get("message") or ""
        # Only a test that asked to be skipped was skipped. One that could not be started, because
        # its executable is missing for example, is "notrun" as well, and that is a failure.
        if status == "notrun" and message.startswith("SKIP_"):
            yield name, SKIPPED, skip_reason(output)
        else:
            if "[ RUN      ]" in output and "[  FAILED  ]" not in output:
                message += "(ended without a verdict: it crashed, or ran out of time)"
            yield name, FAILED, f"{output}\n{message}".strip()


def coverage(report):
    """Yields (name, lines) of the tables that posix_test prints."""
    text = NOT_XML.sub("?", report.read_text(encoding="utf-8", errors="replace"))
    for case in xml.etree.ElementTree.fromstring(text).iter("testcase"):
        if case.get("name").startswith("posix."):
            output = (case.findtext("system-out") or "").splitlines()
            yield case.get("name"), [x for x in output if x.startswith(("| ", "posix "))]


def skip_reason(output):
    """What GTEST_SKIP() << "..." printed: the line after `file:line: Skipped`."""
    found = re.search(r": Skipped\n+([^\n\[]+)", output)
    return found.group(1).strip() if found else "no reason given"


def count(results):
    numbers = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    for _, outcome, _ in results:
        numbers[outcome] += 1
    return numbers


def line(numbers):
    return ", ".join(f"{numbers[outcome]} {outcome}" for outcome in (PASSED, FAILED, SKIPPED))


def print_report(report):
    results = list(cases(report))
    for name, outcome, text in results:
        if outcome == FAILED:
            print(f"---- FAILED {name}\n{text}\n")
    for name, outcome, text in results:
        if outcome == SKIPPED:
            print(f"**** SKIPPED {name}: {text}")
    for name, outcome, _ in results:
        if outcome == FAILED:
            print(f"FAILED {name}")
    # All modes cover the same calls: one table in full, of the others the sum.
    for i, (_, lines) in enumerate(coverage(report)):
        print("\n".join(lines if i == 0 else lines[-1:]))
    # Not in the form of the closing line, which says the sum and stands alone.
    print(f"this run: {line(count(results))}")


def print_total(folder):
    failures, skips, numbers = [], [], {PASSED: 0, FAILED: 0, SKIPPED: 0}
    for report in sorted(folder.glob("*.xml"), key=lambda path: int(path.name.split("-")[0])):
        results = list(cases(report))
        preset = report.stem.split("-", 1)[1]
        for outcome, number in count(results).items():
            numbers[outcome] += number
        failures += [f"{preset}: {name}" for name, outcome, _ in results if outcome == FAILED]
        skips += [f"{preset}: {name}: {text}" for name, outcome, text in results
                  if outcome == SKIPPED]
    broken = folder / "broken"
    if broken.exists():
        lines = broken.read_text().splitlines()
        failures += lines
        numbers[FAILED] += len(lines)
    for skip in skips:
        print(f"**** SKIPPED {skip}")
    for failure in failures:
        print(f"FAILED {failure}")
    if numbers[PASSED] + numbers[FAILED] == 0:
        print("no test ran")
    print(line(numbers))
    return 0 if numbers[PASSED] > 0 and numbers[FAILED] == 0 else 1


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--total":
        sys.exit(print_total(pathlib.Path(sys.argv[2])))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print_report(pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
