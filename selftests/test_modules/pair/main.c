// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that need another file of their session, as that of a device needs that of its
 * IOMMU: what crosses is the token of the other file. The handler is written against
 * <linux/liveupdate.h> and include/liveupdate_ext.h.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "liveupdate_ext.h"
#include "pair.h"

struct pair {
	struct mutex lock; /* for the other file */
	struct file *other;
	struct pair_state state;
};

static const struct file_operations pair_fops;

static s64 value_of(struct file *file)
{
	struct pair *pair = file->private_data;

	if (file->f_op == &pair_fops)
		return pair->state.value;
	return i_size_read(file_inode(file));
}

static ssize_t pair_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct pair *pair = file->private_data;
	struct pair_state state = pair->state;

	if (count != sizeof(state))
		return -EINVAL;
	mutex_lock(&pair->lock);
	if (pair->other)
		state.other = value_of(pair->other);
	mutex_unlock(&pair->lock);
	return copy_to_user(buf, &state, sizeof(state)) ? -EFAULT : sizeof(state);
}

/* The caller gives up a reference to @other, which may be NULL. */
static void pair_need(struct pair *pair, struct file *other)
{
	mutex_lock(&pair->lock);
	swap(pair->other, other);
	mutex_unlock(&pair->lock);
	if (other)
		fput(other);
}

static long pair_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct file *other = NULL;

	if (cmd != PAIR_NEED)
		return -ENOTTY;
	if ((int)arg >= 0) {
		other = fget(arg);
		if (!other)
			return -EBADF;
	}
	pair_need(file->private_data, other);
	return 0;
}

static int pair_release(struct inode *inode, struct file *file)
{
	struct pair *pair = file->private_data;

	pair_need(pair, NULL);
	kfree(pair);
	return 0;
}

static const struct file_operations pair_fops = {
	.owner = THIS_MODULE,
	.read = pair_read,
	.unlocked_ioctl = pair_ioctl,
	.release = pair_release,
};

/* Takes over a reference to @other, unless it fails. */
static struct file *pair_file(const struct pair_state *state, struct file *other)
{
	struct pair *pair = kzalloc_obj(*pair);
	struct file *file;

	if (!pair)
		return ERR_PTR(-ENOMEM);
	mutex_init(&pair->lock);
	pair->state = *state;
	pair->other = other;
	file = anon_inode_getfile("[pair]", &pair_fops, pair, O_RDONLY);
	if (IS_ERR(file))
		kfree(pair);
	return file;
}

/* The handler. What crosses is a page that KHO preserves. */

struct pair_ser {
	s64 value;
	u64 needs;
	u64 token;
	u64 early;
};

static bool pair_can_preserve(struct liveupdate_file_handler *handler, struct file *file)
{
	return file->f_op == &pair_fops;
}

/* The token of the other file; it may not be preserved yet. */
static int find_token(struct liveupdate_file_op_args *args)
{
	struct pair *pair = args->file->private_data;
	struct pair_ser *ser = args->private_data;
	int err = 0;

	mutex_lock(&pair->lock);
	ser->needs = !!pair->other;
	if (pair->other)
		err = liveupdate_get_token_outgoing(liveupdate_ext_session(args),
						    pair->other, &ser->token);
	mutex_unlock(&pair->lock);
	return err;
}

static int pair_preserve(struct liveupdate_file_op_args *args)
{
	struct liveupdate_session *session = liveupdate_ext_session(args);
	struct pair *pair = args->file->private_data;
	struct pair_ser *ser;
	struct file *file;
	int err;

	WARN_ON(liveupdate_get_file_incoming(session, 0, &file) != -EINVAL);
	ser = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	ser->value = pair->state.value;
	args->serialized_data = virt_to_phys(ser);
	args->private_data = ser;
	err = find_token(args);
	if (err && err != -ENOENT) {
		kho_unpreserve_free(ser);
		return err;
	}
	ser->early = !err;
	return 0;
}

static void pair_unpreserve(struct liveupdate_file_op_args *args)
{
	WARN_ON(liveupdate_ext_session(args));
	kho_unpreserve_free(args->private_data);
}

static int pair_freeze(struct liveupdate_file_op_args *args)
{
	return find_token(args);
}

static int pair_retrieve(struct liveupdate_file_op_args *args)
{
	struct liveupdate_session *session = liveupdate_ext_session(args);
	struct pair_ser *ser = phys_to_virt(args->serialized_data);
	struct pair_state state = { .value = ser->value, .early = ser->early };
	struct file *other = NULL, *file;
	u64 token;

	if (ser->needs)
		state.error = liveupdate_get_file_incoming(session, ser->token, &other);
	file = pair_file(&state, other);
	if (IS_ERR(file)) {
		if (other)
			fput(other);
		return PTR_ERR(file);
	}
	WARN_ON(liveupdate_get_token_outgoing(session, file, &token) != -EINVAL);
	args->file = file;
	return 0;
}

static bool pair_can_finish(struct liveupdate_file_op_args *args)
{
	return !WARN_ON(liveupdate_ext_session(args));
}

static void pair_finish(struct liveupdate_file_op_args *args)
{
	WARN_ON(liveupdate_ext_session(args));
	kho_restore_free(phys_to_virt(args->serialized_data));
}

static const struct liveupdate_file_ops pair_ops = {
	.can_preserve = pair_can_preserve,
	.preserve = pair_preserve,
	.unpreserve = pair_unpreserve,
	.freeze = pair_freeze,
	.retrieve = pair_retrieve,
	.can_finish = pair_can_finish,
	.finish = pair_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler pair_handler = {
	.ops = &pair_ops,
	.compatible = "pair-v1",
};

/* The device. */

static long device_ioctl(struct file *device, unsigned int cmd, unsigned long arg)
{
	struct pair_state state = { .value = arg };
	struct file *file;
	int fd;

	if (cmd != PAIR_CREATE)
		return -ENOTTY;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = pair_file(&state, NULL);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
};

static struct miscdevice pair_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pair",
	.fops = &device_fops,
};

static int __init pair_init(void)
{
	int err = liveupdate_register_file_handler(&pair_handler);

	if (err)
		return err;
	err = misc_register(&pair_device);
	if (err)
		liveupdate_unregister_file_handler(&pair_handler);
	return err;
}
module_init(pair_init);

static void __exit pair_exit(void)
{
	misc_deregister(&pair_device);
	liveupdate_unregister_file_handler(&pair_handler);
}
module_exit(pair_exit);

MODULE_AUTHOR("liveupdate-rs developers");
MODULE_DESCRIPTION("Files that need other files of their session");
MODULE_LICENSE("GPL");
