// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large memfds, which kernel threads help to restore. With help, with one CPU, or in
 * a memory cgroup that is nearly full, the outcome must be the same. After an error,
 * all threads together free the rest of the file.
 *
 * memory: 3G
 * timeout: 240
 */
#include "lib/pressure.h"
#include "lib/stages.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE (96 * MIB - 100)
#define PAGES ((SIZE + LUO_PAGE - 1) / LUO_PAGE)
#define NOISE 512 /* in pages */

#define OTHER_CPU "/sys/devices/system/cpu/cpu1/online"

/* How long all workers of unbound workqueues have run, in microseconds. */
static long worker_time(void)
{
	struct dirent *entry;
	char path[300], *at;
	char text[8192];
	double total = 0, ms;
	DIR *proc;
	FILE *f;

	proc = opendir("/proc");
	need_eq(!proc, 0, "no /proc");
	while ((entry = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/sched", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		text[fread(text, 1, sizeof(text) - 1, f)] = 0;
		fclose(f);
		if (strncmp(text, "kworker/u", 9))
			continue;
		at = strstr(text, "se.sum_exec_runtime");
		need_eq(at && sscanf(at, "%*s : %lf", &ms) == 1, true,
			"the time in %s", path);
		total += ms;
	}
	closedir(proc);
	return total * 1000;
}

/* How long this thread has run, in microseconds. */
static long own_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void preserved(struct stage_ctx *ctx, int fd)
{
	struct stat st;

	need_eq(luo_preserve(ctx->out, fd, 1), 0, "preserve_fd");
	stage_save_pfns("file", fd);
	need_eq(fstat(fd, &st), 0, "fstat");
	stage_save("blocks", &st.st_blocks, sizeof(st.st_blocks));
	close(fd);
}

/* Whether kernel threads helped with what took the caller @own microseconds. */
static void expect_help(bool helped, long own, long us)
{
	/* Unrelated work of these threads is far below this limit. */
	long least = own / 20, cpus = sysconf(_SC_NPROCESSORS_ONLN);

	stage_note("%ld us here, %ld us in kernel threads, %ld CPUs", own, us,
		   cpus);
	if (helped && cpus > 1)
		expect_range(us, least, LONG_MAX,
			     "us of kernel threads, which should help");
	else
		expect_range(us, 0, least,
			     "us of kernel threads, which should not help");
}

/* Retrieves the file, and checks whether kernel threads helped. */
static int retrieve(struct stage_ctx *ctx, struct group *group, bool helped)
{
	long us = worker_time(), own;
	int fd;
	blkcnt_t blocks;
	struct stat st;

	if (group)
		need_eq(group_enter(group), 0, "enter the cgroup");
	own = own_time();
	fd = luo_retrieve_fd(ctx->in, 1);
	own = own_time() - own;
	if (group)
		need_eq(group_leave(group), 0, "leave the cgroup");
	need_fd(fd, "retrieve_fd");
	expect_help(helped, own, worker_time() - us);

	/* Check frames now: compaction moves pages that are not pinned. */
	stage_same_pfns("file", fd);
	stage_load("blocks", &blocks, sizeof(blocks));
	need_eq(fstat(fd, &st), 0, "fstat");
	expect_eq(st.st_blocks, blocks, "blocks");
	return fd;
}

static void end(struct stage_ctx *ctx, int fd)
{
	long before = stage_free_pages();
	blkcnt_t blocks;

	stage_load("blocks", &blocks, sizeof(blocks));
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
	expect_freed(before, blocks * 512 / LUO_PAGE, NOISE,
		     "closing the file");
}

/* Files without holes. */

static void dense_before(struct stage_ctx *ctx)
{
	preserved(ctx, need_fd(luo_memfd(0, SIZE, 1), "a memfd"));
}

static void several_after(struct stage_ctx *ctx)
{
	long shmem = luo_meminfo("Shmem");
	int fd = retrieve(ctx, NULL, true);

	expect_range(luo_meminfo("Shmem"), shmem + PAGES - 64,
		     shmem + PAGES + 64,
		     "pages of Shmem with it retrieved (%ld before)", shmem);
	expect_pattern(fd, 0, SIZE, 1, "content");
	end(ctx, fd);
	expect_range(luo_meminfo("Shmem"), shmem - 64, shmem + 64,
		     "pages of Shmem with it closed");
}

static void alone_after(struct stage_ctx *ctx)
{
	bool others = !luo_write_file(OTHER_CPU, "0");
	int fd;

	if (!others && sysconf(_SC_NPROCESSORS_ONLN) > 1)
		stage_skip("this kernel cannot take a CPU offline");
	fd = retrieve(ctx, NULL, false);
	if (others)
		need_eq(luo_write_file(OTHER_CPU, "1"), 0,
			"bring the CPU online");
	expect_pattern(fd, 0, SIZE, 1, "content");
	end(ctx, fd);
}

/*
 * A cgroup with a limit just above the size of the file: workers must not help,
 * because only the caller can wait for an OOM kill in its cgroup.
 */

static void limited_after(struct stage_ctx *ctx)
{
	struct group group;
	long long charged;
	int fd;

	need_eq(group_make(&group, "luo-limited"), 0, "a memory cgroup");
	need_eq(group_set(&group, "memory.swap.max", "0"), 0,
		"memory.swap.max");
	need_eq(group_limit(&group, SIZE + 8 * MIB), 0, "memory.max");
	fd = retrieve(ctx, &group, false);
	expect_pattern(fd, 0, SIZE, 1, "content");
	charged = group_get(&group, "memory.current") / LUO_PAGE;
	expect_range(charged, PAGES, PAGES + 8 * MIB / LUO_PAGE,
		     "pages charged to the cgroup");
	end(ctx, fd);
	group_set(&group, "memory.reclaim", "1G");
	expect_eq(group_drop(&group), 0, "rmdir of the cgroup");
}

/* In a cgroup with a high limit, workers charge the cgroup of the caller. */

static void roomy_after(struct stage_ctx *ctx)
{
	struct group group;
	long long charged;
	int fd;

	need_eq(group_make(&group, "luo-roomy"), 0, "a memory cgroup");
	need_eq(group_limit(&group, 2 * SIZE), 0, "memory.max");
	fd = retrieve(ctx, &group, true);
	charged = group_get(&group, "memory.current") / LUO_PAGE;
	expect_range(charged, PAGES, PAGES + 8 * MIB / LUO_PAGE,
		     "pages charged to the cgroup");
	expect_pattern(fd, 0, SIZE, 1, "content");
	end(ctx, fd);
	group_set(&group, "memory.reclaim", "1G");
	expect_eq(group_drop(&group), 0, "rmdir of the cgroup");
}

/* Only half of the file can be committed: some thread meets the error first. */

static void committed_after(struct stage_ctx *ctx)
{
	long before = stage_free_pages(), shmem = luo_meminfo("Shmem"),
	     committed;
	char text[32];

	committed = luo_meminfo("Committed_AS");
	snprintf(text, sizeof(text), "%ld",
		 (committed + PAGES / 2) * (LUO_PAGE / 1024));
	need_eq(luo_write_file("/proc/sys/vm/overcommit_kbytes", text), 0,
		"overcommit_kbytes");
	need_eq(luo_write_file("/proc/sys/vm/overcommit_memory", "2"), 0,
		"overcommit_memory");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOSPC, "retrieve_fd");
	need_eq(luo_write_file("/proc/sys/vm/overcommit_memory", "0"), 0,
		"overcommit_memory");
	luo_write_file("/proc/sys/vm/overcommit_ratio", "50");
	expect_freed(before, PAGES, NOISE, "the failed retrieve");
	expect_range(luo_meminfo("Shmem"), shmem - 64, shmem + 64,
		     "pages of Shmem");
	expect_range(luo_meminfo("Committed_AS"), committed - 64,
		     committed + 64, "committed pages");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOSPC, "retrieve_fd again");
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/*
 * Under strict overcommit, a task without CAP_SYS_ADMIN must leave a reserve to tasks
 * with it. Workers have it, so that the kernel would let them use the reserve. But what
 * they insert counts for the user: beyond the reserve the retrieve fails, and no worker
 * helps.
 */

#define NOBODY 65534
#define RESERVE (64 * MIB)
/* The kernel counts what is committed for each CPU, and sums it up now and then. */
#define SLACK (32 * MIB)

/* What a process of a user sees. */
struct seen {
	int answer;
	long own;
};

static bool become_nobody(void)
{
	/* <grp.h> has another struct group. */
	return !syscall(SYS_setgroups, 0, NULL) &&
	       !setresgid(NOBODY, NOBODY, NOBODY) &&
	       !setresuid(NOBODY, NOBODY, NOBODY);
}

/* retrieve_fd in a process of a user, or of root. */
static void retrieve_in_child(int session, bool user, struct seen *seen)
{
	pid_t pid = fork();

	if (!pid) {
		if (user && !become_nobody())
			_exit(1);
		seen->own = own_time();
		seen->answer = luo_retrieve_fd(session, 1);
		seen->own = own_time() - seen->own;
		_exit(0);
	}
	need_eq(pid > 0 && waitpid(pid, NULL, 0) == pid, true, "a child");
}

static void set_kib(const char *path, long bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", bytes / 1024);
	need_eq(luo_write_file(path, text), 0, "%s", path);
}

/* Retrieves the file where @more bytes than now can be committed. */
static struct seen retrieve_committed(struct stage_ctx *ctx, bool user,
				      long more)
{
	struct seen *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct seen seen;

	need_eq(shared == MAP_FAILED, 0, "shared memory");
	shared->answer = -ECHILD;
	set_kib("/proc/sys/vm/admin_reserve_kbytes", RESERVE);
	set_kib("/proc/sys/vm/overcommit_kbytes",
		luo_meminfo("Committed_AS") * LUO_PAGE + more);
	need_eq(luo_write_file("/proc/sys/vm/overcommit_memory", "2"), 0,
		"overcommit_memory");
	retrieve_in_child(ctx->in, user, shared);
	need_eq(luo_write_file("/proc/sys/vm/overcommit_memory", "0"), 0,
		"overcommit_memory");
	luo_write_file("/proc/sys/vm/overcommit_ratio", "50");
	set_kib("/proc/sys/vm/admin_reserve_kbytes", 8 * MIB);
	seen = *shared;
	munmap(shared, sizeof(*shared));
	return seen;
}

static void retrieved_committed(struct stage_ctx *ctx, bool user, long more)
{
	long us = worker_time(), committed = luo_meminfo("Committed_AS");
	struct seen seen = retrieve_committed(ctx, user, more);
	int fd;

	need_fd(seen.answer, "retrieve_fd in the child");
	expect_help(true, seen.own, worker_time() - us);
	fd = need_fd(luo_retrieve_fd(ctx->in, 1), "the same file");
	expect_range(luo_meminfo("Committed_AS"), committed + PAGES - 64,
		     committed + PAGES + 64, "committed pages");
	expect_pattern(fd, 0, SIZE, 1, "content");
	end(ctx, fd);
}

static void refused_committed(struct stage_ctx *ctx)
{
	long us = worker_time(), before = stage_free_pages();
	long committed = luo_meminfo("Committed_AS");
	struct seen seen = retrieve_committed(ctx, true, SIZE + SLACK);

	expect_err(seen.answer, -ENOSPC, "retrieve_fd in the child");
	expect_help(false, seen.own, worker_time() - us);
	expect_freed(before, PAGES, NOISE, "the failed retrieve");
	expect_range(luo_meminfo("Committed_AS"), committed - 64,
		     committed + 64, "committed pages");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOSPC, "retrieve_fd as root");
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Calls @check while there is one CPU. */
static void with_one_cpu(struct stage_ctx *ctx,
			 void (*check)(struct stage_ctx *ctx))
{
	bool others = !luo_write_file(OTHER_CPU, "0");

	if (!others && sysconf(_SC_NPROCESSORS_ONLN) > 1)
		stage_skip("this kernel cannot take a CPU offline");
	check(ctx);
	if (others)
		need_eq(luo_write_file(OTHER_CPU, "1"), 0,
			"bring the CPU online");
}

static void user_after(struct stage_ctx *ctx)
{
	retrieved_committed(ctx, true, SIZE + RESERVE + SLACK);
}

static void user_alone_after(struct stage_ctx *ctx)
{
	with_one_cpu(ctx, user_after);
}

/* Root may use the reserve: so the limit that a user fails at is the reserve. */
static void root_after(struct stage_ctx *ctx)
{
	retrieved_committed(ctx, false, SIZE + SLACK);
}

static void refused_alone_after(struct stage_ctx *ctx)
{
	with_one_cpu(ctx, refused_committed);
}

/*
 * Runs of pages and holes, so that array pages begin at any index of the file.
 */

#define RUNS 900
#define STRIDE 64

static unsigned int run_length(int run)
{
	return 1 + luo_mix(5, run) % (STRIDE - 1);
}

static void holes_before(struct stage_ctx *ctx)
{
	int run, fd = need_fd(memfd_create("holes", 0), "a memfd");

	need_eq(luo_truncate(fd, (off_t)RUNS * STRIDE * LUO_PAGE), 0,
		"ftruncate");
	for (run = 0; run < RUNS; run++)
		need_eq(luo_fill(fd, (off_t)run * STRIDE * LUO_PAGE,
				 run_length(run) * LUO_PAGE, run),
			0, "write run %d", run);
	preserved(ctx, fd);
}

static void holes_after(struct stage_ctx *ctx)
{
	int run, fd = retrieve(ctx, NULL, true);

	for (run = 0; run < RUNS; run++) {
		off_t at = (off_t)run * STRIDE * LUO_PAGE;
		size_t length = run_length(run) * LUO_PAGE;

		if (!expect_pattern(fd, at, length, run, "a run"))
			stage_note("the run is %d", run);
	}
	for (run = 0; run < RUNS; run += 50)
		expect_zero(fd,
			    ((off_t)run * STRIDE + run_length(run)) * LUO_PAGE,
			    (STRIDE - run_length(run)) * LUO_PAGE, "a hole");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/*
 * Cases with one CPU come last: a CPU that was brought online a moment ago may not
 * be used for a while, so that nobody would help.
 */
static const struct stage_case cases[] = {
	{ "several", false, { dense_before, several_after } },
	{ "limited", false, { dense_before, limited_after } },
	{ "roomy", false, { dense_before, roomy_after } },
	{ "committed", false, { dense_before, committed_after } },
	{ "user", false, { dense_before, user_after } },
	{ "user_refused", false, { dense_before, refused_committed } },
	{ "root", false, { dense_before, root_after } },
	{ "holes", false, { holes_before, holes_after } },
	{ "alone", false, { dense_before, alone_after } },
	{ "user_alone", false, { dense_before, user_alone_after } },
	{ "user_refused_alone", false, { dense_before, refused_alone_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_parallel",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	/*
	 * Lock memory, so that no page of this program is charged to a cgroup.
	 */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	return stage_main(argc, argv, &program);
}
