// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bounds that the module was loaded with: LUO_SESSIONS and LUO_FILES say
 * which, 0 is none. Without them there is nothing to test.
 */
#include "lib/fixture.h"

#define MOST	16

FIXTURE(limits) {
	int dev;
	int sessions;
	int files;
};

FIXTURE_SETUP(limits)
{
	if (!getenv("LUO_SESSIONS") || !getenv("LUO_FILES"))
		SKIP(return, "LUO_SESSIONS= and LUO_FILES= do not say what is allowed");
	self->sessions = atoi(getenv("LUO_SESSIONS")) ?: MOST;
	self->files = atoi(getenv("LUO_FILES")) ?: MOST;
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
	bool bounded = self->sessions < MOST;
	int sessions[MOST], i, round;

	for (i = 0; i < self->sessions; i++) {
		sessions[i] = create(self->dev, i);
		ASSERT_GE(sessions[i], 0);
	}
	for (round = 0; round < 3 && bounded; round++) {
		EXPECT_EQ(-ENOSPC, create(self->dev, MOST));
		/* What cannot be anyway is said first, and takes no room. */
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
	bool bounded = self->files < MOST;
	int session = create(self->dev, 0), more, i, round;
	int files[MOST + 1];

	ASSERT_GE(session, 0);
	for (i = 0; i <= MOST; i++)
		files[i] = luo_memfd(0, LUO_PAGE, i);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < self->files; i++)
			ASSERT_EQ(0, luo_preserve(session, files[i], i));
		if (bounded) {
			EXPECT_EQ(-ENOSPC, luo_preserve(session, files[MOST], MOST));
			/* The token is free, and the file can be changed. */
			EXPECT_EQ(-ENOSPC, luo_preserve(session, files[MOST], MOST));
			EXPECT_EQ(0, luo_truncate(files[MOST], LUO_PAGE));
		}
		/* It is a bound for all sessions together. */
		more = self->sessions > 1 ? create(self->dev, 1) : -1;
		if (more >= 0 && bounded)
			EXPECT_EQ(-ENOSPC, luo_preserve(more, files[MOST], 1));
		close(session);
		if (more >= 0)
			EXPECT_EQ(0, luo_preserve(more, files[MOST], 1));
		close(more);
		session = create(self->dev, 0);
		ASSERT_GE(session, 0);
	}
	close(session);
	for (i = 0; i <= MOST; i++)
		close(files[i]);
}

TEST_HARNESS_MAIN
