#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Update the kernel of a virtual machine's host, and print what happens, when.

The host is a QEMU guest with KVM. A monitor of userspace/vmm/ runs a Linux guest
there, which counts, checks its memory and its disk, and answers a client. The host
goes through a kexec for each kernel but the first. The exit status is 0 only if the
guest was started once and everything of it came back.

The names of the kernels are those of qemu/kernels.
"""

import re
import sys

from runner import demo, picture, verdict
from runner.timeline import Timeline

TICK = re.compile(r"GUEST guest: tick (\d+) uptime (\d+) gap \d+ memory (\w+)")
PAUSE = re.compile(r"# vmm: .*pause ([\d.]+)s: save and preserve ([\d.]+\S+), "
                   r"kexec and boot ([\d.]+\S+), resume ([\d.]+\S+) \((.*)\)")
FRAMES = re.compile(r"# (\d+) of (\d+) frames are where they were, (\d+) must not")


class GuestTimeline(Timeline):
    """The timeline of a host, and of the guest that runs on it."""

    def __init__(self, chain):
        super().__init__({})
        self.chain = chain  # the names of the kernels
        self.ticks = []     # (seconds, tick, uptime) of each line of the guest
        self.damaged = 0    # checks of the guest that failed
        self.begun = 0      # how often the guest was started
        self.answers = 0    # lines of the client that came back
        self.pauses = []    # (seconds, parts)
        self.frames = []    # (same, all, wrong) of each kexec
        self.kexecs = []    # when the host left a kernel

    def kernel(self, number, version):
        return f"Linux {version} ({self.chain[number - 1]})"

    def tests(self, line):
        text = line.text
        tick, pause = TICK.match(text), PAUSE.match(text)
        # The log of the monitor comes a second time before the next kexec.
        new = len(self.pauses) < len(self.kexecs)
        frames = FRAMES.match(text)
        now = line.time - self.start
        if tick:
            self.tick(line, int(tick[1]), int(tick[2]) / 100, tick[3])
        elif text.startswith("GUEST guest: begin"):
            self.begun += 1
            self.at(line, "guest: started, " + text.split("begin, ")[1])
        elif "BAD" in text:
            self.damaged += 1
            self.at(line, text)
        elif text.startswith("CLIENT "):
            self.answers += 1
            self.at(line, f"client: the guest answers \"{text.split(' ', 1)[1]}\"")
        elif pause and new:
            self.pauses.append((float(pause[1]), pause.groups()[1:]))
            self.at(line, f"monitor: the guest paused for {pause[1]} s: save and "
                          f"preserve {pause[2]}, kexec and boot {pause[3]}, "
                          f"resume {pause[4]}")
        elif frames:
            self.frames.append(tuple(map(int, frames.groups())))
            self.at(line, f"monitor: {text[2:]}")
        elif re.match(r"=== stage \d+ kexec", text):
            self.kexecs.append(now)
            self.at(line, "host: suspend the guest, then kexec -e")
        elif text.startswith(("RESULT fail", "scenario ")):
            self.at(line, text)

    def tick(self, line, tick, uptime, memory):
        """A line that the guest prints each second."""
        last = self.ticks[-1][1] if self.ticks else 0
        self.damaged += memory != "ok" or tick != last + 1
        # The first ticks in each kernel tell that the guest goes on.
        quiet = bool(self.ticks) and self.ticks[-1][0] > self.boots[-1][0]
        self.ticks.append((line.time - self.start, tick, uptime))
        if not quiet or memory != "ok":
            self.at(line, f"guest: tick {tick}, up for {uptime:.2f} s, memory {memory}")

    def complete(self, stages):
        """Whether the guest went through all kexecs as one, undamaged."""
        return (self.begun == 1 and not self.damaged and
                len(self.pauses) == len(self.frames) == stages - 1 and
                not any(wrong for _, _, wrong in self.frames) and
                self.answers == 3 * stages)


def summary(timeline, guest):
    """Print the numbers."""
    print()
    print("  host                  " +
          " -> ".join(kernel for _, kernel in timeline.boots))
    if timeline.ticks:
        (_, first, _), (_, last, uptime) = timeline.ticks[0], timeline.ticks[-1]
        print(f"  guest                 started {timeline.begun} time, ticks {first} "
              f"to {last}, up for {uptime:.2f} s")
    for number, (seconds, parts) in enumerate(timeline.pauses, 1):
        save, away, resume, detail = parts
        print(f"  pause {number}               {seconds:.2f} s: save and preserve "
              f"{save}, kexec and boot {away}, resume {resume}")
        print(f"                        resume: {detail}")
    for number, (same, count, wrong) in enumerate(timeline.frames, 1):
        print(f"  frames after kexec {number}  {same} of {count} where they were, "
              f"{wrong} of those that may not move elsewhere")
    print(f"  client                {timeline.answers} lines came back in order")
    print(f"  full logs             {guest.log('console')}, {guest.log('tests')}")


def main():
    """Run the demo; returns the exit status."""
    options = demo.options(__doc__)
    run = demo.through("demo_vm", options.kernel, "vmm")
    chain = run.kernels
    timeline = GuestTimeline(chain)
    guest = demo.boot(run, timeline, "make demo-vm")
    print("A Linux guest goes on while the kernel of its host (QEMU, TCG) is updated: "
          + " -> ".join(chain) + ".")
    guest.run()
    judged = verdict.judge(guest)
    summary(timeline, guest)
    if options.svg:
        options.svg.write_text(picture.draw(timeline), encoding="utf-8")
    if timeline.complete(len(chain)) and not judged.failed:
        print("  verdict               one life of the guest, on "
              f"{len(chain)} kernels: PASSED")
        return 0
    demo.explain(judged, guest)
    print("  verdict               FAILED")
    return 1


if __name__ == "__main__":
    sys.exit(main())
