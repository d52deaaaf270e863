# SPDX-License-Identifier: GPL-2.0-only
"""The table on the terminal, the targets, and the curves."""

import pathlib
import subprocess

from . import blackout_table, results
from .words import amount, missing_c, name_of, times, unit_of

BENCH = pathlib.Path(__file__).resolve().parent

# 64 GiB, in MiB. A file of that size with 16 MiB of data must cost what its
# data costs.
SPARSE_LONG = 65536
SPARSE_LIMIT_NS = 100e6


def table_lines(table, spread=None):
    """The table of the terminal, without the blackout, which has its own."""
    lines = [f"{'operation':58} {'n':>7}  {'C':>11}  {'this module':>11}  ratio"]
    previous = None
    for row in table:
        if row.key.op.startswith("blackout"):
            continue
        name = name_of(row.key)
        if previous and previous != name:
            lines.append("")
        shown = "" if name == previous else name
        previous = name
        c = amount(row.c, unit_of(row))
        note = ""
        if row.c is None:
            c, note = "-", "  C: " + missing_c(row)
        elif row.ours is None:
            note = "  this module: not measured"
        if spread:
            note += "  " + spread(row.key)
        lines.append(f"{shown:58} {row.key.n:>7,}  {c:>11}  "
                     f"{amount(row.ours, unit_of(row)):>11}  "
                     f"{times(row.ratio):>7}{note}")
    return lines


def sparse_verdict(table, notes):
    """Whether a sparse file of 64 GiB costs what its data costs."""
    found = {row.key.op: row.ours for row in table
             if row.key.layout == "sparse" and row.key.n == SPARSE_LONG and row.ours}
    if {"preserve", "retrieve"} <= set(found):
        text = (f"preserve {amount(found['preserve'])}, "
                f"retrieve {amount(found['retrieve'])}")
        return max(found.values()) < SPARSE_LIMIT_NS, text
    why = [note for note in notes if note.startswith(f"{results.OURS}: sparse: ")]
    return False, why[0] if why else "not measured"


def target_line(target, table):
    """(holds, what, wanted, measured) of a target."""
    found = results.judge(target, table)
    if target.op == "*":
        what = "any operation at any size"
    else:
        what = results.OPERATIONS[target.op]
        if target.layout != "*":
            what += ": " + results.LAYOUTS[target.layout]
        if target.n != "*":
            what += f", n = {int(target.n):,}"
    wanted = times(target.least)
    if target.most is not None:
        wanted = f"at most {amount(target.most)}{target.per}"
    if not found:
        return False, what, wanted, "not measured"
    worst = found[0]
    if target.most is not None:
        value = results.value_for(target, worst)
        measured = f"{amount(value)}{target.per}"
        if target.n == "*":
            measured += f" at worst (n = {worst.key.n:,})"
        return value <= target.most, what, wanted, measured
    measured = times(worst.ratio)
    if target.op == "*":
        missed = [row for row in found if row.ratio < target.least]
        measured += f" at worst ({name_of(worst.key)}, n = {worst.key.n:,})"
        measured += f"; {len(missed)} of {len(found)} below" if missed else ""
    elif target.layout == "*":
        measured += f" at worst ({name_of(worst.key)}, n = {worst.key.n:,})"
    elif target.n == "*":
        measured += f" at worst (n = {worst.key.n:,})"
    return worst.ratio >= target.least, what, wanted, measured


def target_lines(targets, table, notes):
    """(holds, what, wanted, measured) of each target. A row that a target of
    its own names is not judged by the one for any operation."""
    named = {target.op for target in targets if target.layout == "*"}
    rest = [row for row in table if row.key.op not in named]
    verdicts = [target_line(target, rest if target.op == "*" else table)
                for target in targets]
    holds, text = sparse_verdict(table, notes)
    verdicts.append((holds, "sparse, 16 MiB of data in 64 GiB",
                     "ms, no hole filled", text))
    return verdicts


def print_report(table, targets, notes, spread=None):
    """Print everything."""
    print("\n".join(table_lines(table, spread)))
    for line in ["", *blackout_table.table_lines(table)]:
        print(line)
    for note in notes:
        print(f"note: {note}")
    print()
    for holds, what, wanted, measured in target_lines(targets, table, notes):
        print(f"{'holds ' if holds else 'MISSED'}  {what}: {measured}, "
              f"wanted {wanted}")


def draw(csv, svg):
    """Draw the curves."""
    subprocess.run(["gnuplot", "-e", f"csv='{csv}'; svg='{svg}'",
                    str(BENCH / "curves.gp")], check=True)
