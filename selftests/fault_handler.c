// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection into the handler of another module: loading and unloading number.ko,
 * preserving one of its files, which has an FLB, and closing the session. Every failure
 * point of each call fails once. After a failed load nothing may be registered.
 *
 * NUMBER_MODULE= is the path of number.ko, BORROW_MODULE= that of borrow.ko. Neither
 * must be loaded. Needs a debug kernel.
 */
#include "lib/faults.h"
#include "lib/fixture.h"
#include "lib/modules.h"

#include "test_modules/number/number.h"

#include <sys/ioctl.h>

#define TOKEN 7

static int load(void *arg, int attempt)
{
	return syscall(SYS_finit_module, *(int *)arg, "", 0) ? -errno : 0;
}

static int unload(void *arg, int attempt)
{
	return module_unload("number");
}

FIXTURE(handler)
{
	int ko;
	int dev;
	int fds;
};

FIXTURE_SETUP(handler)
{
	const char *path = getenv("NUMBER_MODULE");

	if (!faults_ready())
		SKIP(return, "this kernel cannot inject faults");
	if (!path)
		SKIP(return, "NUMBER_MODULE= is not set");
	self->ko = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(self->ko, 0);
	self->dev = luo_open();
	ASSERT_GE(self->dev, 0);
	self->fds = faults_fds();
}

FIXTURE_TEARDOWN(handler)
{
	/* Whatever failed, the module can be loaded and unloaded. */
	EXPECT_EQ(0, load(&self->ko, 0));
	EXPECT_EQ(0, unload(NULL, 0));
	close(self->ko);
	close(self->dev);
}

static void undo_load(void *arg, int attempt, int answer)
{
	int err = unload(NULL, attempt);

	if (err)
		fprintf(stderr, "# unload after a successful load: %d\n", err);
}

static void undo_unload(void *arg, int attempt, int answer)
{
	load(arg, attempt);
}

static const char *check_absent(void *arg, int attempt, int answer)
{
	if (module_is_loaded("number"))
		return "the module is there";
	if (!access(NUMBER_DEVICE, F_OK))
		return "there is a device";
	/* As many as can be registered. */
	if (module_load("BORROW_MODULE", "flbs=63"))
		return "an FLB is registered";
	return module_unload("borrow") ? "borrow.ko cannot be unloaded" : NULL;
}

static const char *check_present(void *arg, int attempt, int answer)
{
	return access(NUMBER_DEVICE, F_OK) ? "there is no device" : NULL;
}

TEST_F_TIMEOUT(handler, finit_module, 600)
{
	struct faults f = {
		.what = "finit_module of a handler",
		.call = load,
		.undo = undo_load,
		.check = check_absent,
		/* misc_register() returns EBUSY if it cannot allocate a minor. */
		.allowed = { ENOMEM, EFAULT, EBUSY },
		.arg = &self->ko,
	};

	faults_walk(&f);
	EXPECT_STREQ("", f.problem);
	EXPECT_GT(f.points, 0);
}

TEST_F_TIMEOUT(handler, delete_module, 600)
{
	struct faults f = {
		.what = "delete_module of a handler",
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
	EXPECT_EQ(0, unload(NULL, 0));
}

struct preserve {
	int dev;
	int numbers;
	int session;
	int fd;
};

static int begin(struct preserve *p, int dev, int ko)
{
	if (load(&ko, 0))
		return -errno;
	p->dev = dev;
	p->numbers = open(NUMBER_DEVICE, O_RDWR | O_CLOEXEC);
	p->fd = ioctl(p->numbers, NUMBER_CREATE, 5);
	p->session = luo_create(dev, "faults-number");
	return p->fd < 0 || p->session < 0 ? -ENODEV : 0;
}

static void end(struct preserve *p)
{
	close(p->session);
	close(p->fd);
	close(p->numbers);
	unload(NULL, 0);
}

static int call_preserve(void *arg, int attempt)
{
	struct preserve *p = arg;

	return luo_preserve(p->session, p->fd, TOKEN);
}

static void undo_preserve(void *arg, int attempt, int answer)
{
	struct preserve *p = arg;

	close(p->session);
	p->session = luo_create(p->dev, "faults-number");
}

static const char *check_preserve(void *arg, int attempt, int answer)
{
	struct preserve *p = arg;
	char text[4096];

	if (luo_fdinfo(p->session, text, sizeof(text)) ||
	    strstr(text, "luo-file"))
		return "the session has a file";
	if (!ioctl(p->numbers, NUMBER_GET_OUTGOING, 0)) {
		ioctl(p->numbers, NUMBER_PUT_OUTGOING, 0);
		return "the FLB is preserved";
	}
	return NULL;
}

TEST_F_TIMEOUT(handler, preserve_fd, 300)
{
	struct preserve p;
	struct faults f = {
		.what = "preserve_fd, another module's file",
		.call = call_preserve,
		.undo = undo_preserve,
		.check = check_preserve,
		.allowed = { ENOMEM, EFAULT },
		.arg = &p,
	};

	ASSERT_EQ(0, begin(&p, self->dev, self->ko));
	faults_walk(&f);
	end(&p);
	EXPECT_STREQ("", f.problem);
	EXPECT_GT(f.points, 0);
	EXPECT_EQ(self->fds, faults_fds());
}

static int call_close(void *arg, int attempt)
{
	struct preserve *p = arg;

	return close(p->session) ? -errno : 0;
}

static void undo_close(void *arg, int attempt, int answer)
{
	struct preserve *p = arg;

	p->session = luo_create(p->dev, "faults-number");
	luo_preserve(p->session, p->fd, TOKEN);
}

/* Closing may have no failure point at all. */
TEST_F(handler, close)
{
	struct preserve p;
	struct faults f = {
		.what = "close of a session with another module's file",
		.call = call_close,
		.undo = undo_close,
		.arg = &p,
	};

	ASSERT_EQ(0, begin(&p, self->dev, self->ko));
	ASSERT_EQ(0, luo_preserve(p.session, p.fd, TOKEN));
	faults_walk(&f);
	EXPECT_EQ(-EEXIST, luo_preserve(p.session, p.fd, TOKEN));
	end(&p);
	EXPECT_STREQ("", f.problem);
	EXPECT_EQ(self->fds, faults_fds());
}

TEST_HARNESS_MAIN
