// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same files through any number of kexecs ($STAGES kernels, 2 by default), with
 * either implementation in each kernel. Each kernel retrieves all files, compares
 * them, finishes, and preserves the same files again for the next one.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/frames.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 300 /* more than one block of entries */
#define LARGE (64 * MIB)
#define HUGE_SIZE (6 * MIB)
#define THP_CONTROL "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define NOISE 256 /* in pages */

/* 63 bytes, the longest name. */
#define LONG_NAME \
	"cargo-0123456789abcdef0123456789abcdef0123456789abcdef012345678"

/* Pages that came with the sessions that this kernel finished. */
static long carried;

/*
 * Pages of a file, and those that describe it: a header, a list, and an array.
 */
static void count(size_t size)
{
	long pages = (size + LUO_PAGE - 1) / LUO_PAGE;

	carried += pages + 1;
	if (pages)
		carried += 1 + (pages + 255) / 256;
}

static bool is_last(const struct stage_ctx *ctx)
{
	return ctx->stage == ctx->stages;
}

/* The stage that retrieves a session and does not make it again. */
static int halfway(const struct stage_ctx *ctx)
{
	return ctx->stages / 2 + 1;
}

static int make_memfd(unsigned int flags, size_t size, __u64 seed)
{
	return need_fd(luo_memfd(flags, size, seed), "a memfd of %zu bytes",
		       size);
}

static int take(int session, __u64 token, size_t size, __u64 seed)
{
	int fd = need_fd(luo_retrieve_fd(session, token),
			 "retrieve_fd, token %#llx", (unsigned long long)token);

	expect_eq(luo_size(fd), size, "size of token %#llx",
		  (unsigned long long)token);
	expect_pattern(fd, 0, size, seed, "content");
	count(size);
	return fd;
}

static void put(int session, int fd, __u64 token)
{
	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %#llx",
		(unsigned long long)token);
}

static void finish(int session)
{
	need_eq(luo_finish(session), 0, "finish");
}

/* Free memory before the first retrieve. */

static long free_before, shmem_before;

static void before(struct stage_ctx *ctx)
{
	luo_settle();
	free_before = luo_free_pages();
	shmem_before = luo_meminfo("Shmem");
}

/* Hundreds of files in a session with the longest name. */

static __u64 token_of(int i)
{
	return i == 0 ? 0 : i == 1 ? ~0ULL : luo_mix(815, i);
}

static size_t size_of(int i)
{
	return i * 37 % 9000;
}

static void many(struct stage_ctx *ctx)
{
	int i, in = -1, out, fds[FILES];
	char name[LUO_NAME_MAX];

	if (ctx->stage > 1) {
		in = need_fd(luo_retrieve(ctx->dev, LONG_NAME),
			     "retrieve_session");
		expect_eq(luo_get_name(in, name), 0, "get_name");
		expect_eq(strcmp(name, LONG_NAME), 0,
			  "strcmp with the name \"%s\"", name);
		expect_err(luo_retrieve(ctx->dev, LONG_NAME), -EINVAL,
			   "retrieve_session twice");
		expect_err(luo_retrieve_fd(in, 1), -ENOENT,
			   "a token that was never used");
	}
	for (i = 0; i < FILES; i++) {
		if (in < 0) {
			fds[i] = make_memfd(0, size_of(i), i);
			continue;
		}
		fds[i] = take(in, token_of(i), size_of(i), i);
		expect_eq(luo_pos(fds[i]), ctx->stage - 1 + i,
			  "position of number %d", i);
	}
	if (in >= 0) {
		finish(in);
		expect_err(luo_retrieve_fd(in, 0), -ENOENT,
			   "a token after finish");
		close(in);
	}
	if (!is_last(ctx)) {
		out = need_fd(luo_create(ctx->dev, LONG_NAME),
			      "create_session");
		for (i = 0; i < FILES; i++) {
			expect_eq(lseek(fds[i], ctx->stage + i, SEEK_SET),
				  ctx->stage + i, "lseek");
			put(out, fds[i], token_of(i));
		}
	}
	for (i = 0; i < FILES; i++)
		close(fds[i]);
}

/* Files of several sizes stay in the same frames in all kernels. */

static const size_t sizes[] = { 0, 1, 4097, LARGE };

static void frames(struct stage_ctx *ctx)
{
	char tag[32];
	size_t i;
	int fds[ARRAY_SIZE(sizes)];

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (ctx->in < 0) {
			fds[i] = make_memfd(0, sizes[i], 1000 + i);
			continue;
		}
		snprintf(tag, sizeof(tag), "size-%zu", sizes[i]);
		fds[i] = take(ctx->in, i, sizes[i], 1000 + i);
		if (sizes[i])
			stage_same_pfns(tag, fds[i]);
	}
	if (ctx->in >= 0)
		finish(ctx->in);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(tag, sizeof(tag), "size-%zu", sizes[i]);
		if (ctx->out >= 0) {
			put(ctx->out, fds[i], i);
			if (sizes[i])
				stage_save_pfns(tag, fds[i]);
		}
		close(fds[i]);
	}
}

/* Large folios stay where they are, and large if the kernel has such folios. */

static bool is_huge(int fd)
{
	__u64 pfns[HUGE_SIZE / LUO_PAGE];
	size_t i;

	need_eq(luo_pfns(fd, ARRAY_SIZE(pfns), pfns), 0, "frame numbers");
	for (i = 0; i < ARRAY_SIZE(pfns); i++) {
		if (pfns[i] != pfns[i & ~511UL] + (i & 511) ||
		    pfns[i & ~511UL] & 511)
			return false;
	}
	return true;
}

/*
 * A page in the middle of a huge one can be freed: the kernel can split the folio,
 * or has single pages.
 */
static void free_one_page(int fd)
{
	__u64 pfns[HUGE_SIZE / LUO_PAGE];
	const int page = 5;

	expect_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    page * LUO_PAGE, LUO_PAGE),
		  0, "punch a hole of one page");
	need_eq(luo_pfns(fd, ARRAY_SIZE(pfns), pfns), 0, "frame numbers");
	expect_eq(pfns[page], 0, "frame of the page that was freed");
	expect_eq(pfns[page - 1] && pfns[page + 1], true,
		  "whether its neighbors are still there");
	expect_zero(fd, page * LUO_PAGE, LUO_PAGE, "the hole");
	expect_pattern(fd, (page + 1) * LUO_PAGE,
		       HUGE_SIZE - (page + 1) * LUO_PAGE, 7, "what follows it");
}

static void large_folios(struct stage_ctx *ctx)
{
	int fd;

	if (ctx->in < 0) {
		if (luo_write_file(THP_CONTROL, "force"))
			stage_skip("no huge shmem here: %s", THP_CONTROL);
		fd = make_memfd(0, HUGE_SIZE, 7);
		luo_write_file(THP_CONTROL, "never");
	} else {
		fd = take(ctx->in, 1, HUGE_SIZE, 7);
		stage_same_pfns("huge", fd);
		finish(ctx->in);
	}
	if (ctx->out >= 0) {
		put(ctx->out, fd, 1);
		stage_save_pfns("huge", fd);
	}
	/* The first kernel may have split them to move them out of CMA. */
	if (!is_huge(fd))
		stage_skip("the memfd has no huge pages");
	/* The C implementation restores folios that cannot be split. */
	if (ctx->out < 0 && !luo_is_c())
		free_one_page(fd);
	close(fd);
}

/*
 * A file with holes, some of which get pages after preserve: the module appends such
 * pages to its array, out of order, and the next kernel finds each in its place. The C
 * implementation has filled all holes at preserve.
 */

#define HOLED 2400 /* in pages: several array pages */

/* The stage that writes a page: 1 before preserve, @n + 1 after preserve in stage n. */
static int written_in(int page)
{
	return page % 4 < 3 ? 1 : 2 + page / 4 % 6;
}

static void holes(struct stage_ctx *ctx)
{
	int i, bad = 0, fd;
	struct stat st;

	if (ctx->in < 0) {
		fd = make_memfd(0, 0, 0);
		need_eq(luo_truncate(fd, HOLED * LUO_PAGE), 0, "ftruncate");
		for (i = 0; i < HOLED; i++) {
			if (written_in(i) == 1)
				need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, i),
					0, "write page %d", i);
		}
	} else {
		fd = need_fd(luo_retrieve_fd(ctx->in, 1), "retrieve_fd");
		need_eq(fstat(fd, &st), 0, "fstat");
		/* A header, a list, and an array. */
		carried += st.st_blocks / 8 + 2 + HOLED / 256;
		for (i = 0; i < HOLED; i++)
			bad += (written_in(i) <= ctx->stage ?
					luo_check(fd, i * LUO_PAGE, LUO_PAGE,
						  i) :
					luo_check_zero(fd, i * LUO_PAGE,
						       LUO_PAGE)) != LUO_SAME;
		expect_eq(bad, 0, "pages with unexpected content");
		finish(ctx->in);
	}
	if (ctx->out >= 0) {
		put(ctx->out, fd, 1);
		/* From the last to the first. */
		for (i = HOLED; i-- > 0;) {
			if (written_in(i) == ctx->stage + 1)
				need_eq(luo_fill(fd, i * LUO_PAGE, LUO_PAGE, i),
					0, "write page %d late", i);
		}
	}
	close(fd);
}

/* Each seal, and all of them. */

static const struct {
	unsigned int flags;
	unsigned int seals;
} seals[] = {
	{ MFD_ALLOW_SEALING, 0 },
	{ MFD_ALLOW_SEALING, F_SEAL_SEAL },
	{ MFD_ALLOW_SEALING, F_SEAL_SHRINK },
	{ MFD_ALLOW_SEALING, F_SEAL_GROW },
	{ MFD_ALLOW_SEALING, F_SEAL_WRITE },
	{ MFD_ALLOW_SEALING, F_SEAL_FUTURE_WRITE },
	{ MFD_ALLOW_SEALING | MFD_EXEC, F_SEAL_EXEC },
	{ MFD_ALLOW_SEALING, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
				     F_SEAL_WRITE | F_SEAL_FUTURE_WRITE |
				     F_SEAL_EXEC },
	/* Without MFD_ALLOW_SEALING it has F_SEAL_SEAL. */
	{ 0, 0 },
};

static void sealed(struct stage_ctx *ctx)
{
	int i, fds[ARRAY_SIZE(seals)], saved[ARRAY_SIZE(seals)];

	if (ctx->in >= 0)
		stage_load("seals", saved, sizeof(saved));
	for (i = 0; i < (int)ARRAY_SIZE(seals); i++) {
		if (ctx->in < 0) {
			fds[i] = make_memfd(seals[i].flags, 5000, i);
			if (seals[i].seals)
				need_eq(luo_add_seals(fds[i], seals[i].seals),
					0, "F_ADD_SEALS %#x", seals[i].seals);
		} else {
			fds[i] = take(ctx->in, i, 5000, i);
			/*
			 * The C implementation adds the seals against writing.
			 */
			if (luo_is_c() && saved[i] & F_SEAL_EXEC)
				expect_eq(luo_seals(fds[i]) & saved[i],
					  saved[i], "seals of number %d", i);
			else
				expect_eq(luo_seals(fds[i]), saved[i],
					  "seals of number %d", i);
		}
		saved[i] = luo_seals(fds[i]);
	}
	if (ctx->in >= 0)
		finish(ctx->in);
	if (ctx->out >= 0)
		stage_save("seals", saved, sizeof(saved));
	for (i = 0; i < (int)ARRAY_SIZE(seals); i++) {
		if (ctx->out >= 0)
			put(ctx->out, fds[i], i);
		close(fds[i]);
	}
}

/* Positions, as of the kexec. */

static const off_t positions[] = { 0, 1, 10000, (off_t)1 << 40,
				   0x7fffffffffffff00 };

static void moved(struct stage_ctx *ctx)
{
	int i, fds[ARRAY_SIZE(positions)];
	off_t left, wanted;

	for (i = 0; i < (int)ARRAY_SIZE(positions); i++) {
		left = positions[i] + ctx->stage - 1;
		if (ctx->in < 0) {
			fds[i] = make_memfd(0, 10000, i);
			continue;
		}
		fds[i] = need_fd(luo_retrieve_fd(ctx->in, i), "retrieve_fd");
		expect_eq(luo_pos(fds[i]), left,
			  "position left by the previous kernel");
		expect_pattern(fds[i], 0, 10000, i, "content");
		count(10000);
		if (ctx->out >= 0)
			expect_err(luo_preserve(ctx->out, fds[i], i), -EBUSY,
				   "preserve_fd before finish");
	}
	if (ctx->in >= 0)
		finish(ctx->in);
	for (i = 0; i < (int)ARRAY_SIZE(positions); i++) {
		wanted = positions[i] + ctx->stage;
		if (ctx->out >= 0) {
			put(ctx->out, fds[i], i);
			expect_eq(lseek(fds[i], wanted, SEEK_SET), wanted,
				  "lseek");
		}
		close(fds[i]);
	}
}

/* A session without files. */

static void empty(struct stage_ctx *ctx)
{
	if (ctx->in >= 0) {
		expect_err(luo_retrieve_fd(ctx->in, 0), -ENOENT, "retrieve_fd");
		finish(ctx->in);
	}
}

/*
 * Preserved up to the middle of the chain, finished there, and unknown after
 * it.
 */

static void half(struct stage_ctx *ctx)
{
	int fd, session;

	if (ctx->stage > halfway(ctx)) {
		expect_err(luo_retrieve(ctx->dev, "half"), -ENOENT,
			   "retrieve_session");
		return;
	}
	if (ctx->stage == 1) {
		fd = make_memfd(0, MIB, 5);
	} else {
		session = need_fd(luo_retrieve(ctx->dev, "half"),
				  "retrieve_session");
		fd = take(session, 5, MIB, 5);
		finish(session);
		close(session);
	}
	if (ctx->stage < halfway(ctx)) {
		session =
			need_fd(luo_create(ctx->dev, "half"), "create_session");
		put(session, fd, 5);
	}
	close(fd);
}

/*
 * Each kernel leaves a session that the next one does not retrieve. The kexec
 * after that drops it.
 */

static void left_alone(struct stage_ctx *ctx)
{
	char name[LUO_NAME_MAX];
	int session, fd;

	snprintf(name, sizeof(name), "unclaimed-%d", ctx->stage - 2);
	expect_err(luo_retrieve(ctx->dev, name), -ENOENT,
		   "a session of the kernel before the last");
	snprintf(name, sizeof(name), "unclaimed-%d", ctx->stage);
	expect_err(luo_retrieve(ctx->dev, name), -ENOENT,
		   "a session that no kernel made");
	if (is_last(ctx))
		return;
	session = need_fd(luo_create(ctx->dev, name), "create_session");
	fd = make_memfd(0, MIB, 6);
	put(session, fd, 6);
	close(fd);
}

/* The number of live updates in the log. */

static void counted(struct stage_ctx *ctx)
{
	/* The messages of the C implementation and of the module. */
	static const char *const words[] = { "liveupdate number: ",
					     "liveupdate: live update " };
	char *log = calloc(1, 1 << 20), *at = NULL;
	size_t i;

	need_eq(!log, 0, "no memory");
	need_eq(klogctl(3, log, (1 << 20) - 1) < 0, 0,
		"reading the kernel log");
	for (i = 0; i < ARRAY_SIZE(words) && !at; i++) {
		at = strstr(log, words[i]);
		if (at)
			at += strlen(words[i]);
	}
	/* Without incoming state, the C implementation logs nothing. */
	if (at || ctx->stage > 1) {
		need_eq(!at, 0,
			"no line in the log with the number of live updates");
		expect_eq(atoll(at), ctx->stage - 1, "number of live updates");
	}
	free(log);
}

/* After all sessions are finished and closed, their memory is free. */
static void after(struct stage_ctx *ctx)
{
	long noise = luo_tolerated_pages(NOISE), freed = 0;
	int tries;

	if (!is_last(ctx))
		return;
	for (tries = 0; tries < 10; tries++) {
		luo_settle();
		freed = luo_free_pages() - free_before;
		if (freed >= carried - noise)
			break;
		usleep(200000);
	}
	expect_range(freed, carried - noise, carried + noise,
		     "pages freed, of %ld incoming", carried);
	expect_range(luo_meminfo("Shmem"), shmem_before - 16, shmem_before + 16,
		     "pages of Shmem");
}

static const struct stage_case cases[] = {
	{ "before", true, { before } },
	{ "many", true, { many } },
	{ "frames", false, { frames } },
	{ "large_folios", false, { large_folios } },
	{ "holes", false, { holes } },
	{ "sealed", false, { sealed } },
	{ "moved", false, { moved } },
	{ "empty", false, { empty } },
	{ "half", true, { half } },
	{ "unclaimed", true, { left_alone } },
	{ "counted", true, { counted } },
	{ "after", true, { after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_cargo",
	.stages = 2,
	.any_stages = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(2 * FILES);
	return stage_main(argc, argv, &program);
}
