# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the forger, on memory without a guest.

python3 -m unittest qemu.runner.test_forger, from the top of the tree
"""

import struct
import types
import unittest

from . import forger, forger_cases, witness
from .guest import Line
from .handover import (ACCESS, IOVA, LARGE, LIST, PCI_MAGIC, PRESENT, RECORD, UNIT,
                       UNIT_MAGIC, Handover, checksum, find_lists)
from .test_witness import Memory
from .witness import MIB, PAGE

PCI, UNITS, ROOT, CONTEXT, TOP, MIDDLE = (at * PAGE for at in range(5000, 5006))
LEAVES = 5006 * PAGE
SIZE = 32 * MIB
KERNEL = 24 * MIB, 28 * MIB
PLACE = 3 << 3
WAY = 1 << 24 | 0x20000


class Machine:
    """The memory of a guest that has written both lists, for a ring."""

    first = None  # what all others begin with

    def __init__(self):
        if Machine.first:
            self.ram = bytearray(Machine.first.ram)
            self.ring = Machine.first.ring
        else:
            ring = Memory()
            self.ram = ring.ram + bytearray(SIZE - len(ring.ram))
            self.ring = ring.ring
            self.write()
            Machine.first = types.SimpleNamespace(ram=bytes(self.ram), ring=self.ring)

    def write(self):
        """Write all that crosses."""
        self.write_list(PCI, PCI_MAGIC,
                        RECORD.pack(0, PLACE, 0x8086, 0x100e, 0x1af4, 0x1100, WAY))
        self.write_list(UNITS, UNIT_MAGIC, UNIT.pack(0xfed90000, ROOT))
        self.put(ROOT, CONTEXT | PRESENT)
        self.put(CONTEXT + 16 * PLACE, TOP | PRESENT)
        self.put(CONTEXT + 16 * PLACE + 8, 5 << 8 | 1)
        self.put(TOP, MIDDLE | ACCESS)
        for page in range(witness.PAGES):
            iova = IOVA + page * PAGE
            table = LEAVES + page // 512 * PAGE
            self.put(MIDDLE + 8 * (iova >> 21 & 511), table | ACCESS)
            self.put(table + 8 * (page % 512), self.ring.at(page * PAGE) | ACCESS)

    def write_list(self, at, magic, record):
        """A list with one record."""
        LIST.pack_into(self.ram, at, magic, checksum(record), 1)
        self.ram[at + LIST.size:at + LIST.size + len(record)] = record

    def put(self, at, value):
        """Write eight bytes."""
        struct.pack_into("<Q", self.ram, at, value)

    def find(self, magic=PCI_MAGIC, item=RECORD):
        """The lists of a kind."""
        return list(find_lists(self.ram, [(0, SIZE)], magic, item))

    def handover(self):
        """What crosses."""
        return Handover(self.ram, self.find()[0], self.find(UNIT_MAGIC, UNIT)[0],
                        self.ring, KERNEL)


class Lists(unittest.TestCase):
    """How the lists are found and changed."""

    def setUp(self):
        self.machine = Machine()

    def test_the_checksum_is_that_of_the_kernel(self):
        # crc32_le(~0, "123456789", 9), without the final inversion of CRC-32.
        self.assertEqual(0xcbf43926 ^ 0xffffffff, checksum(b"123456789"))

    def test_valid_lists_are_found(self):
        self.assertEqual([PCI], [found.at for found in self.machine.find()])

    def test_a_magic_without_a_list_is_none(self):
        copy = 6000 * PAGE
        self.machine.ram[copy:copy + 8] = PCI_MAGIC
        self.machine.ram[copy + 8:copy + 16] = bytes([1, 2, 3, 4, 1, 0, 0, 0])
        self.assertEqual([PCI], [found.at for found in self.machine.find()])

    def test_a_list_is_valid_after_a_record_was_changed(self):
        self.machine.find()[0].change(field=3, value=0x100f)
        changed = self.machine.find()[0]
        self.assertEqual(0x100f, changed.first()[3])

    def test_a_wrong_checksum_or_count_is_written_as_it_is(self):
        for change in ({"crc": 1}, {"count": 256}, {"count": 0xffffffff}):
            machine = Machine()
            machine.find()[0].change(**change)
            self.assertEqual([], machine.find())


class Tables(unittest.TestCase):
    """How the tables of the IOMMU are followed."""

    def setUp(self):
        self.machine = Machine()

    def test_the_tables_are_found(self):
        handover = self.machine.handover()
        self.assertEqual((CONTEXT + 16 * PLACE, TOP, MIDDLE),
                         (handover.entry, handover.top, handover.table(2)))
        last = self.machine.ring.at((witness.PAGES - 1) * PAGE)
        self.assertEqual(last | ACCESS, handover.get(handover.far_leaf()))

    def test_an_unused_entry_is_empty(self):
        handover = self.machine.handover()
        for level in (1, 2, 3):
            at = handover.unused(level)
            self.assertEqual((0, handover.table(level)),
                             (handover.get(at), at & ~(PAGE - 1)))

    def test_large_pages_are_followed(self):
        handover = self.machine.handover()
        at = handover.walk(IOVA)[1]
        handover.put(at, 4 * MIB | LARGE | ACCESS)
        self.assertEqual(4 * MIB + 5, handover.translate(IOVA + 5))

    def test_tables_of_another_ring_are_none(self):
        at = self.machine.handover().far_leaf()
        self.machine.put(at, PCI | ACCESS)
        with self.assertRaises(ValueError):
            self.machine.handover()

    def test_code_that_leads_nowhere_is_found(self):
        handover = self.machine.handover()
        self.machine.put(KERNEL[0] + MIB + 8, 1)
        self.assertEqual(KERNEL[0] + MIB, handover.code())
        self.assertEqual(KERNEL[0] + MIB + PAGE, handover.code(leads_nowhere=8))


class Cases(unittest.TestCase):
    """The table of cases."""

    def test_each_case_changes_something_of_the_handover_only(self):
        begin, end = PCI, LEAVES + 5 * PAGE
        for current in forger_cases.CASES:
            with self.subTest(current.name):
                machine = Machine()
                before, now = Machine.first.ram, machine.ram
                current.change(machine.handover())
                self.assertNotEqual(before[begin:end], now[begin:end])
                self.assertTrue(now.startswith(before[:begin]))
                self.assertTrue(now.endswith(before[end:]))

    def test_what_the_card_uses_is_changed_without_packets_only(self):
        """The first half of the ring is used in a case with packets."""
        used = range(0, witness.PAGES // 2 * PAGE, 7 * PAGE)
        for current in forger_cases.CASES:
            with self.subTest(current.name):
                handover = Machine().handover()
                entry = [handover.get(handover.root), handover.get(handover.entry)]
                places = [handover.translate(IOVA + at) for at in used]
                current.change(handover)
                if not current.quiet:
                    self.assertEqual(
                        (entry, places),
                        ([handover.get(handover.root), handover.get(handover.entry)],
                         [handover.translate(IOVA + at) for at in used]))

    def test_a_group_begins_with_the_control(self):
        for group in ("pci", "units", "entries", "tables"):
            self.assertEqual("control", forger_cases.cases_of(group)[0].name)
        with self.assertRaises(ValueError):
            forger_cases.cases_of("none")


class Strays(unittest.TestCase):
    """DMA that nothing translates."""

    def setUp(self):
        self.ram = bytearray(IOVA + MIB)
        ring = types.SimpleNamespace(frames=[1, 2, 3])
        self.stray = forger.Stray(self.ram, ring, 10)

    def write(self, slot, *fields):
        """What a card writes to a descriptor."""
        witness.DESCRIPTOR.pack_into(
            self.ram, IOVA + witness.RING + slot * 16, *fields)

    def test_descriptors_that_a_card_has_filled_are_counted(self):
        self.write(10, 0, 0, 0, 1, 0, 0)
        self.write(11, 0, witness.PACKET_SIZE, 7, 3, 0, 0)
        self.assertEqual(2, self.stray.count())

    def test_other_writes_are_not(self):
        self.write(9, 0, 0, 0, 1, 0, 0)
        self.write(12, 0x1234, 64, 7, 3, 0, 0)
        self.write(13, 0, 0, 0, 2, 0, 0)
        self.assertEqual(0, self.stray.count())


class Logs(unittest.TestCase):
    """What the log of a kernel must say."""

    def check(self, *log):
        """The checks of a case that expects one line."""
        outcome = forger_cases.Outcome(forger_cases.ENOENT, (forger_cases.STOPPED,),
                                       False)
        current = forger_cases.Case("fake", "", outcome, None, False)
        return [good for good, _ in forger.check_log(current, list(log))]

    def test_the_log_has_what_the_case_says_and_no_more(self):
        line = "[ 0.5] " + forger_cases.STOPPED
        fault = "DMAR: [DMA Read NO_PASID] Request device [0000:00:03.0] fault addr 0x1"
        self.assertEqual([True, True], self.check("Linux version 7.3", line))
        self.assertEqual([False, True], self.check("Linux version 7.3"))
        self.assertEqual([False, True], self.check(line, line))
        self.assertEqual([True, False], self.check(line, fault))

    def test_a_line_may_lack_a_few_characters(self):
        line = "[ 0.5] " + forger_cases.STOPPED
        self.assertEqual([True, True], self.check(line.replace(" live", "live")))
        self.assertEqual([False, True], self.check(line.replace("stopped", "")))
        self.assertEqual([False, True], self.check(line.replace("stopped", "STOPPED")))


class FakeWitness:
    """One that has mapped a file."""

    def __init__(self, machine):
        self.ram = machine.ram
        self.card = witness.Card(0, None, ring=machine.ring)
        self.cards = [self.card]


class Runs(unittest.TestCase):
    """What the forger does when the guest says something."""

    def setUp(self):
        self.machine = Machine()
        self.forger = forger.Forger("pci", FakeWitness(self.machine))
        self.forger.lists = self.machine.find
        self.forger.kernel = KERNEL

    def say(self, port, text, moment=0.0):
        """A line of the guest."""
        self.forger.line(Line(moment, port, text))

    def kexec(self):
        """Lines of one kexec."""
        self.say("console", "[    5.0] liveupdate: serialized 1 sessions")
        self.say("console", "[    0.000000] Linux version 7.3")

    def test_a_change_is_made_after_the_next_kernel_has_begun(self):
        self.say("console", "[    0.000000] Linux version 7.3")
        self.forger.boots = 2  # The control is over.
        self.kexec()
        self.assertEqual([], self.machine.find())
        self.assertEqual([], self.forger.notes)
        self.assertTrue(self.forger.witness.card.stops)

    def test_lists_of_earlier_kernels_are_forgotten(self):
        self.say("tests", "NIC 0 ready id=1 at=0x2")
        self.assertEqual([], self.machine.find())

    def test_a_list_that_is_not_found_is_a_failure(self):
        self.say("tests", "NIC 0 ready id=1 at=0x2")
        self.say("console", "[    5.0] liveupdate: serialized 1 sessions")
        self.assertEqual([False], [good for good, _ in self.forger.notes])


if __name__ == "__main__":
    unittest.main()
