// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection into loading and unloading the module: every failure point of
 * init_module() and delete_module() fails once. A failed load must leave no device,
 * a failed unload a device that works.
 *
 * LUO_MODULE= is the path of the module, which must not be loaded. Needs a debug
 * kernel.
 */
#include "lib/faults.h"
#include "lib/fixture.h"

#include <sys/syscall.h>

FIXTURE(module)
{
	int ko;
};

FIXTURE_SETUP(module)
{
	const char *path = getenv("LUO_MODULE");

	if (!faults_ready())
		SKIP(return, "this kernel cannot inject faults");
	if (!path)
		SKIP(return, "LUO_MODULE= is not set");
	self->ko = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(self->ko, 0);
}

FIXTURE_TEARDOWN(module)
{
	close(self->ko);
}

static int load(void *arg, int attempt)
{
	return syscall(SYS_finit_module, *(int *)arg, "", 0) ? -errno : 0;
}

static int unload(void *arg, int attempt)
{
	return syscall(SYS_delete_module, "liveupdate", 0) ? -errno : 0;
}

static void undo_load(void *arg, int attempt, int answer)
{
	int dev = luo_open();

	/*
	 * Some allocations are optional. Without them the module must still
	 * work.
	 */
	if (dev < 0)
		fprintf(stderr, "# open after a successful load: %d\n", dev);
	close(dev);
	unload(NULL, attempt);
}

static void undo_unload(void *arg, int attempt, int answer)
{
	load(arg, attempt);
}

static const char *check_absent(void *arg, int attempt, int answer)
{
	return access(LUO_DEVICE, F_OK) ? NULL : "there is a device";
}

static const char *check_present(void *arg, int attempt, int answer)
{
	int dev = luo_open();

	if (dev < 0)
		return "the device cannot be opened";
	close(dev);
	return NULL;
}

TEST_F_TIMEOUT(module, finit_module, 600)
{
	struct faults f = {
		.what = "finit_module",
		.call = load,
		.undo = undo_load,
		.check = check_absent,
		.allowed = { ENOMEM, EFAULT },
		.arg = &self->ko,
	};

	faults_walk(&f);
	EXPECT_STREQ("", f.problem);
	EXPECT_GT(f.points, 0);
}

TEST_F_TIMEOUT(module, delete_module, 600)
{
	struct faults f = {
		.what = "delete_module",
		.call = unload,
		.undo = undo_unload,
		.check = check_present,
		.allowed = { ENOMEM, EFAULT },
		.arg = &self->ko,
	};

	ASSERT_EQ(0, load(&self->ko, 0));
	faults_walk(&f);
	EXPECT_STREQ("", f.problem);
	EXPECT_GT(f.points, 0);
	/* The last unload was undone, so the module is loaded. */
	EXPECT_EQ(0, unload(NULL, 0));
}

TEST_HARNESS_MAIN
