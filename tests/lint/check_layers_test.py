#!/usr/bin/env python3
"""A lint that finds nothing looks like a clean tree, so each rule is shown something to find."""

import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # The source tree stays as it is.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import check_layers  # noqa: E402  The path above has to come first.


def problems_of(files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text if path.endswith(".cc") else "#pragma once\n" + text)
        return check_layers.check(root)


class CheckLayersTest(unittest.TestCase):
    def assert_clean(self, path, text):
        self.assertEqual(problems_of({path: text}), [])

    def assert_problem(self, path, text, expected):
        problems = problems_of({path: text})
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(expected, problems[0])
        self.assertTrue(problems[0].startswith(path + ":"), problems[0])
        self.assertIn("; ", problems[0], "a message names the remedy")

    def test_includes_may_point_down(self):
        self.assert_clean("fs/a.cc", '#include "lsm/db.h"\n#include "io/base/status.h"\n')
        self.assert_clean("lsm/a.cc", '#include "io/storage.h"\n')
        self.assert_clean("tests/fs/a_test.cc", '#include "fs/a.h"\n#include "tests/support/b.h"\n')

    def test_includes_may_not_point_up(self):
        for path, target in [("lsm/a.cc", "fs/a.h"), ("io/a.cc", "lsm/db.h"),
                             ("io/base/a.cc", "io/storage.h"), ("fs/a.cc", "tests/support/b.h")]:
            self.assert_problem(path, f'#include "{target}"\n', "includes point down")

    def test_includes_are_rooted(self):
        self.assert_problem("lsm/a.cc", '#include "db.h"\n', "path from the root")

    def test_each_library_has_one_home(self):
        for header, home in [("fuse3/fuse_lowlevel.h", "fs/fuse/session.cc"),
                             ("fuse_lowlevel.h", "fs/fuse/ops.h"), ("liburing.h", "io/uring.cc"),
                             ("liburing.h", "io/uring_storage.cc"),
                             ("zstd.h", "lsm/compression.cc")]:
            self.assert_clean(home, f"#include <{header}>\n")
            self.assert_problem("fs/a.cc", f"#include <{header}>\n", f"includes <{header}>")

    def test_folders_may_not_include_each_other(self):
        problems = problems_of({"lsm/table/a.h": '#include "lsm/wal/b.h"\n',
                                "lsm/wal/c.h": '#include "lsm/table/d.h"\n'})
        self.assertEqual(len(problems), 1, problems)
        self.assertIn("lsm/table and lsm/wal include each other", problems[0])

    def test_a_header_and_its_source_are_one(self):
        self.assertEqual(problems_of({"lsm/db.h": "", "lsm/db.cc": '#include "lsm/db.h"\n',
                                      "lsm/wal/a.h": '#include "lsm/key.h"\n'}), [])

    def test_banned_names(self):
        for code in ["std::mutex m;", "std::lock_guard l(m);", "std::condition_variable v;",
                     "int x = rand();", "std::mt19937_64 g;", "auto t = system_clock::now();",
                     "std::cout << 1;", "memcpy(to, &record, sizeof(Record));",
                     "  using namespace std;", "// FIXME"]:
            self.assert_problem("lsm/a.cc", f"int y;\n{code}\n", "lsm/a.cc:2: ")

    def test_banned_names_have_a_home(self):
        self.assert_clean("io/base/mutex.h", "std::mutex m;")
        self.assert_clean("io/base/clock.cc", "system_clock::now();")
        self.assert_clean("fs/cli/stats.cc", "std::cout << 1;")

    def test_look_alikes_are_fine(self):
        self.assert_clean("lsm/a.cc", "// not std::mutex\n/* rand()\n */ f(\"std::cout\");\n"
                          "operand(); random.rand(); memcpy(to, from, sizeof(uint64_t));\n"
                          "int n = 10'000; char c = '\"'; int m = 1'000;\n")

    def test_line_numbers_survive_comments(self):
        self.assert_problem("lsm/a.cc", "/* one\n two */\nstd::cout << 3;\n", "lsm/a.cc:3: ")

    def test_headers_are_guarded(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "io").mkdir()
            (root / "io/a.h").write_text("int f();\n")
            self.assertIn("no #pragma once", check_layers.check(root)[0])


if __name__ == "__main__":
    unittest.main()
