// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory that an implementation needs for itself: for a session, for a file, and
 * for a page of a file, with memory that it needs only during a call. Measured from
 * outside, as pages that are no longer free, so n is large enough to hide all other
 * changes.
 */
#include "lib/luo.h"
#include "bench.h"
#include "output.h"
#include "paged.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 2000L
#define FILES 10000L
#define DENSE_MIB 1024L
#define DENSE_PAGES (DENSE_MIB * 256)
#define PERIOD_NS 300000L

/* A real-time thread that reads the free pages while a system call runs. */
struct watch {
	pthread_t thread;
	atomic_bool stop;
	long before;
	long lowest;
};

/*
 * Not luo_settle(): its compaction moves pages, which takes memory for a while.
 */
static void settle(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		usleep(50000);
		luo_write_file("/proc/sys/vm/drop_caches", "3");
		luo_write_file("/proc/sys/vm/stat_refresh", "1");
	}
}

static void *watch(void *arg)
{
	struct timespec period = { .tv_nsec = PERIOD_NS };
	struct watch *w = arg;
	long pages;

	while (!atomic_load(&w->stop)) {
		pages = luo_free_pages();
		if (pages < w->lowest)
			w->lowest = pages;
		nanosleep(&period, NULL);
	}
	return NULL;
}

static void watch_start(struct watch *w)
{
	struct sched_param realtime = { .sched_priority = 1 };
	pthread_attr_t attr;
	int err;

	settle();
	w->before = luo_free_pages();
	w->lowest = w->before;
	atomic_init(&w->stop, false);
	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &realtime);
	err = pthread_create(&w->thread, &attr, watch, w);
	need(-err, "a real-time thread");
}

static long watch_stop(struct watch *w)
{
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	return w->before - w->lowest;
}

static void report_pages(const char *layout, const char *what, long count,
			 long pages)
{
	printf("MEM %s %s %ld %ld\n", layout, what, count,
	       pages * (long)LUO_PAGE);
}

static int create(int dev, long i)
{
	char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "bench-memory-%ld", i);
	return need(luo_create(dev, name), "create_session");
}

static void memory_make(int dev, const char *layout, long n)
{
	static int files[FILES];
	struct watch w;
	int session, fd;
	long before, i;

	settle();
	before = luo_free_pages();
	for (i = 0; i < SESSIONS; i++)
		session = create(dev, i);
	settle();
	report_pages(layout, "session", SESSIONS, before - luo_free_pages());

	for (i = 0; i < FILES; i++)
		files[i] = paged_memfd(layout, LUO_PAGE, LUO_PAGE);
	settle();
	before = luo_free_pages();
	for (i = 0; i < FILES; i++)
		need(luo_preserve(session, files[i], i), "preserve_fd");
	settle();
	report_pages(layout, "file", FILES, before - luo_free_pages());

	fd = paged_memfd(layout, DENSE_MIB * MIB, LUO_PAGE);
	session = create(dev, SESSIONS);
	watch_start(&w);
	before = luo_free_pages();
	need(luo_preserve(session, fd, 0), "preserve_fd");
	report_pages(layout, "page-preserve-peak", DENSE_PAGES, watch_stop(&w));
	settle();
	report_pages(layout, "page", DENSE_PAGES, before - luo_free_pages());
}

static void memory_take(int dev, const char *layout, long n)
{
	char name[LUO_NAME_MAX];
	int session, fd;
	struct watch w;

	snprintf(name, sizeof(name), "bench-memory-%ld", SESSIONS);
	session = need(luo_retrieve(dev, name), "retrieve_session");
	watch_start(&w);
	fd = need(luo_retrieve_fd(session, 0), "retrieve_fd");
	report_pages(layout, "page-retrieve-peak", DENSE_PAGES, watch_stop(&w));
	check_paged(fd, DENSE_MIB * MIB, LUO_PAGE);
	need(luo_finish(session), "finish");
}

const struct kind memory_kinds[] = { { "memory", memory_make, memory_take },
				     {} };
