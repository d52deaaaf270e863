// SPDX-License-Identifier: GPL-2.0-only
/* Memfds whose content is cheap to make and to check; see paged.h. */
#include "lib/luo.h"
#include "output.h"
#include "paged.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void paged_write(int fd, off_t at)
{
	static unsigned char page[LUO_PAGE];

	memcpy(page, &at, sizeof(at));
	need(luo_pwrite(fd, page, sizeof(page), at), "write to a memfd");
}

int paged_memfd(const char *name, off_t size, off_t stride)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t at;

	need(fd < 0 ? -errno : 0, "memfd_create");
	/* The size comes first, so that folios may be larger than a write. */
	need(luo_truncate(fd, size), "ftruncate");
	for (at = 0; at < size; at += stride)
		paged_write(fd, at);
	return fd;
}

void read_last(int fd, off_t size)
{
	static unsigned char page[LUO_PAGE];

	if (pread(fd, page, sizeof(page), size - LUO_PAGE) != sizeof(page))
		need(-EIO, "read of the last page");
}

void check_paged(int fd, off_t size, off_t stride)
{
	off_t at, found;

	if (luo_size(fd) != size)
		need(-EBADMSG, "the size of what came back");
	for (at = 0; at < size; at += stride) {
		if (pread(fd, &found, sizeof(found), at) != sizeof(found) ||
		    found != at)
			need(-EBADMSG, "the content of what came back");
	}
}
