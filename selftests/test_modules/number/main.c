// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that hold a number, in a module that knows no more of the orchestrator than
 * <linux/liveupdate.h> says: their handler "number-v1", and an FLB "number-flb-v1"
 * that counts them. Parameters make each callback misbehave, and "log" tells which
 * were called.
 */
#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/liveupdate.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "number.h"

static int preserve_returns;
module_param(preserve_returns, int, 0644);
MODULE_PARM_DESC(preserve_returns, "what preserve returns, unless it is 0");

static unsigned long freeze_refuses;
module_param(freeze_refuses, ulong, 0644);
MODULE_PARM_DESC(freeze_refuses, "the file that cannot be frozen");

static int freeze_returns = -EBUSY;
module_param(freeze_returns, int, 0644);
MODULE_PARM_DESC(freeze_returns, "what freeze returns for that file");

static unsigned int freeze_takes;
module_param(freeze_takes, uint, 0644);
MODULE_PARM_DESC(freeze_takes, "milliseconds for which freeze sleeps");

static int retrieve_returns;
module_param(retrieve_returns, int, 0644);
MODULE_PARM_DESC(retrieve_returns, "what retrieve returns, unless it is 0");

static int retrieve_file;
module_param(retrieve_file, int, 0644);
MODULE_PARM_DESC(retrieve_file, "1: retrieve returns NULL for a file, 2: ERR_PTR(-ENOMEM)");

static bool cannot_finish;
module_param(cannot_finish, bool, 0644);
MODULE_PARM_DESC(cannot_finish, "can_finish says no");

static int flb_preserve_returns;
module_param(flb_preserve_returns, int, 0644);
MODULE_PARM_DESC(flb_preserve_returns, "what preserve of the FLB returns, unless it is 0");

static bool flb_unused;
module_param(flb_unused, bool, 0644);
MODULE_PARM_DESC(flb_unused, "callbacks of files do not get the FLB");

static char *wrong = "";
module_param(wrong, charp, 0444);
MODULE_PARM_DESC(wrong, "what is wrong with the handler; see broken.c");

/* Words "callback:file", in the order of the calls. Writing empties the log. */
#define LOG_SIZE 3000

static DEFINE_MUTEX(log_lock);
static char log_text[LOG_SIZE];
static size_t log_len;

static void log_call(const char *callback, u64 id)
{
	mutex_lock(&log_lock);
	log_len += scnprintf(log_text + log_len, LOG_SIZE - log_len, "%s%s:%llu",
			     log_len ? " " : "", callback, id);
	mutex_unlock(&log_lock);
}

static int log_set(const char *val, const struct kernel_param *kp)
{
	mutex_lock(&log_lock);
	log_len = 0;
	log_text[0] = '\0';
	mutex_unlock(&log_lock);
	return 0;
}

static int log_get(char *buffer, const struct kernel_param *kp)
{
	int len;

	mutex_lock(&log_lock);
	len = scnprintf(buffer, PAGE_SIZE, "%s\n", log_text);
	mutex_unlock(&log_lock);
	return len;
}

static const struct kernel_param_ops log_ops = {
	.set = log_set,
	.get = log_get,
};
module_param_cb(log, &log_ops, NULL, 0644);
MODULE_PARM_DESC(log, "the callbacks that were called");

/* Files. */

struct number {
	struct mutex lock; /* for the value */
	u64 id;
	u64 value;
};

static ssize_t number_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct number *number = file->private_data;
	u64 value;

	if (count != sizeof(value))
		return -EINVAL;
	mutex_lock(&number->lock);
	value = number->value;
	mutex_unlock(&number->lock);
	return copy_to_user(buf, &value, sizeof(value)) ? -EFAULT : sizeof(value);
}

static ssize_t number_write(struct file *file, const char __user *buf, size_t count,
			    loff_t *pos)
{
	struct number *number = file->private_data;
	u64 value;

	if (count != sizeof(value))
		return -EINVAL;
	if (copy_from_user(&value, buf, sizeof(value)))
		return -EFAULT;
	mutex_lock(&number->lock);
	number->value = value;
	mutex_unlock(&number->lock);
	return sizeof(value);
}

static int number_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations number_fops = {
	.owner = THIS_MODULE,
	.read = number_read,
	.write = number_write,
	.release = number_release,
};

static struct file *number_file(u64 id, u64 value)
{
	struct number *number = kzalloc_obj(*number);
	struct file *file;

	if (!number)
		return ERR_PTR(-ENOMEM);
	mutex_init(&number->lock);
	number->id = id;
	number->value = value;
	file = anon_inode_getfile("[number]", &number_fops, number, O_RDWR);
	if (IS_ERR(file))
		kfree(number);
	return file;
}

/* The FLB. What crosses, and the object, is a page that KHO preserves. */

struct number_flb_ser {
	u64 files;
};

static int number_flb_preserve(struct liveupdate_flb_op_args *args)
{
	struct number_flb_ser *ser;

	log_call("flb_preserve", 0);
	if (flb_preserve_returns)
		return flb_preserve_returns;
	ser = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	ser->files = 0;
	args->data = virt_to_phys(ser);
	args->obj = ser;
	return 0;
}

static void number_flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	struct number_flb_ser *ser = args->obj;

	log_call("flb_unpreserve", ser->files);
	WARN_ON(args->data != virt_to_phys(ser));
	kho_unpreserve_free(ser);
}

static int number_flb_retrieve(struct liveupdate_flb_op_args *args)
{
	struct number_flb_ser *ser = phys_to_virt(args->data);

	log_call("flb_retrieve", ser->files);
	args->obj = ser;
	return 0;
}

static void number_flb_finish(struct liveupdate_flb_op_args *args)
{
	struct number_flb_ser *ser = args->obj;

	log_call("flb_finish", ser->files);
	kho_restore_free(ser);
}

static const struct liveupdate_flb_ops number_flb_ops = {
	.preserve = number_flb_preserve,
	.unpreserve = number_flb_unpreserve,
	.retrieve = number_flb_retrieve,
	.finish = number_flb_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_flb number_flb = {
	.ops = &number_flb_ops,
	.compatible = "number-flb-v1",
};

/* Counts files up or down that are preserved. The lock is for the counter. */
static DEFINE_MUTEX(count_lock);

static int number_count(int difference)
{
	struct number_flb_ser *ser;
	void *object;
	int err;

	if (flb_unused)
		return 0;
	err = liveupdate_flb_get_outgoing(&number_flb, &object);
	if (err)
		return err;
	ser = object;
	mutex_lock(&count_lock);
	ser->files += difference;
	mutex_unlock(&count_lock);
	liveupdate_flb_put_outgoing(&number_flb);
	return 0;
}

/* The handler. What crosses is a page that KHO preserves. */

struct number_ser {
	u64 id;
	u64 value;
};

static bool number_can_preserve(struct liveupdate_file_handler *handler, struct file *file)
{
	return file->f_op == &number_fops;
}

static int number_preserve(struct liveupdate_file_op_args *args)
{
	struct number *number = args->file->private_data;
	struct number_ser *ser;
	int err;

	log_call("preserve", number->id);
	if (preserve_returns)
		return preserve_returns;
	ser = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	err = number_count(1);
	if (err) {
		kho_unpreserve_free(ser);
		return err;
	}
	ser->id = number->id;
	args->serialized_data = virt_to_phys(ser);
	args->private_data = ser;
	return 0;
}

static void number_unpreserve(struct liveupdate_file_op_args *args)
{
	struct number_ser *ser = args->private_data;

	log_call("unpreserve", ser->id);
	WARN_ON(args->serialized_data != virt_to_phys(ser));
	WARN_ON(number_count(-1));
	kho_unpreserve_free(ser);
}

static int number_freeze(struct liveupdate_file_op_args *args)
{
	struct number *number = args->file->private_data;
	struct number_ser *ser = args->private_data;

	log_call("freeze", number->id);
	if (freeze_takes)
		msleep(freeze_takes);
	if (freeze_refuses == number->id)
		return freeze_returns;
	mutex_lock(&number->lock);
	ser->value = number->value;
	mutex_unlock(&number->lock);
	return 0;
}

static void number_unfreeze(struct liveupdate_file_op_args *args)
{
	struct number_ser *ser = args->private_data;

	log_call("unfreeze", ser->id);
}

static int number_retrieve(struct liveupdate_file_op_args *args)
{
	struct number_ser *ser = phys_to_virt(args->serialized_data);
	struct file *file;
	void *object;
	int err;

	log_call("retrieve", ser->id);
	if (retrieve_file)
		args->file = retrieve_file == 1 ? NULL : ERR_PTR(-ENOMEM);
	if (retrieve_returns || retrieve_file)
		return retrieve_returns;
	if (!flb_unused) {
		err = liveupdate_flb_get_incoming(&number_flb, &object);
		if (err)
			return err;
		liveupdate_flb_put_incoming(&number_flb);
	}
	file = number_file(ser->id, ser->value);
	if (IS_ERR(file))
		return PTR_ERR(file);
	args->file = file;
	return 0;
}

static bool number_can_finish(struct liveupdate_file_op_args *args)
{
	return !cannot_finish;
}

static void number_finish(struct liveupdate_file_op_args *args)
{
	struct number_ser *ser = phys_to_virt(args->serialized_data);
	const char *callback = "finish";

	WARN_ON(!args->file != (args->retrieve_status <= 0));
	if (args->retrieve_status < 0)
		callback = "finish_failed";
	else if (!args->retrieve_status)
		callback = "finish_pending";
	log_call(callback, ser->id);
	kho_restore_free(ser);
}

static const struct liveupdate_file_ops number_ops = {
	.can_preserve = number_can_preserve,
	.preserve = number_preserve,
	.unpreserve = number_unpreserve,
	.freeze = number_freeze,
	.unfreeze = number_unfreeze,
	.retrieve = number_retrieve,
	.can_finish = number_can_finish,
	.finish = number_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler number_handler = {
	.ops = &number_ops,
	.compatible = NUMBER_HANDLER,
};

/* The device. */

static long number_create(u64 value)
{
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = number_file(value, value);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

static long number_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void *object;

	switch (cmd) {
	case NUMBER_CREATE:
		return number_create(arg);
	case NUMBER_GET_INCOMING:
		return liveupdate_flb_get_incoming(&number_flb, &object);
	case NUMBER_GET_OUTGOING:
		return liveupdate_flb_get_outgoing(&number_flb, &object);
	case NUMBER_PUT_INCOMING:
		liveupdate_flb_put_incoming(&number_flb);
		return 0;
	case NUMBER_PUT_OUTGOING:
		liveupdate_flb_put_outgoing(&number_flb);
		return 0;
	}
	return -ENOTTY;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = number_ioctl,
};

static struct miscdevice number_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "number",
	.fops = &device_fops,
};

/* Registers what must be refused. */
static int __init register_wrong(void)
{
	struct liveupdate_file_handler *handler = broken_handler(wrong, &number_ops);

	if (!strcmp(wrong, "flb"))
		return liveupdate_register_flb(&number_handler, &number_flb);
	if (!strcmp(wrong, "twice"))
		handler = &number_handler;
	if (!handler)
		return -ENOENT;
	return liveupdate_register_file_handler(handler);
}

static int __init number_init_wrong(void)
{
	bool twice = !strcmp(wrong, "twice");
	int err;

	if (twice) {
		err = liveupdate_register_file_handler(&number_handler);
		if (err)
			return -ENOANO;
	}
	err = register_wrong();
	/* What was not registered is ignored. */
	liveupdate_unregister_flb(&number_handler, &number_flb);
	liveupdate_unregister_file_handler(&number_handler);
	/* The module loader keeps EEXIST for itself, and returns EBUSY instead. */
	if (err == -EEXIST)
		err = -ENOTUNIQ;
	return err ?: -ENOANO;
}

static int __init number_init(void)
{
	int err;

	if (!liveupdate_enabled())
		return -EOPNOTSUPP;
	if (*wrong)
		return number_init_wrong();
	err = liveupdate_register_file_handler(&number_handler);
	if (err)
		return err;
	err = liveupdate_register_flb(&number_handler, &number_flb);
	if (err)
		goto unregister;
	err = misc_register(&number_device);
	if (err)
		goto unregister_flb;
	return 0;

unregister_flb:
	liveupdate_unregister_flb(&number_handler, &number_flb);
unregister:
	liveupdate_unregister_file_handler(&number_handler);
	return err;
}
module_init(number_init);

static void __exit number_exit(void)
{
	misc_deregister(&number_device);
	liveupdate_unregister_flb(&number_handler, &number_flb);
	liveupdate_unregister_file_handler(&number_handler);
}
module_exit(number_exit);

MODULE_AUTHOR("liveupdate-rs developers");
MODULE_DESCRIPTION("Files that hold a number, and survive a live update");
MODULE_LICENSE("GPL");
