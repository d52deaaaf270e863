#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run test scenarios in QEMU guests; --help lists the options."""

import sys

from runner.command import main

if __name__ == "__main__":
    sys.exit(main())
