// SPDX-License-Identifier: GPL-2.0-only
/*
 * The functions of luo.h. None of them decides whether a test passes.
 */
#include "luo.h"
#include "pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

int luo_open(void)
{
	int fd = open(LUO_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int luo_ioctl(int fd, unsigned int cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

int luo_create(int dev, const char *name)
{
	struct liveupdate_ioctl_create_session arg = { .size = sizeof(arg),
						       .fd = -1 };

	memcpy(arg.name, name, strnlen(name, sizeof(arg.name)));
	return luo_ioctl(dev, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg) ?: arg.fd;
}

int luo_retrieve(int dev, const char *name)
{
	struct liveupdate_ioctl_retrieve_session arg = { .size = sizeof(arg),
							 .fd = -1 };

	memcpy(arg.name, name, strnlen(name, sizeof(arg.name)));
	return luo_ioctl(dev, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &arg) ?:
									 arg.fd;
}

int luo_preserve(int session, int fd, __u64 token)
{
	struct liveupdate_session_preserve_fd arg = {
		.size = sizeof(arg),
		.fd = fd,
		.token = token,
	};

	return luo_ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, &arg);
}

int luo_retrieve_fd(int session, __u64 token)
{
	struct liveupdate_session_retrieve_fd arg = {
		.size = sizeof(arg),
		.fd = -1,
		.token = token,
	};

	return luo_ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, &arg) ?:
									  arg.fd;
}

int luo_finish(int session)
{
	struct liveupdate_session_finish arg = { .size = sizeof(arg) };

	return luo_ioctl(session, LIVEUPDATE_SESSION_FINISH, &arg);
}

int luo_get_name(int session, char name[LUO_NAME_MAX])
{
	struct liveupdate_session_get_name arg = { .size = sizeof(arg) };
	int err = luo_ioctl(session, LIVEUPDATE_SESSION_GET_NAME, &arg);

	if (!err)
		memcpy(name, arg.name, LUO_NAME_MAX);
	return err;
}

__u64 luo_mix(__u64 seed, __u64 n)
{
	return pattern_word(seed, n);
}

static void pattern(unsigned char *buf, off_t off, size_t len, __u64 seed)
{
	__u64 word = 0;
	size_t i;

	for (i = 0; i < len; i++, off++) {
		if (!i || !(off & 7))
			word = luo_mix(seed, off >> 3);
		buf[i] = word >> (8 * (off & 7));
	}
}

int luo_fill(int fd, off_t off, size_t len, __u64 seed)
{
	unsigned char *buf = malloc(CHUNK);
	int err = buf ? 0 : -ENOMEM;

	while (len && !err) {
		size_t n = len < CHUNK ? len : CHUNK;
		ssize_t done;

		pattern(buf, off, n, seed);
		done = pwrite(fd, buf, n, off);
		if (done <= 0) {
			err = done ? -errno : -EIO;
			break;
		}
		off += done;
		len -= done;
	}
	free(buf);
	return err;
}

int luo_memfd(unsigned int flags, size_t size, __u64 seed)
{
	int fd = memfd_create("luo-test", flags | MFD_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = luo_fill(fd, 0, size, seed);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static long check(int fd, off_t off, size_t len, bool zero, __u64 seed)
{
	unsigned char *want = calloc(1, CHUNK);
	unsigned char *seen = malloc(CHUNK);
	long ret = want && seen ? LUO_SAME : -ENOMEM;

	while (len && ret == LUO_SAME) {
		size_t n = len < CHUNK ? len : CHUNK;
		ssize_t i, done = pread(fd, seen, n, off);

		if (done <= 0) {
			ret = done ? -errno : off;
			break;
		}
		if (!zero)
			pattern(want, off, done, seed);
		if (memcmp(want, seen, done)) {
			for (i = 0; want[i] == seen[i]; i++)
				;
			ret = off + i;
		}
		off += done;
		len -= done;
	}
	free(want);
	free(seen);
	return ret;
}

long luo_check(int fd, off_t off, size_t len, __u64 seed)
{
	return check(fd, off, len, false, seed);
}

long luo_check_zero(int fd, off_t off, size_t len)
{
	return check(fd, off, len, true, 0);
}

int luo_seals(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals < 0 ? -errno : seals;
}

off_t luo_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -errno : st.st_size;
}

off_t luo_pos(int fd)
{
	off_t pos = lseek(fd, 0, SEEK_CUR);

	return pos < 0 ? -errno : pos;
}

bool luo_is_cloexec(int fd)
{
	return fcntl(fd, F_GETFD) == FD_CLOEXEC;
}

int luo_fdinfo(int fd, char *buf, size_t size)
{
	char path[64];
	size_t len = 0;
	ssize_t n;
	int in;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	in = open(path, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	while ((n = read(in, buf + len, size - 1 - len)) > 0)
		len += n;
	n = n < 0 ? -errno : 0;
	close(in);
	buf[len] = '\0';
	return n;
}

int luo_fdlink(int fd, char *buf, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

int luo_count_line(const char *text, const char *line)
{
	size_t len = strlen(line);
	int count = 0;

	while (text && *text) {
		if (!strncmp(text, line, len) && text[len] == '\n')
			count++;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return count;
}

/* How lines of fdinfo begin. */
#define FILE_LINE "luo-file:"
#define PIECES_LINE "luo-pieces:\t"

long luo_pieces(int session)
{
	char *text = malloc(LUO_FDINFO_MAX), *at;
	long pieces;

	if (!text)
		return -ENOMEM;
	pieces = luo_fdinfo(session, text, LUO_FDINFO_MAX);
	if (!pieces) {
		at = strstr(text, "\n" PIECES_LINE);
		pieces = at ? atol(at + 1 + strlen(PIECES_LINE)) : -ENOENT;
	}
	free(text);
	return pieces;
}

const char *luo_file_line(__u64 token, const char *handler, const char *state)
{
	static char line[160];

	snprintf(line, sizeof(line),
		 "luo-file:\ttoken=0x%llx handler=%s state=%s",
		 (unsigned long long)token, handler, state);
	return line;
}

/* The start of the next line, or NULL. */
static const char *next_line(const char *at)
{
	at = strchr(at, '\n');
	return at && at[1] ? at + 1 : NULL;
}

int luo_file_lines(const char *text)
{
	const char *at;
	int count = 0;

	for (at = text; at; at = next_line(at))
		count += !strncmp(at, FILE_LINE, strlen(FILE_LINE));
	return count;
}

bool luo_fdinfo_counts(const char *text, int files)
{
	int rest = files - luo_file_lines(text);
	const char *at, *end;
	char *after;
	long number;

	for (at = text; at; at = next_line(at)) {
		if (strncmp(at, "luo-", 4) ||
		    !strncmp(at, FILE_LINE, strlen(FILE_LINE)) ||
		    !strncmp(at, PIECES_LINE, strlen(PIECES_LINE)))
			continue;
		end = at + strcspn(at, "\n");
		while ((at += strcspn(at, "0123456789")) < end) {
			number = strtol(at, &after, 10);
			if (number == files || number == rest)
				return true;
			at = after;
		}
		at = end;
		if (!*at)
			break;
	}
	return false;
}

long luo_meminfo(const char *field)
{
	FILE *in = fopen("/proc/meminfo", "re");
	size_t len = strlen(field);
	char line[128];
	long kb = -1;

	while (in && fgets(line, sizeof(line), in)) {
		if (!strncmp(line, field, len) && line[len] == ':') {
			kb = atol(line + len + 1);
			break;
		}
	}
	if (in)
		fclose(in);
	return kb < 0 ? -ENOENT : kb * 1024 / (long)LUO_PAGE;
}

long luo_tolerated_pages(long otherwise)
{
	const char *pages = getenv("LUO_TOLERATE_PAGES");

	return pages ? atol(pages) : otherwise;
}

long luo_free_pages(void)
{
	FILE *in = fopen("/proc/zoneinfo", "re");
	long n, pages = 0;
	char line[128];

	while (in && fgets(line, sizeof(line), in)) {
		if (sscanf(line, " pages free %ld", &n) == 1 ||
		    sscanf(line, " count: %ld", &n) == 1)
			pages += n;
	}
	if (in)
		fclose(in);
	return pages;
}

int luo_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Some memory is freed late: by RCU, or to per-CPU lists and counters. */
void luo_settle(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		usleep(50000);
		luo_write_file("/proc/sys/vm/drop_caches", "3");
		luo_write_file("/proc/sys/vm/compact_memory", "1");
		luo_write_file("/proc/sys/vm/stat_refresh", "1");
	}
}

int luo_nofile(long more)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	if (limit.rlim_cur >= (rlim_t)more + 64)
		return 0;
	limit.rlim_cur = more + 64;
	if (limit.rlim_max < limit.rlim_cur)
		limit.rlim_max = limit.rlim_cur;
	return setrlimit(RLIMIT_NOFILE, &limit) ? -errno : 0;
}

__u64 luo_seed(void)
{
	const char *text = getenv("LUO_SEED");
	char line[4096] = {};
	__u64 seed;
	FILE *in;

	if (!text) {
		in = fopen("/proc/cmdline", "re");
		if (in && fgets(line, sizeof(line), in))
			text = strstr(line, "lu.seed=");
		if (in)
			fclose(in);
		text = text ? text + strlen("lu.seed=") : NULL;
	}
	if (text)
		return strtoull(text, NULL, 0);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = time(NULL);
	/* Short enough to type. */
	return seed & 0xffffffff;
}

int luo_truncate(int fd, off_t size)
{
	return ftruncate(fd, size) ? -errno : 0;
}

long luo_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	ssize_t n = pwrite(fd, buf, len, off);

	return n < 0 ? -errno : n;
}

int luo_fallocate(int fd, int mode, off_t off, off_t len)
{
	return fallocate(fd, mode, off, len) ? -errno : 0;
}

int luo_add_seals(int fd, unsigned int seals)
{
	return fcntl(fd, F_ADD_SEALS, seals) ? -errno : 0;
}

int luo_open_full(int flags)
{
	char dir[] = "/tmp/luo-XXXXXX", path[64];
	int fd = open("/dev/full", flags | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	/* A guest without devtmpfs has no such node. */
	if (!mkdtemp(dir))
		return -errno;
	snprintf(path, sizeof(path), "%s/full", dir);
	fd = mknod(path, S_IFCHR | 0600, makedev(1, 7));
	if (!fd)
		fd = open(path, flags | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	unlink(path);
	rmdir(dir);
	return fd;
}

int luo_pass_fd(int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;
	int pair[2], err = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	if (sendmsg(pair[0], &msg, 0) < 0 ||
	    recvmsg(pair[1], &msg, MSG_CMSG_CLOEXEC) < 0)
		err = -errno;
	cmsg = err ? NULL : CMSG_FIRSTHDR(&msg);
	if (cmsg)
		memcpy(&err, CMSG_DATA(cmsg), sizeof(int));
	else if (!err)
		err = -EBADMSG;
	close(pair[0]);
	close(pair[1]);
	return err;
}

void *luo_guarded(size_t len)
{
	size_t pages = (len + LUO_PAGE - 1) / LUO_PAGE * LUO_PAGE;
	char *map = mmap(NULL, pages + LUO_PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || munmap(map + pages, LUO_PAGE))
		return NULL;
	return map + pages - len;
}

void *luo_readonly(const void *src, size_t len)
{
	char *map = mmap(NULL, LUO_PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	memcpy(map, src, len);
	return mprotect(map, LUO_PAGE, PROT_READ) ? NULL : map;
}

bool luo_is_c(void)
{
	return access("/sys/module/liveupdate/initstate", F_OK) != 0;
}
