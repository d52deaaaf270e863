// SPDX-License-Identifier: GPL-2.0-only
/*
 * How costs grow with the pages of a memfd: dense files from 1 MiB to 1 GiB, of small
 * and of large folios, and sparse files with little data.
 */
#include "lib/luo.h"
#include "bench.h"
#include "measure.h"
#include "output.h"
#include "paged.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Places with data in a sparse file, a page each. */
#define PLACES 4096L
#define LONG_MIB (64 * 1024L)

static const long dense_mib[] = { 1, 16, 256, 1024 };

/*
 * Short operations are measured COPIES times, and the median is reported,
 * because a timer interrupt may fall into one of them.
 */
#define COPIES 9
#define SHORT_MIB 1

static const char *name_of(long mib, int copy)
{
	static char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "bench-%ld-mib-%d", mib, copy);
	return name;
}

static int copies_of(long mib)
{
	return mib <= SHORT_MIB ? COPIES : 1;
}

/* A file of @mib MiB, reported as @count operations on state of size @n. */
struct file {
	long mib;
	long n;
	long count;
};

static struct file dense_file(long mib)
{
	long pages = mib * MIB / LUO_PAGE;

	return (struct file){ mib, pages, pages };
}

static struct file sparse_file(long mib)
{
	return (struct file){ mib, mib, 1 };
}

static int by_value(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Notes the time of copy @i. After the last copy, reports the median. */
static void take_time(const char *op, const char *layout, struct file file,
		      __u64 *ns, int i, __u64 time)
{
	int copies = copies_of(file.mib);

	ns[i] = time;
	if (i < copies - 1)
		return;
	qsort(ns, copies, sizeof(*ns), by_value);
	report(op, layout, file.n, file.count, ns[copies / 2]);
}

/*
 * Preserves each file in a session of its own, closes that, and preserves it
 * again.
 */
static void make_all(int dev, const char *layout, const int *fds,
		     struct file file)
{
	__u64 preserve[COPIES], unpreserve[COPIES], start;
	int i, session;

	for (i = 0; i < copies_of(file.mib); i++) {
		session = need(luo_create(dev, name_of(file.mib, i)),
			       "create_session");
		start = now();
		need(luo_preserve(session, fds[i], file.mib), "preserve_fd");
		take_time("preserve", layout, file, preserve, i, now() - start);
		start = now();
		close(session);
		take_time("unpreserve", layout, file, unpreserve, i,
			  now() - start);
		session = need(luo_create(dev, name_of(file.mib, i)),
			       "create_session");
		need(luo_preserve(session, fds[i], file.mib), "preserve_fd");
	}
}

/* Retrieves and checks the files. Returns false if there are none. */
static bool take_all(int dev, const char *layout, struct file file,
		     off_t stride)
{
	__u64 retrieve[COPIES], start;
	int i, fd, session;

	for (i = 0; i < copies_of(file.mib); i++) {
		session = luo_retrieve(dev, name_of(file.mib, i));
		if (session == -ENOENT)
			return false;
		need(session, "retrieve_session");
		start = now();
		fd = need(luo_retrieve_fd(session, file.mib), "retrieve_fd");
		take_time("retrieve", layout, file, retrieve, i, now() - start);
		check_paged(fd, file.mib * MIB, stride);
		need(luo_finish(session), "finish");
		close(session);
		close(fd);
	}
	return true;
}

static void dense_make(int dev, const char *layout, long n)
{
	bool large = !strcmp(layout, "dense-large");
	int fds[COPIES], copy;
	size_t i;

	need(luo_write_file(THP_SHMEM, large ? "force" : "never"), THP_SHMEM);
	for (i = 0; i < ARRAY_SIZE(dense_mib); i++) {
		for (copy = 0; copy < copies_of(dense_mib[i]); copy++)
			fds[copy] = paged_memfd(layout, dense_mib[i] * MIB,
						LUO_PAGE);
		make_all(dev, layout, fds, dense_file(dense_mib[i]));
	}
	need(luo_write_file(THP_SHMEM, "never"), THP_SHMEM);
}

static void dense_take(int dev, const char *layout, long n)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dense_mib); i++)
		if (!take_all(dev, layout, dense_file(dense_mib[i]), LUO_PAGE))
			need(-ENOENT, "retrieve_session");
}

static long pages_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_blocks * 512 / (long)LUO_PAGE;
}

/* Returns how many pages preserve added to the file. */
static long sparse_one(int dev, const char *layout, long mib)
{
	int fd = paged_memfd(layout, mib * MIB, mib * MIB / PLACES);
	long before = pages_of(fd);

	make_all(dev, layout, &fd, sparse_file(mib));
	note("%s, %ld MiB long: %ld pages before preserve, %ld after", layout,
	     mib, before, pages_of(fd));
	return pages_of(fd) - before;
}

/*
 * The short file first: if preserve fills its holes, there is not enough memory
 * for the long file.
 */
static void sparse_make(int dev, const char *layout, long n)
{
	if (sparse_one(dev, layout, n))
		note("%s: preserve fills holes, so %ld MiB were not tried",
		     layout, LONG_MIB);
	else
		sparse_one(dev, layout, LONG_MIB);
}

static void sparse_take(int dev, const char *layout, long n)
{
	if (!take_all(dev, layout, sparse_file(n), n * MIB / PLACES))
		need(-ENOENT, "retrieve_session");
	take_all(dev, layout, sparse_file(LONG_MIB), LONG_MIB * MIB / PLACES);
}

const struct kind pages_kinds[] = { { "dense-small", dense_make, dense_take },
				    { "dense-large", dense_make, dense_take },
				    { "sparse", sparse_make, sparse_take },
				    {} };
