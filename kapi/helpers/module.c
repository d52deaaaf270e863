// SPDX-License-Identifier: GPL-2.0-only
/* What the module says about itself, and module! has no key for. */

#include <linux/module.h>

MODULE_VERSION("0.11.0");
