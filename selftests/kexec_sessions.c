// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sessions across a kexec: which ones are there afterwards and under what names,
 * what finish and close do to them, and that a failed call does nothing.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY (32 * MIB)
#define MEMORY_PAGES ((long)(MEMORY / LUO_PAGE))
#define NOISE 256 /* in pages */

#define FILES 300
#define COUNTED 600 /* more than fdinfo lists */
#define SESSIONS 200

static int create(struct stage_ctx *ctx, const char *name)
{
	return need_fd(luo_create(ctx->dev, name), "create_session \"%s\"",
		       name);
}

static int retrieve(struct stage_ctx *ctx, const char *name)
{
	return need_fd(luo_retrieve(ctx->dev, name), "retrieve_session \"%s\"",
		       name);
}

static void put(int session, __u64 token, size_t size, __u64 seed)
{
	int fd =
		need_fd(luo_memfd(0, size, seed), "a memfd of %zu bytes", size);

	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %#llx",
		(unsigned long long)token);
	close(fd);
}

static int take(int session, __u64 token, size_t size, __u64 seed)
{
	int fd = need_fd(luo_retrieve_fd(session, token),
			 "retrieve_fd, token %#llx", (unsigned long long)token);

	expect_eq(luo_size(fd), size, "size of token %#llx",
		  (unsigned long long)token);
	expect_pattern(fd, 0, size, seed, "content");
	return fd;
}

/* Several sessions, each with its own files under the same tokens. */

static void several_before(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX];
	int i, session;

	for (i = 0; i < SESSIONS; i++) {
		snprintf(name, sizeof(name), "several-%d", i);
		session = create(ctx, name);
		put(session, 1, 100 + i, 2 * i);
		put(session, 2, 200 + i, 2 * i + 1);
	}
}

static void several_after(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX], seen[LUO_NAME_MAX];
	int i, n, session;

	for (i = 0; i < SESSIONS; i++) {
		/* In another order than they were made. */
		n = (i * 77 + 5) % SESSIONS;
		snprintf(name, sizeof(name), "several-%d", n);
		session = retrieve(ctx, name);
		expect_eq(luo_get_name(session, seen), 0, "get_name");
		expect_eq(strcmp(name, seen), 0,
			  "strcmp with the name, which is \"%s\"", seen);
		close(take(session, 2, 200 + n, 2 * n + 1));
		close(take(session, 1, 100 + n, 2 * n));
		expect_eq(luo_finish(session), 0, "finish");
		close(session);
	}
}

/* The longest name, odd bytes in a name, and how /proc shows them. */

static const char *const names[] = {
	"a",
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdf",
	"\x01\xff %s/..\n",
	"x\nluo-direction:\toutgoing",
};

static void names_before(struct stage_ctx *ctx)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		put(create(ctx, names[i]), i, 10, i);
}

static void names_after(struct stage_ctx *ctx)
{
	char seen[LUO_NAME_MAX], link[256], want[256];
	size_t i;
	int session;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		session = retrieve(ctx, names[i]);
		memset(seen, 0xa5, sizeof(seen));
		expect_eq(luo_get_name(session, seen), 0, "get_name");
		expect_eq(strncmp(seen, names[i], sizeof(seen)), 0,
			  "strncmp with the name");
		expect_eq(luo_is_cloexec(session), true, "O_CLOEXEC");
		if (i < 3) {
			snprintf(want, sizeof(want),
				 "anon_inode:[luo_session] %s", names[i]);
			expect_eq(luo_fdlink(session, link, sizeof(link)), 0,
				  "readlink");
			expect_eq(strcmp(link, want), 0,
				  "strcmp with the link \"%s\"", link);
		}
		close(take(session, i, 10, i));
		expect_eq(luo_finish(session), 0, "finish");
		close(session);
	}
}

/* A session without files. */

static void empty_before(struct stage_ctx *ctx)
{
}

static void empty_after(struct stage_ctx *ctx)
{
	expect_err(luo_retrieve_fd(ctx->in, 0), -ENOENT,
		   "retrieve_fd in an empty session");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_eq(luo_finish(ctx->in), 0, "finish again");
}

/* A session that is closed before the kexec does not cross. */

static void dropped_before(struct stage_ctx *ctx)
{
	int a = create(ctx, "dropped-1"), kept = create(ctx, "dropped-not");
	int b = create(ctx, "dropped-2");

	put(a, 1, MEMORY, 1);
	put(kept, 1, 100, 2);
	put(b, 1, 100, 3);
	close(a);
	close(b);
	/* A name that is used again. */
	b = create(ctx, "dropped-2");
	put(b, 4, 100, 4);
}

static void dropped_after(struct stage_ctx *ctx)
{
	int session;

	expect_err(luo_retrieve(ctx->dev, "dropped-1"), -ENOENT,
		   "retrieve_session of the dropped one");
	session = retrieve(ctx, "dropped-not");
	close(take(session, 1, 100, 2));
	close(session);
	session = retrieve(ctx, "dropped-2");
	expect_err(luo_retrieve_fd(session, 1), -ENOENT,
		   "token of the first session of that name");
	close(take(session, 4, 100, 4));
	close(session);
}

/* retrieve_session twice; close without finish finishes. */

static void closed_before(struct stage_ctx *ctx)
{
	put(create(ctx, "closed"), 1, MEMORY, 1);
	put(create(ctx, "closed-retrieved"), 1, 5000, 2);
}

static void closed_after(struct stage_ctx *ctx)
{
	int session, copy, fd;
	long before;

	before = stage_free_pages();
	session = retrieve(ctx, "closed");
	expect_err(luo_retrieve(ctx->dev, "closed"), -EINVAL,
		   "retrieve_session twice");
	copy = dup(session);
	close(session);
	expect_err(luo_retrieve(ctx->dev, "closed"), -EINVAL,
		   "retrieve_session with a dup open");
	close(copy);
	expect_err(luo_retrieve(ctx->dev, "closed"), -ENOENT,
		   "retrieve_session after close");
	expect_freed(before, MEMORY_PAGES, NOISE, "close without finish");

	session = retrieve(ctx, "closed-retrieved");
	fd = take(session, 1, 5000, 2);
	close(session);
	expect_err(luo_retrieve(ctx->dev, "closed-retrieved"), -ENOENT,
		   "retrieve_session after close");
	expect_pattern(fd, 0, 5000, 2, "a file that was retrieved from it");
	expect_eq(luo_truncate(fd, 10000), 0, "grow the file");
	close(fd);
}

/* finish without retrieve frees files; finish twice; calls after finish. */

static void finish_before(struct stage_ctx *ctx)
{
	put(ctx->out, 1, MEMORY, 1);
	put(ctx->out, 2, 100, 2);
	put(ctx->out, 3, 0, 0);
}

static void finish_after(struct stage_ctx *ctx)
{
	long before = stage_free_pages();
	struct liveupdate_session_finish arg = { .size = sizeof(arg),
						 .reserved = 1 };
	int fd;

	expect_err(luo_ioctl(ctx->in, LIVEUPDATE_SESSION_FINISH, &arg), -EINVAL,
		   "finish with reserved set");
	fd = take(ctx->in, 2, 100, 2);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_freed(before, MEMORY_PAGES, NOISE, "finish without retrieve");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOENT,
		   "retrieve_fd after finish, never retrieved");
	expect_err(luo_retrieve_fd(ctx->in, 2), -ENOENT,
		   "retrieve_fd after finish, retrieved before");
	expect_eq(luo_finish(ctx->in), 0, "finish again");
	expect_err(luo_retrieve(ctx->dev, "kexec_sessions.finish"), -EINVAL,
		   "retrieve_session of a finished one that is open");
	close(ctx->in);
	ctx->in = -1;
	expect_err(luo_retrieve(ctx->dev, "kexec_sessions.finish"), -ENOENT,
		   "retrieve_session of a finished one that is closed");
	expect_pattern(fd, 0, 100, 2, "the file that was retrieved");
	close(fd);
}

/* Hundreds of files, with any 64-bit number as a token. */

static __u64 token_of(int i)
{
	/* 0 and the largest token are among them. */
	return i == 0 ? 0 : i == 1 ? ~0ULL : luo_mix(4711, i);
}

static void files_before(struct stage_ctx *ctx)
{
	int i;

	for (i = 0; i < FILES; i++)
		put(ctx->out, token_of(i), i * 37 % 9000, i);
}

static void files_after(struct stage_ctx *ctx)
{
	char *text = calloc(1, 1 << 16);
	const char *state, *line;
	int i, n;

	need_eq(!text, 0, "no memory");
	/* Every other file is retrieved, in reverse order. */
	for (i = FILES - 1; i >= 0; i -= 2)
		close(take(ctx->in, token_of(i), i * 37 % 9000, i));
	/* The C implementation has no fdinfo. */
	if (!luo_is_c()) {
		expect_eq(luo_fdinfo(ctx->in, text, 1 << 16), 0, "fdinfo");
		expect_eq(luo_count_line(text, "luo-direction:\tincoming"), 1,
			  "luo-direction lines");
		for (i = 0, n = 0; i < FILES; i++) {
			state = i & 1 ? "retrieved" : "pending";
			line = luo_file_line(token_of(i), LUO_MEMFD, state);
			n += luo_count_line(text, line);
		}
		/* fdinfo does not list all files of a large session. */
		expect_range(n, 100, FILES, "luo-file lines");
		expect_eq(n, luo_file_lines(text),
			  "luo-file lines with the right state");
	}
	free(text);
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOENT, "an unknown token");
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* More files than fdinfo lists: it shows how many are in which state. */

static void counted_before(struct stage_ctx *ctx)
{
	int i;

	for (i = 0; i < COUNTED; i++)
		put(ctx->out, i, 1, i);
}

static void counted_after(struct stage_ctx *ctx)
{
	char text[4096];

	close(take(ctx->in, 0, 1, 0));
	close(take(ctx->in, COUNTED - 1, 1, COUNTED - 1));
	/* The C implementation shows nothing there. */
	if (!luo_is_c()) {
		expect_eq(luo_fdinfo(ctx->in, text, sizeof(text)), 0, "fdinfo");
		expect_eq(luo_count_line(text, "luo-files:\tpending=598 retrieved=2 failed=0"), 1,
			  "luo-files lines in fdinfo, which says: %s", text);
		expect_eq(!strstr(text, "luo-file:"), true, "no luo-file lines");
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Calls for outgoing sessions fail on incoming ones. */

static void direction_before(struct stage_ctx *ctx)
{
	put(ctx->out, 1, 100, 1);
}

static void direction_after(struct stage_ctx *ctx)
{
	int fd = need_fd(luo_memfd(0, 100, 2), "a memfd");

	expect_err(luo_preserve(ctx->in, fd, 1), -EINVAL,
		   "preserve_fd, token in use");
	expect_err(luo_preserve(ctx->in, fd, 2), -EINVAL,
		   "preserve_fd, free token");
	expect_err(luo_preserve(ctx->in, -1, 2), -EINVAL,
		   "preserve_fd, bad fd");
	close(take(ctx->in, 1, 100, 1));
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_err(luo_preserve(ctx->in, fd, 2), -EINVAL,
		   "preserve_fd after finish");
	close(fd);
}

/* Incoming and outgoing sessions have separate namespaces. */

static void spaces_before(struct stage_ctx *ctx)
{
	put(create(ctx, "spaces"), 1, 100, 1);
}

static void spaces_after(struct stage_ctx *ctx)
{
	int in, out, fd = need_fd(luo_memfd(0, 100, 2), "a memfd");

	out = create(ctx, "spaces");
	expect_err(luo_create(ctx->dev, "spaces"), -EEXIST,
		   "create_session twice");
	expect_eq(luo_preserve(out, fd, 1), 0,
		  "preserve_fd of the same token in the outgoing one");
	in = retrieve(ctx, "spaces");
	close(take(in, 1, 100, 1));
	close(out);
	expect_err(luo_retrieve(ctx->dev, "spaces"), -EINVAL,
		   "retrieve_session with the outgoing one closed");
	expect_eq(luo_finish(in), 0, "finish");
	close(in);
	expect_err(luo_retrieve(ctx->dev, "spaces"), -ENOENT,
		   "retrieve_session with both closed");
	close(fd);
}

/* A session fd that went through dup() and SCM_RIGHTS. */

static void passed_before(struct stage_ctx *ctx)
{
	int session = create(ctx, "passed"), copy, passed;

	copy = dup(session);
	close(session);
	passed = need_fd(luo_pass_fd(copy), "SCM_RIGHTS");
	close(copy);
	put(passed, 1, 100, 1);
	/* Only the passed fd is open now. */
}

static void passed_after(struct stage_ctx *ctx)
{
	int session =
		need_fd(luo_pass_fd(retrieve(ctx, "passed")), "SCM_RIGHTS");
	int fd = take(session, 1, 100, 1);

	fd = need_fd(luo_pass_fd(fd), "SCM_RIGHTS of the memfd");
	expect_eq(luo_finish(session), 0, "finish");
	close(session);
	expect_pattern(fd, 0, 100, 1, "content");
	close(fd);
}

/* A failed copy-out loses neither a session nor a file. */

static void fault_before(struct stage_ctx *ctx)
{
	put(create(ctx, "fault"), 1, 5000, 1);
}

static void fault_after(struct stage_ctx *ctx)
{
	struct liveupdate_ioctl_retrieve_session session_arg = {
		.size = sizeof(session_arg),
		.name = "fault",
	};
	struct liveupdate_session_retrieve_fd fd_arg = { .size = sizeof(fd_arg),
							 .token = 1 };
	struct liveupdate_session_finish finish = { .size = sizeof(finish) };
	int session, answer;
	char text[4096];

	expect_err(luo_ioctl(ctx->dev, LIVEUPDATE_IOCTL_RETRIEVE_SESSION,
			     luo_readonly(&session_arg, sizeof(session_arg))),
		   -EFAULT, "retrieve_session, argument read-only");
	session = retrieve(ctx, "fault");
	expect_err(luo_ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD,
			     luo_readonly(&fd_arg, sizeof(fd_arg))),
		   -EFAULT, "retrieve_fd, argument read-only");
	/*
	 * finish writes nothing back: it may ignore a read-only argument, or
	 * fail.
	 */
	answer = luo_ioctl(session, LIVEUPDATE_SESSION_FINISH,
			   luo_readonly(&finish, sizeof(finish)));
	if (answer) {
		expect_err(answer, -EFAULT, "finish, argument read-only");
		expect_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo");
		expect_eq(!!strstr(text, "luo-file:\ttoken=0x1 "), 1,
			  "files in a session after a finish that failed");
		close(take(session, 1, 5000, 1));
		expect_eq(luo_finish(session), 0, "finish");
	}
	close(session);
}

/* A session that is retrieved late. */

static void unclaimed_before(struct stage_ctx *ctx)
{
	put(create(ctx, "unclaimed"), 1, 5000, 1);
}

static void unclaimed_after(struct stage_ctx *ctx)
{
	int session;

	/* Opening the device again must not read the incoming state again. */
	close(ctx->dev);
	ctx->dev = need_fd(luo_open(), "open the device again");
	session = retrieve(ctx, "unclaimed");
	close(ctx->dev);
	close(take(session, 1, 5000, 1));
	expect_eq(luo_finish(session), 0, "finish with the device closed");
	close(session);
	ctx->dev = need_fd(luo_open(), "open the device again");
	expect_err(luo_retrieve(ctx->dev, "unclaimed"), -ENOENT,
		   "retrieve_session after finish and close");
}

static const struct stage_case cases[] = {
	{ "closed", true, { closed_before, closed_after } },
	{ "finish", false, { finish_before, finish_after } },
	{ "several", true, { several_before, several_after } },
	{ "names", true, { names_before, names_after } },
	{ "empty", false, { empty_before, empty_after } },
	{ "dropped", true, { dropped_before, dropped_after } },
	{ "files", false, { files_before, files_after } },
	{ "counted", false, { counted_before, counted_after } },
	{ "direction", false, { direction_before, direction_after } },
	{ "spaces", true, { spaces_before, spaces_after } },
	{ "passed", true, { passed_before, passed_after } },
	{ "fault", true, { fault_before, fault_after } },
	{ "unclaimed", true, { unclaimed_before, unclaimed_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_sessions",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(SESSIONS + COUNTED);
	return stage_main(argc, argv, &program);
}
