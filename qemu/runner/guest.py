# SPDX-License-Identifier: GPL-2.0-only
"""One QEMU guest: its command line, and the lines of its two serial ports.

The first port is the console, where the kernel log goes; the second one,
"tests", has the output of the scenario. Each line gets the time at which the
host read it.
"""

import collections
import fcntl
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import time

from . import forger, kernels, paths, witness
from .scenario import DEBUG_PATIENCE

PORTS = ("console", "tests")

# QEMU was seen to hang for good in a first boot, where the kernel switches its
# clock source. So a first boot that prints nothing for this many seconds before
# the scenario begins counts as stuck, and the runner starts it once more.
SILENCE = 30

# After this line a guest does nothing more, and QEMU does not end by itself.
HALTED = "reboot: System halted"

# no_timer_check: a busy host may deliver the timer later than the kernel's
# check of it allows; without the check the kernel waits.
# earlyprintk: a kernel that dies before it has a console says why.
CMDLINE = ("console=ttyS0 earlyprintk=ttyS0,115200 kho=on panic=-1 oops=panic "
           "kunit.enable=1 no_timer_check")

Line = collections.namedtuple("Line", "time port text")


def link_or_copy(source, target):
    """Put a file into the guest's share: as a hard link where possible."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


class Guest:
    """A QEMU process that runs a scenario, and what it printed."""

    silence = SILENCE

    def __init__(self, scenario, echo=None):
        """`echo`, if given, is called with each line as it arrives."""
        self.scenario = scenario
        self.echo = echo
        self.lines = []
        self.timed_out = False
        self.halted = False
        self.stuck_in_boot = False
        self.begun = False
        self.duration = 0.0
        self.lock = None
        self.witness = witness.Witness(scenario) if scenario.cards else None
        self.forger = (forger.Forger(scenario.forge, self.witness)
                       if scenario.forge else None)
        self.dir = self.claim_folder()
        self.share = self.dir / "share"
        self.fill_share()

    def claim_folder(self):
        """An empty folder named after the scenario that no other run uses."""
        paths.RUNS.mkdir(parents=True, exist_ok=True)
        name = self.scenario.name
        for number in range(1, 100):
            folder = paths.RUNS / (name if number == 1 else f"{name}.{number}")
            # The lock lasts as long as this object.
            # pylint: disable-next=consider-using-with
            self.lock = open(f"{folder}.lock", "w", encoding="ascii")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.lock.close()
                continue
            shutil.rmtree(folder, ignore_errors=True)
            return folder
        raise FileNotFoundError(f"no free folder for {name} in {paths.RUNS}")

    def fill_share(self):
        """Give the guest the images for its kexecs."""
        (self.share / "kernels").mkdir(parents=True)
        link_or_copy(self.scenario.image(), self.share / "initramfs.cpio")
        for name in set(self.scenario.kernels):
            image = kernels.image(name)
            if image is None:
                raise FileNotFoundError(f"kernel {name} is not built")
            link_or_copy(image, self.share / "kernels" / name)
        for name in self.scenario.files:
            link_or_copy(paths.OUT / name, self.share / name)
        if self.forger:
            (self.share / "forged").write_text(self.forger.instructions(),
                                               encoding="ascii")

    def log(self, port):
        """The path of a port's log."""
        return self.dir / f"{port}.log"

    def text(self, port):
        """The lines of a port, without their times."""
        return [line.text for line in self.lines if line.port == port]

    def machine(self):
        """The part of QEMU's command line about processors and time."""
        # With a host thread for each CPU, a kernel that was entered by kexec
        # was seen, very rarely, to wait for its other CPU for ever. Scenarios
        # with one boot do not kexec; the demo takes the risk, because its
        # hashing needs both CPUs. With one host thread, a kexec can end in a
        # reset, see `was_reset`: a scenario with very many kexecs should have
        # one CPU.
        one_boot = self.scenario.stages == 1 and not self.scenario.on_debug
        thread = "multi" if one_boot or self.scenario.host_threads else "single"
        cards = self.witness.arguments() if self.witness else []
        return ["-accel", f"tcg,thread={thread}", "-cpu", "max",
                "-smp", str(self.scenario.cpus), *cards]

    def append(self):
        """The kernel command line of the first boot. A word with "=" that the
        kernel does not know becomes a variable of the guest's processes."""
        scenario = self.scenario
        return " ".join(filter(None, [
            CMDLINE, f"lu.script={scenario.script} lu.stage=1",
            f"lu.stages={scenario.stages}",
            f"lu.kernels={','.join(scenario.kernels)}",
            f"lu.program={scenario.program}" if scenario.program else "",
            f"lu.end={scenario.end}" if scenario.end else "",
            f"lu.module={scenario.module}", scenario.cmdline,
            witness.CMDLINE if scenario.cards else "",
            *(f"{name}={value}" for name, value in scenario.environment.items())]))

    def command(self, serials):
        """QEMU's command line."""
        return ["qemu-system-x86_64", *self.machine(), "-m", self.scenario.memory,
                "-nodefaults", "-display", "none", "-no-reboot", *serials,
                "-virtfs", f"local,path={self.share},mount_tag=host,"
                "security_model=none,id=host,multidevs=remap",
                "-kernel", self.share / "kernels" / self.scenario.kernels[0],
                "-initrd", self.share / "initramfs.cpio",
                "-append", self.append()]

    def shell(self):
        """Hand the terminal to the guest; returns QEMU's exit status."""
        return subprocess.call(self.command(
            ["-serial", "mon:stdio", "-serial", f"file:{self.log('tests')}"]))

    def run(self):
        """Run the guest until it ends or its time is over."""
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lu-") as folder:
            servers = {port: listen(f"{folder}/{port}") for port in PORTS}
            serials = []
            for port in PORTS:
                serials += ["-chardev", f"socket,id={port},path={folder}/{port}",
                            "-serial", f"chardev:{port}"]
            with open(self.log("qemu"), "wb") as errors, subprocess.Popen(
                    self.command(serials), stdin=subprocess.DEVNULL,
                    pass_fds=self.witness.inherited() if self.witness else (),
                    stdout=errors, stderr=errors) as qemu:
                if self.witness:
                    self.witness.started()
                try:
                    self.read(servers, start + self.scenario.timeout)
                except TimeoutError:
                    pass  # QEMU did not start; its log says why.
                finally:
                    self.end(qemu)
                    if self.witness:
                        self.witness.finish(self.dir)
                    for server in servers.values():
                        server.close()
        self.duration = time.monotonic() - start
        for port in PORTS:
            self.log(port).write_text("\n".join(self.text(port)) + "\n",
                                      encoding="utf-8", errors="replace")

    @property
    def was_reset(self):
        """Whether the machine was reset before the next kernel said a word.

        This was seen only with two CPUs in one host thread. No trace shows the
        cause; this would explain it: a CPU that is stopped for a kexec reports
        so, and then halts. If QEMU runs the other CPU in between, the memory
        that the halt is in becomes that of the next kernel.
        """
        last = self.text("console")[-1:] or [""]
        return (not self.timed_out and self.scenario.cpus > 1
                and last[0].endswith("kexec_core: Starting new kernel"))

    def end(self, qemu):
        """Wait for QEMU, which ends when the guest has powered off."""
        if self.timed_out or self.halted:
            qemu.kill()
        try:
            qemu.wait(timeout=10)
        except subprocess.TimeoutExpired:
            qemu.kill()

    def read(self, servers, deadline):
        """Collect lines until both ports are closed or time is over."""
        start = time.monotonic()
        with selectors.DefaultSelector() as selector:
            rest = {}
            for port, server in servers.items():
                connection, _ = server.accept()
                selector.register(connection, selectors.EVENT_READ, port)
                rest[port] = b""
            while selector.get_map():
                if self.halted and (not self.witness or self.witness.is_satisfied()):
                    break
                if self.is_over(start, deadline):
                    self.timed_out = True
                    break
                left = max(0, deadline - time.monotonic())
                for key, _ in selector.select(min(left, 1.0)):
                    self.receive(selector, key, rest)
            for port, raw in rest.items():
                if raw:
                    self.add(port, raw)

    def is_over(self, start, deadline):
        """Whether to give up on this guest; notes when it is stuck in boot."""
        now = time.monotonic()
        last = self.lines[-1].time if self.lines else start
        silence = self.silence * (DEBUG_PATIENCE if self.scenario.on_debug else 1)
        self.stuck_in_boot = not self.begun and now - last > silence
        return self.stuck_in_boot or now >= deadline

    def receive(self, selector, key, rest):
        """Read what a port has, and keep its complete lines."""
        try:
            data = key.fileobj.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(key.fileobj)
            key.fileobj.close()
            return
        *complete, rest[key.data] = (rest[key.data] + data).split(b"\n")
        for raw in complete:
            self.add(key.data, raw)

    def add(self, port, raw):
        """Keep a line with the time at which it arrived."""
        text = raw.decode("utf-8", "replace").rstrip("\r")
        line = Line(time.monotonic(), port, text)
        self.lines.append(line)
        self.begun = self.begun or text == "=== stage 1 begin"
        if port == "console" and text.endswith(HALTED):
            self.halted = True
        # First: the witness makes the guest go on.
        if self.forger:
            self.forger.line(line)
        if self.witness:
            self.witness.line(line)
        if self.echo:
            self.echo(line)


def listen(path):
    """A socket that QEMU connects a serial port to."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)
    server.settimeout(20)
    return server
