// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hands over a state that is valid but for one change, as a broken or foreign Live
 * Update Orchestrator might. Used to show that a reader checks everything it reads.
 * Loads only without an orchestrator, and does nothing but write that state.
 *
 *	insmod forge.ko case=NAME[,NAME...] [image=ADDRESS]
 *
 * Several cases can be combined if each changes its own session only.
 */
#include <linux/err.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "forge.h"

/* A block holds 51 sessions: these and "first". */
#define MAX_CASES 50

static char *names[MAX_CASES];
static unsigned int nr_names;
module_param_array_named(case, names, charp, &nr_names, 0444);
MODULE_PARM_DESC(case, "names of the cases");

static unsigned long image = 0x1000000;
module_param(image, ulong, 0444);
MODULE_PARM_DESC(image, "an address inside the next kernel's image");

static unsigned long values[MAX_CASES];
static unsigned int nr_values;
module_param_array_named(value, values, ulong, &nr_values, 0444);
MODULE_PARM_DESC(value, "the addresses that the cases wrote (read only)");

/* A copy in memory that is not handed over. */
static u64 unknown_copy(struct forged *f, u64 of)
{
	void *page = (void *)__get_free_page(GFP_KERNEL);

	if (!page) {
		f->err = -ENOMEM;
		return 0;
	}
	memcpy(page, phys_to_virt(of), PAGE_SIZE);
	return virt_to_phys(page);
}

static u64 aimed(struct forged *f, void *from, u64 at, enum forge_address how)
{
	switch (how) {
	case ZERO:
		return 0;
	case UNALIGNED:
		return at + 8;
	case OUTSIDE:
		return 1ULL << 45;
	case UNKNOWN:
		return unknown_copy(f, at);
	case IMAGE:
		return f->image;
	case SELF:
		return virt_to_phys((void *)((unsigned long)from & PAGE_MASK));
	}
	return at;
}

static void aim(struct forged *f, u64 *field, enum forge_address how)
{
	f->value = aimed(f, field, *field, how);
	*field = f->value;
}

static void aim_at(struct forged *f, u64 *field, void *page)
{
	f->value = virt_to_phys(page);
	*field = f->value;
}

/*
 * A frame number cannot be unaligned within a page. The folio has four pages,
 * so an unaligned frame is its second page.
 */
static void aim_frame(struct forged *f, struct memfd_luo_folio_ser *entry,
		      enum forge_address how)
{
	u64 at = PFN_PHYS(entry->pfn);

	f->value = how == UNALIGNED ? at + PAGE_SIZE : aimed(f, entry, at, how);
	entry->pfn = PHYS_PFN(f->value);
}

static void share_frame(struct forged *f, struct memfd_luo_folio_ser *entry,
			const struct memfd_luo_folio_ser *with)
{
	entry->pfn = with->pfn;
	f->value = PFN_PHYS(with->pfn);
}

/* Clears the dirty flag of the four folios of memfd 2. */
static void clean_folios(struct forged *f, struct forged_memfd *m)
{
	for (int i = 0; i < 4; i++)
		m->array[i].flags &= ~MEMFD_LUO_FOLIO_DIRTY;
}

/* Entry @i of array page @part of memfd 2. */
static struct memfd_luo_folio_ser *entry(struct forged *f, unsigned int part,
					 unsigned int i)
{
	struct memfd_luo_folio_ser *entries =
		phys_to_virt(f->memfd[1].list->phys[part]);

	return &entries[i];
}

/* Writes FLB @i, and counts it and those before. */
static struct luo_flb_ser *forge_flb(struct forged *f, unsigned int i,
				     const char *name, u64 files)
{
	struct luo_flb_ser *flb = (struct luo_flb_ser *)(f->flbs + 1) + i;

	strscpy(flb->name, name);
	flb->data = 0;
	flb->count = files;
	f->flbs->count = i + 1;
	return flb;
}

/* Replaces a block by a copy of two pages, which is more than a block has. */
static void enlarge(struct forged *f, u64 *field)
{
	void *block = forge_pages(f, 1);

	if (!block)
		return;
	memcpy(block, phys_to_virt(*field), PAGE_SIZE);
	aim_at(f, field, block);
}

static void preserve_page(struct forged *f, u64 at)
{
	int err = kho_preserve_pages(pfn_to_page(PHYS_PFN(at)), 1);

	if (err)
		f->err = err;
}

/* Inserts a block with one entry into a chain. */
static void *lengthen(struct forged *f, struct kho_block_header_ser *after)
{
	struct kho_block_header_ser *block = forge_pages(f, 0);

	if (!block)
		return NULL;
	block->next = after->next;
	block->count = 1;
	after->next = virt_to_phys(block);
	cond_resched();
	return block;
}

static void many_sessions(struct forged *f, unsigned long total)
{
	for (unsigned long i = 0; i + 2 < total; i++) {
		struct session_block *block = lengthen(f, &f->sessions->header);

		if (!block)
			return;
		snprintf(block->entry[0].name, sizeof(block->entry[0].name),
			 FORGE_EXTRA, i);
	}
}

static void many_files(struct forged *f, unsigned long total)
{
	for (unsigned long i = 0; i + 2 < total; i++) {
		struct file_block *block = lengthen(f, &f->files->header);

		if (!block)
			return;
		block->entry[0] = *f->file;
		block->entry[0].token = 1000 + i;
		f->session->file_set_ser.count++;
	}
}

#define FORGERY(name, expected, log, ...)           \
	static void change_##name(struct forged *f) \
	{                                           \
		__VA_ARGS__;                        \
	}
#include "addresses.h"
#include "chains.h"
#include "memfd.h"
#include "pieces.h"
#include "long.h"
#include "million.h"
#undef FORGERY

#define FORGERY(name, expected, log, ...) { #name, change_##name },
static const struct {
	const char *name;
	void (*change)(struct forged *f);
} cases[] = {
#include "addresses.h"
#include "chains.h"
#include "memfd.h"
#include "pieces.h"
#include "long.h"
#include "million.h"
};

static int __init forge(struct forged *f, const char *name)
{
	unsigned long folios = 0;
	int i, err;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!strcmp(cases[i].name, name))
			break;
	}
	if (i == ARRAY_SIZE(cases))
		return -EINVAL;
	if (strstarts(name, "long_"))
		folios = FORGE_LONG;
	if (strstarts(name, "piece_"))
		folios = FORGE_PIECES;
	err = forge_session(f, name, folios);
	if (err)
		return err;
	cases[i].change(f);
	return f->err;
}

static int __init forge_init(void)
{
	struct forged shared = { .image = image }, f;
	int err;

	if (!kho_is_enabled())
		return -EOPNOTSUPP;
	err = forge_state(&shared);
	f = shared;
	while (!err && nr_values < nr_names) {
		f = shared;
		err = forge(&f, names[nr_values]);
		values[nr_values++] = f.value;
	}
	if (err)
		return err;
	return kho_add_subtree(LUO_KHO_ENTRY_NAME, phys_to_virt(f.root_at),
			       f.root_size);
}
module_init(forge_init);

MODULE_AUTHOR("liveupdate-rs developers");
MODULE_DESCRIPTION("Hands over damaged state to the next kernel");
MODULE_LICENSE("GPL");
