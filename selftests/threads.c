// SPDX-License-Identifier: GPL-2.0-only
/*
 * Four threads make the same calls at the same time for two seconds. A call may
 * fail because another one won, but only with an errno that says so. What one
 * thread got, no other has. In the end all names and files are free.
 *
 * This makes many more calls than races.c, which judges them more strictly.
 * LUO_SEED repeats a run.
 */
#include "lib/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define THREADS 4
#define SECONDS 2
#define NAMES 3
#define MEMFDS 2
#define SLOTS 4

struct shared {
	int dev;
	int memfds[MEMFDS];
	atomic_int slots[SLOTS];
	/*
	 * Whether a thread has a session of the name, or has the memfd
	 * preserved.
	 */
	atomic_int names[NAMES];
	atomic_int preserved[MEMFDS];
	__u64 seed;
	time_t end;
	/* The first unexpected answer. */
	atomic_int unexpected;
	const char *where;
	atomic_long calls;
};

struct worker {
	struct shared *shared;
	__u64 state;
	pthread_t thread;
};

static __u64 next_random(struct worker *w)
{
	w->state = luo_mix(w->state, 0);
	return w->state;
}

static bool running(struct worker *w)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < w->shared->end && !w->shared->unexpected;
}

/*
 * Checks an answer: success, or one of the errnos in @allowed, which ends with
 * 0.
 */
static void check_answer(struct worker *w, int answer, const char *where,
			 const int *allowed)
{
	w->shared->calls++;
	if (answer >= 0)
		return;
	for (; *allowed; allowed++) {
		if (answer == -*allowed)
			return;
	}
	w->shared->where = where;
	w->shared->unexpected = answer;
}

static unsigned int name_of(struct worker *w, char *name)
{
	unsigned int number = next_random(w) % NAMES;

	snprintf(name, LUO_NAME_MAX, "threads-%u", number);
	return number;
}

/* Marks what this thread got; another thread must not have it now. */
static void now_mine(struct worker *w, atomic_int *what, const char *where)
{
	static const int none[] = { 0 };

	if (atomic_exchange(what, 1))
		check_answer(w, -EUSERS, where, none);
}

static void *same_names(void *arg)
{
	static const int create[] = { EEXIST, 0 }, retrieve[] = { ENOENT, 0 };
	struct worker *w = arg;
	char name[LUO_NAME_MAX], seen[LUO_NAME_MAX];
	unsigned int number;
	int session;

	while (running(w)) {
		number = name_of(w, name);
		session = luo_create(w->shared->dev, name);
		check_answer(w, session, "create_session", create);
		if (session < 0)
			continue;
		now_mine(w, &w->shared->names[number],
			 "two sessions of one name");
		if (luo_get_name(session, seen) || strcmp(name, seen))
			check_answer(w, -EBADMSG,
				     "get_name of one's own session", create);
		/* retrieve_session never finds an outgoing session. */
		check_answer(w, luo_retrieve(w->shared->dev, name),
			     "retrieve_session", retrieve);
		w->shared->names[number] = 0;
		close(session);
	}
	return NULL;
}

static void *preserve_and_close(void *arg)
{
	static const int create[] = { EEXIST, 0 },
			 preserve[] = { EBUSY, EEXIST, 0 };
	struct worker *w = arg;
	char name[LUO_NAME_MAX];
	unsigned int number, memfd, mine;
	int session, i, err;

	while (running(w)) {
		number = name_of(w, name);
		session = luo_create(w->shared->dev, name);
		check_answer(w, session, "create_session", create);
		if (session < 0)
			continue;
		now_mine(w, &w->shared->names[number],
			 "two sessions of one name");
		mine = 0;
		for (i = 0; i < 3; i++) {
			memfd = next_random(w) % MEMFDS;
			err = luo_preserve(session, w->shared->memfds[memfd],
					   next_random(w) % 3);
			check_answer(w, err, "preserve_fd", preserve);
			if (!err) {
				now_mine(w, &w->shared->preserved[memfd],
					 "preserved twice");
				mine |= 1 << memfd;
			}
		}
		for (memfd = 0; memfd < MEMFDS; memfd++) {
			if (mine & 1 << memfd)
				w->shared->preserved[memfd] = 0;
		}
		w->shared->names[number] = 0;
		close(session);
	}
	return NULL;
}

/* Sessions by fd number, which any thread may close at any time. */
static void *closed_meanwhile(void *arg)
{
	/* The number may name another file by now. */
	static const int any[] = {
		EBADF, EEXIST, EBUSY, EINVAL, ENOENT, ENOTTY, 0,
	};
	struct worker *w = arg;
	char name[LUO_NAME_MAX], text[1024];
	struct shared *s = w->shared;
	int session, slot, memfd, err;

	while (running(w)) {
		slot = next_random(w) % SLOTS;
		session = s->slots[slot];
		switch (next_random(w) % 6) {
		case 0:
			snprintf(name, sizeof(name), "threads-%d", slot);
			session = luo_create(s->dev, name);
			check_answer(w, session, "create_session", any);
			if (session < 0)
				break;
			session = atomic_exchange(&s->slots[slot], session);
			if (session >= 0)
				close(session);
			break;
		case 1:
			session = atomic_exchange(&s->slots[slot], -1);
			if (session >= 0)
				close(session);
			break;
		case 2:
			memfd = s->memfds[next_random(w) % MEMFDS];
			err = luo_preserve(session, memfd, next_random(w) % 3);
			check_answer(w, err, "preserve_fd", any);
			break;
		case 3:
			check_answer(w, luo_get_name(session, name), "get_name",
				     any);
			break;
		case 4:
			check_answer(w, luo_finish(session), "finish", any);
			break;
		case 5:
			if (session >= 0)
				luo_fdinfo(session, text, sizeof(text));
			break;
		}
	}
	return NULL;
}

static void run_race(struct __test_metadata *_metadata, int dev,
		     void *(*work)(void *))
{
	const char *seed = getenv("LUO_SEED");
	struct worker workers[THREADS];
	struct shared shared = { .dev = dev,
				 .seed = seed ? strtoull(seed, NULL, 0) : 1 };
	char name[LUO_NAME_MAX];
	struct timespec now;
	int i, session;

	for (i = 0; i < MEMFDS; i++) {
		shared.memfds[i] = luo_memfd(0, 10 * LUO_PAGE, i);
		ASSERT_GE(shared.memfds[i], 0);
	}
	for (i = 0; i < SLOTS; i++)
		shared.slots[i] = -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	shared.end = now.tv_sec + SECONDS;
	for (i = 0; i < THREADS; i++) {
		workers[i].shared = &shared;
		workers[i].state = luo_mix(shared.seed, i);
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work,
					    &workers[i]));
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	TH_LOG("seed %llu, %ld calls", (unsigned long long)shared.seed,
	       (long)shared.calls);
	EXPECT_EQ(0, (int)shared.unexpected)
	TH_LOG("%s: an errno that no race explains: %s", shared.where,
	       strerror(-shared.unexpected));

	/* No session is left. */
	for (i = 0; i < SLOTS; i++) {
		if (shared.slots[i] >= 0)
			close(shared.slots[i]);
	}
	for (i = 0; i < SLOTS; i++) {
		snprintf(name, sizeof(name), "threads-%d", i);
		session = luo_create(dev, name);
		EXPECT_GE(session, 0)
		TH_LOG("a session \"%s\" still exists", name);
		if (i < MEMFDS) {
			EXPECT_EQ(0, luo_preserve(session, shared.memfds[i], 1))
			TH_LOG("memfd %d is still preserved", i);
			EXPECT_EQ(LUO_SAME, luo_check(shared.memfds[i], 0,
						      10 * LUO_PAGE, i));
		}
		close(session);
	}
	for (i = 0; i < MEMFDS; i++) {
		EXPECT_EQ(0, luo_truncate(shared.memfds[i], 0));
		close(shared.memfds[i]);
	}
}

TEST_F(live, create_and_close_same_names)
{
	run_race(_metadata, self->dev, same_names);
}

TEST_F(live, preserve_and_close)
{
	run_race(_metadata, self->dev, preserve_and_close);
}

TEST_F(live, close_under_ioctl)
{
	run_race(_metadata, self->dev, closed_meanwhile);
}

static void *opener(void *arg)
{
	static const int open_errors[] = { EBUSY, 0 };
	struct worker *w = arg;
	int fd;

	while (running(w)) {
		fd = luo_open();
		check_answer(w, fd, "open", open_errors);
		if (fd < 0)
			continue;
		/*
		 * Between open and close no other thread has the device open.
		 */
		if (atomic_exchange(&w->shared->slots[0], fd) != -1)
			check_answer(w, -EUSERS, "two opens at once",
				     open_errors);
		w->shared->slots[0] = -1;
		close(fd);
	}
	return NULL;
}

TEST_F(live, open_at_once)
{
	struct shared shared = { .seed = 1 };
	struct worker workers[THREADS];
	struct timespec now;
	int i;

	close(self->dev);
	self->dev = -1;
	for (i = 0; i < SLOTS; i++)
		shared.slots[i] = -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	shared.end = now.tv_sec + SECONDS;
	for (i = 0; i < THREADS; i++) {
		workers[i].shared = &shared;
		workers[i].state = i;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, opener,
					    &workers[i]));
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	EXPECT_EQ(0, (int)shared.unexpected)
	TH_LOG("%s: seen %s", shared.where, strerror(-shared.unexpected));
	self->dev = luo_open();
	EXPECT_GE(self->dev, 0);
}

TEST_HARNESS_MAIN
