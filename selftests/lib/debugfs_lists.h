/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lists in /sys/kernel/debug/liveupdate, which only the module has: reading them
 * in pieces of any size, and looking for the line of a session.
 *
 * A function that can fail returns a negative errno.
 */
#ifndef SELFTESTS_DEBUGFS_LISTS_H
#define SELFTESTS_DEBUGFS_LISTS_H

#include "luo.h"

#define LIST_DIR "/sys/kernel/debug/liveupdate/"
#define LIST_SESSIONS "sessions"
#define LIST_HANDLERS "handlers"
#define LIST_FLBS "flbs"
#define LIST_MAX (4 * MIB)

#define SESSIONS_HEADER "name direction state files pages pieces age pid comm"
#define HANDLERS_HEADER "name module flbs"
#define FLBS_HEADER "name direction state files users module"

/**
 * struct list_row - the line of a session; a number that is not known is -1
 * @state: "open", "busy", ...
 * @comm:  name of the process that made the session, or "-"
 */
struct list_row {
	char state[16];
	long files;
	long pages;
	long pieces;
	long age;
	long pid;
	char comm[64];
};

/* Opens a list; returns an fd. */
int list_open(const char *list);

/*
 * Reads the rest of @fd into @text, which has LIST_MAX bytes, and ends it with a
 * NUL. Each read(2) asks for @piece bytes, or for 1 to 64 if @piece is 0. Returns the
 * number of bytes.
 */
long list_read(int fd, char *text, size_t piece);

/* As list_read(), of a whole list, in a buffer that the next call overwrites. */
const char *list_text(const char *list);

/* How many lines of @text begin with @start and a blank. */
int list_count(const char *text, const char *start);

/*
 * Finds the line of a session in @text. @name is as the list shows it. Returns the
 * number of its lines; @row is that of the last one.
 */
int list_find(const char *text, const char *name, const char *direction,
	      struct list_row *row);

#endif /* SELFTESTS_DEBUGFS_LISTS_H */
