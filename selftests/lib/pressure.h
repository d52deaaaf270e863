/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory pressure: memory cgroups with a limit, swap on a ram disk, a process that
 * holds nearly all memory, and paging out, compacting and collapsing a file.
 * A function that can fail returns a negative errno.
 */
#ifndef SELFTESTS_PRESSURE_H
#define SELFTESTS_PRESSURE_H

#include "luo.h"

#define COMPACT_MEMORY "/proc/sys/vm/compact_memory"

/* A memory cgroup that a process enters for one call and leaves after it. */
struct group {
	char path[64];
	int procs;
	int home;
};

int group_make(struct group *group, const char *name);
/* Removes the cgroup; -EBUSY if something is still charged to it. */
int group_drop(struct group *group);
int group_set(const struct group *group, const char *file, const char *value);
long long group_get(const struct group *group, const char *file);
/* Sets memory.max to the current charge plus @more bytes. */
int group_limit(const struct group *group, long long more);
int group_unlimit(const struct group *group);
int group_enter(const struct group *group);
int group_leave(const struct group *group);

/* Swap on the first ram disk. swap_stop() also frees the memory of the disk. */
int swap_start(void);
int swap_stop(void);
/*
 * Swap on a partition of that disk. While it is broken, reads from swap fail: the
 * partition is shorter then than the swap area. swap_break_stop() expects no swap in
 * use, or a whole partition.
 */
int swap_break_start(void);
int swap_break(bool broken);
int swap_break_stop(void);
/* Pages of swap in use. */
long swap_used(void);

/*
 * resident() returns how many pages of a file are in memory; page_out() pages
 * it out first.
 */
long resident(int fd, size_t size);
long page_out(int fd, size_t size);
/* Whether so few pages are in memory that the file counts as paged out. */
bool mostly_out(long pages, size_t size);

/*
 * Collapses a file into huge pages; 0 if all of it consists of them afterwards.
 */
int collapse(int fd, size_t size);

/* Tells the OOM killer to spare the caller, or to kill it first. */
int oom_never(void);
int oom_first(void);

/*
 * Starts a process that takes all memory but @leave pages of MemFree. The OOM
 * killer kills it first.
 */
int ballast_start(long leave);
/* Ends the process; true if the OOM killer had killed it. */
bool ballast_stop(int pid);

#endif /* SELFTESTS_PRESSURE_H */
