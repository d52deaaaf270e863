/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls as data, and a model that says what each of them answers.
 *
 * A step is one call. step_perform() makes it; model_step() changes a model of
 * sessions, files and open fds in the way that the call must change the real
 * ones, and says what it must answer. So sequences can be made by chance, run
 * again, shortened, and, where calls ran at the same time, tried in every order.
 *
 * Fds are named by a slot; slot n of a process is its fd STEP_FIRST_FD + n, so
 * that an fd of a new file never takes the number of one that was just closed.
 */
#ifndef SELFTESTS_MODEL_H
#define SELFTESTS_MODEL_H

#include "luo.h"

#define STEP_FIRST_FD	500
#define MODEL_PROCS	3
#define MODEL_SLOTS	8
#define MODEL_INBOX	2
#define MODEL_NAMES	4
#define MODEL_TOKENS	4
#define MODEL_PAGES	4
#define MODEL_SESSIONS	(MODEL_PROCS * (MODEL_SLOTS + MODEL_INBOX) + 1)
#define MODEL_INODES	192
#define MODEL_INCOMING	3

enum step_op {
	STEP_OPEN,		/* to: slot */
	STEP_CREATE,		/* slot: device, arg: name, to: slot */
	STEP_RETRIEVE,		/* slot: device, arg: name, to: slot */
	STEP_PRESERVE,		/* slot: session, arg: token, to: slot of the file */
	STEP_RETRIEVE_FD,	/* slot: session, arg: token, to: slot */
	STEP_FINISH,		/* slot */
	STEP_GET_NAME,		/* slot */
	STEP_BAD_NUMBER,	/* slot, arg: which */
	STEP_FDINFO,		/* slot */
	STEP_CLOSE,		/* slot */
	STEP_DUP,		/* slot, to: slot, whatever is there */
	STEP_SEND,		/* slot, arg: process */
	STEP_RECEIVE,		/* to: slot */
	STEP_EXIT,
	STEP_NULL,		/* to: slot; opens /dev/null */
	STEP_MEMFD,		/* to: slot, arg: pages, seed */
	STEP_TRUNCATE,		/* slot, arg: pages */
	STEP_PUNCH,		/* slot, arg: page */
	STEP_WRITE,		/* slot, arg: page, seed */
	STEP_MAP,		/* slot, arg: page, seed: a word is stored through a mapping */
	STEP_SEAL,		/* slot, arg: which */
	STEP_SEEK,		/* slot, seed: position */
	STEP_LOOK,		/* slot; everything about a memfd */
	STEP_OPS
};

/* What is wrong with the argument of an ioctl. */
enum step_flavour {
	FLAVOUR_GOOD,
	FLAVOUR_SMALL,		/* less than the least size */
	FLAVOUR_LARGE,		/* more, all of it zero */
	FLAVOUR_NOISE,		/* more, not zero */
	FLAVOUR_NULL,		/* no address */
	FLAVOUR_READONLY,	/* can be read, and not answered */
	FLAVOUR_RESERVED,	/* reserved is not 0, where there is such a field */
	FLAVOURS
};

struct step {
	__u8 op;
	__u8 proc;
	__u8 slot;
	__u8 to;
	__u8 arg;
	__u8 flavour;
	__u32 seed;
};

/* Names that are none, after those that are. */
#define NAME_EMPTY	MODEL_NAMES
#define NAME_UNENDED	(MODEL_NAMES + 1)

/*
 * An errno or 0, and what else the call told. also: an errno that is as good,
 * where two things are wrong at once and nobody says which is told.
 */
struct answer {
	int err;
	int also;
	__u64 value;
};

/* Nothing to do: it would not be a test. */
#define STEP_SKIPPED	(-10000)

enum model_kind { KIND_NONE, KIND_DEVICE, KIND_OUTGOING, KIND_INCOMING, KIND_MEMFD, KIND_NULL };

/* object: index of a session or an open file */
struct model_fd {
	__u8 kind;
	__u8 object;
};

enum incoming_state { INCOMING_GONE, INCOMING_WAITING, INCOMING_HELD };

/* Index 0 to MODEL_INCOMING - 1 are those that came in; the rest is as it comes. */
struct model_session {
	__u8 refs;
	__u8 name;
	__u8 incoming;
	__u8 pending[MODEL_TOKENS];
	/* Open file + 1, or 0. */
	__u8 file[MODEL_TOKENS];
};

struct model_file {
	__u8 refs;
	__u8 inode;
	__u32 pos;
};

struct model_inode {
	__u8 refs;
	bool busy;
	bool frozen;
	bool pinned;
	int seals;
	__u64 pages;
	struct {
		__u64 seed;
		__u64 word;
		bool present;
		bool stored;
	} page[MODEL_PAGES];
};

struct model {
	__u8 device_refs;
	struct model_fd fds[MODEL_PROCS][MODEL_SLOTS];
	struct model_fd inbox[MODEL_PROCS][MODEL_INBOX];
	__u8 waiting[MODEL_PROCS];
	struct model_session sessions[MODEL_SESSIONS];
	struct model_file files[MODEL_INODES];
	struct model_inode inodes[MODEL_INODES];
};

/* Nothing is open; what came in is there if it was left. */
void model_init(struct model *m, bool incoming);
struct answer model_step(struct model *m, const struct step *step);

/* Where steps are performed: the names' prefix, and the sockets to send fds to. */
struct step_place {
	unsigned int universe;
	int inbox[MODEL_PROCS][2];
};

struct answer step_perform(const struct step *step, const struct step_place *place);
void step_name(char *name, const struct step_place *place, unsigned int index);
__u64 step_token(unsigned int index);
int step_memfd(unsigned int pages, __u32 seed);
bool step_answer_is(const struct answer *seen, const struct answer *expected);
/* In words, into a static buffer. */
const char *step_text(const struct step *step);
const char *answer_text(const struct answer *answer);

/* The sessions that model_init() expects, in the kernel before. 0 or -errno. */
int incoming_make(int dev, const struct step_place *place);

/* What is in a file that STEP_MEMFD makes, and what came in. */
bool memfd_has_page(__u32 seed, unsigned int page);
bool memfd_is_sealable(__u32 seed);
/* The files of incoming session n: how many pages, 0xff for none; their seed. */
unsigned int incoming_pages(unsigned int session, unsigned int token);
__u32 incoming_seed(unsigned int session, unsigned int token);
__u64 look_page(__u64 hash, const __u64 *words);
__u64 look_at(__u64 hash, __u64 value);

extern const int step_seals[5];

#endif /* SELFTESTS_MODEL_H */
