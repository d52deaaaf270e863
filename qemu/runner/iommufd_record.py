# SPDX-License-Identifier: GPL-2.0-only
"""The record of an iommufd that crosses, in the memory of a guest.

Layouts are those of file_handlers/iommufd/record/.
"""

import collections
import struct

from .handover import find_pages
from .witness import PAGE

MAGIC = b"iommufd1"
# Magic, number of objects, number of areas.
HEADER = struct.Struct("<8sII")
OBJECT = struct.Struct("<IIIIQ")
AREA = struct.Struct("<IIQQQQ")
IOAS, HWPT, DEVICE = 1, 2, 3

Object = collections.namedtuple("Object", "type flags id parent device")
Area = collections.namedtuple("Area", "flags ioas iova length offset token")


class Record:
    """A record in one page."""

    def __init__(self, ram, at):
        self.ram, self.at = ram, at
        self.magic, objects, areas = HEADER.unpack_from(ram, at)
        self.counts = objects, areas

    def end(self):
        """Where it ends, from the start of the page."""
        objects, areas = self.counts
        return HEADER.size + objects * OBJECT.size + areas * AREA.size

    def is_valid(self):
        """Whether a kernel can have written it: zeros follow its last area."""
        if not self.counts[0] or self.end() > PAGE:
            return False
        rest = self.ram[self.at + self.end():self.at + PAGE]
        return not any(rest) and all(found.type in (IOAS, HWPT, DEVICE)
                                     for found in self.objects())

    def objects(self):
        """All objects."""
        return [Object(*OBJECT.unpack_from(self.ram, self.at_object(index)))
                for index in range(self.counts[0])]

    def areas(self):
        """All areas."""
        return [Area(*AREA.unpack_from(self.ram, self.at_area(index)))
                for index in range(self.counts[1])]

    def at_object(self, index):
        """Where an object is."""
        return self.at + HEADER.size + index * OBJECT.size

    def at_area(self, index):
        """Where an area is."""
        return self.at_object(self.counts[0]) + index * AREA.size

    def change(self, *, magic=None, objects=None, areas=None):
        """Change the header. The rest stays as it is."""
        HEADER.pack_into(self.ram, self.at, magic or self.magic,
                         self.counts[0] if objects is None else objects,
                         self.counts[1] if areas is None else areas)

    def change_object(self, kind, **fields):
        """Change fields of the first object of a type."""
        objects = self.objects()
        index = [found.type for found in objects].index(kind)
        OBJECT.pack_into(self.ram, self.at_object(index),
                         *objects[index]._replace(**fields))

    def keep_one_area(self, **fields):
        """Remove all areas but the first one, and change fields of that."""
        first = self.areas()[0]._replace(**fields)
        at, end = self.at_area(0), self.at + self.end()
        self.ram[at:end] = AREA.pack(*first).ljust(end - at, b"\0")
        self.change(areas=1)

    def change_last_area(self, **fields):
        """Change fields of the last area."""
        last = self.areas()[-1]
        AREA.pack_into(self.ram, self.at_area(self.counts[1] - 1),
                       *last._replace(**fields))


def find_records(ram, ranges):
    """The valid records, each at the start of a page."""
    records = (Record(ram, at) for at in find_pages(ram, ranges, MAGIC))
    return [found for found in records if found.is_valid()]
