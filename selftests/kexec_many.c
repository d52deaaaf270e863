// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hundred thousand sessions, and a session with a hundred thousand files: all are
 * there in the next kernel, with their names, tokens and content, in any order. The
 * time limit also shows that no lookup walks them all.
 *
 * Every file has one page, which suffices to tell it from the others.
 *
 * memory: 4G
 * timeout: 300
 */
#include "lib/stages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MANY 100000
#define STEP 25000
/* Every 100th session has a file. */
#define EVERY 100

static long seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void progress(const char *what, int i, long since)
{
	if (i && i % STEP == 0)
		stage_note("%d %s in %ld s", i, what, seconds() - since);
}

/* A permutation of 0..MANY-1: the factor and MANY are coprime. */
static int shuffled(int i)
{
	return (i * 40507LL + 777) % MANY;
}

static __u64 token_of(int i)
{
	return luo_mix(MANY, i);
}

static int memfd_of(__u64 seed)
{
	__u64 word = luo_mix(seed, 0);
	int fd = need_fd(memfd_create("many", MFD_CLOEXEC), "memfd %llu",
			 (unsigned long long)seed);

	need_eq(luo_pwrite(fd, &word, sizeof(word), 0), sizeof(word), "write");
	return fd;
}

static bool is_memfd_of(int fd, __u64 seed)
{
	__u64 word = 0;

	return pread(fd, &word, sizeof(word), 0) == sizeof(word) &&
	       word == luo_mix(seed, 0) && luo_size(fd) == sizeof(word);
}

static void name_of(char *name, int i)
{
	snprintf(name, LUO_NAME_MAX, "many-%d", i);
}

static void sessions_before(struct stage_ctx *ctx)
{
	long since = seconds();
	char name[LUO_NAME_MAX];
	int i, session, fd;

	for (i = 0; i < MANY; i++) {
		progress("sessions", i, since);
		name_of(name, i);
		session = need_fd(luo_create(ctx->dev, name),
				  "create_session %d", i);
		if (i % EVERY)
			continue;
		fd = memfd_of(i);
		need_eq(luo_preserve(session, fd, i), 0,
			"preserve_fd in session %d", i);
		close(fd);
	}
	/* All names are still in use. */
	for (i = 0; i < MANY; i += 9973) {
		name_of(name, i);
		expect_err(luo_create(ctx->dev, name), -EEXIST,
			   "create_session %d again", i);
	}
}

static void sessions_after(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX], seen[LUO_NAME_MAX];
	int i, n, fd, session, bad = 0;
	long since = seconds();

	for (i = 0; i < MANY; i++) {
		n = shuffled(i);
		progress("sessions", i, since);
		name_of(name, n);
		session = need_fd(luo_retrieve(ctx->dev, name),
				  "retrieve_session %d", n);
		bad += luo_get_name(session, seen) || strcmp(name, seen);
		if (n % EVERY == 0) {
			fd = need_fd(luo_retrieve_fd(session, n),
				     "retrieve_fd in session %d", n);
			bad += !is_memfd_of(fd, n);
			close(fd);
		} else {
			bad += luo_retrieve_fd(session, n) != -ENOENT;
		}
		bad += luo_finish(session) != 0;
		/* The first half stays open until the end. */
		if (i >= MANY / 2)
			close(session);
	}
	expect_eq(bad, 0, "sessions that differ");
	name_of(name, MANY);
	expect_err(luo_retrieve(ctx->dev, name), -ENOENT,
		   "a session that was never made");
	name_of(name, shuffled(MANY - 1));
	expect_err(luo_retrieve(ctx->dev, name), -ENOENT,
		   "a session that is finished and closed");
	name_of(name, shuffled(0));
	expect_err(luo_retrieve(ctx->dev, name), -EINVAL,
		   "a session that is finished and open");
	close_range(ctx->dev + 1, ~0U, 0);
	stage_note("closed after %ld s", seconds() - since);
}

/* fdinfo of many files is short: it counts most of them. */
static void expect_short_fdinfo(int session)
{
	static char text[LUO_FDINFO_MAX + LUO_PAGE];

	/* The C implementation has no fdinfo. */
	if (luo_is_c())
		return;
	need_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo");
	expect_range(strlen(text), 100, LUO_FDINFO_MAX, "bytes of fdinfo");
	expect_eq(luo_fdinfo_counts(text, MANY), true,
		  "fdinfo has the number of files");
}

static void files_before(struct stage_ctx *ctx)
{
	long since = seconds();
	int i, fd;

	for (i = 0; i < MANY; i++) {
		progress("files", i, since);
		fd = memfd_of(i);
		need_eq(luo_preserve(ctx->out, fd, token_of(i)), 0,
			"preserve_fd %d", i);
		close(fd);
	}
	expect_short_fdinfo(ctx->out);
	fd = memfd_of(i);
	for (i = 0; i < MANY; i += 9973)
		expect_err(luo_preserve(ctx->out, fd, token_of(i)), -EEXIST,
			   "token %d again", i);
	close(fd);
}

static void files_after(struct stage_ctx *ctx)
{
	long since = seconds();
	int i, n, fd, bad = 0;

	expect_short_fdinfo(ctx->in);
	/* A tenth is not retrieved: finish frees it. */
	for (i = 0; i < MANY * 9 / 10; i++) {
		n = shuffled(i);
		progress("files", i, since);
		fd = need_fd(luo_retrieve_fd(ctx->in, token_of(n)),
			     "retrieve_fd %d", n);
		bad += !is_memfd_of(fd, n);
		close(fd);
	}
	expect_eq(bad, 0, "files that differ");
	expect_err(luo_retrieve_fd(ctx->in, token_of(MANY)), -ENOENT,
		   "a file that was never preserved");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	stage_note("finished after %ld s", seconds() - since);
}

static const struct stage_case cases[] = {
	{ "sessions", true, { sessions_before, sessions_after } },
	{ "files", false, { files_before, files_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_many",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(MANY);
	return stage_main(argc, argv, &program);
}
