// SPDX-License-Identifier: GPL-2.0-only
/*
 * One file in one session, for the whole blackout: small folios that lie together
 * ("contiguous") or apart ("scattered"), the latter made whole again by
 * madvise(MADV_COLLAPSE) ("collapsed"), huge folios ("huge"), little data between
 * holes ("hollow"), and a page that is written after preserve ("late"). n is the
 * length of the file in MiB.
 */
#include "lib/frames.h"
#include "lib/pressure.h"
#include "bench.h"
#include "measure.h"
#include "output.h"
#include "paged.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SESSION "blackout"
#define TOKEN 1
/* Places with data in a hollow file, a page each. */
#define PLACES 4096L

static off_t stride_of(const char *layout, long n)
{
	return strcmp(layout, "hollow") ? (off_t)LUO_PAGE :
					  n * (off_t)MIB / PLACES;
}

/*
 * Two files that grow in turn, so that each page beside one of the first file is
 * of the second. That one stays open, and is not preserved.
 */
static int scattered_memfd(const char *name, off_t size)
{
	int fd = paged_memfd(name, 0, LUO_PAGE);
	int other = paged_memfd("other", 0, LUO_PAGE);
	off_t at;

	need(luo_truncate(fd, size), "ftruncate");
	need(luo_truncate(other, size), "ftruncate");
	for (at = 0; at < size; at += LUO_PAGE) {
		paged_write(fd, at);
		paged_write(other, at);
	}
	return fd;
}

/* Moves the pages of a file into huge folios, as an operator may do beforehand. */
static void make_whole(int fd, const char *layout, long n)
{
	__u64 start = now();

	need(collapse(fd, n * MIB), "MADV_COLLAPSE");
	note("%s:%ld: MADV_COLLAPSE took %llu us", layout, n,
	     (unsigned long long)(now() - start) / 1000);
}

/* Notes in how many pieces of memory the file lies, to show what was measured. */
static void note_pieces(const char *layout, int fd, long n)
{
	size_t pages = n * MIB / LUO_PAGE, i;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	long pieces = 1;

	if (!pfns)
		need(-ENOMEM, "memory");
	need(luo_pfns(fd, pages, pfns), "frame numbers");
	for (i = 1; i < pages; i++)
		pieces += pfns[i] != pfns[i - 1] + 1;
	note("%s:%ld: %zu pages in %ld pieces", layout, n, pages, pieces);
	free(pfns);
}

static void state_make(int dev, const char *layout, long n)
{
	bool late = !strcmp(layout, "late"), huge = !strcmp(layout, "huge");
	off_t size = n * (off_t)MIB;
	int session, fd;

	need(luo_write_file(THP_SHMEM, huge ? "force" : "never"), THP_SHMEM);
	if (!strcmp(layout, "scattered") || !strcmp(layout, "collapsed"))
		fd = scattered_memfd(layout, size);
	else
		fd = paged_memfd(layout, size, stride_of(layout, n));
	need(luo_write_file(THP_SHMEM, "never"), THP_SHMEM);
	if (!strcmp(layout, "collapsed"))
		make_whole(fd, layout, n);
	if (strcmp(layout, "hollow"))
		note_pieces(layout, fd, n);
	if (late)
		need(luo_fallocate(fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   size / 2, LUO_PAGE),
		     "punch a hole");
	session = need(luo_create(dev, SESSION), "create_session");
	need(luo_preserve(session, fd, TOKEN), "preserve_fd");
	if (late)
		paged_write(fd, size / 2);
}

static void state_take(int dev, const char *layout, long n)
{
	off_t size = n * (off_t)MIB, stride = stride_of(layout, n);
	int session, fd;
	__u64 start = now();

	session = need(luo_retrieve(dev, SESSION), "retrieve_session");
	report("retrieve_session", layout, n, 1, now() - start);
	start = now();
	fd = need(luo_retrieve_fd(session, TOKEN), "retrieve_fd");
	report("retrieve", layout, n, 1, now() - start);
	start = now();
	read_last(fd, size);
	report("read", layout, n, 1, now() - start);
	check_paged(fd, size, stride);
	need(luo_finish(session), "finish");
	close(session);
	close(fd);
}

const struct kind blackout_kinds[] = { { "contiguous", state_make, state_take },
				       { "scattered", state_make, state_take },
				       { "collapsed", state_make, state_take },
				       { "huge", state_make, state_take },
				       { "hollow", state_make, state_take },
				       { "late", state_make, state_take },
				       {} };
