# SPDX-License-Identifier: GPL-2.0-only
"""Where the runner finds what was built, and where it keeps its logs."""

import pathlib

TOP = pathlib.Path(__file__).resolve().parents[2]
OUT = TOP / "out"
QEMU = TOP / "qemu"
TOOLS = TOP / "tools"
SELFTESTS = TOP / "selftests"
SCENARIOS = SELFTESTS / "scenarios"
PROGRAMS = OUT / "selftests" / "ours"
RUNS = OUT / "runs"

# The guest's whole system. The second one has fewer test programs, the third one the
# virtual machine monitor and none.
INITRAMFS = {"": OUT / "initramfs.cpio", "forge": OUT / "initramfs-forge.cpio",
             "vmm": OUT / "vmm.cpio"}
