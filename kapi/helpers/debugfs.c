// SPDX-License-Identifier: GPL-2.0-only
/* Files in debugfs, which a kernel without CONFIG_DEBUG_FS refuses. */

#include <linux/debugfs.h>

/**
 * lu_debugfs_create_dir() - See debugfs_create_dir(); in the root of debugfs.
 * @name: Name of the directory.
 *
 * Context: Process context. May sleep.
 * Return: A directory, or an error pointer. lu_debugfs_remove() takes both.
 */
struct dentry *lu_debugfs_create_dir(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

/**
 * lu_debugfs_create_file() - See debugfs_create_file(); only root can read the file.
 * @name: Name of the file.
 * @dir: What lu_debugfs_create_dir() has returned.
 * @data: What the operations find in i_private.
 * @fops: Operations, which stay as long as the module.
 *
 * If that fails, the file is not there, which is no error for users of debugfs.
 *
 * Context: Process context. May sleep.
 */
void lu_debugfs_create_file(const char *name, struct dentry *dir, void *data,
			    const struct file_operations *fops)
{
	debugfs_create_file(name, 0400, dir, data, fops);
}

/**
 * lu_debugfs_remove() - See debugfs_remove().
 * @dir: What lu_debugfs_create_dir() has returned. Its files go with it.
 *
 * Waits for operations that are running, other than release.
 *
 * Context: Process context. May sleep.
 */
void lu_debugfs_remove(struct dentry *dir)
{
	debugfs_remove(dir);
}
