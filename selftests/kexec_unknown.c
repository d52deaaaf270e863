// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files of a handler that the next kernel does not have: none of them comes back, but
 * the other files of the session do, and the session can be finished. The log names
 * only a few of these files.
 *
 * Stage 1 needs the test build of the module, stage 2 the normal one.
 *
 * hidden: yes
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* More files than the log names. */
#define UNKNOWN 40
#define KNOWN 1000

static void preserve(struct stage_ctx *ctx)
{
	int i, fd;

	for (i = 0; i < UNKNOWN; i++) {
		fd = need_fd(luo_open_full(O_RDWR), "/dev/full");
		need_eq(luo_preserve(ctx->out, fd, i), 0,
			"preserve_fd of /dev/full, token %d", i);
		close(fd);
	}
	fd = need_fd(luo_memfd(0, LUO_PAGE, 1), "a memfd");
	need_eq(luo_preserve(ctx->out, fd, KNOWN), 0, "preserve_fd of a memfd");
	close(fd);
}

static void retrieve(struct stage_ctx *ctx)
{
	int i, fd;

	for (i = 0; i < UNKNOWN - 1; i++)
		expect_err(luo_retrieve_fd(ctx->in, i), -EOPNOTSUPP,
			   "retrieve_fd, token %d", i);
	expect_err(luo_retrieve_fd(ctx->in, 0), -EOPNOTSUPP, "the same again");
	fd = need_fd(luo_retrieve_fd(ctx->in, KNOWN), "retrieve_fd of a memfd");
	expect_pattern(fd, 0, LUO_PAGE, 1, "content of the memfd");
	close(fd);
	/* One of the files was not retrieved. */
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

static const struct stage_case cases[] = {
	{ "files", false, { preserve, retrieve } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_unknown",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
