/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the time of an operation goes: with BENCH_PROFILE= in the environment, a
 * software clock of perf samples the kernel during each measurement. Sampling takes
 * time itself, so a profiled run measures nothing else.
 */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

/* Starts to sample. The module must be loaded, so that its functions have addresses. */
void profile_start(void);

/* Forgets older samples, and counts those since the last cut. */
void profile_cut(void);

/* Prints the functions with most of the samples that were counted. */
void profile_print(const char *op, const char *layout, long n);

#endif /* BENCH_PROFILE_H */
