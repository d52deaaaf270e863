#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the benchmark in QEMU guests, with the C implementation and with this
# module, and reports.
#
#   bench.py          by instructions (-icount), one vCPU, two guests at a time
#   bench.py --wall   by wall clock, two vCPUs, in rounds, one guest at a time
#   bench.py --profile STEP...
#                     where the instructions of these steps go
#
# A run is a chain of steps over one guest: each step's state is made in one
# kernel and taken by the next. Exit status 0 says that it was measured, not
# that a target holds.

"""Measure /dev/liveupdate of both implementations in QEMU guests."""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "qemu"))
# pylint: disable=wrong-import-position
import report
import results
import run

BENCH = pathlib.Path(__file__).resolve().parent

# What is measured by instructions. The last is too long for the C peer, whose
# costs grow with the square: what it would take is estimated from the others.
CHAINS = [
    ["empty", "each:20000"],
    ["one:50000", "spread:50000"],
    ["dense-small", "dense-large", "sparse:1024", "memory"],
    ["each:100", "each:1000", "each:10000", "one:100", "one:1000", "one:10000",
     "one:20000", "spread:100", "spread:1000", "spread:10000", "spread:20000"],
    ["each:50000"],
]
LONG = {"each:50000"}
WALL = ["empty", "each:100", "each:1000", "each:10000", "one:100", "one:1000",
        "one:10000", "one:20000", "spread:10000", "spread:20000",
        "dense-small", "dense-large", "sparse:1024"]
TIMEOUT = 900


class BenchGuest(run.Guest):
    """A guest that measures, by instructions or by wall clock."""

    # "rep stosb", by which kernels clear pages, counts as 4096
    # instructions a page; "max,-erms" has them use another, at 512.
    cpu = "max"

    def __init__(self, kernel, steps, wall, progress, profile=False):
        scenario = run.Scenario("bench", BENCH / "guest.sh")
        scenario.name = f"bench-{kernel}"
        scenario.kernels = [kernel]
        scenario.initramfs = run.OUT / "bench.cpio"
        scenario.stages = len(steps) + 1
        scenario.timeout = TIMEOUT
        # Pages must not lie in KHO's scratch areas, from where they would have
        # to be moved: it is small, and used last.
        scenario.cmdline = ("liveupdate=on kho_scratch=32M,64M,128M nowatchdog "
                            f"kunit.enable=0 lu.steps={','.join(steps)}")
        if not wall:
            # Calibrating it takes 20 s, and then fails, if the clock counts
            # instructions.
            scenario.cmdline += " noapictimer"
        if profile:
            scenario.cmdline += " lu.profile=1"
        self.wall = wall
        self.steps = steps
        super().__init__(scenario, echo=progress)

    def machine(self):
        if self.wall:
            return ["-accel", "tcg,thread=multi", "-cpu", self.cpu, "-smp", "2"]
        # One instruction is one nanosecond, and idle time passes at once.
        return ["-accel", "tcg,thread=single", "-cpu", self.cpu, "-smp", "1",
                "-icount", "shift=0,sleep=off"]


class Progress:
    """Says which step of which guest is done, and when."""

    def __init__(self):
        self.start = time.monotonic()
        self.lock = threading.Lock()

    def say(self, text):
        """A line with the time since the start."""
        with self.lock:
            print(f"{time.monotonic() - self.start:6.0f} s  {text}", flush=True)

    def of(self, kernel):
        """What a guest calls for each of its lines."""
        def echo(line):
            if line.port == "tests" and line.text.startswith(("TAKEN ", "FAILED ")):
                self.say(f"{kernel:9} {line.text}")
        return echo


def measure(kernel, steps, wall, progress):
    """Run one chain; a guest that hangs is started again, once."""
    for attempt in (1, 2):
        guest = BenchGuest(kernel, steps, wall, progress.of(kernel))
        guest.run()
        tests = guest.text("tests")
        if f"=== stage {len(steps) + 1} end 0" in tests:
            shutil.rmtree(guest.share, ignore_errors=True)
            return guest
        if not guest.timed_out or attempt == 2:
            break
        progress.say(f"{kernel}: no answer, started again")
    problem = ["", f"{kernel} with {','.join(steps)} did not come to its end:"]
    problem += [f"  | {text}" for text in tests[-8:]]
    problem += [f"  | {text}" for text in guest.text("console")[-8:]]
    problem += [f"  logs: {guest.dir}"]
    raise RuntimeError("\n".join(problem))


def jobs(only):
    """Kernels and chains, the longest first."""
    wanted = [[step for step in steps if not only or step in only or
               (step == "empty" and only)] for steps in CHAINS]
    listed = []
    for steps in wanted:
        if not steps:
            continue
        for kernel in (results.C, results.OURS):
            if kernel == results.C and LONG & set(steps):
                continue
            listed.append((kernel, steps))
    return listed


def by_instructions(options, progress):
    """Two guests at a time: their clocks do not depend on the host's load."""
    found = {kernel: results.Results() for kernel in (results.C, results.OURS)}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measure, kernel, steps, False, progress): kernel
                   for kernel, steps in jobs(options.only)}
        try:
            for future in concurrent.futures.as_completed(running):
                guest = future.result()
                found[running[future]].add(guest.steps, guest.text("tests"),
                                           guest.text("console"))
        except RuntimeError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def by_wall_clock(options, progress):
    """Rounds of both, in turn, so that what else the host does hits both."""
    found = {kernel: results.Results(exact=False)
             for kernel in (results.C, results.OURS)}
    steps = [s for s in WALL if not options.only or s in options.only or s == "empty"]
    for number in range(1, options.rounds + 1):
        for kernel in (results.C, results.OURS):
            progress.say(f"round {number} of {options.rounds}: {kernel}")
            guest = measure(kernel, steps, True, progress)
            found[kernel].add(guest.steps, guest.text("tests"),
                              guest.text("console"))
    return found


def show(found, options):
    """The report; files and README.md too if all of it was measured."""
    table = results.rows(found[results.C], found[results.OURS])
    targets = results.read_targets(BENCH / "targets")
    notes = [f"{kernel}: {note}" for kernel in found for note in found[kernel].notes]
    spread = None
    if options.wall:
        def spread(key):
            return " ".join(f"+-{100 * found[kernel].spread(key):.0f} %"
                            for kernel in (results.C, results.OURS))
    print()
    report.print_report(table, targets, notes, spread)
    if options.only:
        return
    if options.wall:
        results.write_csv(BENCH / "wall.csv", table)
        return
    results.write_csv(BENCH / "results.csv", table)
    report.draw(BENCH / "results.csv", BENCH / "curves.svg")
    report.rewrite_readme(table, targets, notes)


def profile(options, progress):
    """Both implementations' functions, most seen first."""
    for kernel in (results.C, results.OURS):
        guest = BenchGuest(kernel, options.only, False, progress.of(kernel), True)
        guest.run()
        lines = "\n".join(text[len("PROF "):] for text in guest.text("tests")
                          if text.startswith("PROF "))
        if shutil.which("c++filt"):
            lines = subprocess.run(["c++filt"], input=lines, text=True, check=True,
                                   capture_output=True).stdout
        print(f"{kernel}:\n{lines}")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wall", action="store_true", help="by wall clock")
    parser.add_argument("--rounds", type=int, default=5,
                        help="of --wall (default 5)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                        help="guests at a time, without --wall (default 2)")
    parser.add_argument("--cpu", default=BenchGuest.cpu,
                        help="QEMU's model of one (default max)")
    parser.add_argument("--profile", action="store_true",
                        help="show where the instructions of the steps go")
    parser.add_argument("only", nargs="*", metavar="STEP",
                        help="only these steps, and write no files")
    options = parser.parse_args()
    for kernel in (results.C, results.OURS):
        if run.kernel_image(kernel) is None:
            sys.exit(f"error: kernel {kernel} is not built: run make bench")
    BenchGuest.cpu = options.cpu
    progress = Progress()
    if options.profile:
        return profile(options, progress)
    try:
        found = (by_wall_clock if options.wall else by_instructions)(options, progress)
    except (RuntimeError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    progress.say("measured")
    show(found, options)
    if not options.only:
        progress.say("written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
