/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lines that the host reads from the console:
 *
 *	BENCH operation layout n count ns	@count operations took ns together,
 *						with state of size n
 *	BOOTED stage ticks			the boot of that stage reached user space,
 *						see measure.h
 *	MEM layout what count bytes		the same for memory
 *	PROF operation layout n percent name	a function, see profile.h
 *	NOTE text				for the reader of the report
 *	FAILED what: error			ends the run
 */
#ifndef BENCH_OUTPUT_H
#define BENCH_OUTPUT_H

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Waits until all output has left the console. */
void flush(void);

/* Returns @result. If that is a negative errno, ends the run. */
long need(long result, const char *what);

#endif /* BENCH_OUTPUT_H */
