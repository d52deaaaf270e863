# SPDX-License-Identifier: GPL-2.0-only
"""Guests that run the steps of a benchmark, by instructions or by wall clock.

A run is a chain of steps in one guest: one kernel makes the state of a step,
the next kernel takes it over and makes the state of the next step.
"""

import concurrent.futures
import itertools
import os
import shutil
import subprocess
import threading
import time

from qemu.runner.guest import Guest
from qemu.runner.scenario import Scenario

from . import results

# The chains that are measured by instructions. The costs of the C peer grow
# with the square of n, so it leaves out LONG: the report estimates those rows. It
# would fill the holes of HOLLOW.
HOLLOW = "hollow:65536"
CHAINS = [
    # Nothing is preserved twice, to see how much that differs. The scattered
    # files come last: the next kernel uses the pages between theirs for itself,
    # so that a later file would lie in thousands of pieces.
    ["empty", "empty", "contiguous:64", "contiguous:512", "contiguous:2048",
     "late:1024", "huge:1024", "hollow:1024", HOLLOW,
     "collapsed:128", "scattered:64", "scattered:128"],
    ["empty", "each:20000"],
    ["dense-small", "dense-large", "sparse:1024", "memory"],
    ["each:100", "each:1000", "each:10000", "one:100", "one:1000", "one:10000",
     "one:20000", "spread:10000", "spread:20000"],
    ["each:50000", "one:50000"],
]
LONG = {"each:50000", "one:50000"}
# Measured if an estimate from smaller states of the kind says that the blackout
# lasts less than PATIENCE_NS. That many instructions take about two minutes.
PERHAPS = [results.Key("blackout", "scattered", 512),
           results.Key("blackout", "scattered", 1024)]
PATIENCE_NS = 40e9
WALL = ["each:100", "each:1000", "each:10000", "one:100", "one:1000",
        "one:10000", "one:20000", "spread:10000", "spread:20000",
        "dense-small", "dense-large", "sparse:1024"]
# By wall clock. With more CPUs than the host has cores, one that holds a lock may not
# run, and the others spin.
PARALLEL = ["in-turn:256", "at-once:256"]
PARALLEL_CPUS = min(4, os.cpu_count() or 1)

# KHO would first move pages that lie in its scratch areas. These are small,
# and the kernel uses them last, so no measured page lies there.
#
# The benchmark is the first process, too, because that takes the time of a boot.
# While a boot prints, it waits for the host to read: not always for as long.
CMDLINE = ("liveupdate=on kho_scratch=32M,64M,128M nowatchdog kunit.enable=0 "
           "quiet rdinit=/bench")


def scenario(kernel, steps, wall, profile):
    """What a guest needs to run these steps."""
    words = [CMDLINE, f"lu.steps={','.join(steps)}"]
    if not wall:
        # Calibrating this timer takes 20 s and then fails if the guest's clock
        # counts instructions.
        words.append("noapictimer")
    if profile:
        words.append("lu.profile=1")
    return Scenario(f"bench-{kernel}", script="bench", kernels=[kernel],
                    initramfs="bench", stages=len(steps) + 1, memory="3G",
                    timeout=900, cmdline=" ".join(words),
                    cpus=1 if not wall else
                    PARALLEL_CPUS if steps[0] in PARALLEL else 2)


class BenchGuest(Guest):
    """A guest that measures, by instructions or by wall clock."""

    # With "max", kernels clear a page by "rep stosb", which counts as 4096
    # instructions; with "max,-erms" they use a loop of 512.
    cpu = "max"
    # A boot with "quiet" prints nothing at all, and a busy host makes it last long.
    silence = 300

    def __init__(self, kernel, steps, wall, progress, profile=False):
        self.wall = wall
        self.steps = steps
        super().__init__(scenario(kernel, steps, wall, profile), echo=progress)

    def machine(self):
        """QEMU's options for processors and time."""
        if self.wall:
            return ["-accel", "tcg,thread=multi", "-cpu", self.cpu,
                    "-smp", str(self.scenario.cpus)]
        # One instruction is one nanosecond, and idle time passes at once.
        return ["-accel", "tcg,thread=single", "-cpu", self.cpu, "-smp", "1",
                "-icount", "shift=0,sleep=off"]


class Progress:
    """Prints which step of which guest is done, and when."""

    def __init__(self):
        self.start = time.monotonic()
        self.lock = threading.Lock()

    def say(self, text):
        """A line with the time since the start."""
        with self.lock:
            print(f"{time.monotonic() - self.start:6.0f} s  {text}", flush=True)

    def of(self, kernel):
        """The function that a guest calls with each of its lines."""
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
        progress.say(f"{kernel}: timeout, started again")
    problem = ["", f"{kernel} with {','.join(steps)} did not reach its end:"]
    problem += [f"  | {text}" for text in tests[-8:]]
    problem += [f"  | {text}" for text in guest.text("console")[-8:]]
    problem += [f"  logs: {guest.dir}"]
    raise RuntimeError("\n".join(problem))


def jobs(only):
    """Kernels and chains, the longest first."""
    wanted = [[step for step in steps
               if not only or step in only or step == "empty"]
              for steps in CHAINS]
    return [(kernel, [step for step in steps
                      if kernel != results.C or step != HOLLOW])
            for steps in wanted if set(steps) - ({"empty"} if only else set())
            for kernel in (results.C, results.OURS)
            if kernel != results.C or not LONG & set(steps)]


def further(steps, found, only):
    """The steps of PERHAPS that follow a chain of smaller states."""
    layouts = {step.partition(":")[0] for step in steps}
    values = found.values()
    guesses = {f"{key.layout}:{key.n}": results.estimate(values, key)
               for key in PERHAPS if key.layout in layouts and key not in values}
    return [step for step, ns in guesses.items()
            if ns is not None and ns < PATIENCE_NS and (not only or step in only)]


def by_instructions(options, progress):
    """Several guests at a time: the host's load does not change their clocks."""
    found = {kernel: results.Results() for kernel in (results.C, results.OURS)}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measure, kernel, steps, False, progress): kernel
                   for kernel, steps in jobs(options.only)}
        try:
            while running:
                done, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    kernel, guest = running.pop(future), future.result()
                    found[kernel].add(guest.steps, guest.text("tests"),
                                      guest.text("console"))
                    steps = further(guest.steps, found[kernel], options.only)
                    if steps:
                        running[pool.submit(measure, kernel, steps, False,
                                            progress)] = kernel
        except RuntimeError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def by_wall_clock(options, progress):
    """Rounds of both implementations in turn, so that other load on the host
    hits both."""
    found = {kernel: results.Results(exact=False)
             for kernel in (results.C, results.OURS)}
    chains = [[step for step in steps if not options.only or step in options.only]
              for steps in (WALL, PARALLEL)]
    for number in range(1, options.rounds + 1):
        for steps, kernel in itertools.product(filter(None, chains),
                                               (results.C, results.OURS)):
            progress.say(f"round {number} of {options.rounds}: {kernel}")
            guest = measure(kernel, steps, True, progress)
            found[kernel].add(guest.steps, guest.text("tests"),
                              guest.text("console"))
    return found


def profile_lines(kernel, steps, progress):
    """The functions of an implementation that the samples hit most often."""
    guest = BenchGuest(kernel, steps, False, progress.of(kernel), profile=True)
    guest.run()
    lines = "\n".join(text[len("PROF "):] for text in guest.text("tests")
                      if text.startswith("PROF "))
    if shutil.which("c++filt"):
        lines = subprocess.run(["c++filt"], input=lines, text=True, check=True,
                               capture_output=True).stdout
    return lines
