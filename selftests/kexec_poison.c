// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory failures: a file with a poisoned page cannot be preserved, and a preserved
 * file whose page is poisoned later refuses the kexec, because the next kernel would
 * not know about the page and read it. Everything else goes on.
 *
 * needs-loaded-kernel: stage 1 calls reboot(LINUX_REBOOT_CMD_KEXEC), which must
 * fail. Needs a kernel with hwpoison injection.
 *
 * hidden: yes
 */
#include "lib/frames.h"
#include "lib/faults.h"
#include "lib/pressure.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CORRUPT "/sys/kernel/debug/hwpoison/corrupt-pfn"
#define THP_CONTROL "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGE_PAGE (2 * MIB)
#define PAGES 40
#define SIZE (PAGES * LUO_PAGE)
/* Enough files for some to lie in scratch memory. */
#define FILES 40
#define APART (4 * MIB)

static int new_memfd(size_t size, __u64 seed)
{
	return need_fd(luo_memfd(0, size, seed), "a memfd");
}

static int create(struct stage_ctx *ctx, const char *name)
{
	return need_fd(luo_create(ctx->dev, name), "create_session %s", name);
}

/* No process has the page mapped, so none gets a signal. */
static void poison(int fd, size_t page)
{
	static __u64 pfns[HUGE_PAGE / LUO_PAGE];
	long before = luo_meminfo("HardwareCorrupted");
	char text[32];

	need_eq(luo_pfns(fd, page + 1, pfns), 0, "frame numbers");
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)pfns[page]);
	/*
	 * The write fails with EBUSY for a pinned page, which is poisoned
	 * nevertheless.
	 */
	luo_write_file(CORRUPT, text);
	need_eq(luo_meminfo("HardwareCorrupted"), before + 1, "poisoned pages");
}

static void expect_bad(int fd, size_t page)
{
	char byte;

	expect_err(pread(fd, &byte, 1, page * LUO_PAGE) < 0 ? -errno : 0, -EIO,
		   "read of the poisoned page");
}

/* If this returns, the kexec was refused. */
static int reboot_refused(void)
{
	return syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		       LINUX_REBOOT_CMD_KEXEC, NULL) ?
		       -errno :
		       0;
}

static void sound_before(struct stage_ctx *ctx)
{
	int fd = new_memfd(SIZE, 1);

	need_eq(access(CORRUPT, W_OK), 0, "%s (not the debug kernel?)",
		CORRUPT);
	need_eq(luo_preserve(ctx->out, fd, 1), 0, "preserve_fd");
	close(fd);
}

static void sound_after(struct stage_ctx *ctx)
{
	int fd = need_fd(luo_retrieve_fd(ctx->in, 1), "retrieve_fd");

	expect_pattern(fd, 0, SIZE, 1, "content");
	expect_err(luo_retrieve_fd(ctx->in, 2), -ENOENT,
		   "retrieve_fd of an unknown token");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * Poisoned before preserve: wherever the page lies, the file is refused, and
 * its other pages can still be read.
 */

static void early(struct stage_ctx *ctx)
{
	int i, fds[FILES], refused = 0;
	long pages = faults_pages();

	for (i = 0; i < FILES; i++) {
		fds[i] = new_memfd(SIZE, i);
		need_eq(luo_fallocate(fds[i], 0, 0, APART), 0, "fallocate");
		poison(fds[i], PAGES - 1);
	}
	for (i = 0; i < FILES; i++) {
		int err = luo_preserve(ctx->out, fds[i], 1);

		refused += err == -EHWPOISON;
		if (i)
			continue;
		expect_err(err, -EHWPOISON, "preserve_fd");
		expect_err(luo_preserve(ctx->out, fds[i], 1), -EHWPOISON,
			   "preserve_fd again");
		expect_bad(fds[i], PAGES - 1);
		expect_pattern(fds[i], 0, (PAGES - 1) * LUO_PAGE, i,
			       "the pages before it");
	}
	expect_eq(refused, FILES, "files that were refused");
	expect_range(faults_pages() - pages, -2, 2, "pages more than before");
	for (i = 0; i < FILES; i++) {
		/* Without the page the file can be preserved. */
		expect_eq(luo_truncate(fds[i], (PAGES - 1) * LUO_PAGE), 0,
			  "cut the file off");
		expect_eq(luo_preserve(ctx->out, fds[i], i), 0,
			  "preserve_fd of the rest");
		close(fds[i]);
	}
}

static void early_after(struct stage_ctx *ctx)
{
	int i, fd;

	for (i = 0; i < FILES; i++) {
		fd = need_fd(luo_retrieve_fd(ctx->in, i),
			     "retrieve_fd, token %d", i);
		expect_eq(luo_size(fd), (PAGES - 1) * LUO_PAGE, "size");
		expect_pattern(fd, 0, (PAGES - 1) * LUO_PAGE, i, "content");
		close(fd);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Poisoned after preserve: the kexec is refused until the session is closed. */

static void refuse(struct stage_ctx *ctx, int fd, size_t page, const char *what)
{
	int session = create(ctx, "poison-late"), other;

	need_eq(luo_preserve(session, fd, 2), 0, "preserve_fd, %s", what);
	poison(fd, page);
	expect_err(reboot_refused(), -EHWPOISON, "reboot, %s", what);
	expect_err(reboot_refused(), -EHWPOISON, "reboot again, %s", what);
	/* Other sessions still work. */
	other = new_memfd(SIZE, 3);
	expect_eq(luo_preserve(ctx->out, other, page), 0,
		  "preserve_fd of another file");
	close(other);
	expect_bad(fd, page);
	close(session);
	session = create(ctx, "poison-late");
	expect_err(luo_preserve(session, fd, 2), -EHWPOISON,
		   "preserve_fd anew, %s", what);
	close(session);
	close(fd);
}

static void late(struct stage_ctx *ctx)
{
	int fd, session;

	refuse(ctx, new_memfd(SIZE, 2), 7, "a page");

	/* A page that filled a hole after preserve, so it is not pinned. */
	fd = new_memfd(LUO_PAGE, 5);
	need_eq(luo_truncate(fd, SIZE), 0, "ftruncate");
	session = create(ctx, "poison-hole");
	need_eq(luo_preserve(session, fd, 1), 0, "preserve_fd");
	need_eq(luo_fill(fd, 9 * LUO_PAGE, LUO_PAGE, 5), 0,
		"write into a hole");
	poison(fd, 9);
	expect_err(reboot_refused(), -EHWPOISON, "reboot, a page in a hole");
	close(session);
	close(fd);

	luo_write_file(THP_CONTROL, "force");
	fd = new_memfd(HUGE_PAGE, 4);
	luo_write_file(THP_CONTROL, "never");
	refuse(ctx, fd, 300, "a page of a huge one");
}

static void late_after(struct stage_ctx *ctx)
{
	int fd = need_fd(luo_retrieve_fd(ctx->in, 7), "retrieve_fd");

	expect_pattern(fd, 0, SIZE, 3, "content of the other file");
	expect_err(luo_retrieve_fd(ctx->in, 2), -ENOENT,
		   "retrieve_fd of an unknown token");
	expect_err(luo_retrieve(ctx->dev, "poison-late"), -ENOENT,
		   "a session that was closed");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

static const struct stage_case cases[] = {
	{ "sound", false, { sound_before, sound_after } },
	{ "early", false, { early, early_after } },
	{ "late", false, { late, late_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_poison",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
