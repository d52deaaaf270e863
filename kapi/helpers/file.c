// SPDX-License-Identifier: GPL-2.0-only
/* Open files. */

#include <linux/fs.h>
#include <linux/module.h>

/**
 * lu_file_inode() - See file_inode().
 * @file: Open file.
 *
 * Context: Any context.
 * Return: The inode, which is valid as long as the file is open.
 */
struct inode *lu_file_inode(struct file *file)
{
	return file_inode(file);
}

/**
 * lu_chrdev() - Get the device number of a character device.
 * @file: Open file.
 *
 * Context: Any context.
 * Return: The number, or 0 if the file is not a character device.
 */
u32 lu_chrdev(struct file *file)
{
	struct inode *inode = file_inode(file);

	return S_ISCHR(inode->i_mode) ? inode->i_rdev : 0;
}

/**
 * lu_file_pin_module() - Make an open file of the device pin the module.
 * @file: File that is being opened.
 *
 * From 7.3 on the kernel crate names the owner of the file operations, and there is
 * nothing to do. Before, the file gets a copy of the operations that has an owner. The
 * VFS gives the reference back when the file is closed.
 *
 * Context: Process context. Called by open, which misc_mtx serializes.
 * Return: 0, or -ENODEV if the module is being unloaded.
 */
int lu_file_pin_module(struct file *file)
{
	static TYPEOF_UNQUAL(*file->f_op) owned;

	if (file->f_op->owner)
		return 0;
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	if (!owned.owner) {
		owned = *file->f_op;
		owned.owner = THIS_MODULE;
	}
	file->f_op = &owned;
	return 0;
}

/**
 * lu_file_pos() - Get the position of a file.
 * @file: Open file.
 *
 * Context: Any context.
 * Return: The position in bytes; one that other tasks may change.
 */
loff_t lu_file_pos(struct file *file)
{
	return READ_ONCE(file->f_pos);
}

/**
 * lu_inode_lock() - See inode_lock().
 * @inode: Inode of an open file, which stays open until lu_inode_unlock().
 *
 * Context: Process context. May sleep.
 */
void lu_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

/**
 * lu_inode_lock_killable() - See inode_lock_killable().
 * @inode: Inode of an open file, which stays open until lu_inode_unlock().
 *
 * Context: Process context. May sleep.
 * Return: 0, or -EINTR if the task was killed.
 */
int lu_inode_lock_killable(struct inode *inode)
{
	return inode_lock_killable(inode);
}

/**
 * lu_inode_unlock() - See inode_unlock().
 * @inode: Inode that the current task has locked.
 *
 * Context: Process context.
 */
void lu_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}
