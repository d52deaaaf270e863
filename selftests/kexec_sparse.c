// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memfds with holes, and pages that are written after preserve: a hole stays a hole,
 * so that a sparse file costs what its data costs, and the next kernel finds what
 * was in the file when the kexec was entered, not when it was preserved.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Holes, pages that fallocate() added, and what is written there after
 * preserve.
 */

static long blocks_of(int fd)
{
	struct stat st;

	need_eq(fstat(fd, &st), 0, "fstat");
	return st.st_blocks;
}

static void sparse_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(0, LUO_PAGE, 1);
	long blocks;
	char *map;

	need_eq(luo_truncate(fd, 64 * LUO_PAGE + 5), 0, "ftruncate");
	need_eq(luo_fallocate(fd, 0, 16 * LUO_PAGE, 32 * LUO_PAGE), 0,
		"fallocate");
	need_preserve(ctx->out, fd, 1);
	/* The C implementation fills holes. */
	if (!luo_is_c())
		expect_eq(blocks_of(fd), 33 * LUO_PAGE / 512,
			  "blocks with holes, after preserve");
	stage_save_pfns("sparse", fd);
	/* Into a hole, into an allocated page, and through a mapping. */
	need_eq(luo_fill(fd, 4 * LUO_PAGE, 1000, 2), 0, "write into a hole");
	need_eq(luo_fill(fd, 20 * LUO_PAGE, 1000, 3), 0,
		"write into an allocated page");
	map = mmap(NULL, 64 * LUO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   0);
	need_eq(map == MAP_FAILED, 0, "mmap failed");
	map[30 * LUO_PAGE] = 'm';
	map[50 * LUO_PAGE] = 'n';
	blocks = blocks_of(fd);
	stage_save("blocks", &blocks, sizeof(blocks));
	/* The daemon keeps the mapping, so no unmap marks the page dirty. */
	map[40 * LUO_PAGE] = 'o';
}

static void sparse_after(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1);
	char byte = 0;
	long blocks;

	stage_same_pfns("sparse", fd);
	stage_load("blocks", &blocks, sizeof(blocks));
	expect_eq(blocks_of(fd), blocks, "blocks");
	/* This would drop pages that are marked clean. */
	luo_settle();
	expect_eq(luo_size(fd), 64 * LUO_PAGE + 5, "size");
	expect_pattern(fd, 0, LUO_PAGE, 1, "written before");
	expect_zero(fd, LUO_PAGE, 3 * LUO_PAGE, "hole");
	expect_pattern(fd, 4 * LUO_PAGE, 1000, 2, "written into a hole");
	expect_zero(fd, 4 * LUO_PAGE + 1000, 16 * LUO_PAGE - 1000,
		    "hole and allocated");
	expect_pattern(fd, 20 * LUO_PAGE, 1000, 3,
		       "written into an allocated page");
	expect_zero(fd, 20 * LUO_PAGE + 1000, 10 * LUO_PAGE - 1000,
		    "allocated");
	expect_eq(pread(fd, &byte, 1, 30 * LUO_PAGE), 1, "pread");
	expect_eq(byte, 'm', "written by mmap into an allocated page");
	expect_eq(pread(fd, &byte, 1, 40 * LUO_PAGE), 1, "pread");
	expect_eq(byte, 'o', "written by mmap last");
	expect_eq(pread(fd, &byte, 1, 50 * LUO_PAGE), 1, "pread");
	expect_eq(byte, 'n', "written by mmap into a hole");
	expect_zero(fd, 50 * LUO_PAGE + 1, 14 * LUO_PAGE + 4, "the end");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * A file far longer than memory with little data, written before and after
 * preserve.
 */

#define VAST (64UL << 30)
#define PLACES 1024
#define LATE_PLACES 300

static off_t place(int i)
{
	/* Page 0, the last page, and random others. */
	off_t pages = VAST / LUO_PAGE;

	return (i ? pages - 1 - luo_mix(64, i) % pages * (i > 1) : 0) *
	       LUO_PAGE;
}

static void vast_before(struct stage_ctx *ctx)
{
	int i, fd = need_fd(memfd_create("vast", 0), "a memfd");
	long blocks;

	need_eq(luo_truncate(fd, VAST), 0, "ftruncate");
	for (i = 0; i < PLACES; i++)
		need_eq(luo_fill(fd, place(i), LUO_PAGE, i), 0,
			"write at place %d", i);
	/* Longer than a batch of the module. */
	need_eq(luo_fill(fd, VAST / 2, 5 * MIB, PLACES), 0,
		"write in the middle");
	blocks = blocks_of(fd);
	need_preserve(ctx->out, fd, 1);
	expect_eq(blocks_of(fd), blocks, "blocks with holes, after preserve");
	for (i = PLACES + 1; i <= PLACES + LATE_PLACES; i++)
		need_eq(luo_fill(fd, place(i), LUO_PAGE, i), 0,
			"write at place %d", i);
	need_eq(luo_fill(fd, VAST / 2 - MIB, MIB, 1), 0,
		"write before the middle");
	blocks = blocks_of(fd);
	stage_save("blocks", &blocks, sizeof(blocks));
	close(fd);
}

static void vast_after(struct stage_ctx *ctx)
{
	int i, fd = need_retrieve(ctx->in, 1);
	long blocks;

	stage_load("blocks", &blocks, sizeof(blocks));
	expect_eq(blocks_of(fd), blocks, "blocks");
	expect_eq(luo_size(fd), VAST, "size");
	for (i = 0; i <= PLACES + LATE_PLACES; i++) {
		if (i != PLACES &&
		    !expect_pattern(fd, place(i), LUO_PAGE, i, "a place"))
			stage_note("the place is %d", i);
	}
	expect_pattern(fd, VAST / 2 - MIB, MIB, 1, "before the middle");
	expect_pattern(fd, VAST / 2, 5 * MIB, PLACES, "the middle");
	expect_zero(fd, VAST / 2 + 5 * MIB, LUO_PAGE, "after the middle");
	expect_eq(blocks_of(fd), blocks, "blocks after reading");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * Late pages at both ends of a hole, in its middle, next to other late pages, and in
 * holes of one page. Pages past the end of the file do not cross.
 */

#define CELLS 3000 /* in pages: several array pages */
#define PAST 700 /* in pages */

/* When a page is written: 0 before preserve, then in two rounds, or never (3). */
static int round_of(int page)
{
	if (page < 1000) /* holes of a page */
		return page % 3 ? 0 : 1 + page / 3 % 3;
	if (page < 2000) /* holes of 100 pages, with all kinds of late pages */
		return page / 100 % 2 ? 0 : 1 + luo_mix(page, 5) % 3;
	if (page < 2500) /* a hole that gets its first and its last page */
		return page == 2000 || page == 2499 ? 1 : 3;
	if (page < 2600) /* a hole that is filled, from both ends */
		return page < 2530 || page >= 2570 ? 1 : 2;
	return page == CELLS - 1 ? 2 : 0; /* the last page of the file */
}

static void write_round(int fd, int nr)
{
	int i;

	for (i = CELLS; i-- > 0;) {
		if (round_of(i) == nr)
			need_eq(luo_fill(fd, (off_t)i * LUO_PAGE, LUO_PAGE, i),
				0, "write page %d", i);
	}
}

static void cells_before(struct stage_ctx *ctx)
{
	int fd = need_fd(memfd_create("cells", MFD_ALLOW_SEALING), "a memfd");
	bool filled;

	need_eq(luo_truncate(fd, CELLS * LUO_PAGE), 0, "ftruncate");
	write_round(fd, 0);
	need_eq(luo_fallocate(fd, FALLOC_FL_KEEP_SIZE, CELLS * LUO_PAGE,
			      PAST * LUO_PAGE),
		0, "fallocate past the end");
	filled = luo_is_c();
	stage_save("filled", &filled, 1);
	need_preserve(ctx->out, fd, 1);
	write_round(fd, 1);
	write_round(fd, 2);
	close(fd);
}

static void cells_after(struct stage_ctx *ctx)
{
	int i, fd = need_retrieve(ctx->in, 1);
	long want, pages = 0;
	bool filled;

	for (i = 0; i < CELLS; i++) {
		if (round_of(i) == 3) {
			expect_zero(fd, (off_t)i * LUO_PAGE, LUO_PAGE, "hole");
			continue;
		}
		pages++;
		if (!expect_pattern(fd, (off_t)i * LUO_PAGE, LUO_PAGE, i,
				    "a page"))
			stage_note("page %d, round %d", i, round_of(i));
	}
	/* The C implementation fills holes when it preserves a file. */
	stage_load("filled", &filled, 1);
	want = filled ? CELLS : pages;
	expect_eq(blocks_of(fd), want * LUO_PAGE / 512, "blocks");
	expect_eq(luo_size(fd), CELLS * LUO_PAGE, "size");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * All pages are written again after preserve, half of them by write, half by
 * mmap.
 */

static void dirtied_before(struct stage_ctx *ctx)
{
	size_t size = MIB;
	int copy, fd = need_memfd(0, size, 1);
	char *map, *from;

	need_preserve(ctx->out, fd, 1);
	need_eq(luo_fill(fd, 0, size / 2, 2), 0, "write again");
	copy = need_memfd(0, size, 2);
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
	int fd = need_retrieve(ctx->in, 1);

	luo_settle();
	expect_pattern(fd, 0, MIB, 2, "content written after preserve");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	luo_settle();
	expect_pattern(fd, 0, MIB, 2, "the same after finish and reclaim");
	close(fd);
}

static const struct stage_case cases[] = {
	{ "sparse", false, { sparse_before, sparse_after } },
	{ "vast", false, { vast_before, vast_after } },
	{ "cells", false, { cells_before, cells_after } },
	{ "dirtied", false, { dirtied_before, dirtied_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_sparse",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
