/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A model of sessions, files and open fds. model_step() changes the model in the
 * way that a step must change the kernel, and returns what the step must answer.
 * Several processes can share sessions and files; the model knows all of them.
 *
 * The model is a second, independent description of the contract. When it and
 * the kernel disagree, one of them is mistaken.
 */
#ifndef SELFTESTS_MODEL_H
#define SELFTESTS_MODEL_H

#include "step.h"

#define MODEL_INBOX 2
#define MODEL_SESSIONS (MODEL_PROCS * (MODEL_SLOTS + MODEL_INBOX) + 1)
#define MODEL_INODES 192

enum model_kind {
	KIND_NONE,
	KIND_DEVICE,
	KIND_OUTGOING,
	KIND_INCOMING,
	KIND_MEMFD,
	KIND_NULL,
};

/* @object: index of a session or an open file. */
struct model_fd {
	__u8 kind;
	__u8 object;
};

enum incoming_state {
	INCOMING_GONE,
	INCOMING_WAITING,
	INCOMING_HELD,
};

/*
 * The first MODEL_INCOMING sessions are incoming ones, the others are outgoing.
 * @file is the index of an open file plus one, or 0 for a token not in use.
 */
struct model_session {
	__u8 refs;
	__u8 name;
	__u8 incoming;
	__u8 pending[MODEL_TOKENS];
	__u8 file[MODEL_TOKENS];
};

struct model_file {
	__u8 refs;
	__u8 inode;
	__u32 pos;
};

/**
 * struct model_inode - a memfd
 * @refs:   open files of it
 * @busy:   a session has it
 * @frozen: it is preserved, so its size cannot change
 * @pinned: it had pages when it was preserved
 * @seals:  as F_GET_SEALS returns them
 * @pages:  its size
 * @page:   for each page the seed of its content, and the word that STEP_MAP
 *          stored in it
 */
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

/* Nothing is open. With @incoming, the previous kernel left its sessions. */
void model_init(struct model *m, bool incoming);
struct answer model_step(struct model *m, const struct step *step);

#endif /* SELFTESTS_MODEL_H */
