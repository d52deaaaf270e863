// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls with two mistakes on incoming sessions: which errno they return, in the
 * order of the C implementation. error_order.c is the same for outgoing sessions.
 * A call that fails loses nothing: the file of each case is retrieved in the end.
 *
 * memory: 1G
 * timeout: 120
 */
#include "lib/stages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE 5000
#define TOKEN 1
#define UNKNOWN 2

static void before(struct stage_ctx *ctx)
{
	int fd = need_memfd(0, SIZE, 1);

	need_preserve(ctx->out, fd, TOKEN);
	close(fd);
}

/* The failed calls of a case lost nothing. */
static void expect_complete(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, TOKEN);

	expect_eq(luo_size(fd), SIZE, "size");
	expect_pattern(fd, 0, SIZE, 1, "content");
	close(fd);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

static int retrieve_session_readonly(int dev, const char *name)
{
	struct liveupdate_ioctl_retrieve_session arg = { .size = sizeof(arg) };

	strcpy((char *)arg.name, name);
	return luo_ioctl(dev, LIVEUPDATE_IOCTL_RETRIEVE_SESSION,
			 luo_readonly(&arg, sizeof(arg)));
}

static int retrieve_fd_readonly(int session, __u64 token)
{
	struct liveupdate_session_retrieve_fd arg = {
		.size = sizeof(arg),
		.token = token,
	};

	return luo_ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD,
			 luo_readonly(&arg, sizeof(arg)));
}

static rlim_t limit_fds(rlim_t count)
{
	struct rlimit limit;
	rlim_t old;

	need_eq(getrlimit(RLIMIT_NOFILE, &limit), 0, "getrlimit");
	old = limit.rlim_cur;
	limit.rlim_cur = count;
	need_eq(setrlimit(RLIMIT_NOFILE, &limit), 0, "setrlimit");
	return old;
}

/* Without a free fd, neither the name nor the token matters. */

static void without_fd_after(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX];
	rlim_t old;
	int err;

	need_eq(luo_get_name(ctx->in, name), 0, "get_name");
	old = limit_fds(0);
	err = luo_retrieve(ctx->dev, name);
	expect_err(err, -EMFILE, "retrieve_session of a retrieved one");
	err = luo_retrieve(ctx->dev, "unknown");
	expect_err(err, -EMFILE, "retrieve_session of an unknown one");
	err = luo_retrieve(ctx->dev, "");
	expect_err(err, -EMFILE, "retrieve_session, empty name");
	err = luo_retrieve_fd(ctx->in, UNKNOWN);
	expect_err(err, -EMFILE, "retrieve_fd of an unknown token");
	err = luo_retrieve_fd(ctx->in, TOKEN);
	expect_err(err, -EMFILE, "retrieve_fd");
	limit_fds(old);
	expect_complete(ctx);
}

/* With a read-only argument, the error of the name or the token comes first. */

static void readonly_after(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX];
	int err;

	need_eq(luo_get_name(ctx->in, name), 0, "get_name");
	err = retrieve_session_readonly(ctx->dev, name);
	expect_err(err, -EINVAL, "retrieve_session of a retrieved one");
	err = retrieve_session_readonly(ctx->dev, "unknown");
	expect_err(err, -ENOENT, "retrieve_session of an unknown one");
	err = retrieve_fd_readonly(ctx->in, UNKNOWN);
	expect_err(err, -ENOENT, "retrieve_fd of an unknown token");
	expect_complete(ctx);
	err = retrieve_fd_readonly(ctx->in, TOKEN);
	expect_err(err, -ENOENT, "retrieve_fd after finish");
}

/* If nothing else is wrong, a read-only argument is EFAULT, and loses nothing. */

static void efault_after(struct stage_ctx *ctx)
{
	int err, fd;

	err = retrieve_fd_readonly(ctx->in, TOKEN);
	expect_err(err, -EFAULT, "retrieve_fd of a pending file");
	fd = need_retrieve(ctx->in, TOKEN);
	err = retrieve_fd_readonly(ctx->in, TOKEN);
	expect_err(err, -EFAULT, "retrieve_fd of a retrieved file");
	close(fd);
	expect_complete(ctx);
}

/* The direction comes before everything that needs the argument. */

static void direction_after(struct stage_ctx *ctx)
{
	struct liveupdate_session_preserve_fd arg = {
		.size = sizeof(arg),
		.fd = -1,
		.token = TOKEN,
	};
	int err;

	err = luo_ioctl(ctx->in, LIVEUPDATE_SESSION_PRESERVE_FD, &arg);
	expect_err(err, -EINVAL, "preserve_fd, bad fd and token in use");
	err = luo_ioctl(ctx->in, LIVEUPDATE_SESSION_PRESERVE_FD,
			luo_readonly(&arg, sizeof(arg)));
	expect_err(err, -EINVAL, "preserve_fd, argument read-only");
	arg.size = 0;
	err = luo_ioctl(ctx->in, LIVEUPDATE_SESSION_PRESERVE_FD, &arg);
	expect_err(err, -EINVAL, "preserve_fd, size 0");
	err = luo_ioctl(ctx->in, LIVEUPDATE_SESSION_PRESERVE_FD, NULL);
	expect_err(err, -EFAULT, "preserve_fd, null pointer");
	expect_complete(ctx);
}

/* finish checks its reserved field before it writes back, or finishes. */

static void reserved_after(struct stage_ctx *ctx)
{
	struct liveupdate_session_finish arg = {
		.size = sizeof(arg),
		.reserved = 1,
	};
	int err;

	err = luo_ioctl(ctx->in, LIVEUPDATE_SESSION_FINISH,
			luo_readonly(&arg, sizeof(arg)));
	expect_err(err, -EINVAL, "finish, reserved set, argument read-only");
	expect_complete(ctx);
}

static const struct stage_case cases[] = {
	{ "without_fd", false, { before, without_fd_after } },
	{ "readonly", false, { before, readonly_after } },
	{ "efault", false, { before, efault_after } },
	{ "direction", false, { before, direction_after } },
	{ "reserved", false, { before, reserved_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_errors",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
