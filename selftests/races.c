// SPDX-License-Identifier: GPL-2.0-only
/*
 * Races between any two calls on outgoing sessions, on files and on their fds,
 * judged by a model; see lib/race.h. Concurrency bugs in the session code show up
 * here as answers that no order of the calls explains.
 *
 * LUO_SEED= or lu.seed= repeats the calls of an earlier run; LUO_RACE_SECONDS= sets
 * the duration.
 */
#include "lib/fixture.h"
#include "lib/race.h"

#define SECONDS 20

TEST_F_TIMEOUT(live, every_pair, 1200)
{
	const char *seconds = getenv("LUO_RACE_SECONDS");
	struct race race = { .seed = luo_seed() };
	bool well;

	close(self->dev);
	self->dev = -1;
	luo_nofile(STEP_FIRST_FD + MODEL_SLOTS);
	well = race_run(&race, seconds ? atoi(seconds) : SECONDS, -1UL);
	TH_LOG("seed %llu: %lu rounds, %lu pairs of calls", race.seed,
	       race.rounds, race.pairs);
	EXPECT_TRUE(well)
	TH_LOG("%s", race.trouble);
}

TEST_HARNESS_MAIN
