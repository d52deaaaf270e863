// SPDX-License-Identifier: GPL-2.0-only
/* Memory that will be handed over, and that was. */

#include <linux/io.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>

/**
 * lu_virt_to_phys() - See virt_to_phys().
 * @virt: Address in the linear mapping.
 *
 * Context: Any context.
 */
phys_addr_t lu_virt_to_phys(void *virt)
{
	return virt_to_phys(virt);
}

/**
 * lu_phys_to_virt() - See phys_to_virt().
 * @phys: Physical address of memory that is online.
 *
 * Context: Any context.
 * Return: The address in the linear mapping.
 */
void *lu_phys_to_virt(phys_addr_t phys)
{
	return phys_to_virt(phys);
}

/**
 * lu_pfn_to_online_page() - See pfn_to_online_page().
 * @pfn: Any number.
 *
 * The struct pages of an aligned block of MAX_ORDER_NR_PAGES pages are an array, as
 * the page allocator requires. So the result leads to those of the whole block.
 *
 * Context: Any context.
 * Return: NULL if there is no memory that is online.
 */
struct page *lu_pfn_to_online_page(unsigned long pfn)
{
	return pfn_to_online_page(pfn);
}

/**
 * lu_alloc_preserved() - Allocate a page and preserve it across kexec.
 * @charge: Whether to charge it to the memory cgroup of the current task.
 *
 * As kho_alloc_preserve(), which always clears the page: that is most of what it costs
 * to preserve a small file. Nor does that one charge the page.
 *
 * Context: Process context. May sleep. KHO is on.
 * Return: A page with any content, to be freed by kho_unpreserve_free(), or an
 * ERR_PTR: -ENOMEM.
 */
void *lu_alloc_preserved(bool charge)
{
	struct folio *folio =
		folio_alloc(charge ? GFP_KERNEL_ACCOUNT : GFP_KERNEL, 0);
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

/**
 * lu_restore_folios() - See kho_restore_folios().
 * @phys: Addresses of pieces that KHO has marked, and no one restores meanwhile.
 * @folios: Filled with the folios.
 * @nr: Size of @phys and @folios.
 *
 * Kernels without that function count the pages of each folio by itself.
 *
 * Context: Process context.
 * Return: How many were restored, those at the start.
 */
unsigned int lu_restore_folios(const phys_addr_t *phys, struct folio **folios,
			       unsigned int nr)
{
#ifdef kho_restore_folios
	return kho_restore_folios(phys, folios, nr);
#else
	unsigned int i;

	for (i = 0; i < nr; i++) {
		folios[i] = kho_restore_folio(phys[i]);
		if (!folios[i])
			break;
	}
	return i;
#endif
}

/**
 * lu_page_address() - See page_address().
 * @page: Page that is online.
 *
 * Context: Any context.
 */
void *lu_page_address(struct page *page)
{
	return page_address(page);
}

/**
 * lu_virt_to_folio() - See virt_to_folio().
 * @virt: Address, in the linear mapping, of a page that the caller owns.
 *
 * Context: Any context.
 */
struct folio *lu_virt_to_folio(void *virt)
{
	return virt_to_folio(virt);
}

/**
 * lu_free_page() - See free_page().
 * @virt: Address of a single page of which the caller owns the last reference.
 *
 * Context: Any context.
 */
void lu_free_page(void *virt)
{
	free_page((unsigned long)virt);
}

/**
 * lu_release_folios() - See release_pages().
 * @folios: Folios of each of which the caller owns a reference, which it gives up.
 * @nr: Size of @folios.
 *
 * Context: Process context.
 */
void lu_release_folios(struct folio **folios, unsigned int nr)
{
	release_pages(folios, nr);
}

/**
 * lu_folio_start() - Index of the first page of a folio.
 * @folio: Folio in a file that the caller has pinned.
 *
 * Context: Any context.
 */
pgoff_t lu_folio_start(struct folio *folio)
{
	return folio->index;
}

/**
 * lu_folio_end() - See folio_next_index().
 * @folio: Folio in a file that the caller has pinned.
 *
 * Context: Any context.
 * Return: The index after its last page.
 */
pgoff_t lu_folio_end(struct folio *folio)
{
	return folio_next_index(folio);
}

/**
 * lu_pfn_poisoned() - See folio_contain_hwpoisoned_page().
 * @pfn: First frame of a folio that the caller has pinned.
 *
 * Context: Any context.
 * Return: Whether one of its pages is known to be broken.
 */
bool lu_pfn_poisoned(unsigned long pfn)
{
	return folio_contain_hwpoisoned_page(pfn_folio(pfn));
}

/**
 * lu_image_hands_over() - Find out whether a kexec image carries the state of KHO.
 * @image: What a member of the kexec_prepare chain gets: a struct kimage.
 *
 * Context: Any context.
 * Return: Whether kexec_file_load() has written to it where that state is.
 */
bool lu_image_hands_over(const void *image)
{
	const struct kimage *kimage = image;

	return kimage->kho.fdt;
}
