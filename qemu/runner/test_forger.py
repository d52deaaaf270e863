# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the forger, on memory without a guest.

python3 -m unittest qemu.runner.test_forger, from the top of the tree
"""

import struct
import types
import unittest

from . import forger, forger_cases, forger_iommufd, iommufd_record, witness
from .guest import Line
from .handover import (ACCESS, IOVA, LARGE, LIST, PCI_MAGIC, PRESENT, RECORD, UNIT,
                       UNIT_MAGIC, Handover, checksum, find_lists)
from .iommufd_record import DEVICE, HWPT, IOAS, Area, Object
from .test_witness import Memory
from .witness import MIB, PAGE

PCI, UNITS, ROOT, CONTEXT, TOP, MIDDLE = (at * PAGE for at in range(5000, 5006))
LEAVES = 5006 * PAGE
IOMMUFD = 5011 * PAGE
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

        self.write_record(
            [Object(DEVICE, 0, 1, 3, 7), Object(IOAS, 0, 2, 0, 0),
             Object(HWPT, 0, 3, 2, 1)],
            [Area(3, 2, IOVA, 32 * PAGE, 0, 1),
             Area(1, 2, IOVA + 16 * MIB, 16 * PAGE, 16 * PAGE, 1)])

    def write_record(self, objects, areas):
        """The record of an iommufd."""
        parts = [iommufd_record.HEADER.pack(iommufd_record.MAGIC, len(objects),
                                            len(areas))]
        parts += [iommufd_record.OBJECT.pack(*one) for one in objects]
        parts += [iommufd_record.AREA.pack(*one) for one in areas]
        data = b"".join(parts)
        self.ram[IOMMUFD:IOMMUFD + len(data)] = data

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

    def records(self):
        """The records of iommufds."""
        return iommufd_record.find_records(self.ram, [(0, SIZE)])

    def handover(self):
        """What crosses."""
        found = Handover(self.ram, self.find()[0], self.find(UNIT_MAGIC, UNIT)[0],
                         self.ring, KERNEL)
        found.iommufd = self.records()[0]
        return found


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


class Records(unittest.TestCase):
    """How the record of an iommufd is found and changed."""

    def setUp(self):
        self.machine = Machine()
        self.record = self.machine.records()[0]

    def test_a_record_is_found(self):
        self.assertEqual([IOMMUFD], [found.at for found in self.machine.records()])
        self.assertEqual([DEVICE, IOAS, HWPT],
                         [found.type for found in self.record.objects()])

    def test_what_no_kernel_writes_is_none(self):
        for at, byte in ((0, 0), (9, 1), (13, 1), (PAGE - 1, 1), (16, 4)):
            with self.subTest(at):
                machine = Machine()
                machine.ram[IOMMUFD + at] = byte
                self.assertEqual([], machine.records())

    def test_only_the_named_fields_are_changed(self):
        before = self.record.objects(), self.record.areas()
        self.record.change_object(HWPT, device=5)
        self.record.change_last_area(token=6)
        self.assertEqual(before[0][:2] + [before[0][2]._replace(device=5)],
                         self.record.objects())
        self.assertEqual(before[1][:1] + [before[1][1]._replace(token=6)],
                         self.record.areas())

    def test_other_areas_are_removed(self):
        first = self.record.areas()[0]
        self.record.keep_one_area(iova=0)
        self.assertEqual([first._replace(iova=0)], self.machine.records()[0].areas())


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
        for group in ("pci", "units", "entries", "tables", "iommufd"):
            self.assertEqual("control", forger.cases_of(group)[0].name)
        with self.assertRaises(ValueError):
            forger.cases_of("none")

    def test_each_case_of_an_iommufd_changes_its_record_only(self):
        for current in forger_iommufd.CASES:
            with self.subTest(current.name):
                machine = Machine()
                before, now = Machine.first.ram, machine.ram
                current.change(machine.handover())
                end = IOMMUFD + PAGE
                self.assertNotEqual(before[IOMMUFD:end], now[IOMMUFD:end])
                self.assertTrue(now.startswith(before[:IOMMUFD]))
                self.assertTrue(now.endswith(before[end:]))

    def test_nic_is_told_what_to_expect(self):
        words = [forger.instruction(outcome) for outcome in (
            forger_cases.kept(), forger_cases.lost(), forger_iommufd.damaged("why"),
            forger_iommufd.without_table(forger_iommufd.EINVAL))]
        self.assertEqual(["resume", "forged 2", "forged-iommufd 5", "forged-table 22"],
                         words)


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
        self.forger.records = list
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

    def test_an_iommufd_must_cross_if_its_group_damages_it(self):
        self.forger.records = self.machine.records
        for iommufds, good in ((1, []), (0, [False])):
            self.forger.iommufds, self.forger.notes = iommufds, []
            self.say("console", "[    5.0] liveupdate: serialized 1 sessions")
            self.assertEqual(good, [good for good, _ in self.forger.notes])

    def test_records_of_earlier_kernels_are_forgotten(self):
        self.forger.records = self.machine.records
        self.say("tests", "NIC 0 ready id=1 at=0x2")
        self.assertEqual([], self.machine.records())

    def test_a_list_that_is_not_found_is_a_failure(self):
        self.say("tests", "NIC 0 ready id=1 at=0x2")
        self.say("console", "[    5.0] liveupdate: serialized 1 sessions")
        self.assertEqual([False], [good for good, _ in self.forger.notes])


if __name__ == "__main__":
    unittest.main()
