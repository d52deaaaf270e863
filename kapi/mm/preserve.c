// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserves pinned folios of a file of shmem, and undoes it: loops around
 * kho_preserve_folio() and kho_unpreserve_folio().
 */

#include <linux/highmem.h>
#include <linux/kexec_handover.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "../bindings_helper.h"

/*
 * Brings a pinned folio into the state that the next kernel is told about.
 *
 * Userspace may write to the folio until the last moment, when no one can look at
 * its flags any more. So it counts as dirty from now on: were it clean in the next
 * kernel, reclaim would drop it. A folio that was allocated but never used is zeroed
 * now, because the next kernel would zero it over what is written meanwhile.
 */
static void settle(struct folio *folio)
{
	/* A pinned folio is not written out, so neither flag can be cleared. */
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

/**
 * lu_preserve_folios() - Preserve pinned folios of a file across kexec.
 * @folios: Folios of a file of shmem, each pinned by the caller.
 * @nr: Size of @folios and @frames.
 * @frames: Filled with the frame and index of each folio that is preserved.
 * @pages: Set to the number of pages of those folios.
 * @err: Set to the error that stopped it, or 0.
 *
 * Each folio is dirty and up to date afterwards.
 *
 * Context: Process context. May sleep: it allocates and locks folios. KHO is on.
 * Return: How many folios are preserved, those at the start. The pin of each of them
 * must be kept until lu_unpreserve_folios(). If that is fewer than @nr, @err is
 * -ENOMEM, or -EINVAL for a folio in KHO's scratch area on a kernel that checks.
 */
unsigned int lu_preserve_folios(struct folio **folios, unsigned int nr,
				struct lu_frame *frames, unsigned long *pages,
				int *err)
{
	unsigned long total = 0;
	unsigned int i;
	int error = 0;

	for (i = 0; i < nr; i++) {
		struct folio *folio = folios[i];

		error = kho_preserve_folio(folio);
		if (error)
			break;
		settle(folio);
		frames[i].pfn = folio_pfn(folio);
		frames[i].index = folio->index;
		total += folio_nr_pages(folio);
	}
	*pages = total;
	*err = error;
	return i;
}

/**
 * lu_unpreserve_folios() - Undo lu_preserve_folios(), and unpin the folios.
 * @pfns: Frames that lu_preserve_folios() has returned, each at most as often as the
 *	caller owns pins of the folio.
 * @nr: Size of @pfns.
 *
 * Context: Process context. May sleep.
 */
void lu_unpreserve_folios(const u64 *pfns, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct folio *folio = pfn_folio(pfns[i]);

		kho_unpreserve_folio(folio);
		unpin_folio(folio);
	}
}
