# SPDX-License-Identifier: GPL-2.0-only
"""Damages what a kernel hands over for a device, between two kernels.

The guest's memory is a file that this program has mapped. In each kexec of a run, the
forger changes one thing in it: a case of forger_cases.py or forger_iommufd.py. The
lines of the guest tell when:

NIC n ready        lists and records of earlier kernels are made unrecognizable
serialized         the old kernel has written its own: the forger finds them, and
                   follows the tables of the IOMMU
Linux version      the next kernel runs and has not read them yet: the change

The IOMMU uses the same tables until the next kernel has made its own. So a case changes
either what the card does not use meanwhile, or what leads nowhere; or the card gets no
packets, without which it does no DMA, until the kernel has decided (`quiet`).
"""

import functools
import re
import struct
import time

from . import forger_cases, forger_iommufd, witness
from .forger_cases import Case, kept
from .handover import (IOVA, PCI_MAGIC, RECORD, UNIT, UNIT_MAGIC, Handover, data_ranges,
                       find_lists)
from .iommufd_record import find_records
from .witness import MARGIN, PAGE

# Seconds for what the card has begun.
SETTLE = 0.02

DECIDED = re.compile(r"liveupdate: (stopped|not the device|DMA goes on)|"
                     r"DMAR: Intel\(R\) Virtualization")
NEW_KERNEL = witness.NEW_KERNEL
KERNEL_CODE = re.compile(r"KERNEL ([0-9a-f]+)-([0-9a-f]+)")
# Lines of the kernel log that are about devices that cross.
ABOUT = re.compile(r"(PCI|DMAR|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d): liveupdate: |"
                   r"DMAR: Translation was enabled|cannot be retrieved|is not stopped|"
                   r"liveupdate_iommufd: |is damaged|cannot be used")
# A busy serial port was seen to lose a character of a line.
MAX_GARBLED = 3


def cases_of(group):
    """The cases of a scenario. In the first one nothing is changed."""
    found = [found for found in forger_cases.CASES + forger_iommufd.CASES
             if found.group == group]
    if not found:
        raise ValueError(f"no case is in the group {group}")
    return [Case("control", group, kept(), lambda handover: None, False), *found]


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
        # How many iommufds cross.
        self.iommufds = int(group == forger_iommufd.GROUP)
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

    def records(self):
        """All records of iommufds in the guest's memory."""
        ram = self.witness.ram
        return find_records(ram, data_ranges(self.witness.file, len(ram)))

    def forget(self):
        """Make lists and records of earlier kernels unrecognizable. Their pages are
        free, or have an owner that has not written to them yet."""
        for found in (self.lists(PCI_MAGIC, RECORD) + self.lists(UNIT_MAGIC, UNIT) +
                      self.records()):
            self.witness.ram[found.at:found.at + 1] = b"\0"

    def locate(self):
        """Find what the old kernel has written."""
        pci, units = self.lists(PCI_MAGIC, RECORD), self.lists(UNIT_MAGIC, UNIT)
        if len(pci) != 1 or len(units) != 1:
            raise ValueError(f"{len(pci)} lists of devices and {len(units)} of IOMMUs")
        self.handover = Handover(self.witness.ram, pci[0], units[0],
                                 self.witness.cards[0].ring, self.kernel)
        records = self.records()
        if len(records) != self.iommufds:
            raise ValueError(f"{len(records)} records of iommufds")
        self.handover.iommufd = records[0] if records else None

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
        logs = []
        for line in lines:
            if line.port != "console":
                continue
            if NEW_KERNEL.search(line.text):
                logs.append([])
            if logs:
                logs[-1].append(line.text)
        for current, log in zip(self.cases, logs[1:]):
            yield from check_log(current, log)


def instruction(outcome):
    """What nic has to do."""
    if outcome.words:
        return outcome.words
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
