// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls with two mistakes: which errno they return. The C implementation is the
 * authority. It needs a free fd first, then looks up names, tokens and fds, and
 * writes the argument back last. Clients switch on these errnos, so each order is
 * a test of its own; kexec_errors.c has those of incoming sessions.
 *
 * The malformed and the random calls of other programs only check that one of
 * several mistakes is reported.
 */
#include "lib/fixture.h"

#include <sys/resource.h>

FIXTURE(order)
{
	int dev;
	int session;
	int busy;
	int memfd;
	int null;
};

FIXTURE_SETUP(order)
{
	self->session = -1;
	self->dev = luo_open();
	if (self->dev == -ENOENT || self->dev == -ENODEV || self->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->dev, 0);
	self->session = luo_create(self->dev, "order");
	ASSERT_GE(self->session, 0);
	self->busy = luo_memfd(0, LUO_PAGE, 1);
	self->memfd = luo_memfd(0, LUO_PAGE, 2);
	self->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->null, 0);
	ASSERT_EQ(0, luo_preserve(self->session, self->busy, 1));
}

FIXTURE_TEARDOWN(order)
{
	close(self->session);
	close(self->busy);
	close(self->memfd);
	close(self->null);
	close(self->dev);
}

/* The name of a call: 64 bytes, which need not end. */
enum name {
	EMPTY,
	UNTERMINATED,
	IN_USE,
	UNKNOWN,
};

static void put_name(__u8 name[LUO_NAME_MAX], enum name kind)
{
	memset(name, kind == UNTERMINATED ? 'x' : 0, LUO_NAME_MAX);
	if (kind == IN_USE)
		strcpy((char *)name, "order");
	if (kind == UNKNOWN)
		strcpy((char *)name, "order-unknown");
}

/* create_session or retrieve_session; a read-only argument cannot be written back. */
static int by_name(int dev, unsigned int cmd, enum name kind, bool readonly)
{
	struct liveupdate_ioctl_create_session arg = { .size = sizeof(arg) };

	put_name(arg.name, kind);
	return luo_ioctl(dev, cmd,
			 readonly ? luo_readonly(&arg, sizeof(arg)) : &arg);
}

static int create(int dev, enum name kind, bool readonly)
{
	return by_name(dev, LIVEUPDATE_IOCTL_CREATE_SESSION, kind, readonly);
}

static int retrieve(int dev, enum name kind, bool readonly)
{
	return by_name(dev, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, kind, readonly);
}

static int preserve_readonly(int session, int fd, __u64 token)
{
	struct liveupdate_session_preserve_fd arg = {
		.size = sizeof(arg),
		.fd = fd,
		.token = token,
	};

	return luo_ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD,
			 luo_readonly(&arg, sizeof(arg)));
}

/* Lowers RLIMIT_NOFILE so that no fd is free. The harness runs each test in a child. */
static void use_up_fds(struct __test_metadata *_metadata)
{
	struct rlimit limit;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	ASSERT_EQ(-1, dup(0));
	ASSERT_EQ(EMFILE, errno);
}

/* retrieve_session: a name that no session can have is just not found. */

TEST_F(order, retrieve_empty_name_enoent)
{
	EXPECT_EQ(-ENOENT, retrieve(self->dev, EMPTY, false));
}

TEST_F(order, retrieve_unterminated_name_enoent)
{
	EXPECT_EQ(-ENOENT, retrieve(self->dev, UNTERMINATED, false));
}

/* Without a free fd the name does not matter. */

TEST_F(order, create_empty_name_without_fd_emfile)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EMFILE, create(self->dev, EMPTY, false));
}

TEST_F(order, create_unterminated_name_without_fd_emfile)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EMFILE, create(self->dev, UNTERMINATED, false));
}

TEST_F(order, create_name_in_use_without_fd_emfile)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EMFILE, create(self->dev, IN_USE, false));
}

TEST_F(order, retrieve_empty_name_without_fd_emfile)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EMFILE, retrieve(self->dev, EMPTY, false));
}

TEST_F(order, retrieve_unterminated_name_without_fd_emfile)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EMFILE, retrieve(self->dev, UNTERMINATED, false));
}

TEST_F(order, retrieve_unknown_name_without_fd_emfile)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EMFILE, retrieve(self->dev, UNKNOWN, false));
}

/* With a read-only argument, the error of the name comes first. */

TEST_F(order, create_empty_name_readonly_einval)
{
	EXPECT_EQ(-EINVAL, create(self->dev, EMPTY, true));
}

TEST_F(order, create_unterminated_name_readonly_einval)
{
	EXPECT_EQ(-EINVAL, create(self->dev, UNTERMINATED, true));
}

TEST_F(order, create_name_in_use_readonly_eexist)
{
	EXPECT_EQ(-EEXIST, create(self->dev, IN_USE, true));
}

TEST_F(order, create_free_name_readonly_efault)
{
	EXPECT_EQ(-EFAULT, create(self->dev, UNKNOWN, true));
	/* The name is free again. */
	EXPECT_EQ(0, create(self->dev, UNKNOWN, false));
}

TEST_F(order, retrieve_empty_name_readonly_enoent)
{
	EXPECT_EQ(-ENOENT, retrieve(self->dev, EMPTY, true));
}

TEST_F(order, retrieve_unterminated_name_readonly_enoent)
{
	EXPECT_EQ(-ENOENT, retrieve(self->dev, UNTERMINATED, true));
}

TEST_F(order, retrieve_unknown_name_readonly_enoent)
{
	EXPECT_EQ(-ENOENT, retrieve(self->dev, UNKNOWN, true));
}

/* preserve_fd: the token, then the fd, then its handler, then the file. */

TEST_F(order, preserve_token_in_use_and_bad_fd_eexist)
{
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, -1, 1));
}

TEST_F(order, preserve_token_in_use_and_no_handler_eexist)
{
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, self->null, 1));
}

TEST_F(order, preserve_token_and_file_in_use_eexist)
{
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, self->busy, 1));
}

TEST_F(order, preserve_bad_fd_without_fd_ebadf)
{
	use_up_fds(_metadata);
	EXPECT_EQ(-EBADF, luo_preserve(self->session, -1, 2));
}

/* With a read-only argument, each of these errors comes before EFAULT. */

TEST_F(order, preserve_token_in_use_readonly_eexist)
{
	EXPECT_EQ(-EEXIST, preserve_readonly(self->session, self->memfd, 1));
}

TEST_F(order, preserve_bad_fd_readonly_ebadf)
{
	EXPECT_EQ(-EBADF, preserve_readonly(self->session, -1, 2));
}

TEST_F(order, preserve_no_handler_readonly_enoent)
{
	EXPECT_EQ(-ENOENT, preserve_readonly(self->session, self->null, 2));
}

TEST_F(order, preserve_file_in_use_readonly_ebusy)
{
	EXPECT_EQ(-EBUSY, preserve_readonly(self->session, self->busy, 2));
}

/*
 * Here the module does better than the C implementation, which leaves the file
 * preserved although the call failed.
 */
TEST_F(order, preserve_readonly_efault)
{
	EXPECT_EQ(-EFAULT, preserve_readonly(self->session, self->memfd, 2));
	if (luo_is_c())
		SKIP(return, "the C implementation leaves the file preserved");
	EXPECT_EQ(0, luo_truncate(self->memfd, 2 * LUO_PAGE));
	EXPECT_EQ(0, luo_preserve(self->session, self->memfd, 2));
}

/* Calls for the other direction fail before their argument is read. */

TEST_F(order, finish_outgoing_with_reserved_einval)
{
	struct liveupdate_session_finish arg = { .size = sizeof(arg),
						 .reserved = 1 };

	EXPECT_EQ(-EINVAL,
		  luo_ioctl(self->session, LIVEUPDATE_SESSION_FINISH, &arg));
}

TEST_F(order, finish_outgoing_with_unknown_tail_einval)
{
	struct {
		struct liveupdate_session_finish arg;
		__u64 tail;
	} big = { .arg.size = sizeof(big), .tail = 1 };

	EXPECT_EQ(-EINVAL,
		  luo_ioctl(self->session, LIVEUPDATE_SESSION_FINISH, &big));
}

TEST_F(order, finish_outgoing_null_pointer_efault)
{
	EXPECT_EQ(-EFAULT,
		  luo_ioctl(self->session, LIVEUPDATE_SESSION_FINISH, NULL));
}

TEST_F(order, get_name_reserved_readonly_einval)
{
	struct liveupdate_session_get_name arg = { .size = sizeof(arg),
						   .reserved = 1 };

	EXPECT_EQ(-EINVAL, luo_ioctl(self->session, LIVEUPDATE_SESSION_GET_NAME,
				     luo_readonly(&arg, sizeof(arg))));
}

TEST_HARNESS_MAIN
