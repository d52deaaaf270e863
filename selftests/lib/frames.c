// SPDX-License-Identifier: GPL-2.0-only
/* Where the pages of a file are in memory. */
#include "frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The frame number of the page at an address. While the kernel migrates a page
 * it is not present; touching the page waits until it is.
 */
static int one_pfn(int pagemap, volatile char *at, __u64 *pfn)
{
	off_t where = (unsigned long)at / LUO_PAGE * sizeof(*pfn);
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		(void)*at;
		if (pread(pagemap, pfn, sizeof(*pfn), where) != sizeof(*pfn))
			return -EIO;
		/* Bit 63: present. */
		if (*pfn >> 63)
			return 0;
	}
	return -ENODATA;
}

/* Frame numbers of a run without holes, which is mapped and touched. */
static int run_pfns(int fd, int pagemap, size_t first, size_t pages,
		    __u64 *pfns)
{
	ssize_t want = pages * sizeof(*pfns);
	int err = 0;
	void *map;
	size_t i;

	map = mmap(NULL, pages * LUO_PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE,
		   fd, first * LUO_PAGE);
	if (map == MAP_FAILED)
		return -errno;
	if (pread(pagemap, pfns, want, (unsigned long)map / LUO_PAGE * 8) !=
	    want)
		err = -EIO;
	for (i = 0; i < pages && !err; i++) {
		if (!(pfns[i] >> 63))
			err = one_pfn(pagemap, (char *)map + i * LUO_PAGE,
				      &pfns[i]);
		pfns[i] &= (1ULL << 55) - 1;
		/* Without CAP_SYS_ADMIN all of them read as 0. */
		if (!pfns[i] && !err)
			err = -EPERM;
	}
	munmap(map, pages * LUO_PAGE);
	return err;
}

int luo_pfns(int fd, size_t pages, __u64 *pfns)
{
	off_t end = (off_t)pages * LUO_PAGE, from, to = 0;
	char path[32];
	int in, again, err = 0;

	memset(pfns, 0, pages * sizeof(*pfns));
	/*
	 * An open file of its own, so that SEEK_HOLE does not move the caller's
	 * position.
	 */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	if (again < 0)
		return -errno;
	in = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (in < 0)
		err = -errno;
	while (!err) {
		from = lseek(again, to, SEEK_DATA);
		if (from < 0 || from >= end)
			break;
		to = lseek(again, from, SEEK_HOLE);
		/* The end of the file counts as a hole. */
		to = (to + LUO_PAGE - 1) & ~(off_t)(LUO_PAGE - 1);
		if (to > end)
			to = end;
		err = run_pfns(again, in, from / LUO_PAGE,
			       (to - from) / LUO_PAGE, pfns + from / LUO_PAGE);
	}
	if (in >= 0)
		close(in);
	close(again);
	return err;
}

long luo_pieces_of(const __u64 *pfns, size_t pages)
{
	__u64 start = 0, end = 0;
	long pieces = 0;
	size_t i;

	for (i = 0; i < pages; i++) {
		if (!pfns[i])
			continue;
		if (pfns[i] == end) {
			end++;
		} else if (pfns[i] + 1 == start) {
			start--;
		} else {
			start = pfns[i];
			end = start + 1;
			pieces++;
		}
	}
	return pieces;
}

static int by_number(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

long luo_runs_of(const __u64 *pfns, size_t pages)
{
	__u64 *sorted = malloc(pages * sizeof(*sorted));
	long found = 0;
	size_t i;

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, pfns, pages * sizeof(*sorted));
	qsort(sorted, pages, sizeof(*sorted), by_number);
	for (i = 0; i < pages; i++)
		found += !i || sorted[i] != sorted[i - 1] + 1;
	free(sorted);
	return found;
}
