// SPDX-License-Identifier: GPL-2.0-only
/* Open files. */

#include <linux/fs.h>
#include <linux/module.h>

struct inode *lu_file_inode(struct file *file)
{
	return file_inode(file);
}

u32 lu_chrdev(struct file *file)
{
	struct inode *inode = file_inode(file);

	return S_ISCHR(inode->i_mode) ? inode->i_rdev : 0;
}

/*
 * Makes an open file of our device pin the module until it is gone. From 7.3 on
 * the kernel crate names the owner of the operations and this has nothing to do.
 * Before, the file gets a copy of them that has an owner, to whom the VFS gives
 * the reference back. To be called by open, which misc_mtx serializes.
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

loff_t lu_file_pos(struct file *file)
{
	return READ_ONCE(file->f_pos);
}

void lu_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

void lu_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}
