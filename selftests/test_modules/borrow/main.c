// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handlers of files that belong to other code: open files of /dev/full and /dev/zero.
 * So this module can be freed while such files are open, and its handlers can come and
 * go while it is loaded. 64 bits describe a file, and an FLB.
 *
 * The log has a warning if a callback is called that is not registered.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kdev_t.h>
#include <linux/liveupdate.h>
#include <linux/major.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "borrow.h"

/* A callback returns after this time, whatever "held" says. */
#define HELD_SECONDS 30

#define FILE_DATA 0xb0440000U
#define FLB_DATA 0xf1b00000U

static unsigned long held;
module_param(held, ulong, 0644);
MODULE_PARM_DESC(held, "callbacks that wait until their bit is 0");

static unsigned int calls[BORROW_CALLBACKS];
module_param_array(calls, uint, NULL, 0444);
MODULE_PARM_DESC(calls, "how often each callback was called");

static unsigned int waiting;
module_param(waiting, uint, 0444);
MODULE_PARM_DESC(waiting, "how many callbacks wait");

static bool by_inode;
module_param(by_inode, bool, 0644);
MODULE_PARM_DESC(by_inode, "open files of one inode are one file");

static unsigned int flbs;
module_param(flbs, uint, 0444);
MODULE_PARM_DESC(flbs, "how many FLBs the handler of /dev/full has from the start");

static unsigned long fails;
module_param(fails, ulong, 0444);
MODULE_PARM_DESC(fails, "initialization waits until a file was preserved, at most for this many ms, and fails; 0: it does not");

static DEFINE_SPINLOCK(calls_lock);

/* Counts a call, and waits as long as the callback is held. EINTR if the task is killed. */
static int enter(enum borrow_callback callback)
{
	unsigned long end = jiffies + HELD_SECONDS * HZ;
	int err = 0;

	spin_lock(&calls_lock);
	calls[callback]++;
	waiting++;
	spin_unlock(&calls_lock);
	while (READ_ONCE(held) & BIT(callback) && !err) {
		schedule_timeout_killable(HZ / 100 + 1);
		if (fatal_signal_pending(current))
			err = -EINTR;
		else if (time_after(jiffies, end))
			err = -ETIME;
	}
	spin_lock(&calls_lock);
	waiting--;
	spin_unlock(&calls_lock);
	return err;
}

/* Files. */

static bool registered[BORROW_KINDS];
static struct liveupdate_file_handler handlers[BORROW_KINDS];

static const struct {
	const char *path;
	dev_t dev;
} devices[BORROW_KINDS] = {
	[BORROW_FULL] = { "/dev/full", MKDEV(MEM_MAJOR, 7) },
	[BORROW_ZERO] = { "/dev/zero", MKDEV(MEM_MAJOR, 5) },
};

static int enter_file(enum borrow_callback callback, struct liveupdate_file_op_args *args)
{
	int kind = args->handler - handlers;

	WARN_ON(!READ_ONCE(registered[kind]));
	return kind == BORROW_FULL ? enter(callback) : 0;
}

static bool borrow_can_preserve(struct liveupdate_file_handler *handler, struct file *file)
{
	WARN_ON(!READ_ONCE(registered[handler - handlers]));
	return S_ISCHR(file_inode(file)->i_mode) &&
	       file_inode(file)->i_rdev == devices[handler - handlers].dev;
}

static unsigned long borrow_get_id(struct file *file)
{
	return by_inode ? (unsigned long)file_inode(file) : (unsigned long)file;
}

static int borrow_preserve(struct liveupdate_file_op_args *args)
{
	args->serialized_data = FILE_DATA + (args->handler - handlers);
	return enter_file(BORROW_PRESERVE, args);
}

static void borrow_unpreserve(struct liveupdate_file_op_args *args)
{
	enter_file(BORROW_UNPRESERVE, args);
}

static int borrow_freeze(struct liveupdate_file_op_args *args)
{
	return enter_file(BORROW_FREEZE, args);
}

static void borrow_unfreeze(struct liveupdate_file_op_args *args)
{
	enter_file(BORROW_UNFREEZE, args);
}

static int borrow_retrieve(struct liveupdate_file_op_args *args)
{
	int kind = args->handler - handlers, err;
	struct file *file;

	err = enter_file(BORROW_RETRIEVE, args);
	if (err)
		return err;
	if (args->serialized_data != FILE_DATA + kind)
		return -EINVAL;
	file = filp_open(devices[kind].path, O_RDWR, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);
	args->file = file;
	return 0;
}

static bool borrow_can_finish(struct liveupdate_file_op_args *args)
{
	return !enter_file(BORROW_CAN_FINISH, args);
}

static void borrow_finish(struct liveupdate_file_op_args *args)
{
	enter_file(BORROW_FINISH, args);
}

static const struct liveupdate_file_ops borrow_ops = {
	.can_preserve = borrow_can_preserve,
	.get_id = borrow_get_id,
	.preserve = borrow_preserve,
	.unpreserve = borrow_unpreserve,
	.freeze = borrow_freeze,
	.unfreeze = borrow_unfreeze,
	.retrieve = borrow_retrieve,
	.can_finish = borrow_can_finish,
	.finish = borrow_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler handlers[BORROW_KINDS] = {
	[BORROW_FULL] = { .ops = &borrow_ops, .compatible = BORROW_FULL_HANDLER },
	[BORROW_ZERO] = { .ops = &borrow_ops, .compatible = BORROW_ZERO_HANDLER },
};

static int borrow_register(int kind)
{
	int err;

	/* Callbacks may be called before the function returns. */
	WRITE_ONCE(registered[kind], true);
	err = liveupdate_register_file_handler(&handlers[kind]);
	if (err && err != -EEXIST)
		WRITE_ONCE(registered[kind], false);
	return err;
}

static void borrow_unregister(int kind)
{
	liveupdate_unregister_file_handler(&handlers[kind]);
	WRITE_ONCE(registered[kind], false);
}

/* FLBs. */

static const struct liveupdate_flb_ops borrow_flb_ops;

/* The names of FLBs cannot be changed at run time. Those of eight differ in the last digit. */
#define FLB(digits) { .ops = &borrow_flb_ops, .compatible = "borrow-flb-" #digits }
#define EIGHT_FLBS(digit) { \
	FLB(digit##0), FLB(digit##1), FLB(digit##2), FLB(digit##3), \
	FLB(digit##4), FLB(digit##5), FLB(digit##6), FLB(digit##7), \
}

static struct liveupdate_flb borrow_flbs[BORROW_FLBS / 8 + 1][8] = {
	EIGHT_FLBS(0), EIGHT_FLBS(1), EIGHT_FLBS(2), EIGHT_FLBS(3),
	EIGHT_FLBS(4), EIGHT_FLBS(5), EIGHT_FLBS(6), EIGHT_FLBS(7),
	[BORROW_TWIN / 8] = { FLB(00) },
};

static unsigned long flb_data(struct liveupdate_flb *flb)
{
	return FLB_DATA + (flb - borrow_flbs[0]);
}

static int borrow_flb_preserve(struct liveupdate_flb_op_args *args)
{
	args->data = flb_data(args->flb);
	args->obj = (void *)flb_data(args->flb);
	return enter(BORROW_FLB_PRESERVE);
}

static void borrow_flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	WARN_ON(args->obj != (void *)flb_data(args->flb));
	enter(BORROW_FLB_UNPRESERVE);
}

static int borrow_flb_retrieve(struct liveupdate_flb_op_args *args)
{
	if (args->data != flb_data(args->flb))
		return -EINVAL;
	args->obj = (void *)flb_data(args->flb);
	return enter(BORROW_FLB_RETRIEVE);
}

static void borrow_flb_finish(struct liveupdate_flb_op_args *args)
{
	WARN_ON(args->obj != (void *)flb_data(args->flb));
	enter(BORROW_FLB_FINISH);
}

static const struct liveupdate_flb_ops borrow_flb_ops = {
	.preserve = borrow_flb_preserve,
	.unpreserve = borrow_flb_unpreserve,
	.retrieve = borrow_flb_retrieve,
	.finish = borrow_flb_finish,
	.owner = THIS_MODULE,
};

/* The device. */

static int get(int (*getter)(struct liveupdate_flb *flb, void **objp), struct liveupdate_flb *flb)
{
	void *object;
	int err = getter(flb, &object);

	if (err)
		return err;
	return object == (void *)flb_data(flb) ? 0 : -EUCLEAN;
}

static long borrow_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	unsigned long kind = _IOC_NR(cmd) < 2 ? arg : arg >> 8;
	struct liveupdate_flb *flb = borrow_flbs[0] + (arg & 0xff);

	if (kind >= BORROW_KINDS || (arg & 0xff) > BORROW_TWIN)
		return -EINVAL;
	switch (cmd) {
	case BORROW_REGISTER:
		return borrow_register(kind);
	case BORROW_UNREGISTER:
		borrow_unregister(kind);
		return 0;
	case BORROW_REGISTER_FLB:
		return liveupdate_register_flb(&handlers[kind], flb);
	case BORROW_UNREGISTER_FLB:
		liveupdate_unregister_flb(&handlers[kind], flb);
		return 0;
	case BORROW_GET_INCOMING:
		return get(liveupdate_flb_get_incoming, flb);
	case BORROW_PUT_INCOMING:
		liveupdate_flb_put_incoming(flb);
		return 0;
	case BORROW_GET_OUTGOING:
		return get(liveupdate_flb_get_outgoing, flb);
	case BORROW_PUT_OUTGOING:
		liveupdate_flb_put_outgoing(flb);
		return 0;
	}
	return -ENOTTY;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = borrow_ioctl,
};

static struct miscdevice borrow_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "borrow",
	.fops = &device_fops,
};

static void __init wait_for_file(void)
{
	unsigned long end = jiffies + msecs_to_jiffies(fails);

	while (!READ_ONCE(calls[BORROW_PRESERVE]) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(1);
}

static int __init borrow_init(void)
{
	int i, err;

	err = borrow_register(BORROW_FULL);
	if (err)
		return err;
	for (i = 0; i < flbs && i < BORROW_FLBS && !err; i++)
		err = liveupdate_register_flb(&handlers[BORROW_FULL], borrow_flbs[0] + i);
	if (!err && fails) {
		wait_for_file();
		err = -ENOANO;
	}
	if (!err)
		err = misc_register(&borrow_device);
	if (err)
		borrow_unregister(BORROW_FULL);
	return err;
}
module_init(borrow_init);

static void __exit borrow_exit(void)
{
	misc_deregister(&borrow_device);
	borrow_unregister(BORROW_FULL);
	borrow_unregister(BORROW_ZERO);
}
module_exit(borrow_exit);

MODULE_AUTHOR("liveupdate-rs developers");
MODULE_DESCRIPTION("Handlers of files that belong to other code");
MODULE_LICENSE("GPL");
