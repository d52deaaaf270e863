// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel's lib/tests/liveupdate.c says in the log while memfds, which it makes
 * depend on three FLBs, go through any number of kexecs. It says the same on either
 * implementation.
 *
 * hidden: yes
 */
#include "lib/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#define FLBS 3
#define FILES 3
#define SIZE (5 * LUO_PAGE + 1)
#define LOG_SIZE MIB

#define SYSLOG_ACTION_READ_ALL 3

/* What the test says for each of its FLBs. */
#define FOUND "found flb data from the previous boot"
#define PRESERVED "preserve was triggered"
#define UNPRESERVED "unpreserve was triggered"
#define FINISHED "finish was triggered"

static char *kernel_log(void)
{
	char *log = calloc(1, LOG_SIZE);

	need_eq(!log, 0, "no memory for the kernel log");
	need_eq(klogctl(SYSLOG_ACTION_READ_ALL, log, LOG_SIZE - 1) < 0, 0,
		"reading the kernel log");
	return log;
}

/* How many lines of the kernel log end with this event, for one FLB. */
static int lines(const char *event, int flb)
{
	char *log = kernel_log(), *line, *rest = log, text[128];
	int found = 0;

	snprintf(text, sizeof(text), "liveupdate-test-flb-v%d: %s", flb, event);
	while ((line = strsep(&rest, "\n"))) {
		char *at = strstr(line, text);

		found += at && !at[strlen(text)];
	}
	free(log);
	return found;
}

static void expect_lines(const char *event, int count, const char *when)
{
	int flb;

	for (flb = 0; flb < FLBS; flb++)
		expect_eq(lines(event, flb), count, "\"%s\" of FLB %d %s",
			  event, flb, when);
}

/* The test reports with these words what it did not expect. */
static void expect_no_error(void)
{
	char *log = kernel_log(), *line, *rest = log;

	while ((line = strsep(&rest, "\n"))) {
		if (strstr(line, " test: ") &&
		    (strstr(line, "ERROR") || strstr(line, "ailed")))
			expect_eq(1, 0, "%s", line);
	}
	free(log);
}

static int open_session(struct stage_ctx *ctx, int stage, int nr)
{
	char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "flb-%d-%d", stage, nr);
	return need_fd(stage == ctx->stage ? luo_create(ctx->dev, name) :
					     luo_retrieve(ctx->dev, name),
		       "session %s", name);
}

/* The files that the previous kernel has left, in two sessions. */
static void take(struct stage_ctx *ctx)
{
	int sessions[2], fd, i;

	expect_lines(FOUND, 1, "after the test was registered");
	for (i = 0; i < 2; i++)
		sessions[i] = open_session(ctx, ctx->stage - 1, i);
	/* Of one session nobody retrieves the file. */
	for (i = 1; i < FILES; i++) {
		fd = need_retrieve(sessions[1], i);
		expect_pattern(fd, 0, SIZE, i, "content");
		close(fd);
	}
	expect_eq(luo_finish(sessions[0]), 0, "finish the first session");
	expect_lines(FINISHED, 0, "with files left");
	expect_eq(luo_finish(sessions[1]), 0, "finish the second session");
	expect_lines(FINISHED, 1, "after the last file");
	close(sessions[0]);
	close(sessions[1]);
}

/* Preserves files for nothing. */
static void undo(struct stage_ctx *ctx)
{
	int session = need_fd(luo_create(ctx->dev, "flb-undone"), "a session");
	int fd = need_memfd(0, SIZE, 1);

	need_preserve(session, fd, 1);
	close(fd);
	expect_lines(PRESERVED, 1, "with the first file");
	expect_lines(UNPRESERVED, 0, "with the first file");
	close(session);
	luo_settle();
	expect_lines(UNPRESERVED, 1, "after the last file");
}

static void leave(struct stage_ctx *ctx)
{
	int session = -1, fd, i;

	for (i = 0; i < FILES; i++) {
		if (i < 2)
			session = open_session(ctx, ctx->stage, i);
		fd = need_memfd(0, SIZE, i);
		need_preserve(session, fd, i);
		close(fd);
	}
	expect_lines(PRESERVED, 2, "with more files");
	expect_lines(UNPRESERVED, 1, "with more files");
}

static void carry(struct stage_ctx *ctx)
{
	if (ctx->stage > 1)
		take(ctx);
	else
		expect_lines(FOUND, 0, "in the first kernel");
	if (ctx->stage < ctx->stages) {
		undo(ctx);
		leave(ctx);
	}
	expect_no_error();
}

static const struct stage_case cases[] = {
	{ "carry", true, { carry } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_flb",
	.stages = 2,
	.any_stages = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
