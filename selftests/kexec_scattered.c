// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memfds whose pages alternate with pages that are not preserved. What lies between
 * preserved pages is free memory of the next kernel: none of it may be lost, and no
 * preserved page may be given to another user.
 *
 * The first stage preserves nothing, so the second one sees how much memory a kernel
 * has that was entered by kexec and took over nothing. If the last kernel is another
 * one, it has another amount of memory, and is not asked for it.
 *
 * LUO_SCATTERED_MIB= is the size of the larger file, 128 if it is not set. With
 * LUO_SCATTERED_ONCE=, memory is filled before the files are retrieved, and not again.
 * Other sizes and kernels are in scenarios.toml.
 *
 * memory: 1G
 * timeout: 300
 * cmdline: kho_scratch=32M,64M,64M
 */
#include "lib/frames.h"
#include "lib/pressure.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FEW 1024 /* pages of the smaller file */
#define LEAVE 16384 /* pages that the ballast leaves to the system */
#define MAX_ZONES 32
#define SECOND_OF_PIECES 7500L /* pieces that delay a boot by one second */

/* Bits of /proc/kpageflags. */
#define KPF_LRU 5
#define KPF_SLAB 7
#define KPF_BUDDY 10
#define KPF_ANON 12
#define KPF_NOPAGE 20

/* Those of all sessions of this stage. */
static long total_pieces;

/* Pages of the larger file. */
static size_t many(void)
{
	const char *mib = getenv("LUO_SCATTERED_MIB");

	return (mib ? atol(mib) : 128) * MIB / LUO_PAGE;
}

/* The kernel of this stage: its version, and how it was built. */
static void save_kernel(void)
{
	struct utsname kernel = {};

	need_eq(uname(&kernel), 0, "uname");
	stage_save("kernel", &kernel, sizeof(kernel));
}

static void need_same_kernel(void)
{
	struct utsname now = {}, before;

	need_eq(uname(&now), 0, "uname");
	stage_load("kernel", &before, sizeof(before));
	if (memcmp(&now, &before, sizeof(now)))
		stage_skip("another kernel has another amount of memory");
}

static int session_of(struct stage_ctx *ctx, const char *name, bool create)
{
	return need_fd(create ? luo_create(ctx->dev, name) :
				luo_retrieve(ctx->dev, name),
		       "session %s", name);
}

/* The "managed" values of all zones, and their sum in the last element. */
static void zones_managed(long managed[MAX_ZONES])
{
	FILE *in = fopen("/proc/zoneinfo", "re");
	char line[128];
	long n;
	int i = 0;

	need_eq(!in, 0, "open /proc/zoneinfo");
	memset(managed, 0, MAX_ZONES * sizeof(*managed));
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, " managed %ld", &n) == 1 && i < MAX_ZONES - 1) {
			managed[i++] = n;
			managed[MAX_ZONES - 1] += n;
		}
	}
	fclose(in);
}

/* How many of these frames have one of the flags. */
static long frames_with(const __u64 *pfns, size_t count, __u64 flags)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 seen;
	long with = 0;
	size_t i;

	need_eq(fd < 0, 0, "open /proc/kpageflags");
	for (i = 0; i < count; i++) {
		need_eq(pread(fd, &seen, sizeof(seen), pfns[i] * sizeof(seen)),
			sizeof(seen), "read /proc/kpageflags");
		with += !!(seen & flags);
	}
	close(fd);
	return with;
}

static __u64 *frames_of(int fd, size_t pages)
{
	__u64 *pfns = calloc(pages, sizeof(*pfns));

	need_eq(!pfns, 0, "no memory for frame numbers");
	need_eq(luo_pfns(fd, pages, pfns), 0, "frames");
	return pfns;
}

/* Fills nearly all memory with bytes that no file has. */
static void fill_memory(void)
{
	int pid = ballast_start(LEAVE);

	need_eq(pid < 0, 0, "start the ballast");
	ballast_stop(pid);
}

/* What fdinfo says of a session with one file. */
static void expect_pieces(int session, const __u64 *pfns, size_t pages)
{
	long found = luo_pieces(session), own = luo_pieces_of(pfns, pages);

	if (luo_is_c())
		return;
	expect_range(own, luo_runs_of(pfns, pages), pages, "pieces of the file");
	/* The array, its list, the header of the file, and the list of files. */
	expect_range(found, own + 1, own + pages / 256 + 4, "pieces in fdinfo");
	total_pieces += found;
}

/*
 * A file of which each page is followed by @between pages of another file. Only the
 * first one is preserved.
 */
static void scatter(struct stage_ctx *ctx, const char *name, size_t pages,
		    size_t between)
{
	int session = session_of(ctx, name, true);
	int kept = need_memfd(0, 0, 0), other = need_memfd(0, 0, 0);
	__u64 *pfns;
	size_t i;

	for (i = 0; i < pages; i++) {
		need_eq(luo_fill(kept, i * LUO_PAGE, LUO_PAGE, pages), 0,
			"write");
		need_eq(luo_fill(other, i * between * LUO_PAGE,
				 between * LUO_PAGE, between),
			0, "write between");
	}
	need_preserve(session, kept, 1);
	stage_save_pfns("kept", kept);
	stage_save_pfns("between", other);
	pfns = frames_of(kept, pages);
	stage_note("%zu pages in %ld runs", pages, luo_runs_of(pfns, pages));
	/* The page allocator decides: some kernels put two pages side by side. */
	expect_range(luo_runs_of(pfns, pages), pages / 4, pages, "runs");
	expect_pieces(session, pfns, pages);
	free(pfns);
}

static void gather(struct stage_ctx *ctx, const char *name, size_t pages,
		   size_t between)
{
	__u64 *kept = calloc(pages, sizeof(*kept));
	__u64 *other = calloc(pages * between, sizeof(*other));
	int session, fd;

	need_eq(!kept || !other, 0, "no memory for frame numbers");
	stage_load("kept.pfn", kept, pages * sizeof(*kept));
	stage_load("between.pfn", other, pages * between * sizeof(*other));
	expect_eq(frames_with(kept, pages,
			      1 << KPF_BUDDY | 1 << KPF_LRU | 1 << KPF_ANON |
				      1 << KPF_NOPAGE),
		  0, "preserved frames that are free or in use");
	/*
	 * What the kernel has taken for itself has no flag: much of it on a debug
	 * kernel. That none is lost is a matter of MemTotal.
	 */
	expect_range(frames_with(other, pages * between,
				 1 << KPF_BUDDY | 1 << KPF_LRU |
					 1 << KPF_SLAB),
		     pages * between / 4, pages * between,
		     "frames between them that are free or in use");

	session = session_of(ctx, name, false);
	fd = need_retrieve(session, 1);
	stage_same_pfns("kept", fd);
	expect_pattern(fd, 0, pages * LUO_PAGE, pages, "content");
	if (!getenv("LUO_SCATTERED_ONCE")) {
		fill_memory();
		expect_pattern(fd, 0, pages * LUO_PAGE, pages,
			       "content after filling memory");
	}
	expect_eq(luo_finish(session), 0, "finish");
	close(fd);
	free(kept);
	free(other);
}

/* Before anything is retrieved: what lies between preserved pages is used. */
static void fill_after(struct stage_ctx *ctx)
{
	fill_memory();
}

static void alternate_before(struct stage_ctx *ctx)
{
	scatter(ctx, "alternate", many(), 1);
}

static void alternate_after(struct stage_ctx *ctx)
{
	gather(ctx, "alternate", many(), 1);
}

/* One page of 32: blocks of the page allocator have few preserved pages each. */

static void few_before(struct stage_ctx *ctx)
{
	scatter(ctx, "few", FEW, 31);
}

static void few_after(struct stage_ctx *ctx)
{
	gather(ctx, "few", FEW, 31);
}

/* The first case: it sees memory before anything is preserved or retrieved. */

static void memory_before(struct stage_ctx *ctx)
{
	long managed[MAX_ZONES];

	save_kernel();
	zones_managed(managed);
	stage_save("managed", managed, sizeof(managed));
	expect_eq(luo_meminfo("MemTotal"), managed[MAX_ZONES - 1],
		  "MemTotal is the sum of all zones");
}

static void memory_after(struct stage_ctx *ctx)
{
	long managed[MAX_ZONES], kept = many() + FEW;

	need_same_kernel();
	stage_load("managed", managed, sizeof(managed));
	/* The files, and what describes them: 16 bytes for each page. */
	expect_range(managed[MAX_ZONES - 1] - luo_meminfo("MemTotal"), kept,
		     kept + kept / 128 + 16, "pages missing in MemTotal");
}

/* The last case: everything has been retrieved and freed. */

static void all_after(struct stage_ctx *ctx)
{
	long before[MAX_ZONES], managed[MAX_ZONES];
	int i;

	need_same_kernel();
	stage_load("managed", before, sizeof(before));
	zones_managed(managed);
	for (i = 0; i < MAX_ZONES; i++)
		expect_eq(managed[i], before[i], "managed pages of zone %d", i);
	expect_eq(luo_meminfo("MemTotal"), before[MAX_ZONES - 1], "MemTotal");
}

static void all_before(struct stage_ctx *ctx)
{
	long managed[MAX_ZONES];

	save_kernel();
	zones_managed(managed);
	stage_save("managed", managed, sizeof(managed));
}

/*
 * What the old kernel says when it goes down. The list of sessions and the root are
 * at most three more pieces; two that end where another begins count once.
 */
static void log_before(struct stage_ctx *ctx)
{
	long least = total_pieces - 3, n;
	char any[100];
	int len = 0;

	if (luo_is_c())
		stage_skip("the C implementation does not count pieces");
	for (n = least; n <= total_pieces + 3; n++)
		len += snprintf(any + len, sizeof(any) - len, "%s%ld",
				n == least ? "" : "|", n);
	stage_expect_log("serialized 2 sessions with 2 files in (%s) pieces of memory in \\d+ us",
			 any);
	if (least < SECOND_OF_PIECES)
		return;
	stage_expect_log("taking over (%s) pieces may delay the boot .* by (%ld|%ld) s",
			 any,
			 least * least / (SECOND_OF_PIECES * SECOND_OF_PIECES),
			 (n - 1) * (n - 1) /
				 (SECOND_OF_PIECES * SECOND_OF_PIECES));
}

static const struct stage_case cases[] = {
	{ "memory", true, { NULL, memory_before, memory_after } },
	{ "fill", true, { NULL, NULL, fill_after } },
	{ "alternate", true, { NULL, alternate_before, alternate_after } },
	{ "few", true, { NULL, few_before, few_after } },
	{ "log", true, { NULL, log_before } },
	{ "all", true, { NULL, all_before, all_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_scattered",
	.stages = 3,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
