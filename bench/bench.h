/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the benchmark share: the clock, the lines the host reads,
 * and the kinds of state that can be sent through a kexec.
 *
 * A line "BENCH operation layout n count ns" says that count operations, on
 * state of size n, took so many nanoseconds together; "MEM layout what count
 * bytes" is memory instead of time; "NOTE text" is for the person who reads.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "lib/luo.h"

/*
 * A kind of state. make() builds it in the old kernel, take() gets it back in
 * the new one and leaves nothing behind; both measure as they go.
 */
struct kind {
	const char *name;
	void (*make)(int dev, const char *layout, long n);
	void (*take)(int dev, const char *layout, long n);
};

extern const struct kind files_kinds[];
extern const struct kind pages_kinds[];
extern const struct kind memory_kinds[];

__u64 now(void);
void report(const char *op, const char *layout, long n, long count, __u64 ns);
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Once, when the functions of a module have their addresses. */
void profile_start(void);
/* What now() and report() call, to profile what lies between two now(). */
void profile_cut(void);
void profile_print(const char *op, const char *layout, long n);

/* Returns what is not an error, and ends the run on what is one. */
long need(long result, const char *what);

/* A memfd with a page of its own every stride bytes, up to size. */
int paged_memfd(const char *name, off_t size, off_t stride);
/* Whether the pages that paged_memfd() wrote are there. */
void check_paged(int fd, off_t size, off_t stride);

#endif /* BENCH_BENCH_H */
