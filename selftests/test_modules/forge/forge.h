/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the forger knows of the state that it hands over: the address of each
 * structure, so that a case can change one field of it.
 *
 *	root -> block -> "first", and a session named after each case
 *		  `-> block -> "last"
 *
 * The session of a case has two blocks: one with files 1 and 2, one with file 3. The
 * other sessions have one block with file 1. All files are memfds. Cases that damage
 * a memfd damage number 2.
 */
#ifndef SELFTESTS_FORGE_H
#define SELFTESTS_FORGE_H

#include <linux/kho/abi/block.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memfd.h>
#include <linux/types.h>

#include "shape.h"

/* The structures of a memfd; of a long one, those that cases change. */
struct forged_memfd {
	struct memfd_luo_ser *header;
	struct kho_vmalloc_chunk *list;
	struct kho_vmalloc_chunk *last_list;
	struct memfd_luo_folio_ser *array;
};

/* Blocks with their entries. */
struct session_block {
	struct kho_block_header_ser header;
	struct luo_session_ser entry[];
} __packed;

struct file_block {
	struct kho_block_header_ser header;
	struct luo_file_ser entry[];
} __packed;

/**
 * struct forged - what a case can change: its session, and what all cases share
 * @root_at:   the address of the root that the forger gives to KHO
 * @root_size: its size
 * @image:     an address inside the next kernel's image
 * @value:     the address that a case wrote, as the next kernel sees it
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

/* Makes the valid state, without the sessions of cases. */
int forge_state(struct forged *f);

/* Makes the session of a case. @folios: folios of memfd 2, or 0 for four. */
int forge_session(struct forged *f, const char *name, unsigned long folios);

/* Allocates memory that is handed over. Keeps an error in @f. */
void *forge_pages(struct forged *f, unsigned int order);

/* Where a damaged address points. */
enum forge_address {
	ZERO,
	UNALIGNED, /* after the start of its target */
	OUTSIDE, /* where there is no memory */
	UNKNOWN, /* a copy that is not handed over */
	IMAGE, /* code of the next kernel */
	SELF, /* the page that holds the address */
};

#endif /* SELFTESTS_FORGE_H */
