# SPDX-License-Identifier: GPL-2.0-only
"""The table of what ran between different kernels."""

WIDTH = 24


def cell(verdict):
    """A verdict in a few letters."""
    counts = verdict.counts
    if counts.failed:
        return f"FAIL ({counts.failed} of {counts.failed + counts.passed})"
    if not counts.passed:
        return "skipped"
    left_out = f", {counts.skipped} left out" if counts.skipped else ""
    return f"ok ({counts.passed}{left_out})"


def pair_lines(pairs):
    """One row for each kernel before the kexec, one column for each after."""
    rows = sorted({pair[0] for pair in pairs}, reverse=True)
    columns = sorted({pair[1] for pair in pairs}, reverse=True)
    yield ("handover: from the kernel of the row to that of the column "
           "(cases that passed)")
    yield " " * 12 + "".join(f"{name:{WIDTH}}" for name in columns).rstrip()
    for row in rows:
        cells = (cell(pairs[row, name]) if (row, name) in pairs else "-"
                 for name in columns)
        yield f"{row:12}" + "".join(f"{text:{WIDTH}}" for text in cells).rstrip()


def left_out_lines(results):
    """Why cases and scenarios were left out, each reason once."""
    lines = {}
    for scenario, verdict in results:
        skipped = sorted({note for note in verdict.notes
                          if note.startswith("SKIP")})
        for reason in skipped + verdict.reasons:
            lines[f"  left out: {' -> '.join(scenario.kernels)}: {reason}"] = True
    return list(lines)


def lines_of(results):
    """The whole table, from (scenario, verdict); empty without handovers."""
    results = [(scenario, verdict) for scenario, verdict in results
               if scenario.pair or scenario.chain]
    pairs = {scenario.pair: verdict for scenario, verdict in results
             if scenario.pair}
    chains = sorted((r for r in results if r[0].chain),
                    key=lambda r: len(r[0].kernels))
    lines = list(pair_lines(pairs)) if pairs else []
    lines += [f"{cell(verdict):{WIDTH}}{' -> '.join(scenario.kernels)}"
              for scenario, verdict in chains]
    return lines + left_out_lines(results)
