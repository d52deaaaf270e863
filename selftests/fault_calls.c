// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection into open, the ioctls of the device and of outgoing sessions, and
 * close. Every failure point of every call fails once. The call must then return an
 * errno of the contract and leave nothing half done, and must succeed when it is
 * repeated. That is how every error path of the module runs at least once.
 *
 * Needs a debug kernel.
 */
#include "lib/faults.h"
#include "lib/usage.h"

#define THP_CONTROL "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGE_PAGE (2 * MIB)
#define TOKEN 7

FIXTURE(faults)
{
	int dev;
	int session;
	long pages;
	int fds;
};

FIXTURE_SETUP(faults)
{
	if (!faults_ready())
		SKIP(return, "this kernel cannot inject faults");
	self->dev = luo_open();
	ASSERT_GE(self->dev, 0);
	self->session = luo_create(self->dev, "faults");
	ASSERT_GE(self->session, 0);
	self->pages = faults_pages();
	/* At least the root. Otherwise the count is of something else. */
	ASSERT_GT(self->pages, 0);
	self->fds = faults_fds();
}

FIXTURE_TEARDOWN(faults)
{
	close(self->session);
	close(self->dev);
}

/* After all failures and undos, fds and pages are as before. */
#define EXPECT_UNCHANGED(f)                             \
	do {                                            \
		EXPECT_STREQ("", (f)->problem);         \
		EXPECT_EQ(self->fds, faults_fds());     \
		EXPECT_EQ(self->pages, faults_pages()); \
	} while (0)

static void undo_close(void *arg, int attempt, int answer)
{
	close(answer);
}

static int call_open(void *arg, int attempt)
{
	return luo_open();
}

TEST_F(faults, open)
{
	struct faults f = {
		.what = "open",
		.call = call_open,
		.undo = undo_close,
		.allowed = { ENOMEM, EFAULT },
	};

	ASSERT_EQ(0, close(self->dev));
	self->fds--;
	faults_walk(&f);
	EXPECT_UNCHANGED(&f);
	EXPECT_GT(f.points, 0);
	self->dev = luo_open();
	EXPECT_GE(self->dev, 0);
}

static int call_create(void *arg, int attempt)
{
	return luo_create(*(int *)arg, "faults-create");
}

static const char *check_create(void *arg, int attempt, int answer)
{
	/* An outgoing session can never be retrieved. */
	return luo_retrieve(*(int *)arg, "faults-create") == -ENOENT ?
		       NULL :
		       "an incoming session of that name exists";
}

TEST_F(faults, create_session)
{
	struct faults f = {
		.what = "create_session",
		.call = call_create,
		.undo = undo_close,
		.check = check_create,
		.allowed = { ENOMEM, EFAULT },
		.arg = &self->dev,
	};

	faults_walk(&f);
	EXPECT_UNCHANGED(&f);
	EXPECT_GT(f.points, 0);
}

static int call_get_name(void *arg, int attempt)
{
	char name[LUO_NAME_MAX];

	return luo_get_name(*(int *)arg, name);
}

TEST_F(faults, get_name)
{
	struct faults f = {
		.what = "get_name",
		.call = call_get_name,
		.allowed = { EFAULT },
		.arg = &self->session,
	};

	faults_walk(&f);
	EXPECT_UNCHANGED(&f);
	EXPECT_GT(f.points, 0);
}

/* A session that does not exist, so that the call can be repeated. */
static int call_retrieve(void *arg, int attempt)
{
	int answer = luo_retrieve(*(int *)arg, "faults-nobody");

	return answer == -ENOENT ? 0 : answer;
}

TEST_F(faults, retrieve_session)
{
	struct faults f = {
		.what = "retrieve_session of an unknown name",
		.call = call_retrieve,
		.allowed = { ENOMEM, EFAULT },
		.arg = &self->dev,
	};

	faults_walk(&f);
	EXPECT_UNCHANGED(&f);
	EXPECT_GT(f.points, 0);
}

struct preserve {
	int dev;
	int session;
	int fd;
	off_t size;
	/* Of the module, before the call. */
	long pages;
};

static int call_preserve(void *arg, int attempt)
{
	struct preserve *p = arg;

	return luo_preserve(p->session, p->fd, TOKEN);
}

static void undo_preserve(void *arg, int attempt, int answer)
{
	struct preserve *p = arg;

	close(p->session);
	p->session = luo_create(p->dev, "faults-preserve");
}

static const char *check_preserve(void *arg, int attempt, int answer)
{
	struct preserve *p = arg;
	char text[4096];

	if (luo_fdinfo(p->session, text, sizeof(text)) ||
	    strstr(text, "luo-file"))
		return "the session has a file";
	if (luo_truncate(p->fd, p->size + 1) || luo_truncate(p->fd, p->size))
		return "the size of the file cannot be changed";
	if (faults_pages() != p->pages)
		return "the session keeps a page";
	return NULL;
}

static int memfd_empty(void)
{
	return luo_memfd(0, 0, 1);
}

static int memfd_page(void)
{
	return luo_memfd(0, 100, 2);
}

static int memfd_pages(void)
{
	return luo_memfd(0, 600 * LUO_PAGE, 3);
}

static int memfd_sparse(void)
{
	static const int pages[] = { 0, 1, 9, 64, 70, 2000, 4095 };
	int fd = memfd_create("sparse", MFD_CLOEXEC);
	size_t i;

	if (fd < 0 || ftruncate(fd, 16 * MIB))
		return -errno;
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		if (luo_fill(fd, pages[i] * LUO_PAGE, LUO_PAGE, 4))
			return -EIO;
	}
	return fd;
}

static int memfd_huge(void)
{
	int fd;

	luo_write_file(THP_CONTROL, "always");
	fd = luo_memfd(0, 3 * HUGE_PAGE, 5);
	luo_write_file(THP_CONTROL, "never");
	return fd;
}

static const struct {
	const char *what;
	int (*memfd)(void);
} kinds[] = {
	{ "preserve_fd, empty", memfd_empty },
	{ "preserve_fd, one page", memfd_page },
	{ "preserve_fd, 600 pages", memfd_pages },
	{ "preserve_fd, sparse", memfd_sparse },
	{ "preserve_fd, large folios", memfd_huge },
};

TEST_F_TIMEOUT(faults, preserve_fd, 300)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct preserve p = { .dev = self->dev };
		struct faults f = {
			.what = kinds[i].what,
			.call = call_preserve,
			.undo = undo_preserve,
			.check = check_preserve,
			.allowed = { ENOMEM, EFAULT },
			.arg = &p,
		};

		p.fd = kinds[i].memfd();
		ASSERT_GE(p.fd, 0);
		p.size = luo_size(p.fd);
		p.session = luo_create(self->dev, "faults-preserve");
		ASSERT_GE(p.session, 0);
		p.pages = faults_pages();
		faults_walk(&f);
		close(p.session);
		close(p.fd);
		EXPECT_UNCHANGED(&f);
		EXPECT_GT(f.points, 0);
	}
}

/* Closes the session in @arg, which has one file. */
static int call_close(void *arg, int attempt)
{
	struct preserve *p = arg;

	return close(p->session) ? -errno : 0;
}

static void undo_closing(void *arg, int attempt, int answer)
{
	struct preserve *p = arg;

	p->session = luo_create(p->dev, "faults-close");
	luo_preserve(p->session, p->fd, TOKEN);
}

/* Closing may have no failure point at all. */
TEST_F(faults, close)
{
	struct preserve p = { .dev = self->dev, .fd = memfd_pages() };
	struct faults f = {
		.what = "close of a session",
		.call = call_close,
		.undo = undo_closing,
		.arg = &p,
	};

	ASSERT_GE(p.fd, 0);
	undo_closing(&p, 0, 0);
	faults_walk(&f);
	/* The last undo made the session once more: it is complete. */
	EXPECT_EQ(-EEXIST, luo_preserve(p.session, p.fd, TOKEN));
	close(p.session);
	close(p.fd);
	EXPECT_UNCHANGED(&f);
}

TEST_HARNESS_MAIN
