// SPDX-License-Identifier: GPL-2.0-only
/* Each open file of /dev/counter counts how often it is read. */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/liveupdate.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

/* The position of the file is the count. */
static ssize_t counter_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	u64 count = ++*pos;

	return simple_read_from_buffer(buf, size, &(loff_t){ 0 }, &count, sizeof(count));
}

static const struct file_operations counter_fops = {
	.owner = THIS_MODULE,
	.read = counter_read,
};

static struct miscdevice counter_device = { MISC_DYNAMIC_MINOR, "counter", &counter_fops };

static bool counter_can_preserve(struct liveupdate_file_handler *handler, struct file *file)
{
	return file->f_op == &counter_fops;
}

/* Nothing is allocated, and what must survive is known only when the kexec is entered. */
static int counter_preserve(struct liveupdate_file_op_args *args) { return 0; }
static void counter_unpreserve(struct liveupdate_file_op_args *args) { }
static void counter_finish(struct liveupdate_file_op_args *args) { }

static int counter_freeze(struct liveupdate_file_op_args *args)
{
	args->serialized_data = args->file->f_pos;
	return 0;
}

static int counter_retrieve(struct liveupdate_file_op_args *args)
{
	struct file *file = anon_inode_getfile("[counter]", &counter_fops, NULL, O_RDONLY);

	if (IS_ERR(file))
		return PTR_ERR(file);
	file->f_pos = args->serialized_data;
	args->file = file;
	return 0;
}

static const struct liveupdate_file_ops counter_ops = {
	.can_preserve = counter_can_preserve, .preserve = counter_preserve,
	.unpreserve = counter_unpreserve, .freeze = counter_freeze,
	.retrieve = counter_retrieve, .finish = counter_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler counter_handler = { &counter_ops, "counter-v1" };

static int __init counter_init(void)
{
	int err = liveupdate_register_file_handler(&counter_handler);

	if (err)
		return err;
	err = misc_register(&counter_device);
	if (err)
		liveupdate_unregister_file_handler(&counter_handler);
	return err;
}
module_init(counter_init);

static void __exit counter_exit(void)
{
	misc_deregister(&counter_device);
	liveupdate_unregister_file_handler(&counter_handler);
}
module_exit(counter_exit);
MODULE_DESCRIPTION("Files that count their reads");
MODULE_LICENSE("GPL");
