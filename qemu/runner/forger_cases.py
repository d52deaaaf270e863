# SPDX-License-Identifier: GPL-2.0-only
"""The cases of the forger: what is changed, and what the next kernel has to do."""

import collections

from .handover import (ACCESS, ADDRESS, DOMAIN, LARGE, LIST, PRESENT, RECORD, UNIT,
                       WIDTHS)
from .witness import MIB, PAGE

CARD = "0000:00:03.0"
# No guest has memory there.
OUTSIDE = 1 << 38
# No device is there; the bridge to ISA is there.
NO_DEVICE = 0x1e << 3
ISA_BRIDGE = 0x1f << 3
NO_BUS = 5

ENOENT, ENODEV = 2, 19
# What the next kernel does: the errno of retrieving the card, 0 if it is given back;
# the lines of its log; whether a card that is given back was stopped before; words for
# selftests/nic.c that do not follow from that.
Outcome = collections.namedtuple("Outcome", "errno log stopped words", defaults=("",))
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

CASES = []


def case(group, outcome, quiet=False):
    """A function that makes the change of a case."""
    def add(change):
        name = change.__name__.replace("_", "-")
        CASES.append(Case(name, group, outcome, change, quiet))
        return change
    return add


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


# It is given back, as if it had been stopped: opening it resets it.
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
