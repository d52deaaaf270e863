// SPDX-License-Identifier: GPL-2.0-only
/*
 * Swap and compaction: files whose pages are swapped out at preserve, or when the
 * kexec is entered, come back complete and in the frames that they were pinned in.
 * Pinned pages are not swapped out; retrieved pages can be. Compaction, which runs
 * during preserve and retrieve, moves no pinned page.
 *
 * Each case first checks that the pages are really swapped out. A page that cannot be
 * read from swap is an error.
 *
 * needs-loaded-kernel: stage 1 calls reboot(LINUX_REBOOT_CMD_KEXEC).
 *
 * debug: yes
 * memory: 1G
 * timeout: 120
 * cmdline: ramdisk_size=65536
 */
#include "lib/pressure.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/reboot.h>

#define SIZE (6 * MIB)
#define PAGES ((long)(SIZE / LUO_PAGE))
#define HUGE_PAGE (2 * MIB)
#define THP_CONTROL "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define MOVED_FILES 12

static int new_memfd(size_t size, __u64 seed)
{
	return need_fd(luo_memfd(0, size, seed), "a memfd of %zu bytes", size);
}

static void keep(int session, int fd, __u64 token)
{
	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %llu",
		(unsigned long long)token);
}

static int back(struct stage_ctx *ctx, __u64 token)
{
	return need_fd(luo_retrieve_fd(ctx->in, token),
		       "retrieve_fd, token %llu", (unsigned long long)token);
}

static void need_out(int fd, size_t size, const char *what)
{
	long left = page_out(fd, size);

	need_eq(mostly_out(left, size), true,
		"%s swapped out: %ld of %zu pages are in memory", what, left,
		size / LUO_PAGE);
}

static void swap_on(struct stage_ctx *ctx)
{
	need_eq(swap_start(), 0, "swapon");
	need_eq(swap_used(), 0, "pages of swap in use");
}

/* All swapped-out pages were read in, or freed with their file. */
static void swap_off(struct stage_ctx *ctx)
{
	expect_eq(swap_used(), 0, "pages of swap in use");
	need_eq(swap_stop(), 0, "swapoff");
}

/* A file that is swapped out completely at preserve. */

static void whole_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(SIZE, 1);

	need_out(fd, SIZE, "the file is");
	keep(ctx->out, fd, 1);
	expect_eq(resident(fd, SIZE), PAGES, "pages in memory after preserve");
	stage_save_pfns("whole", fd);
	/* Pinned pages stay in memory. */
	expect_eq(page_out(fd, SIZE), PAGES,
		  "pages in memory after paging out");
	stage_same_pfns("whole", fd);
	expect_pattern(fd, 0, SIZE, 1, "content once preserved");
	close(fd);
}

static void whole_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);
	long used;

	stage_same_pfns("whole", fd);
	expect_pattern(fd, 0, SIZE, 1, "content");
	/* A retrieved file can be paged out, even before finish. */
	need_out(fd, SIZE, "the retrieved file is");
	expect_pattern(fd, 0, MIB, 1, "content from swap");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	need_out(fd, SIZE, "the finished file is");
	used = swap_used();
	expect_range(used, PAGES * 7 / 8, PAGES, "pages of swap in use");
	expect_pattern(fd, 0, SIZE, 1, "content from swap, finished");
	need_out(fd, SIZE, "the file is once more");
	expect_eq(luo_truncate(fd, MIB), 0, "shrink what is swapped out");
	expect_pattern(fd, 0, MIB, 1, "the remaining content");
	close(fd);
	expect_eq(swap_used(), 0, "pages of swap in use with the file closed");
}

/* After unpreserve the pages can be swapped out again. */

static void undone(struct stage_ctx *ctx)
{
	int fd = new_memfd(SIZE, 2);

	need_out(fd, SIZE, "the file is");
	keep(ctx->out, fd, 1);
	expect_eq(resident(fd, SIZE), PAGES, "pages in memory after preserve");
	close(ctx->out);
	ctx->out = -1;
	need_out(fd, SIZE, "the unpreserved file is");
	expect_pattern(fd, 0, SIZE, 2, "content after unpreserve");
	close(fd);
}

/*
 * Pages that cannot be read from swap. A file with such a page is not preserved. When
 * it came into a hole after preserve, the kexec is refused each time: shmem no longer
 * counts the page after the first try, and nothing else in the file tells of it.
 */

/* Reads a byte of a page. */
static int touch(int fd, long page)
{
	char byte;

	return pread(fd, &byte, 1, page * LUO_PAGE) == 1 ? 0 : -errno;
}

/*
 * Writes pages @from to @to into a hole after preserve, swaps them out, and loses page
 * 250. If that is the only one, the file has as many pages as at preserve.
 */
static void lose_late(struct stage_ctx *ctx, int fd, long from, long to)
{
	int session = need_fd(luo_create(ctx->dev, "unreadable"),
			      "create_session");
	long i;

	keep(session, fd, 1);
	for (i = from; i < to; i++)
		need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, 8), 0,
			"write into a hole");
	for (i = 0; i < 20 && page_out(fd, SIZE) > 1; i++)
		;
	need_eq(resident(fd, SIZE), 1, "pages in memory");
	need_eq(swap_break(true), 0, "break the disk");
	expect_err(touch(fd, 250), -EIO, "read of a page");
	need_eq(swap_break(false), 0, "mend the disk");
	for (i = 0; i < 3; i++)
		expect_err(stage_try_kexec(), -EIO, "reboot(KEXEC), try %ld", i);
	expect_err(touch(fd, 250), -EIO, "read of the page");
	/* Nothing else is lost. */
	expect_pattern(fd, from * LUO_PAGE, (250 - from) * LUO_PAGE, 8,
		       "before it");
	expect_pattern(fd, 251 * LUO_PAGE, (to - 251) * LUO_PAGE, 8,
		       "after it");
	expect_pattern(fd, 0, LUO_PAGE, 7, "preserved");
	close(session);
	expect_eq(luo_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				250 * LUO_PAGE, LUO_PAGE),
		  0, "drop the page");
}

static void unreadable(struct stage_ctx *ctx)
{
	int fd = new_memfd(SIZE, 6), late = new_memfd(LUO_PAGE, 7);

	need_eq(swap_break_start(), 0, "swapon");
	/* Swapped out at preserve. */
	need_out(fd, SIZE, "the file is");
	need_eq(swap_break(true), 0, "break the disk");
	expect_err(luo_preserve(ctx->out, fd, 1), -EIO, "preserve_fd");
	expect_err(luo_preserve(ctx->out, fd, 1), -EIO, "preserve_fd again");
	need_eq(swap_break(false), 0, "mend the disk");
	expect_err(luo_preserve(ctx->out, fd, 1), -EIO,
		   "preserve_fd with a page that is lost");
	close(fd);

	need_eq(luo_truncate(late, SIZE), 0, "ftruncate");
	lose_late(ctx, late, 250, 251);
	lose_late(ctx, late, 100, 400);
	keep(ctx->out, late, 2);
	close(late);
	need_eq(swap_break_stop(), 0, "swapoff");
}

static void unreadable_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 2);

	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOENT, "the file in swap");
	expect_pattern(fd, 100 * LUO_PAGE, 150 * LUO_PAGE, 8, "before it");
	expect_zero(fd, 250 * LUO_PAGE, LUO_PAGE, "the page that was lost");
	expect_pattern(fd, 251 * LUO_PAGE, 149 * LUO_PAGE, 8, "after it");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * A third of the pages is swapped out at preserve. A third is written after
 * preserve, and is swapped out when the kexec is entered. A third are holes.
 */
static void late_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(0, 0);
	struct stat st;
	long i, out;

	need_eq(luo_truncate(fd, SIZE), 0, "ftruncate");
	for (i = 0; i < PAGES; i += 3)
		need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, 3), 0, "write");
	need_out(fd, SIZE, "the first third is");
	keep(ctx->out, fd, 1);
	expect_eq(resident(fd, SIZE), PAGES / 3,
		  "pages in memory after preserve");
	for (i = 1; i < PAGES; i += 3)
		need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, 4), 0,
			"write into a hole");
	out = page_out(fd, SIZE) - PAGES / 3;
	need_eq(out >= 0 && mostly_out(out, SIZE / 3), true,
		"only pages that are not pinned are swapped out: %ld of them are left",
		out);
	need_eq(fstat(fd, &st), 0, "fstat");
	expect_eq(st.st_blocks, PAGES / 3 * 2 * LUO_PAGE / 512, "blocks");
	/* Not read again: that would swap the pages in. */
}

static void late_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1), bad = 0;
	struct stat st;
	long i;

	need_eq(fstat(fd, &st), 0, "fstat");
	expect_eq(st.st_blocks, PAGES / 3 * 2 * LUO_PAGE / 512, "blocks");
	for (i = 0; i < PAGES; i += 3) {
		bad += luo_check(fd, i * LUO_PAGE, LUO_PAGE, 3) != LUO_SAME;
		bad += luo_check(fd, (i + 1) * LUO_PAGE, LUO_PAGE, 4) !=
		       LUO_SAME;
		bad += luo_check_zero(fd, (i + 2) * LUO_PAGE, LUO_PAGE) !=
		       LUO_SAME;
	}
	expect_eq(bad, 0, "pages with unexpected content");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/* Huge pages, which the kernel swaps out as a whole or in parts. */

static void huge_before(struct stage_ctx *ctx)
{
	int fd;

	if (luo_write_file(THP_CONTROL, "force"))
		stage_skip("no huge shmem here: %s", THP_CONTROL);
	fd = new_memfd(2 * HUGE_PAGE, 5);
	luo_write_file(THP_CONTROL, "never");
	need_out(fd, 2 * HUGE_PAGE, "the file of huge pages is");
	/* Read some pages, so that a part is in memory. */
	expect_pattern(fd, HUGE_PAGE / 2, 3 * LUO_PAGE, 5, "a few pages");
	keep(ctx->out, fd, 1);
	expect_eq(resident(fd, 2 * HUGE_PAGE), 2 * HUGE_PAGE / LUO_PAGE,
		  "pages in memory after preserve");
	stage_save_pfns("huge", fd);
	close(fd);
}

static void huge_after(struct stage_ctx *ctx)
{
	int fd = back(ctx, 1);

	stage_same_pfns("huge", fd);
	expect_pattern(fd, 0, 2 * HUGE_PAGE, 5, "content");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/* Compaction runs from before the first call until after the last. */

static atomic_bool compacting;
static atomic_long compactions;

static void *compact(void *arg)
{
	while (compacting) {
		luo_write_file(COMPACT_MEMORY, "1");
		compactions++;
	}
	return NULL;
}

static pthread_t start_compacting(void)
{
	pthread_t thread;

	compacting = true;
	compactions = 0;
	need_eq(pthread_create(&thread, NULL, compact, NULL), 0,
		"pthread_create");
	return thread;
}

/* Whether at least one complete compaction ran since the start. */
static bool compacted_enough(int tries)
{
	return compactions >= 2 || tries >= 100;
}

static void stop_compacting(pthread_t thread)
{
	compacting = false;
	pthread_join(thread, NULL);
	expect_range(compactions, 2, 1000000, "compactions in this case");
	stage_note("%ld compactions", (long)compactions);
}

/* Fragments memory, so that compaction moves pages. */
static int fragment_memory(void)
{
	int fd = new_memfd(32 * MIB, 0);
	long i;

	for (i = 0; i < (long)(32 * MIB / LUO_PAGE); i += 2)
		luo_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      i * LUO_PAGE, LUO_PAGE);
	return fd;
}

static void compacted_before(struct stage_ctx *ctx)
{
	int i, tries = 0, fds[MOVED_FILES], fragments = fragment_memory();
	pthread_t thread = start_compacting();
	char tag[16];

	for (i = 0; i < MOVED_FILES; i++) {
		fds[i] = new_memfd(MIB, i);
		keep(ctx->out, fds[i], i);
		snprintf(tag, sizeof(tag), "moved-%d", i);
		stage_save_pfns(tag, fds[i]);
	}
	do {
		for (i = 0; i < MOVED_FILES; i++) {
			snprintf(tag, sizeof(tag), "moved-%d", i);
			stage_same_pfns(tag, fds[i]);
		}
	} while (!compacted_enough(tries++));
	for (i = 0; i < MOVED_FILES; i++) {
		need_eq(luo_fill(fds[i], 0, MIB / 2, 100 + i), 0,
			"write once preserved");
		close(fds[i]);
	}
	stop_compacting(thread);
	close(fragments);
}

static void compacted_after(struct stage_ctx *ctx)
{
	int i, tries = 0, fds[MOVED_FILES], fragments = fragment_memory();
	pthread_t thread = start_compacting();

	/* Retrieved pages may move at once, so frames are not compared. */
	for (i = 0; i < MOVED_FILES; i++)
		fds[i] = back(ctx, i);
	do {
		for (i = 0; i < MOVED_FILES; i++) {
			expect_pattern(fds[i], 0, MIB / 2, 100 + i,
				       "written once preserved");
			expect_pattern(fds[i], MIB / 2, MIB / 2, i,
				       "written before");
		}
	} while (!compacted_enough(tries++));
	expect_eq(luo_finish(ctx->in), 0, "finish");
	stop_compacting(thread);
	for (i = 0; i < MOVED_FILES; i++)
		close(fds[i]);
	close(fragments);
}

static const struct stage_case cases[] = {
	{ "compacted", false, { compacted_before, compacted_after } },
	{ "unreadable", false, { unreadable, unreadable_after } },
	{ "swapon", true, { swap_on, swap_on } },
	{ "whole", false, { whole_before, whole_after } },
	{ "undone", false, { undone } },
	{ "huge", false, { huge_before, huge_after } },
	{ "late", false, { late_before, late_after } },
	{ "swapoff", true, { NULL, swap_off } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_swap",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
