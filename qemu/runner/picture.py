# SPDX-License-Identifier: GPL-2.0-only
"""Timelines of demos as SVG pictures."""

import collections
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT = 900, 190, 70, 20
HOST, GUEST, AXIS = 40, 100, 150
BAR = 26
STYLE = ("text{font:13px sans-serif;fill:#222} .host{fill:#b8cfe5} "
         ".guest{fill:#9fd3a8} .pause{fill:none;stroke:#c0392b;stroke-dasharray:4 3} "
         ".tick{stroke:#2e7d32} .gap{fill:#f6d5d1} "
         ".packets{fill:#2e7d32} .axis{stroke:#888} .sheet{fill:#fff}")


def block(kind, span, top, text=""):
    """A bar of the x coordinates `span`, with a text in it."""
    left, right = span
    middle = (left + right) / 2
    yield (f'<rect class="{kind}" x="{left:.1f}" y="{top}" '
           f'width="{max(0, right - left):.1f}" height="{BAR}"/>')
    if text:
        yield (f'<text x="{middle:.1f}" y="{top + 18}" text-anchor="middle">'
               f'{escape(text)}</text>')


def scale(end):
    """A function from seconds to x coordinates, for a picture of `end` seconds."""
    return lambda seconds: LEFT + seconds / end * (WIDTH - LEFT - RIGHT)


def sheet(title, second):
    """The start of a picture with two rows: the host, and what `second` says."""
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="sheet" width="{WIDTH}" height="{HEIGHT}"/>',
            f'<text x="5" y="{HOST + 18}">host</text>',
            f'<text x="5" y="{GUEST + 18}">{second}</text>']


def axis(end):
    """The time axis of a picture, and the end of the picture."""
    step = min(step for step in (5, 10, 20, 50, 100, 1000) if end / step < 16)
    at = scale(end)
    yield (f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
           f'y1="{AXIS}" y2="{AXIS}"/>')
    for seconds in range(0, int(end) + 1, step):
        yield (f'<text x="{at(seconds):.1f}" y="{AXIS + 20}" text-anchor="middle">'
               f'{seconds} s</text>')
    yield "</svg>"
    yield ""


def stays(timeline, end):
    """For each kernel: when it booted, when the next one did, when it was left (one
    time or none), and its name."""
    boots = [*timeline.boots, (end, "")]
    for number, (begin, name) in enumerate(timeline.boots):
        until = boots[number + 1][0]
        left = [seconds for seconds in timeline.kexecs if begin < seconds < until]
        yield begin, until, left[:1], name


def draw(timeline):
    """The picture of a GuestTimeline."""
    end = max([1, *(seconds for seconds, _, _ in timeline.ticks)]) + 0.5
    at = scale(end)
    parts = sheet("A guest goes on while its host's kernel is updated", "guest")
    lives = []  # first and last tick in each kernel, and when the guest was suspended
    for begin, until, left, name in stays(timeline, end):
        parts += block("host", (at(begin), at(*left or [until])), HOST, name)
        inside = [tick for tick in timeline.ticks if begin < tick[0] <= until]
        if inside:
            lives.append((inside[0], inside[-1], max([inside[-1][0], *left])))
    for number, (first, last, until) in enumerate(lives):
        parts += block("guest", (at(first[0]), at(until)), GUEST,
                       f"up {first[2]:.0f} to {last[2]:.0f} s")
        if number < len(timeline.pauses) and number + 1 < len(lives):
            parts += block("pause", (at(until), at(lives[number + 1][0][0])), GUEST,
                           f"{timeline.pauses[number][0]:.1f} s")
    parts += [f'<line class="tick" x1="{at(seconds):.1f}" x2="{at(seconds):.1f}" '
              f'y1="{GUEST + BAR + 2}" y2="{GUEST + BAR + 8}"/>'
              for seconds, _, _ in timeline.ticks]
    return "\n".join([*parts, *axis(end)])


def draw_packets(timeline, card, phases):
    """The picture of a CardTimeline: kernels, and how many packets landed when.

    `phases` are those in which no program drives the card."""
    start = timeline.start
    landed = [moment - start for moment in card.landed.values()]
    end = max([1, *landed]) + 0.5
    at = scale(end)
    parts = sheet("A device goes on while the kernel is replaced", "packets")
    for begin, until, left, name in stays(timeline, end):
        parts += block("host", (at(begin), at(*left or [until])), HOST, name)
    for phase in phases:
        span = at(phase.begin - start), at(min(phase.end - start, end))
        parts += block("gap", span, GUEST)
    # A bar for each pixel, the taller the more packets.
    counts = collections.Counter(int(at(seconds)) for seconds in landed)
    most = max(counts.values(), default=1)
    for place, count in sorted(counts.items()):
        parts.append(f'<rect class="packets" x="{place}" width="1" '
                     f'y="{GUEST + BAR * (1 - count / most):.1f}" '
                     f'height="{BAR * count / most:.1f}"/>')
    return "\n".join([*parts, *axis(end)])
