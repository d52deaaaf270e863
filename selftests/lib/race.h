/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Races, judged by the model of model.h: two or three calls at the same time, on
 * the same fds of one process, each by a thread of its own. What they answered,
 * and what is found afterwards, must be what the model says for one of the orders
 * in which they can have taken effect. A call that fails may be seen by others
 * while it runs (its token is taken for a moment, say): race.c lists all of that.
 */
#ifndef SELFTESTS_RACE_H
#define SELFTESTS_RACE_H

#include "model.h"

#define RACE_THREADS	3

struct race {
	__u64 seed;
	/* Whether each round has sessions that came in, under a number of its own. */
	bool incoming;
	unsigned int first_universe;
	/* Filled in. */
	unsigned long rounds;
	unsigned long pairs;
	unsigned long all_pairs;
	char trouble[2000];
};

/* For so many seconds, or rounds; false if something went wrong: see trouble. */
bool race_run(struct race *race, unsigned int seconds, unsigned long rounds);

#endif /* SELFTESTS_RACE_H */
