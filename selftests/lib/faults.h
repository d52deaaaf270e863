/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fault injection: makes each failure point of a system call fail, one after the
 * other. A failure point is an allocation of the kernel, or a copy from or to user
 * memory. Needs a kernel with fault injection and page_owner.
 */
#ifndef SELFTESTS_FAULTS_H
#define SELFTESTS_FAULTS_H

#include "luo.h"

/**
 * struct faults - a call, and what must hold after it failed
 * @what:     names the call in the output
 * @call:     makes one system call; returns a negative errno or its result
 * @undo:     reverts a call that succeeded with result @answer
 * @check:    called after a failure; returns NULL, or what is not as it was
 * @again:    repeats a failed call without a fault; the default is @call
 * @allowed:  errnos that the call may fail with; ends with 0
 * @arg:      passed to the functions, with the number of the attempt
 * @points:   out: at how many points the call was made to fail
 * @absorbed: out: at how many of these it succeeded nevertheless
 * @problem:  out: the first problem, or ""
 */
struct faults {
	const char *what;
	int (*call)(void *arg, int attempt);
	void (*undo)(void *arg, int attempt, int answer);
	const char *(*check)(void *arg, int attempt, int answer);
	int (*again)(void *arg, int attempt, int answer);
	int allowed[4];
	void *arg;
	int points;
	int absorbed;
	char problem[200];
};

/* Configures fault injection. Returns false if the kernel has none. */
bool faults_ready(void);

/* Whether page allocations count as failure points. By default they do. */
void faults_of_pages(bool on);

/*
 * Makes the call again and again, with failure point 1, 2, ... failing, until a
 * call succeeds without having reached its point.
 */
void faults_walk(struct faults *f);

/* Pages that the module has allocated to hand them over. */
long faults_pages(void);

/* Number of open fds of this process. */
int faults_fds(void);

#endif /* SELFTESTS_FAULTS_H */
