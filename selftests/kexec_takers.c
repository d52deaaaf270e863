// SPDX-License-Identifier: GPL-2.0-only
/*
 * Races between any two calls on incoming sessions: retrieve, finish, close and all
 * others, judged by a model; see lib/race.h. races.c does the same for outgoing ones.
 *
 * Every round uses up incoming sessions, so the number of rounds is that of the
 * sessions that the previous kernel made. LUO_SEED= or lu.seed= repeats the calls of
 * an earlier run.
 *
 * memory: 1G
 * timeout: 180
 */
#include "lib/race.h"
#include "lib/stages.h"

#include <unistd.h>

#define ROUNDS 1500
#define SECONDS 60

static void make(struct stage_ctx *ctx)
{
	int dev = need_fd(luo_open(), "open");
	struct step_place place = {};
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		place.universe = i;
		need_eq(incoming_make(dev, &place), 0,
			"preserving for round %u", i);
	}
	close(dev);
}

static void race_for_them(struct stage_ctx *ctx)
{
	struct race race = { .seed = luo_seed(), .incoming = true };
	bool well = race_run(&race, SECONDS, ROUNDS);

	stage_note("seed %llu: %lu rounds, %lu pairs of calls", race.seed,
		   race.rounds, race.pairs);
	if (!well)
		ksft_print_msg("%s\n", race.trouble);
	expect_eq(well, true, "an order of the calls explains every round");
}

static const struct stage_case cases[] = {
	{ "every_pair", true, { make, race_for_them } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_takers",
	.stages = 2,
	.no_device = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(4 * ROUNDS);
	return stage_main(argc, argv, &program);
}
