// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory accounting: after preserve and close, and after calls that failed, as much
 * memory is in use as before. A leak of one page in any of these paths would in the
 * end stop a machine that updates often.
 *
 * SMALL_ROUNDS is larger than TOLERATE_AVAILABLE, so that a leak of one page a
 * round stands out.
 */
#include "lib/usage.h"

#include <sched.h>
#include <sys/stat.h>

#define BIG (16 * MIB)
#define BIG_ROUNDS 100
#define SMALL_ROUNDS 1000
#define WARM_UP 5

FIXTURE(accounting)
{
	int dev;
};

FIXTURE_SETUP(accounting)
{
	cpu_set_t one;

	self->dev = luo_open();
	if (self->dev == -ENOENT || self->dev == -ENODEV || self->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->dev, 0);
	/* On one CPU there is one set of per-CPU lists. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	luo_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	in_cgroup = !luo_write_file(CGROUP "/cgroup.procs", "0") &&
		    charge() >= 0;
	if (!in_cgroup)
		TH_LOG("no memory cgroup at /sys/fs/cgroup: charges are not checked");
}

FIXTURE_TEARDOWN(accounting)
{
	close(self->dev);
	if (in_cgroup)
		luo_write_file("/sys/fs/cgroup/cgroup.procs", "0");
	rmdir(CGROUP);
}

static int round_of(int dev, size_t size, __u64 seed)
{
	int session = luo_create(dev, "accounting");
	int fd = memfd_create("accounting", 0);
	int err;

	if (session < 0)
		return session;
	/* The file is all holes: its content does not matter here. */
	err = ftruncate(fd, size) ? -errno : 0;
	err = err ?: luo_preserve(session, fd, seed);
	close(fd);
	close(session);
	return err;
}

TEST_F_TIMEOUT(accounting, big, 240)
{
	struct usage before;
	int i;

	for (i = 0; i < WARM_UP; i++)
		ASSERT_EQ(0, round_of(self->dev, BIG, i));
	before = measure();
	for (i = 0; i < BIG_ROUNDS; i++)
		ASSERT_EQ(0, round_of(self->dev, BIG, i));
	expect_back(_metadata, &before);
}

TEST_F_TIMEOUT(accounting, small, 240)
{
	struct usage before;
	int i;

	for (i = 0; i < SMALL_ROUNDS / 4; i++)
		ASSERT_EQ(0, round_of(self->dev, 100, i));
	before = measure();
	for (i = 0; i < SMALL_ROUNDS; i++)
		ASSERT_EQ(0, round_of(self->dev, 100, i));
	expect_back(_metadata, &before);
}

TEST_F_TIMEOUT(accounting, one_fd_many_sessions, 240)
{
	int fd = luo_memfd(0, MIB, 1);
	struct usage before;
	int i, session;

	ASSERT_GE(fd, 0);
	for (i = -50; i < SMALL_ROUNDS; i++) {
		if (!i)
			before = measure();
		session = luo_create(self->dev, "accounting");
		ASSERT_GE(session, 0);
		ASSERT_EQ(0, luo_preserve(session, fd, 1));
		ASSERT_EQ(0, close(session));
	}
	EXPECT_EQ(LUO_SAME, luo_check(fd, 0, MIB, 1));
	expect_back(_metadata, &before);
	close(fd);
}

TEST_F_TIMEOUT(accounting, failed_preserves, 240)
{
	int session = luo_create(self->dev, "accounting");
	int busy = luo_memfd(0, BIG, 1);
	int other = luo_memfd(0, BIG, 2);
	int huge = memfd_create("huge", 0);
	int null = open("/dev/null", O_RDWR);
	struct liveupdate_session_preserve_fd arg = {
		.size = sizeof(arg),
		.fd = other,
		.token = 3,
	};
	void *readonly = luo_readonly(&arg, sizeof(arg));
	struct usage before;
	int i;

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, ftruncate(huge, (off_t)1 << 44));
	ASSERT_EQ(0, luo_preserve(session, busy, 1));
	for (i = -WARM_UP; i < BIG_ROUNDS; i++) {
		if (!i)
			before = measure();
		ASSERT_EQ(-EEXIST, luo_preserve(session, other, 1));
		ASSERT_EQ(-EBUSY, luo_preserve(session, busy, 2));
		ASSERT_EQ(-ENOENT, luo_preserve(session, null, 2));
		ASSERT_EQ(-EFBIG, luo_preserve(session, huge, 2));
		ASSERT_EQ(-EBADF, luo_preserve(session, -1, 2));
		ASSERT_EQ(-EFAULT,
			  luo_ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD,
				    readonly));
	}
	expect_back(_metadata, &before);
	EXPECT_EQ(LUO_SAME, luo_check(other, 0, BIG, 2));
	close(session);
	close(busy);
	close(other);
	close(huge);
	close(null);
}

TEST_F_TIMEOUT(accounting, failed_creates, 240)
{
	int session = luo_create(self->dev, "accounting");
	struct liveupdate_ioctl_create_session arg = {
		.size = sizeof(arg),
		.name = "accounting-2",
	};
	void *readonly = luo_readonly(&arg, sizeof(arg));
	struct usage before;
	int i;

	ASSERT_GE(session, 0);
	for (i = -100; i < SMALL_ROUNDS; i++) {
		if (!i)
			before = measure();
		ASSERT_EQ(-EEXIST, luo_create(self->dev, "accounting"));
		ASSERT_EQ(-EFAULT,
			  luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION,
				    readonly));
		ASSERT_EQ(-EINVAL, luo_create(self->dev, ""));
		ASSERT_EQ(-ENOENT, luo_retrieve(self->dev, "accounting"));
	}
	expect_back(_metadata, &before);
	close(session);
}

TEST_HARNESS_MAIN
