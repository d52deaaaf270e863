// SPDX-License-Identifier: GPL-2.0-only
/*
 * The handler "test-full-v1" of the test build of the module: it preserves open
 * files of /dev/full, which shows that a session can hold files of several
 * handlers. kexec_refused.c tests its freeze, retrieve and finish.
 */
#include "lib/fixture.h"

FIXTURE(handler)
{
	int dev;
	int session;
	int full;
};

FIXTURE_SETUP(handler)
{
	int probe;

	self->session = -1;
	self->full = -1;
	self->dev = luo_open();
	if (self->dev == -ENOENT || self->dev == -ENODEV || self->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->dev, 0);
	self->full = luo_open_full(O_RDWR | O_NONBLOCK);
	ASSERT_GE(self->full, 0);
	probe = luo_create(self->dev, "handler-probe");
	ASSERT_GE(probe, 0);
	if (luo_preserve(probe, self->full, 1) == -ENOENT) {
		close(probe);
		SKIP(return, "not the test build: no handler");
	}
	close(probe);
	self->session = luo_create(self->dev, "handler");
	ASSERT_GE(self->session, 0);
}

FIXTURE_TEARDOWN(handler)
{
	close(self->session);
	close(self->full);
	close(self->dev);
}

TEST_F(handler, preserve_and_close)
{
	int i;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, luo_preserve(self->session, self->full, 1));
		EXPECT_EQ(-EBUSY, luo_preserve(self->session, self->full, 2));
		EXPECT_EQ(-EEXIST, luo_preserve(self->session, self->full, 1));
		ASSERT_EQ(0, close(self->session));
		self->session = luo_create(self->dev, "handler");
		ASSERT_GE(self->session, 0);
	}
}

TEST_F(handler, in_fdinfo)
{
	int fd = luo_memfd(0, 1, 1);
	char text[4096];

	ASSERT_EQ(0, luo_preserve(self->session, self->full, 1));
	ASSERT_EQ(0, luo_preserve(self->session, fd, 2));
	ASSERT_EQ(0, luo_fdinfo(self->session, text, sizeof(text)));
	EXPECT_EQ(1, luo_count_line(text, luo_file_line(1, "test-full-v1",
							"preserved")))
	TH_LOG("expected \"%s\", seen:\n%s",
	       luo_file_line(1, "test-full-v1", "preserved"), text);
	EXPECT_EQ(1, luo_count_line(text,
				    luo_file_line(2, LUO_MEMFD, "preserved")));
	close(fd);
}

TEST_F(handler, only_dev_full)
{
	int zero = open("/dev/zero", O_RDWR);

	ASSERT_GE(zero, 0);
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, zero, 1));
	close(zero);
}

TEST_HARNESS_MAIN
