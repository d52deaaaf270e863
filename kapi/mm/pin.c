// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pins the folios of a file of shmem that is frozen: what memfd_pin_folios() does
 * for one folio at a time, for many, without filling holes, and so that what is
 * pinned is what the file goes on with.
 */

#include <linux/highmem.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate_wait.h>
#include <linux/shmem_fs.h>
#include <linux/vmstat.h>

#include "../bindings_helper.h"

/**
 * lu_memory_failures() - Count the pages that failed since the kernel has booted.
 *
 * Context: Any context.
 * Return: A number that grows whenever the kernel finds memory to be broken. It is
 * 0 without CONFIG_MEMORY_FAILURE.
 */
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

/**
 * lu_swap_writes() - Count the pages that were written to the swap area since boot.
 *
 * Pages that hold nothing but zeroes are not written, and do not count.
 *
 * Context: Any context.
 * Return: A number that grows whenever a page was written, before anyone can fail to
 * read it back. Without CONFIG_VM_EVENT_COUNTERS it grows with each call.
 */
unsigned long lu_swap_writes(void)
{
#ifdef CONFIG_VM_EVENT_COUNTERS
	unsigned long total = 0;
	int cpu;

	/* The events of a CPU that goes offline become those of another. */
	for_each_possible_cpu(cpu) {
		struct vm_event_state *state = &per_cpu(vm_event_states, cpu);

		total += READ_ONCE(state->event[PSWPOUT]);
#ifdef CONFIG_ZSWAP
		total += READ_ONCE(state->event[ZSWPOUT]);
#endif
	}
	return total;
#else
	static atomic_long_t calls;

	return atomic_long_inc_return(&calls);
#endif
}

/**
 * lu_shmem_pages() - Count the pages of a file in memory and in the swap area.
 * @inode: Inode of a file of shmem.
 *
 * Pages past the end of the file count too. shmem counts a page that is being
 * swapped out as swapped, under this lock, before it leaves the page cache. So such
 * a page may count twice, but never not at all.
 *
 * Context: Process context. Takes the lock of the shmem inode.
 * Return: The number of pages.
 */
unsigned long lu_shmem_pages(struct inode *inode)
{
	struct shmem_inode_info *info = SHMEM_I(inode);

	guard(spinlock)
		(&info->lock);
	return READ_ONCE(inode->i_mapping->nrpages) + info->swapped;
}

/**
 * lu_shmem_pages_past() - Count the pages that fallocate() left past the end of a file.
 * @inode: Inode of a file of shmem that is frozen.
 * @start: Index to begin at: past the end of the file and of its last folio.
 *
 * While the file is frozen, no page comes to be there, and none goes, with two
 * exceptions: what is past the range of fallocate() is dropped when a large folio is
 * split, and a page in the swap area is dropped when it cannot be read.
 *
 * Context: Process context. May sleep.
 * Return: The number of pages, which does not change as long as the file is frozen and
 * lu_swap_writes() stays the same; ULONG_MAX if that cannot be promised.
 */
unsigned long lu_shmem_pages_past(struct inode *inode, pgoff_t start)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, start);
	pgoff_t stays = SHMEM_I(inode)->fallocend;
	unsigned long total = 0;
	void *entry;

	guard(rcu)
		();
	xas_for_each(&xas, entry, ULONG_MAX) {
		pgoff_t to;

		if (xas_retry(&xas, entry))
			continue;
		to = (xas.xa_index | ((1UL << xas_get_order(&xas)) - 1)) + 1;
		if (xa_is_value(entry) || to > stays)
			return ULONG_MAX;
		total += to - xas.xa_index;
		if (need_resched()) {
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}
	return total;
}

/**
 * lu_shmem_is_dense() - Find out whether a file has this many pages, all in memory.
 * @inode: Inode of a file of shmem.
 * @pages: Number of pages.
 *
 * lu_shmem_pages() may count a page twice, and so cannot tell that there is no hole.
 *
 * Context: Process context. Takes the lock of the shmem inode.
 */
bool lu_shmem_is_dense(struct inode *inode, unsigned long pages)
{
	struct shmem_inode_info *info = SHMEM_I(inode);

	guard(spinlock)
		(&info->lock);
	return !info->swapped && READ_ONCE(inode->i_mapping->nrpages) == pages;
}

/**
 * lu_shmem_next_run() - Find pages that a file has, between two holes.
 * @inode: Inode of a file of shmem.
 * @start: Index to begin at. Set to the index of the first page of the run.
 * @end: Index to stop before.
 * @max: Pages to look at, at most.
 *
 * Finds the first run of pages at @start or after it that are in memory or in the
 * swap area. memfd_pin_folios() has no such step: it fills holes.
 *
 * Context: Any context. Takes the RCU read lock.
 * Return: The length of the run in pages, at most @max; 0 if there is none.
 */
unsigned long lu_shmem_next_run(struct inode *inode, pgoff_t *start,
				pgoff_t end, unsigned long max)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, *start);
	pgoff_t to = 0;
	void *entry;

	if (*start >= end)
		return 0;

	guard(rcu)
		();
	xas_for_each(&xas, entry, end - 1) {
		if (xas_retry(&xas, entry))
			continue;
		if (!to)
			*start = xas.xa_index;
		else if (xas.xa_index > to)
			break;
		to = (xas.xa_index | ((1UL << xas_get_order(&xas)) - 1)) + 1;
		if (to - *start >= max)
			break;
	}
	return to ? min3(to, end, *start + max) - *start : 0;
}

/*
 * Whether a pinned folio stays in the page cache as long as it is pinned.
 *
 * A task that takes folios out of the page cache, to make a huge page of them or to
 * swap them out, locks them, checks for references once, and goes on under their
 * locks. A task that pins a folio without its lock may be too late for that check,
 * so it waits for the lock afterwards. A task that locks the folio later sees the
 * pin: on x86, both taking a reference and taking the lock are full barriers.
 */
static bool stays_in_file(struct folio *folio, struct address_space *mapping)
{
	folio_wait_locked(folio);
	/* Pairs with folio_unlock(): see the mapping that the holder of the lock left. */
	smp_rmb();
	return READ_ONCE(folio->mapping) == mapping;
}

/*
 * Whether one of the first @nr folios of a file from page @index to @last is known
 * to be broken. Such a folio must not be pinned: it is no longer on a list of the
 * reclaimer, and if it had to be moved first, memfd_pin_folios() would try forever.
 */
static bool has_poisoned(struct address_space *mapping, pgoff_t index,
			 pgoff_t last, unsigned int nr)
{
	XA_STATE(xas, &mapping->i_pages, index);
	struct folio *folio;

	guard(rcu)
		();
	xas_for_each(&xas, folio, last) {
		bool poisoned;

		if (!nr--)
			break;
		if (xas_retry(&xas, folio) || xa_is_value(folio) ||
		    !folio_try_get(folio))
			continue;
		poisoned = folio_contain_hwpoisoned_page(folio);
		folio_put(folio);
		if (poisoned)
			return true;
	}
	return false;
}

/*
 * Pins the folios from page @index on that are where they can stay, up to @last and
 * up to the first that must be brought in, moved, or waited for.
 *
 * memfd_pin_folios() looks up, checks and counts each folio by itself. Here one walk
 * of the page cache, one check per pageblock and one update of the statistics per
 * node serve all of them, which halves the cost of a page.
 */
static unsigned int pin_in_place(struct address_space *mapping, pgoff_t index,
				 pgoff_t last, struct folio **folios,
				 unsigned int max)
{
	XA_STATE(xas, &mapping->i_pages, index);
	struct pglist_data *pgdat = NULL;
	/* All pages of a pageblock are of one zone and one migratetype. */
	unsigned long pinnable = ULONG_MAX;
	unsigned int nr = 0, counted = 0;
	struct folio *folio;

	rcu_read_lock();
	for (folio = xas_load(&xas); nr < max && xas.xa_index <= last;
	     folio = xas_next(&xas)) {
		unsigned long block;

		if (!folio || xa_is_internal(folio) || xa_is_value(folio) ||
		    !folio_try_get(folio))
			break;
		/*
		 * A task that takes a folio out of a file locks it before it checks
		 * for references: see stays_in_file(). folio_try_get() was a full
		 * barrier.
		 */
		if (folio_test_locked(folio) ||
		    folio_contain_hwpoisoned_page(folio))
			goto leave;
		smp_rmb(); /* Pairs with folio_unlock(), as in stays_in_file(). */
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
				mod_node_page_state(pgdat, NR_FOLL_PIN_ACQUIRED,
						    nr - counted);
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

/**
 * lu_pin_folios() - Pin folios of a file of shmem where they can stay.
 * @file: File of shmem. Its size is frozen, so that no folio is truncated meanwhile.
 * @start: First byte. The file must have all pages from here to @end: others are
 *	allocated.
 * @end: Last byte, within the file.
 * @folios: Filled with the pinned folios, in the order of their indexes, without a hole
 *	between them.
 * @max: Size of @folios.
 *
 * As memfd_pin_folios(), with two differences. Each folio that is returned belongs to
 * the file and will as long as it is pinned: memfd_pin_folios() may return one that
 * is being replaced by a huge page, or swapped out, at that moment. And a file with
 * broken memory is refused.
 *
 * Folios in movable zones and in CMA, where KHO keeps the memory that the next kernel
 * boots in, are moved first.
 *
 * Context: Process context. May sleep: it allocates, reads from the swap area, and
 * waits for folio locks.
 * Return: The number of folios, at least 1 and possibly fewer than there are. The
 * caller owns a pin of each. -EHWPOISON if memory is broken, -EINVAL for a range that
 * is not within the file, -ENOMEM, -EIO if a page cannot be read from the swap area. shmem
 * remembers such a page in the page cache, so that each later call fails too.
 */
long lu_pin_folios(struct file *file, loff_t start, loff_t end,
		   struct folio **folios, unsigned int max)
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
	/* The pins must be visible before this looks at the locks. */
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
