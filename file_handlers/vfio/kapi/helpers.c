// SPDX-License-Identifier: GPL-2.0-only
/* Inline functions and macros that the handler of VFIO devices calls. */

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
