# SPDX-License-Identifier: GPL-2.0-only
"""The timeline of a guest and its host as an SVG picture."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 900, 70, 20
HOST, GUEST, AXIS = 40, 100, 150
BAR = 26
STYLE = ("text{font:13px sans-serif;fill:#222} .host{fill:#b8cfe5} "
         ".guest{fill:#9fd3a8} .pause{fill:none;stroke:#c0392b;stroke-dasharray:4 3} "
         ".tick{stroke:#2e7d32} .axis{stroke:#888} .sheet{fill:#fff}")


def block(kind, span, top, text=""):
    """A bar of the x coordinates `span`, with a text in it."""
    left, right = span
    middle = (left + right) / 2
    yield (f'<rect class="{kind}" x="{left:.1f}" y="{top}" '
           f'width="{max(0, right - left):.1f}" height="{BAR}"/>')
    if text:
        yield (f'<text x="{middle:.1f}" y="{top + 18}" text-anchor="middle">'
               f'{escape(text)}</text>')


def draw(timeline):
    """The picture of a GuestTimeline."""
    end = max([1, *(seconds for seconds, _, _ in timeline.ticks)]) + 0.5

    step = next(step for step in (5, 10, 20, 50, 100, 1000) if end / step < 16)

    def at(seconds):
        return LEFT + seconds / end * (WIDTH - LEFT - RIGHT)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 190">',
             "<title>A guest goes on while its host's kernel is updated</title>",
             f"<style>{STYLE}</style>",
             f'<rect class="sheet" width="{WIDTH}" height="190"/>',
             f'<text x="5" y="{HOST + 18}">host</text>',
             f'<text x="5" y="{GUEST + 18}">guest</text>']
    boots = [*timeline.boots, (end, "")]
    lives = []  # first and last tick in each kernel, and when the guest was suspended
    for number, (begin, name) in enumerate(timeline.boots):
        until = boots[number + 1][0]
        left = [seconds for seconds in timeline.kexecs if begin < seconds < until]
        parts += block("host", (at(begin), at(left[0] if left else until)), HOST, name)
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
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
                 f'y1="{AXIS}" y2="{AXIS}"/>')
    parts += [f'<text x="{at(seconds):.1f}" y="{AXIS + 20}" text-anchor="middle">'
              f'{seconds} s</text>' for seconds in range(0, int(end) + 1, step)]
    return "\n".join([*parts, "</svg>", ""])
