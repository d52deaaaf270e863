#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
#
# make demo: runs the demo scenario in a guest and tells what happens, with the
# times at which the host saw it. Exit status 0 only if everything that was
# preserved came back as it was.

"""Run the live-update demo and print its timeline."""

import re
import sys

import run


class Timeline:
    """Prints what matters of the guest's output, as it comes."""

    def __init__(self):
        self.start = None
        self.marks = {}
        self.boots = 0

    def at(self, line, text):
        """One point of the timeline."""
        print(f"  {line.time - self.start:6.2f} s  {text}", flush=True)

    def __call__(self, line):
        if self.start is None:
            self.start = line.time
        if line.port == "console":
            self.console(line)
        else:
            self.tests(line)

    def console(self, line):
        """The kernel's own words, few of them."""
        if "] Linux version " in line.text:
            self.boots += 1
            version = line.text.split("Linux version ")[1].split()[0]
            which = "first" if self.boots == 1 else "next"
            self.marks[f"boot-{self.boots}"] = line.time
            self.at(line, f"boot {self.boots}: the {which} kernel, Linux {version}")
        elif "liveupdate: " in line.text:
            self.at(line, "kernel: " + line.text.split("] ", 1)[-1])

    def tests(self, line):
        """The demo program's."""
        mark = re.match(r"MARK (\S+)", line.text)
        if mark:
            self.marks[mark.group(1)] = line.time
            words = {"module-1": "liveupdate.ko is loaded",
                     "module-2": "liveupdate.ko is loaded again",
                     "reboot": "kexec -e: reboot(LINUX_REBOOT_CMD_KEXEC)",
                     "first-byte": "session and memfd retrieved, first byte read"}
            self.at(line, words.get(mark.group(1), mark.group(1)))
        elif line.text.startswith("DEMO "):
            self.at(line, line.text[len("DEMO "):])
        elif line.text.startswith(("RESULT fail", "scenario ")) or \
                line.text.startswith("# "):
            if not line.text.startswith("# run"):
                self.at(line, line.text)


def main():
    """Run, then the verdict."""
    timeline = Timeline()
    try:
        guest = run.Guest(run.find_scenarios()["demo"], echo=timeline)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}: run make demo")
    print("Live update in a QEMU guest (TCG): a session with two memfds goes "
          "through a kexec.")
    guest.run()
    verdict = run.judge(guest)
    tests = guest.text("tests")
    same = [text for text in tests if text.startswith("DEMO same")]
    different = [text for text in tests if text.startswith("DEMO DIFFERENT")]
    frames = sum(int(found.group(1)) for found in
                 (re.search(r"physical frames of .*: (\d+) of", text)
                  for text in tests) if found)
    marks = timeline.marks
    print()
    print(f"  boots                 {timeline.boots}")
    print(f"  kept in place         {frames} frames, "
          f"{frames * 4096 / 2**20:.0f} MiB, none copied" if frames else
          "  kept in place         nothing")
    if "reboot" in marks and "first-byte" in marks:
        print("  reboot(2) to first byte read back  "
              f"{marks['first-byte'] - marks['reboot']:.2f} s")
    print(f"  comparisons           {len(same)} the same, "
          f"{len(different)} different")
    print(f"  full console log      {guest.log('console')}")
    # Both files: size, position, seals, frames, content; three on their use.
    if verdict.failed or different or len(same) != 13:
        for problem in verdict.problems:
            print(f"  ! {problem}")
        for text in tests[-15:]:
            print(f"  | {text}")
        print("  verdict               FAILED")
        return 1
    print("  verdict               the same bytes in the same frames: PASSED")
    return 0


if __name__ == "__main__":
    sys.exit(main())
