// SPDX-License-Identifier: GPL-2.0-only
/*
 * Malformed ioctls on the device and on an incoming session: each must fail with
 * the right errno, and none may lose, retrieve or finish anything that the previous
 * kernel left.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/malform.h"
#include "lib/stages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define CALLS 150000
#define TOKEN 0x0123456789abcdefULL
#define SIZE 5000

static void put(struct stage_ctx *ctx, const char *name, __u64 seed)
{
	int session = need_fd(luo_create(ctx->dev, name),
			      "create_session \"%s\"", name);
	int fd = need_fd(luo_memfd(0, SIZE, seed), "a memfd");

	need_eq(luo_preserve(session, fd, TOKEN), 0, "preserve_fd");
	close(fd);
}

static void preserve_two(struct stage_ctx *ctx)
{
	put(ctx, "malformed", 1);
	put(ctx, "malformed-pending", 2);
}

static void take(int session, __u64 seed)
{
	int fd = need_fd(luo_retrieve_fd(session, TOKEN), "retrieve_fd");

	expect_eq(luo_size(fd), SIZE, "size");
	expect_pattern(fd, 0, SIZE, seed, "content");
	close(fd);
}

static void make_calls(struct malform *on, __u64 from)
{
	struct malform_state state;
	struct malform_call call;
	int failures = 0;
	__u64 number;

	malform_read_state(on, &state);
	for (number = from; number < from + CALLS && failures < 10; number++) {
		malform_random(on, number, &call);
		failures += !malform_make(on, &call);
	}
	expect_eq(failures, 0, "calls with an unexpected answer");
	expect_eq(malform_is_as_before(on, &state), true, "state is as before");
}

static void retrieve_two(struct stage_ctx *ctx)
{
	const char *seed = getenv("MALFORMED_SEED");
	struct malform on = {
		.dev = ctx->dev,
		.incoming = true,
		.taken = "malformed",
		.pending = "malformed-pending",
		.token = TOKEN,
		.memfd = -1,
		.busy = -1,
		.other = -1,
	};
	unsigned int random = 1;
	char name[LUO_NAME_MAX];
	int i, session;

	need_eq(malform_map(), 0, "memory for the calls");
	if (getrandom(&random, sizeof(random), 0) < 0)
		stage_note("no random numbers: the seed is %u", random);
	on.seed = seed ? strtoull(seed, NULL, 0) : random;
	on.session =
		need_fd(luo_retrieve(ctx->dev, on.taken), "retrieve_session");
	make_calls(&on, 0);
	take(on.session, 1);
	make_calls(&on, CALLS);
	take(on.session, 1);
	malform_print(&on);

	session = need_fd(luo_retrieve(ctx->dev, on.pending),
			  "retrieve_session of the pending one");
	take(session, 2);
	expect_eq(luo_finish(session), 0, "finish of the pending one");
	close(session);
	expect_eq(luo_finish(on.session), 0, "finish");
	close(on.session);
	expect_err(luo_retrieve(ctx->dev, on.taken), -ENOENT,
		   "retrieve_session after finish");
	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "malform-%d", i);
		close(need_fd(luo_create(ctx->dev, name),
			      "create_session \"%s\"", name));
	}
}

static const struct stage_case cases[] = {
	{ "malformed", true, { preserve_two, retrieve_two } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_malformed",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
