// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files of a handler that another module has registered: number.ko, which this program
 * loads and unloads. In the second kernel it is loaded late, after a session was
 * retrieved.
 *
 * NUMBER_MODULE= is the path of number.ko, NUMBER_LATE= its parameters in the second
 * kernel.
 *
 * hidden: yes
 */
#include "lib/debugfs_lists.h"
#include "lib/modules.h"
#include "lib/stages.h"

#include "test_modules/number/number.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PARAMETERS "/sys/module/number/parameters/"
#define MEMFD_TOKEN 1000
#define MEMFD_SIZE (3 * LUO_PAGE + 5)

/* number.ko. */

static int load(const char *parameters)
{
	return module_load("NUMBER_MODULE", parameters ? parameters : "");
}

static void set(const char *parameter, long value)
{
	need_eq(module_set("number", parameter, value), 0, "write %ld to %s",
		value, parameter);
}

static int device_ioctl(unsigned int cmd, unsigned long arg)
{
	int fd = open(NUMBER_DEVICE, O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = ioctl(fd, cmd, arg);
	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * The log, but only what it says of some files: their numbers are @first to @last.
 * The FLB has number 0 here.
 */
static const char *log_of(unsigned long first, unsigned long last)
{
	static char log[4096], found[4096];
	char *word, *next = log;
	unsigned long file;
	ssize_t len = -1;
	int fd;

	fd = open(PARAMETERS "log", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, log, sizeof(log) - 1);
		close(fd);
	}
	need_eq(len < 0, 0, "reading the log failed");
	log[len] = '\0';
	found[0] = '\0';
	while ((word = strsep(&next, "\n "))) {
		char *colon = strchr(word, ':');

		if (!colon)
			continue;
		file = strtoul(colon + 1, NULL, 10);
		if (!strncmp(word, "flb_", 4))
			file = 0;
		if (file < first || file > last)
			continue;
		if (*found)
			strcat(found, " ");
		strcat(found, word);
	}
	return found;
}

static void clear_log(void)
{
	set("log", 0);
}

static void expect_log(unsigned long first, unsigned long last,
		       const char *expected)
{
	const char *seen = log_of(first, last);

	if (!expect_eq(!strcmp(seen, expected), true,
		       "the log is the expected one")) {
		stage_note("expected: %s", expected);
		stage_note("seen: %s", seen);
	}
}

/* Files with numbers. */

static int need_number(__u64 value)
{
	return need_fd(device_ioctl(NUMBER_CREATE, value), "a number");
}

static void set_number(int fd, __u64 value)
{
	need_eq(write(fd, &value, sizeof(value)), sizeof(value),
		"write %llu to a number", (unsigned long long)value);
}

static void expect_number(int fd, __u64 expected)
{
	__u64 seen = 0;

	expect_eq(read(fd, &seen, sizeof(seen)), sizeof(seen), "read a number");
	expect_eq(seen, expected, "the number");
}

/* Preserves files with ascending numbers, and leaves the fds open in @fds. */
static void preserve_numbers(int session, const __u64 *tokens, int count,
			     __u64 first, int *fds)
{
	int i;

	for (i = 0; i < count; i++) {
		fds[i] = need_number(first + i);
		need_preserve(session, fds[i], tokens[i]);
	}
}

static void preserve_memfd(int session)
{
	int fd = need_memfd(0, MEMFD_SIZE, MEMFD_TOKEN);

	need_preserve(session, fd, MEMFD_TOKEN);
	close(fd);
}

static void expect_memfd(int session)
{
	int fd = need_retrieve(session, MEMFD_TOKEN);

	expect_pattern(fd, 0, MEMFD_SIZE, MEMFD_TOKEN, "content of the memfd");
	close(fd);
}

/* Handlers that are refused, and one that is not. ENOTUNIQ stands for EEXIST. */

static const struct {
	const char *parameters;
	int err;
} refusals[] = {
	{ "wrong=name", -EINVAL },
	{ "wrong=end", -EINVAL },
	{ "wrong=ops", -EINVAL },
	{ "wrong=owner", -EINVAL },
	{ "wrong=can_preserve", -EINVAL },
	{ "wrong=preserve", -EINVAL },
	{ "wrong=unpreserve", -EINVAL },
	{ "wrong=retrieve", -EINVAL },
	{ "wrong=finish", -EINVAL },
	{ "wrong=flb", -EINVAL },
	{ "wrong=memfd", -ENOTUNIQ },
	{ "wrong=twice", -ENOTUNIQ },
};

/* Expects that debugfs shows this of the FLB. */
static void expect_flb(const char *shown)
{
	char line[80];

	snprintf(line, sizeof(line), "number-flb-v1 %s", shown);
	if (!expect_eq(luo_count_line(list_text(LIST_FLBS), line), 1,
		       "lines \"%s\" in debugfs", line))
		stage_note("%s", list_text(LIST_FLBS));
}

static void register_first(struct stage_ctx *ctx)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(refusals); i++)
		expect_err(load(refusals[i].parameters), refusals[i].err,
			   "load with %s", refusals[i].parameters);
	for (i = 0; i < 3; i++) {
		need_eq(load(NULL), 0, "load");
		need_eq(module_unload("number"), 0, "unload");
	}
	need_eq(load(NULL), 0, "load");
	expect_err(module_unload("liveupdate"), -EWOULDBLOCK,
		   "unload liveupdate while number uses it");
}

/* The order in which callbacks are called, and errors of preserve. */

static void order_first(struct stage_ctx *ctx)
{
	static const __u64 tokens[] = { 3, 1, 2 };
	int session, fds[3], other, i;

	clear_log();
	session = need_fd(luo_create(ctx->dev, "order"), "create_session");
	expect_err(device_ioctl(NUMBER_GET_OUTGOING, 0), -ENOENT,
		   "get_outgoing before anything is preserved");
	expect_err(device_ioctl(NUMBER_GET_INCOMING, 0), -ENODATA,
		   "get_incoming in the first kernel");

	/* The FLB is preserved first. If that fails, the file is not asked. */
	other = need_number(4);
	set("flb_preserve_returns", -ENOSPC);
	expect_err(luo_preserve(session, other, 4), -ENOSPC,
		   "preserve_fd, error of the FLB");
	set("flb_preserve_returns", 7);
	expect_err(luo_preserve(session, other, 4), -EIO,
		   "preserve_fd, nonsense of the FLB");
	set("flb_preserve_returns", 0);
	expect_log(0, 9, "flb_preserve:0 flb_preserve:0");

	/* If the file fails, the FLB is given back. */
	clear_log();
	set("preserve_returns", -EXFULL);
	expect_err(luo_preserve(session, other, 4), -EXFULL,
		   "preserve_fd, error of the handler");
	expect_log(0, 9, "flb_preserve:0 preserve:4 flb_unpreserve:0");
	set("preserve_returns", 1);
	expect_err(luo_preserve(session, other, 4), -EIO,
		   "preserve_fd, nonsense of the handler");
	set("preserve_returns", -4096);
	expect_err(luo_preserve(session, other, 4), -EIO,
		   "preserve_fd, no errno from the handler");
	preserve_memfd(session);
	set("preserve_returns", 0);

	clear_log();
	preserve_numbers(session, tokens, 3, 1, fds);
	expect_err(luo_preserve(session, fds[0], 4), -EBUSY,
		   "preserve_fd of a preserved file");
	expect_err(device_ioctl(NUMBER_GET_OUTGOING, 0), 0, "get_outgoing");
	for (i = 0; i < 3; i++)
		close(fds[i]);
	close(other);
	expect_err(module_unload("number"), -EWOULDBLOCK,
		   "unload while files are preserved");
	expect_flb("outgoing preserved 3 1 number");
	close(session);
	expect_flb("outgoing preserved 0 1 number");
	expect_log(0, 9,
		   "flb_preserve:0 preserve:1 preserve:2 preserve:3 unpreserve:3 unpreserve:2 unpreserve:1");
	expect_err(module_unload("number"), -EWOULDBLOCK,
		   "unload while the FLB is preserved");
	clear_log();
	expect_eq(device_ioctl(NUMBER_PUT_OUTGOING, 0), 0, "put_outgoing");
	expect_log(0, 9, "flb_unpreserve:0");
	expect_flb("outgoing unused 0 0 number");
	need_eq(module_unload("number"), 0, "unload");
	need_eq(load(NULL), 0, "load");
}

/* A module that is loaded late. */

static const __u64 late_tokens[] = { 30, 10, 20 };

static void late_first(struct stage_ctx *ctx)
{
	int fds[3], i;

	preserve_numbers(ctx->out, late_tokens, 3, 11, fds);
	preserve_memfd(ctx->out);
	for (i = 0; i < 3; i++) {
		set_number(fds[i], 100 + i);
		close(fds[i]);
	}
}

static void late_second(struct stage_ctx *ctx)
{
	int i, fd, again;

	for (i = 0; i < 6; i++)
		expect_err(luo_retrieve_fd(ctx->in, late_tokens[i % 3]),
			   -EOPNOTSUPP, "retrieve_fd without the module");
	expect_memfd(ctx->in);
	expect_eq(list_count(list_text(LIST_HANDLERS), NUMBER_HANDLER), 0,
		  "handlers of the module in debugfs");
	expect_eq(list_count(list_text(LIST_FLBS),
			     "number-flb-v1 incoming pending"),
		  1, "the FLB without its module in debugfs");
	need_eq(load(getenv("NUMBER_LATE")), 0, "load");
	expect_eq(list_count(list_text(LIST_HANDLERS), NUMBER_HANDLER " number"),
		  1, "handlers of the module in debugfs");
	need_eq(module_unload("number"), 0, "unload, nothing was retrieved");
	expect_err(luo_retrieve_fd(ctx->in, late_tokens[0]), -EOPNOTSUPP,
		   "retrieve_fd without the module again");
	need_eq(load(getenv("NUMBER_LATE")), 0, "load");

	for (i = 2; i >= 0; i--) {
		fd = need_retrieve(ctx->in, late_tokens[i]);
		expect_number(fd, 100 + i);
		again = need_retrieve(ctx->in, late_tokens[i]);
		set_number(again, 200 + i);
		expect_number(fd, 200 + i);
		close(fd);
		close(again);
	}
	expect_err(module_unload("number"), -EWOULDBLOCK,
		   "unload while files are not finished");
	expect_log(11, 13, "retrieve:13 retrieve:12 retrieve:11");
	clear_log();
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_log(11, 13, "finish:13 finish:12 finish:11");
}

/* Retrieve misbehaves. */

enum { FAILS, NULL_FILE, ERR_FILE, POSITIVE, NO_ERRNO, PENDING, GOOD, FILES };

static void broken_first(struct stage_ctx *ctx)
{
	int i, fd;

	for (i = 0; i < FILES; i++) {
		fd = need_number(21 + i);
		need_preserve(ctx->out, fd, i);
		close(fd);
		if (i == POSITIVE)
			preserve_memfd(ctx->out);
	}
}

static void expect_final(int session, __u64 token, const char *parameter,
			 int value, int err)
{
	set(parameter, value);
	expect_err(luo_retrieve_fd(session, token), err,
		   "retrieve_fd with %s=%d", parameter, value);
	set(parameter, 0);
	expect_err(luo_retrieve_fd(session, token), err,
		   "retrieve_fd after %s=%d", parameter, value);
}

static void broken_second(struct stage_ctx *ctx)
{
	int fd;

	clear_log();
	expect_final(ctx->in, FAILS, "retrieve_returns", -ENOMEM, -ENOMEM);
	expect_err(module_unload("number"), -EWOULDBLOCK,
		   "unload after a file could not be retrieved");
	expect_final(ctx->in, NULL_FILE, "retrieve_file", 1, -EIO);
	expect_final(ctx->in, ERR_FILE, "retrieve_file", 2, -EIO);
	expect_final(ctx->in, POSITIVE, "retrieve_returns", 1, -EIO);
	expect_final(ctx->in, NO_ERRNO, "retrieve_returns", -4096, -EIO);
	expect_memfd(ctx->in);
	fd = need_retrieve(ctx->in, GOOD);
	expect_number(fd, 21 + GOOD);
	expect_log(21, 29,
		   "retrieve:21 retrieve:22 retrieve:23 retrieve:24 retrieve:25 retrieve:27");
	clear_log();
	set("cannot_finish", 1);
	expect_err(luo_finish(ctx->in), -EBUSY, "finish, can_finish says no");
	expect_log(21, 29, "");
	expect_memfd(ctx->in);
	set("cannot_finish", 0);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_log(21, 29,
		   "finish:27 finish_pending:26 finish_failed:25 finish_failed:24 finish_failed:23 finish_failed:22 finish_failed:21");
	expect_number(fd, 21 + GOOD);
	close(fd);
}

/* A session that is closed, but cannot be finished, can be retrieved again. */

static void closed_first(struct stage_ctx *ctx)
{
	int fd = need_number(31);

	need_preserve(ctx->out, fd, 1);
	set_number(fd, 3131);
	close(fd);
}

static void closed_second(struct stage_ctx *ctx)
{
	int fd;

	clear_log();
	set("cannot_finish", 1);
	close(ctx->in);
	ctx->in = -1;
	set("cannot_finish", 0);
	expect_log(31, 31, "");
	ctx->in = need_fd(luo_retrieve(ctx->dev, "kexec_handler.closed"),
			  "retrieve_session again");
	fd = need_retrieve(ctx->in, 1);
	expect_number(fd, 3131);
	close(fd);
	close(ctx->in);
	ctx->in = -1;
	expect_log(31, 31, "retrieve:31 finish:31");
}

/* A kexec that is refused. */

#define GOING_ON 1

static void *kexec_in_thread(void *arg)
{
	atomic_int *answer = arg;

	*answer = stage_try_kexec();
	return NULL;
}

static int session_state(char *state)
{
	struct list_row row = {};
	int lines = list_find(list_text(LIST_SESSIONS), "kexec_handler.refused",
			      "outgoing", &row);

	strcpy(state, row.state);
	return lines;
}

/* A reader of debugfs sees what a kexec waits for, and does not wait for it. */
static void slow_freeze(void)
{
	atomic_int answer = GOING_ON;
	char state[16] = {};
	pthread_t thread;
	int i;

	set("freeze_takes", 200);
	need_eq(pthread_create(&thread, NULL, kexec_in_thread, &answer), 0,
		"a thread");
	for (i = 0; i < 2000 && strcmp(state, "frozen"); i++) {
		expect_eq(session_state(state), 1, "lines of the session");
		if (answer != GOING_ON)
			break;
		usleep(1000);
	}
	expect_eq(strcmp(state, "frozen"), 0, "the session is seen as frozen");
	expect_eq(answer, GOING_ON, "reboot(2), while that is seen");
	pthread_join(thread, NULL);
	expect_err(answer, -EBUSY, "kexec, a file cannot be frozen");
	expect_eq(session_state(state), 1, "lines of the session");
	expect_eq(strcmp(state, "open"), 0, "the session is open again");
	set("freeze_takes", 0);
}

static void refused_first(struct stage_ctx *ctx)
{
	static const __u64 tokens[] = { 7, 9, 8 };
	int fds[3], i;

	preserve_numbers(ctx->out, tokens, 3, 41, fds);
	preserve_memfd(ctx->out);
	clear_log();
	set("freeze_refuses", 43);
	expect_err(stage_try_kexec(), -EBUSY, "kexec, a file cannot be frozen");
	expect_log(41, 43,
		   "freeze:41 freeze:42 freeze:43 unfreeze:42 unfreeze:41");
	/* What other sessions had frozen is unfrozen in the reverse order. */
	if (*log_of(11, 13))
		expect_log(11, 13,
			   "freeze:11 freeze:12 freeze:13 unfreeze:13 unfreeze:12 unfreeze:11");
	stage_expect_log("%s",
			 "kexec refused: number-v1 file 0x8 of session .*refused cannot be frozen: -16");
	slow_freeze();
	clear_log();
	set("freeze_refuses", 42);
	set("freeze_returns", 5);
	expect_err(stage_try_kexec(), -EIO, "kexec, freeze returns nonsense");
	expect_log(41, 43, "freeze:41 freeze:42 unfreeze:41");
	set("freeze_refuses", 0);
	for (i = 0; i < 3; i++) {
		expect_number(fds[i], 41 + i);
		set_number(fds[i], 400 + i);
	}
}

static void refused_second(struct stage_ctx *ctx)
{
	static const __u64 tokens[] = { 7, 9, 8 };
	int i, fd;

	clear_log();
	for (i = 0; i < 3; i++) {
		fd = need_retrieve(ctx->in, tokens[i]);
		expect_number(fd, 400 + i);
		close(fd);
	}
	expect_memfd(ctx->in);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_log(41, 43,
		   "retrieve:41 retrieve:42 retrieve:43 finish:43 finish:42 finish:41");
}

/* The FLB ends with its last file. This is the last case. */

static void flb_first(struct stage_ctx *ctx)
{
	int fd = need_number(51);

	need_preserve(ctx->out, fd, 1);
	close(fd);
}

static void flb_second(struct stage_ctx *ctx)
{
	bool unused = getenv("NUMBER_LATE");

	clear_log();
	if (!unused) {
		expect_eq(device_ioctl(NUMBER_GET_INCOMING, 0), 0,
			  "get_incoming");
		expect_log(0, 59, "");
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
	if (!unused) {
		expect_log(0, 59, "finish_pending:51");
		expect_flb("incoming retrieved 0 1 number");
		expect_err(module_unload("number"), -EWOULDBLOCK,
			   "unload while the FLB is in use");
		clear_log();
		expect_eq(device_ioctl(NUMBER_PUT_INCOMING, 0), 0,
			  "put_incoming");
		expect_log(0, 59, "flb_finish:15");
	} else {
		/* Nobody has got it. */
		expect_log(0, 59,
			   "finish_pending:51 flb_retrieve:15 flb_finish:15");
	}
	expect_err(device_ioctl(NUMBER_GET_INCOMING, 0), -ENODATA,
		   "get_incoming of an FLB that is finished");
	expect_err(module_unload("liveupdate"), -EWOULDBLOCK,
		   "unload liveupdate while number uses it");
	expect_flb("incoming finished 0 0 number");
	need_eq(module_unload("number"), 0, "unload");
}

static const struct stage_case cases[] = {
	{ "register", true, { register_first } },
	{ "order", true, { order_first } },
	{ "late", false, { late_first, late_second } },
	{ "broken", false, { broken_first, broken_second } },
	{ "closed", false, { closed_first, closed_second } },
	{ "flb", false, { flb_first } },
	{ "refused", false, { refused_first, refused_second } },
	/* The same session. */
	{ "flb", false, { NULL, flb_second } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_handler",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
