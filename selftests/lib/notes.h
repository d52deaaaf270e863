/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Notes about calls that race with a kexec. Each thread notes a call before and
 * after it in a preserved memfd, so the notes cross as they are when the CPUs
 * stop. In the next kernel they say what must be there:
 *
 * - Sessions of one name exist one after the other, because a name is free only
 *   after close. So only one of them can be there: the last one whose create has
 *   returned, or one whose create had not returned.
 * - The former must be there if no close of it had begun, with every file whose
 *   preserve had returned. It may have files whose preserve had begun, and no
 *   others.
 * - If its close had begun but not returned, it is there like that, or not at all.
 *   The same holds if close had returned while another call on the session had
 *   not: that call holds a reference.
 * - Otherwise, if its close had returned, it is not there.
 * - A session whose create had only begun may be there, and is empty.
 * - A file is in at most one session.
 * - Each thread writes ascending numbers to a word of its own in each file. The
 *   word is at least the last number whose write had returned, and at most the
 *   last one whose write had begun.
 */
#ifndef SELFTESTS_NOTES_H
#define SELFTESTS_NOTES_H

#include "stages.h"

#include <stdatomic.h>

#define NOTES_THREADS 4
#define NOTES_NAMES 6
#define NOTES_TOKENS 4
#define NOTES_FILES 8
/* Of each thread. */
#define NOTES_MAX 30000

/* Word 0 of file n is n; word 1 + t belongs to thread t. */
#define NOTES_FILE_SIZE (3 * LUO_PAGE)
#define NOTES_FILE_SEED(file) (100 + (file))

enum call {
	CREATE,
	CLOSE,
	PRESERVE,
	FDINFO,
};

/**
 * struct note - one call
 * @call:     which one
 * @name:     of the session
 * @token:    of a preserve
 * @file:     of a preserve
 * @instance: which of the sessions with this name
 * @end:      when the call returned; 0: it had not returned
 * @answer:   what it returned
 */
struct note {
	__u8 call;
	__u8 name;
	__u8 token;
	__u8 file;
	__u32 instance;
	atomic_uint end;
	__s32 answer;
};

/**
 * struct notes - what crosses the kexec
 * @seed:             of the choices
 * @clock:            how many calls have returned
 * @instances:        how many sessions were created
 * @unexplained:      the first answer that no race explains
 * @unexplained_call: its call
 * @count:            notes of each thread
 * @notes:            the notes
 * @begun:            the last number that a thread began to write to a file
 * @written:          the last number whose write returned
 */
struct notes {
	__u64 seed;
	atomic_uint clock;
	atomic_uint instances;
	atomic_int unexplained;
	atomic_int unexplained_call;
	atomic_uint count[NOTES_THREADS];
	struct note notes[NOTES_THREADS][NOTES_MAX];
	atomic_uint begun[NOTES_FILES][NOTES_THREADS];
	atomic_uint written[NOTES_FILES][NOTES_THREADS];
};

/* Notes that a call begins. Returns NULL if the thread has no space left. */
struct note *notes_begin(struct notes *notes, unsigned int thread,
			 const struct note *what);
/* Notes that the call has returned. */
void notes_end(struct notes *notes, struct note *note, int answer);
void notes_unexplained(struct notes *notes, int call, int answer);

void notes_session_name(char *name, unsigned int n);

/* Retrieves all sessions of the previous kernel, and expects what its notes say. */
void notes_check(const struct notes *notes, int dev);

#endif /* SELFTESTS_NOTES_H */
