# SPDX-License-Identifier: GPL-2.0-only
"""Prints what happens in the guest of a demo, as its lines arrive.

The times are those at which the host read a line.
"""

import re


class Timeline:
    """Prints the lines that tell what happens. `marks` says what those of
    say_time in guest.sh mean."""

    def __init__(self, marks):
        self.texts = marks
        self.start = None
        self.marks = {}
        self.boots = []  # (seconds, name) of each kernel

    def __call__(self, line):
        if self.start is None:
            self.start = line.time
        if line.port == "console":
            self.console(line)
        else:
            self.tests(line)

    def kernel(self, _number, version):
        """What a kernel is called: the one of that boot, counted from 1."""
        return f"Linux {version}"

    def at(self, line, text):
        """Print one point of the timeline."""
        print(f"  {line.time - self.start:6.2f} s  {text}", flush=True)

    def console(self, line):
        """A line of the kernel log."""
        if "] Linux version " in line.text:
            version = line.text.split("Linux version ")[1].split()[0]
            number = len(self.boots) + 1
            name = self.kernel(number, version)
            self.boots.append((line.time - self.start, name))
            which = "first" if number == 1 else "next"
            self.at(line, f"boot {number}: the {which} kernel, {name}")
        elif "liveupdate: " in line.text:
            self.at(line, "kernel: " + line.text.split("] ", 1)[-1])

    def tests(self, line):
        """A line of the guest's scripts."""
        mark = re.match(r"MARK (\S+)", line.text)
        if mark:
            name = mark.group(1)
            self.marks[name] = line.time
            self.at(line, self.texts.get(name, name))
        elif line.text.startswith("DEMO "):
            self.at(line, line.text[len("DEMO "):])
        elif (line.text.startswith(("RESULT fail", "scenario ", "# ")) and
              not line.text.startswith("# run")):
            self.at(line, line.text)
