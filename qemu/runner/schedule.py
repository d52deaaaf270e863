# SPDX-License-Identifier: GPL-2.0-only
"""Many runs, a few at a time, each when the kernels that it boots are built.

The tests of a kernel that is ready run while the next kernel is built: one
thread builds kernels with low priority, the workers run guests.
"""

import collections
import shutil
import subprocess
import sys
import threading
import time

from . import kernels, paths
from .guest import Guest
from .verdict import Verdict, judge, report

# A run: the kernels that must be built before it, and a function that returns
# (scenario or None, verdict, report).
Job = collections.namedtuple("Job", "kernels run")

# The exit status of build.sh if no archive has the source of a kernel.
NO_SOURCE = 77


def build_chain(chain, *what):
    """Build the kernels of a demo that are not built, with their modules. `what` is for
    build.sh. Returns the chain without those whose source is in no archive."""
    missing = set()
    for name in sorted(set(chain) - {kernels.DEFAULT}):
        status = subprocess.call([paths.QEMU / "build.sh", "ready", name, *what])
        if status == NO_SOURCE:
            missing.add(name)
        elif status:
            sys.exit(f"error: kernel {name} was not built")
    chain = [name for name in chain if name not in missing]
    if len(chain) < 2:
        sys.exit("error: an update needs two kernels")
    return chain


def run_guest(scenario):
    """Run a guest; one that hung or was reset outside of kernels is started
    again, once."""
    guest = Guest(scenario)
    guest.run()
    if guest.stuck_in_boot:
        note = "QEMU hung in the first boot: started again"
    elif guest.was_reset:
        note = "reset between two kernels, cause unknown: started again"
    else:
        return guest, []
    guest = Guest(scenario)
    guest.run()
    return guest, [note]


def run_scenario(scenario):
    """Run and judge a scenario: (scenario, verdict, report)."""
    verdict = Verdict(scenario.name)
    for name in dict.fromkeys(scenario.kernels):
        why = kernels.why_missing(name)
        if why:
            verdict.counts.skipped = 1
            verdict.notes.append(f"SKIPPED: no kernel {name}: {why}")
            return scenario, verdict, report(verdict)
    try:
        guest, notes = run_guest(scenario)
    except FileNotFoundError as error:
        verdict.problem(str(error))
        return scenario, verdict, report(verdict)
    verdict = judge(guest)
    verdict.notes += notes
    if not verdict.failed:
        shutil.rmtree(guest.share, ignore_errors=True)
    return scenario, verdict, report(verdict, guest)


def run_on_host(name):
    """Judge a script of tools/ that prints KTAP: (None, verdict, report)."""
    start = time.monotonic()
    answer = subprocess.run([paths.TOOLS / f"{name}.sh"], text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    verdict = Verdict(name)
    verdict.duration = time.monotonic() - start
    lines = answer.stdout.splitlines()
    verdict.count_cases(lines)
    if answer.returncode and not verdict.failed:
        verdict.problem(f"{name}.sh: exit status {answer.returncode}")
    text = report(verdict)
    if verdict.failed:
        text += "\n" + "\n".join(f"     | {line}" for line in lines[-60:])
    return None, verdict, text


class Builder(threading.Thread):
    """Builds kernels, with their modules, one after the other."""

    def __init__(self, names):
        super().__init__(daemon=True)
        self.changed = threading.Condition()
        self.missing = list(names)

    def run(self):
        for name in list(self.missing):
            # The guests go first: the build takes what they leave idle.
            status = subprocess.call(["nice", "-n", "10",
                                      paths.QEMU / "build.sh", "ready", name])
            if status not in (0, NO_SOURCE):
                print(f"kernel {name} was not built: exit status {status}",
                      flush=True)
            with self.changed:
                self.missing.remove(name)
                self.changed.notify_all()

    def is_built(self, job):
        """Whether a job's kernels are built, or cannot be."""
        return not set(job.kernels) & set(self.missing)

    def take(self, jobs):
        """Remove and return the first job that can run; wait for one. None if
        no job is left."""
        with self.changed:
            while jobs:
                for job in jobs:
                    if self.is_built(job):
                        jobs.remove(job)
                        return job
                self.changed.wait()
        return None


def run_all(jobs, workers, build=()):
    """Run jobs in their order, and build kernels meanwhile. Yields what each
    job returns, as it ends."""
    builder = Builder(build)
    builder.start()
    jobs = list(jobs)
    results = []
    done = threading.Condition()

    def work():
        while job := builder.take(jobs):
            try:
                result = job.run()
            except Exception as error:  # pylint: disable=broad-exception-caught
                result = error
            with done:
                results.append(result)
                done.notify()
        # The workers that wait for a kernel must see that no job is left.
        with builder.changed:
            builder.changed.notify_all()

    total = len(jobs)
    for _ in range(max(1, workers)):
        threading.Thread(target=work, daemon=True).start()
    for number in range(total):
        with done:
            done.wait_for(lambda n=number: len(results) > n)
        if isinstance(results[number], Exception):
            raise results[number]
        yield results[number]
