# SPDX-License-Identifier: GPL-2.0-only
"""Measure /dev/liveupdate of both implementations in QEMU guests.

measure    guests that run the steps of a benchmark
blackout   the states and parts of the blackout
results    from the lines of those guests to a number for each operation
words      numbers and operations as text
report     the table on the terminal, and the targets
blackout_table  its table
documents  the generated parts of README.md and docs/performance.md
command    the command line of bench/bench.py
"""
