# SPDX-License-Identifier: GPL-2.0-only
"""What a run needs, from scenarios.toml and from the comments of kexec_*.c."""

import dataclasses
import itertools
import re
import subprocess
import tomllib

from . import forger, kernels, paths

# The shadow of KASAN and the records of page_owner take more than an eighth of
# the memory. A kernel that is entered by kexec must find room for them in the
# scratch area.
DEBUG_MEMORY = {"512M": "1G", "768M": "1G", "1G": "1G", "2G": "2G"}
DEBUG_SCRATCH = {"1G": "64M,256M,64M", "2G": "64M,384M,128M"}
# page_owner and kmemleak already record who allocates; a third record by SLUB
# would only cost memory. ACPI's routing of PCI interrupts interprets AML for
# half a minute in every boot; the MP table has it too. With five levels of page
# tables, KASAN reports good addresses while the boot CPU is identified, and is
# silent after that. A second CPU would run in turn with the first, and each
# call to it would wait for its turn.
DEBUG_CMDLINE = ("page_owner=on page_poison=1 slub_debug=FZP pci=noacpi no5lvl "
                 "maxcpus=1")
# The debug kernel is slower by at most this factor.
DEBUG_PATIENCE = 4

# A key in the first comment of a C file.
HEADER = re.compile(r"^\s*\*\s*(memory|timeout|kernels|cmdline|hidden|module|"
                    r"allow|cpus|debug):\s*(.*?)\s*$")


@dataclasses.dataclass
class Scenario:
    """One run: its script, its machine and what the runner expects of it."""

    name: str
    script: str = ""
    program: str = ""
    environment: dict = dataclasses.field(default_factory=dict)
    kernels: list = dataclasses.field(default_factory=lambda: [kernels.DEFAULT])
    stages: int | str = 1
    memory: str = "1G"
    cpus: int = 2
    timeout: float = 120
    cmdline: str = ""
    initramfs: str = "initramfs"
    files: list = dataclasses.field(default_factory=list)
    module: str = "liveupdate"
    allow: str = ""
    kunit: bool = False
    pairs: bool = False
    chain: bool = False
    debug: str = ""
    host_threads: bool = False
    cards: list = dataclasses.field(default_factory=list)
    packets: int = 100
    forge: str = ""
    end: str = ""
    hidden: bool = False
    # Set by this module: the two kernels of a handover; whether the debug
    # kernel runs it.
    pair: tuple | None = None
    on_debug: bool = False

    def __post_init__(self):
        self.script = self.script or self.name
        if self.debug not in ("", "yes", "only"):
            raise ValueError(f"{self.name}: debug is yes or only")
        if self.forge:
            self.stages = len(forger.cases_of(self.forge)) + 1
        if not isinstance(self.stages, int):
            self.stages = ask_stages(*self.stages.split())

    def allows(self, text):
        """Whether the scenario expects this line in the kernel log."""
        return bool(self.allow and re.search(self.allow, text))

    def image(self):
        """The initramfs that the guest boots."""
        return paths.OUT / f"{self.initramfs}.cpio"

    def variant(self, name, pair=()):
        """The same scenario on the debug kernel, or between a pair of kernels
        of which one is the debug kernel."""
        memory = DEBUG_MEMORY[self.memory]
        return dataclasses.replace(
            self, name=name, memory=memory, on_debug=True,
            kernels=list(pair) or [kernels.DEBUG],
            timeout=self.timeout * DEBUG_PATIENCE,
            # A card must be able to take packets for as long as a boot takes.
            packets=self.packets // DEBUG_PATIENCE,
            cmdline=(f"{self.cmdline} {DEBUG_CMDLINE} "
                     f"kho_scratch={DEBUG_SCRATCH[memory]}").strip())


def ask_stages(program, *arguments):
    """The number of stages that a program of ours reports."""
    path = paths.PROGRAMS / program
    if not path.exists():
        return 2  # Not built yet: --list shows this number.
    answer = subprocess.run([path, "stages", *arguments], text=True, check=False,
                            capture_output=True, timeout=10).stdout
    number = re.search(r"^\s*(\d+)\s*$", answer, re.M)
    return int(number.group(1)) if number else 2


def from_source(path):
    """The scenario that the first comment of a kexec_*.c describes."""
    options = {}
    for line in path.read_text(encoding="utf-8").splitlines()[:60]:
        found = HEADER.match(line)
        if found:
            options[found.group(1)] = found.group(2)
    if "timeout" in options:
        options["timeout"] = float(options["timeout"])
    if "cpus" in options:
        options["cpus"] = int(options["cpus"])
    if "kernels" in options:
        options["kernels"] = options["kernels"].split()
    options["hidden"] = options.get("hidden") == "yes"
    return Scenario(path.stem, script="kexec", program=path.stem,
                    stages=path.stem, **options)


def handovers(scenario):
    """One scenario for each pair of kernels."""
    for pair in itertools.product(kernels.names(), repeat=2):
        yield dataclasses.replace(scenario, kernels=list(pair), pair=pair,
                                  name=f"{scenario.name}_{pair[0]}_to_{pair[1]}")
    if scenario.debug:
        for pair in ((kernels.DEBUG, kernels.DEBUG),
                     (kernels.DEBUG, kernels.DEBUG_PEER),
                     (kernels.DEBUG_PEER, kernels.DEBUG)):
            yield scenario.variant(f"{scenario.name}_{pair[0]}_to_{pair[1]}", pair)


def variants(scenario):
    """The runs that one description stands for."""
    if scenario.pairs:
        yield from handovers(scenario)
    elif scenario.debug == "only":
        yield scenario.variant(scenario.name)
    else:
        yield scenario
        if scenario.debug:
            yield scenario.variant(f"{scenario.name}_debug")


def find():
    """All scenarios by name, hidden ones included."""
    with open(paths.SCENARIOS / "scenarios.toml", "rb") as table:
        described = [Scenario(name, **options)
                     for name, options in tomllib.load(table).items()]
    described += [from_source(path)
                  for path in sorted(paths.SELFTESTS.glob("kexec_*.c"))]
    return {run.name: run for scenario in described for run in variants(scenario)}
