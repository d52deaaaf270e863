# SPDX-License-Identifier: GPL-2.0-only
"""Sends numbered packets to the network cards of a guest, and watches its memory.

The guest's memory is a file that this program has mapped. So it sees a packet in the
ring of a card when the card has written it, also while no kernel runs. Layout of the
ring and of packets are those of selftests/lib/nic_ring.h. Lines of selftests/nic.c tell
where a ring is, and when packets are expected:

NIC n ready       packets are sent to card n
NIC n retrieved   a new kernel's program has the card
NIC n halting     from now on, none need land; none may after the old kernel's last line
NIC n quiet       no more are sent
NIC n stopped     from now on, none may arrive

If the machine is halted at the end, nothing may write to its memory any more.
"""

import bisect
import collections
import dataclasses
import mmap
import os
import re
import socket
import struct
import threading
import time
import zlib

# What the guest needs besides its machine.
CMDLINE = ("intel_iommu=on iommufd.allow_unsafe_interrupts=1 "
           "vfio_pci.disable_idle_d3=1")

MIB = 1 << 20
PAGE = 4096
# QEMU's q35 has memory from address 0 up to here, if it has no more.
MAX_MEMORY = 2048 * MIB

DESCRIPTORS = 4096
BUFFER_SIZE = 2048
RING, BUFFERS = 64 << 10, 128 << 10
PAGES = (BUFFERS + DESCRIPTORS * BUFFER_SIZE) // PAGE
# struct nic_header: magic, id, frame, pages, index.
HEADER = struct.Struct("<8sQQ8QI")
MAGIC = b"NICRING1"
# struct descriptor: address, length, checksum, status, errors, special.
DESCRIPTOR = struct.Struct("<QHHBBH")
DONE = 1
# Ethernet with a type for local experiments, then magic, card and number.
PACKET = struct.Struct(">6s6sH4sHQ")
PACKET_MAGIC = b"NIC#"
PACKET_SIZE = 64
ETHERTYPE = 0x88b5

# Seconds between two looks at the rings.
NAP = 0.0005
# QEMU keeps packets that a card does not take, and delivers them later. A card that
# stands still for a phase is seen because none lands in it; for less, by this delay. A
# busy host delays packets too.
MAX_DELAY = 3.0
# A phase that is shorter need not have a packet in it.
MIN_PHASE = 0.2
# The witness may see a packet later than it landed.
MARGIN = 0.3
# For how long packets are sent to a card that has stopped, and one that is halted.
STOPPED = 1.0
HALT_PACKETS = 1.5

# Lines that begin a phase. The IOMMU's driver prints the first one when the new kernel
# has taken over the translation for a device, and the second one when it is set up.
TAKEN_OVER = re.compile(r"liveupdate: DMA goes on|DMAR: Intel\(R\) Virtualization")
NEW_KERNEL = re.compile(r"\] Linux version ")
HALTED = re.compile(r"\] reboot: System halted")
KERNEL_TIME = re.compile(r"^\[ *\d+\.\d+\]")
NIC_LINE = re.compile(r"NIC (\d+) (\w+)(?: id=([0-9a-f]+) at=0x([0-9a-f]+))?")
FAULT = re.compile(r"DMAR: .*\bfault")

RUNNING = "kernel running"
SILENT = "old kernel silent"
NO_DRIVER = "no IOMMU driver"
BOOTING = "new kernel booting"
WAITING = "before retrieve"
AFTER = "after retrieve"
# Those in which no program of the guest drives a card.
GAP = (SILENT, NO_DRIVER, BOOTING, WAITING)

Phase = collections.namedtuple("Phase", "begin end kexec name")


def bytes_of(memory):
    """The number of bytes that a size such as 1G means."""
    return int(memory[:-1]) * {"M": MIB, "G": 1024 * MIB}[memory[-1]]


class Ring:
    """The ring of a card, in the memory of the guest."""

    def __init__(self, ram, address, ident):
        self.ram = ram
        header = HEADER.unpack_from(ram, address)
        if header[:3] != (MAGIC, ident, address // PAGE):
            raise ValueError(f"no ring at {address:#x} of the guest's memory")
        frames = b"".join(ram[frame * PAGE:(frame + 1) * PAGE]
                          for frame in header[3:11])
        self.frames = struct.unpack_from(f"<{PAGES}Q", frames)
        self.index = header[11]

    def at(self, offset):
        """Where a byte of the file is in the guest's memory."""
        return self.frames[offset // PAGE] * PAGE + offset % PAGE

    def packet(self, position):
        """Card and number of the packet that is number `position` in the ring, or
        None if that was not written yet."""
        slot = position % DESCRIPTORS
        done = DESCRIPTOR.unpack_from(self.ram, self.at(RING + slot * 16))[3] & DONE
        if not done:
            return None
        found = PACKET.unpack_from(self.ram, self.at(BUFFERS + slot * BUFFER_SIZE))
        return found[4:] if found[3] == PACKET_MAGIC else (None, None)


@dataclasses.dataclass
class Stop:
    """A time in which a card does not receive."""

    since: float  # Packets that are sent from now on need not land.
    begin: float  # None may land from now on.
    end: float


@dataclasses.dataclass
class Card:
    """The packets of one card."""

    index: int
    wire: socket.socket
    ring: Ring | None = None
    position: int = 0      # of the next packet in the ring
    due: float | None = None  # when to send the next one; None if none is sent
    until: float | None = None  # when to send no more
    highest: int = -1
    strange: int = 0       # what is in the ring and was never sent there
    late: int = 0          # packets that arrived after a later one
    error: str = ""
    # Two threads send and stop that.
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    sent: list = dataclasses.field(default_factory=list)
    landed: dict = dataclasses.field(default_factory=dict)
    stops: list = dataclasses.field(default_factory=list)

    def send(self, now, interval):
        """Send what is due."""
        with self.lock:
            if self.until is not None and now > self.until:
                self.due = None
            while self.due is not None and now >= self.due:
                frame = PACKET.pack(b"\xff" * 6, b"\x52\x54\0\0\0\1", ETHERTYPE,
                                    PACKET_MAGIC, self.index, len(self.sent))
                moment = time.monotonic()
                try:
                    self.wire.send(frame.ljust(PACKET_SIZE, b"\0"))
                except ConnectionRefusedError:
                    self.due = None  # QEMU has ended.
                    return
                self.sent.append(moment)
                self.due += interval

    def pause(self):
        """Send no more."""
        with self.lock:
            self.due = None

    def go_on(self, moment):
        """Send from that time on."""
        with self.lock:
            self.due = moment

    def watch(self):
        """Note what has landed."""
        if not self.ring:
            return
        for _ in range(DESCRIPTORS):
            found = self.ring.packet(self.position)
            if not found or found[1] in self.landed:
                return  # Not written, or written a round before.
            index, number = found
            self.position += 1
            if index != self.index or number >= len(self.sent):
                # A card that is being cut off can leave half of a packet, and the
                # guest uses the memory of a stopped one for something else.
                now = time.monotonic()
                self.strange += not self.excused(now, now)
                continue
            self.landed[number] = time.monotonic()
            self.late += number < self.highest
            self.highest = max(number, self.highest)

    def may_stop(self, moment):
        """From that time on, packets need not land."""
        self.stops.append(Stop(moment, float("inf"), float("inf")))

    def stop(self, moment):
        """From that time on, none may land."""
        if self.stops and self.stops[-1].end == float("inf"):
            self.stops[-1].begin = min(self.stops[-1].begin, moment)
        else:
            self.stops.append(Stop(moment, moment, float("inf")))
        self.until = moment + STOPPED

    def resume(self, moment):
        """Packets land again."""
        if self.stops and self.stops[-1].end == float("inf"):
            self.stops[-1].end = moment

    def start(self, ring, moment):
        """It receives into a new ring."""
        self.resume(moment)
        self.position, self.until = 0, None
        self.ring = ring
        self.go_on(moment)

    def stopped(self, moment):
        """Whether nothing may land at that time."""
        return any(stop.begin <= moment < stop.end for stop in self.stops)

    def excused(self, begin, end):
        """Whether nothing need land in a part of that time."""
        return any(stop.since <= end and begin < stop.end for stop in self.stops)

    def held_up(self, number):
        """Whether a packet was sent to a stopped card, or soon before the stop."""
        return any(stop.since - MAX_DELAY <= self.sent[number] < stop.end
                   for stop in self.stops)

    def missing(self):
        """The numbers of packets that never landed."""
        return [number for number in range(len(self.sent)) if number not in self.landed]

    def lost(self):
        """The numbers of packets that never landed, and should have."""
        return [number for number in self.missing() if not self.held_up(number)]

    def delays(self):
        """How long each packet took that was not held up by a stop."""
        return [landed - self.sent[number] for number, landed in self.landed.items()
                if not self.held_up(number)]

    def intruders(self):
        """How many packets landed while the card was stopped."""
        return sum(self.stopped(landed) for landed in self.landed.values())


class Witness(threading.Thread):
    """The packets of a guest's cards. It works from start() to finish()."""

    def __init__(self, scenario):
        super().__init__(daemon=True)
        size = bytes_of(scenario.memory)
        if size > MAX_MEMORY:
            raise ValueError(f"{scenario.name}: at most 2G of memory with cards")
        self.kinds = scenario.cards
        self.memory = scenario.memory
        self.interval = 1 / scenario.packets
        self.forged = bool(scenario.forge)  # The forger counts the faults.
        # Without a name, so that nothing of it is left when the run ends.
        self.file = os.memfd_create("guest-memory")
        os.ftruncate(self.file, size)
        self.ram = mmap.mmap(self.file, size)
        self.cards, self.ends = [], []
        for index in range(len(self.kinds)):
            ends = wire()
            self.cards.append(Card(index, ends[0]))
            self.ends.append(ends[1])
        self.ended = threading.Event()
        self.failure = "did not run"
        self.last_line = 0.0  # of a kernel
        self.halting = []     # cards that stop with it
        self.still = None     # time after which nothing may be written
        self.digests = []     # of the memory, then and at the end

    def inherited(self):
        """The file descriptors that QEMU needs."""
        return [self.file, *(end.fileno() for end in self.ends)]

    def arguments(self):
        """The part of QEMU's command line about the machine and its cards."""
        words = ["-machine", "q35,memory-backend=ram", "-object",
                 f"memory-backend-file,id=ram,size={self.memory},share=on,"
                 f"mem-path=/proc/self/fd/{self.file}",
                 # It serves the devices that come after it.
                 "-device", "intel-iommu,intremap=off"]
        for index, kind in enumerate(self.kinds):
            model, _, place = kind.partition("@")
            where = f"addr={3 + index:#x}"
            if place == "bridge":
                bridge = ("pcie-root-port" if model == "e1000e" else
                          "pcie-pci-bridge")
                words += ["-device", f"{bridge},id=bridge{index},{where}"]
                where = f"bus=bridge{index},addr=" + ("0" if model == "e1000e" else "1")
            words += ["-netdev", f"dgram,id=wire{index},local.type=fd,"
                      f"local.str={self.ends[index].fileno()}",
                      "-device", f"{model},netdev=wire{index},{where},romfile="]
        return words

    def started(self):
        """QEMU runs: it has its own ends of the wires."""
        for end in self.ends:
            end.close()
        self.start()

    def is_satisfied(self):
        """Whether it has sent all that a halted machine gets, or cannot any more."""
        sent = self.digests and all(card.due is None for card in self.cards)
        return bool(sent) or not self.is_alive()

    def finish(self, folder):
        """Stop sending and watching, and write down each packet's times."""
        self.ended.set()
        if self.is_alive():
            self.join()
        if self.still:
            self.digests.append(digest(self.file))
        self.ram.close()
        os.close(self.file)
        for card in self.cards:
            card.wire.close()
            with open(folder / f"card{card.index}.csv", "w", encoding="ascii") as out:
                out.write("number,sent,landed\n")
                out.writelines(f"{number},{sent:.4f},{card.landed.get(number, '')}\n"
                               for number, sent in enumerate(card.sent))

    def run(self):
        try:
            self.watch()
            self.failure = ""
        except Exception as error:
            self.failure = repr(error)
            raise

    def watch(self):
        """Send and watch until the run ends."""
        while not self.ended.wait(NAP):
            for card in self.cards:
                card.send(time.monotonic(), self.interval)
                card.watch()
            if self.still and not self.digests and time.monotonic() > self.still:
                memory = digest(self.file)
                for card in self.cards:
                    card.until = time.monotonic() + HALT_PACKETS
                    card.go_on(time.monotonic())
                self.digests.append(memory)

    def line(self, line):
        """A line of the guest, which may be about a card."""
        if line.port == "console":
            self.console_line(line)
            return
        found = NIC_LINE.match(line.text)
        if not found or int(found[1]) >= len(self.cards):
            return
        card = self.cards[int(found[1])]
        if found[2] == "ready":
            self.ready(card, int(found[4], 16), int(found[3], 16), line.time)
        elif found[2] == "halting":
            card.may_stop(line.time)
            self.halting.append(card)
        elif found[2] == "quiet":
            card.pause()
        elif found[2] == "stopped":
            card.stop(line.time)

    def console_line(self, line):
        """A line of a kernel."""
        if NEW_KERNEL.search(line.text):
            for card in self.halting:
                card.stop(self.last_line + MARGIN)
                card.until = line.time + STOPPED
            self.halting = []
        elif HALTED.search(line.text):
            # Until the memory was looked at, no packet is sent that could change it.
            self.still = line.time + MARGIN
            for card in self.halting:
                card.stop(line.time)
                card.pause()
        elif KERNEL_TIME.match(line.text):
            self.last_line = line.time

    def ready(self, card, address, ident, moment):
        """A program has started a card, with a ring at that address."""
        try:
            ring = Ring(self.ram, address, ident)
        except (ValueError, struct.error, IndexError) as error:
            card.error = str(error)
            return
        card.start(ring, moment)


def digest(file):
    """A number for what is in a file, without its holes."""
    value, end = 0, os.fstat(file).st_size
    at = next_data(file, 0, end)
    while at < end:
        hole = os.lseek(file, at, os.SEEK_HOLE)
        while at < hole:
            part = os.pread(file, min(hole - at, MIB), at)
            value = zlib.crc32(part, zlib.crc32(b"%d" % at, value))
            at += len(part)
        at = next_data(file, at, end)
    return value


def next_data(file, start, end):
    """Where the next data begins, or the end."""
    try:
        return os.lseek(file, start, os.SEEK_DATA)
    except OSError:
        return end


def wire():
    """Two connected sockets of the loopback interface. QEMU gets one of them, so that
    no other program can take its port."""
    ends = []
    for _ in range(2):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.bind(("127.0.0.1", 0))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        ends.append(end)
    ends[0].connect(ends[1].getsockname())
    ends[1].connect(ends[0].getsockname())
    return ends


def before_new_kernel(lines, index):
    """The last line of the old kernel, before that with the version of the new one. In
    between are lines of the decompressor, without a time."""
    while index > 0:
        index -= 1
        if KERNEL_TIME.match(lines[index].text):
            return index
    return 0


def phases(lines):
    """The phases of a run, from the lines of its guest."""
    console = [line for line in lines if line.port == "console"]
    marks = []  # (time, kexec, name)
    kexec = 0
    for index, line in enumerate(console):
        if not NEW_KERNEL.search(line.text):
            continue
        if marks:
            kexec += 1
            last = before_new_kernel(console, index)
            marks.append((console[last].time, kexec, SILENT))
            marks.append((console[last + 1].time, kexec, NO_DRIVER))
            taken = next((later for later in console[index:]
                          if TAKEN_OVER.search(later.text)), None)
            if taken:
                marks.append((taken.time, kexec, BOOTING))
        else:
            marks.append((line.time, 0, RUNNING))
    for line in lines:
        begin = re.match(r"=== stage (\d+) begin", line.text)
        if line.port == "tests" and begin and int(begin[1]) > 1:
            marks.append((line.time, int(begin[1]) - 1, WAITING))
        if line.port == "tests" and re.match("NIC 0 (retrieved|stopped)", line.text):
            at = max((mark[1] for mark in marks if mark[0] <= line.time), default=0)
            marks.append((line.time, at, AFTER))
    marks.sort(key=lambda mark: mark[0])
    ends = [mark[0] for mark in marks[1:]] + [line.time for line in lines[-1:]]
    return [Phase(begin, end, number, name)
            for (begin, number, name), end in zip(marks, ends)]


def count_landed(card, found):
    """How many packets landed in each phase."""
    begins = [phase.begin for phase in found]
    counts = [0] * len(found)
    for moment in card.landed.values():
        place = bisect.bisect_right(begins, moment) - 1
        if place >= 0:
            counts[place] += 1
    return counts


class Testimony:
    """What a witness has seen, once its guest has ended."""

    def __init__(self, witness, lines):
        self.cards = witness.cards
        self.failure = witness.failure
        self.forged = witness.forged
        self.still = witness.still
        self.digests = witness.digests
        self.phases = phases(lines)
        self.counts = [count_landed(card, self.phases) for card in self.cards]
        self.faults = sum(line.port == "console" and bool(FAULT.search(line.text))
                          for line in lines)

    def summary(self, card):
        """One line about all packets of a card."""
        worst = max(card.delays(), default=0) * 1000
        lost = len(card.lost())
        stopped = len(card.missing()) - lost
        return (f"card {card.index}: {len(card.sent)} packets sent, "
                f"{len(card.landed)} landed, {lost} lost, "
                f"{f'{stopped} given up when it was stopped, ' if stopped else ''}"
                f"{card.late + card.strange} not in order, "
                f"worst delay {worst:.0f} ms")

    def table(self):
        """One line for each phase without a driver, of each kexec."""
        for place, phase in enumerate(self.phases):
            if phase.name in GAP:
                seen = " and ".join(str(counts[place]) for counts in self.counts)
                yield (f"kexec {phase.kexec}, {phase.name:18} {seen:>6} packets in "
                       f"{phase.end - phase.begin:.2f} s")

    def checks(self):
        """Each thing that must hold: (whether it does, what it is)."""
        yield not self.failure, f"it watched to the end {self.failure}".rstrip()
        if not self.forged:
            yield self.faults == 0, f"no DMA fault in the kernel log ({self.faults})"
        if self.still:
            sent = sum(moment > self.still for card in self.cards
                       for moment in card.sent)
            yield sent > 0, "packets are sent to the halted machine"
            yield len(self.digests) == 2 and len(set(self.digests)) == 1, \
                "nothing writes to the memory of the halted machine"
        for card, counts in zip(self.cards, self.counts):
            name = f"card {card.index}"
            lost, worst = card.lost(), max(card.delays(), default=0)
            yield not card.error and bool(card.landed), \
                f"{name}: packets land {card.error}".rstrip()
            yield not lost, f"{name}: no packet is lost ({len(lost)}, {lost[:5]})"
            yield not card.late + card.strange, \
                f"{name}: in order ({card.late} late, {card.strange} strange)"
            yield worst <= MAX_DELAY, \
                f"{name}: none takes longer than {MAX_DELAY} s ({worst:.3f} s)"
            if card.stops:
                yield not card.intruders(), \
                    f"{name}: none lands after it has stopped ({card.intruders()})"
            yield from self.check_gaps(card, counts, name)

    def check_gaps(self, card, counts, name):
        """Packets must land in each phase of a kexec in which the card was not
        stopped."""
        for phase, count in zip(self.phases, counts):
            if (phase.name in GAP and phase.end - phase.begin >= MIN_PHASE and
                    not card.excused(phase.begin, phase.end)):
                yield count > 0, \
                    f"{name}: packets land, kexec {phase.kexec}, {phase.name}"

    def check_kexecs(self, stages):
        """The log must show every phase of every kexec: else the checks of phases have
        not looked at all of them."""
        for kexec in range(1, stages):
            names = {phase.name for phase in self.phases if phase.kexec == kexec}
            yield set(GAP) <= names, f"kexec {kexec} has all phases"
