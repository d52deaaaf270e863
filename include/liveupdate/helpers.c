// SPDX-License-Identifier: GPL-2.0-only
/* Memory that crosses, and limits of the log, for handlers in Rust. */

#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/ratelimit.h>

#include "bindings.h"

/* Held while KHO looks at a mark and clears it, which it does without a lock. */
static DEFINE_MUTEX(claim_lock);

/**
 * lu_alloc_preserved() - Allocate memory and preserve it across kexec.
 * @size: In bytes, not 0. Rounded up to a power of two of pages.
 *
 * As kho_alloc_preserve(), but charges the memory cgroup of the current task.
 *
 * Context: Process context. May sleep. KHO is on.
 * Return: Zeroed memory, to be freed by kho_unpreserve_free(), or an ERR_PTR:
 * -E2BIG if @size is larger than any folio, -ENOMEM.
 */
void *lu_alloc_preserved(size_t size)
{
	int order = get_order(size);
	struct folio *folio;
	int err;

	if (order > MAX_PAGE_ORDER)
		return ERR_PTR(-E2BIG);
	folio = folio_alloc(GFP_KERNEL_ACCOUNT | __GFP_ZERO, order);
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
 * lu_claim() - Take over memory that the previous kernel has preserved as a folio.
 * @phys: Its address. KHO warns, once, if nothing was preserved there.
 * @size: Set to its size in bytes.
 *
 * Context: Process context. May sleep.
 * Return: The memory, to be freed by lu_free_claimed(), or NULL if nothing was
 * preserved there or it has been claimed before.
 */
void *lu_claim(phys_addr_t phys, size_t *size)
{
	struct folio *folio;

	mutex_lock(&claim_lock);
	folio = kho_restore_folio(phys);
	mutex_unlock(&claim_lock);
	if (!folio)
		return NULL;
	*size = folio_size(folio);
	return folio_address(folio);
}

/**
 * lu_free_claimed() - Free memory that was claimed.
 * @virt: What lu_claim() returned. Nobody uses it any more.
 *
 * Context: Process context.
 */
void lu_free_claimed(void *virt)
{
	folio_put(virt_to_folio(virt));
}

/**
 * lu_may_log() - Limit the lines of the log that a user can cause in a loop.
 *
 * Context: Any context.
 * Return: Whether there may be another line now.
 */
bool lu_may_log(void)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&limit);
}
