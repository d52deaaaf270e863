// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arguments of the ioctls: sizes, pointers, reserved fields and names, and what
 * the kernel writes back. Old programs call new kernels and the other way round, so
 * the size rules are those of copy_struct_from_user(). A call that fails must have
 * changed nothing.
 */
#include "lib/fixture.h"

#include <sys/resource.h>

#define CANARY 0xa5

struct command {
	const char *name;
	unsigned int cmd;
	size_t size;
	bool on_session;
};

/* Commands of the device and of outgoing sessions. */
static const struct command commands[] = {
	{ "create_session", LIVEUPDATE_IOCTL_CREATE_SESSION,
	  sizeof(struct liveupdate_ioctl_create_session), false },
	{ "retrieve_session", LIVEUPDATE_IOCTL_RETRIEVE_SESSION,
	  sizeof(struct liveupdate_ioctl_retrieve_session), false },
	{ "preserve_fd", LIVEUPDATE_SESSION_PRESERVE_FD,
	  sizeof(struct liveupdate_session_preserve_fd), true },
	{ "get_name", LIVEUPDATE_SESSION_GET_NAME,
	  sizeof(struct liveupdate_session_get_name), true },
};

struct fds {
	int dev;
	int session;
	int memfd;
};

FIXTURE(args)
{
	struct fds fds;
};

FIXTURE_VARIANT(args)
{
	unsigned int which;
};

FIXTURE_VARIANT_ADD(args, create_session){ .which = 0 };
FIXTURE_VARIANT_ADD(args, retrieve_session){ .which = 1 };
FIXTURE_VARIANT_ADD(args, preserve_fd){ .which = 2 };
FIXTURE_VARIANT_ADD(args, get_name){ .which = 3 };

FIXTURE_SETUP(args)
{
	self->fds.session = -1;
	self->fds.memfd = -1;
	self->fds.dev = luo_open();
	if (self->fds.dev == -ENOENT || self->fds.dev == -ENODEV ||
	    self->fds.dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->fds.dev, 0);
	self->fds.session = luo_create(self->fds.dev, "args");
	ASSERT_GE(self->fds.session, 0);
	self->fds.memfd = luo_memfd(0, LUO_PAGE, 1);
	ASSERT_GE(self->fds.memfd, 0);
}

FIXTURE_TEARDOWN(args)
{
	close(self->fds.session);
	close(self->fds.memfd);
	close(self->fds.dev);
}

/* Writes a valid argument to @ptr. The call then returns good_answer(). */
static void good_arg(struct fds *fds, unsigned int which, void *ptr, __u32 size)
{
	union {
		struct liveupdate_ioctl_create_session create;
		struct liveupdate_session_preserve_fd preserve;
	} arg = {};

	if (which == 2) {
		arg.preserve.fd = fds->memfd;
		arg.preserve.token = 42;
	} else if (which < 2) {
		snprintf((char *)arg.create.name, LUO_NAME_MAX, "args-new");
	}
	arg.create.size = size;
	memcpy(ptr, &arg, commands[which].size);
}

static int good_answer(unsigned int which)
{
	return which == 1 ? -ENOENT : 0;
}

static int call(struct fds *fds, unsigned int which, void *ptr)
{
	const struct command *c = &commands[which];

	return luo_ioctl(c->on_session ? fds->session : fds->dev, c->cmd, ptr);
}

/* Expects the state from before any of the calls. */
static void nothing_changed(struct __test_metadata *_metadata, struct fds *fds)
{
	int other = luo_create(fds->dev, "args-new");

	EXPECT_GE(other, 0)
	TH_LOG("a failed call left a session");
	EXPECT_EQ(0, luo_preserve(other, fds->memfd, 42))
	TH_LOG("a failed call left the memfd preserved");
	close(other);
	EXPECT_EQ(0, luo_preserve(fds->session, fds->memfd, 42))
	TH_LOG("a failed call left the token in use");
}

TEST_F(args, too_small_einval)
{
	unsigned int which = variant->which;
	unsigned char buf[128] = {};
	__u32 size;

	for (size = 0; size < commands[which].size; size++) {
		good_arg(&self->fds, which, buf, size);
		EXPECT_EQ(-EINVAL, call(&self->fds, which, buf))
		TH_LOG("%s, size %u", commands[which].name, size);
	}
	nothing_changed(_metadata, &self->fds);
}

TEST_F(args, larger_with_zeroes)
{
	static const size_t more[] = { 1, 3, 8, 100, 5000 };
	unsigned int which = variant->which;
	static unsigned char buf[8192];
	size_t i, j, size;

	for (i = 0; i < ARRAY_SIZE(more); i++) {
		size = commands[which].size + more[i];
		memset(buf, CANARY, sizeof(buf));
		memset(buf, 0, size);
		good_arg(&self->fds, which, buf, size);
		EXPECT_EQ(good_answer(which), call(&self->fds, which, buf))
		TH_LOG("%s, size %zu", commands[which].name, size);
		EXPECT_EQ(size, *(__u32 *)buf);
		if (which == 0)
			close(((struct liveupdate_ioctl_create_session *)buf)
				      ->fd);
		if (which == 2) {
			/* Unpreserve the memfd for the next size. */
			close(self->fds.session);
			self->fds.session = luo_create(self->fds.dev, "args");
			ASSERT_GE(self->fds.session, 0);
		}
		/*
		 * The kernel wrote no byte beyond the structure that it knows.
		 */
		for (j = commands[which].size; j < sizeof(buf); j++) {
			ASSERT_EQ(j < size ? 0 : CANARY, buf[j])
			TH_LOG("%s, size %zu: byte %zu changed",
			       commands[which].name, size, j);
		}
	}
	nothing_changed(_metadata, &self->fds);
}

TEST_F(args, exact_size_writes_no_more)
{
	unsigned int which = variant->which;
	unsigned char buf[256];
	size_t j;

	memset(buf, CANARY, sizeof(buf));
	good_arg(&self->fds, which, buf, commands[which].size);
	EXPECT_EQ(good_answer(which), call(&self->fds, which, buf));
	for (j = commands[which].size; j < sizeof(buf); j++) {
		ASSERT_EQ(CANARY, buf[j])
		TH_LOG("%s: byte %zu changed", commands[which].name, j);
	}
}

TEST_F(args, unknown_tail_e2big)
{
	static const size_t more[] = { 1, 7, 64, 5000 };
	unsigned int which = variant->which;
	static unsigned char buf[8192];
	size_t i, j, size;

	for (i = 0; i < ARRAY_SIZE(more); i++) {
		size = commands[which].size + more[i];
		/* The first, the middle and the last unknown byte. */
		for (j = 0; j < 3; j++) {
			memset(buf, 0, sizeof(buf));
			good_arg(&self->fds, which, buf, size);
			buf[commands[which].size + (more[i] - 1) * j / 2] = 1;
			EXPECT_EQ(-E2BIG, call(&self->fds, which, buf))
			TH_LOG("%s, size %zu", commands[which].name, size);
		}
	}
	nothing_changed(_metadata, &self->fds);
}

TEST_F(args, bad_pointer_efault)
{
	unsigned int which = variant->which;
	void *none = (char *)luo_guarded(LUO_PAGE) + LUO_PAGE;

	EXPECT_EQ(-EFAULT, call(&self->fds, which, NULL));
	EXPECT_EQ(-EFAULT, call(&self->fds, which, (void *)1));
	EXPECT_EQ(-EFAULT, call(&self->fds, which, none));
	EXPECT_EQ(-EFAULT, call(&self->fds, which, (void *)-1L));
	EXPECT_EQ(-EFAULT, call(&self->fds, which, (void *)(1UL << 63)));
	nothing_changed(_metadata, &self->fds);
}

TEST_F(args, into_unmapped_efault)
{
	unsigned int which = variant->which;
	size_t size = commands[which].size;
	unsigned char good[128] = {};
	size_t mapped;
	char *ptr;

	/* The structure runs into unmapped memory; then only its tail does. */
	for (mapped = 4; mapped < size; mapped++) {
		ptr = luo_guarded(mapped);
		ASSERT_NE(NULL, ptr);
		good_arg(&self->fds, which, good, size);
		memcpy(ptr, good, mapped);
		EXPECT_EQ(-EFAULT, call(&self->fds, which, ptr))
		TH_LOG("%s: %zu of %zu bytes mapped", commands[which].name,
		       mapped, size);
	}
	ptr = luo_guarded(size);
	ASSERT_NE(NULL, ptr);
	good_arg(&self->fds, which, ptr, size + 8);
	EXPECT_EQ(-EFAULT, call(&self->fds, which, ptr));
	good_arg(&self->fds, which, ptr, 0xffffffff);
	EXPECT_EQ(-EFAULT, call(&self->fds, which, ptr));
	nothing_changed(_metadata, &self->fds);

	/* The same address with the right size works. */
	close(self->fds.session);
	self->fds.session = luo_create(self->fds.dev, "args");
	good_arg(&self->fds, which, ptr, size);
	EXPECT_EQ(good_answer(which), call(&self->fds, which, ptr));
}

TEST_F(args, readonly_efault)
{
	unsigned int which = variant->which;
	unsigned char good[128] = {};
	int before, after, expected;
	void *ptr;

	/* There is no session to retrieve; kexec_sessions.c has one. */
	expected = which == 1 ? -ENOENT : -EFAULT;
	before = dup(0);
	close(before);
	good_arg(&self->fds, which, good, commands[which].size);
	ptr = luo_readonly(good, commands[which].size);
	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(expected, call(&self->fds, which, ptr));
	EXPECT_EQ(expected, call(&self->fds, which, ptr))
	TH_LOG("the second time");
	/* The call consumed no fd. */
	after = dup(0);
	close(after);
	EXPECT_EQ(before, after);
	nothing_changed(_metadata, &self->fds);
}

TEST_F(live, reserved_einval)
{
	struct liveupdate_session_get_name arg = { .size = sizeof(arg) };
	int session = luo_create(self->dev, "args-reserved");
	int bit;

	ASSERT_GE(session, 0);
	for (bit = 0; bit < 32; bit++) {
		arg.reserved = 1U << bit;
		EXPECT_EQ(-EINVAL,
			  luo_ioctl(session, LIVEUPDATE_SESSION_GET_NAME, &arg))
		TH_LOG("get_name, reserved %#x", arg.reserved);
		EXPECT_EQ(0, arg.name[0]);
	}
	arg.reserved = 0;
	EXPECT_EQ(0, luo_ioctl(session, LIVEUPDATE_SESSION_GET_NAME, &arg));
	close(session);
}

TEST_F(live, names)
{
	struct liveupdate_ioctl_create_session arg = { .size = sizeof(arg) };
	char name[LUO_NAME_MAX];
	int session;

	EXPECT_EQ(-EINVAL,
		  luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg))
	TH_LOG("create_session, empty name");

	/* A NUL byte first: what follows it is not part of the name. */
	memset(arg.name, 'x', sizeof(arg.name));
	arg.name[0] = '\0';
	EXPECT_EQ(-EINVAL,
		  luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg))
	TH_LOG("create_session, NUL byte first");

	arg.name[0] = 'x';
	EXPECT_EQ(-EINVAL,
		  luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg))
	TH_LOG("create_session, no NUL byte");

	/* The longest name is 63 bytes and a NUL byte. */
	arg.name[LUO_NAME_MAX - 1] = '\0';
	EXPECT_EQ(0,
		  luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg));
	EXPECT_EQ(0, luo_get_name(arg.fd, name));
	EXPECT_STREQ((char *)arg.name, name);
	close(arg.fd);

	/* Bytes after the NUL byte are not part of the name. */
	memset(arg.name, 0xff, sizeof(arg.name));
	snprintf((char *)arg.name, LUO_NAME_MAX, "short");
	EXPECT_EQ(0,
		  luo_ioctl(self->dev, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg));
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "short"));
	memset(name, CANARY, sizeof(name));
	EXPECT_EQ(0, luo_get_name(arg.fd, name));
	EXPECT_STREQ("short", name);
	close(arg.fd);

	/* Any byte but NUL may be in a name. */
	session = luo_create(self->dev, "\x01/\xff %s\n");
	EXPECT_GE(session, 0);
	EXPECT_EQ(0, luo_get_name(session, name));
	EXPECT_STREQ("\x01/\xff %s\n", name);
	close(session);
}

TEST_F(live, create_without_a_free_fd)
{
	struct rlimit limit, low;
	int top, session;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	top = dup(0);
	ASSERT_GE(top, 0);
	close(top);
	low = limit;
	low.rlim_cur = top;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &low));
	EXPECT_EQ(-EMFILE, luo_create(self->dev, "args-emfile"));
	/* The fd comes before the name. */
	EXPECT_EQ(-EMFILE, luo_create(self->dev, ""));
	EXPECT_EQ(-EMFILE, luo_retrieve(self->dev, ""));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	session = luo_create(self->dev, "args-emfile");
	EXPECT_GE(session, 0)
	TH_LOG("the name stayed in use after EMFILE");
	close(session);
}

TEST_HARNESS_MAIN
