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
