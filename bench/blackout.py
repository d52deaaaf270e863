# SPDX-License-Identifier: GPL-2.0-only
"""The blackout: from reboot(2) to the moment at which the last file is usable, less
the same kexec with nothing preserved. Its states, and its parts.
"""

import collections

# What each part is made of. Only the first four exist with nothing preserved.
PARTS = {
    "serialize": ("reboot",),
    "boot": ("boot",),
    "load": ("load",),
    "open": ("open",),
    "retrieve": ("retrieve_session", "retrieve", "read"),
}
NOTHING = ("empty", 0)
PREFIX = "blackout."

State = collections.namedtuple("State", "name layout n")

# The rows of the table. `n` is MiB, but for sessions.
STATES = [State(*line) for line in (
    ("64 MiB, small folios", "contiguous", 64),
    ("512 MiB, small folios", "contiguous", 512),
    ("2 GiB, small folios", "contiguous", 2048),
    ("64 MiB, scattered small folios", "scattered", 64),
    ("128 MiB, scattered small folios", "scattered", 128),
    ("512 MiB, scattered small folios", "scattered", 512),
    ("1 GiB, scattered small folios", "scattered", 1024),
    ("128 MiB, scattered, then collapsed", "collapsed", 128),
    ("1 GiB, huge folios", "huge", 1024),
    ("16 MiB of data in 1 GiB", "hollow", 1024),
    ("16 MiB of data in 64 GiB", "hollow", 65536),
    ("1 GiB, one page written after preserve", "late", 1024),
    ("20,000 sessions of a small file", "each", 20000),
)]
LAYOUTS = {
    "contiguous": "n MiB, small folios",
    "scattered": "n MiB, scattered small folios",
    "collapsed": "n MiB, scattered, then collapsed",
    "huge": "n MiB, huge folios",
    "hollow": "16 MiB of data in n MiB",
    "late": "n MiB, one page written after preserve",
}
PAGES_IN_MIB = 256


def pages(key):
    """The pages of a file that is full of data."""
    return key.n * PAGES_IN_MIB


def split(total, layout, n):
    """The time of each part in ns, or None if one was not measured. `total` returns
    what all operations of a kind took, with one state."""
    found = {}
    for part, operations in PARTS.items():
        times_of = [total(op, layout, n) for op in operations]
        if part == "load" and times_of == [None]:
            # C has no module: its boot does that.
            times_of = [0]
        if None in times_of:
            return None
        found[part] = sum(times_of)
        if part != "retrieve":
            # The clock of the log has us, and the one of a boot has some noise.
            found[part] = max(0, found[part] - (total(*operations, *NOTHING) or 0))
    return found
