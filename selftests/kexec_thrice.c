// SPDX-License-Identifier: GPL-2.0-only
/*
 * Three kexecs in a row: the same memfd goes from kernel to kernel, in a session that
 * each kernel makes anew under the same name. Each kernel changes a page, so that the
 * file is more than a copy of what the first kernel wrote.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SIZE (4 * MIB + 123)
#define TOKEN 0xfeedULL

/* Stage n rewrites page n. The other pages are those of the first stage. */
static void check_file(int fd, int stage)
{
	int i;

	expect_eq(luo_size(fd), SIZE, "size");
	expect_eq(luo_pos(fd), stage - 1,
		  "position left by the previous stage");
	expect_pattern(fd, 0, LUO_PAGE, 1, "the first page");
	for (i = 2; i < stage; i++)
		expect_pattern(fd, i * LUO_PAGE, LUO_PAGE, i,
			       "a page written by a stage in between");
	expect_pattern(fd, stage * LUO_PAGE, SIZE - stage * LUO_PAGE, 1,
		       "the rest");
	stage_same_pfns("carried", fd);
}

static void carry(struct stage_ctx *ctx)
{
	int fd;

	if (ctx->stage == 1) {
		fd = need_fd(luo_memfd(MFD_ALLOW_SEALING, SIZE, 1), "a memfd");
	} else {
		fd = need_fd(luo_retrieve_fd(ctx->in, TOKEN), "retrieve_fd");
		check_file(fd, ctx->stage);
		if (ctx->out >= 0)
			expect_err(luo_preserve(ctx->out, fd, TOKEN), -EBUSY,
				   "preserve before finish");
		need_eq(luo_finish(ctx->in), 0, "finish");
		need_eq(luo_fill(fd, ctx->stage * LUO_PAGE, LUO_PAGE,
				 ctx->stage),
			0, "write");
	}
	if (ctx->out < 0) {
		close(fd);
		return;
	}
	expect_eq(lseek(fd, ctx->stage, SEEK_SET), ctx->stage, "lseek");
	need_eq(luo_preserve(ctx->out, fd, TOKEN), 0, "preserve_fd");
	stage_save_pfns("carried", fd);
	close(fd);
}

/* A new memfd in each kernel; finish drops the old one, retrieved or not. */

static void fresh(struct stage_ctx *ctx)
{
	int fd, stage = ctx->stage;

	if (stage > 1) {
		expect_err(luo_retrieve_fd(ctx->in, stage - 2), -ENOENT,
			   "token of the stage before the last");
		if (stage & 1) {
			fd = need_fd(luo_retrieve_fd(ctx->in, stage - 1),
				     "retrieve_fd");
			expect_pattern(fd, 0, MIB, 100 + stage - 1, "content");
			close(fd);
		}
		expect_eq(luo_finish(ctx->in), 0, "finish");
	}
	if (ctx->out < 0)
		return;
	fd = need_fd(luo_memfd(0, MIB, 100 + stage), "a memfd");
	need_eq(luo_preserve(ctx->out, fd, stage), 0, "preserve_fd");
	close(fd);
}

/*
 * A session that is retrieved but neither finished nor closed does not cross
 * the next kexec.
 */

static void forgotten(struct stage_ctx *ctx)
{
	int fd;

	switch (ctx->stage) {
	case 1:
		fd = need_fd(luo_create(ctx->dev, "forgotten"),
			     "create_session");
		need_eq(luo_preserve(fd,
				     need_fd(luo_memfd(0, MIB, 1), "a memfd"),
				     1),
			0, "preserve_fd");
		break;
	case 2:
		/* The daemon keeps the session open. */
		fd = need_fd(luo_retrieve(ctx->dev, "forgotten"),
			     "retrieve_session");
		need_fd(luo_retrieve_fd(fd, 1), "retrieve_fd");
		break;
	default:
		expect_err(luo_retrieve(ctx->dev, "forgotten"), -ENOENT,
			   "an incoming session of the kernel before the last");
	}
}

static const struct stage_case cases[] = {
	{ "carry", false, { carry, carry, carry, carry } },
	{ "fresh", false, { fresh, fresh, fresh, fresh } },
	{ "forgotten", true, { forgotten, forgotten, forgotten, forgotten } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_thrice",
	.stages = 4,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
