# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what the runner makes of scenarios and of the lines of a guest.

python3 -m unittest qemu.runner.test_runner, from the top of the tree
"""

import re
import threading
import time
import unittest

from . import kernels, matrix, paths, scenario, schedule
from .guest import Guest, Line
from .scenario import Scenario
from .verdict import Verdict, judge, report

TESTS = [
    "=== stage 1 begin", "# run one", "TAP version 13", "1..2", "ok 1 a",
    "ok 2 b # SKIP no swap", "RESULT pass one", "=== stage 1 kexec",
    "=== stage 2 begin", "RESULT pass two", "=== stage 2 end 0",
]


class FakeGuest:
    """A guest that has ended."""

    def __init__(self, tests, console=(), timed_out=False, **options):
        self.scenario = Scenario("fake", **{"stages": 2, **options})
        self.lines = {"tests": list(tests), "console": list(console)}
        self.duration = 1.0
        self.timed_out = timed_out
        self.witness = None
        self.forger = None

    def text(self, port):
        """The lines of a port."""
        return self.lines[port]

    def log(self, port):
        """The path of a log."""
        return f"/runs/fake/{port}.log"


class Documents(unittest.TestCase):
    """What the documents quote is what is built."""

    def test_the_example_of_a_handler_is_the_one_that_is_built(self):
        source = paths.SELFTESTS / "test_modules" / "example" / "counter.c"
        code = source.read_text(encoding="utf-8")
        page = (paths.TOP / "docs" / "handlers.md").read_text(encoding="utf-8")
        self.assertIn(f"```c\n{code}```\n", page)
        self.assertLessEqual(len(code.splitlines()), 80)

    def test_the_example_in_rust_is_part_of_what_is_built(self):
        source = paths.SELFTESTS / "test_modules" / "memo" / "memo_rs.rs"
        code = source.read_text(encoding="utf-8")
        page = (paths.TOP / "docs" / "handlers.md").read_text(encoding="utf-8")
        examples = [block for block in re.findall(r"```rust\n(.*?)```\n", page, re.S)
                    if "impl " in block]
        self.assertEqual(1, len(examples))
        self.assertIn(examples[0], code)


class Judging(unittest.TestCase):
    """A guest passes only if everything in its lines says so."""

    def counts(self, *arguments, **options):
        verdict = judge(FakeGuest(*arguments, **options))
        return (verdict.counts.passed, verdict.counts.failed,
                verdict.counts.skipped), verdict.problems

    def test_a_run_without_problems_passes(self):
        self.assertEqual(((2, 0, 1), []), self.counts(TESTS))

    def test_a_failed_case_fails(self):
        lines = [line.replace("ok 1 a", "not ok 1 a") for line in TESTS]
        self.assertEqual(1, self.counts(lines)[0][1])

    def test_a_program_that_stops_before_its_plan_fails(self):
        lines = [line for line in TESTS if line != "ok 1 a"]
        self.assertEqual(["one: 1 results for 2 tests"], self.counts(lines)[1])

    def test_a_failed_program_without_cases_is_one_failure(self):
        lines = [line.replace("pass two", "fail two") for line in TESTS]
        self.assertEqual(1, self.counts(lines)[0][1])

    def test_a_stage_without_a_kexec_fails(self):
        lines = [line for line in TESTS if line != "=== stage 1 kexec"]
        self.assertEqual(["stage 1 did not reach '=== stage 1 kexec'"],
                         self.counts(lines)[1])

    def test_a_stage_that_does_not_begin_fails(self):
        self.assertEqual(["stage 2 did not begin"], self.counts(TESTS[:8])[1])

    def test_a_stage_without_a_result_fails(self):
        lines = [line for line in TESTS if line != "RESULT pass two"]
        self.assertEqual(["stage 2 has no result"], self.counts(lines)[1])

    def test_a_last_stage_that_ends_with_a_failure_fails(self):
        lines = [line.replace("end 0", "end 1") for line in TESTS]
        self.assertEqual(1, self.counts(lines)[0][1])

    def test_a_timeout_fails(self):
        self.assertEqual(["timeout after 1 s"],
                         self.counts(TESTS, timed_out=True)[1])

    def test_a_warning_of_the_kernel_fails_unless_it_is_allowed(self):
        log = ["[    1.0] WARNING: CPU: 0 at mm/page_alloc.c:1"]
        self.assertEqual(1, self.counts(TESTS, log)[0][1])
        self.assertEqual(0, self.counts(TESTS, log, allow="page_alloc")[0][1])

    def test_a_line_that_the_log_must_have_and_lacks_fails(self):
        tests = [*TESTS, "# the kernel log must match: in [45] pieces"]
        self.assertEqual(1, self.counts(tests, ["in 6 pieces"])[0][1])
        self.assertEqual(0, self.counts(tests, ["in 4 pieces"])[0][1])

    def test_healthy_lines_with_bad_words_pass(self):
        log = ["[    1.0] Spectre V2 : WARNING: nothing to see"]
        self.assertEqual(0, self.counts(TESTS, log)[0][1])

    def test_kunit_counts_cases_and_not_suites(self):
        log = ["[    1.0]     ok 1 case", "[    1.0] ok 1 suite"]
        self.assertEqual(3, self.counts(TESTS, log, kunit=True)[0][0])

    def test_kunit_that_did_not_run_fails(self):
        self.assertEqual(["no KUnit suite ran"],
                         self.counts(TESTS, kunit=True)[1])

    def test_the_report_of_a_failure_has_the_log(self):
        guest = FakeGuest(TESTS[:8], ["the last line"])
        self.assertIn("the last line", report(judge(guest), guest))


class Scenarios(unittest.TestCase):
    """What scenarios.toml and kexec_*.c describe."""

    def setUp(self):
        self.found = scenario.find()

    def test_every_script_exists(self):
        for run in self.found.values():
            path = scenario.paths.SCENARIOS / f"{run.script}.sh"
            self.assertTrue(path.exists(), run.name)

    def test_every_kernel_is_in_the_table(self):
        known = set(kernels.table())
        for run in self.found.values():
            self.assertLessEqual(set(run.kernels), known, run.name)

    def test_no_value_of_the_environment_has_blanks(self):
        for run in self.found.values():
            for value in run.environment.values():
                self.assertEqual(1, len(value.split()), run.name)

    def test_a_debug_variant_runs_on_the_debug_kernel(self):
        run = self.found["module_debug"]
        self.assertEqual([kernels.DEBUG], run.kernels)
        self.assertIn("kho_scratch=", run.cmdline)

    def test_handovers_go_from_each_kernel_to_each(self):
        pairs = {run.pair for run in self.found.values() if run.pair}
        self.assertEqual(len(kernels.names()) ** 2, len(pairs))


class Schedule(unittest.TestCase):
    """Jobs wait for their kernels, and for nothing else."""

    def setUp(self):
        self.built = threading.Event()
        self.order = []
        original = schedule.subprocess.call
        schedule.subprocess.call = self.build
        self.addCleanup(setattr, schedule.subprocess, "call", original)

    def build(self, command):
        """Build a kernel: it takes until a job that needs none has ended."""
        self.built.wait(5)
        time.sleep(0.05)
        self.order.append(command[-1])
        return 0

    def job(self, name, needed=()):
        def run():
            self.order.append(name)
            if not needed:
                self.built.set()
            return name
        return schedule.Job(needed, run)

    def test_a_job_runs_after_its_kernel_and_others_before(self):
        jobs = [self.job("needs it", ["c-7.3"]), self.job("free")]
        done = list(schedule.run_all(jobs, 1, ["c-7.3"]))
        self.assertEqual(["free", "needs it"], done)
        self.assertEqual(["free", "c-7.3", "needs it"], self.order)

    def test_an_error_of_a_job_ends_the_run(self):
        def fail():
            raise OSError("no qemu")
        with self.assertRaises(OSError):
            list(schedule.run_all([schedule.Job((), fail)], 2))


class Restarts(unittest.TestCase):
    """What the runner starts again."""

    JUMP = "[    3.153982] kexec_core: Starting new kernel"

    def was_reset(self, *console, cpus=2, timed_out=False):
        """What a guest that ended with these lines says."""
        guest = Guest.__new__(Guest)
        guest.scenario = Scenario("fake", cpus=cpus)
        guest.timed_out = timed_out
        guest.lines = [Line(0.0, "console", text) for text in console]
        return guest.was_reset

    def test_a_reset_before_the_next_kernel_says_a_word(self):
        self.assertTrue(self.was_reset("boot", self.JUMP))

    def test_what_may_be_the_fault_of_a_kernel(self):
        self.assertFalse(self.was_reset())
        self.assertFalse(self.was_reset(self.JUMP, "Linux version"))
        self.assertFalse(self.was_reset(self.JUMP, cpus=1))
        self.assertFalse(self.was_reset(self.JUMP, timed_out=True))


class Matrix(unittest.TestCase):
    """The table of handovers."""

    def test_cells_and_reasons(self):
        good, bad = Verdict("a"), Verdict("b")
        good.counts.passed, good.counts.skipped = 7, 1
        good.reasons = ["C fills holes"]
        bad.problem("stage 2 did not begin")
        lines = matrix.lines_of([
            (Scenario("a", kernels=["x", "y"], pair=("x", "y")), good),
            (Scenario("b", kernels=["y", "y"], chain=True), bad)])
        self.assertTrue(any("ok (7, 1 left out)" in line for line in lines))
        self.assertTrue(any("FAIL (1 of 1)" in line for line in lines))
        self.assertIn("  left out: x -> y: C fills holes", lines)

    def test_a_run_without_handovers_has_no_table(self):
        self.assertEqual([], matrix.lines_of([(Scenario("a"), Verdict("a"))]))
