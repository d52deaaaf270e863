#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Replace the kernel under a device that user space drives, and print what happens.

The machine is a QEMU guest with an IOMMU. A program there drives a network card
through VFIO and iommufd. It preserves the card and its memory, and the guest goes
through a kexec for each kernel but the first. A witness outside of the guest sends
numbered packets, and watches the guest's memory for them all the time. The exit status
is 0 only if they all came, in order, also while no kernel ran.

The names of the kernels are those of qemu/kernels.
"""

import re
import sys

from runner import demo, picture, verdict
from runner.timeline import Timeline
from runner.witness import GAP, Testimony

TEXTS = {
    "ready": "program: the card receives; card and memory are preserved",
    "retrieved": "program: card and memory are retrieved",
    "resumed": "program: drives the card, without a reset",
    "quiet": "program: asks the witness to stop",
}


class CardTimeline(Timeline):
    """The timeline of a host, and of the card that goes on."""

    def __init__(self, chain):
        super().__init__({})
        self.chain = chain   # the names of the kernels
        self.kexecs = []     # when the host left a kernel
        self.witness = None

    def kernel(self, number, version):
        return f"Linux {version} ({self.chain[number - 1]})"

    def at(self, line, text):
        landed = len(self.witness.cards[0].landed)
        print(f"  {line.time - self.start:6.2f} s  {landed:5} packets  {text}",
              flush=True)

    def tests(self, line):
        nic = re.match(r"NIC 0 (\w+)", line.text)
        if nic:
            self.at(line, TEXTS.get(nic[1], nic[1]))
        elif re.match(r"=== stage \d+ kexec", line.text):
            self.kexecs.append(line.time - self.start)
            self.at(line, "host: kexec -e")
        elif line.text.startswith(("RESULT fail", "scenario ", "# nic")):
            self.at(line, line.text)


def summary(timeline, guest, testimony):
    """Print the numbers."""
    print()
    print("  host      " + " -> ".join(kernel for _, kernel in timeline.boots))
    for line in testimony.table():
        print(f"  {line}")
    for card in testimony.cards:
        print(f"  {testimony.summary(card)}")
    print(f"  DMA faults in the kernel log: {testimony.faults}")
    print(f"  full logs {guest.log('console')}, {guest.log('tests')}")
    print(f"  times of each packet {guest.dir / 'card0.csv'}")


def main():
    """Run the demo; returns the exit status."""
    options = demo.options(__doc__)
    run = demo.through("demo_device", options.kernel)
    chain = run.kernels
    timeline = CardTimeline(chain)
    guest = demo.boot(run, timeline, "make demo-device")
    timeline.witness = guest.witness
    print(f"A network card in a QEMU guest (TCG) gets {run.packets} packets per second "
          "while the kernel is replaced: " + " -> ".join(chain) + ".")
    guest.run()
    judged = verdict.judge(guest)
    testimony = Testimony(guest.witness, guest.lines)
    summary(timeline, guest, testimony)
    if options.svg:
        gaps = [phase for phase in testimony.phases if phase.name in GAP]
        options.svg.write_text(picture.draw_packets(timeline, testimony.cards[0], gaps),
                               encoding="utf-8")
    if not judged.failed:
        print(f"  verdict   the card never stopped, on {len(chain)} kernels: PASSED")
        return 0
    demo.explain(judged, guest)
    print("  verdict   FAILED")
    return 1


if __name__ == "__main__":
    sys.exit(main())
