# SPDX-License-Identifier: GPL-2.0-only
"""The generated parts of docs/performance.md and README.md.

Each stands between two markers. What is outside of them is written by hand.
"""

from . import blackout, blackout_table, results
from .report import BENCH, target_lines
from .results import Key
from .words import amount, name_of, times

TOP = BENCH.parent
PERFORMANCE = TOP / "docs" / "performance.md"
README = TOP / "README.md"

SIZES = (100, 1000, 10000, 20000, 50000)
MEMFD_SIZES_MIB = (1, 16, 256, 1024)
PAGES_IN_MIB = 256

# The rows of README.md, and the operations that a line of it lists.
SUMMARY_STATES = {("contiguous", 2048), ("scattered", 128), ("scattered", 512),
                  ("huge", 1024), ("late", 1024), ("each", 20000)}
SUMMARY = {
    "create a session": Key("create_session", "each", 20000),
    "first open after kexec": Key("open", "each", 20000),
    "preserve a small file": Key("preserve", "one", 20000),
    "retrieve a small file": Key("retrieve", "one", 20000),
    "preserve, per page of a 1 GiB memfd": Key("preserve", "dense-small", 262144),
    "retrieve, per page of a 1 GiB memfd": Key("retrieve", "dense-small", 262144),
}


def markers(name):
    """The lines around a generated part."""
    return (f"<!-- {name}: written by make bench, from here -->",
            f"<!-- {name}: to here -->")


def cell(row):
    """One size of one operation."""
    if row is None or row.ours is None:
        return ""
    if row.c is None:
        return f"- / {amount(row.ours)}"
    return f"{amount(row.c)} / {amount(row.ours)} = **{times(row.ratio)}**"


def table_of(rows, first, columns, sizes):
    """A table of operations, one column for each size."""
    lines = ["| " + " | ".join([first, *columns]) + " |",
             "|---" * (len(columns) + 1) + "|"]
    by_name = {}
    for row in rows:
        by_name.setdefault(name_of(row.key), {})[row.key.n] = row
    for name, found in by_name.items():
        cells = (cell(found.get(size)) for size in sizes)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def performance_lines(table, targets, notes):
    """The part of docs/performance.md."""
    lines = ["`make bench` writes these tables. All numbers are in "
             "[bench/results.csv](../bench/results.csv).", ""]
    lines += blackout_lines(table)
    lines += ["", "| target, C time to ours | wanted | measured | |",
             "|---|---|---|---|"]
    for holds, what, wanted, measured in target_lines(targets, table, notes):
        lines.append(f"| {what} | {wanted} | {measured} | "
                     f"{'holds' if holds else '**missed**'} |")
    lines += ["", "C / this module = ratio:", ""]
    lines += table_of(
        [row for row in table if row.key.n in SIZES and
         row.key.op not in ("memory", "load") and
         not row.key.op.startswith(blackout.PREFIX) and
         row.key.layout in results.FILES],
        "operation", [f"n = {n:,}" for n in SIZES], SIZES)
    lines.append("")
    lines += table_of(
        [row for row in table if row.key.layout.startswith("dense")],
        "of a memfd", ["1 MiB", "16 MiB", "256 MiB", "1 GiB"],
        [mib * PAGES_IN_MIB for mib in MEMFD_SIZES_MIB])
    lines += ["", "| memory for itself | C | this module |", "|---|---|---|"]
    for row in table:
        if row.key.op == "memory":
            lines.append(f"| {results.MEMORY[row.key.layout]} | "
                         f"{amount(row.c, 'byte')} | {amount(row.ours, 'byte')} |")
    return lines + ["", "![scaling curves](../bench/curves.svg)"]


def blackout_lines(table):
    """The whole blackout, and what it is measured against."""
    lines = ["The whole blackout, C / this module:", ""]
    lines += blackout_table.table_lines(table)
    base = [row for row in table if row.key.op == "boot" and row.c and row.ours]
    if base:
        lines += ["", "A boot with nothing preserved takes "
                  f"{amount(base[0].c)} / {amount(base[0].ours)}."]
    return lines


def summary_lines(table):
    """The part of README.md: rows of the blackout, and one line of numbers."""
    rows = {row.key: row for row in table}
    lines = blackout_table.summary_lines(table, SUMMARY_STATES)
    words = [f"{name} {amount(rows[key].c)} / {amount(rows[key].ours)}"
             for name, key in SUMMARY.items() if key in rows]
    if words:
        lines += ["", "Single operations, with 20,000 sessions or files, "
                  f"C / this module: {'; '.join(words)}."]
    return lines


def rewrite_part(path, name, lines):
    """Replace what stands between two markers of a file."""
    begin, end = markers(name)
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path.name} has no lines {begin} and {end}")
    part = "\n".join(lines)
    path.write_text(f"{before}{begin}\n\n{part}\n\n{end}{after}", encoding="utf-8")


def rewrite(table, targets, notes):
    """Write both parts."""
    rewrite_part(PERFORMANCE, "bench", performance_lines(table, targets, notes))
    rewrite_part(README, "bench-summary", summary_lines(table))
