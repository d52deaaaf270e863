// SPDX-License-Identifier: GPL-2.0-only
/*
 * In the second kernel, threads load and unload a handler, number.ko, while others
 * retrieve its files and finish their sessions: a file is retrieved, or there is no
 * handler at the moment. NUMBER_MODULE= is the path of number.ko.
 *
 * hidden: yes
 */
#include "lib/churn.h"
#include "lib/stages.h"

#define SESSIONS 300
#define FILES 4

static int session_of(struct stage_ctx *ctx, int nr)
{
	char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "unload-%d", nr);
	return ctx->stage == 1 ? luo_create(ctx->dev, name) :
				 luo_retrieve(ctx->dev, name);
}

/* Not 0, which is the number of a file that cannot be frozen. */
static __u64 value_of(int nr, int file)
{
	return 1 + nr * FILES + file;
}

static void leave(struct stage_ctx *ctx)
{
	int nr, i, session, fd;

	need_eq(module_load("NUMBER_MODULE", ""), 0, "load");
	for (nr = 0; nr < SESSIONS; nr++) {
		session = need_fd(session_of(ctx, nr), "create_session");
		for (i = 0; i < FILES; i++) {
			fd = need_fd(churn_number(value_of(nr, i)), "a number");
			need_preserve(session, fd, i);
			close(fd);
		}
	}
}

static struct stage_ctx *stage;
static atomic_int next_session;

/* Retrieves some files, and finishes the session while there is a handler. */
static void *take(void *arg)
{
	static const int late[] = { EOPNOTSUPP, 0 }, none[] = { 0 };
	struct churn *c = arg;
	int nr, i, session, fd;
	char text[4096];
	__u64 value;

	while ((nr = next_session++) < SESSIONS) {
		session = session_of(stage, nr);
		churn_answer(c, session, "retrieve_session", none);
		for (i = 0; i < FILES - 1;) {
			fd = luo_retrieve_fd(session, i);
			if (!churn_answer(c, fd, "retrieve_fd", late)) {
				luo_fdinfo(session, text, sizeof(text));
				/* Others end if this one never finds a handler. */
				if (churn_goes_on(c))
					continue;
				return NULL;
			}
			if (read(fd, &value, sizeof(value)) != sizeof(value) ||
			    value != value_of(nr, i))
				churn_answer(c, -EBADMSG, "the number", none);
			close(fd);
			i++;
			c->works++;
		}
		/* The last file is pending. The others keep the handler loaded. */
		churn_answer(c, luo_finish(session), "finish", none);
		close(session);
	}
	return NULL;
}

static void take_all(struct stage_ctx *ctx)
{
	static void *(*const threads[])(void *) = {
		churn_module, churn_module, take, take, take,
	};
	struct churn c;

	stage = ctx;
	need_eq(churn(&c, ctx->dev, threads, ARRAY_SIZE(threads)), 0,
		"start threads");
	stage_note("loaded %ld times, unloaded %ld, refused %ld; %ld retrieved",
		   c.loads, c.unloads, c.refused, c.works);
	expect_eq(c.unexpected, 0, "%s", c.where ? c.where : "all calls");
	expect_eq(c.works, SESSIONS * (FILES - 1), "files retrieved");
	expect_range(c.unloads, 1, 1000000, "unloads");
	expect_eq(churn_settle(), 0, "load and unload in the end");
}

static const struct stage_case cases[] = {
	{ "unload", true, { leave, take_all } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_unload",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
