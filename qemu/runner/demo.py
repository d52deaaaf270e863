# SPDX-License-Identifier: GPL-2.0-only
"""What the demos have in common."""

import argparse
import dataclasses
import pathlib
import sys

from . import scenario
from .guest import Guest
from .schedule import build_chain


def options(doc):
    """The command line of a demo that goes through several kernels."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--svg", type=pathlib.Path, help="draw the timeline there")
    parser.add_argument("kernel", nargs="*", help="the kernels to go through")
    return parser.parse_args()


def through(name, kernels, *ready):
    """The scenario `name` for these kernels, or for its own if there are none. They are
    built; `ready`: more words for that."""
    run = scenario.find()[name]
    chain = build_chain(kernels or run.kernels, *ready)
    return dataclasses.replace(run, kernels=chain, stages=len(chain),
                               timeout=run.timeout / run.stages * len(chain))


def boot(run, timeline, command):
    """The guest of a demo, which `command` prepares."""
    try:
        return Guest(run, echo=timeline)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}: run {command}")


def explain(judged, guest):
    """Print why a demo has failed."""
    for problem in judged.problems:
        print(f"  ! {problem}")
    for text in guest.text("tests")[-15:]:
        print(f"  | {text}")
