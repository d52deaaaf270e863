// SPDX-License-Identifier: GPL-2.0-only
/*
 * How costs grow with the number of sessions and of one-page memfds: n memfds, each
 * in a session of its own ("each"), all in one session ("one"), or in up to a
 * thousand sessions ("spread").
 */
#include "lib/luo.h"
#include "bench.h"
#include "measure.h"
#include "output.h"
#include "paged.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPREAD 1000L
/* How many of n sessions are closed to measure close. */
#define CLOSED 100L

static int *sessions, *files;

static long session_count(const char *layout, long n)
{
	if (!strcmp(layout, "each"))
		return n;
	if (!strcmp(layout, "one"))
		return 1;
	return n < SPREAD ? n : SPREAD;
}

/*
 * Short names: an implementation that compares a name with all others also pays
 * for their common prefix.
 */
static const char *name_of(long i)
{
	static char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "s%ld", i);
	return name;
}

static void allocate(long count, long n)
{
	sessions = calloc(count, sizeof(*sessions));
	files = calloc(n, sizeof(*files));
	if (!sessions || !files)
		need(-ENOMEM, "memory");
	/* Touch the memory, so that no page fault is measured. */
	memset(sessions, 0xff, count * sizeof(*sessions));
	memset(files, 0xff, n * sizeof(*files));
}

static __u64 create_all(int dev, long count)
{
	__u64 start = now();
	long i;

	for (i = 0; i < count; i++)
		sessions[i] =
			need(luo_create(dev, name_of(i)), "create_session");
	return now() - start;
}

static __u64 preserve_all(long count, long n)
{
	__u64 start = now();
	long i;

	for (i = 0; i < n; i++)
		need(luo_preserve(sessions[i % count], files[i], i),
		     "preserve_fd");
	return now() - start;
}

static __u64 close_all(int *fds, long count)
{
	__u64 start = now();
	long i;

	for (i = 0; i < count; i++)
		close(fds[i]);
	return now() - start;
}

/* Closes some of n empty sessions, evenly spread, and makes them again. */
static void close_some(int dev, const char *layout, long n)
{
	long some = n < CLOSED ? n : CLOSED, i;
	__u64 start = now();

	for (i = 0; i < some; i++)
		close(sessions[i * (n / some)]);
	report("close", layout, n, some, now() - start);
	for (i = 0; i < some; i++)
		sessions[i * (n / some)] =
			need(luo_create(dev, name_of(i * (n / some))),
			     "create_session");
}

static void files_make(int dev, const char *layout, long n)
{
	long count = session_count(layout, n), i;
	__u64 ns;

	allocate(count, n);
	for (i = 0; i < n; i++)
		files[i] = paged_memfd("bench", LUO_PAGE, LUO_PAGE);
	ns = create_all(dev, count);
	if (!strcmp(layout, "each")) {
		report("create_session", layout, n, n, ns);
		close_some(dev, layout, n);
		report("preserve", layout, n, n, preserve_all(count, n));
		return;
	}
	report("preserve", layout, n, n, preserve_all(count, n));
	report("unpreserve", layout, n, n, close_all(sessions, count));
	create_all(dev, count);
	preserve_all(count, n);
}

static void files_take(int dev, const char *layout, long n)
{
	long count = session_count(layout, n), i;
	__u64 start;

	allocate(count, n);
	start = now();
	for (i = 0; i < count; i++)
		sessions[i] =
			need(luo_retrieve(dev, name_of(i)), "retrieve_session");
	report("retrieve_session", layout, n, count, now() - start);
	start = now();
	for (i = 0; i < n; i++)
		files[i] = need(luo_retrieve_fd(sessions[i % count], i),
				"retrieve_fd");
	report("retrieve", layout, n, n, now() - start);
	start = now();
	for (i = 0; i < n; i++)
		read_last(files[i], LUO_PAGE);
	report("read", layout, n, n, now() - start);
	for (i = 0; i < n; i++)
		check_paged(files[i], LUO_PAGE, LUO_PAGE);
	start = now();
	for (i = 0; i < count; i++)
		need(luo_finish(sessions[i]), "finish");
	report("finish", layout, n, n, now() - start);
	start = close_all(sessions, count);
	if (!strcmp(layout, "each"))
		report("close_finished", layout, n, n, start);
	close_all(files, n);
	free(sessions);
	free(files);
}

const struct kind files_kinds[] = { { "each", files_make, files_take },
				    { "one", files_make, files_take },
				    { "spread", files_make, files_take },
				    {} };
