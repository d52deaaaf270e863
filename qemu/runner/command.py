# SPDX-License-Identifier: GPL-2.0-only
"""The command line of qemu/run.py."""

import argparse
import sys

from . import kernels, matrix, scenario
from .guest import Guest
from .schedule import Job, run_all, run_on_host, run_scenario
from .verdict import Counts

DESCRIPTION = """Run test scenarios in QEMU guests and judge what they print.
Without a name, all scenarios run. The last line of the output reads
"N passed, N failed, N skipped"; the exit status is 0 if nothing failed and
something passed."""


def parse():
    """The options."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N",
                        help="run N guests at a time (default 2)")
    parser.add_argument("--lint", action="store_true",
                        help="run and count lint and host tests too")
    parser.add_argument("--build", action="store_true",
                        help="build missing kernels while tests run")
    parser.add_argument("--handover", action="store_true",
                        help="only scenarios between different kernels")
    parser.add_argument("--debug", action=argparse.BooleanOptionalAction,
                        help="only scenarios on the debug kernel, or only others")
    parser.add_argument("--kexecs", type=int, metavar="N",
                        help="number of kexecs, for soak")
    parser.add_argument("--seed", type=int, metavar="N",
                        help="seed of random calls, as an earlier run printed it")
    parser.add_argument("--patience", type=float, default=1.0, metavar="FACTOR",
                        help="multiply all timeouts, on a busy host")
    parser.add_argument("--list", action="store_true",
                        help="list the scenarios, then exit")
    parser.add_argument("--kernels", action="store_true",
                        help="list the kernels of the scenarios, then exit")
    parser.add_argument("--shell", action="store_true",
                        help="start an interactive guest")
    parser.add_argument("names", nargs="*", metavar="SCENARIO",
                        help="a name that --list prints")
    return parser.parse_args()


def choose(options, found):
    """The scenarios to run: the longest first, so that the last ones are short
    and no worker idles for long."""
    for name in options.names:
        if name not in found:
            sys.exit(f"error: no scenario {name}; --list prints all names")
    chosen = [found[name] for name in options.names]
    if not options.names:
        chosen = [s for s in found.values() if not s.hidden and
                  (s.pair or s.chain or not options.handover) and
                  options.debug in (None, s.on_debug)]
    for run in chosen:
        run.timeout *= options.patience
        if options.kexecs:
            run.timeout *= (options.kexecs + 1) / run.stages
            run.stages = options.kexecs + 1
        if options.seed is not None:
            run.cmdline += f" lu.seed={options.seed}"
    return sorted(chosen, key=lambda s: (-s.timeout, s.name))


def needed_kernels(chosen):
    """The kernels that scenarios boot, in the order of the table."""
    used = {name for run in chosen for name in run.kernels}
    return [name for name in kernels.table() if name in used]


def run_chosen(chosen, options):
    """Run, print each report as it comes, then the matrix and the sum."""
    jobs = [Job(run.kernels, lambda run=run: run_scenario(run)) for run in chosen]
    if options.lint:
        jobs[:0] = [Job((), lambda name=name: run_on_host(name))
                    for name in ("lint", "host-tests")]
    build = [name for name in needed_kernels(chosen)
             if options.build and name != kernels.DEFAULT]
    total, results = Counts(), []
    for run, verdict, text in run_all(jobs, options.jobs, build):
        print(text, flush=True)
        total.add(verdict.counts)
        if run:
            results.append((run, verdict))
    for line in matrix.lines_of(sorted(results, key=lambda r: r[0].name)):
        print(line)
    print(total)
    return 1 if total.failed or not total.passed else 0


def main():
    """Do what the command line says; returns the exit status."""
    options = parse()
    found = scenario.find()
    if options.list:
        for run in found.values():
            if not run.hidden:
                print(f"{run.name:32} {run.stages} stages")
        return 0
    if options.shell:
        names = ["shell"]
        options.names = names
    chosen = choose(options, found)
    if options.kernels:
        print("\n".join(needed_kernels(chosen)))
        return 0
    for run in chosen:
        if not run.image().exists():
            sys.exit("error: no initramfs: run qemu/build.sh prepare")
    if options.shell:
        return Guest(found["shell"]).shell()
    return run_chosen(chosen, options)
