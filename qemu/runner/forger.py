# SPDX-License-Identifier: GPL-2.0-only
"""Damages what a kernel hands over for a device, between two kernels.

The guest's memory is a file that this program has mapped. In each kexec of a run, the
forger changes one thing in it: one case. Layouts are those of drivers/pci/liveupdate.c
and drivers/iommu/intel/liveupdate.c. The lines of the guest tell when:

NIC n ready        lists of earlier kernels are made unrecognizable
serialized         the old kernel has written its lists: the forger finds them, and
                   follows the tables of the IOMMU
Linux version      the next kernel runs and has not read them yet: the change

The IOMMU uses the same tables until the next kernel has made its own. So a case changes
either what the card does not use meanwhile, or what leads nowhere; or the card gets no
packets, without which it does no DMA, until the kernel has decided (`quiet`).
"""

import collections
import functools
import os
import re
import struct
import time
import zlib

from . import witness
from .witness import MARGIN, MIB, PAGE

PCI_MAGIC = b"PCILDV1\0"
UNIT_MAGIC = b"TDHOFV1\0"
# struct pci_liveupdate_list and struct handover_list: magic, checksum, count.
LIST = struct.Struct("<8sII")
# struct pci_liveupdate_record: segment, place, vendor and device, those of the
# subsystem, way and class.
RECORD = struct.Struct("<6HI")
# struct handover_unit: registers, root table.
UNIT = struct.Struct("<QQ")

ENTRIES = 512
ADDRESS = ((1 << 52) - 1) & ~(PAGE - 1)
PRESENT = 1
ACCESS = 3
LARGE = 1 << 7
# What a context entry has besides the page table.
WIDTHS = 7
DOMAIN = 0xffff << 8
# Where lib/nic_ring.c maps the memory of card 0.
IOVA = 0x10000000
# No guest has memory there.
OUTSIDE = 1 << 38
# The buffers at the end, which the card does not reach while a kernel is replaced. It
# has small pages, because the size of the memory is not a multiple of large ones.
LAST = IOVA + (witness.PAGES - 1) * PAGE
# No device is there; the bridge to ISA is there.
NO_DEVICE = 0x1e << 3
ISA_BRIDGE = 0x1f << 3
NO_BUS = 5

# Seconds for what the card has begun.
SETTLE = 0.02

CARD = "0000:00:03.0"
DECIDED = re.compile(r"liveupdate: (stopped|not the device|DMA goes on)|"
                     r"DMAR: Intel\(R\) Virtualization")
NEW_KERNEL = witness.NEW_KERNEL
KERNEL_CODE = re.compile(r"KERNEL ([0-9a-f]+)-([0-9a-f]+)")
# Lines of the kernel log that are about devices that cross.
ABOUT = re.compile(r"(PCI|DMAR|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d): liveupdate: |"
                   r"DMAR: Translation was enabled|cannot be retrieved|is not stopped")
# A busy serial port was seen to lose a character of a line.
MAX_GARBLED = 3

ENOENT, ENODEV = 2, 19
# What the next kernel does: the errno of retrieving the card, 0 if it is given back;
# the lines of its log; whether a card that is given back was stopped before.
Outcome = collections.namedtuple("Outcome", "errno log stopped")
Case = collections.namedtuple("Case", "name group outcome change quiet")

GOES_ON = (f"pci {CARD}: liveupdate: DMA goes on; reserved for the file that was "
           "preserved")
STOPPED = f"pci {CARD}: liveupdate: stopped: its translation cannot go on"
TRANSLATION = f"DMAR: liveupdate: {CARD}: its translation is damaged"
NOT_KEPT = (f"liveupdate_vfio: {CARD} cannot be retrieved: "
            "the kernel has not kept it, or has stopped it")
CLOSED = f"vfio-pci {CARD}: liveupdate: stopped: its file was closed"
NOT_BOUND = f"liveupdate_vfio: {CARD} cannot be retrieved: it is not bound to vfio-pci"
OTHER_DEVICE = (f"pci {CARD}: liveupdate: not the device {{}} that was preserved: "
                "stopped")


def kept(*log):
    """The card goes on, after these lines."""
    return Outcome(0, (*log, GOES_ON), False)


def lost(*log, after=()):
    """The kernel knows the card, and stops it."""
    return Outcome(ENOENT, (*log, STOPPED, *after, NOT_KEPT), False)


def unknown(*log):
    """The kernel does not know the card as one that was preserved."""
    return Outcome(ENODEV, (*log, TRANSLATION, NOT_BOUND), False)


def other(ids="8086:100e"):
    """The kernel finds another device than the one that was preserved."""
    return unknown(OTHER_DEVICE.format(ids))


UNITS_DAMAGED = lost("DMAR: liveupdate: the list of IOMMUs is damaged")
PCI_DAMAGED = unknown("PCI: liveupdate: the list of devices is damaged")
NOT_USED = lost("DMAR: liveupdate: dmar0 does not use the tables of the previous "
                "kernel")
ROOT = "DMAR: liveupdate: dmar0: the root table is damaged"
ROOT_DAMAGED = lost(ROOT)
DAMAGED = lost(TRANSLATION)
LEADS_ASTRAY = lost(after=[f"pci {CARD}: liveupdate: its translation leads to memory "
                           "that is not preserved"])


def checksum(data):
    """The kernel's crc32_le(~0, data)."""
    return zlib.crc32(data) ^ 0xffffffff


class Listing:
    """A list that crosses, in one page."""

    def __init__(self, ram, at, item):
        self.ram, self.at, self.item = ram, at, item
        self.magic, self.crc, self.count = LIST.unpack_from(ram, at)

    def is_valid(self):
        """Whether it is as a kernel writes it."""
        size = self.count * self.item.size
        return (0 < self.count and LIST.size + size <= PAGE and
                self.crc == checksum(self.records(self.count)))

    def records(self, count):
        """The bytes of the first records."""
        begin = self.at + LIST.size
        return bytes(self.ram[begin:begin + count * self.item.size])

    def first(self):
        """The fields of the first record."""
        return list(self.item.unpack_from(self.ram, self.at + LIST.size))

    def change(self, *, magic=None, crc=None, count=None, field=None, value=None):
        """Change one thing. The checksum is right, unless it is changed itself or
        the records do not fit into the page."""
        if field is not None:
            record = self.first()
            record[field] = value
            self.item.pack_into(self.ram, self.at + LIST.size, *record)
        count = self.count if count is None else count
        right = (checksum(self.records(count))
                 if LIST.size + count * self.item.size <= PAGE else self.crc)
        LIST.pack_into(self.ram, self.at, magic or self.magic,
                       right if crc is None else crc, count)


class Handover:
    """What crosses for one card: both lists, and the tables of its IOMMU."""

    def __init__(self, ram, pci, units, ring, kernel):
        """`kernel`: where the code of the next kernel will be."""
        self.ram, self.pci, self.units = ram, pci, units
        self.kernel = kernel
        self.root = units.first()[1]
        if not self.is_table(self.root):
            raise ValueError("the root table is not in memory")
        self.place = pci.first()[1]
        self.context = self.get(self.root + 16 * (self.place >> 8)) & ADDRESS
        if not self.is_table(self.context):
            raise ValueError("the context table is not in memory")
        self.entry = self.context + 16 * (self.place & 255)
        self.top = self.get(self.entry) & ADDRESS
        self.levels = (self.get(self.entry + 8) & WIDTHS) + 2
        for page in range(witness.PAGES):
            if self.translate(IOVA + page * PAGE) != ring.at(page * PAGE):
                raise ValueError("the page table does not lead to the ring")
        if len(self.walk(LAST)) != self.levels:
            raise ValueError("there is no table of small pages")
        self.used_code = []

    def is_table(self, at):
        """Whether a table can be there."""
        return 0 < at < len(self.ram) and not at % PAGE

    def get(self, at):
        """Eight bytes of memory."""
        return struct.unpack_from("<Q", self.ram, at)[0]

    def put(self, at, value):
        """Change eight bytes of memory."""
        struct.pack_into("<Q", self.ram, at, value)

    def walk(self, iova):
        """Where the entries are that translate an address, the leaf last."""
        places, table = [], self.top
        for level in range(self.levels - 1, -1, -1):
            if not self.is_table(table):
                raise ValueError("the page table leads outside of memory")
            places.append(table + 8 * (iova >> (12 + 9 * level) & (ENTRIES - 1)))
            entry = self.get(places[-1])
            if not entry & ACCESS:
                raise ValueError(f"nothing translates {iova:#x}")
            if entry & LARGE:
                break
            table = entry & ADDRESS
        return places

    def translate(self, iova):
        """Where in memory an address of the card leads."""
        places = self.walk(iova)
        size = PAGE << 9 * (self.levels - len(places))
        return (self.get(places[-1]) & ADDRESS & -size) + iova % size

    def table(self, level):
        """A table of the page table; level 1 has leaves only."""
        return self.walk(LAST)[self.levels - level] & ~(PAGE - 1)

    def unused(self, level):
        """Where an entry is that translates nothing."""
        table = self.table(level)
        return next(at for at in range(table + 8 * ENTRIES - 8, table, -8)
                    if not self.get(at))

    def far_leaf(self):
        """Where the leaf is of a page that the card does not reach."""
        return self.walk(LAST)[-1]

    def code(self, leads_nowhere=None):
        """A page of the next kernel's code in which the eight bytes at this offset are
        an entry that leads nowhere."""
        if not self.kernel:
            raise ValueError("nobody knows where the next kernel is")
        for at in range(self.kernel[0] + MIB, self.kernel[1], PAGE):
            if leads_nowhere is None or not self.get(at + leads_nowhere) & ACCESS:
                self.used_code.append(at)
                return at
        raise ValueError("all of the kernel's code looks like tables")


CASES = []


def case(group, outcome, quiet=False):
    """A function that makes the change of a case."""
    def add(change):
        name = change.__name__.replace("_", "-")
        CASES.append(Case(name, group, outcome, change, quiet))
        return change
    return add


def cases_of(group):
    """The cases of a scenario. In the first one nothing is changed."""
    found = [found for found in CASES if found.group == group]
    if not found:
        raise ValueError(f"no case is in the group {group}")
    return [Case("control", group, kept(), lambda handover: None, False), *found]


# The list of devices.

@case("pci", PCI_DAMAGED)
def pci_magic(handover):
    handover.pci.change(magic=b"PCILDV2\0")


@case("pci", PCI_DAMAGED)
def pci_checksum(handover):
    handover.pci.change(crc=handover.pci.crc ^ 0x10000)


@case("pci", PCI_DAMAGED)
def pci_count(handover):
    handover.pci.change(count=(PAGE - LIST.size) // RECORD.size + 1)


@case("pci", PCI_DAMAGED)
def pci_count_huge(handover):
    handover.pci.change(count=0xffffffff)


# The list does not have the card.
@case("pci", unknown())
def pci_place(handover):
    handover.pci.change(field=1, value=NO_DEVICE)


@case("pci", other("8087:100e"))
def pci_vendor(handover):
    handover.pci.change(field=2, value=0x8087)


@case("pci", other("8086:100f"))
def pci_device(handover):
    handover.pci.change(field=3, value=0x100f)


@case("pci", other())
def pci_subsystem_vendor(handover):
    handover.pci.change(field=4, value=0x8086)


@case("pci", other())
def pci_subsystem_device(handover):
    handover.pci.change(field=5, value=0x1101)


@case("pci", other())
def pci_class(handover):
    handover.pci.change(field=6, value=handover.pci.first()[6] ^ 0x100)


@case("pci", other())
def pci_way_none(handover):
    handover.pci.change(field=6, value=handover.pci.first()[6] & 0xffffff)


@case("pci", other())
def pci_way_unknown(handover):
    handover.pci.change(field=6, value=handover.pci.first()[6] | 0x7f000000)


# It is given back, as if it had been stopped; whoever opens it resets it.
@case("pci", Outcome(0, (TRANSLATION, CLOSED), True))
def pci_way_quiesce(handover):
    handover.pci.change(field=6, value=handover.pci.first()[6] & 0xffffff | 2 << 24)


# The list of IOMMUs.

@case("units", UNITS_DAMAGED)
def units_magic(handover):
    handover.units.change(magic=b"TDHOFV2\0")


@case("units", UNITS_DAMAGED)
def units_checksum(handover):
    handover.units.change(crc=handover.units.crc ^ 1)


@case("units", UNITS_DAMAGED)
def units_count(handover):
    handover.units.change(count=(PAGE - LIST.size) // UNIT.size + 1)


@case("units", UNITS_DAMAGED)
def units_count_huge(handover):
    handover.units.change(count=0xffffffff)


@case("units", lost())
def units_none(handover):
    handover.units.change(count=0)


@case("units", lost())
def unit_registers(handover):
    handover.units.change(field=0, value=handover.units.first()[0] + PAGE)


@case("units", NOT_USED)
def unit_root_unaligned(handover):
    handover.units.change(field=1, value=handover.root + 8)


@case("units", NOT_USED)
def unit_root_outside(handover):
    handover.units.change(field=1, value=OUTSIDE)


@case("units", NOT_USED)
def unit_root_in_kernel(handover):
    handover.units.change(field=1, value=handover.code())


@case("units", NOT_USED)
def unit_root_other_table(handover):
    handover.units.change(field=1, value=handover.context)


@case("units", kept("DMAR: liveupdate: dmar0 is listed twice"))
def unit_twice(handover):
    unit = handover.units.first()
    UNIT.pack_into(handover.ram, handover.units.at + LIST.size + UNIT.size, *unit)
    handover.units.change(count=2)


# The root table.

@case("entries", ROOT_DAMAGED, quiet=True)
def root_reserved_bit(handover):
    handover.put(handover.root, handover.context | PRESENT | 2)


@case("entries", ROOT_DAMAGED, quiet=True)
def root_upper_half(handover):
    handover.put(handover.root + 8, handover.context | PRESENT)


@case("entries", ROOT_DAMAGED, quiet=True)
def root_not_present(handover):
    handover.put(handover.root, handover.context)


@case("entries", ROOT_DAMAGED, quiet=True)
def root_to_outside(handover):
    handover.put(handover.root, OUTSIDE | PRESENT)


@case("entries", ROOT_DAMAGED, quiet=True)
def root_to_kernel(handover):
    code = handover.code(leads_nowhere=handover.entry - handover.context)
    handover.put(handover.root, code | PRESENT)


@case("entries", ROOT_DAMAGED, quiet=True)
def root_to_itself(handover):
    handover.put(handover.root, handover.root | PRESENT)


# The card's own entry is good.
@case("entries", kept(ROOT))
def root_of_other_bus(handover):
    handover.put(handover.root + 16 * NO_BUS, handover.code() | PRESENT)


# The context table.

def change_low(handover, remove, add):
    """Change bits of the first half of the card's entry."""
    handover.put(handover.entry, handover.get(handover.entry) & ~remove | add)


def change_high(handover, remove, add):
    """Change bits of the second half of the card's entry."""
    handover.put(handover.entry + 8, handover.get(handover.entry + 8) & ~remove | add)


@case("entries", lost(), quiet=True)
def context_not_present(handover):
    change_low(handover, PRESENT, 0)


@case("entries", DAMAGED, quiet=True)
def context_faults_off(handover):
    change_low(handover, 0, 1 << 1)


@case("entries", DAMAGED, quiet=True)
def context_pass_through(handover):
    change_low(handover, 0, 2 << 2)


@case("entries", DAMAGED, quiet=True)
def context_type_reserved(handover):
    change_low(handover, 0, 3 << 2)


@case("entries", DAMAGED, quiet=True)
def context_reserved_low(handover):
    change_low(handover, 0, 1 << 4)


@case("entries", DAMAGED, quiet=True)
def context_reserved_high(handover):
    change_high(handover, 0, 1 << 24)


@case("entries", DAMAGED, quiet=True)
def context_width(handover):
    change_high(handover, WIDTHS, 2)


@case("entries", DAMAGED, quiet=True)
def context_width_reserved(handover):
    change_high(handover, WIDTHS, 7)


@case("entries", DAMAGED, quiet=True)
def context_domain_0(handover):
    change_high(handover, DOMAIN, 0)


@case("entries", DAMAGED, quiet=True)
def context_domain_1(handover):
    change_high(handover, DOMAIN, 1 << 8)


# QEMU's IOMMU has as many domains as the field has values.
@case("entries", kept(), quiet=True)
def context_domain_last(handover):
    change_high(handover, 0, DOMAIN)


@case("entries", DAMAGED, quiet=True)
def context_to_outside(handover):
    change_low(handover, ADDRESS, OUTSIDE)


@case("entries", DAMAGED, quiet=True)
def context_to_kernel(handover):
    change_low(handover, ADDRESS, handover.code(leads_nowhere=0))


@case("entries", DAMAGED, quiet=True)
def context_to_itself(handover):
    change_low(handover, ADDRESS, handover.context)


@case("entries", DAMAGED, quiet=True)
def context_to_root(handover):
    change_low(handover, ADDRESS, handover.root)


# Only the card was preserved.
@case("entries", kept("DMAR: liveupdate: 0000:00:1f.0: its translation is damaged"))
def context_of_other_device(handover):
    for half in (0, 8):
        handover.put(handover.context + 16 * ISA_BRIDGE + half,
                     handover.get(handover.entry + half))


# The page table. The card uses none of the entries that are changed.

@case("tables", DAMAGED)
def entry_without_access(handover):
    handover.put(handover.unused(1), handover.get(handover.far_leaf()) & ~ACCESS)


@case("tables", DAMAGED)
def entry_reserved_bit(handover):
    leaf = handover.far_leaf()
    handover.put(leaf, handover.get(leaf) | 1 << 62)


@case("tables", DAMAGED)
def entry_reserved_bit_of_top(handover):
    handover.put(handover.unused(3), handover.table(2) | ACCESS | 1 << 52)


@case("tables", DAMAGED)
def table_in_itself(handover):
    handover.put(handover.unused(3), handover.top | ACCESS)


@case("tables", DAMAGED)
def table_above(handover):
    handover.put(handover.unused(2), handover.top | ACCESS)


@case("tables", DAMAGED)
def table_twice(handover):
    handover.put(handover.unused(2), handover.table(1) | ACCESS)


@case("tables", DAMAGED)
def table_in_kernel(handover):
    handover.put(handover.unused(2), handover.code() | ACCESS)


@case("tables", DAMAGED)
def table_outside(handover):
    handover.put(handover.unused(2), OUTSIDE | ACCESS)


@case("tables", DAMAGED)
def table_is_context(handover):
    handover.put(handover.unused(3), handover.context | ACCESS)


def lead(handover, at):
    """Let a leaf that the card does not use lead elsewhere."""
    handover.put(handover.far_leaf(), at | ACCESS)


@case("tables", LEADS_ASTRAY)
def leaf_in_kernel(handover):
    lead(handover, handover.code())


@case("tables", LEADS_ASTRAY)
def leaf_outside(handover):
    lead(handover, OUTSIDE)


@case("tables", LEADS_ASTRAY)
def leaf_is_table(handover):
    lead(handover, handover.table(1))


@case("tables", LEADS_ASTRAY)
def leaf_is_top(handover):
    lead(handover, handover.top)


@case("tables", LEADS_ASTRAY)
def leaf_is_context(handover):
    lead(handover, handover.context)


@case("tables", LEADS_ASTRAY)
def leaf_is_root(handover):
    lead(handover, handover.root)


# The kernel has taken that list already.
@case("tables", LEADS_ASTRAY)
def leaf_is_pci_list(handover):
    lead(handover, handover.pci.at)


# The page is preserved: it is held for the card, and nobody else gets it.
@case("tables", kept())
def leaf_is_units_list(handover):
    lead(handover, handover.units.at)


@case("tables", DAMAGED)
def large_misaligned(handover):
    handover.put(handover.unused(2), handover.code() | 2 * PAGE | LARGE | ACCESS)


@case("tables", LEADS_ASTRAY)
def large_in_kernel(handover):
    at = handover.code() & -(2 * MIB)
    handover.put(handover.unused(2), at | LARGE | ACCESS)


@case("tables", LEADS_ASTRAY)
def large_of_top(handover):
    handover.put(handover.unused(3), LARGE | ACCESS)


def data_ranges(file, size):
    """Where a file has something: (begin, end) of each piece."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, at


def find_lists(ram, ranges, magic, item):
    """The valid lists that begin with this magic, each at the start of a page."""
    for begin, end in ranges:
        firsts = bytes(ram[begin:end:PAGE])
        place = firsts.find(magic[0])
        while place >= 0:
            at = begin + place * PAGE
            if ram[at:at + len(magic)] == magic:
                found = Listing(ram, at, item)
                if found.is_valid():
                    yield found
            place = firsts.find(magic[0], place + 1)


class Stray:
    """The descriptors that the card would write if nothing translated its addresses:
    then each IOVA is an address of memory."""

    def __init__(self, ram, ring, position):
        self.ram = ram
        own = set(ring.frames)
        slots = range(position % witness.DESCRIPTORS, witness.DESCRIPTORS)
        places = (IOVA + witness.RING + slot * witness.DESCRIPTOR.size
                  for slot in slots)
        self.before = {at: self.read(at) for at in places if at // PAGE not in own}

    def read(self, at):
        """A descriptor, as bytes."""
        return bytes(self.ram[at:at + witness.DESCRIPTOR.size])

    def count(self):
        """How many of them the card has written since."""
        return sum(self.is_written(self.read(at), before)
                   for at, before in self.before.items())

    @staticmethod
    def is_written(now, before):
        """Whether the card has made this of what was there. It marks a descriptor
        without a buffer, too, and goes on to the next one."""
        address, length, _, status, errors, _ = witness.DESCRIPTOR.unpack(now)
        old = witness.DESCRIPTOR.unpack(before)
        return ((address, errors) == (old[0], old[4]) and
                bool(status & witness.DONE) and not old[3] & witness.DONE and
                length in (old[1], witness.PACKET_SIZE))


class Forger:
    """The cases of a run: one for each kexec."""

    def __init__(self, group, observer):
        self.cases = cases_of(group)
        self.witness = observer
        self.boots = 0
        self.handover = None
        self.kernel = None   # where the code of the last kernel was
        self.applied = None  # the case of the last kexec, until it is decided
        self.stray = None
        self.notes = []      # (whether it is good, what)

    def instructions(self):
        """What the guest has to do: a line for each kexec, with the name of its case
        and words for selftests/nic.c."""
        return "".join(f"{current.name} {instruction(current.outcome)}\n"
                       for current in self.cases)

    def lists(self, magic, item):
        """All lists with this magic in the guest's memory."""
        ram = self.witness.ram
        return list(find_lists(ram, data_ranges(self.witness.file, len(ram)),
                               magic, item))

    def forget(self):
        """Make lists of earlier kernels unrecognizable. Their pages are free, or used
        by somebody who has not written to them yet."""
        for found in self.lists(PCI_MAGIC, RECORD) + self.lists(UNIT_MAGIC, UNIT):
            self.witness.ram[found.at:found.at + 1] = b"\0"

    def locate(self):
        """Find what the old kernel has written."""
        pci, units = self.lists(PCI_MAGIC, RECORD), self.lists(UNIT_MAGIC, UNIT)
        if len(pci) != 1 or len(units) != 1:
            raise ValueError(f"{len(pci)} lists of devices and {len(units)} of IOMMUs")
        self.handover = Handover(self.witness.ram, pci[0], units[0],
                                 self.witness.cards[0].ring, self.kernel)

    def apply(self, current):
        """Make the change of a case."""
        card = self.witness.cards[0]
        if current.quiet:
            card.pause()
            time.sleep(SETTLE)
        if current.outcome.errno or current.outcome.stopped or current.quiet:
            card.may_stop(time.monotonic())
        self.stray = Stray(self.witness.ram, card.ring, card.position)
        if not self.handover:
            self.locate()
        current.change(self.handover)
        self.applied = current

    def decided(self, moment):
        """The next kernel has said what it does with the card."""
        card, current = self.witness.cards[0], self.applied
        self.applied = None
        if current.outcome.errno or current.outcome.stopped:
            card.stop(moment + MARGIN)
        elif current.quiet:
            card.resume(moment)
        if current.quiet:
            card.go_on(moment)

    def line(self, line):
        """A line of the guest."""
        if line.port == "tests":
            self.test_line(line.text)
        elif "liveupdate: serialized" in line.text:
            self.attempt(self.locate)
        elif NEW_KERNEL.search(line.text):
            self.boots += 1
            if self.boots > 1:
                self.attempt(functools.partial(self.apply, self.current()))
        elif self.applied and DECIDED.search(line.text):
            self.decided(line.time)

    def test_line(self, text):
        """A line of the guest's script, or of its programs."""
        found = KERNEL_CODE.match(text)
        if re.match("NIC 0 ready", text):
            self.forget()
        elif found and self.boots > 1:
            self.kernel = int(found[1], 16), int(found[2], 16)
            self.booted()

    def booted(self):
        """The next kernel's script runs."""
        name = self.current().name
        if self.handover:
            where = self.handover.used_code
            self.note(all(self.kernel[0] <= at < self.kernel[1] for at in where),
                      f"{name}: {[hex(at) for at in where]} is code of the kernel")
        if self.stray:
            count = self.stray.count()
            self.note(not count, f"{name}: no DMA without translation ({count})")
        self.handover = self.stray = None

    def current(self):
        """The case of the last kexec."""
        return self.cases[min(self.boots - 2, len(self.cases) - 1)]

    def attempt(self, action):
        """Do something that fails if the memory is not as expected."""
        try:
            action()
        except (ValueError, StopIteration, AttributeError, struct.error) as error:
            self.note(False, f"boot {self.boots}: {error!r}")

    def note(self, good, what):
        """Keep the result of a check."""
        self.notes.append((good, what))

    def checks(self, lines):
        """Each thing that must hold: (whether it does, what it is)."""
        yield from self.notes
        logs, at = [], -1
        for line in lines:
            if line.port != "console":
                continue
            if NEW_KERNEL.search(line.text):
                logs.append([])
            if logs:
                logs[at].append(line.text)
        for current, log in zip(self.cases, logs[1:]):
            yield from check_log(current, log)


def instruction(outcome):
    """What nic has to do."""
    if not outcome.errno and not outcome.stopped:
        return "resume"
    return f"forged {outcome.errno}"


def is_line(text, expected):
    """Whether a line of the log is this one, after the time. Characters may be
    missing."""
    text = text.partition("] ")[2] or text
    if not 0 <= len(expected) - len(text) <= MAX_GARBLED:
        return False
    rest = iter(expected)
    return all(letter in rest for letter in text)


def check_log(current, log):
    """Whether the kernel's log is that of the case."""
    missing, others = list(current.outcome.log), []
    for text in log:
        if missing and is_line(text, missing[0]):
            del missing[0]
        elif ABOUT.search(text):
            others.append(text)
    yield not missing and not others, f"{current.name}: the log says what it should" + (
        f", but lacks {missing} and has {others}" if missing or others else "")
    faults = [text for text in log if witness.FAULT.search(text)]
    yield not faults, f"{current.name}: no lines about DMA faults {faults[:4]}"
