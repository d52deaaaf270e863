#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check licenses and origin of crates against a deny.toml, without cargo-deny.

Reads the output of cargo metadata from standard input. Prints each crate that is not
allowed, and exits with 1 if there is one.
"""

import argparse
import json
import pathlib
import re
import sys
import tomllib


def tokens(expression):
    """The words of an SPDX expression. Old crates write "A/B" for "A OR B"."""
    return re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))


def allowed(expression, licenses):
    """Whether the licenses are enough for an SPDX expression."""
    rest = tokens(expression)

    def one():
        word = rest.pop(0)
        if word == "(":
            value = either()
            if rest.pop(0) != ")":
                raise IndexError
            return value
        if rest[:1] == ["WITH"]:
            word = " ".join([word, rest.pop(0), rest.pop(0)])
        return word in licenses

    def both():
        value = one()
        while rest[:1] == ["AND"]:
            rest.pop(0)
            value = one() and value
        return value

    def either():
        value = both()
        while rest[:1] == ["OR"]:
            rest.pop(0)
            value = both() or value
        return value

    try:
        return either() and not rest
    except IndexError:
        return False


def problems(metadata, rules):
    """A line for each crate that the rules do not allow."""
    licenses = set(rules["licenses"]["allow"])
    sources = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if not allowed(package["license"] or "", licenses):
            yield f"{name}: license {package['license']}"
        # A crate of the workspace has no source.
        if package["source"] is not None and package["source"] not in sources:
            yield f"{name}: from {package['source']}"


def main():
    """Check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", type=pathlib.Path, help="a deny.toml")
    rules = tomllib.loads(parser.parse_args().rules.read_text(encoding="utf-8"))
    found = list(problems(json.load(sys.stdin), rules))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
