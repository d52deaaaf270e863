# SPDX-License-Identifier: GPL-2.0-only
"""python3 -m bench, from the top of the tree."""

import sys

from .command import main

sys.exit(main())
