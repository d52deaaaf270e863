/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kinds of state that are sent through a kexec and measured. bench.c runs them;
 * files.c, pages.c, memory.c, blackout.c and parallel.c each implement some.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/**
 * struct kind - a kind of state
 * @name: of the kind, also passed to the functions as @layout
 * @make: builds state of size @n in the old kernel
 * @take: retrieves it in the new kernel and frees all of it
 *
 * Both functions report what they measure.
 */
struct kind {
	const char *name;
	void (*make)(int dev, const char *layout, long n);
	void (*take)(int dev, const char *layout, long n);
};

/* Each ends with a kind that has no name. */
extern const struct kind files_kinds[];
extern const struct kind pages_kinds[];
extern const struct kind memory_kinds[];
extern const struct kind blackout_kinds[];
extern const struct kind parallel_kinds[];

/* The size of the folios that memfds get: "never" for small, "force" for huge. */
#define THP_SHMEM "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

#endif /* BENCH_BENCH_H */
