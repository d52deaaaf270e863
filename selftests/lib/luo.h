/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by all tests of /dev/liveupdate: a wrapper for each ioctl, memfds whose
 * content is a function of a seed, and facts about files and memory from /proc.
 *
 * A function that can fail returns a negative errno, never -1 with errno set.
 */
#ifndef SELFTESTS_LUO_H
#define SELFTESTS_LUO_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

#include <linux/liveupdate.h>
#include <linux/types.h>

#define LUO_DEVICE "/dev/liveupdate"
#define LUO_NAME_MAX LIVEUPDATE_SESSION_NAME_LENGTH
#define LUO_MEMFD "memfd-v2"
#define LUO_PAGE 4096UL
#define MIB (1024UL * 1024UL)

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(arr) (sizeof(arr) / sizeof((arr)[0]))
#endif

/* Newer than some C libraries. */
#ifndef MFD_ALLOW_SEALING
#define MFD_ALLOW_SEALING 0x0002U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* The ioctls. Those that return an fd return a negative errno on failure. */
int luo_open(void);
int luo_ioctl(int fd, unsigned int cmd, void *arg);
int luo_create(int dev, const char *name);
int luo_retrieve(int dev, const char *name);
int luo_preserve(int session, int fd, __u64 token);
int luo_retrieve_fd(int session, __u64 token);
int luo_finish(int session);
int luo_get_name(int session, char name[LUO_NAME_MAX]);

/* Seeded bytes: byte n of a file is a function of the seed and of n only. */
__u64 luo_mix(__u64 seed, __u64 n);
int luo_fill(int fd, off_t off, size_t len, __u64 seed);
int luo_memfd(unsigned int flags, size_t size, __u64 seed);

/*
 * Offset of the first byte that differs, LUO_SAME if none differs, or -errno.
 */
#define LUO_SAME (-1000000L)
long luo_check(int fd, off_t off, size_t len, __u64 seed);
long luo_check_zero(int fd, off_t off, size_t len);

/* Facts about a file. */
int luo_seals(int fd);
off_t luo_size(int fd);
off_t luo_pos(int fd);
bool luo_is_cloexec(int fd);
int luo_fdinfo(int fd, char *buf, size_t size);
/*
 * Whether the kernel has the C implementation, which differs in some answers.
 */
bool luo_is_c(void);
int luo_fdlink(int fd, char *buf, size_t size);

/* How many lines of @text are equal to @line, which has no newline. */
int luo_count_line(const char *text, const char *line);
/* The "luo-file:" line that fdinfo has for a file, in a static buffer. */
const char *luo_file_line(__u64 token, const char *handler, const char *state);

/*
 * fdinfo lists the first files of a session only: it has at most LUO_FDINFO_MAX
 * bytes. luo_file_lines() counts the files in it. luo_fdinfo_counts() returns
 * whether a line of it has the number of all files, or of those not listed.
 */
#define LUO_FDINFO_MAX (128 * 1024)
int luo_file_lines(const char *text);
bool luo_fdinfo_counts(const char *text, int files);

/* In how many pieces of memory a session crosses, as fdinfo says. */
long luo_pieces(int session);

/* Facts about memory, in pages. */
long luo_meminfo(const char *field);
/* Free pages, with those on per-CPU lists, which MemAvailable misses. */
long luo_free_pages(void);
/*
 * How many pages may be missing without a leak. LUO_TOLERATE_PAGES= raises it
 * for kernels that free late, such as those with KASAN.
 */
long luo_tolerated_pages(long otherwise);
/*
 * Waits until freed memory shows as free. Also compacts, so unpinned pages
 * move.
 */
void luo_settle(void);
int luo_write_file(const char *path, const char *text);
int luo_nofile(long more);

/*
 * The seed that repeats a run: $LUO_SEED, or lu.seed= of the kernel command
 * line. Otherwise a random number.
 */
__u64 luo_seed(void);

/* System calls that return -errno. */
int luo_truncate(int fd, off_t size);
long luo_pwrite(int fd, const void *buf, size_t len, off_t off);
int luo_fallocate(int fd, int mode, off_t off, off_t len);
int luo_add_seals(int fd, unsigned int seals);
int luo_open_full(int flags);

/* Sends an fd through a Unix socket; returns the fd that arrives, or -errno. */
int luo_pass_fd(int fd);

/*
 * luo_guarded() returns @len bytes that end where unmapped memory starts,
 * luo_readonly() a read-only copy of @src.
 */
void *luo_guarded(size_t len);
void *luo_readonly(const void *src, size_t len);

#endif /* SELFTESTS_LUO_H */
