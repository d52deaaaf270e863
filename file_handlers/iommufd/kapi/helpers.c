// SPDX-License-Identifier: GPL-2.0-only
/* What the handler of iommufd files needs of the VFS. */

#include <linux/dcache.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "bindings.h"

/**
 * lu_file_name() - Copy the last component of the name of a file.
 * @file: Open file.
 * @name: Where it is written, without a NUL.
 * @size: How many bytes there is room for. What is longer is cut off.
 *
 * Context: Process context.
 * Return: How many bytes were written.
 */
size_t lu_file_name(struct file *file, char *name, size_t size)
{
	struct name_snapshot found;
	size_t len;

	take_dentry_name_snapshot(&found, file->f_path.dentry);
	len = min_t(size_t, found.name.len, size);
	memcpy(name, found.name.name, len);
	release_dentry_name_snapshot(&found);
	return len;
}
