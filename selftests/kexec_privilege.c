// SPDX-License-Identifier: GPL-2.0-only
/*
 * An unprivileged process with an incoming session can retrieve its files and do
 * nothing else, and a retrieve that fails leaks neither an fd nor old memory.
 *
 * memory: 1G
 * timeout: 120
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define SIZE (5 * LUO_PAGE + 7)

static void put(int session, __u64 token, __u64 seed)
{
	int fd = need_fd(luo_memfd(0, SIZE, seed), "a memfd");

	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd");
	close(fd);
}

static void prepare(struct stage_ctx *ctx)
{
	put(ctx->out, 1, 1);
	put(ctx->out, 2, 2);
	put(ctx->out, 3, 3);
}

/*
 * Exit status of an unprivileged process that gets the session by SCM_RIGHTS.
 */
static int use(int session)
{
	int fd;

	session = luo_pass_fd(session);
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	fd = luo_retrieve_fd(session, 1);
	if (fd < 0 || luo_check(fd, 0, SIZE, 1) != LUO_SAME)
		return 2;
	if (luo_pwrite(fd, "x", 1, 0) != 1)
		return 3;
	if (luo_retrieve_fd(session, 99) != -ENOENT)
		return 4;
	if (luo_create(session, "more") != -EINVAL ||
	    luo_retrieve(session, "kexec_privilege.other") != -EINVAL)
		return 5;
	if (luo_preserve(session, fd, 9) != -EINVAL)
		return 6;
	if (luo_open() != -EACCES)
		return 7;
	return 0;
}

static void unprivileged_after(struct stage_ctx *ctx)
{
	int status = -1, fd;
	char byte = 0;
	pid_t pid = fork();

	if (!pid)
		_exit(use(ctx->in));
	need_eq(waitpid(pid, &status, 0), pid, "the child");
	expect_eq(status, 0, "exit status of the child (times 256: its step)");
	/* The parent sees the same file. */
	fd = need_fd(luo_retrieve_fd(ctx->in, 1),
		     "the file that the child retrieved");
	expect_eq(pread(fd, &byte, 1, 0), 1, "pread");
	expect_eq(byte, 'x', "the byte that the child wrote");
	close(fd);
	fd = need_fd(luo_retrieve_fd(ctx->in, 2), "another file");
	expect_pattern(fd, 0, SIZE, 2, "another file");
	close(fd);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* The number of the next fd shows whether an fd leaked. */
static int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void no_leak(struct stage_ctx *ctx)
{
	struct liveupdate_session_retrieve_fd arg = {
		.size = sizeof(arg),
		.fd = -1,
		.token = 1,
	};
	struct liveupdate_session_retrieve_fd *readonly =
		luo_readonly(&arg, sizeof(arg));
	int before = next_fd(), fd;

	expect_err(luo_ioctl(ctx->in, LIVEUPDATE_SESSION_RETRIEVE_FD, readonly),
		   -EFAULT, "retrieve_fd, argument read-only");
	expect_eq(readonly->fd, -1, "the fd in the argument");
	expect_eq(next_fd(), before, "the next fd");
	expect_err(luo_retrieve_fd(ctx->in, 99), -ENOENT,
		   "retrieve_fd of an unknown token");
	expect_eq(next_fd(), before, "the next fd");
	fd = need_fd(luo_retrieve_fd(ctx->in, 1), "retrieve_fd");
	expect_pattern(fd, 0, SIZE, 1, "the file");
	/* Beyond the old end the file reads as zeroes. */
	need_eq(luo_truncate(fd, 6 * LUO_PAGE), 0, "ftruncate");
	expect_zero(fd, SIZE, 6 * LUO_PAGE - SIZE, "beyond the old end");
	close(fd);
}

static const struct stage_case cases[] = {
	{ "unprivileged", false, { prepare, unprivileged_after } },
	{ "no_leak", false, { prepare, no_leak } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_privilege",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
