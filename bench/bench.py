#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the benchmark; --help lists the options.

The benchmark is a package that shares the guests of the test runner. This
starts it as `python3 -m bench` from the top of the tree, where both are found.
"""

import os
import pathlib
import sys

os.chdir(pathlib.Path(__file__).resolve().parent.parent)
os.execv(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]])
