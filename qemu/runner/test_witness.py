# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the witness of network cards, on a ring without a guest.

python3 -m unittest qemu.runner.test_witness, from the top of the tree
"""

import struct
import unittest

from . import witness
from .guest import Line
from .witness import Card, Ring, Testimony

IDENT = 0x1234
# The pages of the file are in every other frame, in reverse order.
FRAMES = list(range(2 * witness.PAGES, 0, -2))
BOOT = [
    (0.0, "console", "[    0.000000] Linux version 7.3"),
    (1.0, "tests", "=== stage 1 begin"),
    (2.0, "tests", "NIC 0 ready id=1 at=0x2"),
    (4.0, "tests", "=== stage 1 kexec"),
    (4.1, "console", "[    4.0] kexec_core: Starting new kernel"),
    (4.5, "console", "early console in extract_kernel"),
    (4.6, "console", "[    0.000000] Linux version 7.3"),
    (4.7, "console", "[    0.000000] DMAR: IOMMU enabled"),
    (5.0, "console", "[    0.5] pci 0000:00:03.0: liveupdate: DMA goes on; reserved"),
    (5.1, "console", "[    0.6] DMAR: Intel(R) Virtualization Technology"),
    (6.0, "tests", "=== stage 2 begin"),
    (6.5, "tests", "NIC 0 retrieved device=0000:00:03.0"),
    (8.0, "tests", "=== stage 2 end 0"),
]


def lines(*without):
    """The lines of a guest with one kexec."""
    return [Line(*line) for line in BOOT
            if not any(text in line[2] for text in without)]


class Wire:
    """What a card's packets are sent to."""

    def __init__(self):
        self.frames = []

    def send(self, frame):
        """Keep a frame."""
        self.frames.append(frame)


class Memory:
    """The memory of a guest with the ring of a card."""

    def __init__(self):
        self.ram = bytearray((2 * witness.PAGES + 2) * witness.PAGE)
        pages = FRAMES[1:9]
        self.address = FRAMES[0] * witness.PAGE
        witness.HEADER.pack_into(self.ram, self.address, witness.MAGIC, IDENT,
                                 FRAMES[0], *pages, 0)
        packed = struct.pack(f"<{len(FRAMES)}Q", *FRAMES)
        for number, frame in enumerate(pages):
            part = packed[number * witness.PAGE:(number + 1) * witness.PAGE]
            self.ram[frame * witness.PAGE:frame * witness.PAGE + len(part)] = part
        self.ring = Ring(self.ram, self.address, IDENT)
        self.position = 0

    def land(self, frame):
        """What a card does with a frame."""
        slot = self.position % witness.DESCRIPTORS
        where = self.ring.at(witness.BUFFERS + slot * witness.BUFFER_SIZE)
        self.ram[where:where + len(frame)] = frame
        where = self.ring.at(witness.RING + slot * witness.DESCRIPTOR.size)
        witness.DESCRIPTOR.pack_into(self.ram, where, 0, len(frame), 0, witness.DONE,
                                     0, 0)
        self.position += 1


class FakeWitness:
    """One that has ended."""

    def __init__(self, *cards):
        self.cards = list(cards)
        self.failure = ""
        self.forged = False
        self.still = None
        self.digests = []


class Rings(unittest.TestCase):
    """What a card's ring says."""

    def setUp(self):
        self.memory = Memory()
        self.wire = Wire()
        self.card = Card(0, self.wire, ring=self.memory.ring)

    def send(self, count):
        """Send packets; returns their frames."""
        self.card.due = 0.0
        before = len(self.card.sent)
        self.card.send(count - 0.5, 1)
        self.card.due = None
        return self.wire.frames[before:]

    def test_no_ring_where_none_is(self):
        with self.assertRaises(ValueError):
            Ring(self.memory.ram, witness.PAGE, IDENT)
        with self.assertRaises(ValueError):
            Ring(self.memory.ram, self.memory.address, IDENT + 1)

    def test_packets_land_in_order(self):
        for frame in self.send(10):
            self.memory.land(frame)
        self.card.watch()
        self.assertEqual(list(range(10)), list(self.card.landed))
        self.assertEqual((0, 0, []),
                         (self.card.late, self.card.strange, self.card.lost()))

    def test_a_packet_that_is_missing_is_lost(self):
        for number, frame in enumerate(self.send(10)):
            if number != 4:
                self.memory.land(frame)
        self.card.watch()
        self.assertEqual([4], self.card.lost())

    def test_a_packet_after_a_later_one_is_late(self):
        for frame in reversed(self.send(2)):
            self.memory.land(frame)
        self.card.watch()
        self.assertEqual(1, self.card.late)

    def test_packets_of_another_card_are_strange(self):
        other = Card(1, self.wire)
        other.due = 0.0
        other.send(0.5, 1)
        self.memory.land(self.wire.frames[0])
        self.card.watch()
        self.assertEqual((1, 0), (self.card.strange, len(self.card.landed)))

    def test_a_second_round_overwrites_the_first(self):
        for _ in range(2):
            for frame in self.send(witness.DESCRIPTORS):
                self.memory.land(frame)
            self.card.watch()
            # What a round before has left is not taken for new.
            self.card.watch()
        self.assertEqual(2 * witness.DESCRIPTORS, len(self.card.landed))
        self.assertEqual((0, 0), (self.card.late, self.card.strange))

    def test_a_card_that_has_stopped_loses_nothing(self):
        self.send(3)
        self.card.stop(self.card.sent[0])
        self.assertEqual([], self.card.lost())
        self.card.landed[1] = self.card.sent[2] + 1
        self.assertEqual(1, self.card.intruders())


class Phases(unittest.TestCase):
    """What the lines of a guest say about a kexec."""

    def test_all_phases_of_a_kexec(self):
        found = [(phase.name, phase.begin, phase.kexec) for phase in
                 witness.phases(lines())]
        self.assertEqual([(witness.RUNNING, 0.0, 0), (witness.SILENT, 4.1, 1),
                          (witness.NO_DRIVER, 4.5, 1), (witness.BOOTING, 5.0, 1),
                          (witness.WAITING, 6.0, 1), (witness.AFTER, 6.5, 1)], found)

    def failed(self, moments, *without):
        """The checks that fail for packets that landed at these times."""
        card = Card(0, Wire(), sent=list(moments),
                    landed={number: moment for number, moment in enumerate(moments)
                            if moment is not None})
        card.sent = [moment or 5.0 for moment in moments]
        testimony = Testimony(FakeWitness(card), lines(*without))
        return [what for good, what in (*testimony.checks(), *testimony.check_kexecs(2))
                if not good]

    def test_packets_in_every_phase_pass(self):
        self.assertEqual([], self.failed([3.0, 4.3, 4.7, 5.5, 6.2, 7.0]))

    def test_a_phase_without_packets_fails(self):
        self.assertEqual(["card 0: packets land, kexec 1, old kernel silent"],
                         self.failed([3.0, 4.7, 5.5, 6.2, 7.0]))

    def test_a_phase_that_the_log_does_not_show_fails(self):
        self.assertEqual(["kexec 1 has all phases"],
                         self.failed([3.0, 4.3, 4.7, 5.5, 6.2, 7.0], "DMA goes on",
                                     "Virtualization"))

    def test_a_lost_packet_fails(self):
        self.assertEqual(1, len(self.failed([3.0, 4.3, 4.7, 5.5, 6.2, 7.0, None])))
