/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System calls as data: a step is one call, an answer is what it returned. Steps
 * can be chosen at random, repeated, left out one by one to find the shortest
 * failing sequence, and, after they ran concurrently, tried in every order.
 *
 *	step.h		what steps and answers are, and their words
 *	model.h		what the answer must be
 *	perform.h	makes the call
 *	race.h		makes several at the same time
 *
 * Steps name an fd by its slot: slot n of a process is fd STEP_FIRST_FD + n. A
 * new file therefore never gets the number of an fd that was just closed.
 */
#ifndef SELFTESTS_STEP_H
#define SELFTESTS_STEP_H

#include "luo.h"

#define STEP_FIRST_FD 500
#define MODEL_PROCS 3
#define MODEL_SLOTS 8
#define MODEL_NAMES 4
#define MODEL_TOKENS 4
#define MODEL_PAGES 4
#define MODEL_INCOMING 3

/* What follows each operation are the fields of struct step that it uses. */
enum step_op {
	STEP_OPEN, /* to: slot */
	STEP_CREATE, /* slot: device, arg: name, to: slot */
	STEP_RETRIEVE, /* slot: device, arg: name, to: slot */
	STEP_PRESERVE, /* slot: session, arg: token, to: slot of the file */
	STEP_RETRIEVE_FD, /* slot: session, arg: token, to: slot */
	STEP_FINISH, /* slot */
	STEP_GET_NAME, /* slot */
	STEP_BAD_NUMBER, /* slot, arg: 0 outside the table, 1 another type */
	STEP_FDINFO, /* slot */
	STEP_CLOSE, /* slot */
	STEP_DUP, /* slot, to: slot; closes what was open there */
	STEP_SEND, /* slot, arg: process */
	STEP_RECEIVE, /* to: slot */
	STEP_EXIT,
	STEP_NULL, /* to: slot; opens /dev/null */
	STEP_MEMFD, /* to: slot, arg: pages, seed */
	STEP_TRUNCATE, /* slot, arg: pages */
	STEP_PUNCH, /* slot, arg: page */
	STEP_WRITE, /* slot, arg: page, seed */
	STEP_MAP, /* slot, arg: page, seed: word stored by mmap */
	STEP_SEAL, /* slot, arg: index in step_seals */
	STEP_SEEK, /* slot, seed: position */
	STEP_DIGEST, /* slot; size, position, seals and content */
	STEP_OPS
};

/* The variants of an ioctl argument. */
enum step_flavor {
	FLAVOR_GOOD,
	FLAVOR_SMALL, /* one byte less than the smallest size */
	FLAVOR_LARGE, /* 8 bytes more, all of them zero */
	FLAVOR_NOISE, /* 8 bytes more, one of them not zero */
	FLAVOR_NULL, /* a null pointer */
	FLAVOR_READONLY, /* the kernel can read it, but not write back */
	FLAVOR_RESERVED, /* a nonzero reserved field, if there is one */
	FLAVORS
};

struct step {
	__u8 op;
	__u8 proc;
	__u8 slot;
	__u8 to;
	__u8 arg;
	__u8 flavor;
	__u32 seed;
};

/* Invalid names follow the valid ones. */
#define NAME_EMPTY MODEL_NAMES
#define NAME_UNTERMINATED (MODEL_NAMES + 1)

/**
 * struct answer - what a step returned, or must return
 * @err:   0 or a negative errno
 * @also:  another errno that is right, where two errors compete and the
 *         contract does not order them; else 0
 * @value: what the call returned beyond the errno
 */
struct answer {
	int err;
	int also;
	__u64 value;
};

/* The step tests nothing in this state, and is not performed. */
#define STEP_SKIPPED (-10000)

bool step_answer_is(const struct answer *seen, const struct answer *expected);
/* In words, in a static buffer. */
const char *step_text(const struct step *step);
const char *answer_text(const struct answer *answer);

/* What a file of STEP_MEMFD contains, as a function of its seed. */
bool memfd_has_page(__u32 seed, unsigned int page);
bool memfd_is_sealable(__u32 seed);
/* The files of incoming session n: how many pages, 0xff for none; their seed. */
unsigned int incoming_pages(unsigned int session, unsigned int token);
__u32 incoming_seed(unsigned int session, unsigned int token);

/* The value of STEP_DIGEST: of a word, and of a page of words. */
__u64 digest_word(__u64 hash, __u64 value);
__u64 digest_page(__u64 hash, const __u64 *words);

extern const int step_seals[5];

#endif /* SELFTESTS_STEP_H */
