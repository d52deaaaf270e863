# SPDX-License-Identifier: GPL-2.0-only
#
# How results are shown: the table on the terminal, the targets, the section of
# README.md between its markers, and the curves.

"""Print benchmark results and put them into README.md."""

import pathlib
import subprocess

import results

BENCH = pathlib.Path(__file__).resolve().parent
README = BENCH.parent / "README.md"
BEGIN = "<!-- bench: written by make bench, from here -->"
END = "<!-- bench: to here -->"
SIZES = (100, 1000, 10000, 20000, 50000)
# A sparse file's cost, and that of these, is not one of many.
SPARSE_LONG = 65536
SPARSE_LIMIT_NS = 100e6


def amount(value, unit="ns"):
    """A number with three digits and the unit that suits it."""
    if value is None:
        return "-"
    if unit == "byte":
        return f"{value:.0f} B" if value >= 100 else f"{value:.1f} B"
    for factor, name in ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns")):
        if value >= factor or factor == 1:
            number = value / factor
            digits = 0 if number >= 100 else 1 if number >= 10 else 2
            return f"{number:.{digits}f} {name}"
    return "-"


def times(ratio):
    """A ratio."""
    if ratio is None:
        return "-"
    return f"{ratio:.0f} x" if ratio >= 100 else (
        f"{ratio:.1f} x" if ratio >= 10 else f"{ratio:.2f} x")


def unit_of(row):
    """What a row's numbers are."""
    return "byte" if row.key.op == "memory" else "ns"


def name_of(key):
    """Operation and layout in words."""
    layout = results.LAYOUTS.get(key.layout) or results.MEMORY[key.layout]
    return f"{results.OPERATIONS[key.op]}: {layout}"


def missing_c(row):
    """Why there is no number of the C implementation."""
    if row.key.op == "load":
        return "at boot"
    if row.key.layout == "sparse":
        return "fills holes"
    if row.estimate is None:
        return "not measured"
    count = row.key.n if row.key.op not in ("open", "blackout", "serialize") else 1
    return f"not measured (would take {amount(row.estimate * count)})"


def table_lines(table, spread=None):
    """The table of the terminal."""
    lines = [f"{'operation':58} {'n':>7}  {'C':>11}  {'this module':>11}  ratio"]
    previous = None
    for row in table:
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


def target_lines(targets, table, notes):
    """(holds, what, wanted, had) of each target."""
    verdicts = []
    for target in targets:
        found = results.judge(target, table)
        if target.op == "*":
            what = "any operation at any size"
        else:
            what = (results.OPERATIONS[target.op] + ": " +
                    results.LAYOUTS[target.layout])
            what += "" if target.n == "*" else f", n = {int(target.n):,}"
        if not found:
            verdicts.append((False, what, times(target.least), "not measured"))
            continue
        worst = found[0]
        had = times(worst.ratio)
        if target.op == "*":
            missed = [row for row in found if row.ratio < target.least]
            had += f" at worst ({name_of(worst.key)}, n = {worst.key.n:,})"
            had += f"; {len(missed)} of {len(found)} below" if missed else ""
        elif target.n == "*":
            had += f" at worst (n = {worst.key.n:,})"
        verdicts.append((worst.ratio >= target.least, what,
                         times(target.least), had))
    holds, text = sparse_verdict(table, notes)
    verdicts.append((holds, "sparse, 16 MiB of data in 64 GiB",
                     "ms, no hole filled", text))
    return verdicts


def print_report(table, targets, notes, spread=None):
    """Everything, to the terminal."""
    print("\n".join(table_lines(table, spread)))
    for note in notes:
        print(f"note: {note}")
    print()
    for holds, what, wanted, had in target_lines(targets, table, notes):
        print(f"{'holds ' if holds else 'MISSED'}  {what}: {had}, "
              f"wanted {wanted}")


def cell(row):
    """One size of one operation in README.md."""
    if row is None or row.ours is None:
        return ""
    if row.c is None:
        return f"- / {amount(row.ours)}"
    return f"{amount(row.c)} / {amount(row.ours)} = **{times(row.ratio)}**"


def readme_lines(table, targets, notes):
    """The section of README.md."""
    lines = ["`make bench` wrote this; all of it is in "
             "[bench/results.csv](bench/results.csv).", "",
             "| target, C time to ours | wanted | measured | |",
             "|---|---|---|---|"]
    for holds, what, wanted, had in target_lines(targets, table, notes):
        lines.append(f"| {what} | {wanted} | {had} | "
                     f"{'holds' if holds else '**missed**'} |")
    lines += ["", "C / this module = ratio:", "",
              "| operation | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |",
              "|---" * (len(SIZES) + 1) + "|"]
    by_name = {}
    for row in table:
        if row.key.n in SIZES and row.key.op not in ("memory", "load") and \
                row.key.layout in ("each", "one", "spread"):
            by_name.setdefault(name_of(row.key), {})[row.key.n] = row
    for name, found in by_name.items():
        lines.append(f"| {name} | " +
                     " | ".join(cell(found.get(n)) for n in SIZES) + " |")
    lines += ["", "| of a memfd | 1 MiB | 16 MiB | 256 MiB | 1 GiB |",
              "|---|---|---|---|---|"]
    by_name = {}
    for row in table:
        if row.key.layout.startswith("dense"):
            by_name.setdefault(name_of(row.key), {})[row.key.n] = row
    for name, found in by_name.items():
        lines.append(f"| {name} | " + " | ".join(
            cell(found.get(mib * 256)) for mib in (1, 16, 256, 1024)) + " |")
    lines += ["", "| memory for itself | C | this module |", "|---|---|---|"]
    for row in table:
        if row.key.op == "memory":
            lines.append(f"| {results.MEMORY[row.key.layout]} | "
                         f"{amount(row.c, 'byte')} | {amount(row.ours, 'byte')} |")
    lines += ["", "![scaling curves](bench/curves.svg)"]
    return lines


def rewrite_readme(table, targets, notes):
    """Replace what stands between the markers."""
    text = README.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"README.md has no lines {BEGIN} and {END}")
    section = "\n".join(readme_lines(table, targets, notes))
    README.write_text(f"{before}{BEGIN}\n\n{section}\n\n{END}{after}",
                      encoding="utf-8")


def draw(csv, svg):
    """The curves; gnuplot says what is wrong if something is."""
    subprocess.run(["gnuplot", "-e", f"csv='{csv}'; svg='{svg}'",
                    str(BENCH / "curves.gp")], check=True)
