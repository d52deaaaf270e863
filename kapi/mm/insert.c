// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inserts folios that were handed over into a new memfd: what shmem does with one
 * folio that it has allocated, for many.
 */

#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include "../bindings_helper.h"

/*
 * Adds @nr folios to the statistics of the cgroups and nodes that they belong
 * to, with one update for each run of them that belong to the same.
 */
static void count_all(struct folio **folios, unsigned int nr)
{
	unsigned int start = 0;
	int pages = 0, huge = 0;

	guard(rcu)
		();
	for (unsigned int i = 0; i < nr; i++) {
		long nr_pages = folio_nr_pages(folios[i]);

		pages += nr_pages;
		if (nr_pages > 1 && folio_test_pmd_mappable(folios[i]))
			huge += nr_pages;
		if (i + 1 < nr &&
		    folio_memcg(folios[i + 1]) == folio_memcg(folios[start]) &&
		    folio_pgdat(folios[i + 1]) == folio_pgdat(folios[start]))
			continue;
		if (huge)
			lruvec_stat_mod_folio(folios[start], NR_SHMEM_THPS,
					      huge);
		lruvec_stat_mod_folio(folios[start], NR_FILE_PAGES, pages);
		lruvec_stat_mod_folio(folios[start], NR_SHMEM, pages);
		start = i + 1;
		pages = 0;
		huge = 0;
	}
}

/*
 * Charges folios to the active memory cgroup, and prepares them for the page cache,
 * where they will follow each other from @index on.
 *
 * All of them become dirty. A clean folio of shmem has no copy anywhere, so reclaim
 * would drop it and its content. One that is not up to date is zeroed by shmem before
 * anyone sees it, as one that fallocate() has left.
 *
 * Returns how many were charged, those at the start; if that is not @nr, the error
 * is in @err.
 */
static unsigned int charge(struct address_space *mapping, struct folio **folios,
			   unsigned int nr, pgoff_t index, bool uptodate,
			   int *err)
{
	gfp_t gfp = mapping_gfp_mask(mapping);
	unsigned int charged = lu_memcg_charge_folios(folios, nr, gfp, err);

	for (unsigned int i = 0; i < charged; i++) {
		struct folio *folio = folios[i];
		long nr_pages = folio_nr_pages(folio);

		/* KHO hands over the order only; shmem sets this when it allocates. */
		if (nr_pages > 1)
			folio_set_large_rmappable(folio);
		__folio_set_swapbacked(folio);
		if (uptodate)
			__folio_mark_uptodate(folio);
		folio_set_dirty(folio);
		folio->mapping = mapping;
		folio->index = index;
		index += nr_pages;
		/* The page cache owns a reference per page. The caller's is the first. */
		if (nr_pages > 1)
			folio_ref_add(folio, nr_pages - 1);
	}
	return charged;
}

/*
 * Puts @nr folios that were charged, all of one order, into the page cache from
 * @index on, in one walk under one lock.
 *
 * Returns how many are in the page cache, those at the start; if that is not @nr, the
 * error is in @err, and the others are as charge() found them, but charged.
 */
static unsigned int insert(struct address_space *mapping, struct folio **folios,
			   unsigned int nr, pgoff_t index, int *err)
{
	unsigned int order = nr ? folio_order(folios[0]) : 0, done = 0;
	XA_STATE_ORDER(xas, &mapping->i_pages, index, order);

	/*
	 * Several tasks may insert into one file. They wait for each other at this
	 * lock, which can be taken by whichever is running; the spinlocks below are
	 * fair, and would queue behind a preempted vCPU.
	 */
	inode_lock(mapping->host);
	do {
		unsigned long inserted = 0;
		void *present = NULL;

		xas_lock_irq(&xas);
		if (!order)
			present = xas_load(&xas);
		while (done < nr) {
			if (order)
				present = xas_find_conflict(&xas);
			if (present) {
				xas_set_err(&xas, -EEXIST);
				break;
			}
			xas_store(&xas, folios[done]);
			if (xas_error(&xas))
				break;
			inserted += 1UL << order;
			done++;
			if (order) {
				index += 1UL << order;
				xas_set_order(&xas, index, order);
			} else {
				present = xas_next(&xas);
			}
		}
		mapping->nrpages += inserted;
		xas_unlock_irq(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL));
	count_all(folios, done);
	for (unsigned int i = 0; i < done; i++)
		folio_add_lru(folios[i]);
	inode_unlock(mapping->host);
	if (done < nr)
		*err = xas_error(&xas);

	for (unsigned int i = done; i < nr; i++) {
		folios[i]->mapping = NULL;
		if (order)
			folio_ref_sub(folios[i], (1L << order) - 1);
	}
	return done;
}

/**
 * lu_insert_folios() - Insert folios into the page cache of a new memfd.
 * @inode: Inode of a file of shmem that userspace cannot reach yet. Blocks for all of
 *	the folios were accounted by shmem_inode_acct_blocks().
 * @memcg: Memory cgroup to charge; NULL for none.
 * @folios: Folios of one order, at most lu_max_folio_order(). The caller owns the only
 *	reference to each.
 * @nr: Size of @folios.
 * @index: Index of the first folio, aligned to the order. The others follow it without
 *	a hole. The size of the file is set, and all of them begin before its end: as soon
 *	as a large folio is in the page cache it can be split, which drops what lies past
 *	the end.
 * @uptodate: Whether the folios hold valid data.
 * @err: Set to the error that stopped it, or 0.
 *
 * shmem_add_to_page_cache() and its caller walk the page cache, take its lock, and
 * update the statistics for each folio. Here that happens once for all of them, and the
 * memory cgroup is not looked up again for each.
 *
 * Only what is in a file can be reclaimed. So when a charge fails after some folios
 * were charged, those are inserted first and then the charge is tried again.
 *
 * The caller calls shmem_recalc_inode() afterwards, whatever the outcome.
 *
 * Context: Process context. May sleep. Takes the lock of the inode, then the lock of
 * the page cache.
 * Return: N: the first N of @folios are in the file, which owns the caller's references
 * to them from then on. If N is less than @nr, @err is -ENOMEM, or -EEXIST if there is
 * a page at the index already, which stays.
 */
unsigned int lu_insert_folios(struct inode *inode, struct mem_cgroup *memcg,
			      struct folio **folios, unsigned int nr,
			      pgoff_t index, bool uptodate, int *err)
{
	unsigned int order = folio_order(folios[0]), done = 0, charged, more;
	struct mem_cgroup *before;

	/* Without this, each charge would look the memory cgroup up. */
	before = set_active_memcg(memcg);
	do {
		pgoff_t from = index + ((pgoff_t)done << order);

		*err = 0;
		charged = charge(inode->i_mapping, folios + done, nr - done,
				 from, uptodate, err);
		more = insert(inode->i_mapping, folios + done, charged, from,
			      err);
		done += more;
	} while (done < nr && more && more == charged);
	set_active_memcg(before);
	return done;
}
