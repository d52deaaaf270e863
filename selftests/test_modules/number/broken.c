// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handlers that must not be registered: number.ko wrong=NAME.
 */
#include <linux/liveupdate.h>
#include <linux/string.h>

#include "number.h"

static struct liveupdate_file_ops broken_ops;

static struct liveupdate_file_handler nameless = {
	.ops = &broken_ops,
	.compatible = "",
};

static struct liveupdate_file_handler endless = {
	.ops = &broken_ops,
	.compatible = { [0 ... LIVEUPDATE_HNDL_COMPAT_LENGTH - 1] = 'x' },
};

static struct liveupdate_file_handler taken = {
	.ops = &broken_ops,
	.compatible = "memfd-v2",
};

static struct liveupdate_file_handler without_ops = {
	.compatible = "without-ops",
};

static struct liveupdate_file_handler incomplete = {
	.ops = &broken_ops,
	.compatible = "incomplete",
};

struct liveupdate_file_handler *
broken_handler(const char *what, const struct liveupdate_file_ops *good)
{
	broken_ops = *good;
	if (!strcmp(what, "name"))
		return &nameless;
	if (!strcmp(what, "end"))
		return &endless;
	if (!strcmp(what, "memfd"))
		return &taken;
	if (!strcmp(what, "ops"))
		return &without_ops;
	if (!strcmp(what, "owner"))
		broken_ops.owner = NULL;
	else if (!strcmp(what, "can_preserve"))
		broken_ops.can_preserve = NULL;
	else if (!strcmp(what, "preserve"))
		broken_ops.preserve = NULL;
	else if (!strcmp(what, "unpreserve"))
		broken_ops.unpreserve = NULL;
	else if (!strcmp(what, "retrieve"))
		broken_ops.retrieve = NULL;
	else if (!strcmp(what, "finish"))
		broken_ops.finish = NULL;
	else
		return NULL;
	return &incomplete;
}
