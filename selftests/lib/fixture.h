/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of programs that need no kexec: the device is open in self->dev.
 * Without a device every test is skipped, and says so.
 */
#ifndef SELFTESTS_FIXTURE_H
#define SELFTESTS_FIXTURE_H

#include "luo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"

FIXTURE(live)
{
	int dev;
};

FIXTURE_SETUP(live)
{
	self->dev = luo_open();
	if (self->dev == -ENOENT || self->dev == -ENODEV || self->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->dev, 0)
	{
		TH_LOG("open %s: expected an fd, seen errno %d (%s)",
		       LUO_DEVICE, -self->dev, strerror(-self->dev));
	}
}

FIXTURE_TEARDOWN(live)
{
	if (self->dev >= 0)
		close(self->dev);
}

#endif /* SELFTESTS_FIXTURE_H */
