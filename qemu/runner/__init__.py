# SPDX-License-Identifier: GPL-2.0-only
"""Run test scenarios in QEMU guests and judge what the guests print.

scenario   what a run needs: script, kernels, machine, time
kernels    the table of kernels, and the images that are built
guest      one QEMU process and the lines of its two serial ports
timeline   what a demo prints as it happens
picture    the same as an SVG picture
verdict    whether those lines mean that the scenario passed
matrix     the table of what ran between different kernels
schedule   many runs, two at a time, each when its kernels are built
command    the command line of qemu/run.py
"""
