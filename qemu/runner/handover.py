# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel hands over for a device, in the memory of a guest.

Layouts are those of drivers/pci/liveupdate.c and drivers/iommu/intel/liveupdate.c.
"""

import os
import struct
import zlib

from . import witness
from .witness import MIB, PAGE

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
# The buffers at the end, which the card does not reach while a kernel is replaced. It
# has small pages, because the size of the memory is not a multiple of large ones.
LAST = IOVA + (witness.PAGES - 1) * PAGE


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
    """What crosses for one card: both lists, the tables of its IOMMU, its iommufd."""

    def __init__(self, ram, pci, units, ring, kernel):
        """`kernel`: where the code of the next kernel will be."""
        self.ram, self.pci, self.units = ram, pci, units
        self.iommufd = None  # its record, if one crosses
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


def find_pages(ram, ranges, magic):
    """The addresses of pages that begin with this magic."""
    for begin, end in ranges:
        firsts = bytes(ram[begin:end:PAGE])
        place = firsts.find(magic[0])
        while place >= 0:
            at = begin + place * PAGE
            if ram[at:at + len(magic)] == magic:
                yield at
            place = firsts.find(magic[0], place + 1)


def find_lists(ram, ranges, magic, item):
    """The valid lists that begin with this magic, each at the start of a page."""
    for at in find_pages(ram, ranges, magic):
        found = Listing(ram, at, item)
        if found.is_valid():
            yield found
