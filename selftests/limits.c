// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module parameters max_sessions and max_files: calls beyond a limit fail with
 * ENOSPC, and closing makes room again. LUO_SESSIONS= and LUO_FILES= are the values
 * that the module was loaded with, 0 for none. Without them the tests are skipped.
 */
#include "lib/fixture.h"

#define UNLIMITED 16

FIXTURE(limits)
{
	int dev;
	int sessions;
	int files;
};

FIXTURE_SETUP(limits)
{
	if (!getenv("LUO_SESSIONS") || !getenv("LUO_FILES"))
		SKIP(return, "LUO_SESSIONS= and LUO_FILES= are not set");
	self->sessions = atoi(getenv("LUO_SESSIONS")) ?: UNLIMITED;
	self->files = atoi(getenv("LUO_FILES")) ?: UNLIMITED;
	self->dev = luo_open();
	ASSERT_GE(self->dev, 0);
}

FIXTURE_TEARDOWN(limits)
{
	close(self->dev);
}

static int create(int dev, int i)
{
	char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "limits-%d", i);
	return luo_create(dev, name);
}

TEST_F(limits, sessions)
{
	bool bounded = self->sessions < UNLIMITED;
	int sessions[UNLIMITED], i, round;

	for (i = 0; i < self->sessions; i++) {
		sessions[i] = create(self->dev, i);
		ASSERT_GE(sessions[i], 0);
	}
	for (round = 0; round < 3 && bounded; round++) {
		EXPECT_EQ(-ENOSPC, create(self->dev, UNLIMITED));
		/* EEXIST takes precedence over ENOSPC. */
		EXPECT_EQ(-EEXIST, create(self->dev, 0));
		close(sessions[0]);
		sessions[0] = create(self->dev, 0);
		ASSERT_GE(sessions[0], 0);
	}
	for (i = 0; i < self->sessions; i++)
		close(sessions[i]);
}

TEST_F(limits, files)
{
	bool bounded = self->files < UNLIMITED;
	int session = create(self->dev, 0), more, i, round;
	int files[UNLIMITED + 1];

	ASSERT_GE(session, 0);
	for (i = 0; i <= UNLIMITED; i++)
		files[i] = luo_memfd(0, LUO_PAGE, i);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < self->files; i++)
			ASSERT_EQ(0, luo_preserve(session, files[i], i));
		if (bounded) {
			EXPECT_EQ(-ENOSPC,
				  luo_preserve(session, files[UNLIMITED],
					       UNLIMITED));
			/*
			 * The failed call neither kept the token nor froze the
			 * file.
			 */
			EXPECT_EQ(-ENOSPC,
				  luo_preserve(session, files[UNLIMITED],
					       UNLIMITED));
			EXPECT_EQ(0, luo_truncate(files[UNLIMITED], LUO_PAGE));
		}
		/* The limit is for all sessions together. */
		more = self->sessions > 1 ? create(self->dev, 1) : -1;
		if (more >= 0 && bounded)
			EXPECT_EQ(-ENOSPC,
				  luo_preserve(more, files[UNLIMITED], 1));
		close(session);
		if (more >= 0)
			EXPECT_EQ(0, luo_preserve(more, files[UNLIMITED], 1));
		close(more);
		session = create(self->dev, 0);
		ASSERT_GE(session, 0);
	}
	close(session);
	for (i = 0; i <= UNLIMITED; i++)
		close(files[i]);
}

TEST_HARNESS_MAIN
