# SPDX-License-Identifier: GPL-2.0-only
"""From the lines of benchmark guests to nanoseconds for each operation, layout
and size. Nothing here prints.
"""

import collections
import csv
import math
import pathlib
import re
import statistics

from . import blackout

C = "c-7.3"
OURS = "rust-7.3"

Key = collections.namedtuple("Key", "op layout n")
# The boot that others are compared with.
BASE = Key("boot", *blackout.NOTHING)
# `count` operations of this key took `ns` together.
Timing = collections.namedtuple("Timing", "key count ns")

BENCH = re.compile(r"^BENCH (\S+) (\S+) (\d+) (\d+) (\d+)$")
MEM = re.compile(r"^MEM (\S+) (\S+) (\d+) (-?\d+)$")
BOOTED = re.compile(r"^BOOTED (\d+) (\d+)$")
MARK = re.compile(r"^\[ *(\d+\.\d+)\] bench: reboot (\d+) (\d+)")
LEFT = re.compile(r"^\[ *(\d+\.\d+)\] kexec_core: Starting new kernel")

# Tables have this order.
OPERATIONS = {
    "create_session": "create a session",
    "close": "close a session",
    "retrieve_session": "retrieve a session",
    "close_finished": "close a finished session",
    "preserve": "preserve",
    "unpreserve": "unpreserve",
    "retrieve": "retrieve",
    "finish": "finish",
    "load": "load the module",
    "open": "first open after kexec",
    "open_sessions": "first open, retrieve sessions",
    "usable": "retrieve all, read the last pages",
    "boot": "boot of the next kernel",
    **{blackout.PREFIX + part: f"blackout, {part}" for part in blackout.PARTS},
    "blackout": "blackout",
    "memory": "memory",
}
LAYOUTS = {
    "each": "n sessions of one file",
    "one": "n files in one session",
    "spread": "n files over 1,000 sessions",
    "dense-small": "a page of n, small folios",
    "dense-large": "a page of n, large folios",
    "sparse": "16 MiB of data in n MiB",
    **blackout.LAYOUTS,
    "in-turn": "8 files of n MiB, one after the other",
    "at-once": "8 files of n MiB, by 8 processes",
    "empty": "nothing preserved",
}
FILES = ("each", "one", "spread")
MEMORY = {
    "session": "a session",
    "file": "a one-page file",
    "page": "a page of 1 GiB",
    "page-preserve-peak": "a page, peak during preserve",
    "page-retrieve-peak": "a page, peak during retrieve",
}


def parse_tests(lines):
    """Timings, memory as (Key, bytes for one), and notes, from the test port."""
    timings, memory, notes = [], [], []
    for text in lines:
        found = BENCH.match(text)
        if found:
            op, layout = found.group(1, 2)
            n, count, ns = map(int, found.group(3, 4, 5))
            timings.append(Timing(Key(op, layout, n), count, ns))
            continue
        found = MEM.match(text)
        if found:
            what, count, size = found.group(2), *map(int, found.group(3, 4))
            memory.append((Key("memory", what, count), size / count))
        elif text.startswith("NOTE "):
            notes.append(text[len("NOTE "):])
    return timings, memory, notes


def parse_console(lines):
    """For each stage, from the console: the ticks before reboot(2), and the
    nanoseconds from there to leaving the kernel."""
    left = {}
    stage = start = ticks = None
    for text in lines:
        found = MARK.match(text)
        if found:
            start = float(found.group(1))
            stage, ticks = map(int, found.group(2, 3))
            continue
        found = LEFT.match(text)
        if found and stage is not None:
            left[stage] = ticks, round((float(found.group(1)) - start) * 1e9)
            stage = None
    return left


def parse_boots(lines):
    """For each stage, from the test port: the ticks at which user space began."""
    return {int(found.group(1)): int(found.group(2))
            for found in map(BOOTED.match, lines) if found}


def kexecs(steps, left, booted):
    """Timings of both sides of each kexec, named after the step that made the
    state. A tick is a nanosecond."""
    timings = []
    for stage, (ticks, ns) in left.items():
        layout, _, n = steps[stage - 1].partition(":")
        key = Key("reboot", layout, int(n or 0))
        timings.append(Timing(key, 1, ns))
        if stage + 1 in booted:
            timings.append(Timing(key._replace(op="boot"), 1,
                                  booted[stage + 1] - ticks - ns))
    return timings


class Results:
    """Everything that was measured of one implementation, in several rounds.
    `exact` is false by wall clock: there nothing is known of a tick, and the time
    to load the module varies by more than incoming sessions add to it.
    """

    def __init__(self, exact=True):
        self.exact = exact
        self.rounds = collections.defaultdict(list)
        self.counts = {}
        self.notes = []

    def add(self, steps, tests, console):
        """Add the lines of one guest."""
        timings, memory, notes = parse_tests(tests)
        timings += kexecs(steps, parse_console(console), parse_boots(tests))
        for timing in timings:
            self.counts[timing.key] = timing.count
            self.rounds[timing.key].append(timing.ns)
        for key, size in memory:
            self.counts[key] = 1
            self.rounds[key].append(size)
        self.notes += [note for note in notes if note not in self.notes]

    def total(self, op, layout, n):
        """The median of the rounds, or None."""
        values = self.rounds.get(Key(op, layout, n))
        return statistics.median(values) if values else None

    def values(self):
        """One number for each key: ns (or bytes) for one operation, and the parts
        of the blackout for each state."""
        found = {}
        for key in self.rounds:
            if key.op == "reboot":
                found |= self.blackout(key.layout, key.n)
            elif self.is_shown(key):
                found[key] = self.total(*key) / self.counts[key]
        return found

    def is_shown(self, key):
        """Whether an operation is of interest by itself, not as a part."""
        if key.op == "boot" or key.layout == "empty":
            return self.exact and key == BASE
        if key.op in ("load", "open"):
            # These are measured for layouts of sessions only.
            return key.layout in FILES
        return key.op != "read" and key.layout not in blackout.LAYOUTS

    def blackout(self, layout, n):
        """The blackout with one state, and its parts."""
        single = layout in FILES or layout in blackout.LAYOUTS
        nothing = self.total("reboot", *blackout.NOTHING)
        if not self.exact or not single or nothing is None:
            return {}
        parts = blackout.split(self.total, layout, n)
        if parts is None:
            return {}
        found = {Key(blackout.PREFIX + part, layout, n): ns
                 for part, ns in parts.items()}
        found[Key("blackout", layout, n)] = sum(parts.values())
        return found

    def spread(self, key):
        """Largest deviation of a round from the median, as a part of it."""
        values = self.rounds.get(key, [])
        middle = statistics.median(values) if values else 0
        return max(abs(v - middle) for v in values) / middle if middle else 0.0


def combined(values):
    """Add up the first open and retrieve_session where sessions are few: either
    of the two may read their files, so only the sum can be compared.
    """
    found = {}
    for key, value in values.items():
        if key.layout in ("one", "spread") and key.op in ("open", "retrieve_session"):
            sessions = min(key.n, 1000) if key.layout == "spread" else 1
            factor = sessions if key.op == "retrieve_session" else 1
            both = Key("open_sessions", key.layout, key.n)
            found[both] = found.get(both, 0) + value * factor
        else:
            found[key] = value
    return found


Row = collections.namedtuple("Row", "key c ours ratio estimate")


def estimate(values, key):
    """Extrapolate a size that was not measured from the two below it."""
    known = sorted((k.n, v) for k, v in values.items()
                   if k.op == key.op and k.layout == key.layout and k.n < key.n)
    if len(known) < 2 or not known[-2][1] or not known[-1][1]:
        return None
    (n1, v1), (n2, v2) = known[-2:]
    slope = math.log(v2 / v1) / math.log(n2 / n1)
    return v2 * (key.n / n2) ** slope


def rows(c, ours):
    """The table, in order, from two Results."""
    c, ours = combined(c.values()), combined(ours.values())
    ops, layouts = list(OPERATIONS), list(LAYOUTS) + list(MEMORY)
    keys = sorted(set(c) | set(ours), key=lambda k: (
        ops.index(k.op), layouts.index(k.layout), k.n))
    table = []
    for key in keys:
        a, b = c.get(key), ours.get(key)
        ratio = a / b if a and b else None
        guess = estimate(c, key) if a is None and key.op != "load" else None
        table.append(Row(key, a, b, ratio, guess))
    return table


def write_csv(path, table):
    """The rows; ns for one operation, bytes for memory."""
    def number(value, digits=1):
        return "" if value is None else f"{value:.{digits}f}"

    with open(path, "w", encoding="ascii", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["operation", "layout", "n", "unit", "c", "module",
                         "ratio", "c_estimate"])
        for row in table:
            unit = "byte" if row.key.op == "memory" else "ns"
            writer.writerow([*row.key, unit, number(row.c), number(row.ours),
                             number(row.ratio, 3), number(row.estimate)])


# Either `least`, a ratio, or `most`, the ns of this module, which `per` says for what.
Target = collections.namedtuple("Target", "op layout n least most per",
                                defaults=(None, None, ""))
LIMIT = re.compile(r"^([0-9.]+)(ns|us|ms|s)(/page)?$")
UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def read_targets(path):
    """The lines of bench/targets."""
    targets = []
    for line in pathlib.Path(path).read_text(encoding="ascii").splitlines():
        words = line.split("#")[0].split()
        if words:
            op, layout, n, wanted = words
            limit = LIMIT.match(wanted)
            if limit:
                value, unit, per = limit.groups()
                targets.append(Target(op, layout, n, most=float(value) * UNITS[unit],
                                      per=per or ""))
            else:
                targets.append(Target(op, layout, n, float(wanted)))
    return targets


def value_for(target, row):
    """What a target limits, of one row."""
    if target.most is None:
        return row.ratio
    if row.ours is None or not target.per:
        return row.ours
    return row.ours / blackout.pages(row.key)


def judge(target, table):
    """The rows that a target names, the worst first. A target for every operation
    is not for the parts of a blackout, some of which are next to nothing."""
    matching = [row for row in table if
                row.key.op != "memory" and
                (row.key.op == target.op or target.op == "*" and
                 not row.key.op.startswith(blackout.PREFIX)) and
                target.layout in ("*", row.key.layout) and
                target.n in ("*", str(row.key.n)) and
                value_for(target, row) is not None]
    return sorted(matching, key=lambda row: value_for(target, row),
                  reverse=target.most is not None)
