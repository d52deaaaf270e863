// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's lib/tests/liveupdate.c, unmodified. It expects to be called for each
 * handler that is registered, and registers three FLBs for it. Here the only handler is
 * that of memfds: the module for tests lets us present it as ours, and calls none of the
 * callbacks below.
 */
#include "lib/tests/liveupdate.c"

static bool presented_can_preserve(struct liveupdate_file_handler *handler,
				   struct file *file)
{
	return false;
}

static int presented_int(struct liveupdate_file_op_args *args)
{
	return -EOPNOTSUPP;
}

static void presented_void(struct liveupdate_file_op_args *args)
{
}

static const struct liveupdate_file_ops presented_ops = {
	.can_preserve = presented_can_preserve,
	.preserve = presented_int,
	.unpreserve = presented_void,
	.retrieve = presented_int,
	.finish = presented_void,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler presented = {
	.ops = &presented_ops,
	.compatible = "memfd-v2",
};

static int __init upstream_flb_init(void)
{
	int err = liveupdate_register_file_handler(&presented);

	if (!err)
		liveupdate_test_register(&presented);
	return err;
}
module_init(upstream_flb_init);

static void __exit upstream_flb_exit(void)
{
	liveupdate_unregister_file_handler(&presented);
}
module_exit(upstream_flb_exit);
