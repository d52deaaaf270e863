/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes the system call of a step, in the process that calls step_perform().
 */
#ifndef SELFTESTS_PERFORM_H
#define SELFTESTS_PERFORM_H

#include "step.h"

/**
 * struct step_place - what the steps of one sequence share
 * @universe: part of the names of its sessions; sequences do not meet
 * @inbox:    for each process a socket pair that fds are sent to
 */
struct step_place {
	unsigned int universe;
	int inbox[MODEL_PROCS][2];
};

struct answer step_perform(const struct step *step,
			   const struct step_place *place);

/* The name of a session; @name has LUO_NAME_MAX bytes. */
void step_name(char *name, const struct step_place *place, unsigned int index);

/*
 * Makes, in the old kernel, the sessions that model_init() expects in the next.
 * Returns 0 or a negative errno.
 */
int incoming_make(int dev, const struct step_place *place);

#endif /* SELFTESTS_PERFORM_H */
