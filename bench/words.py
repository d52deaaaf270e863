# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and operations as text."""

from . import results


def amount(value, unit="ns"):
    """A number with three digits and the unit that suits it."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
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
    """The unit of a row's numbers."""
    return "byte" if row.key.op == "memory" else "ns"


def name_of(key):
    """Operation and layout."""
    layout = results.LAYOUTS.get(key.layout) or results.MEMORY[key.layout]
    return f"{results.OPERATIONS[key.op]}: {layout}"


def missing_c(row):
    """Why the C implementation has no number in a row."""
    if row.key.op == "load":
        return "at boot"
    if row.key.layout == "sparse":
        return "fills holes"
    if row.estimate is None:
        return "not measured"
    count = row.key.n if row.key.op not in ("open", "blackout", "serialize") else 1
    return f"not measured (would take {amount(row.estimate * count)})"
