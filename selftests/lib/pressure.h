/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What makes memory scarce, or moves it: a memory cgroup with a limit, swap on a
 * ram disk, somebody who has nearly all memory, and page-out, compaction and
 * collapse of a file. A function that can fail returns a negative errno.
 */
#ifndef SELFTESTS_PRESSURE_H
#define SELFTESTS_PRESSURE_H

#include "luo.h"

#define COMPACT_MEMORY	"/proc/sys/vm/compact_memory"

/* A memory cgroup that a process enters for a call and leaves after it. */
struct group {
	char path[64];
	int procs;
	int home;
};

int group_make(struct group *group, const char *name);
/* Nothing may be charged to it any more: -EBUSY if it cannot be removed. */
int group_drop(struct group *group);
int group_set(const struct group *group, const char *file, const char *value);
long long group_get(const struct group *group, const char *file);
/* It may have what it has now, and so many bytes more. */
int group_limit(const struct group *group, long long more);
int group_unlimit(const struct group *group);
int group_enter(const struct group *group);
int group_leave(const struct group *group);

/* Swap on the first ram disk; stopping it gives the memory of the disk back. */
int swap_start(void);
int swap_stop(void);
/* Pages of the ram disk that are in use. */
long swap_used(void);

/* How many pages of a file are in memory: now, and once it was to be paged out. */
long resident(int fd, size_t size);
long page_out(int fd, size_t size);
/* Pages in memory when as many are left as can be expected to go. */
bool mostly_out(long pages, size_t size);

/* Makes huge pages of a file's: 0 if all of it consists of them afterwards. */
int collapse(int fd, size_t size);

/* Whom the kernel kills when there is no memory: never the caller, or it first. */
int oom_never(void);
int oom_first(void);

/* A process that has all memory but so many pages of MemFree, and is killed first. */
int ballast_start(long leave);
/* Whether it had been killed. It is gone afterwards. */
bool ballast_stop(int pid);

#endif /* SELFTESTS_PRESSURE_H */
