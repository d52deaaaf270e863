# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what the benchmark makes of the lines of its guests.

python3 -m unittest bench.test_results, from the top of the tree
"""

import pathlib
import tempfile
import unittest

from . import (blackout, blackout_table, documents, measure, report, results,
               words)
from .results import Key

CONSOLE = [
    "[    1.000000] Linux version 7.3",
    "[    2.000100] bench: reboot 001 00000000000005000000",
    "[    2.000150] kexec_core: Starting new kernel",
    "[    0.900000] bench: reboot 002 00000000000100000000",
    "[    0.950000] something else",
    "[    0.901050] kexec_core: Starting new kernel",
]
STEPS = ["empty", "each:20000"]


def measured(open_ns, create_ns):
    """The results of a guest that measured these two times."""
    found = results.Results()
    found.add(STEPS, ["=== stage 1 begin",
                      "BOOTED 2 9000000",
                      "BOOTED 3 111000000",
                      f"BENCH create_session each 20000 20000 {create_ns}",
                      "BENCH open empty 0 1 4000",
                      "BENCH load empty 0 1 100",
                      "BENCH load each 20000 1 300",
                      f"BENCH open each 20000 1 {open_ns}",
                      "BENCH retrieve_session each 20000 20000 2000",
                      "BENCH retrieve each 20000 20000 3000",
                      "BENCH read each 20000 20000 700",
                      "BENCH open memory 0 1 4000",
                      "MEM memory file 1000 12000000",
                      "NOTE holes are filled"], CONSOLE)
    return found


class Parsing(unittest.TestCase):
    """Lines in, numbers out."""

    def test_other_lines_are_ignored(self):
        timings, memory, notes = results.parse_tests(
            ["BENCH preserve one 10", "MADE one:10", "BENCHMARK", ""])
        self.assertEqual(([], [], []), (timings, memory, notes))

    def test_console_gives_ticks_and_a_time_for_each_stage(self):
        self.assertEqual({1: (5000000, 50000), 2: (100000000, 1050000)},
                         results.parse_console(CONSOLE))

    def test_a_boot_lasts_from_leaving_a_kernel_to_user_space_of_the_next(self):
        timings = results.kexecs(STEPS, {1: (1000, 50), 2: (5000, 60)}, {2: 4000})
        self.assertEqual([(Key("reboot", "empty", 0), 1, 50),
                          (Key("boot", "empty", 0), 1, 2950),
                          (Key("reboot", "each", 20000), 1, 60)], timings)

    def test_a_mark_without_an_end_has_no_time(self):
        self.assertEqual({}, results.parse_console(CONSOLE[:2]))

    def test_a_time_is_that_of_one_operation(self):
        values = measured(5000, 40000).values()
        self.assertEqual(2.0, values[Key("create_session", "each", 20000)])
        self.assertEqual(12000.0, values[Key("memory", "file", 1000)])
        self.assertNotIn(Key("open", "empty", 0), values)

    def test_serialization_is_the_time_beyond_an_empty_reboot(self):
        values = measured(5000, 40000).values()
        self.assertEqual(1000000,
                         values[Key("blackout.serialize", "each", 20000)])

    def test_the_blackout_is_the_sum_of_its_parts_beyond_an_empty_kexec(self):
        values = measured(5000, 40000).values()
        parts = {"serialize": 1000000, "boot": 9950000 - 3950000, "load": 200,
                 "open": 1000, "retrieve": 2000 + 3000 + 700}
        self.assertEqual(parts, {part: values[Key("blackout." + part, "each", 20000)]
                                 for part in parts})
        self.assertEqual(sum(parts.values()),
                         values[Key("blackout", "each", 20000)])

    def test_a_boot_that_is_faster_than_an_empty_one_counts_as_nothing(self):
        def total(op, layout, _):
            return 10 if layout == "empty" else 3 if op == "boot" else 12
        self.assertEqual(0, blackout.split(total, "huge", 1024)["boot"])

    def test_without_a_part_there_is_no_blackout(self):
        found = results.Results()
        found.add(["empty", "huge:64"], [], CONSOLE)
        self.assertNotIn(Key("blackout", "huge", 64), found.values())

    def test_rounds_give_the_median(self):
        found = results.Results()
        for ns in (100, 900, 110):
            found.add(["empty"], [f"BENCH open each 1 1 {ns}"], [])
        key = Key("open", "each", 1)
        self.assertEqual(110, found.values()[key])
        self.assertAlmostEqual(790 / 110, found.spread(key))

    def test_opening_and_retrieving_few_sessions_is_one_row(self):
        values = results.combined({Key("open", "spread", 5000): 7.0,
                                   Key("retrieve_session", "spread", 5000): 2.0,
                                   Key("open", "each", 5000): 1.0})
        self.assertEqual({Key("open_sessions", "spread", 5000): 2007.0,
                          Key("open", "each", 5000): 1.0}, values)


class Table(unittest.TestCase):
    """Two implementations side by side."""

    def setUp(self):
        self.table = results.rows(measured(1000000, 4000000), measured(5000, 40000))

    def test_ratio(self):
        ratios = {row.key: row.ratio for row in self.table}
        self.assertEqual(200.0, ratios[Key("open", "each", 20000)])
        self.assertEqual(100.0, ratios[Key("create_session", "each", 20000)])

    def test_estimate_follows_the_growth(self):
        values = {Key("open", "each", n): n * n for n in (1000, 10000)}
        self.assertAlmostEqual(2500000000.0, results.estimate(
            values, Key("open", "each", 50000)), delta=1)

    def test_targets(self):
        target = results.Target("open", "each", "20000", 100.0)
        self.assertEqual(1, len(results.judge(target, self.table)))
        everything = results.judge(results.Target("*", "*", "*", 0.95), self.table)
        self.assertNotIn("memory", [row.key.op for row in everything])
        ratios = [row.ratio for row in everything]
        self.assertEqual(sorted(ratios), ratios)

    def test_the_targets_name_operations_and_layouts_that_exist(self):
        for target in results.read_targets(report.BENCH / "targets"):
            self.assertIn(target.op, [*results.OPERATIONS, "*"])
            self.assertIn(target.layout, [*results.LAYOUTS, "*"])

    def test_csv(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "results.csv"
            results.write_csv(path, self.table)
            lines = path.read_text(encoding="ascii").splitlines()
        self.assertIn("open,each,20000,ns,1000000.0,5000.0,200.000,", lines)

    def test_every_row_is_printed(self):
        targets = results.read_targets(report.BENCH / "targets")
        lines = report.table_lines(self.table)
        rest = [row for row in self.table
                if not row.key.op.startswith("blackout")]
        self.assertEqual(len([line for line in lines if line]), len(rest) + 1)
        self.assertTrue(documents.performance_lines(self.table, targets, []))
        self.assertTrue(documents.summary_lines(self.table))

    def test_a_part_is_replaced_between_its_markers(self):
        begin, end = documents.markers("bench")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "page.md"
            path.write_text(f"before\n{begin}\nold\n{end}\nafter\n",
                            encoding="utf-8")
            documents.rewrite_part(path, "bench", ["new"])
            text = path.read_text(encoding="utf-8")
            self.assertEqual(f"before\n{begin}\n\nnew\n\n{end}\nafter\n", text)
            with self.assertRaises(ValueError):
                documents.rewrite_part(path, "bench-summary", ["new"])

    def test_a_target_of_its_own_exempts_an_operation_from_the_general_one(self):
        targets = [results.Target("create_session", "*", "*", 0.1),
                   results.Target("*", "*", "*", 150.0)]
        general = report.target_lines(targets, self.table, [])[1]
        self.assertNotIn("create", general[3])


class Fixed:
    """What Results answers, without a guest."""

    def __init__(self, values):
        self.found = values

    def values(self):
        """The same numbers each time."""
        return self.found


def with_blackout(scattered_ns):
    """The rows of both implementations: C with these times by MiB, ours with 4 ms."""
    def found(times):
        values = {}
        for n, ns in times.items():
            values[Key("blackout", "scattered", n)] = float(ns)
            values[Key("blackout.boot", "scattered", n)] = ns / 2
        return values

    return results.rows(Fixed(found(scattered_ns)),
                        Fixed(found({n: 4e6 for n in (64, 128, 512)})))


class Blackout(unittest.TestCase):
    """Its table, its targets, and the states that are measured perhaps."""

    def setUp(self):
        self.table = with_blackout({64: 5e9, 128: 20e9})

    def test_a_state_that_c_would_need_minutes_for_is_an_estimate(self):
        lines = blackout_table.table_lines(self.table)
        self.assertIn("| 128 MiB, scattered small folios |  | 10.0 s / 2.00 ms |  "
                      "|  |  | 20.0 s / 4.00 ms | **5000 x** |", lines)
        self.assertIn("about 320 s / 4.00 ms | **about 80000 x** |", lines[-1])
        summary = blackout_table.summary_lines(self.table, {("scattered", 512)})
        self.assertEqual("| 512 MiB, scattered small folios | about 320 s | "
                         "4.00 ms | about 80000 x |", summary[-1])

    def test_a_limit_is_for_a_page(self):
        # 2 ms for 64 MiB are 122 ns for each of 16384 pages.
        target = results.Target("blackout.boot", "scattered", "*", most=122,
                                per="/page")
        self.assertEqual((False, "blackout, boot: n MiB, scattered small folios",
                          "at most 122 ns/page", "122 ns/page at worst (n = 64)"),
                         report.target_line(target, self.table))
        self.assertTrue(report.target_line(target._replace(most=123),
                                           self.table)[0])

    def test_a_limit_without_a_number_is_missed(self):
        target = results.Target("blackout.boot", "late", "1024", most=1)
        self.assertEqual((False, "not measured"),
                         report.target_line(target, self.table)[::3])

    def test_targets_are_ratios_or_times(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "targets"
            path.write_text("a b * 0.06us/page\na b 1 450ms\na b 2 0.9 # why\n",
                            encoding="ascii")
            self.assertEqual(
                [results.Target("a", "b", "*", most=60.0, per="/page"),
                 results.Target("a", "b", "1", most=450e6),
                 results.Target("a", "b", "2", least=0.9)],
                results.read_targets(path))

    def test_large_states_are_measured_if_that_does_not_take_minutes(self):
        def lasting(first, second):
            return Fixed({Key("blackout", "scattered", 64): first,
                          Key("blackout", "scattered", 128): second})

        steps = ["empty", "scattered:128"]
        self.assertEqual([], measure.further(steps, lasting(5e9, 20e9), []))
        self.assertEqual(["scattered:512", "scattered:1024"],
                         measure.further(steps, lasting(5e6, 10e6), []))
        self.assertEqual([], measure.further(["empty"], lasting(5e6, 10e6), []))
        self.assertEqual([], measure.further(steps, lasting(5e6, 10e6), ["empty"]))


class Words(unittest.TestCase):
    """Numbers for people."""

    def test_amounts(self):
        self.assertEqual("412 ns", words.amount(412))
        self.assertEqual("0", words.amount(0.0))
        self.assertEqual("0.34 ns", words.amount(0.34))
        self.assertEqual("4.12 us", words.amount(4120))
        self.assertEqual("41.2 ms", words.amount(41200000))
        self.assertEqual("412 s", words.amount(412e9))
        self.assertEqual("16.1 B", words.amount(16.1, "byte"))
