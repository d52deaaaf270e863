// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task that writes to a file holds the lock of its inode. preserve_fd waits for it,
 * and a kexec waits for preserve_fd. Killing the task that waits ends each wait, long
 * before the write ends, and nothing is lost. Killing a task that retrieves a file
 * ends that too: the file is lost, as after any other error, and nothing else is.
 *
 * needs-loaded-kernel: stage 1 calls reboot(LINUX_REBOOT_CMD_KEXEC). If that enters
 * the next kernel, stage 2 finds that stage 1 did not finish.
 *
 * memory: 3G
 * timeout: 180
 */
#include "lib/stages.h"

#include <errno.h>
#include <linux/reboot.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* One write of this size takes about a second in a guest. */
#define PARTS 768
#define SIZE (PARTS * MIB)
#define TRIES 5 /* of which one must meet the right moment */
#define TOKEN 1

struct writer {
	pthread_t thread;
	int fd;
	volatile bool done;
};

static void *write_all(void *arg)
{
	struct writer *w = arg;
	static char part[MIB];
	static struct iovec parts[PARTS];
	int i;

	for (i = 0; i < PARTS; i++)
		parts[i] = (struct iovec){ part, sizeof(part) };
	if (pwritev(w->fd, parts, PARTS, 0) != SIZE)
		perror("pwritev");
	w->done = true;
	return NULL;
}

/* A write to a new memfd that has begun. */
static void begin(struct writer *w)
{
	memset(w, 0, sizeof(*w));
	w->fd = need_fd(luo_memfd(0, 0, 1), "a memfd");
	need_eq(pthread_create(&w->thread, NULL, write_all, w), 0, "a thread");
	while (luo_size(w->fd) == 0)
		usleep(1000);
}

static void end(struct writer *w)
{
	pthread_join(w->thread, NULL);
	close(w->fd);
}

static pid_t child(int (*call)(void *arg), void *arg)
{
	pid_t pid = fork();

	if (!pid)
		_exit(call(arg) ? 1 : 0);
	need_eq(pid > 0, true, "fork");
	return pid;
}

/* Waits until the child sleeps, in a wait that only a fatal signal ends. */
static bool is_waiting(pid_t pid, const struct writer *w)
{
	char path[40], text[200];
	int i;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (i = 0; i < 10000 && !w->done; i++) {
		FILE *in = fopen(path, "re");
		const char *state;

		if (!in || !fgets(text, sizeof(text), in))
			need_eq(0, 1, "%s", path);
		fclose(in);
		state = strrchr(text, ')');
		if (state && state[2] == 'D')
			return true;
		usleep(1000);
	}
	return false;
}

/* Whether the child ended by SIGKILL while the write was going on. */
static bool dies_before_the_write_ends(pid_t pid, const struct writer *w)
{
	int status;

	kill(pid, SIGKILL);
	need_eq(waitpid(pid, &status, 0), pid, "waitpid");
	return WIFSIGNALED(status) && !w->done;
}

struct preserve {
	int session;
	int fd;
};

static int preserve(void *arg)
{
	struct preserve *p = arg;

	return luo_preserve(p->session, p->fd, TOKEN);
}

static int enter_kexec(void *arg)
{
	return syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		       LINUX_REBOOT_CMD_KEXEC, NULL);
}

static bool is_logged(pid_t pid)
{
	static char log[1 << 20];
	char line[100];
	int n = klogctl(3, log, sizeof(log) - 1);

	snprintf(line, sizeof(line),
		 "liveupdate: kexec waits for calls of other tasks: %d\n", pid);
	log[n > 0 ? n : 0] = 0;
	return strstr(log, line);
}

static bool try_preserve(int session)
{
	struct preserve p = { .session = session };
	bool killed = false;
	struct writer w;
	pid_t pid;

	begin(&w);
	p.fd = w.fd;
	pid = child(preserve, &p);
	if (is_waiting(pid, &w))
		killed = dies_before_the_write_ends(pid, &w);
	else
		kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) > 0)
		;
	if (killed) {
		/* The token is free, and the file is not frozen. */
		pthread_join(w.thread, NULL);
		need_eq(luo_truncate(w.fd, MIB), 0, "truncate the file");
		need_eq(luo_preserve(session, w.fd, TOKEN), 0, "preserve_fd");
		close(w.fd);
	} else {
		end(&w);
	}
	return killed;
}

static bool try_kexec(int dev, int nr)
{
	struct preserve p;
	bool killed = false;
	struct writer w;
	char name[20];
	pid_t pid, kexec;
	int status;

	snprintf(name, sizeof(name), "waits-%d", nr);
	p.session = need_fd(luo_create(dev, name), "create_session");
	begin(&w);
	p.fd = w.fd;
	pid = child(preserve, &p);
	if (is_waiting(pid, &w)) {
		kexec = child(enter_kexec, NULL);
		if (is_waiting(kexec, &w))
			killed = dies_before_the_write_ends(kexec, &w);
		else
			kill(kexec, SIGKILL);
		while (waitpid(kexec, NULL, 0) > 0)
			;
		if (killed)
			expect_eq(is_logged(pid), true,
				  "whether the log names task %d", pid);
	}
	/* The call that the kexec waited for succeeds in the end. */
	need_eq(waitpid(pid, &status, 0), pid, "waitpid");
	expect_eq(status, 0, "status of the task that preserved the file");
	close(p.session);
	end(&w);
	return killed;
}

static void prepare(struct stage_ctx *ctx)
{
	int session, i;
	char done = 0;

	stage_save("done", &done, 1);
	session = need_fd(luo_create(ctx->dev, "killed"), "create_session");
	for (i = 0; i < TRIES && !try_preserve(session); i++)
		;
	expect_eq(i < TRIES, true, "whether preserve_fd ended when its task was killed");
	for (i = 0; i < TRIES && !try_kexec(ctx->dev, i); i++)
		;
	expect_eq(i < TRIES, true, "whether the kexec ended when its task was killed");
	done = 1;
	stage_save("done", &done, 1);
}

static void verify(struct stage_ctx *ctx)
{
	int session, fd;
	char done;

	stage_load("done", &done, 1);
	need_eq(done, 1, "stage 1 reached its end");
	session = need_fd(luo_retrieve(ctx->dev, "killed"), "retrieve_session");
	fd = need_fd(luo_retrieve_fd(session, TOKEN), "retrieve_fd");
	expect_eq(luo_size(fd), MIB, "size");
	expect_eq(luo_finish(session), 0, "finish");
	close(fd);
	close(session);
}

/*
 * Kills a task in the middle of retrieve_fd. A task that is killed too late has
 * retrieved the file, so there are several.
 */

#define LARGE (192 * MIB)
#define PAGES (LARGE / LUO_PAGE)
#define NOISE 512 /* in pages */
#define SMALL_TOKEN 100

static void retrieve_before(struct stage_ctx *ctx)
{
	int i;

	for (i = 0; i < TRIES; i++) {
		int fd = need_memfd(0, LARGE, i);

		need_preserve(ctx->out, fd, i);
		close(fd);
	}
	i = need_memfd(0, MIB, SMALL_TOKEN);
	need_preserve(ctx->out, i, SMALL_TOKEN);
	close(i);
}

struct retrieve {
	int session;
	__u64 token;
};

static int retrieve(void *arg)
{
	struct retrieve *r = arg;

	return luo_retrieve_fd(r->session, r->token) < 0;
}

/* Whether fdinfo shows the file in this state. */
static bool has_state(int session, __u64 token, const char *state)
{
	char text[4096];

	need_eq(luo_fdinfo(session, text, sizeof(text)), 0, "fdinfo");
	return luo_count_line(text, luo_file_line(token, LUO_MEMFD, state));
}

/*
 * Whether the task was killed before it had retrieved the file. It is killed when a
 * part of the file is in the page cache.
 */
static bool try_retrieve(int session, __u64 token)
{
	struct retrieve r = { session, token };
	long before = luo_meminfo("Shmem");
	pid_t pid = child(retrieve, &r);
	int status;

	while (luo_meminfo("Shmem") < before + PAGES / 16 &&
	       has_state(session, token, "pending"))
		;
	kill(pid, SIGKILL);
	need_eq(waitpid(pid, &status, 0), pid, "waitpid");
	return has_state(session, token, "failed");
}

static void retrieve_after(struct stage_ctx *ctx)
{
	long before, shmem = luo_meminfo("Shmem");
	int i, fd;

	for (i = 0; i < TRIES; i++) {
		before = stage_free_pages();
		if (try_retrieve(ctx->in, i))
			break;
		stage_note("file %d was retrieved before the task was killed",
			   i);
	}
	need_eq(i < TRIES, true,
		"whether retrieve_fd ended when its task was killed");
	expect_freed(before, PAGES, NOISE, "the retrieve that was killed");
	expect_range(luo_meminfo("Shmem"), shmem + i * PAGES - 64,
		     shmem + i * PAGES + 64, "pages of Shmem");
	expect_err(luo_retrieve_fd(ctx->in, i), -EINTR, "retrieve_fd again");
	expect_err(luo_retrieve_fd(ctx->in, i), -EINTR, "and again");

	/* The other files are not affected. */
	fd = need_retrieve(ctx->in, SMALL_TOKEN);
	expect_pattern(fd, 0, MIB, SMALL_TOKEN, "a small file");
	close(fd);
	if (++i < TRIES) {
		fd = need_retrieve(ctx->in, i);
		expect_pattern(fd, 0, LARGE, i, "the next large file");
		close(fd);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

static const struct stage_case cases[] = {
	{ "killed", true, { prepare, verify } },
	{ "retrieve", false, { retrieve_before, retrieve_after } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_killed",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
