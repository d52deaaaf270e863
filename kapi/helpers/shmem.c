// SPDX-License-Identifier: GPL-2.0-only
/* Files of shmem. */

#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

/**
 * lu_shmem_is_nameless() - Ask whether a file is a memfd, or a tmpfs file without a name.
 * @file: Open file.
 *
 * Some file systems, such as coda, give an open file the mapping of an inode that is not
 * its own. What freezes and describes the file here goes by its inode, so the two must
 * agree.
 *
 * Context: Any context.
 */
bool lu_shmem_is_nameless(struct file *file)
{
	return shmem_file(file) &&
	       file->f_mapping == file_inode(file)->i_mapping &&
	       !file_inode(file)->i_nlink;
}

/**
 * lu_shmem_try_freeze() - Forbid to change the size of a file and to punch holes.
 * @inode: Inode of a file of shmem.
 *
 * See shmem_freeze(), which does not say whether the file was frozen already.
 *
 * Context: Process context. The caller holds the lock of the inode.
 * Return: False if the file was frozen already.
 */
bool lu_shmem_try_freeze(struct inode *inode)
{
	if (SHMEM_I(inode)->flags & SHMEM_F_MAPPING_FROZEN)
		return false;
	shmem_freeze(inode, true);
	return true;
}

/**
 * lu_shmem_thaw() - Undo lu_shmem_try_freeze().
 * @inode: Inode for which that has returned true.
 *
 * Context: Process context. The caller holds the lock of the inode.
 */
void lu_shmem_thaw(struct inode *inode)
{
	shmem_freeze(inode, false);
}

/**
 * lu_file_size() - See i_size_read().
 * @inode: Inode of an open file.
 *
 * Context: Any context.
 * Return: The size in bytes.
 */
loff_t lu_file_size(struct inode *inode)
{
	return i_size_read(inode);
}

/**
 * lu_file_set() - Set the size and position of a new file.
 * @file: File that only the caller can reach.
 * @size: Size in bytes.
 * @pos: Position in bytes.
 *
 * Context: Process context.
 */
void lu_file_set(struct file *file, loff_t size, loff_t pos)
{
	i_size_write(file_inode(file), size);
	vfs_setpos(file, pos, MAX_LFS_FILESIZE);
}

/**
 * lu_max_folio_order() - The order of the largest folio that a file can have.
 *
 * Without CONFIG_TRANSPARENT_HUGEPAGE the page cache may take large folios, but nothing
 * can split or swap them.
 *
 * Context: Any context.
 */
unsigned int lu_max_folio_order(void)
{
	return IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? MAX_PAGECACHE_ORDER :
							 0;
}

/**
 * lu_max_incoming_order() - The order of the largest folio that a file can have had.
 *
 * The previous kernel may have had large folios though this one has none.
 *
 * Context: Any context.
 */
unsigned int lu_max_incoming_order(void)
{
	return lu_max_folio_order() ?: PMD_SHIFT - PAGE_SHIFT;
}
