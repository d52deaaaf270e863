/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C that the handler uses beyond what the kernel crate binds. bindgen reads this
 * file. helpers.c defines what is declared here; each definition says what its
 * callers must ensure.
 */

#ifndef _LIVEUPDATE_IOMMUFD_BINDINGS_H
#define _LIVEUPDATE_IOMMUFD_BINDINGS_H

#include <linux/fs.h>
#include <linux/iommufd_liveupdate.h>

size_t lu_file_name(struct file *file, char *name, size_t size);

#endif
