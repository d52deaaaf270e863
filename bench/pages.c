// SPDX-License-Identifier: GPL-2.0-only
/*
 * How costs grow with the pages of a memfd: dense ones from 1 MiB to 1 GiB, of
 * small and of large folios, and sparse ones, with data in few places.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THP		"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
/* A sparse file's data: 16 MiB in so many places. */
#define PLACES		4096L
#define LONG_MIB	(64 * 1024L)

static const long dense_mib[] = { 1, 16, 256, 1024 };

static const char *name_of(long mib)
{
	static char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "bench-%ld-mib", mib);
	return name;
}

/* What is measured: so many MiB, reported as n and as count operations. */
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

/* Preserve a file in a session of its own, undo that, and do it again. */
static void make_one(int dev, const char *layout, int fd, struct file file)
{
	int session = need(luo_create(dev, name_of(file.mib)), "create_session");
	__u64 start = now();

	need(luo_preserve(session, fd, file.mib), "preserve_fd");
	report("preserve", layout, file.n, file.count, now() - start);
	start = now();
	close(session);
	report("unpreserve", layout, file.n, file.count, now() - start);
	session = need(luo_create(dev, name_of(file.mib)), "create_session");
	need(luo_preserve(session, fd, file.mib), "preserve_fd");
}

/* Get it back, and look at every stride bytes of it. */
static void take_one(int session, const char *layout, struct file file, off_t stride)
{
	__u64 start = now();
	int fd = need(luo_retrieve_fd(session, file.mib), "retrieve_fd");

	report("retrieve", layout, file.n, file.count, now() - start);
	check_paged(fd, file.mib * MIB, stride);
	need(luo_finish(session), "finish");
	close(session);
	close(fd);
}

static void dense_make(int dev, const char *layout, long n)
{
	bool large = !strcmp(layout, "dense-large");
	size_t i;
	int fd;

	need(luo_write_file(THP, large ? "force" : "never"), THP);
	for (i = 0; i < ARRAY_SIZE(dense_mib); i++) {
		fd = paged_memfd(layout, dense_mib[i] * MIB, LUO_PAGE);
		make_one(dev, layout, fd, dense_file(dense_mib[i]));
	}
	need(luo_write_file(THP, "never"), THP);
}

static void dense_take(int dev, const char *layout, long n)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dense_mib); i++)
		take_one(need(luo_retrieve(dev, name_of(dense_mib[i])), "retrieve_session"),
			 layout, dense_file(dense_mib[i]), LUO_PAGE);
}

static long pages_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_blocks * 512 / (long)LUO_PAGE;
}

/* Returns how many pages it has more than its data needs. */
static long sparse_one(int dev, const char *layout, long mib)
{
	int fd = paged_memfd(layout, mib * MIB, mib * MIB / PLACES);
	long before = pages_of(fd);

	make_one(dev, layout, fd, sparse_file(mib));
	note("%s, %ld MiB long: %ld pages before preserve, %ld after", layout, mib,
	     before, pages_of(fd));
	return pages_of(fd) - before;
}

/*
 * The short one first: if its holes were filled, the long one's would be, and
 * there is no memory for that.
 */
static void sparse_make(int dev, const char *layout, long n)
{
	if (sparse_one(dev, layout, n))
		note("%s: holes are filled, so %ld MiB were not tried", layout, LONG_MIB);
	else
		sparse_one(dev, layout, LONG_MIB);
}

static void sparse_take(int dev, const char *layout, long n)
{
	long mib[] = { n, LONG_MIB };
	size_t i;
	int session;

	for (i = 0; i < ARRAY_SIZE(mib); i++) {
		session = luo_retrieve(dev, name_of(mib[i]));
		if (session == -ENOENT && i)
			continue;
		take_one(need(session, "retrieve_session"), layout, sparse_file(mib[i]),
			 mib[i] * MIB / PLACES);
	}
}

const struct kind pages_kinds[] = {
	{ "dense-small", dense_make, dense_take },
	{ "dense-large", dense_make, dense_take },
	{ "sparse", sparse_make, sparse_take },
	{ }
};
