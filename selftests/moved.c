// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserving while the kernel moves the pages of the file, for compaction or to
 * collapse them into a huge page. After preserve, the pinned pages must be the
 * pages of the file, and they must no longer move.
 *
 * A collapse copies small pages while others can still find them, and then replaces
 * them. Pinned pages cannot be paged out: so paging out tells which ones are pinned.
 */
#include "lib/frames.h"
#include "lib/fixture.h"
#include "lib/pressure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define HUGE_PAGE (2 * MIB)
#define PAGES (HUGE_PAGE / LUO_PAGE)
#define RACES 80
#define ROUNDS 15
#define SECOND 1000000000L /* in ns */
#define PATIENCE (5 * SECOND)
/* A slow machine does not get through all rounds. */
#define MAX_NS (15 * SECOND)

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/*
 * Makes a file of small pages with a word in each. It is preserved once, which
 * moves its pages out of scratch memory, so that later preserves need not.
 */
static int small_pages(int dev, size_t size)
{
	int session = luo_create(dev, "moved-before");
	int fd = memfd_create("moved", MFD_CLOEXEC);
	size_t i;
	int err;

	if (fd < 0 || ftruncate(fd, size))
		return -errno;
	for (i = 0; i < size; i += LUO_PAGE) {
		if (luo_pwrite(fd, &i, sizeof(i), i) != sizeof(i))
			return -EIO;
	}
	err = luo_preserve(session, fd, 1);
	close(session);
	return err ?: fd;
}

static bool has_words(int fd, size_t size)
{
	size_t i, word;

	for (i = 0; i < size; i += LUO_PAGE) {
		if (pread(fd, &word, sizeof(word), i) != sizeof(word) ||
		    word != i)
			return false;
	}
	return true;
}

TEST_F(live, preserved_pages_are_not_collapsed)
{
	static __u64 before[PAGES], after[PAGES];
	int session = luo_create(self->dev, "moved");
	int fd = small_pages(self->dev, HUGE_PAGE);
	int other = small_pages(self->dev, HUGE_PAGE);
	int err;

	ASSERT_GE(fd, 0);
	err = collapse(other, HUGE_PAGE);
	if (err)
		SKIP(return, "no huge pages here: errno %d", -err);
	ASSERT_EQ(0, luo_preserve(session, fd, 1));
	ASSERT_EQ(0, luo_pfns(fd, PAGES, before));
	EXPECT_GT(0, collapse(fd, HUGE_PAGE));
	luo_write_file(COMPACT_MEMORY, "1");
	ASSERT_EQ(0, luo_pfns(fd, PAGES, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	EXPECT_TRUE(has_words(fd, HUGE_PAGE));

	/* Closing the session unpinned the pages: now they collapse. */
	close(session);
	EXPECT_EQ(0, collapse(fd, HUGE_PAGE));
	ASSERT_EQ(0, luo_pfns(fd, PAGES, after));
	EXPECT_NE(0, memcmp(before, after, sizeof(before)));
	EXPECT_TRUE(has_words(fd, HUGE_PAGE));

	/* Once preserved, the huge page does not move either. */
	session = luo_create(self->dev, "moved");
	ASSERT_EQ(0, luo_preserve(session, fd, 1));
	ASSERT_EQ(0, luo_pfns(fd, PAGES, before));
	luo_write_file(COMPACT_MEMORY, "1");
	ASSERT_EQ(0, luo_pfns(fd, PAGES, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	close(session);
	close(fd);
	close(other);
}

/*
 * Preserve fails with ENOMEM if a page must move out of scratch memory while
 * something else isolates it. Repeating the call succeeds.
 */
static int preserve_patiently(int session, int fd, int *failed)
{
	long end = now_ns() + PATIENCE;
	int err;

	do {
		err = luo_preserve(session, fd, 1);
		*failed += err == -ENOMEM;
	} while (err == -ENOMEM && now_ns() < end);
	return err;
}

struct collapser {
	pthread_t thread;
	pthread_barrier_t start;
	int fd;
	int answer;
};

static void *collapse_once(void *arg)
{
	struct collapser *c = arg;

	pthread_barrier_wait(&c->start);
	c->answer = collapse(c->fd, HUGE_PAGE);
	return NULL;
}

TEST_F_TIMEOUT(live, collapse_while_preserving, 200)
{
	struct collapser c;
	__u64 seed = luo_seed();
	int i, session, collapsed = 0, failed = 0;
	long took, until, end, left;

	c.fd = small_pages(self->dev, HUGE_PAGE);
	ASSERT_GE(c.fd, 0);
	took = now_ns();
	c.answer = collapse(c.fd, HUGE_PAGE);
	took = now_ns() - took;
	close(c.fd);
	if (c.answer)
		SKIP(return, "no huge pages here: errno %d", -c.answer);
	c.answer = swap_start();
	if (c.answer)
		SKIP(return, "no swap on a ram disk here: errno %d", -c.answer);
	TH_LOG("a collapse takes %ld us; the seed is %llu", took / 1000,
	       (unsigned long long)seed);
	pthread_barrier_init(&c.start, NULL, 2);
	end = now_ns() + MAX_NS;
	/* On a slow machine it goes on until both orders have occurred. */
	for (i = 0; i < RACES; i++) {
		if (now_ns() >= end && collapsed && collapsed < i)
			break;
		session = luo_create(self->dev, "moved");
		c.fd = small_pages(self->dev, HUGE_PAGE);
		ASSERT_EQ(0,
			  pthread_create(&c.thread, NULL, collapse_once, &c));
		pthread_barrier_wait(&c.start);
		until = now_ns() + luo_mix(seed, i) % (took * 5 / 4);
		while (now_ns() < until)
			;
		ASSERT_EQ(0, preserve_patiently(session, c.fd, &failed));
		pthread_join(c.thread, NULL);
		collapsed += !c.answer;
		left = page_out(c.fd, HUGE_PAGE);
		ASSERT_EQ(PAGES, left)
		TH_LOG("round %d: %ld pages of %ld are pinned", i, left,
		       (long)PAGES);
		ASSERT_TRUE(has_words(c.fd, HUGE_PAGE));
		close(session);
		close(c.fd);
	}
	TH_LOG("preserved as small pages %d times, as a huge page %d times, after %d failures",
	       i - collapsed, collapsed, failed);
	/* Both orders occurred. */
	EXPECT_GT(collapsed, 0);
	EXPECT_LT(collapsed, i);
	EXPECT_EQ(0, swap_used());
	EXPECT_EQ(0, swap_stop());
}

static atomic_bool compacting;

static void *compact(void *arg)
{
	while (compacting)
		luo_write_file(COMPACT_MEMORY, "1");
	return NULL;
}

TEST_F_TIMEOUT(live, compaction_while_preserving, 100)
{
	static __u64 before[PAGES], after[PAGES];
	int fd = small_pages(self->dev, HUGE_PAGE);
	pthread_t thread;
	long end = now_ns() + MAX_NS;
	int i, session, failed = 0;

	ASSERT_GE(fd, 0);
	compacting = true;
	ASSERT_EQ(0, pthread_create(&thread, NULL, compact, NULL));
	for (i = 0; i < ROUNDS && now_ns() < end; i++) {
		session = luo_create(self->dev, "moved");
		ASSERT_EQ(0, preserve_patiently(session, fd, &failed));
		ASSERT_EQ(0, luo_pfns(fd, PAGES, before));
		EXPECT_TRUE(has_words(fd, HUGE_PAGE));
		luo_write_file(COMPACT_MEMORY, "1");
		ASSERT_EQ(0, luo_pfns(fd, PAGES, after));
		ASSERT_EQ(0, memcmp(before, after, sizeof(before)));
		close(session);
	}
	compacting = false;
	pthread_join(thread, NULL);
	EXPECT_TRUE(has_words(fd, HUGE_PAGE));
	close(fd);
}

TEST_HARNESS_MAIN
