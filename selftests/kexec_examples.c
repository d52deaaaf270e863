// SPDX-License-Identifier: GPL-2.0-only
/*
 * The handlers that the documentation shows, in modules of their own: memo.ko, in Rust,
 * and counter.ko, in C. This program loads and unloads them. In the second kernel they
 * are loaded late, after sessions were retrieved.
 *
 * MODULE_DIR= is the folder with memo.ko and counter.ko.
 *
 * hidden: yes
 */
#include "lib/modules.h"
#include "lib/stages.h"

#include "test_modules/memo/memo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int load(const char *module)
{
	const char *folder = getenv("MODULE_DIR");
	char path[200];

	snprintf(path, sizeof(path), "%s/%s.ko", folder ? folder : "/lib", module);
	return module_load_file(path, "");
}

/* Memos. */

static int need_memo(const char *text)
{
	int dev = need_fd(open(MEMO_DEVICE, O_RDWR | O_CLOEXEC), "open " MEMO_DEVICE);
	int fd = need_fd(ioctl(dev, MEMO_CREATE), "a memo");

	close(dev);
	if (text)
		need_eq(write(fd, text, strlen(text)), strlen(text), "write a memo");
	return fd;
}

static void expect_text(int fd, const char *expected)
{
	static char text[MEMO_MAX + 2];
	ssize_t len = read(fd, text, sizeof(text) - 1);

	if (!expect_eq(len, strlen(expected), "the length of a memo"))
		return;
	text[len] = '\0';
	expect_eq(!strcmp(text, expected), true, "the text of a memo is the expected one");
}

static const char *long_text(void)
{
	static char text[MEMO_MAX + 2];

	memset(text, 'm', MEMO_MAX);
	return text;
}

static void preserve_memo(int session, __u64 token, const char *text)
{
	int fd = need_memo(text);

	need_preserve(session, fd, token);
	close(fd);
}

/* Loading and unloading, before anything is preserved. */

static void register_first(struct stage_ctx *ctx)
{
	int i;

	for (i = 0; i < 3; i++) {
		need_eq(load("memo"), 0, "load");
		need_eq(module_unload("memo"), 0, "unload");
	}
	need_eq(load("memo"), 0, "load");
	expect_err(load("memo"), -EEXIST, "load again");
	expect_err(module_unload("liveupdate"), -EWOULDBLOCK,
		   "unload liveupdate while memo uses it");
}

/* What a handler in Rust carries, and what not. */

#define MEMOS 1000

/*
 * Pages that are freed with the memos: one for each, and what the kernel keeps for a
 * file, which is more on the debug kernel.
 */
static void expect_memos_freed(long before, const char *what)
{
	expect_freed(before, 2 * MEMOS, 3 * MEMOS / 2, what);
}

static void unpreserve_first(struct stage_ctx *ctx)
{
	int session = need_fd(luo_create(ctx->dev, "unpreserve"), "create_session");
	int dev, fd, i;
	long before;

	dev = need_fd(open(MEMO_DEVICE, O_RDWR | O_CLOEXEC), "open " MEMO_DEVICE);
	expect_err(luo_preserve(session, dev, 1), -ENOENT,
		   "preserve_fd of the device");
	close(dev);
	fd = need_memo("once");
	need_preserve(session, fd, 1);
	expect_err(luo_preserve(session, fd, 2), -EBUSY,
		   "preserve_fd of a preserved memo");
	expect_eq(write(fd, long_text(), MEMO_MAX + 1), -1, "write a text that is too long");
	expect_eq(errno, EFBIG, "error of a text that is too long");
	expect_text(fd, "once");
	for (i = 2; i < MEMOS; i++)
		preserve_memo(session, i, NULL);
	expect_err(module_unload("memo"), -EWOULDBLOCK, "unload while memos are preserved");
	before = stage_free_pages();
	close(session);
	expect_memos_freed(before, "closing the session");
	expect_text(fd, "once");
	expect_err(module_unload("memo"), -EWOULDBLOCK, "unload while a memo is open");
	close(fd);
	need_eq(module_unload("memo"), 0, "unload");
	need_eq(load("memo"), 0, "load");
}

/* Memos that are retrieved, by a module that is loaded late. */

static void late_first(struct stage_ctx *ctx)
{
	int fd = need_memo("first");

	need_preserve(ctx->out, fd, 3);
	preserve_memo(ctx->out, 1, "second");
	preserve_memo(ctx->out, 2, long_text());
	/* What is written now crosses, because the text is taken when freezing. */
	need_eq(write(fd, "changed", 7), 7, "write a preserved memo");
	close(fd);
}

static void late_second(struct stage_ctx *ctx)
{
	int fd, again, i;

	for (i = 1; i <= 3; i++)
		expect_err(luo_retrieve_fd(ctx->in, i), -EOPNOTSUPP,
			   "retrieve_fd without the module");
	need_eq(load("memo"), 0, "load");
	need_eq(module_unload("memo"), 0, "unload, nothing was retrieved");
	need_eq(load("memo"), 0, "load");

	fd = need_retrieve(ctx->in, 2);
	expect_text(fd, long_text());
	close(fd);
	fd = need_retrieve(ctx->in, 3);
	expect_text(fd, "changed");
	again = need_retrieve(ctx->in, 3);
	need_eq(write(again, "anew", 4), 4, "write a retrieved memo");
	expect_text(fd, "anew");
	close(again);
	close(fd);
	expect_err(module_unload("memo"), -EWOULDBLOCK,
		   "unload while files are not finished");
	fd = need_retrieve(ctx->in, 1);
	expect_text(fd, "second");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_text(fd, "second");
	close(fd);
}

/* Memos that nobody retrieves: their memory is freed. */

static void pending_first(struct stage_ctx *ctx)
{
	int i;

	for (i = 0; i < MEMOS; i++)
		preserve_memo(ctx->out, i, "nobody reads this");
}

static void pending_second(struct stage_ctx *ctx)
{
	long before = stage_free_pages();

	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_memos_freed(before, "finish");
}

/* A memo without text refuses the kexec. */

static void refused_first(struct stage_ctx *ctx)
{
	int fd = need_memo(NULL);

	preserve_memo(ctx->out, 1, "ready");
	need_preserve(ctx->out, fd, 2);
	expect_err(stage_try_kexec(), -EBUSY, "kexec, a memo has no text");
	stage_expect_log("%s",
			 "kexec refused: memo-v1 file 0x2 of session .*refused cannot be frozen: -16");
	need_eq(write(fd, "at last", 7), 7, "write a preserved memo");
	close(fd);
}

static void refused_second(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1);

	expect_text(fd, "ready");
	close(fd);
	fd = need_retrieve(ctx->in, 2);
	expect_text(fd, "at last");
	close(fd);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* counter.ko. */

static void expect_count(int fd, __u64 expected)
{
	__u64 count = 0;

	expect_eq(read(fd, &count, sizeof(count)), sizeof(count), "read a counter");
	expect_eq(count, expected, "the count");
}

static void counter_first(struct stage_ctx *ctx)
{
	int fd;

	need_eq(load("counter"), 0, "load");
	fd = need_fd(open("/dev/counter", O_RDONLY | O_CLOEXEC), "open /dev/counter");
	expect_count(fd, 1);
	need_preserve(ctx->out, fd, 1);
	expect_count(fd, 2);
	expect_count(fd, 3);
	close(fd);
	expect_err(module_unload("counter"), -EWOULDBLOCK, "unload while a file is preserved");
}

static void counter_second(struct stage_ctx *ctx)
{
	int fd;

	expect_err(luo_retrieve_fd(ctx->in, 1), -EOPNOTSUPP,
		   "retrieve_fd without the module");
	need_eq(load("counter"), 0, "load");
	fd = need_retrieve(ctx->in, 1);
	expect_count(fd, 4);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_count(fd, 5);
	expect_err(module_unload("counter"), -EWOULDBLOCK, "unload while a file is open");
	close(fd);
	need_eq(module_unload("counter"), 0, "unload");
}

/* This is the last case. */

static void unload_second(struct stage_ctx *ctx)
{
	need_eq(module_unload("memo"), 0, "unload");
}

static const struct stage_case cases[] = {
	{ "register", true, { register_first } },
	{ "unpreserve", true, { unpreserve_first } },
	{ "late", false, { late_first, late_second } },
	{ "pending", false, { pending_first, pending_second } },
	{ "counter", false, { counter_first, counter_second } },
	{ "refused", false, { refused_first, refused_second } },
	{ "unload", true, { NULL, unload_second } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_examples",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
