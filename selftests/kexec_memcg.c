// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: memory cgroups that are full, RLIMIT_NOFILE, and strict overcommit. Which
 * calls fail and with what errno; a call that can be repeated has changed nothing;
 * a failed retrieve is final, and other files do not suffer from it.
 *
 * Before a charge fails, the kernel looks for a task to kill and logs a trace. Real
 * problems have another line before theirs.
 *
 * debug: yes
 * memory: 1G
 * timeout: 120
 * cmdline: ramdisk_size=65536
 * allow: Call Trace:|invoked oom-killer:
 */
#include "lib/pressure.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (8 * MIB)
#define PAGES ((long)(SIZE / LUO_PAGE))
#define SMALL (3 * LUO_PAGE)
#define NOISE 256 /* in pages */

static struct group group;

static int put(int session, __u64 token, size_t size)
{
	int fd = need_fd(luo_memfd(0, size, token), "a memfd");

	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %llu",
		(unsigned long long)token);
	return fd;
}

static void take(int session, __u64 token, size_t size)
{
	int fd = need_fd(luo_retrieve_fd(session, token),
			 "retrieve_fd, token %llu", (unsigned long long)token);

	expect_eq(luo_size(fd), size, "size of token %llu",
		  (unsigned long long)token);
	expect_pattern(fd, 0, size, token, "content");
	close(fd);
}

/* Expects fdinfo to show a file in this state. */
static void expect_state(int session, __u64 token, const char *state)
{
	const char *line = luo_file_line(token, LUO_MEMFD, state);
	char text[4096];

	need_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo");
	expect_eq(luo_count_line(text, line), 1, "lines \"%s\" in fdinfo",
		  line);
}

static void expect_no_files(int session)
{
	char text[4096];

	need_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo");
	expect_eq(!strstr(text, "luo-file:"), true,
		  "no files in fdinfo, which says: %s", text);
}

/*
 * Makes a call in the cgroup, and nothing else: the stack is locked in memory.
 */
static int in_group(int (*call)(int fd, __u64 arg), int fd, __u64 arg)
{
	int answer;

	need_eq(group_enter(&group), 0, "enter the cgroup");
	answer = call(fd, arg);
	need_eq(group_leave(&group), 0, "leave the cgroup");
	return answer;
}

struct apart {
	int (*call)(int fd, __u64 arg);
	int fd;
	__u64 arg;
	int answer;
};

static int call_apart(void *arg)
{
	struct apart *a = arg;

	a->answer = group_enter(&group) ?: a->call(a->fd, a->arg);
	return 0;
}

/*
 * Makes a call in a cgroup where nothing can be charged. A task could not leave
 * that cgroup again, so another one enters it, which shares memory and fds with
 * this one. Kernel objects are charged to the cgroup of that task.
 */
static int in_full_group(int (*call)(int fd, __u64 arg), int fd, __u64 arg)
{
	struct apart a = { .call = call, .fd = fd, .arg = arg };
	static char stack[16 * LUO_PAGE] __attribute__((aligned(16)));
	pid_t pid;

	pid = clone(call_apart, stack + sizeof(stack),
		    CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD, &a);
	need_eq(pid > 0 && waitpid(pid, NULL, 0) == pid, true,
		"another process");
	return a.answer;
}

static void need_group(const char *name, const char *swap)
{
	need_eq(group_make(&group, name), 0, "a memory cgroup");
	need_eq(group_set(&group, "memory.swap.max", swap), 0,
		"memory.swap.max");
}

/* Everything charged to the cgroup must be freed. */
static void drop_group(void)
{
	int tries, err = -EBUSY;

	expect_eq(group_unlimit(&group), 0, "memory.max");
	for (tries = 0; tries < 20 && group_get(&group, "memory.current") > 0;
	     tries++) {
		group_set(&group, "memory.reclaim", "1G");
		usleep(100000);
	}
	expect_range(group_get(&group, "memory.current"), 0, NOISE * LUO_PAGE,
		     "bytes charged to the empty cgroup");
	err = group_drop(&group);
	expect_eq(err, 0, "rmdir of the cgroup");
}

static void swap_on(struct stage_ctx *ctx)
{
	need_eq(swap_start(), 0, "swapon");
}

static void swap_off(struct stage_ctx *ctx)
{
	expect_eq(swap_used(), 0, "pages of swap in use");
	need_eq(swap_stop(), 0, "swapoff");
}

/*
 * A swapped-out file is preserved in a cgroup whose limit is smaller than the
 * file. Pages that come in are pinned, so reclaim cannot make space for the
 * others.
 */

static int make_file(int unused, __u64 seed)
{
	return luo_memfd(0, SIZE, seed);
}

static int preserve(int session, __u64 fd)
{
	return luo_preserve(session, fd, 1);
}

static void swapped_before(struct stage_ctx *ctx)
{
	long left;
	int fd;

	need_group("luo-swapped", "max");
	fd = need_fd(in_group(make_file, 0, 1), "a memfd of the cgroup");
	left = page_out(fd, SIZE);
	need_eq(mostly_out(left, SIZE), true,
		"swapped out: %ld pages are in memory", left);
	need_eq(group_limit(&group, SIZE / 2), 0, "memory.max");
	expect_err(in_group(preserve, ctx->out, fd), -ENOMEM,
		   "preserve_fd in the cgroup");
	expect_err(luo_preserve(ctx->out, fd, 1), -ENOMEM,
		   "the same from outside");

	/*
	 * The failed calls changed nothing: no page is pinned, and the file is
	 * not frozen.
	 */
	left = page_out(fd, SIZE);
	expect_eq(mostly_out(left, SIZE), true,
		  "swapped out again: %ld pages are in memory", left);
	expect_eq(luo_truncate(fd, SIZE + LUO_PAGE), 0, "grow the file");
	expect_eq(luo_truncate(fd, SIZE), 0, "shrink the file");
	expect_no_files(ctx->out);

	need_eq(group_unlimit(&group), 0, "memory.max");
	need_eq(in_group(preserve, ctx->out, fd), 0,
		"preserve_fd without a limit");
	stage_save_pfns("swapped", fd);
	expect_pattern(fd, 0, SIZE, 1, "content");
	close(fd);
}

static void swapped_after(struct stage_ctx *ctx)
{
	int fd = need_fd(luo_retrieve_fd(ctx->in, 1), "retrieve_fd");

	stage_same_pfns("swapped", fd);
	expect_pattern(fd, 0, SIZE, 1, "content");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
}

/* Nothing can be charged: create_session fails and leaves nothing. */

static int create(int dev, __u64 unused)
{
	return luo_create(dev, "memcg-created");
}

static void none_before(struct stage_ctx *ctx)
{
	int out = need_fd(luo_create(ctx->dev, "memcg-none"), "create_session");
	int fd = need_fd(luo_memfd(0, SMALL, 1), "a memfd"), session;

	need_group("luo-none", "0");
	need_eq(group_set(&group, "memory.max", "0"), 0, "memory.max");
	expect_err(in_full_group(create, ctx->dev, 0), -ENOMEM,
		   "create_session in the cgroup");
	session = need_fd(luo_create(ctx->dev, "memcg-created"),
			  "the same from outside");
	close(session);
	/*
	 * The pages of the file are charged elsewhere, but the folio array
	 * needs some too.
	 */
	expect_err(in_full_group(preserve, out, fd), -ENOMEM,
		   "preserve_fd in the cgroup");
	expect_no_files(out);
	expect_eq(luo_truncate(fd, SMALL), 0, "the size can still be set");
	need_eq(group_unlimit(&group), 0, "memory.max");
	session = need_fd(in_group(create, ctx->dev, 0),
			  "create_session without a limit");
	close(session);
	need_eq(in_group(preserve, out, fd), 0, "preserve_fd without a limit");
	close(fd);
}

static int retrieve_session(int dev, __u64 unused)
{
	return luo_retrieve(dev, "memcg-none");
}

static void none_after(struct stage_ctx *ctx)
{
	need_group("luo-none", "0");
	need_eq(group_set(&group, "memory.max", "0"), 0, "memory.max");
	expect_err(in_full_group(retrieve_session, ctx->dev, 0), -ENOMEM,
		   "retrieve_session in the cgroup");
	ctx->in = need_fd(luo_retrieve(ctx->dev, "memcg-none"),
			  "the same from outside");
	take(ctx->in, 1, SMALL);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	drop_group();
}

/* A file that does not fit into the cgroup is lost; no other file is. */

static void left_before(struct stage_ctx *ctx)
{
	close(put(ctx->out, 1, SIZE));
	close(put(ctx->out, 2, SMALL));
	close(put(ctx->out, 3, SIZE));
	close(put(ctx->out, 4, SMALL));
}

static int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void refused_after(struct stage_ctx *ctx)
{
	long before = stage_free_pages();
	int fds, fd;

	need_group("luo-refused", "0");
	need_eq(group_limit(&group, SIZE / 4), 0, "memory.max");
	fds = next_fd();
	expect_err(in_group(luo_retrieve_fd, ctx->in, 1), -ENOMEM,
		   "retrieve_fd in the cgroup");
	expect_eq(next_fd(), fds, "the next fd");
	expect_freed(before, PAGES, NOISE, "the failed retrieve");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOMEM,
		   "the same from outside");
	expect_state(ctx->in, 1, "failed");
	fd = need_fd(in_group(luo_retrieve_fd, ctx->in, 2),
		     "a small one in the cgroup");
	close(fd);
	take(ctx->in, 2, SMALL);
	take(ctx->in, 3, SIZE);
	/* finish frees the last file, which was not retrieved. */
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(ctx->in);
	ctx->in = -1;
	drop_group();
}

/* With swap the file fits: its first pages are swapped out for the rest. */

static void swapping_after(struct stage_ctx *ctx)
{
	int fd;

	need_group("luo-swapping", "max");
	need_eq(group_limit(&group, SIZE / 4), 0, "memory.max");
	fd = need_fd(in_group(luo_retrieve_fd, ctx->in, 1),
		     "retrieve_fd in the cgroup");
	expect_range(group_get(&group, "memory.current"), 0,
		     SIZE / 4 + NOISE * LUO_PAGE, "bytes that are charged");
	expect_range(swap_used(), PAGES / 2, PAGES, "pages of swap in use");
	expect_pattern(fd, 0, SIZE, 1, "content");
	take(ctx->in, 3, SIZE);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_pattern(fd, 0, SIZE, 1, "content after finish");
	close(fd);
	drop_group();
}

/*
 * The same with four huge pages. Two fit into memory and one into swap. For the
 * last one, reclaim must split one and swap out a part, before the file is
 * complete.
 */

#define HUGE_PAGES (2 * MIB / LUO_PAGE)
#define HUGE_ROOM (11 * MIB / 2)
#define HUGE_SWAP "3670016" /* 7 / 2 MiB */

static void splitting_before(struct stage_ctx *ctx)
{
	int fd = need_fd(luo_memfd(0, SIZE, 1), "a memfd");

	need_eq(collapse(fd, SIZE), 0, "huge pages");
	need_eq(luo_preserve(ctx->out, fd, 1), 0, "preserve_fd");
	close(fd);
}

static void splitting_after(struct stage_ctx *ctx)
{
	int fd;

	need_group("luo-splitting", HUGE_SWAP);
	need_eq(group_limit(&group, HUGE_ROOM), 0, "memory.max");
	fd = need_fd(in_group(luo_retrieve_fd, ctx->in, 1),
		     "retrieve_fd in the cgroup");
	expect_range(swap_used(), HUGE_PAGES + 1, 2 * HUGE_PAGES - 1,
		     "pages of swap in use");
	expect_pattern(fd, 0, SIZE, 1, "content");
	expect_eq(luo_finish(ctx->in), 0, "finish");
	close(fd);
	drop_group();
}

/*
 * The OOM killer kills a task that retrieves. Other tasks still have the
 * session.
 */

static void killed_after(struct stage_ctx *ctx)
{
	long before = stage_free_pages();
	int status;
	pid_t pid;

	need_group("luo-killed", "0");
	need_eq(group_limit(&group, SIZE / 4), 0, "memory.max");
	pid = fork();
	if (!pid) {
		oom_first();
		_exit(group_enter(&group)	      ? 98 :
		      luo_retrieve_fd(ctx->in, 1) < 0 ? 1 :
							0);
	}
	need_eq(waitpid(pid, &status, 0), pid, "waitpid");
	expect_eq(WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status),
		  SIGKILL, "the signal that ended the retrieving task");
	expect_freed(before, PAGES, NOISE, "the failed retrieve");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOMEM,
		   "retrieve_fd by another task");
	expect_state(ctx->in, 1, "failed");
	expect_state(ctx->in, 2, "pending");
	take(ctx->in, 3, SIZE);
	take(ctx->in, 4, SMALL);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	drop_group();
}

/* The same while preserving. */

static void killed_before(struct stage_ctx *ctx)
{
	int fd, status;
	long left;
	pid_t pid;

	left_before(ctx);
	need_group("luo-killed", "max");
	fd = need_fd(in_group(make_file, 0, 7), "a memfd of the cgroup");
	left = page_out(fd, SIZE);
	need_eq(mostly_out(left, SIZE), true,
		"swapped out: %ld pages are in memory", left);
	need_eq(group_limit(&group, SIZE / 4), 0, "memory.max");
	pid = fork();
	if (!pid) {
		oom_first();
		_exit(group_enter(&group)	    ? 98 :
		      luo_preserve(ctx->out, fd, 7) ? 1 :
						      0);
	}
	need_eq(waitpid(pid, &status, 0), pid, "waitpid");
	expect_eq(WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status),
		  SIGKILL, "the signal that ended the preserving task");
	left = page_out(fd, SIZE);
	expect_eq(mostly_out(left, SIZE), true,
		  "swapped out again: %ld pages are in memory", left);
	need_eq(group_unlimit(&group), 0, "memory.max");
	expect_eq(luo_preserve(ctx->out, fd, 7), 0,
		  "preserve_fd by another task");
	close(fd);
}

/* Without a free fd, a call fails without effect, and can be repeated. */

static rlim_t limit_files(rlim_t count)
{
	struct rlimit limit;
	rlim_t before;

	need_eq(getrlimit(RLIMIT_NOFILE, &limit), 0, "getrlimit");
	before = limit.rlim_cur;
	limit.rlim_cur = count;
	need_eq(setrlimit(RLIMIT_NOFILE, &limit), 0, "setrlimit");
	return before;
}

static void files_before(struct stage_ctx *ctx)
{
	int session =
		need_fd(luo_create(ctx->dev, "memcg-files"), "create_session");
	rlim_t before;

	close(put(session, 1, SIZE));
	/* preserve_fd needs no new fd. */
	before = limit_files(0);
	expect_err(luo_create(ctx->dev, "memcg-files-2"), -EMFILE,
		   "create_session");
	expect_eq(luo_preserve(session, ctx->dev, 2), -ENOENT,
		  "preserve_fd of a device");
	limit_files(before);
	session = need_fd(luo_create(ctx->dev, "memcg-files-2"),
			  "create_session with a free fd");
	close(session);
}

static void files_after(struct stage_ctx *ctx)
{
	rlim_t before = limit_files(0);
	int session, i;
	long free_before;

	for (i = 0; i < 3; i++)
		expect_err(luo_retrieve(ctx->dev, "memcg-files"), -EMFILE,
			   "retrieve_session");
	limit_files(before);
	session = need_fd(luo_retrieve(ctx->dev, "memcg-files"),
			  "retrieve_session with a free fd");
	free_before = stage_free_pages();
	before = limit_files(0);
	for (i = 0; i < 3; i++)
		expect_err(luo_retrieve_fd(session, 1), -EMFILE, "retrieve_fd");
	limit_files(before);
	expect_state(session, 1, "pending");
	expect_range(stage_free_pages() - free_before, -NOISE, NOISE,
		     "pages freed");
	take(session, 1, SIZE);
	before = limit_files(0);
	expect_err(luo_retrieve_fd(session, 1), -EMFILE,
		   "retrieve_fd of a retrieved file");
	expect_eq(luo_finish(session), 0, "finish");
	limit_files(before);
	close(session);
}

/* Strict overcommit without swap: no more memory can be committed. */

static void committed_after(struct stage_ctx *ctx)
{
	long before = stage_free_pages();

	need_eq(luo_write_file("/proc/sys/vm/overcommit_kbytes", "1"), 0,
		"overcommit_kbytes");
	need_eq(luo_write_file("/proc/sys/vm/overcommit_memory", "2"), 0,
		"overcommit_memory");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOSPC, "retrieve_fd");
	need_eq(luo_write_file("/proc/sys/vm/overcommit_memory", "0"), 0,
		"overcommit_memory");
	luo_write_file("/proc/sys/vm/overcommit_ratio", "50");
	expect_freed(before, PAGES, NOISE, "the failed retrieve");
	expect_err(luo_retrieve_fd(ctx->in, 1), -ENOSPC, "retrieve_fd again");
	expect_state(ctx->in, 1, "failed");
	take(ctx->in, 2, SMALL);
	take(ctx->in, 3, SIZE);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

static const struct stage_case cases[] = {
	{ "swapon", true, { swap_on, swap_on } },
	{ "swapped", false, { swapped_before, swapped_after } },
	{ "none", true, { none_before, none_after } },
	{ "refused", false, { left_before, refused_after } },
	{ "swapping", false, { left_before, swapping_after } },
	{ "splitting", false, { splitting_before, splitting_after } },
	{ "killed", false, { killed_before, killed_after } },
	{ "files", true, { files_before, files_after } },
	{ "swapoff", true, { NULL, swap_off } },
	{ "committed", false, { left_before, committed_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_memcg",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	oom_never();
	/*
	 * Lock memory, so that no page of this program is charged to the
	 * cgroup.
	 */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	return stage_main(argc, argv, &program);
}
