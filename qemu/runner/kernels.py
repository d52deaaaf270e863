# SPDX-License-Identifier: GPL-2.0-only
"""The kernels of qemu/kernels, and which of them are built."""

import functools
import pathlib
import subprocess

from . import paths

DEFAULT = "rust-7.3"
DEBUG = "debug-7.3"
# The debug kernel hands over to this one, and takes over from it.
DEBUG_PEER = "c-7.3"
# The C peer with a test of its own.
PEER_TEST = "c-7.3-flb"
# For systemd.
DEBIAN = "debian-7.3"


def table():
    """The names in the table, in its order."""
    lines = (paths.QEMU / "kernels").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def names():
    """Those that hand over to each other."""
    return [name for name in table() if name not in (DEBUG, PEER_TEST, DEBIAN)]


@functools.cache
def image_path(name):
    """The path of a boot image, which need not exist."""
    answer = subprocess.run([paths.QEMU / "build.sh", "kernel", name],
                            text=True, capture_output=True, check=False)
    return pathlib.Path(answer.stdout.strip() or "/nonexistent")


def image(name):
    """The boot image of a kernel, or None if it is not built."""
    path = image_path(name)
    return path if path.is_file() else None


def why_missing(name):
    """Why the build left a kernel out, or None if it did not."""
    try:
        return (paths.OUT / "kernels" / f"{name}.missing").read_text(
            encoding="utf-8").strip()
    except FileNotFoundError:
        return None
