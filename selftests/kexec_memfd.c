// SPDX-License-Identifier: GPL-2.0-only
/*
 * What of a memfd crosses a kexec: bytes, frames, size and position, with small and
 * with large folios. What comes back is an ordinary memfd in the same physical pages.
 * kexec_seals.c and kexec_sparse.c are about seals and holes.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/frames.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGE (2 * MIB)
#define HUGE_SIZE (3 * HUGE_PAGE)
#define THP_CONTROL "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

#define KPF_THP 22

/* Sizes, and the frames of each. */

static const size_t sizes[] = {
	0, 1, 7, 4095, 4096, 4097, 65536 + 13, MIB, 9 * MIB - 1,
};

static void sizes_before(struct stage_ctx *ctx)
{
	char tag[32];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = need_memfd(0, sizes[i], i);
		need_preserve(ctx->out, fd, i);
		snprintf(tag, sizeof(tag), "size-%zu", sizes[i]);
		if (sizes[i])
			stage_save_pfns(tag, fd);
		close(fd);
	}
}

static void sizes_after(struct stage_ctx *ctx)
{
	struct stat st;
	char tag[32];
	size_t i;
	int fd;

	/* In reverse order. */
	for (i = ARRAY_SIZE(sizes); i-- > 0;) {
		fd = need_retrieve(ctx->in, i);
		snprintf(tag, sizeof(tag), "size-%zu", sizes[i]);
		expect_eq(luo_size(fd), sizes[i], "size");
		expect_pattern(fd, 0, sizes[i], i, tag);
		if (sizes[i])
			stage_same_pfns(tag, fd);
		if (!fstat(fd, &st))
			expect_eq(st.st_blocks,
				  (sizes[i] + LUO_PAGE - 1) / LUO_PAGE * 8,
				  "st_blocks of %s", tag);
		close(fd);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* A file that takes a large part of all memory. */

#define BIG (200 * MIB)

static void big_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(0, BIG, 200);

	need_preserve(ctx->out, fd, 1);
	stage_save_pfns("big", fd);
	close(fd);
}

static void big_after(struct stage_ctx *ctx)
{
	long pages = BIG / LUO_PAGE, shmem;
	int fd;

	luo_settle();
	shmem = luo_meminfo("Shmem");
	fd = need_retrieve(ctx->in, 1);
	/*
	 * Before luo_settle(), whose compaction moves pages that are not
	 * pinned.
	 */
	stage_same_pfns("big", fd);
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem + pages - 16,
		     shmem + pages + 16, "pages of Shmem (%ld + %ld)", shmem,
		     pages);
	expect_eq(luo_size(fd), BIG, "size");
	expect_pattern(fd, 0, BIG, 200, "content");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem - 16, shmem + 16,
		     "pages of Shmem with it closed");
}

/* Positions, as of the kexec. */

static const off_t positions[] = {
	0, 1, 4096, 10000, 10001, (off_t)1 << 40, 0x7fffffffffffffff,
};

static void positions_before(struct stage_ctx *ctx)
{
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(positions); i++) {
		fd = need_memfd(0, 10000, i);
		/* Every other position is set after preserve. */
		if (i & 1)
			need_preserve(ctx->out, fd, i);
		expect_eq(lseek(fd, positions[i], SEEK_SET), positions[i],
			  "lseek");
		if (!(i & 1))
			need_preserve(ctx->out, fd, i);
		close(fd);
	}
	/* Reads and writes move the position too. */
	fd = need_memfd(0, 10000, 100);
	need_preserve(ctx->out, fd, 100);
	expect_eq(read(fd, &i, 3), 3, "read");
	expect_eq(write(fd, "wxyz", 4), 4, "write");
	/* The daemon keeps the fd open. */
}

static void positions_after(struct stage_ctx *ctx)
{
	char buf[4] = {};
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(positions); i++) {
		fd = need_retrieve(ctx->in, i);
		expect_eq(luo_pos(fd), positions[i], "position %zu", i);
		close(fd);
	}
	fd = need_retrieve(ctx->in, 100);
	expect_eq(luo_pos(fd), 7, "position after read and write");
	expect_eq(pread(fd, buf, 4, 3), 4, "pread");
	expect_eq(memcmp(buf, "wxyz", 4), 0, "memcmp with what was written");
	expect_pattern(fd, 7, 10000 - 7, 100, "the rest");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/* Large folios. */

static int kpageflag(__u64 pfn, int bit)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 flags = 0;

	if (fd < 0 ||
	    pread(fd, &flags, sizeof(flags), pfn * 8) != sizeof(flags))
		flags = 1ULL << bit;
	if (fd >= 0)
		close(fd);
	return flags >> bit & 1;
}

static bool is_huge(int fd)
{
	static __u64 pfns[HUGE_SIZE / LUO_PAGE];
	size_t i;

	need_eq(luo_pfns(fd, ARRAY_SIZE(pfns), pfns), 0, "frame numbers");
	for (i = 0; i < ARRAY_SIZE(pfns); i++) {
		if (pfns[i] != pfns[i & ~511UL] + (i & 511) ||
		    pfns[i & ~511UL] & 511)
			return false;
	}
	/*
	 * The C implementation does not mark restored folios as THP. A kernel
	 * without THP has single pages.
	 */
	return luo_is_c() || access(THP_CONTROL, F_OK) ||
	       kpageflag(pfns[0], KPF_THP);
}

static void huge_before(struct stage_ctx *ctx)
{
	int i, fd;

	if (luo_write_file(THP_CONTROL, "force"))
		stage_skip("no huge shmem here: %s", THP_CONTROL);
	for (i = 0; i < 2; i++) {
		/* The second file ends within a folio. */
		fd = memfd_create("huge", 0);
		need_eq(luo_truncate(fd, i ? HUGE_SIZE - 5000 : HUGE_SIZE), 0,
			"ftruncate");
		need_eq(luo_fill(fd, 0, i ? HUGE_SIZE - 5000 : HUGE_SIZE, i), 0,
			"fill");
		if (!i && !is_huge(fd)) {
			luo_write_file(THP_CONTROL, "never");
			stage_skip("the memfd got no huge pages");
		}
		need_preserve(ctx->out, fd, i);
		/* Preserve splits huge pages that it must move out of CMA. */
		if (!i && !is_huge(fd)) {
			luo_write_file(THP_CONTROL, "never");
			stage_skip("preserve split the huge pages");
		}
		stage_save_pfns(i ? "huge-1" : "huge-0", fd);
		close(fd);
	}
	luo_write_file(THP_CONTROL, "never");
}

static void huge_after(struct stage_ctx *ctx)
{
	long pages = HUGE_SIZE / LUO_PAGE, shmem;
	int fd, other;

	luo_settle();
	shmem = luo_meminfo("Shmem");
	fd = need_retrieve(ctx->in, 0);
	stage_same_pfns("huge-0", fd);
	expect_eq(is_huge(fd), true, "still huge after the kexec");
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem + pages - 16,
		     shmem + pages + 16, "pages of Shmem (%ld before)", shmem);
	other = need_retrieve(ctx->in, 1);
	stage_same_pfns("huge-1", other);
	expect_pattern(fd, 0, HUGE_SIZE, 0, "huge content");
	expect_eq(luo_size(other), HUGE_SIZE - 5000, "size within a folio");
	expect_pattern(other, 0, HUGE_SIZE - 5000, 1, "content within a folio");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	/* Restored folios can be split and freed like any others. */
	expect_eq(luo_truncate(fd, HUGE_PAGE / 2 + 1), 0,
		  "shrink into a folio");
	expect_pattern(fd, 0, HUGE_PAGE / 2 + 1, 0, "the rest of the file");
	expect_eq(luo_truncate(fd, HUGE_SIZE), 0, "grow again");
	expect_zero(fd, HUGE_PAGE / 2 + 1, HUGE_SIZE - HUGE_PAGE / 2 - 1,
		    "the truncated part");
	expect_eq(luo_fallocate(other,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				8 * LUO_PAGE, LUO_PAGE),
		  0, "punch a hole in a folio");
	expect_zero(other, 8 * LUO_PAGE, LUO_PAGE, "the hole");
	expect_pattern(other, 9 * LUO_PAGE, MIB, 1, "after the hole");
	close(fd);
	close(other);
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem - 16, shmem + 16,
		     "pages of Shmem with both closed");
}

/* A file that is retrieved twice: two fds of one open file. */

static void twice_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(MFD_ALLOW_SEALING, 10000, 1);

	expect_eq(lseek(fd, 100, SEEK_SET), 100, "lseek");
	need_preserve(ctx->out, fd, 1);
	close(fd);
}

static void twice_after(struct stage_ctx *ctx)
{
	int session, a = need_retrieve(ctx->in, 1),
		     b = need_retrieve(ctx->in, 1);
	char text[4096], byte;

	expect_eq(a == b, 0, "the same fd number twice");
	expect_eq(luo_is_cloexec(a), true, "O_CLOEXEC on the first");
	expect_eq(luo_is_cloexec(b), true, "O_CLOEXEC on the second");
	expect_eq(fcntl(a, F_GETFL) & O_ACCMODE, O_RDWR, "access mode");
	expect_eq(lseek(a, 777, SEEK_SET), 777, "lseek");
	expect_eq(luo_pos(b), 777, "position seen by the other fd");
	expect_eq(luo_pwrite(a, "q", 1, 0), 1, "write");
	expect_eq(pread(b, &byte, 1, 0), 1, "read by the other");
	expect_eq(byte, 'q', "byte written through the first");
	close(a);
	expect_eq(luo_pos(b), 777, "position with the first closed");
	a = need_retrieve(ctx->in, 1);
	expect_eq(luo_pos(a), 777, "position of the third");

	expect_err(luo_retrieve_fd(ctx->in, 2), -ENOENT, "unknown token");
	expect_err(luo_retrieve_fd(ctx->in, ~0ULL), -ENOENT, "unknown token");
	/* The C implementation has no fdinfo. */
	if (!luo_is_c()) {
		expect_eq(luo_fdinfo(ctx->in, text, sizeof(text)), 0, "fdinfo");
		expect_eq(luo_count_line(text, luo_file_line(1, LUO_MEMFD,
							     "retrieved")),
			  1, "lines \"%s\" in fdinfo",
			  luo_file_line(1, LUO_MEMFD, "retrieved"));
	}

	/* Before finish, the file cannot be preserved again. */
	session = need_fd(luo_create(ctx->dev, "twice-out"), "create_session");
	expect_err(luo_preserve(session, a, 1), -EBUSY,
		   "preserve_fd before finish");
	expect_err(luo_preserve(ctx->in, a, 9), -EINVAL,
		   "preserve_fd in an incoming session");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_eq(luo_preserve(session, a, 1), 0, "preserve_fd after finish");
	close(session);
	close(a);
	close(b);
}

/* A retrieved file is an ordinary memfd. */

static void ordinary_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(MFD_ALLOW_SEALING, 10000, 1);

	need_preserve(ctx->out, fd, 1);
	close(fd);
}

static void ordinary_after(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1);
	char *map;

	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need_eq(map == MAP_FAILED, 0, "mmap failed");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(ctx->in);
	ctx->in = -1;
	expect_pattern(fd, 0, 10000, 1, "content after finish and close");
	map[9999] = 'z';
	munmap(map, 10000);
	expect_eq(luo_truncate(fd, 20000), 0, "grow");
	expect_zero(fd, 10000, 10000, "the part that it grew by");
	expect_eq(luo_fill(fd, 30000, 5000, 2), 0, "write past the end");
	expect_eq(luo_size(fd), 35000, "size");
	expect_pattern(fd, 30000, 5000, 2, "written past the end");
	expect_eq(luo_fallocate(fd, 0, 0, 100000), 0, "fallocate");
	expect_eq(luo_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, LUO_PAGE),
		  0, "punch a hole");
	expect_zero(fd, 0, LUO_PAGE, "the hole");
	expect_pattern(fd, LUO_PAGE, 9999 - LUO_PAGE, 1, "after the hole");
	expect_eq(luo_add_seals(fd, F_SEAL_WRITE), 0,
		  "F_SEAL_WRITE (nothing is pinned)");
	expect_err(luo_pwrite(fd, "x", 1, 0), -EPERM, "write when sealed");
	close(fd);
}

/* A file that is preserved by a read-only fd comes back as O_RDWR. */

static void readonly_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(0, 10000, 1), again;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = need_fd(open(path, O_RDONLY), "open again");
	need_preserve(ctx->out, again, 1);
	close(again);
	close(fd);
}

static void readonly_after(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1);

	expect_pattern(fd, 0, 10000, 1, "content");
	expect_eq(luo_pwrite(fd, "x", 1, 0), 1,
		  "write to a file preserved by a read-only fd");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

static const struct stage_case cases[] = {
	{ "big", false, { big_before, big_after } },
	{ "huge", false, { huge_before, huge_after } },
	{ "sizes", false, { sizes_before, sizes_after } },
	{ "positions", false, { positions_before, positions_after } },
	{ "twice", false, { twice_before, twice_after } },
	{ "ordinary", false, { ordinary_before, ordinary_after } },
	{ "readonly", false, { readonly_before, readonly_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_memfd",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
