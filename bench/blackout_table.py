# SPDX-License-Identifier: GPL-2.0-only
"""The table of the blackout, in Markdown, from the rows of results.py."""

from . import blackout
from .words import amount, times


def rows_of(table, state):
    """The rows of a state by part, and that of the sum."""
    return {row.key.op.removeprefix(blackout.PREFIX): row for row in table
            if (row.key.layout, row.key.n) == (state.layout, state.n) and
            row.key.op.startswith("blackout")}


def c_amount(row, unmeasured="not possible"):
    """What C needs, or what it would need."""
    if row.c is not None:
        return amount(row.c)
    return f"about {amount(row.estimate)}" if row.estimate else unmeasured


def pair(row):
    """C and this module, of one part."""
    if row is None or row.ours is None:
        return ""
    return f"{'-' if row.c is None else amount(row.c)} / {amount(row.ours)}"


def ratio_of(row):
    """The ratio, by the estimate if C was not measured."""
    if row.ratio is None and row.estimate and row.ours:
        return "about " + times(row.estimate / row.ours)
    return times(row.ratio)


def table_lines(table):
    """The whole table, in Markdown: C / this module. Empty without any row."""
    lines = []
    for state in blackout.STATES:
        found = rows_of(table, state)
        whole = found.get("blackout")
        if whole is None or whole.ours is None:
            continue
        cells = [pair(found.get(part)) for part in blackout.PARTS]
        lines.append(f"| {state.name} | {' | '.join(cells)} | "
                     f"{c_amount(whole)} / {amount(whole.ours)} | "
                     f"**{ratio_of(whole)}** |")
    if not lines:
        return []
    return ["| blackout | " + " | ".join(blackout.PARTS) + " | whole | ratio |",
            "|---" * (len(blackout.PARTS) + 3) + "|", *lines]


def summary_lines(table, states):
    """The table of README.md, with these states."""
    lines = ["| from `reboot(2)` to usable memory | C | this module | ratio |",
             "|---|---|---|---|"]
    for state in blackout.STATES:
        whole = rows_of(table, state).get("blackout")
        if (state.layout, state.n) in states and whole and whole.ours:
            lines.append(f"| {state.name} | {c_amount(whole)} | "
                         f"{amount(whole.ours)} | {ratio_of(whole)} |")
    return lines
