// SPDX-License-Identifier: GPL-2.0-only
/*
 * What crosses a kexec of a handler that comes and goes, waits and fails: borrow.ko,
 * which this program loads and unloads. BORROW_MODULE= is its path. In the second kernel
 * it is loaded late.
 *
 * hidden: yes
 */
#include "lib/call.h"
#include "lib/modules.h"
#include "lib/stages.h"

#include "test_modules/borrow/borrow.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAX_FLBS 63
#define ALL_FLBS "flbs=63"
/* An FLB that somebody uses while the kexec is entered. */
#define USED 5
/* FLBs that somebody asks for in the second kernel: the first ones. */
#define ASKED 31
#define FILES 3
#define ENOUGH_MS 300

static int load(const char *parameters)
{
	return module_load("BORROW_MODULE", parameters);
}

static int unload(void)
{
	return module_unload("borrow");
}

static long calls(enum borrow_callback callback)
{
	return module_get("borrow", "calls", callback);
}

static void hold(unsigned long callbacks)
{
	need_eq(module_set("borrow", "held", callbacks), 0, "write to held");
}

static void need_held(void)
{
	need_eq(module_reaches("borrow", "waiting", 0, 1), true,
		"a callback waits");
}

static int control(unsigned int cmd, unsigned long arg)
{
	int fd = open(BORROW_DEVICE, O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = ioctl(fd, cmd, arg) ? -errno : 0;
	close(fd);
	return ret;
}

static int make_load(struct call *call)
{
	return load(call->text);
}

static int make_retrieve(struct call *call)
{
	return luo_retrieve_fd(call->fd, call->arg);
}

static int make_finish(struct call *call)
{
	return luo_finish(call->fd);
}

static void need_start(struct call *call)
{
	need_eq(call_start(call), 0, "start a thread");
}

static void preserve_full(int session, __u64 token)
{
	int fd = need_fd(luo_open_full(O_RDWR), "/dev/full");

	need_preserve(session, fd, token);
	close(fd);
}

static void preserve_memfd(int session, __u64 token)
{
	int fd = need_memfd(0, LUO_PAGE, token);

	need_preserve(session, fd, token);
	close(fd);
}

static void expect_full(int fd)
{
	struct stat stat = {};

	need_fd(fd, "/dev/full, retrieved");
	expect_eq(fstat(fd, &stat), 0, "fstat");
	expect_eq(stat.st_rdev, makedev(1, 7), "device number");
	close(fd);
}

/* A module that is freed while its file is preserved refuses the kexec. */

static void gone_first(struct stage_ctx *ctx)
{
	struct call loading = { make_load, .text = "fails=10000 flbs=2" };
	int session = need_fd(luo_create(ctx->dev, "gone"), "create_session");
	int full = need_fd(luo_open_full(O_RDWR), "/dev/full");
	long long end = now_ms() + 10000;
	int err;

	need_start(&loading);
	while ((err = luo_preserve(session, full, 3)) == -ENOENT &&
	       now_ms() < end)
		usleep(100);
	need_eq(err, 0, "preserve_fd while the module is initialized");
	expect_err(call_end(&loading), -ENOANO, "load");
	expect_err(stage_try_kexec(), -ENODEV, "kexec");
	stage_expect_log("kexec refused: %s file 0x3 of session gone cannot be frozen: -19",
			 BORROW_FULL_HANDLER);
	expect_err(stage_try_kexec(), -ENODEV, "kexec again");
	close(session);
	close(full);
}

/* As many FLBs as can cross. The module is loaded from here on. */

static void full_page_first(struct stage_ctx *ctx)
{
	int i;

	need_eq(load(ALL_FLBS), 0, "load");
	for (i = 0; i < FILES; i++)
		preserve_full(ctx->out, i);
	expect_eq(calls(BORROW_FLB_PRESERVE), MAX_FLBS, "FLBs preserved");
	/* Users end with this kernel: only the files cross. */
	for (i = 0; i < 10; i++)
		expect_eq(control(BORROW_GET_OUTGOING, USED), 0,
			  "get_outgoing");
}

static void full_page_second(struct stage_ctx *ctx)
{
	int i;

	expect_err(luo_retrieve_fd(ctx->in, 0), -EOPNOTSUPP,
		   "retrieve_fd without the module");
	/* Looking does not keep the module loaded. */
	need_eq(load(ALL_FLBS), 0, "load");
	luo_fdinfo(ctx->in, (char[4096]){}, 4096);
	need_eq(unload(), 0, "unload after fdinfo");

	need_eq(load(ALL_FLBS), 0, "load again");
	for (i = 0; i < ASKED; i++) {
		expect_eq(control(BORROW_GET_INCOMING, i), 0,
			  "get_incoming of FLB %d", i);
		control(BORROW_PUT_INCOMING, i);
	}
	/* There is no place for one more. */
	expect_err(control(BORROW_GET_INCOMING, MAX_FLBS), -ENOSPC,
		   "get_incoming of another one");
	expect_full(luo_retrieve_fd(ctx->in, 1));
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_eq(calls(BORROW_FINISH), FILES, "files finished");
	expect_eq(calls(BORROW_FLB_FINISH), 0,
		  "FLBs finished before the last file");
}

/* Callbacks that hang in the second kernel. */

static void hang_first(struct stage_ctx *ctx)
{
	int other = need_fd(luo_create(ctx->dev, "beside"), "create_session");

	preserve_full(ctx->out, 1);
	preserve_full(ctx->out, 2);
	preserve_memfd(ctx->out, 3);
	preserve_full(ctx->out, 4);
	preserve_memfd(other, 1);
	preserve_memfd(other, 2);
}

/* Another session of the previous kernel, which is returned, and one of this. */
static int expect_others_work(struct stage_ctx *ctx)
{
	int incoming =
		need_fd(luo_retrieve(ctx->dev, "beside"), "retrieve_session");
	int outgoing = need_fd(luo_create(ctx->dev, "new"), "create_session");
	int fd = need_retrieve(incoming, 1);

	expect_pattern(fd, 0, LUO_PAGE, 1, "content of a memfd");
	close(fd);
	preserve_memfd(outgoing, 1);
	close(outgoing);
	return incoming;
}

static void hang_second(struct stage_ctx *ctx)
{
	struct call retrieving = { make_retrieve, ctx->in, 1 };
	struct call again = { make_retrieve, ctx->in, 1 };
	struct call finishing = { make_finish, ctx->in };
	int session;

	hold(1 << BORROW_RETRIEVE);
	need_start(&retrieving);
	need_held();
	need_start(&again);
	session = expect_others_work(ctx);
	close(need_retrieve(ctx->in, 3));
	expect_eq(call_returns_within(&again, ENOUGH_MS), false,
		  "a second retrieve_fd of the file that hangs returns");
	hold(0);
	expect_full(call_end(&retrieving));
	expect_full(call_end(&again));
	expect_eq(calls(BORROW_RETRIEVE), 2, "files retrieved, in all");

	hold(1 << BORROW_FINISH);
	need_start(&finishing);
	need_held();
	expect_eq(luo_finish(session), 0, "finish of another session");
	close(session);
	hold(0);
	expect_eq(call_end(&finishing), 0, "finish");
	expect_eq(calls(BORROW_FLB_FINISH), 0,
		  "FLBs finished before the last file");
}

/* Nobody asks for this file, the last one, or for one half of the FLBs. */
static void unwanted_first(struct stage_ctx *ctx)
{
	preserve_full(ctx->out, 1);
}

static void unwanted_second(struct stage_ctx *ctx)
{
	expect_eq(calls(BORROW_FLB_RETRIEVE), ASKED, "FLBs retrieved");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_eq(calls(BORROW_FLB_RETRIEVE), MAX_FLBS,
		  "FLBs retrieved in the end");
	expect_eq(calls(BORROW_FLB_FINISH), MAX_FLBS, "FLBs finished");
	expect_err(control(BORROW_GET_INCOMING, 0), -ENODATA,
		   "get_incoming of an FLB that is finished");
	need_eq(unload(), 0, "unload");
}

static const struct stage_case cases[] = {
	{ "gone", true, { gone_first } },
	{ "full_page", false, { full_page_first, full_page_second } },
	{ "hang", false, { hang_first, hang_second } },
	{ "unwanted", false, { unwanted_first, unwanted_second } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_registration",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
