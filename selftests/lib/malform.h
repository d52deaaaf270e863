/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Malformed ioctls, generated from a seed and a number. Each has exactly one right
 * answer, which is always an error.
 *
 * A call is a command, a size, an address and a content. Addresses lie around the
 * borders of writable, read-only and unmapped pages. malform_expected() follows the
 * kernel through the order of its checks, so that a call with several mistakes has
 * one right answer too.
 */
#ifndef SELFTESTS_MALFORM_H
#define SELFTESTS_MALFORM_H

#include "luo.h"

/* Any argument; all of them begin with their size. */
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

/* What follows the structure, up to the size that the call gives. */
enum malform_tail {
	TAIL_ZERO,
	TAIL_ONE_BYTE,
	TAIL_NOISE,
};

/**
 * struct malform - what calls are made on
 * @seed:     of all calls
 * @dev:      the device
 * @session:  a session of either direction
 * @incoming: @session is an incoming one
 * @taken:    a name that cannot be created (outgoing) or retrieved (incoming)
 * @pending:  the name of an incoming session that can be retrieved, or NULL
 * @token:    a token of the session
 * @memfd:    a file that can be preserved
 * @busy:     a file that is preserved
 * @other:    a file without a handler
 * @calls:    how many calls were made
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
 * struct malform_call - one call
 * @number:  of the call; with the seed it determines all that is random in it
 * @which:   the command, or MALFORM_COMMANDS for an unknown one
 * @fd:      the fd it is made on
 * @cmd:     the ioctl number
 * @size:    the size that the argument gives
 * @tail:    what follows the structure
 * @nonzero: offset of the first nonzero byte of the tail; @size or more for none
 * @offset:  offset in the mapping, or -1
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

/*
 * Maps the pages for arguments. Each process does so first. Returns 0 or a
 * negative errno.
 */
int malform_map(void);
/* An offset in the mapping with two writable pages. */
#define MALFORM_WRITABLE 0

size_t malform_size(enum malform_command which);

/* Makes up a call from its number alone: any command, size and address. */
void malform_random(const struct malform *m, __u64 number,
		    struct malform_call *call);
/*
 * Makes up a call with this command, size, tail and offset; the content is
 * random.
 */
void malform_at(const struct malform *m, __u64 number,
		enum malform_command which, __u32 size, enum malform_tail tail,
		long offset, struct malform_call *call);
/* Moves a call to an address outside the mapping. */
void malform_elsewhere(struct malform_call *call, unsigned long address);

/* Returns what the kernel must answer; 0 for a call that is not malformed. */
int malform_expected(const struct malform *m, const struct malform_call *call);

/*
 * Makes a call, after spoiling it if it would succeed. A call that fails with
 * EFAULT is made twice, because the first one might have had an effect. If the
 * answer is unexpected, prints the call and returns false.
 */
bool malform_make(struct malform *m, struct malform_call *call);

/**
 * struct malform_state - all that a call could change
 * @fdinfo: fdinfo of the session
 * @name:   of the session
 * @flags:  of each fd; -1 for one that is not open
 */
struct malform_state {
	char fdinfo[4096];
	char name[LUO_NAME_MAX];
	int flags[256];
};

void malform_read_state(const struct malform *m, struct malform_state *state);
/* Returns whether nothing has changed. Prints what has. */
bool malform_is_as_before(const struct malform *m,
			  const struct malform_state *before);

/* Prints the number of calls and their answers as comments. */
void malform_print(const struct malform *m);

#endif /* SELFTESTS_MALFORM_H */
