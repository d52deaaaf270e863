#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs scenarios (selftests/scenarios/*.sh, and one for every selftests/kexec_*)
# in QEMU guests and judges them: by the KTAP and RESULT lines of the guest's
# second serial port, by the marks that every stage must leave there, and by the
# kernel log on the first. The last line is "N passed, N failed, N skipped".
#
#   run.py [-j N] [--lint] [SCENARIO...]   all of them without a name
#   run.py --kexecs N --seed S SCENARIO    through so many kexecs; what it does by
#                                          chance as in an earlier run
#   run.py --handover                      those between different kernels
#   run.py --debug, --no-debug             those on the debug kernel, or all others
#   run.py --shell                         an interactive guest
#   run.py --list                          the names
#   run.py --kernels [--no-debug]          the kernels that all of them boot

"""Run test scenarios in QEMU guests and judge what they print."""

import argparse
import collections
import concurrent.futures
import copy
import fcntl
import itertools
import os
import pathlib
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
OUT = TOP / "out"
SCENARIOS = TOP / "selftests" / "scenarios"
PROGRAMS = OUT / "selftests" / "ours"
INITRAMFS = OUT / "initramfs.cpio"
# With fewer test programs, for scenarios that ask for it.
INITRAMFS_FORGE = OUT / "initramfs-forge.cpio"

# What a scenario with "debug: yes" runs on once more. The shadow of KASAN and
# what page_owner notes take more than an eighth of the memory, and a kernel that
# is entered by kexec must find room for that in the scratch area.
DEBUG_KERNEL = "debug-7.3"
DEBUG_MEMORY = {"512M": "1G", "768M": "1G", "1G": "1G", "2G": "2G"}
DEBUG_SCRATCH = {"1G": "64M,256M,64M", "2G": "64M,384M,128M"}
# SLUB's own traces of who allocated would be a third set, and with ACPI's
# routing of PCI interrupts, half a minute of AML is interpreted at every boot.
# With five levels of page tables, KASAN takes good addresses for wild ones while
# the boot CPU is identified, and after its first report it is silent.
DEBUG_CMDLINE = "page_owner=on page_poison=1 slub_debug=FZP pci=noacpi no5lvl"
DEBUG_PATIENCE = 4
# The kernel that the debug kernel hands over to, and takes over from.
DEBUG_PEER = "c-7.3"

# What must not be in a kernel log.
BAD_LOG = re.compile(
    r"WARN|BUG:|BUG |Oops|Call Trace|[Bb]ad page|\b[Ll]eak|"
    r"INFO: task .* blocked|possible circular|possible recursive|UBSAN|KASAN|"
    r"[Uu]nable to handle|soft lockup|Kernel panic|suspicious RCU|"
    r"inconsistent lock|general protection fault|rust_kernel: panicked|"
    r"INFO: trying to register|memory corruption|ODEBUG|refcount_t:|poison over|"
    r"(list_add|list_del) corruption|KHO: .*(fail|not)")
# What a healthy guest says that looks like it.
GOOD_LOG = re.compile(r"debug: unmapping init|kmemleak: (Kernel memory leak "
                      r"detector|Automatic)|Spectre|MDS|RETBleed|Register File")

HEADER = re.compile(r"^(?:#|//|\s*\*)\s*(stages|memory|timeout|kernels|cmdline|"
                    r"hidden|module|allow|kunit|pairs|chain|initramfs|cpus|debug):\s*(.*?)\s*$")
KTAP = re.compile(r"^\s*(not ok|ok) (\d+)\b(.*)$")
PLAN = re.compile(r"^\s*1\.\.(\d+)")
KUNIT = re.compile(r"^\[ *[0-9.]+\](?: | {5,})(ok|not ok) (\d+) (.*)$")
RESULT = re.compile(r"^RESULT (pass|fail|skip) (\S+)(.*)$")


class Scenario:
    """One run: its script and what the comment at its top asks for."""

    def __init__(self, name, source, script=None, program=""):
        self.name = name
        self.script = script or name
        self.program = program
        options = {}
        for line in source.read_text().splitlines()[:60]:
            found = HEADER.match(line)
            if found:
                options[found.group(1)] = found.group(2)
        self.hidden = options.get("hidden") == "yes"
        self.stages = self.count_stages(options.get("stages", "1"))
        self.memory = options.get("memory", "1G")
        self.cpus = options.get("cpus", "2")
        self.timeout = float(options.get("timeout", 120))
        self.cmdline = options.get("cmdline", "")
        self.module = options.get("module", "liveupdate")
        self.allow = re.compile(options["allow"]) if "allow" in options else None
        self.kunit = options.get("kunit") == "yes"
        self.initramfs = (INITRAMFS_FORGE if options.get("initramfs") == "forge"
                          else INITRAMFS)
        self.kernels = options.get("kernels", "").split()
        self.pairs = options.get("pairs") == "yes"
        self.pair = None
        self.chain = options.get("chain") == "yes"
        self.debug = options.get("debug")
        self.variant = False

    @staticmethod
    def count_stages(answer):
        """A number, or a program of ours and what to ask it about stages."""
        if answer.isdigit():
            return int(answer)
        name, *about = answer.split()
        if (PROGRAMS / name).exists():
            answer = subprocess.run([PROGRAMS / name, "stages", *about],
                                    text=True, check=False,
                                    capture_output=True, timeout=10).stdout
        number = re.search(r"^\s*(\d+)\s*$", answer, re.M)
        return int(number.group(1)) if number else 2

    def complete(self):
        """Every boot has a kernel; the last one named serves the rest."""
        self.kernels = self.kernels or ["rust-7.3"]
        return self

    def debugged(self, name, kernels=()):
        """The same scenario on the debug kernel. A stage that another kernel
        serves keeps it if the kernels are given."""
        other = copy.copy(self)
        other.name = name
        other.kernels = list(kernels) or [DEBUG_KERNEL for _ in self.kernels]
        other.memory = DEBUG_MEMORY[self.memory]
        other.timeout = self.timeout * DEBUG_PATIENCE
        other.cmdline = (f"{self.cmdline} {DEBUG_CMDLINE} kho_scratch="
                         f"{DEBUG_SCRATCH[other.memory]}").strip()
        other.pairs = False
        other.variant = True
        return other


def known_kernels():
    """The names in the table of kernels, less those that are for debugging."""
    table = (TOP / "qemu" / "kernels").read_text().splitlines()
    words = [line.split() for line in table
             if line.strip() and not line.startswith("#")]
    return [name for name, _, *fragments in words if "debug" not in fragments]


def find_scenarios():
    """All scenarios by name, hidden ones included."""
    found = {}
    for path in sorted(SCENARIOS.glob("*.sh")):
        scenario = Scenario(path.stem, path)
        for pair in itertools.product(known_kernels() if scenario.pairs else (),
                                      repeat=2):
            name = f"{path.stem}_{pair[0]}_to_{pair[1]}"
            found[name] = Scenario(name, path, path.stem)
            found[name].pair = pair
            found[name].kernels = list(pair)
        if not scenario.pairs:
            found[path.stem] = (
                scenario.debugged(path.stem) if scenario.debug == "only" else
                scenario.complete())
        elif scenario.debug:
            for pair in ((DEBUG_KERNEL, DEBUG_KERNEL), (DEBUG_KERNEL, DEBUG_PEER),
                         (DEBUG_PEER, DEBUG_KERNEL)):
                name = f"{path.stem}_{pair[0]}_to_{pair[1]}"
                found[name] = Scenario(name, path, path.stem).debugged(name, pair)
    for source in sorted((TOP / "selftests").glob("kexec_*.c")):
        scenario = Scenario(source.stem, source, "kexec", source.stem)
        scenario.stages = scenario.count_stages(source.stem)
        found[source.stem] = scenario.complete()
    for scenario in list(found.values()):
        if scenario.debug and not scenario.variant and not scenario.pair:
            name = f"{scenario.name}_debug"
            found[name] = scenario.debugged(name)
    return found


def kernel_image(name, cache={}, lock=threading.Lock()):
    """The boot image of a kernel of qemu/kernels, or None if it is not built."""
    with lock:
        if name not in cache:
            answer = subprocess.run([TOP / "qemu" / "build.sh", "kernel", name],
                                    text=True, capture_output=True, check=False)
            path = pathlib.Path(answer.stdout.strip() or "/nonexistent")
            cache[name] = path if path.is_file() else None
        return cache[name]


def why_missing(name):
    """The reason for which a kernel was left out when all were built, if so."""
    try:
        return (OUT / "kernels" / f"{name}.missing").read_text().strip()
    except FileNotFoundError:
        return None


def link_or_copy(source, target):
    """A file of the guest's share: a hard link where that can be."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


# A guest without any module has been seen to stop for good in its first boot,
# where the kernel switches its clock source. A first boot that is silent for so
# long (in seconds) before any program of ours ran is started again, once, and
# the report says so.
SILENCE = 30

Line = collections.namedtuple("Line", "time port text")


class Guest:
    """A QEMU guest whose serial lines are stamped as they arrive."""

    def __init__(self, scenario, echo=None):
        self.scenario = scenario
        self.echo = echo
        self.dir = self.claim(OUT / "runs", scenario.name)
        self.share = self.dir / "share"
        (self.share / "kernels").mkdir(parents=True)
        link_or_copy(scenario.initramfs, self.share / INITRAMFS.name)
        for name in set(scenario.kernels):
            image = kernel_image(name)
            if image is None:
                raise FileNotFoundError(f"kernel {name} is not built")
            link_or_copy(image, self.share / "kernels" / name)
        self.lines = []
        self.timed_out = False
        self.stuck_in_boot = False
        self.begun = False
        self.silence = SILENCE * (DEBUG_PATIENCE if scenario.variant else 1)
        self.duration = 0.0

    def claim(self, runs, name):
        """An empty folder that no other run uses, named after the scenario."""
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100):
            folder = runs / (name if number == 1 else f"{name}.{number}")
            self.lock = open(f"{folder}.lock", "w", encoding="ascii")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.lock.close()
                continue
            shutil.rmtree(folder, ignore_errors=True)
            return folder
        raise FileNotFoundError(f"no free folder for {name} in {runs}")

    def log(self, port):
        """Path of what a serial port said."""
        return self.dir / f"{port}.log"

    def text(self, port):
        """What a serial port said, line by line."""
        return [line.text for line in self.lines if line.port == port]

    def machine(self):
        """The part of the command line about processors and time."""
        # With a host thread for each CPU, a kernel that was entered by kexec
        # has been seen to wait for the other CPU for ever, very rarely. The
        # demo takes that risk, because hashing needs both. With one host thread,
        # one in some hundred kexecs was seen to end in a reset: a scenario with
        # very many should ask for one CPU.
        parallel = ((self.scenario.stages == 1 and not self.scenario.variant) or
                    self.scenario.name == "demo")
        thread = "multi" if parallel else "single"
        return ["-accel", f"tcg,thread={thread}", "-cpu", "max",
                "-smp", self.scenario.cpus]

    def command(self, serials):
        """The QEMU command line."""
        scenario = self.scenario
        # A busy host may not get round to the timer in the time that the kernel
        # gives it to tick; without the check it waits.
        append = " ".join(filter(None, [
            "console=ttyS0 kho=on panic=-1 oops=panic kunit.enable=1 no_timer_check",
            f"lu.script={scenario.script} lu.stage=1",
            f"lu.stages={scenario.stages}",
            f"lu.kernels={','.join(scenario.kernels)}",
            f"lu.program={scenario.program}" if scenario.program else "",
            f"lu.module={scenario.module}", scenario.cmdline]))
        return ["qemu-system-x86_64", *self.machine(), "-m", scenario.memory,
                "-nodefaults", "-display", "none", "-no-reboot", *serials,
                "-virtfs", f"local,path={self.share},mount_tag=host,"
                "security_model=none,id=host,multidevs=remap",
                "-kernel", self.share / "kernels" / scenario.kernels[0],
                "-initrd", self.share / INITRAMFS.name, "-append", append]

    def shell(self):
        """Hand the terminal to the guest."""
        serials = ["-serial", "mon:stdio",
                   "-serial", f"file:{self.log('tests')}"]
        return subprocess.call(self.command(serials))

    def run(self):
        """Run it to its end, or to the end of its time."""
        with tempfile.TemporaryDirectory(prefix="lu-") as sockets:
            servers = {}
            serials = []
            for port in ("console", "tests"):
                path = f"{sockets}/{port}"
                server = socket.socket(socket.AF_UNIX)
                server.bind(path)
                server.listen(1)
                server.settimeout(20)
                servers[port] = server
                serials += ["-chardev", f"socket,id={port},path={path}",
                            "-serial", f"chardev:{port}"]
            start = time.monotonic()
            with open(self.log("qemu"), "wb") as errors, subprocess.Popen(
                    self.command(serials), stdin=subprocess.DEVNULL,
                    stdout=errors, stderr=errors) as qemu:
                try:
                    self.read(servers, start + self.scenario.timeout)
                except TimeoutError:
                    pass  # QEMU did not start; its log says why.
                finally:
                    if self.timed_out:
                        qemu.kill()
                    try:
                        qemu.wait(timeout=10)
                    except subprocess.TimeoutExpired:
                        qemu.kill()
                    for server in servers.values():
                        server.close()
            self.duration = time.monotonic() - start
        for port in ("console", "tests"):
            self.log(port).write_text("\n".join(self.text(port)) + "\n",
                                      errors="replace")

    def read(self, servers, deadline):
        """Collect lines until both ports are closed or time is up."""
        selector = selectors.DefaultSelector()
        rest = {}
        for port, server in servers.items():
            connection, _ = server.accept()
            selector.register(connection, selectors.EVENT_READ, port)
            rest[port] = b""
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                self.timed_out = True
                break
            quiet = time.monotonic() - (self.lines[-1].time if self.lines
                                        else deadline - self.scenario.timeout)
            if not self.begun and quiet > self.silence:
                self.timed_out = self.stuck_in_boot = True
                break
            for key, _ in selector.select(min(left, 1.0)):
                port = key.data
                try:
                    data = key.fileobj.recv(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    continue
                *lines, rest[port] = (rest[port] + data).split(b"\n")
                for line in lines:
                    self.add(port, line)
        for port, line in rest.items():
            if line:
                self.add(port, line)
        selector.close()

    def add(self, port, raw):
        """Keep a line with the time at which it came."""
        text = raw.decode("utf-8", "replace").rstrip("\r")
        line = Line(time.monotonic(), port, text)
        self.lines.append(line)
        self.begun = self.begun or text == "=== stage 1 begin"
        if self.echo:
            self.echo(line)


class Verdict:
    """What a scenario's output amounts to."""

    def __init__(self, name):
        self.name = name
        self.passed = self.failed = self.skipped = 0
        self.duration = 0.0
        self.programs = []
        self.problems = []
        self.notes = []
        self.reasons = []

    def problem(self, text):
        """Something that is wrong and is not a test case of its own."""
        self.problems.append(text)
        self.failed += 1

    def count_cases(self, lines):
        """Count KTAP lines; a program without any counts by its RESULT."""
        passed = failed = skipped = 0
        plan = None
        for text in lines:
            case = KTAP.match(text)
            found = RESULT.match(text)
            if PLAN.match(text) and not text.startswith(" "):
                plan = int(PLAN.match(text).group(1))
            if case and not text.startswith(" "):
                # What KTAP calls a failure is one even if it is a known one.
                if case.group(1) == "not ok":
                    failed += 1
                    self.problems.append(text)
                elif re.search(r"#\s*SKIP", case.group(3), re.I):
                    skipped += 1
                    self.reasons.append(case.group(3).strip())
                else:
                    passed += 1
            elif found:
                result, program = found.group(1), found.group(2)
                cases = passed + failed + skipped
                if plan is not None and cases != plan and result != "skip":
                    self.problem(f"{program}: {cases} results for {plan} tests")
                if result == "fail" and not failed:
                    self.problems.append(text)
                    failed = 1
                elif result == "pass" and not cases:
                    passed = 1
                elif result == "skip" and not cases:
                    skipped = 1
                self.programs.append((program, result, passed, failed, skipped))
                self.passed += passed
                self.failed += failed
                self.skipped += skipped
                passed = failed = skipped = 0
                plan = None
        if failed or passed or skipped:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped


    def count_kunit(self, console, expected):
        """Count KUnit's cases, where asked to; a failed one counts always."""
        passed = failed = skipped = 0
        for text in console:
            case = KUNIT.match(text)
            if not case:
                continue
            if case.group(1) == "not ok":
                failed += 1
                self.problems.append(text)
            elif not re.match(r"\[ *[0-9.]+\] (not )?ok ", text):
                # Indented: a case, not the sum of its suite.
                if "# SKIP" in text:
                    skipped += 1
                else:
                    passed += 1
        self.failed += failed
        if expected:
            self.passed += passed
            self.skipped += skipped
            self.programs.append(("KUnit", "fail" if failed else "pass",
                                  passed, failed, skipped))
            if not passed + failed + skipped:
                self.problem("no KUnit suite ran")


def judge(guest):
    """The verdict on a finished guest."""
    scenario = guest.scenario
    verdict = Verdict(scenario.name)
    verdict.duration = guest.duration
    tests = guest.text("tests")
    verdict.count_cases(tests)
    verdict.count_kunit(guest.text("console"), scenario.kunit)
    if guest.timed_out:
        verdict.problem(f"timeout after {scenario.timeout:.0f} s")
    position = 0
    for stage in range(1, scenario.stages + 1):
        last = stage == scenario.stages
        want = f"=== stage {stage} " + ("end 0" if last else "kexec")
        try:
            begin = tests.index(f"=== stage {stage} begin", position)
        except ValueError:
            verdict.problem(f"stage {stage} did not begin")
            break
        try:
            position = tests.index(want, begin)
        except ValueError:
            verdict.problem(f"stage {stage} did not reach '{want}'")
            break
        if not any(RESULT.match(text) for text in tests[begin:position]):
            verdict.problem(f"stage {stage} has no result")
    for text in guest.text("console"):
        if (BAD_LOG.search(text) and not GOOD_LOG.search(text) and
                not (scenario.allow and scenario.allow.search(text))):
            verdict.problem(f"kernel log: {text}")
    return verdict


def run_scenario(scenario):
    """Run and judge one scenario; returns the verdict and its report."""
    for name in sorted(set(scenario.kernels)):
        why = why_missing(name)
        if why:
            verdict = Verdict(scenario.name)
            verdict.skipped = 1
            verdict.notes.append(f"SKIPPED: no kernel {name}: {why}")
            return verdict, report(verdict, None)
    try:
        guest = Guest(scenario)
    except FileNotFoundError as error:
        verdict = Verdict(scenario.name)
        verdict.problem(str(error))
        return verdict, report(verdict, None)
    guest.run()
    restarted = guest.stuck_in_boot
    if restarted:
        guest = Guest(scenario)
        guest.run()
    verdict = judge(guest)
    if restarted:
        verdict.notes.append("QEMU hung in the first boot: started again")
    if not verdict.failed:
        shutil.rmtree(guest.share, ignore_errors=True)
    return verdict, report(verdict, guest)


def report(verdict, guest):
    """What is printed about one scenario."""
    mark = "FAIL" if verdict.failed else "ok"
    lines = [f"{mark:4} {verdict.name:28} {verdict.duration:6.1f} s  "
             f"{verdict.passed} passed, {verdict.failed} failed, "
             f"{verdict.skipped} skipped"]
    lines += [f"       note {text}" for text in verdict.notes]
    # Of very many, those that are of interest.
    many = len(verdict.programs) > 30
    for program, result, passed, failed, skipped in verdict.programs:
        if program == verdict.name and len(verdict.programs) == 1:
            continue
        if many and result == "pass":
            continue
        lines.append(f"       {result:4} {program}: {passed} passed, "
                     f"{failed} failed, {skipped} skipped")
    if verdict.failed:
        shown = verdict.problems[:40]
        lines += [f"     ! {text}" for text in shown]
        if len(verdict.problems) > len(shown):
            lines.append(f"     ! and {len(verdict.problems) - len(shown)} more")
        if guest:
            lines.append(f"     last lines of {guest.log('tests')}:")
            lines += [f"     | {text}" for text in guest.text("tests")[-30:]]
            lines.append("     last lines of the kernel log:")
            lines += [f"     | {text}" for text in guest.text("console")[-8:]]
            lines.append(f"     full kernel log: {guest.log('console')}")
            if not guest.lines:
                lines.append(f"     QEMU said: {guest.log('qemu')}")
    return "\n".join(lines)


def cell(verdict):
    """A verdict in few letters."""
    if verdict.failed:
        return f"FAIL ({verdict.failed} of {verdict.failed + verdict.passed})"
    if not verdict.passed:
        return "skipped"
    left = f", {verdict.skipped} left out" if verdict.skipped else ""
    return f"ok ({verdict.passed}{left})"


def matrix(results):
    """What ran between different kernels, as a table: old in rows, new in
    columns; then the chains; then what was left out, and why."""
    pairs = {s.pair: v for s, v in results if s.pair}
    chains = [(s, v) for s, v in results if s.chain]
    lines = []
    if pairs:
        old = sorted({pair[0] for pair in pairs}, reverse=True)
        new = sorted({pair[1] for pair in pairs}, reverse=True)
        width = 24
        lines.append("handover: from the kernel of the row to that of the column "
                     "(cases that passed)")
        lines.append(" " * 12 + "".join(f"{name:{width}}" for name in new))
        for row in old:
            lines.append(f"{row:12}" + "".join(
                f"{cell(pairs[row, name]) if (row, name) in pairs else '-':{width}}"
                for name in new).rstrip())
    for scenario, verdict in sorted(chains, key=lambda c: len(c[0].kernels)):
        lines.append(f"{cell(verdict):24}{' -> '.join(scenario.kernels)}")
    seen = set()
    for scenario, verdict in results:
        if scenario.pair or scenario.chain:
            why = {note for note in verdict.notes if note.startswith("SKIP")}
            for reason in sorted(why) + verdict.reasons:
                text = f"{' -> '.join(scenario.kernels)}: {reason}"
                if text not in seen:
                    lines.append(f"  left out: {text}")
                seen.add(text)
    return "\n".join(lines)


def run_on_host(name):
    """A script of this folder that prints KTAP: it is judged like a guest."""
    start = time.monotonic()
    answer = subprocess.run([TOP / "qemu" / f"{name}.sh"], text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    verdict = Verdict(name)
    verdict.duration = time.monotonic() - start
    lines = answer.stdout.splitlines()
    verdict.count_cases(lines)
    if answer.returncode and not verdict.failed:
        verdict.problem(f"{name}.sh: exit status {answer.returncode}")
    text = report(verdict, None)
    if verdict.failed:
        text += "\n" + "\n".join(f"     | {line}" for line in lines[-60:])
    return verdict, text


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-j", "--jobs", type=int, default=2,
                        help="guests at a time (default 2)")
    parser.add_argument("--lint", action="store_true",
                        help="count lint.sh and host-tests.sh as well")
    parser.add_argument("--handover", action="store_true",
                        help="only what hands over between different kernels")
    parser.add_argument("--debug", action=argparse.BooleanOptionalAction,
                        help="only what runs on the debug kernel, or all but that")
    parser.add_argument("--list", action="store_true", help="list scenarios")
    parser.add_argument("--kernels", action="store_true",
                        help="list the kernels that scenarios boot")
    parser.add_argument("--shell", action="store_true",
                        help="an interactive guest")
    parser.add_argument("--kexecs", type=int, metavar="N",
                        help="so many, for scenarios that go on for ever")
    parser.add_argument("--seed", type=int, help="what chance is made of")
    parser.add_argument("names", nargs="*", metavar="SCENARIO")
    options = parser.parse_args()
    found = find_scenarios()
    if options.list:
        for scenario in found.values():
            if not scenario.hidden:
                print(f"{scenario.name:28} {scenario.stages} stages")
        return 0
    if options.kernels:
        print("\n".join(sorted({kernel for scenario in found.values()
                                for kernel in scenario.kernels
                                if options.debug is not False or
                                kernel != DEBUG_KERNEL})))
        return 0
    if not INITRAMFS.exists():
        sys.exit("error: no initramfs: run qemu/build.sh prepare first")
    if options.shell:
        return Guest(found["shell"]).shell()
    for name in options.names:
        if name not in found:
            sys.exit(f"error: no scenario {name}; --list shows them")
    chosen = ([found[name] for name in options.names] or
              [s for s in found.values() if not s.hidden and
               (s.pair or s.chain or not options.handover) and
               options.debug in (None, s.variant)])
    for scenario in chosen:
        if options.kexecs:
            scenario.timeout *= (options.kexecs + 1) / scenario.stages
            scenario.stages = options.kexecs + 1
        if options.seed is not None:
            scenario.cmdline += f" lu.seed={options.seed}"
    # The longest first, so that the last ones to end are short.
    chosen.sort(key=lambda s: (-s.timeout, s.name))
    jobs = [lambda s=s: (s, *run_scenario(s)) for s in chosen]
    if options.lint:
        jobs[:0] = [lambda n=n: (None, *run_on_host(n))
                    for n in ("lint", "host-tests")]
    results = []
    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(max(1, options.jobs)) as pool:
        for future in concurrent.futures.as_completed(
                [pool.submit(job) for job in jobs]):
            scenario, verdict, text = future.result()
            print(text, flush=True)
            if scenario:
                results.append((scenario, verdict))
            passed += verdict.passed
            failed += verdict.failed
            skipped += verdict.skipped
    results.sort(key=lambda r: r[0].name)
    if any(s.pair or s.chain for s, _ in results):
        print(matrix(results))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
