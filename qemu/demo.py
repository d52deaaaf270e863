#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the live-update demo in a QEMU guest and print what happens, when.

The times are those at which the host read a line of the guest. The exit status
is 0 only if everything that was preserved came back as it was.
"""

import re
import sys

from runner import demo, scenario, verdict
from runner.timeline import Timeline

# The demo compares for both files size, position, seals, frames and content,
# and three more things about their use in the next kernel.
COMPARISONS = 13

MARKS = {
    "module-1": "liveupdate.ko is loaded",
    "module-2": "liveupdate.ko is loaded again",
    "reboot": "kexec -e: reboot(LINUX_REBOOT_CMD_KEXEC)",
    "first-byte": "session and memfd retrieved, first byte read",
}


def frames_in(tests):
    """How many pages came back in the same physical frames."""
    found = (re.search(r"physical frames of .*: (\d+) of", text) for text in tests)
    return sum(int(match.group(1)) for match in found if match)


def summary(timeline, guest):
    """Print the numbers; returns whether all comparisons held."""
    tests = guest.text("tests")
    same = sum(text.startswith("DEMO same") for text in tests)
    different = sum(text.startswith("DEMO DIFFERENT") for text in tests)
    frames = frames_in(tests)
    marks = timeline.marks
    print()
    print(f"  boots                 {len(timeline.boots)}")
    print(f"  kept in place         {frames} frames, "
          f"{frames * 4096 / 2**20:.0f} MiB, none copied" if frames else
          "  kept in place         nothing")
    if "reboot" in marks and "first-byte" in marks:
        print("  reboot(2) to first byte read back  "
              f"{marks['first-byte'] - marks['reboot']:.2f} s")
    print(f"  comparisons           {same} the same, {different} different")
    print(f"  full console log      {guest.log('console')}")
    return same == COMPARISONS and not different


def main():
    """Run the demo; returns the exit status."""
    timeline = Timeline(MARKS)
    guest = demo.boot(scenario.find()["demo"], timeline, "make demo")
    print("Live update in a QEMU guest (TCG): a session with two memfds goes "
          "through a kexec.")
    guest.run()
    judged = verdict.judge(guest)
    if summary(timeline, guest) and not judged.failed:
        print("  verdict               the same bytes in the same frames: PASSED")
        return 0
    demo.explain(judged, guest)
    print("  verdict               FAILED")
    return 1


if __name__ == "__main__":
    sys.exit(main())
