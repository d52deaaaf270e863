// SPDX-License-Identifier: GPL-2.0-only
/* Memory that will be handed over, and that was. */

#include <linux/io.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/swap.h>

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
	return PAGE_ALIGNED(phys) ? kho_mark(PHYS_PFN(phys)) : -1;
}

/* KHO follows none of the checks that are made here by itself. */
static bool kho_claimable(phys_addr_t phys, unsigned int order)
{
	unsigned long pfn = PHYS_PFN(phys);

	return PAGE_ALIGNED(phys) && order <= MAX_PAGE_ORDER && kho_mark(pfn) == (int)order &&
	       kho_alone(pfn_to_page(pfn), pfn, order);
}

/* Copies @len bytes, a page at the most, of what was handed over at @phys. */
int lu_kho_peek(phys_addr_t phys, void *to, size_t len)
{
	if (lu_kho_order(phys) < 0 || len > PAGE_SIZE)
		return -ENOENT;
	memcpy(to, phys_to_virt(phys), len);
	return 0;
}

/* The reverse: what was handed over stays so, with other content. */
int lu_kho_poke(phys_addr_t phys, const void *from, size_t len)
{
	if (lu_kho_order(phys) < 0 || len > PAGE_SIZE)
		return -ENOENT;
	memcpy(phys_to_virt(phys), from, len);
	return 0;
}

/*
 * The orders of what was handed over at each of @nr frames, LU_NO_ORDER where
 * nothing was, and for the null frame and @root, which nobody may claim. It is
 * asked for all pages of a file, mostly for neighbors: the pages of a block of
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

	if (kho_claimable(phys, order))
		page = kho_restore_pages(phys, 1UL << order);
	return page ? page_address(page) : NULL;
}

void lu_free_pages(void *virt, unsigned int order)
{
	struct page *page = virt_to_page(virt);

	for (unsigned long i = 0; i < 1UL << order; i++)
		__free_page(page + i);
}
