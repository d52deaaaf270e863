// SPDX-License-Identifier: GPL-2.0-only
/*
 * The valid state that every case starts from. It is written from the ABI headers of
 * the kernel alone: any reader of that ABI must be able to read it.
 */
#include <linux/err.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "../../lib/pattern.h"
#include "forge.h"

#define ENTRIES (PAGE_SIZE / sizeof(struct memfd_luo_folio_ser))

void *forge_pages(struct forged *f, unsigned int order)
{
	void *pages = kho_alloc_preserve(PAGE_SIZE << order);

	if (IS_ERR(pages)) {
		f->err = PTR_ERR(pages);
		return NULL;
	}
	return pages;
}

static void fill(void *to, u64 page, unsigned long pages, u64 seed)
{
	u64 *word = to;

	for (u64 i = 0; i < pages * PAGE_SIZE / 8; i++)
		word[i] = pattern_word(seed, page * PAGE_SIZE / 8 + i);
}

/*
 * Adds a page to the folio array, and a chunk to its list if the last one is
 * full.
 */
static struct memfd_luo_folio_ser *
grow(struct forged *f, struct forged_memfd *m, unsigned long part)
{
	struct kho_vmalloc_chunk *list = m->last_list;
	struct memfd_luo_folio_ser *array = forge_pages(f, 0);

	if (!array)
		return NULL;
	if (part % KHO_VMALLOC_SIZE == 0) {
		list = forge_pages(f, 0);
		if (!list)
			return NULL;
		if (part)
			m->last_list->hdr.next.phys = virt_to_phys(list);
		else
			m->list = list;
		m->last_list = list;
	}
	list->phys[part % KHO_VMALLOC_SIZE] = virt_to_phys(array);
	if (!part)
		m->array = array;
	return array;
}

/* Makes a memfd of @nr folios with these @orders, or of single pages. */
static int forge_memfd(struct forged *f, struct forged_memfd *m,
		       const u8 *orders, unsigned long nr, u64 seed)
{
	struct memfd_luo_folio_ser *array = NULL;
	unsigned long page = 0, i;

	m->header = forge_pages(f, 0);
	if (!m->header)
		return f->err;
	for (i = 0; i < nr; i++) {
		unsigned int order = orders ? orders[i] : 0;
		void *content = forge_pages(f, order);

		if (i % ENTRIES == 0)
			array = grow(f, m, i / ENTRIES);
		if (f->err)
			return f->err;
		if (i < FORGE_FILLED || i + FORGE_FILLED >= nr - FORGE_FILLED)
			fill(content, page, 1UL << order, seed);
		array[i % ENTRIES].pfn = PHYS_PFN(virt_to_phys(content));
		array[i % ENTRIES].flags = MEMFD_LUO_FOLIO_DIRTY |
					   MEMFD_LUO_FOLIO_UPTODATE;
		array[i % ENTRIES].index = page;
		page += 1UL << order;
	}
	m->header->pos = seed;
	m->header->size = page * PAGE_SIZE - FORGE_SLACK;
	m->header->nr_folios = nr;
	m->header->folios.first.phys = virt_to_phys(m->list);
	m->header->folios.total_pages = DIV_ROUND_UP(nr, ENTRIES);
	/* KHO_VMALLOC_ALLOC, which is private to KHO. */
	m->header->folios.flags = 1;
	return 0;
}

static void add_file(struct file_block *block, u64 token,
		     const struct forged_memfd *m)
{
	struct luo_file_ser *file = &block->entry[block->header.count++];

	strscpy(file->compatible, MEMFD_LUO_FH_COMPATIBLE);
	file->data = virt_to_phys(m->header);
	file->token = token;
}

static struct luo_session_ser *add_session(struct session_block *block,
					   const char *name,
					   struct file_block *files, u64 count)
{
	struct luo_session_ser *session = &block->entry[block->header.count++];

	strscpy(session->name, name);
	session->file_set_ser.files = virt_to_phys(files);
	session->file_set_ser.count = count;
	return session;
}

static int forge_small(struct forged *f, struct forged_memfd *m, u64 seed)
{
	return forge_memfd(f, m, NULL, FORGE_PAGES, seed);
}

int forge_state(struct forged *f)
{
	struct file_block *first = forge_pages(f, 0), *last = forge_pages(f, 0);

	f->root = forge_pages(f, 0);
	f->flbs = forge_pages(f, 0);
	f->sessions = forge_pages(f, 0);
	f->last_sessions = forge_pages(f, 0);
	if (f->err || forge_small(f, &f->first, FORGE_SEED_FIRST) ||
	    forge_small(f, &f->last, FORGE_SEED_LAST))
		return f->err;

	add_file(first, 1, &f->first);
	add_file(last, 1, &f->last);
	add_session(f->sessions, "first", first, 1);
	add_session(f->last_sessions, "last", last, 1);
	f->sessions->header.next = virt_to_phys(f->last_sessions);

	f->flbs->pgcnt = 1;
	strscpy(f->root->compatible, LUO_ABI_COMPATIBLE);
	f->root->liveupdate_num = 7;
	f->root->sessions_pa = virt_to_phys(f->sessions);
	f->root->flbs_pa = virt_to_phys(f->flbs);
	f->root_at = virt_to_phys(f->root);
	f->root_size = sizeof(*f->root);
	return 0;
}

int forge_session(struct forged *f, const char *name, unsigned long folios)
{
	static const u8 orders[] = { 0, 0, 1, 2 };

	f->files = forge_pages(f, 0);
	f->last_files = forge_pages(f, 0);
	if (f->err || forge_small(f, &f->memfd[0], FORGE_SEED(1)) ||
	    forge_small(f, &f->memfd[2], FORGE_SEED(3)))
		return f->err;
	if (folios)
		forge_memfd(f, &f->memfd[1], NULL, folios, FORGE_SEED(2));
	else
		forge_memfd(f, &f->memfd[1], orders, ARRAY_SIZE(orders),
			    FORGE_SEED(2));
	if (f->err)
		return f->err;

	add_file(f->files, 1, &f->memfd[0]);
	add_file(f->files, 2, &f->memfd[1]);
	add_file(f->last_files, 3, &f->memfd[2]);
	f->files->header.next = virt_to_phys(f->last_files);
	f->file = &f->files->entry[1];
	f->session = add_session(f->sessions, name, f->files, 3);
	return 0;
}
