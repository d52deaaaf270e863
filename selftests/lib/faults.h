/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every point of a system call at which it can fail, one after the other: an
 * allocation of the kernel's, or a copy from or to the user. Needs a kernel
 * with fault injection and page_owner.
 */
#ifndef SELFTESTS_FAULTS_H
#define SELFTESTS_FAULTS_H

#include "luo.h"

/**
 * struct faults - a call, and what must hold when it fails
 * @what:    for the line that says how many points there are
 * @call:    makes one system call; a negative errno, or what it answers
 * @undo:    takes back what a call that succeeded with that answer has done
 * @check:   after a failure: NULL, or what is wrong
 * @again:   the call once more, with nothing failing; without it, @call
 * @allowed: the errnos that the call may fail with, ends with 0
 * @arg:     for the functions, which also get the number of the attempt
 * @points:  out: at how many points the call was made to fail
 * @absorbed: out: at how many of them it succeeded all the same
 * @wrong:   out: what went wrong first, or ""
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
	char wrong[200];
};

/* Whether the kernel can do it; prepares it to. */
bool faults_ready(void);

/* Whether allocations of pages are points too. They are. */
void faults_of_pages(bool on);

/* Fails the first point of the call, the second, and so on until none is left. */
void faults_walk(struct faults *f);

/* How many pages are allocated that the module has to hand over. */
long faults_pages(void);

/* How many fds this process has. */
int faults_fds(void);

#endif /* SELFTESTS_FAULTS_H */
