// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs tests in stages; see stages.h: the daemon that outlives a stage, the
 * sessions of a case, and its expectations.
 */
#include "stages.h"
#include "frames.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum outcome { PASSED, FAILED, SKIPPED };

/* The case that is running. */
static struct {
	const struct stage_program *program;
	int stages;
	const struct stage_case *c;
	enum outcome outcome;
	char why[200];
	jmp_buf end;
} now;

static void end_case(void)
{
	longjmp(now.end, 1);
}

static const char *errno_name(long long value, char *buf, size_t size)
{
	if (value < 0 && value > -4096)
		snprintf(buf, size, "%lld (%s)", value, strerror(-value));
	else
		snprintf(buf, size, "%lld", value);
	return buf;
}

static void fail(const char *expected, const char *seen, const char *what,
		 va_list ap)
{
	char text[200];

	vsnprintf(text, sizeof(text), what, ap);
	ksft_print_msg("%s: %s: expected %s, seen %s\n", now.c->name, text,
		       expected, seen);
	now.outcome = FAILED;
}

static bool check_eq(long long seen, long long expected, bool as_errno,
		     const char *what, va_list ap)
{
	char a[80], b[80];

	if (seen == expected)
		return true;
	errno_name(expected, a, sizeof(a));
	errno_name(seen, b, sizeof(b));
	if (as_errno && seen >= 0)
		snprintf(b, sizeof(b), "%lld (success)", seen);
	fail(a, b, what, ap);
	return false;
}

bool expect_eq(long long seen, long long expected, const char *what, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, what);
	ok = check_eq(seen, expected, false, what, ap);
	va_end(ap);
	return ok;
}

void need_eq(long long seen, long long expected, const char *what, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, what);
	ok = check_eq(seen, expected, false, what, ap);
	va_end(ap);
	if (!ok)
		end_case();
}

bool expect_err(long long seen, int expected, const char *what, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, what);
	ok = check_eq(seen, expected, true, what, ap);
	va_end(ap);
	return ok;
}

bool expect_range(long long seen, long long low, long long high,
		  const char *what, ...)
{
	char a[80], b[80];
	va_list ap;

	if (seen >= low && seen <= high)
		return true;
	snprintf(a, sizeof(a), "%lld to %lld", low, high);
	va_start(ap, what);
	fail(a, errno_name(seen, b, sizeof(b)), what, ap);
	va_end(ap);
	return false;
}

int need_fd(int seen, const char *what, ...)
{
	char b[80];
	va_list ap;

	if (seen >= 0)
		return seen;
	va_start(ap, what);
	fail("an fd", errno_name(seen, b, sizeof(b)), what, ap);
	va_end(ap);
	end_case();
	return -1;
}

int need_memfd(unsigned int flags, size_t size, __u64 seed)
{
	return need_fd(luo_memfd(flags, size, seed), "a memfd of %zu bytes",
		       size);
}

void need_preserve(int session, int fd, __u64 token)
{
	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %#llx",
		(unsigned long long)token);
}

int need_retrieve(int session, __u64 token)
{
	return need_fd(luo_retrieve_fd(session, token),
		       "retrieve_fd, token %#llx", (unsigned long long)token);
}

static bool content(long at, const char *kind, const char *what)
{
	if (at == LUO_SAME)
		return true;
	if (at < 0)
		ksft_print_msg("%s: %s: expected %s, seen error %ld (%s)\n",
			       now.c->name, what, kind, at, strerror(-at));
	else
		ksft_print_msg("%s: %s: expected %s, differs at %ld\n",
			       now.c->name, what, kind, at);
	now.outcome = FAILED;
	return false;
}

bool expect_pattern(int fd, off_t off, size_t len, __u64 seed, const char *what)
{
	return content(luo_check(fd, off, len, seed), "the seeded bytes", what);
}

bool expect_zero(int fd, off_t off, size_t len, const char *what)
{
	return content(luo_check_zero(fd, off, len), "zeroes", what);
}

long stage_free_pages(void)
{
	luo_settle();
	return luo_free_pages();
}

/* Some memory is freed late. */
void expect_freed(long before, long pages, long noise, const char *what)
{
	long freed = 0;
	int tries;

	for (tries = 0; tries < 10; tries++) {
		freed = stage_free_pages() - before;
		if (freed >= pages - noise)
			break;
		usleep(200000);
	}
	expect_range(freed, pages - noise, pages + noise, "pages freed by %s",
		     what);
}

int stage_try_kexec(void)
{
	sync();
	if (!syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		     LINUX_REBOOT_CMD_KEXEC, NULL))
		return 0;
	return -errno;
}

void stage_note(const char *what, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	ksft_print_msg("%s: %s\n", now.c ? now.c->name : now.program->name,
		       text);
}

void stage_expect_log(const char *pattern, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, pattern);
	vsnprintf(text, sizeof(text), pattern, ap);
	va_end(ap);
	ksft_print_msg("the kernel log must match: %s\n", text);
}

static void state_path(char *path, size_t size, const char *tag)
{
	const char *dir = getenv("LUO_STATE_DIR");

	snprintf(path, size, "%s/%s.%s.%s", dir ? dir : "/host",
		 now.program->name, now.c->name, tag);
}

void stage_save(const char *tag, const void *data, size_t len)
{
	char path[300];
	ssize_t n = -1;
	int fd;

	state_path(path, sizeof(path), tag);
	fd = need_fd(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
		     "a file to keep state across the kexec: %s (errno %d)",
		     path, errno);
	while (len && (n = write(fd, data, len)) > 0) {
		data = (const char *)data + n;
		len -= n;
	}
	fsync(fd);
	close(fd);
	need_eq(len, 0, "bytes left to write to %s (errno %d)", path, errno);
}

void stage_load(const char *tag, void *data, size_t len)
{
	char path[300];
	ssize_t n;
	int fd;

	state_path(path, sizeof(path), tag);
	fd = need_fd(open(path, O_RDONLY | O_CLOEXEC),
		     "state of the previous stage: %s", path);
	while (len && (n = read(fd, data, len)) > 0) {
		data = (char *)data + n;
		len -= n;
	}
	close(fd);
	need_eq(len, 0, "bytes missing in %s", path);
}

void stage_skip(const char *why, ...)
{
	va_list ap;

	va_start(ap, why);
	vsnprintf(now.why, sizeof(now.why), why, ap);
	va_end(ap);
	stage_save("skipped", now.why, sizeof(now.why));
	now.outcome = SKIPPED;
	end_case();
}

static __u64 *pfns_of(int fd, size_t *pages)
{
	off_t size = luo_size(fd);
	__u64 *pfns;

	need_eq(size < 0 ? size : 0, 0, "fstat for the size");
	*pages = (size + LUO_PAGE - 1) / LUO_PAGE;
	pfns = calloc(*pages ?: 1, sizeof(*pfns));
	need_eq(!pfns, 0, "no memory for the frame numbers");
	need_eq(luo_pfns(fd, *pages, pfns), 0,
		"frame numbers from /proc/self/pagemap");
	return pfns;
}

void stage_save_pfns(const char *tag, int fd)
{
	char name[64];
	size_t pages;
	__u64 *pfns = pfns_of(fd, &pages);

	snprintf(name, sizeof(name), "%s.pfn", tag);
	stage_save(name, pfns, pages * sizeof(*pfns));
	free(pfns);
}

void stage_same_pfns(const char *tag, int fd)
{
	char name[64];
	size_t i, pages, moved = 0, first = 0;
	__u64 *pfns = pfns_of(fd, &pages);
	__u64 *kept = calloc(pages, sizeof(*kept));

	need_eq(!kept, 0, "no memory for the frame numbers");
	snprintf(name, sizeof(name), "%s.pfn", tag);
	stage_load(name, kept, pages * sizeof(*kept));
	for (i = 0; i < pages; i++) {
		/* A page that was a hole then may have been written since. */
		if (kept[i] && pfns[i] != kept[i] && !moved++)
			first = i;
	}
	if (moved)
		expect_eq(pfns[first], kept[first],
			  "frame of page %zu of %s (%zu of %zu differ)", first,
			  tag, moved, pages);
	free(pfns);
	free(kept);
}

static bool was_skipped(void)
{
	char path[300];

	state_path(path, sizeof(path), "skipped");
	if (access(path, F_OK))
		return false;
	stage_load("skipped", now.why, sizeof(now.why));
	now.outcome = SKIPPED;
	return true;
}

static void clear_skipped(void)
{
	char path[300];

	state_path(path, sizeof(path), "skipped");
	unlink(path);
}

/*
 * A scenario lists cases that it cannot run in LUO_LEAVE_OUT, and the reason in
 * LUO_LEAVE_OUT_WHY.
 */
static void leave_out(const char *name)
{
	const char *cases = getenv("LUO_LEAVE_OUT"),
		   *why = getenv("LUO_LEAVE_OUT_WHY");
	size_t len = strlen(name);
	const char *at;

	for (at = cases ? strstr(cases, name) : NULL; at;
	     at = strstr(at + len, name)) {
		if ((at == cases || at[-1] == ' ') &&
		    (!at[len] || at[len] == ' '))
			stage_skip("%s",
				   why ? why :
					 "the scenario leaves this case out");
	}
}

static void run_case(struct stage_ctx *ctx)
{
	const struct stage_case *c = now.c;
	bool last = ctx->stage == ctx->stages;
	stage_fn run = c->run[now.program->any_stages ? 0 : ctx->stage - 1];
	char name[LUO_NAME_MAX];

	now.outcome = PASSED;
	ctx->in = -1;
	ctx->out = -1;
	if (setjmp(now.end))
		goto out;
	if (ctx->stage == 1)
		clear_skipped();
	else if (was_skipped())
		goto out;
	if (ctx->stage == 1)
		leave_out(c->name);
	if (!run)
		goto out;
	snprintf(name, sizeof(name), "%s.%s", now.program->name, c->name);
	if (!c->own_sessions) {
		if (ctx->stage > 1)
			ctx->in = need_fd(luo_retrieve(ctx->dev, name),
					  "retrieve_session \"%s\"", name);
		if (!last)
			ctx->out = need_fd(luo_create(ctx->dev, name),
					   "create_session \"%s\"", name);
	}
	run(ctx);
out:
	if (ctx->in >= 0)
		close(ctx->in);
}

/* Returns the number of failed cases. */
static int run_stage(int stage)
{
	const struct stage_program *program = now.program;
	struct stage_ctx ctx = { .stage = stage, .stages = now.stages };
	const struct stage_case *c;
	unsigned int count = 0;

	for (c = program->cases; c->name; c++)
		count++;
	ksft_print_header();
	ksft_print_msg("%s: stage %d of %d\n", program->name, stage,
		       now.stages);
	ksft_set_plan(count);
	ctx.dev = program->no_device ? -1 : luo_open();
	if (ctx.dev < 0 && !program->no_device)
		ksft_print_msg("open %s: expected an fd, seen %d (%s)\n",
			       LUO_DEVICE, ctx.dev, strerror(-ctx.dev));
	for (c = program->cases; c->name; c++) {
		now.c = c;
		if (ctx.dev < 0 && !program->no_device)
			now.outcome = FAILED;
		else
			run_case(&ctx);
		if (now.outcome == SKIPPED)
			ksft_test_result_skip("%s.%s stage %d: %s\n",
					      program->name, c->name, stage,
					      now.why);
		else
			ksft_test_result(now.outcome == PASSED,
					 "%s.%s stage %d\n", program->name,
					 c->name, stage);
		fflush(stdout);
	}
	now.c = NULL;
	/* As real clients do: close the device, keep the sessions. */
	if (ctx.dev >= 0)
		close(ctx.dev);
	ksft_print_cnts();
	fflush(stdout);
	return ksft_get_fail_cnt();
}

/* The parent waits until the daemon has preserved everything. */
static int wait_for_daemon(int pipe_fd)
{
	char failed = 1;

	if (read(pipe_fd, &failed, 1) != 1) {
		printf("Bail out! the daemon ended before everything was preserved\n");
		return KSFT_FAIL;
	}
	return failed ? KSFT_FAIL : KSFT_PASS;
}

static void become_daemon(int stage, int pipe_fd)
{
	char failed;
	int null;

	setsid();
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	failed = !!run_stage(stage);
	if (chdir("/"))
		failed = 1;
	null = open("/dev/null", O_RDWR);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	if (write(pipe_fd, &failed, 1) != 1)
		_exit(KSFT_FAIL);
	close(pipe_fd);
	/* Without a device there are no sessions to hold. */
	if (failed && access(LUO_DEVICE, F_OK))
		_exit(KSFT_FAIL);
	for (;;)
		pause();
}

int stage_main(int argc, char **argv, const struct stage_program *program)
{
	int stage = argc == 2 ? atoi(argv[1]) : 0;
	const struct stage_case *c;
	int fds[2];
	pid_t pid;

	now.program = program;
	now.stages = program->stages;
	if (program->any_stages && getenv("STAGES"))
		now.stages = atoi(getenv("STAGES"));
	if (argc == 2 && !strcmp(argv[1], "stages")) {
		printf("%d\n", program->stages);
		return KSFT_PASS;
	}
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (c = program->cases; c->name; c++)
			printf("%s.%s\n", program->name, c->name);
		return KSFT_PASS;
	}
	if (stage < 1 || stage > now.stages) {
		fprintf(stderr, "usage: %s stages | --list | 1..%d\n", argv[0],
			now.stages);
		return KSFT_FAIL;
	}
	if (stage == now.stages)
		return run_stage(stage) ? KSFT_FAIL : KSFT_PASS;

	fflush(stdout);
	if (pipe2(fds, O_CLOEXEC)) {
		perror("pipe2");
		return KSFT_FAIL;
	}
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return KSFT_FAIL;
	}
	if (!pid) {
		close(fds[0]);
		become_daemon(stage, fds[1]);
	}
	close(fds[1]);
	return wait_for_daemon(fds[0]);
}
