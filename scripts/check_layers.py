#!/usr/bin/env python3
"""Checks what the folder list promises: check_layers.py [root]

Includes point one way (fs -> lsm -> io -> io/base), folders form no cycle, each foreign library has
one home, and names that we replaced by better ones do not come back. Every message says what to do
instead. Prints `file:line: problem; remedy` and exits 1 if there is any.
"""

import pathlib
import re
import sys

LAYERS = ["io/base", "io", "lsm", "fs", "tests"]  # Each may use itself and everything before it.

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# (include, where it may appear, remedy)
LIBRARIES = [
    (r"(fuse3?/.*|fuse\.h|fuse_\w+\.h|cuse_\w+\.h|linux/fuse\.h)", r"fs/fuse/",
     "only fs/fuse/ speaks FUSE; give it a FUSE-free interface and call that"),
    (r"liburing.*", r"(tests/)?io/uring|tests/posix/io_uring",
     "only io/uring* drives a ring; use io::Storage"),
    (r"(zstd.*|zdict)\.h", r"lsm/compression\.|tests/lsm/db_values_test", "use lsm/compression.h"),
    (r"spdlog/.*", r"io/base/log\.", "log with io/base/log.h"),
    (r"(gtest|gmock)/.*", r"tests/", "test hooks never live in shipped code"),
]

# (name, where it may appear, remedy). Comments and string literals are not searched.
NAMES = [
    (r"std::(recursive_|timed_|recursive_timed_|shared_|shared_timed_)?mutex\b", r"io/base/mutex\.h|tests/bench/",
     "use io::Mutex or io::SharedMutex (io/base/mutex.h), which clang can check"),
    (r"std::(lock_guard|unique_lock|scoped_lock|shared_lock)\b", r"io/base/mutex\.h|tests/bench/",
     "use io::MutexLock and its siblings (io/base/mutex.h), which clang can check"),
    (r"std::condition_variable(_any)?\b", r"io/base/mutex\.h|tests/bench/",
     "use io::CondVar (io/base/mutex.h), which clang can check"),
    (r"(?<![\w.:>])s?rand(_r)?\s*\(|std::s?rand\b|std::random_device\b|std::mt19937(_64)?\b",
     r"io/base/random\.|tests/bench/", "use io::Random (io/base/random.h), so that a seed replays"),
    (r"\bsystem_clock\b|(?<![\w.:>])gettimeofday\s*\(", r"io/base/clock\.|io/base/mutex\.h|tests/bench/",
     "take an io::Clock (io/base/clock.h), so that tests can set the time"),
    (r"std::cout\b", r"fs/cli/|fs/main\.cc|tests/bench/",
     "log with io/base/log.h, or return the text to fs/cli/"),
    (r"\bmemcpy\s*\([^;]*\bsizeof\s*\(\s*(const\s+)?(\w+::)*[A-Z]\w*[a-z]\w*\s*\)", r"^$",
     "encode and decode field by field with io/base/coding.h"),
    (r"^\s*using\s+namespace\b", r"^$", "name what you use, or qualify it"),
]

# Searched in comments as well: that is where it hides.
MARKS = [(r"\bFIXME\b", r"^$", "fix it, or write down as a sentence what is missing and why")]


def layer_of(path):
    """The layer of a rooted path, or None: io/base/x.h -> io/base, io/x.h -> io."""
    if path.startswith("io/base/"):
        return "io/base"
    top = path.split("/", 1)[0]
    return top if top in LAYERS else None


def node_of(path):
    """What may not be in a cycle: a subfolder as a whole, or a header with its source at the top.

    Files at the top of a layer are many small components (lsm/key is far below lsm/db), so each
    stands for itself. A layer's subfolders are named two deep: lsm/compaction/remote is its own.
    """
    parts = path.split("/")
    return "/".join(parts[:-1]) if len(parts) > 2 else path.rsplit(".", 1)[0]


def blank(match):
    """Keeps the line numbers of what is removed."""
    text = match.group(0)
    return ("/" if text.startswith("/") else '""') + "\n" * text.count("\n")


CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^\s()\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL)


def code_only(text):
    """`text` without comments and literals. A ' inside a number, as in 10'000, is no literal."""
    return CODE.sub(blank, re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", text))


def search(lines, rules, path):
    for number, line in enumerate(lines, 1):
        for name, allowed, remedy in rules:
            found = re.search(name, line)
            if found and not re.match(allowed, path):
                yield f"{path}:{number}: {found.group(0).strip()} is banned here; {remedy}"


def check_include(path, number, quote, target):
    where = f"{path}:{number}"
    for name, allowed, remedy in LIBRARIES:
        if re.fullmatch(name, target) and not re.match(allowed, path):
            yield f"{where}: includes <{target}>; {remedy}"
    if quote != '"':
        return
    target_layer = layer_of(target)
    if target_layer is None:
        yield f'{where}: includes "{target}"; use a path from the root, and <> for others\' headers'
    elif LAYERS.index(target_layer) > LAYERS.index(layer_of(path)):
        yield (f'{where}: {layer_of(path)} includes "{target}" of {target_layer}; includes point '
               "down (fs -> lsm -> io -> io/base): pass it in, or move the shared part down")
    elif path.startswith("tests/bench/fs_bench"):
        yield f'{where}: includes "{target}"; fs_bench measures from outside and uses nothing of ours'


def cycles(edges):
    """Groups of nodes that reach each other (Tarjan's strongly connected components)."""
    index, low, stack, groups = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(edges.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                groups.append(sorted(stack[at:]))
            del stack[at:]

    sys.setrecursionlimit(10_000)
    for node in sorted(edges):
        if node not in index:
            visit(node)
    return groups


def check(root):
    problems, edges = [], {}
    for top in ("io", "lsm", "fs", "tests"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".h", ".cc"):
                continue
            path = file.relative_to(root).as_posix()
            text = file.read_text(encoding="utf-8")
            lines = text.split("\n")
            for number, line in enumerate(lines, 1):
                include = INCLUDE.match(line)
                if not include:
                    continue
                problems += check_include(path, number, *include.groups())
                source, target = node_of(path), node_of(include.group(2))
                if include.group(1) == '"' and source != target and top != "tests":
                    edges.setdefault(source, {}).setdefault(target, f"{path}:{number}")
            problems += search(code_only(text).split("\n"), NAMES, path)
            problems += search(lines, MARKS, path)
            if file.suffix == ".h" and "#pragma once" not in text and "extern \"C\"" not in text:
                problems.append(f"{path}:1: no #pragma once; every header starts with it")
    for group in cycles(edges):
        places = sorted(place for source in group for target, place in edges[source].items()
                        if target in group)
        problems.append(f"{places[0]}: {' and '.join(group)} include each other (at "
                        f"{', '.join(places)}); move what both need into one below them")
    return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1])
    problems = check(root)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
