// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kexec with nothing to hand over: the device was open, and a session was made
 * and dropped, but none is left.
 *
 * memory: 1G
 * timeout: 120
 */
#include "stages.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void prepare(struct stage_ctx *ctx)
{
	int session = need_fd(luo_create(ctx->dev, "none"), "create_session");
	int fd = need_fd(luo_memfd(0, MIB, 1), "a memfd");

	need_eq(luo_preserve(session, fd, 1), 0, "preserve_fd");
	close(session);
	close(fd);
}

static void verify(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX];
	int session;

	expect_err(luo_retrieve(ctx->dev, "none"), -ENOENT, "retrieve_session");
	/* No session can have such a name, so none is found. */
	expect_err(luo_retrieve(ctx->dev, ""), -ENOENT, "retrieve_session without a name");
	memset(name, 'x', sizeof(name));
	expect_err(luo_retrieve(ctx->dev, name), -ENOENT, "retrieve_session without a NUL");
	session = need_fd(luo_create(ctx->dev, "none"), "create_session");
	close(session);
	close(ctx->dev);
	ctx->dev = need_fd(luo_open(), "open the device again");
}

static const struct stage_case cases[] = {
	{ "none", true, { prepare, verify } },
	{ }
};

static const struct stage_program program = {
	.name = "kexec_none", .stages = 2, .cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
