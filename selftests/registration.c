// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handlers and FLBs of another module that come and go, wait, and fail: borrow.ko.
 * BORROW_MODULE= is its path. Each test loads and unloads it, so no reference to it may
 * be left.
 */
#include "lib/call.h"
#include "lib/fixture.h"
#include "lib/modules.h"

#include "test_modules/borrow/borrow.h"

#include <signal.h>
#include <sys/wait.h>

#define MAX_FLBS 63
#define ENOUGH_MS 300

static int load(const char *parameters)
{
	return module_load("BORROW_MODULE", parameters);
}

static int unload(void)
{
	return module_unload("borrow");
}

static long calls(enum borrow_callback callback)
{
	return module_get("borrow", "calls", callback);
}

static int hold(unsigned long callbacks)
{
	return module_set("borrow", "held", callbacks);
}

/* Whether this many callbacks wait, at last. */
static bool wait_for_held(long count)
{
	return module_reaches("borrow", "waiting", 0, count);
}

static int open_zero(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

/* Makes a session that has one file. */
static int session_with(int dev, const char *name, int fd)
{
	int session = luo_create(dev, name), err;

	if (session < 0)
		return session;
	err = luo_preserve(session, fd, 1);
	if (err)
		close(session);
	return err ?: session;
}

/* Sessions of their own, with a memfd and with a file of another handler. */
static int others_work(int dev)
{
	int memfd = luo_memfd(0, 3 * LUO_PAGE, 1), zero = open_zero();
	int sessions[2], i, err = 0;

	sessions[0] = session_with(dev, "other-memfd", memfd);
	sessions[1] = session_with(dev, "other-zero", zero);
	for (i = 0; i < 2; i++) {
		if (sessions[i] < 0)
			err = sessions[i];
		else if (close(sessions[i]))
			err = -errno;
	}
	close(memfd);
	close(zero);
	return err;
}

FIXTURE(registration)
{
	int dev;
	int session;
	int full;
	int borrow;
};

FIXTURE_SETUP(registration)
{
	if (!getenv("BORROW_MODULE"))
		SKIP(return, "BORROW_MODULE= is not set");
	self->dev = luo_open();
	ASSERT_GE(self->dev, 0);
	ASSERT_EQ(0, load(""));
	self->borrow = open(BORROW_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->borrow, 0);
	self->session = luo_create(self->dev, "registration");
	ASSERT_GE(self->session, 0);
	self->full = luo_open_full(O_RDWR);
	ASSERT_GE(self->full, 0);
}

FIXTURE_TEARDOWN(registration)
{
	close(self->session);
	close(self->full);
	close(self->borrow);
	EXPECT_EQ(0, unload());
	close(self->dev);
}

static int control(int borrow, unsigned int cmd, unsigned long arg)
{
	return ioctl(borrow, cmd, arg) ? -errno : 0;
}

/* Of the handler of /dev/full. */
static int register_flb(int borrow, int flb)
{
	return control(borrow, BORROW_REGISTER_FLB,
		       BORROW_LINK(BORROW_FULL, flb));
}

static void unregister_flb(int borrow, int flb)
{
	control(borrow, BORROW_UNREGISTER_FLB, BORROW_LINK(BORROW_FULL, flb));
}

TEST_F(registration, as_many_flbs_as_can_cross)
{
	int i;

	for (i = 0; i < MAX_FLBS; i++)
		ASSERT_EQ(0, register_flb(self->borrow, i));
	EXPECT_EQ(-ENOSPC, register_flb(self->borrow, MAX_FLBS));
	EXPECT_EQ(-EEXIST, register_flb(self->borrow, 0));
	EXPECT_EQ(-EEXIST, register_flb(self->borrow, BORROW_TWIN));

	ASSERT_EQ(0, luo_preserve(self->session, self->full, 1));
	EXPECT_EQ(MAX_FLBS, calls(BORROW_FLB_PRESERVE));
	for (i = 0; i < MAX_FLBS; i++) {
		EXPECT_EQ(0, control(self->borrow, BORROW_GET_OUTGOING, i));
		control(self->borrow, BORROW_PUT_OUTGOING, i);
	}
	EXPECT_EQ(-ENOENT,
		  control(self->borrow, BORROW_GET_OUTGOING, MAX_FLBS));
	close(self->session);
	EXPECT_EQ(MAX_FLBS, calls(BORROW_FLB_UNPRESERVE));

	/* Each place is free again. */
	for (i = 0; i < MAX_FLBS; i++) {
		unregister_flb(self->borrow, i);
		EXPECT_EQ(0, register_flb(self->borrow, MAX_FLBS));
		EXPECT_EQ(-ENOSPC, register_flb(self->borrow, i));
		unregister_flb(self->borrow, MAX_FLBS);
		EXPECT_EQ(0, register_flb(self->borrow, i));
	}
}

TEST_F(registration, flbs_go_with_their_handler)
{
	int i;

	EXPECT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	EXPECT_EQ(-EEXIST, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	for (i = 0; i < MAX_FLBS; i++) {
		ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER_FLB,
				     BORROW_LINK(BORROW_ZERO, i)));
	}
	EXPECT_EQ(-ENOSPC, register_flb(self->borrow, MAX_FLBS));
	control(self->borrow, BORROW_UNREGISTER, BORROW_ZERO);
	EXPECT_EQ(-EINVAL, control(self->borrow, BORROW_REGISTER_FLB,
				   BORROW_LINK(BORROW_ZERO, 1)));
	for (i = 0; i < MAX_FLBS; i++)
		EXPECT_EQ(0, register_flb(self->borrow, i));
}

/* Preserves with the first file of either handler, and ends with the last one. */
TEST_F(registration, flb_of_two_handlers)
{
	int zero = open_zero(), other;

	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	ASSERT_EQ(0, register_flb(self->borrow, 0));
	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER_FLB,
			     BORROW_LINK(BORROW_ZERO, 0)));
	EXPECT_EQ(-EEXIST, control(self->borrow, BORROW_REGISTER_FLB,
				   BORROW_LINK(BORROW_ZERO, BORROW_TWIN)));

	ASSERT_EQ(0, luo_preserve(self->session, zero, 1));
	EXPECT_EQ(1, calls(BORROW_FLB_PRESERVE));
	other = session_with(self->dev, "other", self->full);
	ASSERT_GE(other, 0);
	EXPECT_EQ(1, calls(BORROW_FLB_PRESERVE));
	/* Its files count although the handler does not have it any more. */
	control(self->borrow, BORROW_UNREGISTER_FLB,
		BORROW_LINK(BORROW_ZERO, 0));
	close(other);
	EXPECT_EQ(0, calls(BORROW_FLB_UNPRESERVE));
	EXPECT_EQ(0, control(self->borrow, BORROW_GET_OUTGOING, 0));
	control(self->borrow, BORROW_PUT_OUTGOING, 0);
	close(self->session);
	EXPECT_EQ(1, calls(BORROW_FLB_UNPRESERVE));

	/* From now on, files of /dev/zero do without it. */
	other = session_with(self->dev, "other", zero);
	ASSERT_GE(other, 0);
	EXPECT_EQ(1, calls(BORROW_FLB_PRESERVE));
	close(other);
	other = session_with(self->dev, "other", self->full);
	ASSERT_GE(other, 0);
	EXPECT_EQ(2, calls(BORROW_FLB_PRESERVE));
	close(other);
	EXPECT_EQ(2, calls(BORROW_FLB_UNPRESERVE));
	close(zero);
}

TEST_F(registration, flb_survives_one_of_its_handlers)
{
	int zero = open_zero();

	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	ASSERT_EQ(0, register_flb(self->borrow, 0));
	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER_FLB,
			     BORROW_LINK(BORROW_ZERO, 0)));
	ASSERT_EQ(0, luo_preserve(self->session, self->full, 1));
	control(self->borrow, BORROW_UNREGISTER, BORROW_ZERO);
	EXPECT_EQ(0, control(self->borrow, BORROW_GET_OUTGOING, 0));
	control(self->borrow, BORROW_PUT_OUTGOING, 0);
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, zero, 2));
	close(self->session);
	EXPECT_EQ(1, calls(BORROW_FLB_UNPRESERVE));
	close(zero);
}

TEST_F(registration, files_of_one_id)
{
	int again = luo_open_full(O_RDWR), other;

	ASSERT_EQ(0, module_set("borrow", "by_inode", 1));
	other = luo_create(self->dev, "other");
	ASSERT_EQ(0, luo_preserve(self->session, self->full, 1));
	EXPECT_EQ(-EBUSY, luo_preserve(self->session, again, 2));
	EXPECT_EQ(-EBUSY, luo_preserve(other, again, 1));
	EXPECT_EQ(-EBUSY, luo_preserve(other, self->full, 1));
	EXPECT_EQ(1, calls(BORROW_PRESERVE));
	close(self->session);
	EXPECT_EQ(0, luo_preserve(other, again, 1));
	EXPECT_EQ(-EBUSY, luo_preserve(other, self->full, 2));
	close(other);

	ASSERT_EQ(0, module_set("borrow", "by_inode", 0));
	self->session = luo_create(self->dev, "registration");
	EXPECT_EQ(0, luo_preserve(self->session, self->full, 1));
	EXPECT_EQ(0, luo_preserve(self->session, again, 2));
	close(again);
}

/* A call that waits in a callback, and what goes on meanwhile. */

static int make_preserve(struct call *call)
{
	return luo_preserve(call->fd, call->arg, 1);
}

static int make_close(struct call *call)
{
	return close(call->fd) ? -errno : 0;
}

static int make_unregister(struct call *call)
{
	return control(call->fd, BORROW_UNREGISTER, BORROW_FULL);
}

static int make_unregister_flb(struct call *call)
{
	unregister_flb(call->fd, 0);
	return 0;
}

static int make_load(struct call *call)
{
	return load(call->text);
}

/*
 * Unregistering waits until callbacks have returned, and nothing waits for it but calls
 * for files of that handler.
 */
TEST_F_TIMEOUT(registration, unregister_while_preserving, 60)
{
	struct call preserving = { make_preserve, self->session, self->full };
	struct call unregistering = { make_unregister, self->borrow };
	int again = luo_open_full(O_RDWR), other;

	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	ASSERT_EQ(0, hold(1 << BORROW_PRESERVE));
	ASSERT_EQ(0, call_start(&preserving));
	ASSERT_TRUE(wait_for_held(1));
	ASSERT_EQ(0, call_start(&unregistering));
	EXPECT_FALSE(call_returns_within(&unregistering, ENOUGH_MS));
	EXPECT_EQ(0, others_work(self->dev));
	EXPECT_EQ(-ENOENT, session_with(self->dev, "full", again));
	ASSERT_EQ(0, hold(0));
	EXPECT_EQ(0, call_end(&preserving));
	EXPECT_EQ(0, call_end(&unregistering));

	/* No callback is called for the file that is left. It keeps the module loaded. */
	EXPECT_EQ(-ENOENT, session_with(self->dev, "full", again));
	close(self->borrow);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	self->borrow = open(BORROW_DEVICE, O_RDWR | O_CLOEXEC);
	close(self->session);
	EXPECT_EQ(0, calls(BORROW_UNPRESERVE));
	EXPECT_EQ(-ENOENT, session_with(self->dev, "full", self->full));
	EXPECT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_FULL));
	other = session_with(self->dev, "full", self->full);
	EXPECT_GE(other, 0);
	close(other);
	EXPECT_EQ(1, calls(BORROW_UNPRESERVE));
	close(again);
}

TEST_F_TIMEOUT(registration, unregister_while_unpreserving, 60)
{
	struct call closing = { make_close, self->session };
	struct call unregistering = { make_unregister, self->borrow };

	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	ASSERT_EQ(0, luo_preserve(self->session, self->full, 1));
	ASSERT_EQ(0, hold(1 << BORROW_UNPRESERVE));
	ASSERT_EQ(0, call_start(&closing));
	ASSERT_TRUE(wait_for_held(1));
	ASSERT_EQ(0, call_start(&unregistering));
	EXPECT_FALSE(call_returns_within(&unregistering, ENOUGH_MS));
	EXPECT_EQ(0, others_work(self->dev));
	ASSERT_EQ(0, hold(0));
	EXPECT_EQ(0, call_end(&closing));
	EXPECT_EQ(0, call_end(&unregistering));
	self->session = -1;
	EXPECT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_FULL));
	self->session = session_with(self->dev, "registration", self->full);
	EXPECT_GE(self->session, 0);
}

TEST_F_TIMEOUT(registration, unregister_flb_while_preserving, 60)
{
	struct call preserving = { make_preserve, self->session, self->full };
	struct call unregistering = { make_unregister_flb, self->borrow };

	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	ASSERT_EQ(0, register_flb(self->borrow, 0));
	ASSERT_EQ(0, hold(1 << BORROW_FLB_PRESERVE));
	ASSERT_EQ(0, call_start(&preserving));
	ASSERT_TRUE(wait_for_held(1));
	ASSERT_EQ(0, call_start(&unregistering));
	EXPECT_FALSE(call_returns_within(&unregistering, ENOUGH_MS));
	EXPECT_EQ(0, others_work(self->dev));
	ASSERT_EQ(0, hold(0));
	EXPECT_EQ(0, call_end(&preserving));
	EXPECT_EQ(0, call_end(&unregistering));
	close(self->session);
	EXPECT_EQ(0, calls(BORROW_FLB_UNPRESERVE));
	EXPECT_EQ(1, calls(BORROW_UNPRESERVE));
	EXPECT_EQ(0, register_flb(self->borrow, 0));
}

TEST_F_TIMEOUT(registration, callback_that_hangs, 60)
{
	struct call preserving = { make_preserve, self->session, self->full };
	int again = luo_open_full(O_RDWR), memfd = luo_memfd(0, LUO_PAGE, 1);
	char text[4096];
	int i;

	ASSERT_EQ(0, control(self->borrow, BORROW_REGISTER, BORROW_ZERO));
	ASSERT_EQ(0, hold(1 << BORROW_PRESERVE));
	ASSERT_EQ(0, call_start(&preserving));
	ASSERT_TRUE(wait_for_held(1));
	for (i = 0; i < 20; i++)
		EXPECT_EQ(0, others_work(self->dev));
	/* The same session, too. */
	EXPECT_EQ(0, luo_preserve(self->session, memfd, 2));
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, again, 1));
	EXPECT_EQ(-EBUSY, luo_preserve(self->session, self->full, 3));
	EXPECT_EQ(0, luo_fdinfo(self->session, text, sizeof(text)));
	EXPECT_FALSE(preserving.has_returned);
	ASSERT_EQ(0, hold(0));
	EXPECT_EQ(0, call_end(&preserving));
	EXPECT_EQ(0, luo_preserve(self->session, again, 3));
	close(again);
	close(memfd);
}

TEST_F_TIMEOUT(registration, killed_in_a_callback, 60)
{
	int status = 0, ms = 10000;
	pid_t child;

	ASSERT_EQ(0, register_flb(self->borrow, 0));
	ASSERT_EQ(0, hold(1 << BORROW_PRESERVE));
	child = fork();
	ASSERT_GE(child, 0);
	if (!child)
		_exit(luo_preserve(self->session, self->full, 1) ? 1 : 0);
	ASSERT_TRUE(wait_for_held(1));
	kill(child, SIGKILL);
	while (!waitpid(child, &status, WNOHANG) && ms-- > 0)
		usleep(1000);
	EXPECT_GT(ms, 0);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(1, calls(BORROW_FLB_UNPRESERVE));
	EXPECT_EQ(0, calls(BORROW_UNPRESERVE));
	ASSERT_EQ(0, hold(0));
	EXPECT_EQ(0, luo_preserve(self->session, self->full, 1));
}

/*
 * The kernel frees a module whose initialization fails, even if a file was preserved in
 * the meantime. Parameters of the module say when it fails.
 */
FIXTURE(initialization)
{
	int dev;
	int session;
	int full;
};

FIXTURE_SETUP(initialization)
{
	if (!getenv("BORROW_MODULE"))
		SKIP(return, "BORROW_MODULE= is not set");
	self->dev = luo_open();
	ASSERT_GE(self->dev, 0);
	self->session = luo_create(self->dev, "registration");
	ASSERT_GE(self->session, 0);
	self->full = luo_open_full(O_RDWR);
	ASSERT_GE(self->full, 0);
}

FIXTURE_TEARDOWN(initialization)
{
	close(self->session);
	close(self->full);
	close(self->dev);
}

/* Preserves a file as soon as there is a handler. */
static int preserve_early(int session, int fd)
{
	long long end = now_ms() + 10000;
	int err;

	while ((err = luo_preserve(session, fd, 1)) == -ENOENT &&
	       now_ms() < end)
		usleep(100);
	return err;
}

static int make_preserve_early(struct call *call)
{
	return preserve_early(call->fd, call->arg);
}

TEST_F_TIMEOUT(initialization, fails_after_preserve, 60)
{
	struct call loading = { make_load, .text = "fails=10000 flbs=2" };
	int again = luo_open_full(O_RDWR), memfd = luo_memfd(0, LUO_PAGE, 1);
	char text[4096];
	int other;

	ASSERT_EQ(0, call_start(&loading));
	ASSERT_EQ(0, preserve_early(self->session, self->full));
	EXPECT_EQ(-ENOANO, call_end(&loading));
	EXPECT_FALSE(module_is_loaded("borrow"));
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, again, 2));
	EXPECT_EQ(0, luo_preserve(self->session, memfd, 2));
	ASSERT_EQ(0, luo_fdinfo(self->session, text, sizeof(text)));
	EXPECT_EQ(1, luo_count_line(text, luo_file_line(1, BORROW_FULL_HANDLER,
							"preserved")));

	/* Nothing that is left is taken for something of the module's next load. */
	ASSERT_EQ(0, load("flbs=2"));
	other = session_with(self->dev, "other", again);
	ASSERT_GE(other, 0);
	close(self->session);
	EXPECT_EQ(0, calls(BORROW_UNPRESERVE));
	EXPECT_EQ(0, calls(BORROW_FLB_UNPRESERVE));
	EXPECT_EQ(-EWOULDBLOCK, unload());
	close(other);
	EXPECT_EQ(1, calls(BORROW_UNPRESERVE));
	EXPECT_EQ(2, calls(BORROW_FLB_UNPRESERVE));
	self->session = session_with(self->dev, "registration", self->full);
	EXPECT_GE(self->session, 0);
	close(self->session);
	EXPECT_EQ(0, unload());
	close(again);
	close(memfd);
}

TEST_F_TIMEOUT(initialization, fails_while_preserving, 60)
{
	struct call preserving = { make_preserve_early, self->session,
				   self->full };
	/* Of the callbacks, BORROW_PRESERVE is held. */
	struct call loading = { make_load,
				.text = "fails=10000 flbs=2 held=1" };

	ASSERT_EQ(0, call_start(&loading));
	ASSERT_EQ(0, call_start(&preserving));
	ASSERT_TRUE(wait_for_held(1));
	EXPECT_FALSE(call_returns_within(&loading, ENOUGH_MS));
	ASSERT_EQ(0, hold(0));
	EXPECT_EQ(0, call_end(&preserving));
	EXPECT_EQ(-ENOANO, call_end(&loading));
	EXPECT_FALSE(module_is_loaded("borrow"));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(0, load(""));
	EXPECT_EQ(0, unload());
}

TEST_HARNESS_MAIN
