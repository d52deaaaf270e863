# SPDX-License-Identifier: GPL-2.0-only
"""The command line of bench/bench.py."""

import argparse
import os
import sys

from qemu.runner import kernels

from . import documents, measure, report, results

DESCRIPTION = """Measure /dev/liveupdate of the C implementation and of this
module in QEMU guests. Without --wall a guest's clock counts instructions. The
exit status says whether everything was measured, not whether a target holds."""


def parse():
    """The options."""
    parser = argparse.ArgumentParser(prog="bench/bench.py", description=DESCRIPTION)
    parser.add_argument("--wall", action="store_true",
                        help="measure by wall clock on two CPUs, in rounds")
    parser.add_argument("--rounds", type=int, default=5, metavar="N",
                        help="number of rounds of --wall (default 5)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                        metavar="N",
                        help="guests at a time without --wall (default 2)")
    parser.add_argument("--cpu", default=measure.BenchGuest.cpu, metavar="MODEL",
                        help="QEMU's CPU model (default max)")
    parser.add_argument("--profile", action="store_true",
                        help="print in which functions the instructions are")
    parser.add_argument("only", nargs="*", metavar="STEP",
                        help="measure only these steps, and write no files")
    return parser.parse_args()


def show(found, options):
    """Print the report; after a run of all steps, write the files too."""
    notes = [f"{kernel}: {note}" for kernel in found for note in found[kernel].notes]
    table = results.rows(found[results.C], found[results.OURS])
    targets = results.read_targets(report.BENCH / "targets")
    if options.wall:
        # Only the clock of instructions goes on through a boot.
        targets = [target for target in targets
                   if not target.op.startswith(("blackout", "boot"))]
    else:
        # All boots of a state are measured against these.
        notes += [f"{kernel}: boots with nothing preserved are within "
                  f"{100 * found[kernel].spread(results.BASE):.2f} % of their median"
                  for kernel in found]

    def spread(key):
        return " ".join(f"+-{100 * found[kernel].spread(key):.0f} %"
                        for kernel in (results.C, results.OURS))

    print()
    report.print_report(table, targets, notes, spread if options.wall else None)
    if options.only:
        return
    if options.wall:
        results.write_csv(report.BENCH / "wall.csv", table)
        return
    results.write_csv(report.BENCH / "results.csv", table)
    report.draw(report.BENCH / "results.csv", report.BENCH / "curves.svg")
    documents.rewrite(table, targets, notes)


def main():
    """Do what the command line says; returns the exit status."""
    options = parse()
    for kernel in (results.C, results.OURS):
        if kernels.image(kernel) is None:
            sys.exit(f"error: kernel {kernel} is not built: run make bench")
    measure.BenchGuest.cpu = options.cpu
    progress = measure.Progress()
    if options.profile:
        for kernel in (results.C, results.OURS):
            print(f"{kernel}:\n"
                  f"{measure.profile_lines(kernel, options.only, progress)}")
        return 0
    method = measure.by_wall_clock if options.wall else measure.by_instructions
    try:
        found = method(options, progress)
    except (RuntimeError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    progress.say("measured")
    show(found, options)
    if not options.only:
        progress.say("written")
    return 0
