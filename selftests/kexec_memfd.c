// SPDX-License-Identifier: GPL-2.0-only
/*
 * What of a memfd crosses a kexec, and what the memfd can do afterwards: bytes,
 * frames, size, position, seals; large folios; pages that were written late.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGE	(2 * MIB)
#define HUGE_SIZE	(3 * HUGE_PAGE)
#define THP_CONTROL	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

#define KPF_THP	22

static int new_memfd(unsigned int flags, size_t size, __u64 seed)
{
	return need_fd(luo_memfd(flags, size, seed), "a memfd of %zu bytes", size);
}

static int back(struct stage_ctx *ctx, __u64 token)
{
	return need_fd(luo_retrieve_fd(ctx->in, token), "retrieve_fd, token %llu",
		       (unsigned long long)token);
}

static void keep(struct stage_ctx *ctx, int fd, __u64 token)
{
	need_eq(luo_preserve(ctx->out, fd, token), 0, "preserve_fd, token %llu",
		(unsigned long long)token);
}

static void finish(struct stage_ctx *ctx)
{
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

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
		fd = new_memfd(0, sizes[i], i);
		keep(ctx, fd, i);
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

	/* The last one first. */
	for (i = ARRAY_SIZE(sizes); i-- > 0;) {
		fd = back(ctx, i);
		snprintf(tag, sizeof(tag), "size-%zu", sizes[i]);
		expect_eq(luo_size(fd), sizes[i], "size");
		expect_pattern(fd, 0, sizes[i], i, tag);
		if (sizes[i])
			stage_same_pfns(tag, fd);
		if (!fstat(fd, &st))
			expect_eq(st.st_blocks, (sizes[i] + LUO_PAGE - 1) / LUO_PAGE * 8,
				  "st_blocks of %s", tag);
		close(fd);
	}
	finish(ctx);
}

/* One that is a good part of the memory there is. */

#define BIG	(200 * MIB)

static void big_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(0, BIG, 200);

	keep(ctx, fd, 1);
	stage_save_pfns("big", fd);
	close(fd);
}

static void big_after(struct stage_ctx *ctx)
{
	long pages = BIG / LUO_PAGE, shmem;
	int fd;

	luo_settle();
	shmem = luo_meminfo("Shmem");
	fd = back(ctx, 1);
	/* Before luo_settle(): its compaction moves what is not pinned. */
	stage_same_pfns("big", fd);
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem + pages - 16, shmem + pages + 16,
		     "pages of Shmem with it retrieved (%ld before, %ld in the file)", shmem,
		     pages);
	expect_eq(luo_size(fd), BIG, "size");
	expect_pattern(fd, 0, BIG, 200, "content");
	finish(ctx);
	close(fd);
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem - 16, shmem + 16,
		     "pages of Shmem with it closed");
}

/* Positions, as they are at the reboot. */

static const off_t positions[] = {
	0, 1, 4096, 10000, 10001, (off_t)1 << 40, 0x7fffffffffffffff,
};

static void positions_before(struct stage_ctx *ctx)
{
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(positions); i++) {
		fd = new_memfd(0, 10000, i);
		/* Half of them are moved after preserve. */
		if (i & 1)
			keep(ctx, fd, i);
		expect_eq(lseek(fd, positions[i], SEEK_SET), positions[i], "lseek");
		if (!(i & 1))
			keep(ctx, fd, i);
		close(fd);
	}
	/* A read and a write move it too. */
	fd = new_memfd(0, 10000, 100);
	keep(ctx, fd, 100);
	expect_eq(read(fd, &i, 3), 3, "read");
	expect_eq(write(fd, "wxyz", 4), 4, "write");
	/* The daemon holds it open. */
}

static void positions_after(struct stage_ctx *ctx)
{
	char buf[4] = {};
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(positions); i++) {
		fd = back(ctx, i);
		expect_eq(luo_pos(fd), positions[i], "position %zu", i);
		close(fd);
	}
	fd = back(ctx, 100);
	expect_eq(luo_pos(fd), 7, "position after read and write");
	expect_eq(pread(fd, buf, 4, 3), 4, "pread");
	expect_eq(memcmp(buf, "wxyz", 4), 0, "memcmp with what was written");
	expect_pattern(fd, 7, 10000 - 7, 100, "the rest");
	finish(ctx);
	close(fd);
}

/* Seals: each, all, those of MFD_NOEXEC_SEAL, none at all. */

static const struct {
	unsigned int flags;
	unsigned int seals;
} seals[] = {
	{ MFD_ALLOW_SEALING, 0 },
	{ MFD_ALLOW_SEALING, F_SEAL_SEAL },
	{ MFD_ALLOW_SEALING, F_SEAL_SHRINK },
	{ MFD_ALLOW_SEALING, F_SEAL_GROW },
	{ MFD_ALLOW_SEALING, F_SEAL_WRITE },
	{ MFD_ALLOW_SEALING, F_SEAL_FUTURE_WRITE },
	{ MFD_ALLOW_SEALING | MFD_EXEC, F_SEAL_EXEC },
	{ MFD_ALLOW_SEALING, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE },
	{ MFD_ALLOW_SEALING, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
			     F_SEAL_FUTURE_WRITE | F_SEAL_EXEC },
	{ MFD_NOEXEC_SEAL, 0 },
	{ MFD_NOEXEC_SEAL, F_SEAL_GROW },
	{ MFD_NOEXEC_SEAL, F_SEAL_SEAL },
	/* Without MFD_ALLOW_SEALING it has F_SEAL_SEAL. */
	{ 0, 0 },
};

static void seals_before(struct stage_ctx *ctx)
{
	int fd, saved[ARRAY_SIZE(seals)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = new_memfd(seals[i].flags, 5000, i);
		if (seals[i].seals)
			need_eq(luo_add_seals(fd, seals[i].seals), 0, "F_ADD_SEALS %#x",
				seals[i].seals);
		saved[i] = luo_seals(fd);
		keep(ctx, fd, i);
		expect_eq(luo_seals(fd), saved[i], "seals once preserved");
		close(fd);
	}
	stage_save("seals", saved, sizeof(saved));
}

static void seals_after(struct stage_ctx *ctx)
{
	int fd, saved[ARRAY_SIZE(seals)];
	struct stat st;
	size_t i;

	stage_load("seals", saved, sizeof(saved));
	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = back(ctx, i);
		/* The C implementation adds the seals against writing to it. */
		if (luo_is_c() && saved[i] & F_SEAL_EXEC) {
			expect_eq(luo_seals(fd) & saved[i], saved[i], "seals of number %zu", i);
			close(fd);
			continue;
		}
		expect_eq(luo_seals(fd), saved[i], "seals of number %zu", i);
		expect_pattern(fd, 0, 5000, i, "content");
		expect_eq(luo_pwrite(fd, "x", 1, 0),
			  saved[i] & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) ? -EPERM : 1,
			  "write with seals %#x", saved[i]);
		expect_eq(luo_truncate(fd, 6000), saved[i] & F_SEAL_GROW ? -EPERM : 0,
			  "growing with seals %#x", saved[i]);
		expect_eq(luo_truncate(fd, 100), saved[i] & F_SEAL_SHRINK ? -EPERM : 0,
			  "shrinking with seals %#x", saved[i]);
		/* Sealed against exec bits, and writable: it has none. */
		if (saved[i] & F_SEAL_EXEC && !(saved[i] & F_SEAL_WRITE) && !fstat(fd, &st))
			expect_eq(st.st_mode & 0111, 0, "exec bits with seals %#x", saved[i]);
		close(fd);
	}
	finish(ctx);
}

/* A seal that is added to a preserved file is a seal as of the reboot. */

static void late_seals_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(MFD_ALLOW_SEALING, 5000, 1);

	keep(ctx, fd, 1);
	need_eq(luo_add_seals(fd, F_SEAL_GROW | F_SEAL_SHRINK), 0, "F_ADD_SEALS");
	close(fd);
}

static void late_seals_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);

	expect_eq(luo_seals(fd), F_SEAL_GROW | F_SEAL_SHRINK, "seals added once preserved");
	finish(ctx);
	close(fd);
}

/* Large folios. */

static int kpageflag(__u64 pfn, int bit)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 flags = 0;

	if (fd < 0 || pread(fd, &flags, sizeof(flags), pfn * 8) != sizeof(flags))
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
		if (pfns[i] != pfns[i & ~511UL] + (i & 511) || pfns[i & ~511UL] & 511)
			return false;
	}
	/* The C implementation does not mark what it restores. */
	return luo_is_c() || kpageflag(pfns[0], KPF_THP);
}

static void huge_before(struct stage_ctx *ctx)
{
	int i, fd;

	if (luo_write_file(THP_CONTROL, "force"))
		stage_skip("no huge shmem here: %s", THP_CONTROL);
	for (i = 0; i < 2; i++) {
		/* The second one ends within a folio. */
		fd = memfd_create("huge", 0);
		need_eq(luo_truncate(fd, i ? HUGE_SIZE - 5000 : HUGE_SIZE), 0, "ftruncate");
		need_eq(luo_fill(fd, 0, i ? HUGE_SIZE - 5000 : HUGE_SIZE, i), 0, "fill");
		if (!i && !is_huge(fd)) {
			luo_write_file(THP_CONTROL, "never");
			stage_skip("the memfd got no huge pages (memory is in pieces?)");
		}
		keep(ctx, fd, i);
		/* It may have had to move out of CMA, page by page. */
		if (!i && !is_huge(fd)) {
			luo_write_file(THP_CONTROL, "never");
			stage_skip("the huge pages were split to move them out of CMA");
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
	fd = back(ctx, 0);
	stage_same_pfns("huge-0", fd);
	expect_eq(is_huge(fd), true, "still huge after the kexec");
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem + pages - 16, shmem + pages + 16,
		     "pages of Shmem, every page of a folio counted (%ld before)", shmem);
	other = back(ctx, 1);
	stage_same_pfns("huge-1", other);
	expect_pattern(fd, 0, HUGE_SIZE, 0, "huge content");
	expect_eq(luo_size(other), HUGE_SIZE - 5000, "size within a folio");
	expect_pattern(other, 0, HUGE_SIZE - 5000, 1, "content within a folio");
	finish(ctx);
	/* Folios can be split, grown and freed like any other. */
	expect_eq(luo_truncate(fd, HUGE_PAGE / 2 + 1), 0, "shrink into a folio");
	expect_pattern(fd, 0, HUGE_PAGE / 2 + 1, 0, "what is left of it");
	expect_eq(luo_truncate(fd, HUGE_SIZE), 0, "grow again");
	expect_zero(fd, HUGE_PAGE / 2 + 1, HUGE_SIZE - HUGE_PAGE / 2 - 1, "what was cut off");
	expect_eq(luo_fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * LUO_PAGE,
				LUO_PAGE), 0, "punch a hole in a folio");
	expect_zero(other, 8 * LUO_PAGE, LUO_PAGE, "the hole");
	expect_pattern(other, 9 * LUO_PAGE, MIB, 1, "behind the hole");
	close(fd);
	close(other);
	luo_settle();
	expect_range(luo_meminfo("Shmem"), shmem - 16, shmem + 16,
		     "pages of Shmem with both closed");
}

/* Holes, pages that were only allocated, and what is written there later. */

static long blocks_of(int fd)
{
	struct stat st;

	need_eq(fstat(fd, &st), 0, "fstat");
	return st.st_blocks;
}

static void sparse_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(0, LUO_PAGE, 1);
	long blocks;
	char *map;

	need_eq(luo_truncate(fd, 64 * LUO_PAGE + 5), 0, "ftruncate");
	need_eq(luo_fallocate(fd, 0, 16 * LUO_PAGE, 32 * LUO_PAGE), 0, "fallocate");
	keep(ctx, fd, 1);
	/* The C implementation fills them. */
	if (!luo_is_c())
		expect_eq(blocks_of(fd), 33 * LUO_PAGE / 512, "blocks with holes, preserved");
	stage_save_pfns("sparse", fd);
	/* In a hole, in an allocated page, and through a mapping. */
	need_eq(luo_fill(fd, 4 * LUO_PAGE, 1000, 2), 0, "write into a hole");
	need_eq(luo_fill(fd, 20 * LUO_PAGE, 1000, 3), 0, "write into an allocated page");
	map = mmap(NULL, 64 * LUO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need_eq(map == MAP_FAILED, 0, "mmap failed");
	map[30 * LUO_PAGE] = 'm';
	map[50 * LUO_PAGE] = 'n';
	blocks = blocks_of(fd);
	stage_save("blocks", &blocks, sizeof(blocks));
	/* Stays mapped in the daemon; its last write is not synced by an unmap. */
	map[40 * LUO_PAGE] = 'o';
}

static void sparse_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);
	char byte = 0;
	long blocks;

	stage_same_pfns("sparse", fd);
	stage_load("blocks", &blocks, sizeof(blocks));
	expect_eq(blocks_of(fd), blocks, "blocks");
	/* Pages that count as clean would be dropped by this. */
	luo_settle();
	expect_eq(luo_size(fd), 64 * LUO_PAGE + 5, "size");
	expect_pattern(fd, 0, LUO_PAGE, 1, "written before");
	expect_zero(fd, LUO_PAGE, 3 * LUO_PAGE, "hole");
	expect_pattern(fd, 4 * LUO_PAGE, 1000, 2, "written into a hole");
	expect_zero(fd, 4 * LUO_PAGE + 1000, 16 * LUO_PAGE - 1000, "hole and allocated");
	expect_pattern(fd, 20 * LUO_PAGE, 1000, 3, "written into an allocated page");
	expect_zero(fd, 20 * LUO_PAGE + 1000, 10 * LUO_PAGE - 1000, "allocated");
	expect_eq(pread(fd, &byte, 1, 30 * LUO_PAGE), 1, "pread");
	expect_eq(byte, 'm', "written by mmap into an allocated page");
	expect_eq(pread(fd, &byte, 1, 40 * LUO_PAGE), 1, "pread");
	expect_eq(byte, 'o', "written by mmap last of all");
	expect_eq(pread(fd, &byte, 1, 50 * LUO_PAGE), 1, "pread");
	expect_eq(byte, 'n', "written by mmap into a hole");
	expect_zero(fd, 50 * LUO_PAGE + 1, 14 * LUO_PAGE + 4, "the end");
	finish(ctx);
	close(fd);
}

/* Far longer than memory, with little in it, before and after preserve. */

#define VAST		(64UL << 30)
#define PLACES		1024
#define LATE_PLACES	300

static off_t place(int i)
{
	/* Page 0, the last one, and others in no order. */
	off_t pages = VAST / LUO_PAGE;

	return (i ? pages - 1 - luo_mix(64, i) % pages * (i > 1) : 0) * LUO_PAGE;
}

static void vast_before(struct stage_ctx *ctx)
{
	int i, fd = need_fd(memfd_create("vast", 0), "a memfd");
	long blocks;

	need_eq(luo_truncate(fd, VAST), 0, "ftruncate");
	for (i = 0; i < PLACES; i++)
		need_eq(luo_fill(fd, place(i), LUO_PAGE, i), 0, "write at place %d", i);
	/* Many pages long, so that no batch has all of it. */
	need_eq(luo_fill(fd, VAST / 2, 5 * MIB, PLACES), 0, "write in the middle");
	blocks = blocks_of(fd);
	keep(ctx, fd, 1);
	expect_eq(blocks_of(fd), blocks, "blocks with holes, preserved");
	for (i = PLACES + 1; i <= PLACES + LATE_PLACES; i++)
		need_eq(luo_fill(fd, place(i), LUO_PAGE, i), 0, "write at place %d", i);
	need_eq(luo_fill(fd, VAST / 2 - MIB, MIB, 1), 0, "write before the middle");
	blocks = blocks_of(fd);
	stage_save("blocks", &blocks, sizeof(blocks));
	close(fd);
}

static void vast_after(struct stage_ctx *ctx)
{
	int i, fd = back(ctx, 1);
	long blocks;

	stage_load("blocks", &blocks, sizeof(blocks));
	expect_eq(blocks_of(fd), blocks, "blocks");
	expect_eq(luo_size(fd), VAST, "size");
	for (i = 0; i <= PLACES + LATE_PLACES; i++) {
		if (i != PLACES && !expect_pattern(fd, place(i), LUO_PAGE, i, "a place"))
			stage_note("the place is %d", i);
	}
	expect_pattern(fd, VAST / 2 - MIB, MIB, 1, "before the middle");
	expect_pattern(fd, VAST / 2, 5 * MIB, PLACES, "the middle");
	expect_zero(fd, VAST / 2 + 5 * MIB, LUO_PAGE, "behind the middle");
	expect_eq(blocks_of(fd), blocks, "blocks once read");
	finish(ctx);
	close(fd);
}

/* Everything is written anew after preserve, half by write, half by mmap. */

static void dirtied_before(struct stage_ctx *ctx)
{
	size_t size = MIB;
	int copy, fd = new_memfd(0, size, 1);
	char *map, *from;

	keep(ctx, fd, 1);
	need_eq(luo_fill(fd, 0, size / 2, 2), 0, "write again");
	copy = new_memfd(0, size, 2);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	from = mmap(NULL, size, PROT_READ, MAP_SHARED, copy, 0);
	need_eq(map == MAP_FAILED || from == MAP_FAILED, 0, "mmap failed");
	memcpy(map + size / 2, from + size / 2, size / 2);
	munmap(from, size);
	close(copy);
	close(fd);
}

static void dirtied_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);

	luo_settle();
	expect_pattern(fd, 0, MIB, 2, "what was written after preserve");
	finish(ctx);
	luo_settle();
	expect_pattern(fd, 0, MIB, 2, "the same after finish and reclaim");
	close(fd);
}

/* Retrieved twice: two fds of one open file. */

static void twice_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(MFD_ALLOW_SEALING, 10000, 1);

	expect_eq(lseek(fd, 100, SEEK_SET), 100, "lseek");
	keep(ctx, fd, 1);
	close(fd);
}

static void twice_after(struct stage_ctx *ctx)
{
	int session, a = back(ctx, 1), b = back(ctx, 1);
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
	a = back(ctx, 1);
	expect_eq(luo_pos(a), 777, "position of the third");

	expect_err(luo_retrieve_fd(ctx->in, 2), -ENOENT, "unknown token");
	expect_err(luo_retrieve_fd(ctx->in, ~0ULL), -ENOENT, "unknown token");
	/* The C implementation shows nothing there. */
	if (!luo_is_c()) {
		expect_eq(luo_fdinfo(ctx->in, text, sizeof(text)), 0, "fdinfo");
		expect_eq(luo_count_line(text, luo_file_line(1, LUO_MEMFD, "retrieved")), 1,
			  "lines \"%s\" in fdinfo", luo_file_line(1, LUO_MEMFD, "retrieved"));
	}

	/* Not given back yet: it cannot go out again. */
	session = need_fd(luo_create(ctx->dev, "twice-out"), "create_session");
	expect_err(luo_preserve(session, a, 1), -EBUSY, "preserve what is not finished");
	expect_err(luo_preserve(ctx->in, a, 9), -EINVAL, "preserve in an incoming session");
	finish(ctx);
	expect_eq(luo_preserve(session, a, 1), 0, "preserve what is finished");
	close(session);
	close(a);
	close(b);
}

/* An ordinary memfd afterwards. */

static void ordinary_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(MFD_ALLOW_SEALING, 10000, 1);

	keep(ctx, fd, 1);
	close(fd);
}

static void ordinary_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);
	char *map;

	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need_eq(map == MAP_FAILED, 0, "mmap failed");
	finish(ctx);
	close(ctx->in);
	ctx->in = -1;
	expect_pattern(fd, 0, 10000, 1, "content after finish and close");
	map[9999] = 'z';
	munmap(map, 10000);
	expect_eq(luo_truncate(fd, 20000), 0, "grow");
	expect_zero(fd, 10000, 10000, "what it grew by");
	expect_eq(luo_fill(fd, 30000, 5000, 2), 0, "write past the end");
	expect_eq(luo_size(fd), 35000, "size");
	expect_pattern(fd, 30000, 5000, 2, "written past the end");
	expect_eq(luo_fallocate(fd, 0, 0, 100000), 0, "fallocate");
	expect_eq(luo_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LUO_PAGE), 0,
		  "punch a hole");
	expect_zero(fd, 0, LUO_PAGE, "the hole");
	expect_pattern(fd, LUO_PAGE, 9999 - LUO_PAGE, 1, "behind the hole");
	expect_eq(luo_add_seals(fd, F_SEAL_WRITE), 0, "F_SEAL_WRITE (nothing is pinned)");
	expect_err(luo_pwrite(fd, "x", 1, 0), -EPERM, "write when sealed");
	close(fd);
}

/* Preserved by an fd that may not write. */

static void readonly_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(0, 10000, 1), again;
	char path[64];

	/* An fd that could only read; memfds come back O_RDWR. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = need_fd(open(path, O_RDONLY), "open again");
	keep(ctx, again, 1);
	close(again);
	close(fd);
}

static void readonly_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);

	expect_pattern(fd, 0, 10000, 1, "content");
	expect_eq(luo_pwrite(fd, "x", 1, 0), 1, "write to what was preserved by a read-only fd");
	finish(ctx);
	close(fd);
}

static const struct stage_case cases[] = {
	{ "big", false, { big_before, big_after } },
	{ "huge", false, { huge_before, huge_after } },
	{ "sizes", false, { sizes_before, sizes_after } },
	{ "positions", false, { positions_before, positions_after } },
	{ "seals", false, { seals_before, seals_after } },
	{ "late_seals", false, { late_seals_before, late_seals_after } },
	{ "sparse", false, { sparse_before, sparse_after } },
	{ "vast", false, { vast_before, vast_after } },
	{ "dirtied", false, { dirtied_before, dirtied_after } },
	{ "twice", false, { twice_before, twice_after } },
	{ "ordinary", false, { ordinary_before, ordinary_after } },
	{ "readonly", false, { readonly_before, readonly_after } },
	{ }
};

static const struct stage_program program = {
	.name = "kexec_memfd", .stages = 2, .cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
