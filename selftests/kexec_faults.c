// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection into the calls that need a kexec: serializing in reboot(2), the
 * first open in the next kernel, and the ioctls of incoming sessions. Every failure
 * point of each call fails once; see lib/faults.h.
 *
 * needs-loaded-kernel: stage 1 calls reboot(LINUX_REBOOT_CMD_KEXEC).
 *
 * number.ko is loaded in both kernels: its files have a handler of another module.
 *
 * The kexec itself must not happen while faults are injected. So the last file that
 * is frozen refuses: an open /dev/full, which the test build of the module preserves.
 * reboot(2) returns EBUSY if everything before that file has succeeded.
 *
 * hidden: yes
 */
#include "lib/faults.h"
#include "lib/stages.h"

#include "test_modules/number/number.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE_PAGE (2 * MIB)
#define THP_CONTROL "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define SPARSE_PAGES 4096
/* More than two pages of the folio array can list. */
#define LATE 700
#define SESSIONS 40
#define FINISHED 8
#define SENTINEL 0xfedcba9876543210ULL
/*
 * The log names the session whose file refuses the kexec: it must escape the
 * name.
 */
#define FORGER "zzz\n<0>[    0.000000] \x1b[2Jliveupdate: forged %s%n"

/*
 * Kinds of file that are retrieved. @supply is more than retrieving one has
 * failure points: each attempt needs a new file.
 */
static const struct kind {
	const char *what;
	size_t size;
	bool huge;
	bool sparse;
	int supply;
	bool number;
} kinds[] = {
	{ "retrieve_fd, empty", 0, false, false, 60 },
	{ "retrieve_fd, one page", 100, false, false, 60 },
	{ "retrieve_fd, 200 pages", 200 * LUO_PAGE, false, false, 90 },
	{ "retrieve_fd, sparse", 4 * MIB, false, true, 90 },
	{ "retrieve_fd, large folio", HUGE_PAGE, true, false, 60 },
	{ "retrieve_fd, another module's file", 0, false, false, 60, true },
};

/* A file of number.ko. */
static int make_number(__u64 value)
{
	int device = open(NUMBER_DEVICE, O_RDWR | O_CLOEXEC);
	int fd = device < 0 ? -errno : ioctl(device, NUMBER_CREATE, value);

	close(device);
	return fd;
}

static const char *handler_of(const struct kind *kind)
{
	return kind->number ? NUMBER_HANDLER : LUO_MEMFD;
}

static __u64 token_of(size_t kind, int n)
{
	return ((__u64)kind << 16) + n;
}

static const int sparse_pages[] = { 0, 1, 9, 64, 70, 700, 1023 };

static int make_file(const struct kind *kind, __u64 seed)
{
	size_t i;
	int fd;

	if (kind->number)
		return make_number(seed);
	if (kind->huge)
		luo_write_file(THP_CONTROL, "always");
	fd = luo_memfd(0, kind->sparse ? 0 : kind->size, seed);
	if (kind->huge)
		luo_write_file(THP_CONTROL, "never");
	if (fd < 0 || !kind->sparse)
		return fd;
	if (ftruncate(fd, kind->size))
		return -errno;
	for (i = 0; i < ARRAY_SIZE(sparse_pages); i++)
		luo_fill(fd, sparse_pages[i] * LUO_PAGE, LUO_PAGE, seed);
	return fd;
}

static bool is_whole(int fd, const struct kind *kind, __u64 seed)
{
	__u64 value;
	size_t i;

	if (kind->number)
		return read(fd, &value, sizeof(value)) == sizeof(value) &&
		       value == seed;
	if (luo_size(fd) != (off_t)kind->size)
		return false;
	if (!kind->sparse)
		return luo_check(fd, 0, kind->size, seed) == LUO_SAME;
	for (i = 0; i < ARRAY_SIZE(sparse_pages); i++) {
		if (luo_check(fd, sparse_pages[i] * LUO_PAGE, LUO_PAGE, seed) !=
		    LUO_SAME)
			return false;
	}
	return luo_check_zero(fd, 100 * LUO_PAGE, LUO_PAGE) == LUO_SAME;
}

static void put(int session, int fd, __u64 token)
{
	need_fd(fd, "a memfd");
	need_eq(luo_preserve(session, fd, token), 0, "preserve_fd, token %llx",
		(unsigned long long)token);
	close(fd);
}

static int named(struct stage_ctx *ctx, bool retrieve, const char *kind, int n)
{
	char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "faults-%s-%d", kind, n);
	return retrieve ? luo_retrieve(ctx->dev, name) :
			  luo_create(ctx->dev, name);
}

static void need_faults(void)
{
	if (!faults_ready())
		stage_skip("this kernel cannot inject faults");
}

static void expect_walked(const struct faults *f)
{
	if (f->problem[0])
		expect_eq(1, 0, "%s", f->problem);
	expect_range(f->points, 1, 100000, "points of %s", f->what);
}

static int call_reboot(void *arg, int attempt)
{
	if (!syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		     LINUX_REBOOT_CMD_KEXEC, NULL))
		return 0;
	/* EBUSY: everything before the refusing file was frozen. */
	return errno == EBUSY ? 0 : -errno;
}

struct sparse {
	struct stage_ctx *ctx;
	int session;
	int fd;
	int late;
};

/* After a refused kexec everything works, and is what it was. */
static const char *check_refused(void *arg, int attempt, int answer)
{
	const struct sparse *s = arg;
	char text[4096];

	if (luo_fdinfo(s->session, text, sizeof(text)) ||
	    luo_count_line(text, luo_file_line(1, LUO_MEMFD, "preserved")) != 1)
		return "the session has lost its file";
	if (luo_preserve(s->session, s->fd, 2) != -EBUSY)
		return "the file can be preserved twice";
	if (luo_truncate(s->fd, 0) != -EPERM)
		return "the size of the file can be changed";
	if (luo_check(s->fd, 0, LUO_PAGE, 1) != LUO_SAME)
		return "the file has changed";
	return NULL;
}

/*
 * Makes a file with pages that filled holes after preserve. Freezing picks
 * these late pages up, so every attempt needs a new file.
 */
static void next_sparse(void *arg, int attempt, int answer)
{
	struct sparse *s = arg;
	int i;

	if (s->session >= 0)
		close(s->session);
	if (s->fd >= 0)
		close(s->fd);
	s->session = need_fd(luo_create(s->ctx->dev, "faults-sparse"),
			     "create_session");
	s->fd = need_fd(luo_memfd(0, LUO_PAGE, 1), "a memfd");
	need_eq(luo_truncate(s->fd, SPARSE_PAGES * LUO_PAGE), 0, "ftruncate");
	need_eq(luo_preserve(s->session, s->fd, 1), 0, "preserve_fd");
	for (i = 0; i < s->late; i++)
		need_eq(luo_fill(s->fd, (3 + 5 * i) * LUO_PAGE, LUO_PAGE, 2), 0,
			"write into a hole");
}

static bool is_escaped(const char *line)
{
	return strstr(line, "kexec refused") && strstr(line, "zzz\\n<0>") &&
	       !strchr(line, 0x1b);
}

static void expect_log_not_forged(void)
{
	static char log[1 << 20];
	int len = klogctl(3, log, sizeof(log) - 1), seen = 0;
	char *line, *end;

	need_eq(len > 0, 1, "the kernel log");
	for (line = log; line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		if (!strstr(line, "forged"))
			continue;
		seen++;
		expect_eq(is_escaped(line), true, "escaped log line: %s", line);
	}
	expect_range(seen, 1, 10000, "log lines with that name");
}

static void serialize(struct stage_ctx *ctx)
{
	struct sparse s = { .ctx = ctx, .session = -1, .fd = -1, .late = 1 };
	struct faults f = {
		.what = "reboot, one page in a hole",
		.call = call_reboot,
		.check = check_refused,
		.undo = next_sparse,
		.allowed = { ENOMEM },
		.arg = &s,
	};
	int last, full;
	long pages;

	need_faults();
	/*
	 * Sessions are frozen in the order of their slots, and a new session
	 * takes the slot that was freed last. So the session of the sparse file
	 * stays before the one that refuses.
	 */
	next_sparse(&s, 0, 0);
	last = need_fd(luo_create(ctx->dev, FORGER), "create_session");
	/* With an FLB, whose entry is written first. */
	put(last, make_number(1), 2);
	full = need_fd(luo_open_full(O_RDWR | O_NONBLOCK), "/dev/full");
	need_eq(luo_preserve(last, full, 1), 0,
		"preserve /dev/full (not the test build?)");

	pages = faults_pages();
	expect_range(pages, 1, 1000, "pages allocated to be handed over");
	faults_walk(&f);
	expect_walked(&f);
	f.what = "reboot, many pages in holes";
	f.points = 0;
	f.absorbed = 0;
	s.late = LATE;
	next_sparse(&s, 0, 0);
	faults_walk(&f);
	expect_walked(&f);
	expect_log_not_forged();
	/*
	 * The first call picks up the late pages. The second has nothing left
	 * to do but to list the FLBs, with one allocation.
	 */
	need_eq(call_reboot(NULL, 0), 0, "reboot with late pages");
	f.what = "reboot, nothing late";
	f.points = 0;
	f.absorbed = 0;
	f.undo = NULL;
	faults_walk(&f);
	expect_eq(f.points, 1, "points of %s", f.what);

	/* The memory for the late pages was freed. */
	s.late = 1;
	next_sparse(&s, 0, 0);
	expect_eq(faults_pages(), pages, "pages still allocated");
	s.late = LATE;
	next_sparse(&s, 0, 0);

	/* Close the refusing file, so that the real kexec succeeds. */
	close(last);
	close(full);
}

static void serialized(struct stage_ctx *ctx)
{
	int session = need_fd(luo_retrieve(ctx->dev, "faults-sparse"),
			      "retrieve_session");
	int fd = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd");
	int i, bad = 0;

	expect_pattern(fd, 0, LUO_PAGE, 1, "the page that was there");
	for (i = 0; i < LATE; i++) {
		bad += luo_check(fd, (3 + 5 * i) * LUO_PAGE, LUO_PAGE, 2) !=
		       LUO_SAME;
		bad += luo_check_zero(fd, (4 + 5 * i) * LUO_PAGE, LUO_PAGE) !=
		       LUO_SAME;
	}
	expect_eq(bad, 0, "pages with unexpected content");
	close(fd);
	expect_eq(luo_finish(session), 0, "finish");
	close(session);
}

/* For a program with @no_device: the device is not open yet. */
static int call_open(void *arg, int attempt)
{
	return luo_open();
}

static void undo_open(void *arg, int attempt, int answer)
{
	if (answer > STDERR_FILENO)
		close(answer);
}

/* Does nothing: the next attempt must still be the first open. */
static int again_open(void *arg, int attempt, int answer)
{
	return 0;
}

static void leave_sessions(struct stage_ctx *ctx)
{
	int i, session;

	for (i = 0; i < SESSIONS; i++) {
		session = need_fd(named(ctx, false, "retrieve", i),
				  "create_session");
		put(session, luo_memfd(0, 100, i), 1);
		put(session, luo_memfd(0, 100, i), 2);
	}
}

static void open_first(struct stage_ctx *ctx)
{
	struct faults f = {
		.what = "first open",
		.call = call_open,
		.undo = undo_open,
		.again = again_open,
		.allowed = { ENOMEM, EFAULT },
	};

	struct faults later = f;

	later.what = "later open";
	later.again = NULL;
	need_faults();
	/*
	 * Only one open can be the first. Page allocations do not fail here,
	 * because a slab that falls back to fewer pages would absorb that, and
	 * the first open would succeed too early. The table of sessions has a
	 * fallback for its last allocation, so at the last point the open
	 * succeeds.
	 */
	faults_of_pages(false);
	faults_walk(&f);
	expect_walked(&f);
	faults_walk(&later);
	expect_walked(&later);
	faults_of_pages(true);
	expect_eq(f.points, later.points + 1, "points of %s", f.what);
	expect_eq(f.absorbed, later.absorbed + 1, "points that it absorbs");
}

struct incoming {
	struct stage_ctx *ctx;
	const struct kind *kind;
	int session;
	size_t nr;
	int sticky;
};

static int call_retrieve(void *arg, int attempt)
{
	struct incoming *in = arg;

	return named(in->ctx, true, "retrieve", attempt - 1);
}

static void undo_retrieve(void *arg, int attempt, int answer)
{
	int fd = luo_retrieve_fd(answer, 2);

	if (luo_check(fd, 0, 100, attempt - 1) != LUO_SAME)
		expect_eq(fd, 0, "another file than expected in session %d",
			  attempt - 1);
	close(fd);
	close(answer);
}

static void retrieve_sessions(struct stage_ctx *ctx)
{
	struct incoming in = { .ctx = ctx };
	struct faults f = {
		.what = "retrieve_session",
		.call = call_retrieve,
		.undo = undo_retrieve,
		.allowed = { ENOMEM, EFAULT },
		.arg = &in,
	};
	int i, fds = faults_fds();

	faults_walk(&f);
	expect_walked(&f);
	expect_range(f.points, 1, SESSIONS - 1,
		     "points, less than there are sessions");
	expect_eq(faults_fds(), fds, "open fds");
	for (i = f.points + 1; i < SESSIONS; i++)
		close(need_fd(named(ctx, true, "retrieve", i),
			      "an unused session"));
}

/* A session for each kind, with fewer files than fdinfo lists. */
static void leave_files(struct stage_ctx *ctx)
{
	size_t kind;
	int i, session;

	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		session = need_fd(named(ctx, false, "file", kind),
				  "create_session");
		for (i = 1; i <= kinds[kind].supply; i++)
			put(session, make_file(&kinds[kind], i),
			    token_of(kind, i));
		put(session, luo_memfd(0, 5 * LUO_PAGE, 99), SENTINEL);
	}
}

static int call_retrieve_fd(void *arg, int attempt)
{
	struct incoming *in = arg;

	if (attempt > in->kind->supply)
		return -EDQUOT;
	return luo_retrieve_fd(in->session, token_of(in->nr, attempt));
}

static void undo_retrieve_fd(void *arg, int attempt, int answer)
{
	struct incoming *in = arg;

	/* 0: the file failed for ever; see again_retrieve_fd(). */
	if (!answer)
		return;
	if (!is_whole(answer, in->kind, attempt))
		expect_eq(1, 0, "%s: file %d is not what it was",
			  in->kind->what, attempt);
	close(answer);
}

/*
 * fdinfo says whether a failed file can be retried, and the next call agrees.
 */
static int again_retrieve_fd(void *arg, int attempt, int answer)
{
	struct incoming *in = arg;
	const char *handler = handler_of(in->kind);
	__u64 token = token_of(in->nr, attempt);
	static char text[200000];
	int first, second;

	if (luo_fdinfo(in->session, text, sizeof(text)))
		return -EIO;
	if (luo_count_line(text, luo_file_line(token, handler, "pending")) ==
	    1)
		return luo_retrieve_fd(in->session, token);
	if (luo_count_line(text,
			   luo_file_line(token, handler, "retrieved")) == 1)
		return luo_retrieve_fd(in->session, token);
	if (luo_count_line(text, luo_file_line(token, handler, "failed")) !=
	    1)
		return -ENODATA;
	in->sticky++;
	first = luo_retrieve_fd(in->session, token);
	second = luo_retrieve_fd(in->session, token);
	return first == answer && second == answer ? 0 : -EUCLEAN;
}

static void retrieve_files(struct stage_ctx *ctx)
{
	int fds = faults_fds(), fd;
	size_t kind;

	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct incoming in = { .ctx = ctx,
				       .nr = kind,
				       .kind = &kinds[kind] };
		struct faults f = {
			.what = kinds[kind].what,
			.call = call_retrieve_fd,
			.undo = undo_retrieve_fd,
			.again = again_retrieve_fd,
			/* shmem returns ENOSPC if it cannot allocate an inode. */
			.allowed = { ENOMEM, EFAULT, ENOSPC },
			.arg = &in,
		};

		in.session = need_fd(named(ctx, true, "file", kind),
				     "retrieve_session");
		faults_walk(&f);
		expect_walked(&f);
		stage_note("%s: %d of the failures are final", f.what,
			   in.sticky);
		fd = need_fd(luo_retrieve_fd(in.session, SENTINEL),
			     "the file without injected faults");
		expect_pattern(fd, 0, 5 * LUO_PAGE, 99, "that file");
		close(fd);
		expect_eq(luo_finish(in.session), 0, "finish");
		close(in.session);
	}
	expect_eq(faults_fds(), fds, "open fds");
}

static void leave_to_finish(struct stage_ctx *ctx)
{
	int i, session;

	for (i = 0; i < FINISHED; i++) {
		session = need_fd(named(ctx, false, "finish", i),
				  "create_session");
		put(session, luo_memfd(0, 3 * LUO_PAGE, i), 1);
		put(session, luo_memfd(0, 3 * LUO_PAGE, i), 2);
		put(session, make_number(i + 1), 3);
		put(session, make_number(i + 1), 4);
	}
}

static int call_finish(void *arg, int attempt)
{
	struct incoming *in = arg;

	return luo_finish(in->session);
}

static const char *check_finish(void *arg, int attempt, int answer)
{
	struct incoming *in = arg;
	char text[4096];

	if (luo_fdinfo(in->session, text, sizeof(text)) ||
	    luo_count_line(text, luo_file_line(1, LUO_MEMFD, "pending")) != 1 ||
	    luo_count_line(text, luo_file_line(2, LUO_MEMFD, "retrieved")) != 1 ||
	    luo_count_line(text, luo_file_line(3, NUMBER_HANDLER, "pending")) != 1 ||
	    luo_count_line(text, luo_file_line(4, NUMBER_HANDLER, "retrieved")) != 1)
		return "the session is not what it was";
	return NULL;
}

static void next_to_finish(void *arg, int attempt, int answer)
{
	struct incoming *in = arg;

	if (in->session >= 0)
		close(in->session);
	in->session = named(in->ctx, true, "finish", in->nr++);
	close(luo_retrieve_fd(in->session, 2));
	close(luo_retrieve_fd(in->session, 4));
}

static void finish(struct stage_ctx *ctx)
{
	struct incoming in = { .ctx = ctx, .session = -1 };
	struct faults f = {
		.what = "finish",
		.call = call_finish,
		.check = check_finish,
		.undo = next_to_finish,
		.allowed = { ENOMEM, EFAULT },
		.arg = &in,
	};

	next_to_finish(&in, 0, 0);
	faults_walk(&f);
	expect_walked(&f);
	while (in.nr < FINISHED)
		next_to_finish(&in, 0, 0);
	close(in.session);
}

/* The walk through the first open runs in a program call before the others. */
static const struct stage_case cases[] = {
	{ "serialize", true, { serialize, serialized } },
	{ "retrieve_session", true, { leave_sessions, retrieve_sessions } },
	{ "retrieve_fd", true, { leave_files, retrieve_files } },
	{ "finish", true, { leave_to_finish, finish } },
	{}
};

static const struct stage_case first_open[] = {
	{ "open", true, { NULL, open_first } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_faults",
	.stages = 2,
	.cases = cases,
};

static const struct stage_program opening = {
	.name = "kexec_faults",
	.stages = 2,
	.no_device = true,
	.cases = first_open,
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "open"))
		return stage_main(argc - 1, argv + 1, &opening);
	if (argc == 2 && !strcmp(argv[1], "2") && !faults_ready())
		fprintf(stderr, "# this kernel cannot inject faults\n");
	return stage_main(argc, argv, &program);
}
