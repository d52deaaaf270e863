// SPDX-License-Identifier: GPL-2.0-only
/*
 * Seals of memfds across a kexec: each seal, combinations of them, those added
 * after preserve, and the exec bits that F_SEAL_EXEC protects. A seal is a promise
 * to other processes that have the file, so the next kernel must keep it.
 *
 * memory: 1G
 * timeout: 120
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each seal, all of them, those of MFD_NOEXEC_SEAL, and none. */

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
	{ MFD_ALLOW_SEALING, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE },
	{ MFD_ALLOW_SEALING, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
				     F_SEAL_WRITE | F_SEAL_FUTURE_WRITE |
				     F_SEAL_EXEC },
	{ MFD_NOEXEC_SEAL, 0 },
	{ MFD_NOEXEC_SEAL, F_SEAL_GROW },
	{ MFD_NOEXEC_SEAL, F_SEAL_SEAL },
	/* A memfd without MFD_ALLOW_SEALING has F_SEAL_SEAL. */
	{ 0, 0 },
};

static void seals_before(struct stage_ctx *ctx)
{
	int fd, saved[ARRAY_SIZE(seals)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = need_memfd(seals[i].flags, 5000, i);
		if (seals[i].seals)
			need_eq(luo_add_seals(fd, seals[i].seals), 0,
				"F_ADD_SEALS %#x", seals[i].seals);
		saved[i] = luo_seals(fd);
		need_preserve(ctx->out, fd, i);
		expect_eq(luo_seals(fd), saved[i], "seals after preserve");
		close(fd);
	}
	stage_save("seals", saved, sizeof(saved));
}

static void seals_after(struct stage_ctx *ctx)
{
	int fd, saved[ARRAY_SIZE(seals)];
	struct stat st;
	size_t i;

	stage_load("seals", saved, sizeof(saved));
	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = need_retrieve(ctx->in, i);
		/* The C implementation adds the seals against writing. */
		if (luo_is_c() && saved[i] & F_SEAL_EXEC) {
			expect_eq(luo_seals(fd) & saved[i], saved[i],
				  "seals of number %zu", i);
			close(fd);
			continue;
		}
		expect_eq(luo_seals(fd), saved[i], "seals of number %zu", i);
		expect_pattern(fd, 0, 5000, i, "content");
		expect_eq(luo_pwrite(fd, "x", 1, 0),
			  saved[i] & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) ?
				  -EPERM :
				  1,
			  "write with seals %#x", saved[i]);
		expect_eq(luo_truncate(fd, 6000),
			  saved[i] & F_SEAL_GROW ? -EPERM : 0,
			  "growing with seals %#x", saved[i]);
		expect_eq(luo_truncate(fd, 100),
			  saved[i] & F_SEAL_SHRINK ? -EPERM : 0,
			  "shrinking with seals %#x", saved[i]);
		/*
		 * F_SEAL_EXEC without F_SEAL_WRITE: the file has no exec bits.
		 */
		if (saved[i] & F_SEAL_EXEC && !(saved[i] & F_SEAL_WRITE) &&
		    !fstat(fd, &st))
			expect_eq(st.st_mode & 0111, 0,
				  "exec bits with seals %#x", saved[i]);
		close(fd);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* A seal that is added after preserve crosses too. */

static void late_seals_before(struct stage_ctx *ctx)
{
	int fd = need_memfd(MFD_ALLOW_SEALING, 5000, 1);

	need_preserve(ctx->out, fd, 1);
	need_eq(luo_add_seals(fd, F_SEAL_GROW | F_SEAL_SHRINK), 0,
		"F_ADD_SEALS");
	close(fd);
}

static void late_seals_after(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1);

	expect_eq(luo_seals(fd), F_SEAL_GROW | F_SEAL_SHRINK,
		  "seals added after preserve");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * The exec bits. The memfd-v2 format has seals but no mode, so the next kernel
 * derives the mode from the seals. Adding F_SEAL_EXEC to an executable memfd adds
 * all seals against changes. So a memfd with F_SEAL_EXEC that lacks one of these
 * was not executable. With all of them it may have been either, and comes back
 * executable: this loses the mode of a fully sealed MFD_NOEXEC_SEAL memfd, but
 * no process can write to it. The C implementation makes all memfds executable.
 */

#define ALL_CHANGES \
	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

static const struct {
	unsigned int flags;
	unsigned int seals;
	mode_t before;
	mode_t after;
} modes[] = {
	{ MFD_EXEC, 0, 0111, 0111 },
	{ MFD_EXEC | MFD_ALLOW_SEALING, ALL_CHANGES, 0111, 0111 },
	{ MFD_EXEC | MFD_ALLOW_SEALING, F_SEAL_EXEC, 0111, 0111 },
	{ MFD_NOEXEC_SEAL, 0, 0, 0 },
	{ MFD_NOEXEC_SEAL, F_SEAL_SEAL, 0, 0 },
	{ MFD_NOEXEC_SEAL, ALL_CHANGES & ~F_SEAL_GROW, 0, 0 },
	{ MFD_NOEXEC_SEAL, ALL_CHANGES, 0, 0111 },
	{ MFD_NOEXEC_SEAL, ALL_CHANGES | F_SEAL_SEAL, 0, 0111 },
};

static mode_t exec_bits(int fd)
{
	struct stat st;

	need_eq(fstat(fd, &st), 0, "fstat");
	return st.st_mode & 0111;
}

static void exec_bits_before(struct stage_ctx *ctx)
{
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		fd = need_memfd(modes[i].flags, 100, i);
		if (modes[i].seals)
			need_eq(luo_add_seals(fd, modes[i].seals), 0,
				"F_ADD_SEALS %#x", modes[i].seals);
		expect_eq(exec_bits(fd), modes[i].before,
			  "exec bits of number %zu", i);
		need_preserve(ctx->out, fd, i);
		close(fd);
	}
}

static void exec_bits_after(struct stage_ctx *ctx)
{
	mode_t expected;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		fd = need_retrieve(ctx->in, i);
		expected = luo_is_c() ? 0111 : modes[i].after;
		expect_eq(exec_bits(fd), expected,
			  "exec bits of number %zu, seals %#x", i,
			  luo_seals(fd));
		/* F_SEAL_EXEC: the bits cannot be changed. */
		if (luo_seals(fd) & F_SEAL_EXEC)
			expect_err(fchmod(fd, 0600 | (expected ^ 0111)) ?
					   -errno :
					   0,
				   -EPERM, "fchmod of number %zu", i);
		close(fd);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

static const struct stage_case cases[] = {
	{ "seals", false, { seals_before, seals_after } },
	{ "late_seals", false, { late_seals_before, late_seals_after } },
	{ "exec_bits", false, { exec_bits_before, exec_bits_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_seals",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
