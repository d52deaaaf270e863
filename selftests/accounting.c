// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory: after preserve and close, and after a preserve that failed, there is
 * as much of it as before.
 *
 * Tolerances, in pages. Shmem and Committed_AS count exactly, less what the
 * per-CPU differences of a small machine hide. MemAvailable also sees slab, page
 * tables and per-CPU free lists, so the rounds are many enough for a leak of one
 * page a round to stand out (SMALL_ROUNDS > TOLERATE_AVAILABLE).
 */
#include "fixture.h"

#include <sched.h>
#include <sys/stat.h>

#define TOLERATE_AVAILABLE	512
#define TOLERATE_SHMEM		4
#define TOLERATE_COMMITTED	16
#define TOLERATE_CHARGE		128

#define BIG		(16 * MIB)
#define BIG_ROUNDS	100
#define SMALL_ROUNDS	1000
#define WARM_UP		5

#define CGROUP		"/sys/fs/cgroup/luo-accounting"

struct usage {
	long available;
	long shmem;
	long committed;
	long charge;	/* -1: no memory cgroup */
};

static bool in_cgroup;

static long charge(void)
{
	FILE *in = in_cgroup ? fopen(CGROUP "/memory.current", "re") : NULL;
	long bytes = -1;

	if (in) {
		if (fscanf(in, "%ld", &bytes) != 1)
			bytes = -1;
		fclose(in);
	}
	return bytes < 0 ? -1 : bytes / (long)LUO_PAGE;
}

static struct usage measure(void)
{
	struct usage now;

	luo_settle();
	now.available = luo_meminfo("MemAvailable");
	now.shmem = luo_meminfo("Shmem");
	now.committed = luo_meminfo("Committed_AS");
	now.charge = charge();
	return now;
}

static bool is_back(const struct usage *before, const struct usage *after)
{
	return after->available >= before->available - TOLERATE_AVAILABLE &&
	       labs(after->shmem - before->shmem) <= TOLERATE_SHMEM &&
	       labs(after->committed - before->committed) <= TOLERATE_COMMITTED &&
	       after->charge <= before->charge + TOLERATE_CHARGE;
}

static void expect_back(struct __test_metadata *_metadata, const struct usage *before)
{
	struct usage after;
	int tries;

	/* Some is freed late. */
	for (tries = 0; tries < 10; tries++) {
		after = measure();
		if (is_back(before, &after))
			break;
	}
	TH_LOG("pages before/after: MemAvailable %ld/%ld Shmem %ld/%ld",
	       before->available, after.available, before->shmem, after.shmem);
	TH_LOG("pages before/after: Committed_AS %ld/%ld charge %ld/%ld",
	       before->committed, after.committed, before->charge, after.charge);
	EXPECT_GE(after.available, before->available - TOLERATE_AVAILABLE)
		TH_LOG("MemAvailable: expected at most %d less", TOLERATE_AVAILABLE);
	EXPECT_LE(labs(after.shmem - before->shmem), TOLERATE_SHMEM)
		TH_LOG("Shmem: expected the same, within %d", TOLERATE_SHMEM);
	EXPECT_LE(labs(after.committed - before->committed), TOLERATE_COMMITTED)
		TH_LOG("Committed_AS: expected the same, within %d", TOLERATE_COMMITTED);
	EXPECT_LE(after.charge, before->charge + TOLERATE_CHARGE)
		TH_LOG("memory.current: expected at most %d more", TOLERATE_CHARGE);
}

FIXTURE(accounting) {
	int dev;
};

FIXTURE_SETUP(accounting)
{
	cpu_set_t one;

	self->dev = luo_open();
	if (self->dev == -ENOENT || self->dev == -ENODEV || self->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->dev, 0);
	/* One CPU has one set of per-CPU lists. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	luo_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	in_cgroup = !luo_write_file(CGROUP "/cgroup.procs", "0") && charge() >= 0;
	if (!in_cgroup)
		TH_LOG("no memory cgroup at /sys/fs/cgroup: charges are not looked at");
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
	/* A byte in each page is enough here, the content is not looked at. */
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
		.size = sizeof(arg), .fd = other, .token = 3,
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
		ASSERT_EQ(-EFAULT, luo_ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD,
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
		.size = sizeof(arg), .name = "accounting-2",
	};
	void *readonly = luo_readonly(&arg, sizeof(arg));
	struct usage before;
	int i;

	ASSERT_GE(session, 0);
	for (i = -100; i < SMALL_ROUNDS; i++) {
		if (!i)
			before = measure();
		ASSERT_EQ(-EEXIST, luo_create(self->dev, "accounting"));
		ASSERT_EQ(-EFAULT, luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION,
					     readonly));
		ASSERT_EQ(-EINVAL, luo_create(self->dev, ""));
		ASSERT_EQ(-ENOENT, luo_retrieve(self->dev, "accounting"));
	}
	expect_back(_metadata, &before);
	close(session);
}

TEST_HARNESS_MAIN
