/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Races, judged by a model. In each round two or three threads of one process
 * make one call each, at the same time and on the same fds. What the calls
 * returned, and what the fds look like afterwards, must be what the model says
 * for at least one order of these calls.
 *
 * A call that fails has effects while it runs: for example, it holds its token.
 * race.c lists the effects that another call may see.
 */
#ifndef SELFTESTS_RACE_H
#define SELFTESTS_RACE_H

#include "model.h"
#include "perform.h"

#define RACE_THREADS 3

/**
 * struct race - a run of many rounds
 * @seed:           decides which calls are made
 * @incoming:       each round has incoming sessions of its own
 * @first_universe: the names of the first round's; each round adds one
 * @rounds:         out: how many rounds there were
 * @pairs:          out: how many different pairs of calls they had
 * @trouble:        out: what no order explains
 */
struct race {
	__u64 seed;
	bool incoming;
	unsigned int first_universe;
	unsigned long rounds;
	unsigned long pairs;
	char trouble[2000];
};

/* Stops after @seconds or @rounds. Returns false if a round has no explanation. */
bool race_run(struct race *race, unsigned int seconds, unsigned long rounds);

#endif /* SELFTESTS_RACE_H */
