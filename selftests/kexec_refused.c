// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kexec that is refused, because one file cannot be frozen: reboot(2) returns the
 * error, everything works as before, and a later kexec succeeds.
 *
 * needs-loaded-kernel: stage 1 calls reboot(LINUX_REBOOT_CMD_KEXEC). If a kexec that
 * must be refused happens nevertheless, stage 2 finds that stage 1 did not finish.
 *
 * Needs the test build of the module, whose handler "test-full-v1" preserves files of
 * /dev/full: freeze returns EBUSY while the file has O_NONBLOCK, retrieve always
 * returns ENODEV, and finish is refused until a retrieve was attempted.
 *
 * module: liveupdate-test
 * memory: 1G
 * timeout: 120
 */
#include "lib/frames.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FULL_TOKEN 7
#define SIZE (3 * MIB + 5)
#define TRIES 3
#define HOLED 1200 /* in pages: several array pages */

static int put(int session, __u64 token, size_t size, __u64 seed)
{
	int fd = need_fd(luo_memfd(MFD_ALLOW_SEALING, size, seed), "a memfd");

	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %llu",
		(unsigned long long)token);
	return fd;
}

/*
 * When a page of the file with holes is written: before preserve (0), before a kexec
 * that is refused or the last one (1 to TRIES + 1), or never (TRIES + 2).
 */
static int written_before(int page)
{
	return page % 2 ? 0 : 1 + page / 2 % (TRIES + 2);
}

static void fill_holes(int fd, int nr)
{
	int i;

	for (i = HOLED; i-- > 0;) {
		if (written_before(i) == nr)
			need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, i), 0,
				"write page %d", i);
	}
}

static int put_holed(int session, __u64 token)
{
	int fd = need_fd(luo_memfd(MFD_ALLOW_SEALING, 0, 0), "a memfd");

	need_eq(luo_truncate(fd, HOLED * LUO_PAGE), 0, "ftruncate");
	fill_holes(fd, 0);
	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd");
	return fd;
}

static void expect_holed(int session, __u64 token)
{
	int fd = need_fd(luo_retrieve_fd(session, token), "retrieve_fd"), i;

	for (i = 0; i < HOLED; i++) {
		if (written_before(i) == TRIES + 2)
			expect_zero(fd, i * LUO_PAGE, LUO_PAGE, "a hole");
		else if (!expect_pattern(fd, i * LUO_PAGE, LUO_PAGE, i,
					 "a page"))
			stage_note("page %d, written before try %d", i,
				   written_before(i));
	}
	close(fd);
}

/* Every call answers as before: the refused kexec has changed nothing. */
static void same_answers(struct stage_ctx *ctx, int session, int fd,
			 const char *when)
{
	char name[LUO_NAME_MAX], text[4096];

	expect_err(luo_preserve(session, fd, 1), -EEXIST, "token in use (%s)",
		   when);
	expect_err(luo_preserve(session, fd, 99), -EBUSY, "file in use (%s)",
		   when);
	expect_err(luo_preserve(session, -1, 99), -EBADF, "bad fd (%s)", when);
	expect_err(luo_preserve(session, ctx->dev, 99), -ENOENT,
		   "no handler (%s)", when);
	expect_err(luo_retrieve_fd(session, 1), -EINVAL, "retrieve_fd (%s)",
		   when);
	expect_err(luo_finish(session), -EINVAL, "finish (%s)", when);
	expect_err(luo_create(ctx->dev, "refused"), -EEXIST, "name in use (%s)",
		   when);
	expect_err(luo_retrieve(ctx->dev, "refused"), -ENOENT,
		   "retrieve_session (%s)", when);
	expect_eq(luo_get_name(session, name), 0, "get_name (%s)", when);
	expect_eq(strcmp(name, "refused"), 0, "strcmp with the name \"%s\"",
		  name);
	expect_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo (%s)",
		  when);
	expect_eq(luo_count_line(text,
				 luo_file_line(1, LUO_MEMFD, "preserved")),
		  1, "lines \"%s\" in fdinfo (%s)",
		  luo_file_line(1, LUO_MEMFD, "preserved"), when);
	expect_err(luo_truncate(fd, 0), -EPERM,
		   "ftruncate of a preserved file (%s)", when);
	expect_pattern(fd, 0, SIZE, 1, when);
}

static void prepare(struct stage_ctx *ctx)
{
	int first, session, last, dropped, full, fd, more, holed, i;
	char done = 0;

	stage_save("done", &done, 1);
	full = need_fd(luo_open_full(O_RDWR | O_NONBLOCK), "/dev/full");
	first = need_fd(luo_create(ctx->dev, "refused-first"),
			"create_session");
	session = need_fd(luo_create(ctx->dev, "refused"), "create_session");
	last = need_fd(luo_create(ctx->dev, "refused-last"), "create_session");
	dropped = need_fd(luo_create(ctx->dev, "refused-dropped"),
			  "create_session");
	i = luo_preserve(session, full, FULL_TOKEN);
	if (i == -ENOENT)
		stage_skip("not the test build: no handler");
	need_eq(i, 0, "preserve /dev/full");

	/* Files before and after the one that cannot be frozen. */
	close(put(first, 1, 100, 10));
	holed = put_holed(first, 2);
	fd = put(session, 1, SIZE, 1);
	close(put(last, 1, 100, 11));
	close(put(dropped, 1, 100, 12));
	same_answers(ctx, session, fd, "before the kexec");

	for (i = 0; i < TRIES; i++) {
		fill_holes(holed, 1 + i);
		expect_err(stage_try_kexec(), -EBUSY,
			   "reboot(KEXEC), try %d (not loaded?)", i);
		same_answers(ctx, session, fd, "after a refused kexec");
		expect_eq(lseek(fd, 10 + i, SEEK_SET), 10 + i, "lseek");
	}

	/* Files and sessions can be added and dropped. */
	more = put(session, 2, 5000, 2);
	close(more);
	close(dropped);
	more = need_fd(luo_create(ctx->dev, "refused-more"), "create_session");
	close(put(more, 1, 100, 13));
	expect_err(stage_try_kexec(), -EBUSY, "reboot(KEXEC) with more files");
	same_answers(ctx, session, fd, "after the last refused kexec");
	need_eq(luo_fill(fd, 0, LUO_PAGE, 3), 0,
		"write after the refused kexec");

	fill_holes(holed, TRIES + 1);
	close(holed);

	/* The next kexec may succeed. */
	need_eq(fcntl(full, F_SETFL, 0), 0, "clear O_NONBLOCK");
	done = 1;
	stage_save("done", &done, 1);
}

static void verify(struct stage_ctx *ctx)
{
	int session, fd, other;
	char text[4096], done;

	stage_load("done", &done, 1);
	need_eq(done, 1,
		"stage 1 reached its end (a refused kexec was carried out)");

	expect_err(luo_retrieve(ctx->dev, "refused-dropped"), -ENOENT,
		   "the dropped session");
	session =
		need_fd(luo_retrieve(ctx->dev, "refused"), "retrieve_session");

	/* A refused finish finishes nothing. */
	expect_err(luo_finish(session), -EBUSY,
		   "finish before a retrieve of /dev/full");
	expect_err(luo_finish(session), -EBUSY, "finish again");
	fd = need_fd(luo_retrieve_fd(session, 1),
		     "retrieve_fd after a refused finish");
	expect_err(luo_finish(session), -EBUSY,
		   "finish with another file retrieved");
	other = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd again");
	expect_eq(luo_pos(fd), 10 + TRIES - 1, "position as of the last kexec");
	expect_eq(luo_size(fd), SIZE, "size");
	expect_pattern(fd, 0, LUO_PAGE, 3,
		       "content written after the refused kexec");
	expect_pattern(fd, LUO_PAGE, SIZE - LUO_PAGE, 1,
		       "content written before it");
	close(other);

	/* The retrieve fails for ever. The other files are not affected. */
	expect_err(luo_retrieve_fd(session, FULL_TOKEN), -ENODEV,
		   "retrieve of /dev/full");
	expect_err(luo_retrieve_fd(session, FULL_TOKEN), -ENODEV,
		   "retrieve of /dev/full again");
	expect_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo");
	expect_eq(luo_count_line(text, luo_file_line(FULL_TOKEN, "test-full-v1",
						     "failed")),
		  1, "lines \"%s\" in fdinfo",
		  luo_file_line(FULL_TOKEN, "test-full-v1", "failed"));
	other = need_fd(luo_retrieve_fd(session, 2),
			"retrieve_fd of a file added late");
	expect_pattern(other, 0, 5000, 2, "file added after the refused kexec");
	expect_eq(luo_finish(session), 0, "finish after an attempted retrieve");
	close(session);
	close(fd);
	close(other);

	session = need_fd(luo_retrieve(ctx->dev, "refused-first"),
			  "retrieve_session");
	fd = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd");
	expect_pattern(fd, 0, 100, 10, "file of the session before it");
	close(fd);
	expect_holed(session, 2);
	close(session);
	session = need_fd(luo_retrieve(ctx->dev, "refused-last"),
			  "retrieve_session");
	fd = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd");
	expect_pattern(fd, 0, 100, 11, "file of the session after it");
	close(fd);
	close(session);
	session = need_fd(luo_retrieve(ctx->dev, "refused-more"),
			  "retrieve_session");
	fd = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd");
	expect_pattern(fd, 0, 100, 13,
		       "file of a session made after the refused kexec");
	close(fd);
	close(session);
}

/*
 * fdinfo says in how many pieces of memory a session crosses, also after pages came
 * into a hole and were preserved for a kexec that was refused.
 */

#define EARLY 64
#define LATE 16
#define ROUNDS 8
#define ALL (EARLY + ROUNDS * LATE)
#define REST 4 /* at most: the header of a file, its array, a list of files */

/*
 * Writes pages whose neighbors in memory mostly belong to another file. That gets one
 * to three pages after each, because free pages can alternate by themselves. But pages
 * that must move when they are preserved can become neighbors.
 */
static void write_scattered(int fd, int other, int from, int pages)
{
	off_t at;
	int i;

	for (i = from; i < from + pages; i++) {
		need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, i), 0, "write");
		at = luo_size(other);
		need_eq(luo_fill(other, at,
				 (1 + luo_mix(i, 0) % 3) * LUO_PAGE, i),
			0, "write the other file");
	}
}

static long pieces_of_file(int fd, int pages)
{
	__u64 pfns[ALL];

	need_eq(luo_pfns(fd, pages, pfns), 0, "frames");
	return luo_pieces_of(pfns, pages);
}

/*
 * Pages come into the hole at the end, and a kexec is refused twice. The late pages are
 * as many pieces as they are runs of frames, or more if their order is another one; or
 * two less, if they continue the pieces before them.
 */
static void expect_late_pieces(int session, int fd, int other, int from)
{
	long before = luo_pieces(session), more;
	__u64 pfns[ALL];

	write_scattered(fd, other, from, LATE);
	expect_eq(luo_pieces(session), before, "pieces before the kexec");
	expect_err(stage_try_kexec(), -EBUSY, "reboot(KEXEC)");
	more = luo_pieces(session) - before;
	need_eq(luo_pfns(fd, from + LATE, pfns), 0, "frames");
	expect_range(more, luo_runs_of(pfns + from, LATE) - 2,
		     luo_pieces_of(pfns + from, LATE),
		     "more pieces after the refused kexec");
	expect_err(stage_try_kexec(), -EBUSY, "reboot(KEXEC) again");
	expect_eq(luo_pieces(session) - before, more,
		  "the same after another one");
}

static void pieces_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(0, 0, 0), other = need_memfd(0, 0, 0), full, last;
	/* The first session by name, so that it is frozen before the last. */
	int session = need_fd(luo_create(ctx->dev, "a"), "create_session");
	long early, late;
	int i;

	last = need_fd(luo_create(ctx->dev, "b"), "create_session");
	full = need_fd(luo_open_full(O_RDWR | O_NONBLOCK), "/dev/full");
	if (luo_preserve(last, full, 1) == -ENOENT)
		stage_skip("not the test build: no handler");
	need_eq(luo_truncate(fd, ALL * LUO_PAGE), 0, "ftruncate");
	write_scattered(fd, other, 0, EARLY);
	need_preserve(session, fd, 1);
	early = pieces_of_file(fd, EARLY);
	expect_range(luo_pieces(session), early, early + REST,
		     "pieces in fdinfo");

	for (i = 0; i < ROUNDS; i++)
		expect_late_pieces(session, fd, other, EARLY + i * LATE);
	late = pieces_of_file(fd, ALL) - early;
	stage_note("%ld early pieces, %ld late ones", early, late);
	expect_range(late, 1, ROUNDS * LATE, "pieces of all late pages");
	close(session);
	close(last);
	close(full);
	close(other);
	close(fd);
}

static const struct stage_case cases[] = {
	{ "pieces", true, { pieces_before } },
	{ "refused", true, { prepare, verify } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_refused",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
