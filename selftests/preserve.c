// SPDX-License-Identifier: GPL-2.0-only
/*
 * preserve_fd: which files it takes and which it refuses, what a preserved memfd
 * can still do, and that closing the session gives everything back.
 *
 * A preserved file stays in use until the kexec: its owner reads, writes and maps
 * it. Only its size is fixed, because its pages are pinned.
 */
#include "lib/fixture.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

FIXTURE(preserve)
{
	int dev;
	int session;
	int fd;
};

FIXTURE_SETUP(preserve)
{
	self->session = -1;
	self->fd = -1;
	self->dev = luo_open();
	if (self->dev == -ENOENT || self->dev == -ENODEV || self->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(self->dev, 0);
	self->session = luo_create(self->dev, "preserve");
	ASSERT_GE(self->session, 0);
	self->fd = luo_memfd(MFD_ALLOW_SEALING, 2 * LUO_PAGE, 1);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(preserve)
{
	close(self->session);
	close(self->fd);
	close(self->dev);
}

TEST_F(preserve, token_in_use)
{
	int other = luo_memfd(0, 1, 2);

	ASSERT_EQ(0, luo_preserve(self->session, self->fd, 5));
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, other, 5));
	/* The failed call did not take the file. */
	EXPECT_EQ(0, luo_preserve(self->session, other, 6));
	close(other);
}

TEST_F(preserve, any_token)
{
	static const __u64 tokens[] = {
		0,
		1,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xffffffffffffffff,
	};
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(tokens); i++) {
		fd = luo_memfd(0, 1, i);
		EXPECT_EQ(0, luo_preserve(self->session, fd, tokens[i]))
		TH_LOG("token %#llx", (unsigned long long)tokens[i]);
		close(fd);
	}
	fd = luo_memfd(0, 1, i);
	for (i = 0; i < ARRAY_SIZE(tokens); i++) {
		EXPECT_EQ(-EEXIST, luo_preserve(self->session, fd, tokens[i]))
		TH_LOG("token %#llx", (unsigned long long)tokens[i]);
	}
	close(fd);
}

TEST_F(preserve, tokens_are_per_session)
{
	int session = luo_create(self->dev, "preserve-2");
	int other = luo_memfd(0, 1, 2);

	ASSERT_EQ(0, luo_preserve(self->session, self->fd, 5));
	EXPECT_EQ(0, luo_preserve(session, other, 5));
	close(session);
	close(other);
}

TEST_F(preserve, same_inode_busy)
{
	int session = luo_create(self->dev, "preserve-2");
	char path[64];
	int copy, again, readonly;

	ASSERT_EQ(0, luo_preserve(self->session, self->fd, 1));
	EXPECT_EQ(-EBUSY, luo_preserve(self->session, self->fd, 2))
	TH_LOG("same fd, same session");
	EXPECT_EQ(-EBUSY, luo_preserve(session, self->fd, 1))
	TH_LOG("same fd, other session");
	copy = dup(self->fd);
	EXPECT_EQ(-EBUSY, luo_preserve(session, copy, 1))
	TH_LOG("dup");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	again = open(path, O_RDWR);
	ASSERT_GE(again, 0);
	EXPECT_EQ(-EBUSY, luo_preserve(session, again, 1))
	TH_LOG("opened again");
	readonly = open(path, O_RDONLY);
	ASSERT_GE(readonly, 0);
	EXPECT_EQ(-EBUSY, luo_preserve(session, readonly, 1))
	TH_LOG("opened again, read-only");
	/* EEXIST of the token takes precedence over EBUSY of the file. */
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, self->fd, 1));
	/* After unpreserve, the other session can take it. */
	close(self->session);
	EXPECT_EQ(0, luo_preserve(session, again, 1));
	self->session = session;
	close(copy);
	close(again);
	close(readonly);
}

TEST_F(preserve, bad_fd)
{
	int closed = dup(self->fd);

	close(closed);
	EXPECT_EQ(-EBADF, luo_preserve(self->session, closed, 1));
	EXPECT_EQ(-EBADF, luo_preserve(self->session, -1, 1));
	EXPECT_EQ(-EBADF, luo_preserve(self->session, 0x7fffffff, 1));
	EXPECT_EQ(-EBADF, luo_preserve(self->session, -0x7fffffff - 1, 1));
	EXPECT_EQ(0, luo_preserve(self->session, self->fd, 1));
}

TEST_F(preserve, path_fd)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_PATH);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-EBADF, luo_preserve(self->session, fd, 1));
	close(fd);
}

TEST_F(preserve, no_handler)
{
	int pipes[2], fd;

	fd = open("/dev/null", O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, fd, 1))
	TH_LOG("/dev/null");
	close(fd);
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, pipes[0], 1))
	TH_LOG("pipe");
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, pipes[1], 1));
	fd = open("/proc/self/status", O_RDONLY);
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, fd, 1))
	TH_LOG("a file of procfs");
	close(fd);
	fd = open("/", O_RDONLY | O_DIRECTORY);
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, fd, 1))
	TH_LOG("a directory");
	close(fd);
	EXPECT_EQ(0, luo_preserve(self->session, self->fd, 1))
	TH_LOG("the same token after the failures");
}

TEST_F(preserve, tmpfs_file)
{
	char dir[] = "/tmp/luo-XXXXXX", path[64];
	int fd;

	mkdir("/tmp", 01777);
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("luo", dir, "tmpfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, luo_fill(fd, 0, 3 * LUO_PAGE, 3));
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, fd, 1))
	TH_LOG("with a name");
	ASSERT_EQ(0, unlink(path));
	EXPECT_EQ(0, luo_preserve(self->session, fd, 1))
	TH_LOG("unlinked");
	EXPECT_EQ(-EPERM, luo_truncate(fd, 0));
	EXPECT_EQ(LUO_SAME, luo_check(fd, 0, 3 * LUO_PAGE, 3));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(0, luo_truncate(fd, 0));
	close(fd);
	EXPECT_EQ(0, umount(dir))
	TH_LOG("the closed session still holds the mount");
	rmdir(dir);
}

TEST_F(preserve, hugetlb)
{
	int fd = memfd_create("huge", MFD_HUGETLB);

	if (fd < 0)
		SKIP(return, "no hugetlbfs here (%s)", strerror(errno));
	EXPECT_EQ(-ENOENT, luo_preserve(self->session, fd, 1));
	close(fd);
}

TEST_F(preserve, too_big)
{
	struct timespec start, end;
	int fd = memfd_create("big", 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, (off_t)1 << 44));
	clock_gettime(CLOCK_MONOTONIC, &start);
	EXPECT_EQ(-EFBIG, luo_preserve(self->session, fd, 1));
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_LE(end.tv_sec - start.tv_sec, 2)
	TH_LOG("expected EFBIG before anything is allocated");
	/* The failed call left neither the size frozen nor the token in use. */
	EXPECT_EQ(0, luo_truncate(fd, 0));
	EXPECT_EQ(0, luo_preserve(self->session, fd, 1));
	close(fd);
}

TEST_F(preserve, empty)
{
	int fd = luo_memfd(0, 0, 0);

	ASSERT_EQ(0, luo_preserve(self->session, fd, 1));
	EXPECT_EQ(-EPERM, luo_truncate(fd, 1));
	EXPECT_EQ(-EPERM, luo_pwrite(fd, "x", 1, 0));
	EXPECT_EQ(0, luo_size(fd));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(1, luo_pwrite(fd, "x", 1, 0));
	close(fd);
}

TEST_F(preserve, sizes_change_only_outside)
{
	static char page[LUO_PAGE];
	off_t size = 2 * LUO_PAGE;
	long n;
	char *map;

	ASSERT_EQ(0, luo_preserve(self->session, self->fd, 1));
	EXPECT_EQ(-EPERM, luo_truncate(self->fd, size + 1));
	EXPECT_EQ(-EPERM, luo_truncate(self->fd, size - 1));
	EXPECT_EQ(-EPERM, luo_truncate(self->fd, 0));
	EXPECT_EQ(-EPERM, luo_fallocate(self->fd, 0, 0, size));
	EXPECT_EQ(-EPERM, luo_fallocate(self->fd, 0, size, LUO_PAGE));
	EXPECT_EQ(-EPERM,
		  luo_fallocate(self->fd, FALLOC_FL_KEEP_SIZE, size, LUO_PAGE));
	EXPECT_EQ(-EPERM,
		  luo_fallocate(self->fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				LUO_PAGE));
	EXPECT_EQ(-EPERM, luo_pwrite(self->fd, page, 1, size));
	EXPECT_EQ(-EPERM, luo_pwrite(self->fd, page, 1, 10 * size));
	EXPECT_EQ(size, luo_size(self->fd));

	/*
	 * A write that starts inside is cut short or refused, depending on its
	 * folios.
	 */
	n = luo_pwrite(self->fd, page, sizeof(page), size - 100);
	EXPECT_TRUE(n == -EPERM || (n > 0 && n <= 100))
	TH_LOG("write over the end: expected EPERM or 1 to 100 bytes, seen %ld",
	       n);
	EXPECT_EQ(size, luo_size(self->fd));
	EXPECT_EQ(LUO_SAME, luo_check(self->fd, 0, size - 100, 1));

	/* Inside its size the file works as before. */
	EXPECT_EQ(0, luo_fill(self->fd, 0, size, 2));
	EXPECT_EQ(LUO_SAME, luo_check(self->fd, 0, size, 2));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	map[size - 1] = 'm';
	EXPECT_EQ(1, pread(self->fd, page, 1, size - 1));
	EXPECT_EQ('m', page[0]);
	errno = 0;
	EXPECT_EQ(-1, madvise(map, LUO_PAGE, MADV_REMOVE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(LUO_SAME, luo_check(self->fd, 0, size - 1, 2));
	munmap(map, size);
	EXPECT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(1, write(self->fd, page, 1));
	EXPECT_EQ(11, luo_pos(self->fd));

	/* After close the size can change again. */
	close(self->session);
	self->session = -1;
	EXPECT_EQ(0, luo_truncate(self->fd, size + 1));
	EXPECT_EQ(0, luo_fallocate(self->fd, 0, 0, 2 * size));
	EXPECT_EQ(0, luo_fallocate(self->fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   0, LUO_PAGE));
	EXPECT_EQ(1, luo_pwrite(self->fd, page, 1, 4 * size));
	EXPECT_EQ(0, luo_truncate(self->fd, 0));
}

TEST_F(preserve, holes_and_fallocated)
{
	int fd = luo_memfd(0, 0, 0);

	/*
	 * A page of data, a hole, fallocated pages, and a size within a page.
	 */
	ASSERT_EQ(0, luo_fill(fd, 0, LUO_PAGE, 1));
	ASSERT_EQ(0, luo_truncate(fd, 8 * LUO_PAGE + 17));
	ASSERT_EQ(0, luo_fallocate(fd, 0, 4 * LUO_PAGE, 2 * LUO_PAGE));
	ASSERT_EQ(0, luo_preserve(self->session, fd, 1));
	EXPECT_EQ(LUO_SAME, luo_check(fd, 0, LUO_PAGE, 1));
	EXPECT_EQ(LUO_SAME, luo_check_zero(fd, LUO_PAGE, 7 * LUO_PAGE + 17));
	EXPECT_EQ(0, luo_fill(fd, 5 * LUO_PAGE, 100, 2));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(LUO_SAME, luo_check(fd, 5 * LUO_PAGE, 100, 2));
	EXPECT_EQ(LUO_SAME, luo_check_zero(fd, 5 * LUO_PAGE + 100, LUO_PAGE));
	close(fd);
}

TEST_F(preserve, beyond_the_end)
{
	int fd = luo_memfd(0, 100, 1);

	/*
	 * Pages that fallocate() adds beyond the size are not part of the file.
	 */
	ASSERT_EQ(0, luo_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16 * LUO_PAGE));
	EXPECT_EQ(0, luo_preserve(self->session, fd, 1));
	EXPECT_EQ(100, luo_size(fd));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(LUO_SAME, luo_check(fd, 0, 100, 1));
	close(fd);
}

TEST_F(preserve, write_seal_with_mapping)
{
	void *map = mmap(NULL, LUO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, luo_preserve(self->session, self->fd, 1));
	EXPECT_EQ(-EBUSY, luo_add_seals(self->fd, F_SEAL_WRITE));
	EXPECT_EQ(0, luo_seals(self->fd));
	munmap(map, LUO_PAGE);
	/* Preserved pages are pinned, and a pin may be held to write. */
	EXPECT_EQ(-EBUSY, luo_add_seals(self->fd, F_SEAL_WRITE));
	EXPECT_EQ(0, luo_seals(self->fd));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(0, luo_add_seals(self->fd, F_SEAL_WRITE))
	TH_LOG("a page is still pinned after close");
	EXPECT_EQ(F_SEAL_WRITE, luo_seals(self->fd));
}

TEST_F(preserve, sealed)
{
	static const unsigned int seals[] = {
		F_SEAL_SEAL,
		F_SEAL_SHRINK,
		F_SEAL_GROW,
		F_SEAL_WRITE,
		F_SEAL_FUTURE_WRITE,
		F_SEAL_EXEC,
		F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
	};
	size_t i;
	int fd, before;

	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = luo_memfd(MFD_ALLOW_SEALING, 100, i);
		ASSERT_EQ(0, luo_add_seals(fd, seals[i]));
		before = luo_seals(fd);
		EXPECT_EQ(0, luo_preserve(self->session, fd, i))
		TH_LOG("seals %#x", seals[i]);
		EXPECT_EQ(before, luo_seals(fd));
		EXPECT_EQ(LUO_SAME, luo_check(fd, 0, 100, i));
		close(fd);
	}
}

TEST_F(preserve, readonly_fd)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, luo_preserve(self->session, fd, 1));
	close(fd);
}

TEST_F(preserve, survives_the_last_fd)
{
	/* After close the session keeps the file. */
	EXPECT_EQ(0, luo_preserve(self->session, self->fd, 1));
	close(self->fd);
	self->fd = luo_memfd(0, 1, 1);
	EXPECT_EQ(-EEXIST, luo_preserve(self->session, self->fd, 1));
	EXPECT_EQ(0, luo_preserve(self->session, self->fd, 2));
}

TEST_F_TIMEOUT(preserve, many_files, 120)
{
	enum { COUNT = 500 };
	int i, fd;

	for (i = 0; i < COUNT; i++) {
		fd = luo_memfd(0, 1 + i % 3 * LUO_PAGE, i);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, luo_preserve(self->session, fd, luo_mix(99, i)))
		TH_LOG("file %d", i);
		close(fd);
	}
	for (i = 0; i < COUNT; i++)
		ASSERT_EQ(-EEXIST, luo_preserve(self->session, self->fd,
						luo_mix(99, i)));
	close(self->session);
	self->session = luo_create(self->dev, "preserve");
	ASSERT_GE(self->session, 0);
	EXPECT_EQ(0, luo_preserve(self->session, self->fd, luo_mix(99, 0)));
}

TEST_HARNESS_MAIN
