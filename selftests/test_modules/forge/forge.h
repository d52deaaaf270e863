/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the forger knows of the state that it hands over: where each structure
 * is, so that a case can change one thing in one of them.
 *
 *	root -> block -> "first", a session named after each case
 *		  `-> block -> "last"
 *
 * The session of a case has two blocks with the files 1 and 2, and 3; the
 * others have one block with file 1. All files are memfds, and memfd 2 is the
 * one whose insides are changed.
 */
#ifndef SELFTESTS_FORGE_H
#define SELFTESTS_FORGE_H

#include <linux/kho/abi/block.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memfd.h>
#include <linux/types.h>

#include "shape.h"

/* The structures of a memfd; of long ones, only what a case changes. */
struct forged_memfd {
	struct memfd_luo_ser *header;
	struct kho_vmalloc_chunk *list;
	struct kho_vmalloc_chunk *last_list;
	struct memfd_luo_folio_ser *array;
};

/* A block and what is in it. */
struct session_block {
	struct kho_block_header_ser header;
	struct luo_session_ser entry[];
} __packed;

struct file_block {
	struct kho_block_header_ser header;
	struct luo_file_ser entry[];
} __packed;

/**
 * struct forged - what a case can change: its session, and what all share
 * @root_at:   what KHO is told about the root
 * @root_size: the same
 * @image:     an address inside of the next kernel's image
 * @value:     the address that a case wrote, as the next kernel will see it
 * @err:       why a case could not be made
 */
struct forged {
	u64 root_at;
	u64 root_size;
	u64 image;
	u64 value;
	int err;

	struct luo_ser *root;
	struct luo_flb_header_ser *flbs;
	struct session_block *sessions;
	struct session_block *last_sessions;
	struct luo_session_ser *session;
	struct file_block *files;
	struct file_block *last_files;
	struct luo_file_ser *file;

	struct forged_memfd first;
	struct forged_memfd memfd[3];
	struct forged_memfd last;
};

/* The valid state, without the sessions of cases. */
int forge_state(struct forged *f);

/* A session of a case; @folios: how many memfd 2 has, 0 for a handful. */
int forge_session(struct forged *f, const char *name, unsigned long folios);

/* A page, or more, that will be handed over. An error is kept in @f. */
void *forge_pages(struct forged *f, unsigned int order);

/* What an address of a case points at instead. */
enum forge_address {
	ZERO,
	UNALIGNED,	/* behind the start of what it pointed at */
	OUTSIDE,	/* where there is no memory */
	UNKNOWN,	/* memory with the same content that is not handed over */
	IMAGE,		/* code of the next kernel */
	SELF,		/* the page that the address stands in */
};

#endif /* SELFTESTS_FORGE_H */
