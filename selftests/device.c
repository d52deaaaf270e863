// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device: which process may open it and how often, which commands it has, and the
 * properties of the fds that it returns. Clients such as systemd recognize session
 * fds by these properties.
 */
#include "lib/fixture.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

TEST_F(live, second_open_busy)
{
	EXPECT_EQ(-EBUSY, luo_open());
}

TEST_F(live, dup_counts_as_open)
{
	int copy = dup(self->dev);

	ASSERT_GE(copy, 0);
	ASSERT_EQ(0, close(self->dev));
	EXPECT_EQ(-EBUSY, luo_open());
	ASSERT_EQ(0, close(copy));
	self->dev = luo_open();
	EXPECT_GE(self->dev, 0);
}

TEST_F(live, forked_child_counts_as_open)
{
	int status, go[2];
	pid_t pid;

	/* The child holds the only fd until the parent closes the pipe. */
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		char byte;

		close(go[1]);
		_exit(luo_open() == -EBUSY && !read(go[0], &byte, 1) ? 0 : 1);
	}
	close(go[0]);
	close(self->dev);
	EXPECT_EQ(-EBUSY, luo_open());
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	self->dev = luo_open();
	EXPECT_GE(self->dev, 0);
}

TEST_F(live, open_in_child)
{
	int status;
	pid_t pid;

	close(self->dev);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(luo_open() >= 0 ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The exit of the child closed its fd. */
	self->dev = luo_open();
	EXPECT_GE(self->dev, 0);
}

TEST_F(live, close_and_open_again)
{
	int i;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, close(self->dev));
		self->dev = luo_open();
		ASSERT_GE(self->dev, 0);
	}
}

TEST_F(live, failed_open_changes_nothing)
{
	int session;

	EXPECT_EQ(-EBUSY, luo_open());
	EXPECT_EQ(-EBUSY, luo_open());
	session = luo_create(self->dev, "device-after-ebusy");
	EXPECT_GE(session, 0);
	close(session);
}

TEST_F(live, mode_0600)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->dev, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
}

TEST_F(live, fds_are_cloexec)
{
	int session = luo_create(self->dev, "device-cloexec");

	ASSERT_GE(session, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(session, F_GETFD));
	close(session);
}

TEST_F(live, unknown_nr_einval)
{
	struct liveupdate_ioctl_create_session arg = { .size = sizeof(arg) };
	int session = luo_create(self->dev, "device-nr");
	unsigned int nr;

	ASSERT_GE(session, 0);
	for (nr = 0; nr < 256; nr++) {
		if (nr > LIVEUPDATE_CMD_RETRIEVE_SESSION) {
			EXPECT_EQ(-EINVAL,
				  luo_ioctl(self->dev, _IO(0xBA, nr), &arg))
			TH_LOG("device, nr %#x", nr);
		}
		if (nr < LIVEUPDATE_CMD_SESSION_BASE ||
		    nr > LIVEUPDATE_CMD_SESSION_GET_NAME) {
			EXPECT_EQ(-EINVAL,
				  luo_ioctl(session, _IO(0xBA, nr), &arg))
			TH_LOG("session, nr %#x", nr);
		}
	}
	close(session);
}

TEST_F(live, other_bits_enotty)
{
	struct liveupdate_ioctl_create_session arg = { .size = sizeof(arg),
						       .name = "x" };
	static const unsigned int device[] = {
		LIVEUPDATE_IOCTL_CREATE_SESSION,
		LIVEUPDATE_IOCTL_RETRIEVE_SESSION,
	};
	static const unsigned int per_session[] = {
		LIVEUPDATE_SESSION_PRESERVE_FD,
		LIVEUPDATE_SESSION_RETRIEVE_FD,
		LIVEUPDATE_SESSION_FINISH,
		LIVEUPDATE_SESSION_GET_NAME,
	};
	/* Another type, each direction bit and a size: one of them suffices. */
	static const unsigned int flip[] = {
		_IOC(0, 0x01, 0, 0),
		_IOC(_IOC_READ, 0, 0, 0),
		_IOC(_IOC_WRITE, 0, 0, 0),
		_IOC(_IOC_READ | _IOC_WRITE, 0, 0, 0),
		_IOC(0, 0, 0, 1),
		_IOC(0, 0, 0, sizeof(arg)),
	};
	int session = luo_create(self->dev, "device-enotty");
	size_t i, j;

	ASSERT_GE(session, 0);
	for (j = 0; j < ARRAY_SIZE(flip); j++) {
		for (i = 0; i < ARRAY_SIZE(device); i++) {
			EXPECT_EQ(-ENOTTY, luo_ioctl(self->dev,
						     device[i] ^ flip[j], &arg))
			TH_LOG("device, command %#x", device[i] ^ flip[j]);
		}
		for (i = 0; i < ARRAY_SIZE(per_session); i++) {
			EXPECT_EQ(-ENOTTY,
				  luo_ioctl(session, per_session[i] ^ flip[j],
					    &arg))
			TH_LOG("session, command %#x",
			       per_session[i] ^ flip[j]);
		}
	}
	close(session);
	/* None of the calls made a session. */
	session = luo_create(self->dev, "x");
	EXPECT_GE(session, 0);
	close(session);
}

TEST_F(live, session_name_in_proc)
{
	char name[LUO_NAME_MAX], link[256], expected[256];
	static const int lengths[] = { 1, 8, 31, 63 };
	struct statfs fs;
	int session;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(name, 'a' + i, sizeof(name));
		name[lengths[i]] = '\0';
		session = luo_create(self->dev, name);
		ASSERT_GE(session, 0);
		ASSERT_EQ(0, fstatfs(session, &fs));
		EXPECT_EQ(ANON_INODE_FS_MAGIC, fs.f_type);
		ASSERT_EQ(0, luo_fdlink(session, link, sizeof(link)));
		snprintf(expected, sizeof(expected),
			 "anon_inode:[luo_session] %s", name);
		EXPECT_STREQ(expected, link);
		close(session);
	}
}

TEST_F(live, session_outlives_device)
{
	int session = luo_create(self->dev, "device-closed");
	char name[LUO_NAME_MAX];
	int fd;

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, close(self->dev));
	self->dev = -1;
	fd = luo_memfd(0, 10000, 1);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, luo_preserve(session, fd, 1));
	EXPECT_EQ(0, luo_get_name(session, name));
	EXPECT_STREQ("device-closed", name);
	/* Nor does the session keep the device open. */
	self->dev = luo_open();
	ASSERT_GE(self->dev, 0);
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "device-closed"));
	close(session);
	session = luo_create(self->dev, "device-closed");
	EXPECT_GE(session, 0);
	close(session);
	close(fd);
}

TEST_HARNESS_MAIN
