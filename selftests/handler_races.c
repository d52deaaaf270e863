// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that load and unload a handler, number.ko, while others preserve its files:
 * unloading succeeds or reports that the module is in use, preserving succeeds or finds
 * no handler. NUMBER_MODULE= is the path of number.ko, which must not be loaded.
 */
#include "lib/churn.h"
#include "lib/fixture.h"

/* There is no device while the module is not there. */
static const int no_device[] = { ENOENT, ENODEV, ENXIO, 0 };
static const int no_error[] = { 0 };

/* The name is that of the thread, so that it is free. */
static int next_session(struct churn *c)
{
	char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "races-%d", gettid());
	return luo_create(c->dev, name);
}

/* The open file keeps the module loaded, so there is a handler. */
static void *preserve_numbers(void *arg)
{
	struct churn *c = arg;
	char text[4096];
	int session, fd, i;

	while (churn_goes_on(c)) {
		session = next_session(c);
		churn_answer(c, session, "create_session", no_error);
		for (i = 0; i < 3; i++) {
			fd = churn_number(i + 1);
			if (!churn_answer(c, fd, "create a number", no_device))
				continue;
			if (churn_answer(c, luo_preserve(session, fd, i),
					 "preserve_fd", no_error))
				c->works++;
			close(fd);
		}
		luo_fdinfo(session, text, sizeof(text));
		close(session);
		churn_pause();
	}
	return NULL;
}

/* Files that no handler preserves: all handlers are asked, whether they go or not. */
static void *preserve_others(void *arg)
{
	static const int no_handler[] = { ENOENT, 0 };
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct churn *c = arg;
	int session, memfd;

	while (churn_goes_on(c)) {
		session = next_session(c);
		memfd = luo_memfd(0, LUO_PAGE, 1);
		churn_answer(c, luo_preserve(session, zero, 1),
			     "preserve_fd of /dev/zero", no_handler);
		if (churn_answer(c, luo_preserve(session, memfd, 2),
				 "preserve_fd of a memfd", no_error))
			c->works++;
		close(memfd);
		close(session);
	}
	close(zero);
	return NULL;
}

/* The FLB comes and goes with files and users. */
static void *use_flb(void *arg)
{
	struct churn *c = arg;
	int device;

	while (churn_goes_on(c)) {
		device = open(NUMBER_DEVICE, O_RDWR | O_CLOEXEC);
		if (device < 0) {
			sched_yield();
			continue;
		}
		if (!ioctl(device, NUMBER_GET_OUTGOING, 0)) {
			c->works++;
			ioctl(device, NUMBER_PUT_OUTGOING, 0);
		}
		if (!ioctl(device, NUMBER_GET_INCOMING, 0))
			churn_answer(c, -EUCLEAN, "get_incoming", no_error);
		close(device);
		churn_pause();
	}
	return NULL;
}

TEST_F_TIMEOUT(live, load_unload_and_preserve, 60)
{
	static void *(*const threads[])(void *) = {
		churn_module,	  churn_module,	   preserve_numbers,
		preserve_numbers, preserve_others, use_flb,
	};
	struct churn c;

	if (!getenv("NUMBER_MODULE"))
		SKIP(return, "NUMBER_MODULE= is not set");
	ASSERT_EQ(0, churn(&c, self->dev, threads, ARRAY_SIZE(threads)));
	TH_LOG("loaded %ld times, unloaded %ld, refused %ld; %ld successful calls",
	       c.loads, c.unloads, c.refused, c.works);
	EXPECT_EQ(0, c.unexpected)
	TH_LOG("%s: an errno that no race explains: %s", c.where,
	       strerror(-c.unexpected));
	EXPECT_GT(c.unloads, 0);
	EXPECT_GT(c.refused, 0);
	EXPECT_GT(c.works, 0);
	EXPECT_EQ(0, churn_settle());
}

TEST_HARNESS_MAIN
