// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hardly any free memory: a process holds it in the old kernel while files are
 * preserved and the kexec is entered, and in the next kernel while they are
 * retrieved. Retrieving may only need memory for the page cache's index, because the
 * pages of the files are already there.
 *
 * The OOM killer kills that process first. The old kernel may kill it, because pages
 * must move out of scratch memory; the next kernel must not.
 *
 * memory: 1G
 * timeout: 120
 * allow: Call Trace:|invoked oom-killer:
 */
#include "lib/pressure.h"
#include "lib/stages.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SIZE (160 * MIB)
#define PAGES ((long)(SIZE / LUO_PAGE))
#define FILES 100
#define LEFT ((long)(24 * MIB / LUO_PAGE))
/*
 * The page cache needs a node for 64 pages, and 7 nodes fit a page. Twice that,
 * to leave space for other allocations.
 */
#define NEEDED (PAGES / 64 / 7 * 2 + 256)

static int ballast;

static void stop_ballast(void)
{
	stage_note("the process with the memory was %s",
		   ballast_stop(ballast) ? "killed" : "alive");
	ballast = 0;
}

static void preserve(struct stage_ctx *ctx)
{
	int i, err, fds[FILES], fd;

	fd = need_fd(luo_memfd(0, SIZE, 1), "a memfd");
	for (i = 0; i < FILES; i++)
		fds[i] = need_fd(luo_memfd(0, 3 * LUO_PAGE, 2 + i), "a memfd");
	ballast = need_fd(ballast_start(LEFT),
			  "the process that takes all memory");
	stage_note("%ld free pages", luo_free_pages());

	for (i = 0; i < FILES; i++) {
		need_eq(luo_preserve(ctx->out, fds[i], 2 + i), 0,
			"preserve_fd, token %d", 2 + i);
		close(fds[i]);
	}
	/* More pages must move than are free. */
	err = luo_preserve(ctx->out, fd, 1);
	if (err) {
		expect_err(err, -ENOMEM, "preserve_fd with %ld free pages",
			   luo_free_pages());
		/*
		 * The failed call changed nothing. With more memory it
		 * succeeds.
		 */
		expect_eq(luo_truncate(fd, SIZE), 0,
			  "the size can still be set");
		stop_ballast();
		need_eq(luo_preserve(ctx->out, fd, 1), 0,
			"preserve_fd with memory");
	}
	expect_pattern(fd, 0, SIZE, 1, "content once preserved");
	stage_save_pfns("full", fd);
	close(fd);
	stage_note("preserved, %ld free pages", luo_free_pages());
}

/* Also enters the kexec with hardly any free memory. */
static void refill(struct stage_ctx *ctx)
{
	if (ballast)
		stop_ballast();
	ballast = need_fd(ballast_start(LEFT),
			  "the process that takes all memory");
	stage_note("%ld free pages", luo_free_pages());
}

static void retrieve(struct stage_ctx *ctx)
{
	long left, now;
	int i, fd;

	ballast = need_fd(ballast_start(LEFT),
			  "the process that takes all memory");
	left = luo_free_pages();
	fd = need_fd(luo_retrieve_fd(ctx->in, 1),
		     "retrieve_fd with %ld free pages", left);
	now = luo_free_pages();
	expect_range(left - now, -LEFT, NEEDED,
		     "pages used by retrieve_fd, of %ld free ones", left);
	stage_same_pfns("full", fd);
	for (i = 0; i < FILES; i++) {
		int small = need_fd(luo_retrieve_fd(ctx->in, 2 + i),
				    "retrieve_fd, %d", 2 + i);

		expect_pattern(small, 0, 3 * LUO_PAGE, 2 + i,
			       "content of a small file");
		close(small);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_eq(ballast_stop(ballast), false,
		  "whether the OOM killer killed the process");
	expect_pattern(fd, 0, SIZE, 1, "content");
	close(fd);
}

static const struct stage_case cases[] = {
	{ "preserve", false, { preserve, retrieve } },
	{ "refill", true, { refill } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_full",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	oom_never();
	/* Below the free memory that the ballast leaves, in each kernel. */
	luo_write_file("/proc/sys/vm/min_free_kbytes", "2048");
	return stage_main(argc, argv, &program);
}
