# SPDX-License-Identifier: GPL-2.0-only
"""Whether the lines of a guest mean that its scenario passed.

Four things count: the KTAP and RESULT lines of the test port, the marks that
every stage must leave there, lines of the kernel log that report a bug, and
those that a program says it must have.
"""

import dataclasses
import re

from .witness import Testimony

# Words that a healthy kernel log does not have.
BAD_LOG = re.compile(
    r"WARN|BUG:|BUG |Oops|Call Trace|[Bb]ad page|\b[Ll]eak|"
    r"INFO: task .* blocked|possible circular|possible recursive|UBSAN|KASAN|"
    r"[Uu]nable to handle|soft lockup|Kernel panic|suspicious RCU|"
    r"inconsistent lock|general protection fault|rust_kernel: panicked|"
    r"INFO: trying to register|memory corruption|ODEBUG|refcount_t:|poison over|"
    r"(list_add|list_del) corruption|KHO: .*(fail|not)")
# Lines of a healthy kernel that have such words.
GOOD_LOG = re.compile(r"debug: unmapping init|kmemleak: (Kernel memory leak "
                      r"detector|Automatic)|Spectre|MDS|RETBleed|Register File")

KTAP = re.compile(r"^\s*(not ok|ok) (\d+)\b(.*)$")
PLAN = re.compile(r"^\s*1\.\.(\d+)")
# KUnit indents the line of a case, but not the line of a suite.
KUNIT = re.compile(r"^\[ *[0-9.]+\]( | {5,})(ok|not ok) (\d+) (.*)$")
MUST_LOG = re.compile(r"^# the kernel log must match: (.+)$")
RESULT = re.compile(r"^RESULT (pass|fail|skip) (\S+)(.*)$")


@dataclasses.dataclass
class Counts:
    """Numbers of test cases."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other):
        """Add other counts to these."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def sum(self):
        """The number of cases."""
        return self.passed + self.failed + self.skipped

    def __str__(self):
        return (f"{self.passed} passed, {self.failed} failed, "
                f"{self.skipped} skipped")


class Verdict:
    """The counts of a scenario, and why it failed if it did."""

    def __init__(self, name):
        self.name = name
        self.counts = Counts()
        self.duration = 0.0
        self.programs = []  # (name, result, counts) of each
        self.problems = []
        self.notes = []
        self.reasons = []   # why cases were skipped

    @property
    def failed(self):
        """The number of failures."""
        return self.counts.failed

    def problem(self, text):
        """Count a failure that is not the failure of a test case."""
        self.problems.append(text)
        self.counts.failed += 1

    def count_cases(self, lines):
        """Count KTAP lines, program by program; a RESULT line ends each."""
        cases, plan = Counts(), None
        for text in lines:
            planned = PLAN.match(text)
            if planned and not text.startswith(" "):
                plan = int(planned.group(1))
            result = RESULT.match(text)
            if result:
                self.end_program(*result.group(1, 2), text, cases, plan)
                cases, plan = Counts(), None
            elif not text.startswith(" "):
                self.count_case(KTAP.match(text), cases)
        self.counts.add(cases)

    def count_case(self, case, cases):
        """Count one KTAP line, if it is one. A "not ok" is a failure even if
        its program calls it a known one."""
        if not case:
            return
        if case.group(1) == "not ok":
            cases.failed += 1
            self.problems.append(case.group(0))
        elif re.search(r"#\s*SKIP", case.group(3), re.I):
            cases.skipped += 1
            self.reasons.append(case.group(3).strip())
        else:
            cases.passed += 1

    def end_program(self, result, program, text, cases, plan):
        """Add a program's cases. A program without KTAP is one case."""
        if plan is not None and cases.sum() != plan and result != "skip":
            self.problem(f"{program}: {cases.sum()} results for {plan} tests")
        if result == "fail" and not cases.failed:
            self.problems.append(text)
            cases.failed = 1
        elif not cases.sum():
            cases.passed = int(result == "pass")
            cases.skipped = int(result == "skip")
        self.programs.append((program, result, cases))
        self.counts.add(cases)

    def count_kunit(self, console, expected):
        """Count the KUnit cases of the kernel log. Failures count always, the
        rest only if the scenario expects KUnit to run."""
        cases = Counts()
        for text in console:
            case = KUNIT.match(text)
            if not case:
                continue
            if case.group(2) == "not ok":
                cases.failed += 1
                self.problems.append(text)
            elif len(case.group(1)) > 1:
                cases.skipped += "# SKIP" in text
                cases.passed += "# SKIP" not in text
        if not expected:
            self.counts.failed += cases.failed
            return
        self.counts.add(cases)
        self.programs.append(("KUnit", "fail" if cases.failed else "pass", cases))
        if not cases.sum():
            self.problem("no KUnit suite ran")

    def check_stages(self, tests, stages):
        """Every stage must begin, have a result, and end with a kexec; the last
        one with status 0."""
        position = 0
        for stage in range(1, stages + 1):
            want = f"=== stage {stage} " + ("end 0" if stage == stages else "kexec")
            try:
                begin = tests.index(f"=== stage {stage} begin", position)
            except ValueError:
                self.problem(f"stage {stage} did not begin")
                break
            try:
                position = tests.index(want, begin)
            except ValueError:
                self.problem(f"stage {stage} did not reach '{want}'")
                break
            if not any(RESULT.match(text) for text in tests[begin:position]):
                self.problem(f"stage {stage} has no result")

    def check_log(self, console, scenario):
        """No line of the kernel log may report a bug."""
        for text in console:
            if (BAD_LOG.search(text) and not GOOD_LOG.search(text) and
                    not scenario.allows(text)):
                self.problem(f"kernel log: {text}")

    def check_expected_log(self, tests, console):
        """The kernel log must have the lines that programs asked for."""
        for text in tests:
            asked = MUST_LOG.match(text)
            if asked and not any(re.search(asked.group(1), line)
                                 for line in console):
                self.problem(f"no line of the kernel log: {asked.group(1)}")

    def hear(self, witness, guest):
        """Count what the witness of the network cards says, as one program."""
        testimony = Testimony(witness, guest.lines)
        self.count_checks("witness", [
            *testimony.checks(), *testimony.check_kexecs(guest.scenario.stages)])
        self.notes += [testimony.summary(card) for card in witness.cards]
        if not guest.forger:
            self.notes += testimony.table()

    def count_checks(self, program, checks):
        """Count checks of the host, (whether it is good, what), as one program."""
        cases = Counts()
        for good, what in checks:
            cases.passed += good
            cases.failed += not good
            if not good:
                self.problems.append(f"not ok {what}")
        self.counts.add(cases)
        self.programs.append((program, "fail" if cases.failed else "pass", cases))


def judge(guest):
    """The verdict on a guest that has ended."""
    scenario = guest.scenario
    verdict = Verdict(scenario.name)
    verdict.duration = guest.duration
    tests, console = guest.text("tests"), guest.text("console")
    verdict.count_cases(tests)
    verdict.count_kunit(console, scenario.kunit)
    if guest.timed_out:
        verdict.problem(f"timeout after {guest.duration:.0f} s")
    verdict.check_stages(tests, scenario.stages)
    verdict.check_log(console, scenario)
    verdict.check_expected_log(tests, console)
    if guest.witness:
        verdict.hear(guest.witness, guest)
    if guest.forger:
        verdict.count_checks("forger", guest.forger.checks(guest.lines))
    return verdict


def report(verdict, guest=None):
    """What the runner prints about one scenario."""
    mark = "FAIL" if verdict.failed else "ok"
    lines = [f"{mark:4} {verdict.name:28} {verdict.duration:6.1f} s  "
             f"{verdict.counts}"]
    lines += [f"       note {text}" for text in verdict.notes]
    # Of many programs, only those that did not pass.
    many = len(verdict.programs) > 30
    alone = [program for program, _, _ in verdict.programs] == [verdict.name]
    for program, result, cases in verdict.programs:
        if not alone and not (many and result == "pass"):
            lines.append(f"       {result:4} {program}: {cases}")
    if verdict.failed:
        lines += problem_lines(verdict, guest)
    return "\n".join(lines)


def problem_lines(verdict, guest):
    """Why it failed, and where to read on."""
    shown = verdict.problems[:40]
    lines = [f"     ! {text}" for text in shown]
    if len(verdict.problems) > len(shown):
        lines.append(f"     ! and {len(verdict.problems) - len(shown)} more")
    if guest:
        lines.append(f"     last lines of {guest.log('tests')}:")
        lines += [f"     | {text}" for text in guest.text("tests")[-30:]]
        lines.append("     last lines of the kernel log:")
        lines += [f"     | {text}" for text in guest.text("console")[-8:]]
        lines.append(f"     full kernel log: {guest.log('console')}")
        if not guest.lines:
            lines.append(f"     log of QEMU: {guest.log('qemu')}")
    return lines
