/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Malformed ioctls: each is made from a seed and a number, and there is one
 * answer that it must get. None of them may succeed.
 *
 * A call is a command, a size, a place and a content. The places lie around the
 * borders of writable, read-only and unmapped pages; malform_expected() follows
 * the kernel through the order in which it looks at things, so that a call that
 * is wrong in several ways has one right answer all the same.
 */
#ifndef SELFTESTS_MALFORM_H
#define SELFTESTS_MALFORM_H

#include "luo.h"

/* What begins with its size, the largest first. */
union malform_arg {
	struct liveupdate_ioctl_create_session create;
	struct liveupdate_ioctl_retrieve_session retrieve;
	struct liveupdate_session_preserve_fd preserve;
	struct liveupdate_session_retrieve_fd retrieve_fd;
	struct liveupdate_session_finish finish;
	struct liveupdate_session_get_name get_name;
	unsigned char bytes[sizeof(struct liveupdate_ioctl_create_session)];
	__u32 size;
};

enum malform_command {
	CREATE_SESSION,
	RETRIEVE_SESSION,
	PRESERVE_FD,
	RETRIEVE_FD,
	FINISH,
	GET_NAME,
	MALFORM_COMMANDS,
};

/* Beyond the largest structure, zeroes or something else. */
enum malform_tail {
	TAIL_ZERO,
	TAIL_ONE_BYTE,
	TAIL_NOISE,
};

/**
 * struct malform - what calls are made on
 * @seed:     of all calls
 * @dev:      the device
 * @session:  a session, of either direction
 * @incoming: the session came in
 * @taken:    a name that cannot be created (outgoing) or retrieved (incoming)
 * @pending:  a name of which there is an incoming session, or none
 * @token:    a token of the session
 * @memfd:    could be preserved
 * @busy:     is preserved
 * @other:    no handler preserves it
 * @calls:    how many were made
 * @answers:  how often each errno was the answer
 */
struct malform {
	__u64 seed;
	int dev;
	int session;
	bool incoming;
	const char *taken;
	const char *pending;
	__u64 token;
	int memfd;
	int busy;
	int other;
	unsigned long calls;
	unsigned long answers[256];
};

/**
 * struct malform_call - a call
 * @number:  of the call: with the seed all that is random in it
 * @which:   the command, or MALFORM_COMMANDS for one that is none
 * @fd:      what it is made on
 * @cmd:     its number
 * @size:    the size that it says it has
 * @tail:    what stands behind the structure
 * @nonzero: the first byte there that is not zero; at or beyond @size: none
 * @offset:  in the mapping, or -1
 * @ptr:     the address
 * @arg:     the structure
 */
struct malform_call {
	__u64 number;
	enum malform_command which;
	int fd;
	unsigned int cmd;
	__u32 size;
	enum malform_tail tail;
	__u32 nonzero;
	long offset;
	char *ptr;
	union malform_arg arg;
};

/* What each process does first. A negative errno if there is no memory. */
int malform_map(void);
/* Writable memory in it that goes on for two pages. */
#define MALFORM_WRITABLE	0

size_t malform_size(enum malform_command which);

/* A call made of its number alone: anything, anywhere. */
void malform_random(const struct malform *m, __u64 number, struct malform_call *call);
/* One of a given command, size and tail at an offset; the content is random. */
void malform_at(const struct malform *m, __u64 number, enum malform_command which,
		__u32 size, enum malform_tail tail, long offset, struct malform_call *call);
/* The same at an address outside of the mapping. */
void malform_elsewhere(struct malform_call *call, unsigned long address);

/* What the kernel must answer; 0 for a call that is not malformed. */
int malform_expected(const struct malform *m, const struct malform_call *call);

/*
 * Spoils a call that would succeed, then makes it; what cannot be written back is
 * made twice. False, with all that is known of it printed, if the answer is not
 * what is expected.
 */
bool malform_make(struct malform *m, struct malform_call *call);

/**
 * struct malform_state - all that a call could change
 * @fdinfo: what /proc says of the session and its files
 * @name:   of the session
 * @flags:  of each fd; of those that are not there, -1
 */
struct malform_state {
	char fdinfo[4096];
	char name[LUO_NAME_MAX];
	int flags[256];
};

void malform_look(const struct malform *m, struct malform_state *state);
/* Whether all is as it was; if not, what has changed is printed. */
bool malform_is_as_before(const struct malform *m, const struct malform_state *before);

/* How many calls there were, and their answers, as comments. */
void malform_print(const struct malform *m);

#endif /* SELFTESTS_MALFORM_H */
