// SPDX-License-Identifier: GPL-2.0-only
/* Files of shmem, and how folios get into them. */

#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

bool lu_shmem_is_nameless(struct file *file)
{
	return shmem_file(file) && !file_inode(file)->i_nlink;
}

void lu_shmem_freeze(struct inode *inode, bool freeze)
{
	shmem_freeze(inode, freeze);
}

loff_t lu_shmem_size(struct inode *inode)
{
	return i_size_read(inode);
}

/*
 * How many pages the file has in memory or swapped out, those past its end too. One
 * that is just being swapped out counts twice, never not at all: shmem counts it as
 * swapped, under this lock, before it is taken out of the page cache.
 */
unsigned long lu_shmem_pages(struct inode *inode)
{
	struct shmem_inode_info *info = SHMEM_I(inode);

	guard(spinlock)(&info->lock);
	return READ_ONCE(inode->i_mapping->nrpages) + info->swapped;
}

/*
 * Finds pages that are in memory or swapped out: the first run of them that has
 * pages of [*@start, @end), looked at as far as @most pages of it. It moves
 * *@start to where the run begins, and gives its length: 0 if there is none.
 */
unsigned long lu_shmem_next_run(struct inode *inode, pgoff_t *start, pgoff_t end,
				unsigned long most)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, *start);
	pgoff_t to = 0;
	void *entry;

	if (*start >= end)
		return 0;

	guard(rcu)();
	xas_for_each(&xas, entry, end - 1) {
		if (xas_retry(&xas, entry))
			continue;
		if (!to)
			*start = xas.xa_index;
		else if (xas.xa_index > to)
			break;
		to = (xas.xa_index | ((1UL << xas_get_order(&xas)) - 1)) + 1;
		if (to - *start >= most)
			break;
	}
	return to ? min3(to, end, *start + most) - *start : 0;
}

void lu_shmem_set(struct file *file, loff_t size, loff_t pos)
{
	i_size_write(file_inode(file), size);
	vfs_setpos(file, pos, MAX_LFS_FILESIZE);
}

/* The largest folio that the page cache can have: entries may be for one page only. */
unsigned int lu_shmem_max_order(void)
{
	return IS_ENABLED(CONFIG_XARRAY_MULTI) ? MAX_PAGECACHE_ORDER : 0;
}

/*
 * Adds @nr folios to the statistics of the cgroups and nodes that they belong
 * to, with one update for each run of them that belong to the same.
 */
static void count_all(struct folio **folios, unsigned int nr)
{
	unsigned int start = 0;
	int pages = 0, huge = 0;

	guard(rcu)();
	for (unsigned int i = 0; i < nr; i++) {
		long nr_pages = folio_nr_pages(folios[i]);

		pages += nr_pages;
		if (nr_pages > 1 && folio_test_pmd_mappable(folios[i]))
			huge += nr_pages;
		if (i + 1 < nr && folio_memcg(folios[i + 1]) == folio_memcg(folios[start]) &&
		    folio_pgdat(folios[i + 1]) == folio_pgdat(folios[start]))
			continue;
		if (huge)
			lruvec_stat_mod_folio(folios[start], NR_SHMEM_THPS, huge);
		lruvec_stat_mod_folio(folios[start], NR_FILE_PAGES, pages);
		lruvec_stat_mod_folio(folios[start], NR_SHMEM, pages);
		start = i + 1;
		pages = 0;
		huge = 0;
	}
}

/*
 * Charges folios to the active cgroup, and makes them ready for the page cache, where
 * they will be one behind the other from @index on.
 *
 * Return: how many were charged, those at the start; if that is not @nr, the error
 * is in @err.
 */
static unsigned int charge(struct address_space *mapping, struct folio **folios,
			   unsigned int nr, pgoff_t index, u64 flags, int *err)
{
	gfp_t gfp = mapping_gfp_mask(mapping);
	unsigned int charged;

	for (charged = 0; charged < nr; charged++) {
		struct folio *folio = folios[charged];
		long nr_pages = folio_nr_pages(folio);

		/* As those that shmem allocates itself; KHO hands over the order only. */
		if (nr_pages > 1)
			folio_set_large_rmappable(folio);
		__folio_set_swapbacked(folio);
		*err = mem_cgroup_charge(folio, NULL, gfp);
		if (*err)
			break;
		if (flags & MEMFD_LUO_FOLIO_UPTODATE)
			__folio_mark_uptodate(folio);
		if (flags & MEMFD_LUO_FOLIO_DIRTY)
			folio_set_dirty(folio);
		folio->mapping = mapping;
		folio->index = index;
		index += nr_pages;
		/* The page cache has one for each page; the first is the caller's. */
		if (nr_pages > 1)
			folio_ref_add(folio, nr_pages - 1);
	}
	return charged;
}

/*
 * Puts @nr folios that were charged into the page cache, from @index on, in one walk
 * under one lock.
 *
 * Return: how many have got there, those at the start; if that is not @nr, the
 * error is in @err, and the others can only be freed.
 */
static unsigned int insert(struct address_space *mapping, struct folio **folios,
			   unsigned int nr, pgoff_t index, int *err)
{
	XA_STATE(xas, &mapping->i_pages, index);
	unsigned int done = 0;

	/*
	 * Several threads may insert into the file. They wait for each other here,
	 * where one can be overtaken that does not run, and not for spinlocks, where
	 * it can not.
	 */
	inode_lock(mapping->host);
	do {
		unsigned long inserted = 0;

		xas_lock_irq(&xas);
		while (done < nr) {
			struct folio *folio = folios[done];
			long nr_pages = folio_nr_pages(folio);

			if (nr_pages > 1)
				xas_set_order(&xas, folio->index, folio_order(folio));
			xas_store(&xas, folio);
			if (xas_error(&xas))
				break;
			inserted += nr_pages;
			done++;
			if (nr_pages > 1)
				xas_set_order(&xas, folio_next_index(folio), 0);
			else
				xas_next(&xas);
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
		if (folio_test_large(folios[i]))
			folio_ref_sub(folios[i], folio_nr_pages(folios[i]) - 1);
	}
	return done;
}

/*
 * Puts @nr folios of one order, @pages pages together, which nobody else knows, into
 * the page cache of a file of shmem, one behind the other from @index on, charged to
 * @memcg and accounted. What shmem does for each folio is done once for all of them:
 * one walk into the page cache under one lock, and one update of what is counted. It
 * is a loop over inline functions, so it is in C.
 *
 * What was charged can only be reclaimed when it is in the file. So a charge that
 * fails is tried again, as long as some more have got there before.
 *
 * lu_shmem_settle() must be told about the pages, whether this succeeds or not,
 * unless the error is -ENOSPC.
 *
 * Return: how many folios the file has got, those at the start, with the reference
 * to each; if that is not @nr, the error is in @err.
 */
unsigned int lu_shmem_insert(struct inode *inode, struct mem_cgroup *memcg,
			     struct folio **folios, unsigned int nr,
			     unsigned long pages, pgoff_t index, u64 flags, int *err)
{
	unsigned int order = folio_order(folios[0]), done = 0, charged, more;
	struct mem_cgroup *before;

	if (shmem_inode_acct_blocks(inode, pages)) {
		*err = -ENOSPC;
		return 0;
	}

	/* It would be looked for once for each page. */
	before = set_active_memcg(memcg);
	do {
		pgoff_t from = index + ((pgoff_t)done << order);

		*err = 0;
		charged = charge(inode->i_mapping, folios + done, nr - done, from, flags, err);
		more = insert(inode->i_mapping, folios + done, charged, from, err);
		done += more;
	} while (done < nr && more && more == charged);
	set_active_memcg(before);
	return done;
}

void lu_shmem_settle(struct inode *inode, long pages)
{
	shmem_recalc_inode(inode, pages, 0);
}
