// SPDX-License-Identifier: GPL-2.0-only
/* Folios of a file of shmem that are pinned, and handed over. */

#include <linux/highmem.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

/*
 * Whether a pinned folio stays in the page cache as long as it is pinned. Who
 * takes folios out of it, to make a huge page of them or to swap them out, checks
 * for pins once, and then goes on under their locks. Who finds a folio without its
 * lock may be late for that check, but nobody who locks it later is: on x86, both
 * to take a reference and to take the lock are full barriers.
 */
static bool stays_in_file(struct folio *folio, struct address_space *mapping)
{
	folio_wait_locked(folio);
	/* As it was left by those who had the lock: it pairs with folio_unlock(). */
	smp_rmb();
	return READ_ONCE(folio->mapping) == mapping;
}

/* Pages that were found to be bad since the kernel has booted. */
unsigned long lu_memory_failures(void)
{
	unsigned long total = 0;
#ifdef CONFIG_MEMORY_FAILURE
	int nid;

	for_each_online_node(nid)
		total += READ_ONCE(NODE_DATA(nid)->mf_stats.total);
#endif
	return total;
}

/*
 * Whether one of the first @nr folios of a file from page @index to @last is known
 * to be bad. It must not be pinned if it is: it is on no list of the reclaimer's
 * any more, and if it had to be moved before, that would be tried for ever.
 */
static bool has_poisoned(struct address_space *mapping, pgoff_t index, pgoff_t last,
			 unsigned int nr)
{
	XA_STATE(xas, &mapping->i_pages, index);
	struct folio *folio;

	guard(rcu)();
	xas_for_each(&xas, folio, last) {
		bool poisoned;

		if (!nr--)
			break;
		if (xas_retry(&xas, folio) || xa_is_value(folio) || !folio_try_get(folio))
			continue;
		poisoned = folio_contain_hwpoisoned_page(folio);
		folio_put(folio);
		if (poisoned)
			return true;
	}
	return false;
}

/*
 * Pins folios of a file where they are: those from page @index on, up to @last and
 * the first that has to be brought in, moved, or waited for. What memfd_pin_folios()
 * does for each folio is done once for all of them: a walk into the page cache, a
 * look at what kind of memory it is, the statistics. It is called for all pages of
 * a file, and is a loop over inline functions.
 */
static unsigned int pin_in_place(struct address_space *mapping, pgoff_t index, pgoff_t last,
				 struct folio **folios, unsigned int max)
{
	XA_STATE(xas, &mapping->i_pages, index);
	struct pglist_data *pgdat = NULL;
	/* All pages of such a block are of one zone, and of one type. */
	unsigned long pinnable = ULONG_MAX;
	unsigned int nr = 0, counted = 0;
	struct folio *folio;

	rcu_read_lock();
	for (folio = xas_load(&xas); nr < max && xas.xa_index <= last; folio = xas_next(&xas)) {
		unsigned long block;

		if (!folio || xa_is_internal(folio) || xa_is_value(folio) ||
		    !folio_try_get(folio))
			break;
		/*
		 * Whoever takes a folio out of a file locks it before it looks for
		 * references: see stays_in_file(). folio_try_get() was a full barrier.
		 */
		if (folio_test_locked(folio) || folio_contain_hwpoisoned_page(folio))
			goto leave;
		smp_rmb(); /* It pairs with folio_unlock(), as in stays_in_file(). */
		if (folio != xas_reload(&xas))
			goto leave;
		block = folio_pfn(folio) >> pageblock_order;
		if (block != pinnable) {
			if (!folio_is_longterm_pinnable(folio))
				goto leave;
			pinnable = block;
		}

		if (folio_pgdat(folio) != pgdat) {
			if (pgdat)
				mod_node_page_state(pgdat, NR_FOLL_PIN_ACQUIRED, nr - counted);
			pgdat = folio_pgdat(folio);
			counted = nr;
		}
		if (folio_has_pincount(folio))
			atomic_inc(&folio->_pincount);
		else
			folio_ref_add(folio, GUP_PIN_COUNTING_BIAS - 1);
		folios[nr++] = folio;
		if (folio_test_large(folio))
			xas_advance(&xas, folio_next_index(folio) - 1);
		continue;
leave:
		folio_put(folio);
		break;
	}
	rcu_read_unlock();
	if (nr)
		mod_node_page_state(pgdat, NR_FOLL_PIN_ACQUIRED, nr - counted);
	return nr;
}

/*
 * As memfd_pin_folios(), for a file of shmem that is frozen, but what is pinned is
 * what the file consists of from now on, and can be read. It may be less than there
 * is room for.
 */
long lu_shmem_pin(struct file *file, loff_t start, loff_t end, struct folio **folios,
		  unsigned int max)
{
	struct address_space *mapping = file->f_mapping;
	pgoff_t index = start >> PAGE_SHIFT, last = end >> PAGE_SHIFT, offset;
	long nr;

	nr = pin_in_place(mapping, index, last, folios, max);
	if (nr)
		return nr;
again:
	if (lu_memory_failures() && has_poisoned(mapping, index, last, max))
		return -EHWPOISON;
	nr = memfd_pin_folios(file, start, end, folios, max, &offset);
	/* The pins can be seen before it is looked for locks. */
	smp_mb();
	for (long i = 0; i < nr; i++) {
		bool stays = stays_in_file(folios[i], mapping);

		if (stays && !folio_contain_hwpoisoned_page(folios[i]))
			continue;
		unpin_folios(folios, nr);
		if (stays)
			return -EHWPOISON;
		goto again;
	}
	return nr;
}

/*
 * Brings a pinned folio into the state in which it will be handed over. It may
 * still be written when nobody can look at its flags any more, so it counts as
 * dirty from now on, and one that was allocated but never used is zeroed now.
 */
static void settle(struct folio *folio)
{
	/* What is pinned is not written out, so neither is taken back. */
	if (folio_test_uptodate(folio) && folio_test_dirty(folio))
		return;
	folio_lock(folio);
	folio_mark_dirty(folio);
	if (!folio_test_uptodate(folio)) {
		folio_zero_range(folio, 0, folio_size(folio));
		flush_dcache_folio(folio);
		folio_mark_uptodate(folio);
	}
	folio_unlock(folio);
}

/*
 * Hands over @nr pinned folios of a file, and describes them in @to. It is called
 * for all pages of a file, and is a loop over inline functions.
 *
 * Return: how many it was, those at the start, with their pages added to @pages;
 * if that is not @nr, the error is in @err.
 */
unsigned int lu_preserve_pinned(struct folio **folios, unsigned int nr,
				void *to, u64 *pages, int *err)
{
	struct memfd_luo_folio_ser *entries = to;
	unsigned long total = 0;
	unsigned int i;
	int error = 0;

	for (i = 0; i < nr; i++) {
		struct folio *folio = folios[i];

		error = kho_preserve_folio(folio);
		if (error)
			break;
		settle(folio);
		entries[i] = (struct memfd_luo_folio_ser) {
			.pfn = folio_pfn(folio),
			.flags = MEMFD_LUO_FOLIO_DIRTY | MEMFD_LUO_FOLIO_UPTODATE,
			.index = folio->index,
		};
		total += folio_nr_pages(folio);
	}
	*pages += total;
	*err = error;
	return i;
}

/* Whether one of the folios has become bad that lu_preserve_pinned() has described. */
bool lu_any_poisoned(const void *from, unsigned int nr)
{
	const struct memfd_luo_folio_ser *entries = from;

	for (unsigned int i = 0; i < nr; i++) {
		if (folio_contain_hwpoisoned_page(pfn_folio(entries[i].pfn)))
			return true;
	}
	return false;
}

/* Undoes lu_preserve_pinned(), and lets go of the folios. */
void lu_unpreserve_pinned(const void *from, unsigned int nr)
{
	const struct memfd_luo_folio_ser *entries = from;

	for (unsigned int i = 0; i < nr; i++) {
		struct folio *folio = pfn_folio(entries[i].pfn);

		kho_unpreserve_folio(folio);
		unpin_folio(folio);
	}
}

/* Where in its file a pinned folio ends, in pages. */
pgoff_t lu_folio_end(struct folio *folio)
{
	return folio_next_index(folio);
}

unsigned long lu_pfn_nr_pages(unsigned long pfn)
{
	return folio_nr_pages(pfn_folio(pfn));
}
