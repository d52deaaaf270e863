/* SPDX-License-Identifier: GPL-2.0-only */
/* Takes times and reports them. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <linux/types.h>

/* The time in ns. What lies between two calls is measured, and can be profiled. */
__u64 now(void);

/*
 * The time-stamp counter. With -icount it counts ns of the same clock, from QEMU's
 * start on: a kexec does not touch it, so two kernels can be compared.
 */
__u64 ticks(void);

/* Reports that @count operations took @ns together, with state of size @n. */
void report(const char *op, const char *layout, long n, long count, __u64 ns);

#endif /* BENCH_MEASURE_H */
