/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C that the handler uses beyond what the kernel crate binds. bindgen reads this
 * file. helpers.c defines what is declared here; each definition says what its
 * callers must ensure.
 */

#ifndef _LIVEUPDATE_VFIO_BINDINGS_H
#define _LIVEUPDATE_VFIO_BINDINGS_H

#include <linux/pci.h>
#include <linux/pci_liveupdate.h>
#include <linux/vfio.h>

struct pci_dev *lu_pci_dev(struct device *dev);
int lu_pci_domain(struct pci_dev *pdev);

#endif
