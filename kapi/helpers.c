// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes inline functions and macros of the kernel callable from Rust. No
 * policy here: what is longer than a call or two is one operation on a folio
 * that would otherwise be a dozen calls for every page of a file.
 */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/io.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "bindings_helper.h"

void lu_rwsem_init(struct rw_semaphore *sem)
{
	init_rwsem(sem);
}

bool lu_module_get(void)
{
	return try_module_get(THIS_MODULE);
}

void lu_module_put(void)
{
	module_put(THIS_MODULE);
}

void lu_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

void lu_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

phys_addr_t lu_virt_to_phys(void *virt)
{
	return virt_to_phys(virt);
}

/*
 * As kho_alloc_preserve(), which always clears the page: that is most of what it
 * costs to preserve a small file. Nor does that charge the page to anybody.
 */
void *lu_kho_alloc(bool charge)
{
	struct folio *folio = folio_alloc(charge ? GFP_KERNEL_ACCOUNT : GFP_KERNEL, 0);
	int err;

	if (!folio)
		return ERR_PTR(-ENOMEM);
	err = kho_preserve_folio(folio);
	if (err) {
		folio_put(folio);
		return ERR_PTR(err);
	}
	return folio_address(folio);
}

/*
 * What KHO writes to page->private of the first page of all that was handed
 * over, and clears when it is restored: the order below, this above. It stands
 * in kernel/liveupdate/kexec_handover.c.
 */
#define KHO_PAGE_MAGIC	0x4b484f50UL
#define KHO_MARK(order)	((KHO_PAGE_MAGIC << 32) + (order))

/*
 * KHO checks and clears the mark without a lock, which is enough as long as
 * nobody asks for the same page twice. Bad data can make two callers do so.
 */
static DEFINE_SPINLOCK(claim_lock);

/* The order in the mark of the page at @pfn, or -1 if it has none. */
static int kho_mark(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	unsigned long order;

	if (!page)
		return -1;
	order = READ_ONCE(page->private) - KHO_MARK(0);
	if (order > MAX_PAGE_ORDER || !IS_ALIGNED(pfn, 1UL << order))
		return -1;
	return order;
}

/*
 * Whether nothing was handed over that has some of the 1 << @order pages at
 * @pfn, but not the same ones. KHO marks all that it was asked for, and would
 * give pages that it was asked for twice to two owners: such ones get none.
 *
 * This is asked for every page of a file. No mark is set once the kernel has
 * booted, and the struct pages of a block of the largest order are an array.
 */
static bool kho_alone(struct page *page, unsigned long pfn, unsigned int order)
{
	const struct page *end = page + (1UL << order), *p;
	unsigned long own = pfn & (MAX_ORDER_NR_PAGES - 1);
	unsigned long inner = 0;

	/* Memory without an owner has nothing else there. */
	for (p = page + 1; p < end && p < page + 8; p++)
		inner |= p->private;
	for (; p < end; p += 8)
		inner |= p[0].private | p[1].private | p[2].private | p[3].private |
			 p[4].private | p[5].private | p[6].private | p[7].private;
	if (inner)
		return false;

	/* Something larger begins where the lowest bits that are set are not. */
	for (unsigned long head = own; head;) {
		unsigned long larger;

		head &= head - 1;
		larger = READ_ONCE((page - (own - head))->private) - KHO_MARK(0);
		if (larger <= MAX_PAGE_ORDER && head + (1UL << larger) > own)
			return false;
	}
	return true;
}

/* The order of what was handed over at @phys, or -1 if nothing was. */
int lu_kho_order(phys_addr_t phys)
{
	return phys & ~PAGE_MASK ? -1 : kho_mark(PHYS_PFN(phys));
}

/* KHO follows none of the checks that are made here by itself. */
static bool kho_claimable(phys_addr_t phys, unsigned int order)
{
	unsigned long pfn = PHYS_PFN(phys);

	return lu_kho_order(phys) == order && kho_alone(pfn_to_page(pfn), pfn, order);
}

/* Copies @len bytes, a page at the most, of what was handed over at @phys. */
int lu_kho_peek(phys_addr_t phys, void *to, size_t len)
{
	guard(spinlock)(&claim_lock);
	if (lu_kho_order(phys) < 0 || len > PAGE_SIZE)
		return -ENOENT;
	memcpy(to, phys_to_virt(phys), len);
	return 0;
}

/* The reverse: what was handed over stays so, with other content. */
int lu_kho_poke(phys_addr_t phys, const void *from, size_t len)
{
	guard(spinlock)(&claim_lock);
	if (lu_kho_order(phys) < 0 || len > PAGE_SIZE)
		return -ENOENT;
	memcpy(phys_to_virt(phys), from, len);
	return 0;
}

/*
 * The orders of what was handed over at each of @nr frames, LU_NO_ORDER where
 * nothing was, and for the null frame and @root, which nobody may claim. It is
 * asked for all pages of a file, mostly for neighbours: the pages of a block of
 * the largest order are looked up once.
 */
void lu_kho_orders(const u64 *pfns, unsigned int nr, u64 root, u8 *orders)
{
	unsigned long known = ULONG_MAX;

	for (unsigned int i = 0; i < nr; i++) {
		unsigned long pfn = pfns[i], order;

		orders[i] = LU_NO_ORDER;
		if (pfn >> MAX_PAGE_ORDER != known) {
			if (!pfn_to_online_page(pfn))
				continue;
			known = pfn >> MAX_PAGE_ORDER;
		}
		order = READ_ONCE(pfn_to_page(pfn)->private) - KHO_MARK(0);
		if (order <= MAX_PAGE_ORDER && IS_ALIGNED(pfn, 1UL << order) &&
		    pfn && pfn != root)
			orders[i] = order;
	}
}

/*
 * Takes what was handed over at @nr frames as folios, of the orders that
 * lu_kho_orders() has found there.
 *
 * Return: how many, those at the start.
 */
unsigned int lu_kho_claim_folios(const u64 *pfns, const u8 *orders, unsigned int nr,
				 struct folio **folios)
{
	guard(spinlock)(&claim_lock);
	for (unsigned int i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfns[i]);

		if (page->private != KHO_MARK(orders[i]))
			return i;
		/* What has the page behind one that is alone, has that one too. */
		if ((orders[i] || !i || pfns[i] != pfns[i - 1] + (1UL << orders[i - 1])) &&
		    !kho_alone(page, pfns[i], orders[i]))
			return i;
		folios[i] = kho_restore_folio(PFN_PHYS(pfns[i]));
		if (!folios[i])
			return i;
	}
	return nr;
}

void lu_put_folios(struct folio **folios, unsigned int nr)
{
	release_pages(folios, nr);
}

/* Takes what was handed over at @phys as 1 << @order single pages. */
void *lu_kho_claim_pages(phys_addr_t phys, unsigned int order)
{
	struct page *page = NULL;

	scoped_guard(spinlock, &claim_lock) {
		if (kho_claimable(phys, order))
			page = kho_restore_pages(phys, 1UL << order);
	}
	return page ? page_address(page) : NULL;
}

void lu_free_pages(void *virt, unsigned int order)
{
	struct page *page = virt_to_page(virt);

	for (unsigned long i = 0; i < 1UL << order; i++)
		__free_page(page + i);
}

struct mem_cgroup *lu_memcg_get(void)
{
	return get_mem_cgroup_from_mm(current->mm);
}

void lu_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

/* Whose pinned memory is limited: the current user, unless it has CAP_IPC_LOCK. */
struct user_struct *lu_memlock_user(void)
{
	return capable(CAP_IPC_LOCK) ? NULL : get_uid(current_user());
}

/* The same account as that of io_uring and others that pin for a user. */
bool lu_memlock_add(struct user_struct *user, unsigned long pages)
{
	unsigned long most = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long now = atomic_long_read(&user->locked_vm);

	do {
		if (now + pages > most)
			return false;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &now, now + pages));
	return true;
}

void lu_memlock_put(struct user_struct *user, unsigned long pages)
{
	atomic_long_sub(pages, &user->locked_vm);
	free_uid(user);
}

struct inode *lu_file_inode(struct file *file)
{
	return file_inode(file);
}

u32 lu_chrdev(struct file *file)
{
	struct inode *inode = file_inode(file);

	return S_ISCHR(inode->i_mode) ? inode->i_rdev : 0;
}

/*
 * Makes an open file of our device pin the module until it is gone. From 7.3 on
 * the kernel crate names the owner of the operations and this has nothing to do.
 * Before, the file gets a copy of them that has an owner, to whom the VFS gives
 * the reference back. To be called by open, which misc_mtx serialises.
 */
int lu_file_pin_module(struct file *file)
{
	static TYPEOF_UNQUAL(*file->f_op) owned;

	if (file->f_op->owner)
		return 0;
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	owned = *file->f_op;
	owned.owner = THIS_MODULE;
	file->f_op = &owned;
	return 0;
}

loff_t lu_file_pos(struct file *file)
{
	return READ_ONCE(file->f_pos);
}

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

/* How many pages the file has in memory or swapped out, those past its end too. */
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

/* The largest folio that the page cache can have. */
unsigned int lu_shmem_max_order(void)
{
	return MAX_PAGECACHE_ORDER;
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
 * Puts @nr folios of @pages pages together, which nobody else knows, into the page
 * cache of a file of shmem, one behind the other from @index on, charged to @memcg
 * and accounted. What shmem does for each folio is done once for all of them: one
 * walk into the page cache under one lock, and one update of what is counted. It is
 * a loop over inline functions, so it is in C.
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
	struct address_space *mapping = inode->i_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping);
	XA_STATE(xas, &mapping->i_pages, index);
	unsigned int charged, done = 0;
	struct mem_cgroup *before;

	*err = 0;
	if (shmem_inode_acct_blocks(inode, pages)) {
		*err = -ENOSPC;
		return 0;
	}

	/* It would be looked for once for each page. */
	before = set_active_memcg(memcg);
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

	do {
		unsigned long inserted = 0;

		xas_lock_irq(&xas);
		while (done < charged) {
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
	if (done < charged)
		*err = xas_error(&xas);
	set_active_memcg(before);

	for (unsigned int i = done; i < charged; i++) {
		folios[i]->mapping = NULL;
		if (folio_test_large(folios[i]))
			folio_ref_sub(folios[i], folio_nr_pages(folios[i]) - 1);
	}
	count_all(folios, done);
	for (unsigned int i = 0; i < done; i++)
		folio_add_lru(folios[i]);
	return done;
}

void lu_shmem_settle(struct inode *inode, long pages)
{
	shmem_recalc_inode(inode, pages, 0);
}

/*
 * Whether a pinned folio stays in the page cache as long as it is pinned. Who
 * takes folios out of it, to make a huge page of them or to swap them out, checks
 * for pins once, and then goes on under their locks. Who finds a folio without its
 * lock may be late for that check, but nobody who locks it later is.
 */
static bool stays_in_file(struct folio *folio, struct address_space *mapping)
{
	folio_wait_locked(folio);
	/* As it was left by those who had the lock. */
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
 * As memfd_pin_folios(), for a file of shmem whose inode is locked, but what is
 * pinned is what the file consists of from now on, and can be read.
 */
long lu_shmem_pin(struct file *file, loff_t start, loff_t end, struct folio **folios,
		  unsigned int max)
{
	pgoff_t offset;
	long nr;

again:
	if (lu_memory_failures() &&
	    has_poisoned(file->f_mapping, start >> PAGE_SHIFT, end >> PAGE_SHIFT, max))
		return -EHWPOISON;
	nr = memfd_pin_folios(file, start, end, folios, max, &offset);
	/* The pins can be seen before it is looked for locks. */
	smp_mb();
	for (long i = 0; i < nr; i++) {
		bool stays = stays_in_file(folios[i], file->f_mapping);

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
