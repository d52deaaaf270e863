// SPDX-License-Identifier: GPL-2.0-only
/* Inline functions and macros that the handler of VFIO devices calls. */

#include <linux/ratelimit.h>

#include "bindings.h"

/**
 * lu_pci_dev() - See to_pci_dev().
 * @dev: Device of any bus.
 *
 * Context: Any context.
 * Return: The PCI device that @dev is part of, or NULL if it is on another bus.
 */
struct pci_dev *lu_pci_dev(struct device *dev)
{
	return dev_is_pci(dev) ? to_pci_dev(dev) : NULL;
}

/**
 * lu_pci_domain() - See pci_domain_nr().
 * @pdev: PCI device, which need not be on its bus any more.
 *
 * Context: Any context.
 * Return: The number of the domain (segment), which can have more than 16 bits.
 */
int lu_pci_domain(struct pci_dev *pdev)
{
	return pci_domain_nr(pdev->bus);
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
