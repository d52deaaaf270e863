/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that holds something until it is told to end, for scripts: each command is
 * a run of the same program, which tells that process a word.
 */
#ifndef SELFTESTS_BACKGROUND_H
#define SELFTESTS_BACKGROUND_H

#include <stdbool.h>

/* A word, and what the process does then; after the @last one it ends. */
struct background_command {
	const char *word;
	bool (*run)(void);
	bool last;
};

/*
 * Starts a process that calls @begin, then @look every @nap milliseconds, and runs
 * commands. @begin exits if it fails. @commands ends with zeroes.
 *
 * Returns when @begin has returned in that process: 0, 1 if it exited, or -errno.
 */
int background_run(const char *name, void (*begin)(void), void (*look)(void), int nap,
		   const struct background_command *commands);

/* Tells the process with this name a word. 0 if its command returned true, 1 if not. */
int background_tell(const char *name, const char *word);

#endif /* SELFTESTS_BACKGROUND_H */
