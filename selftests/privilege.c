// SPDX-License-Identifier: GPL-2.0-only
/*
 * Privileges: only root opens the device, a session fd gives access to that session
 * and to nothing else, RLIMIT_MEMLOCK bounds what a user can pin, and names cannot
 * forge lines of fdinfo or of the kernel log.
 *
 * An agent that runs as root can therefore hand sessions to clients it does not
 * trust.
 */
#include "lib/fixture.h"

#include <grp.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NOBODY 65534
/* A user of this test only, so that no other process shares its account. */
#define PINNER 65001
#define BOUND 16UL

TEST_F(live, device_belongs_to_root)
{
	struct stat st;

	ASSERT_EQ(0, stat(LUO_DEVICE, &st));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
}

/* Becomes another user, which also drops all capabilities. */
static int become(uid_t user)
{
	if (setgroups(0, NULL) || setresgid(user, user, user) ||
	    setresuid(user, user, user))
		return -errno;
	return 0;
}

static void expect_success(struct __test_metadata *_metadata, pid_t pid)
{
	int status;

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_FALSE(WIFSIGNALED(status));
	EXPECT_EQ(0, WEXITSTATUS(status))
	{
		TH_LOG("the child failed at step %d", WEXITSTATUS(status));
	}
}

/* Runs an expression in an unprivileged child; 0 is success. */
#define WITHOUT_PRIVILEGES(user, what)                     \
	do {                                               \
		pid_t __pid = fork();                      \
		ASSERT_GE(__pid, 0);                       \
		if (!__pid)                                \
			_exit(become(user) ? 99 : (what)); \
		expect_success(_metadata, __pid);          \
	} while (0)

static int open_refused(void)
{
	return luo_open() == -EACCES ? 0 : 1;
}

TEST_F(live, only_root_opens_the_device)
{
	close(self->dev);
	self->dev = -1;
	WITHOUT_PRIVILEGES(NOBODY, open_refused());
	/* The failed open has no effect on the owner. */
	self->dev = luo_open();
	EXPECT_GE(self->dev, 0);
}

/* What a process can do that has a session and no privileges. */
static int use_session(int session, int other, int taken)
{
	int fd = luo_memfd(0, 3 * LUO_PAGE, 1);
	char name[LUO_NAME_MAX], path[64];

	if (luo_get_name(session, name) || strcmp(name, "privilege"))
		return 1;
	if (luo_preserve(session, fd, 1))
		return 2;
	if (luo_preserve(session, fd, 2) != -EBUSY)
		return 3;
	/* A file of another session cannot be taken from it. */
	if (luo_preserve(session, taken, 3) != -EBUSY)
		return 4;
	/*
	 * A session has neither the ioctls of the device nor those of incoming
	 * sessions.
	 */
	if (luo_create(session, "privilege-more") != -EINVAL ||
	    luo_retrieve(session, "privilege-other") != -EINVAL)
		return 5;
	if (luo_retrieve_fd(session, 1) != -EINVAL ||
	    luo_finish(session) != -EINVAL)
		return 6;
	if (luo_open() != -EACCES)
		return 7;
	/*
	 * The process cannot open fds of its parent, nor its own session again.
	 */
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getppid(), other);
	if (open(path, O_RDWR) >= 0)
		return 8;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", session);
	if (open(path, O_RDWR) >= 0)
		return 9;
	return 0;
}

/* Receives the session by SCM_RIGHTS, as a client of an agent would. */
static int use_received(int session, int other, int taken)
{
	int got = luo_pass_fd(session);

	return got < 0 ? 98 : use_session(got, other, taken);
}

TEST_F(live, session_gives_no_other_access)
{
	int session = luo_create(self->dev, "privilege");
	int other = luo_create(self->dev, "privilege-other");
	int taken = luo_memfd(0, LUO_PAGE, 2);
	char text[4096];

	ASSERT_GE(session, 0);
	ASSERT_GE(other, 0);
	ASSERT_EQ(0, luo_preserve(other, taken, 1));
	WITHOUT_PRIVILEGES(NOBODY, use_received(session, other, taken));
	/*
	 * What the child preserved is in that session, and outlives the child.
	 */
	ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
	EXPECT_EQ(1, luo_count_line(text,
				    luo_file_line(1, LUO_MEMFD, "preserved")));
	ASSERT_EQ(0, luo_fdinfo(other, text, sizeof(text)));
	EXPECT_EQ(1, luo_count_line(text,
				    luo_file_line(1, LUO_MEMFD, "preserved")));
	EXPECT_EQ(-ENOENT, luo_retrieve(self->dev, "privilege-more"));
	close(session);
	session = luo_create(self->dev, "privilege");
	EXPECT_GE(session, 0);
	close(session);
	close(other);
	close(taken);
}

static int limit_memlock(unsigned long pages)
{
	struct rlimit limit = { pages * LUO_PAGE, pages * LUO_PAGE };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
}

static int sized(size_t pages)
{
	return luo_memfd(0, pages * LUO_PAGE, pages);
}

/* Files below, at and above the limit, which is that of the child. */
static int one_file(int session)
{
	int below = sized(BOUND - 1), at = sized(BOUND),
	    above = sized(BOUND + 1);
	int page = sized(1), empty = sized(0);

	if (luo_preserve(session, above, 1) != -ENOMEM)
		return 1;
	/* The failed call left nothing in the account nor in the session. */
	if (luo_preserve(session, below, 1))
		return 2;
	if (luo_preserve(session, page, 2))
		return 3;
	if (luo_preserve(session, at, 3) != -ENOMEM)
		return 4;
	/* At the limit, holes are still free of charge. */
	if (luo_preserve(session, empty, 4))
		return 5;
	if (luo_truncate(at, 2 * LUO_PAGE) || luo_truncate(above, 0))
		return 6;
	return 0;
}

static int exactly(int session)
{
	int at = sized(BOUND);

	if (luo_preserve(session, at, 1))
		return 1;
	return luo_preserve(session, sized(1), 2) == -ENOMEM ? 0 : 2;
}

/* Fills the account from two sessions; one page more fails. */
static int several(int a, int b)
{
	int i;

	for (i = 0; i < BOUND / 4; i++) {
		if (luo_preserve(i % 2 ? a : b, sized(4), i))
			return 1;
	}
	if (luo_preserve(a, sized(1), 100) != -ENOMEM)
		return 2;
	return 0;
}

static int half(int session, int expected)
{
	return luo_preserve(session, sized(BOUND / 2), 50) == expected ? 0 : 1;
}

TEST_F(live, memlock_one_file)
{
	int session = luo_create(self->dev, "privilege-memlock");
	int i;

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, limit_memlock(BOUND));
	WITHOUT_PRIVILEGES(PINNER, one_file(session));
	close(session);
	/* Closing gives the pages back to the account. */
	for (i = 0; i < 3; i++) {
		session = luo_create(self->dev, "privilege-memlock");
		ASSERT_GE(session, 0);
		WITHOUT_PRIVILEGES(PINNER, exactly(session));
		close(session);
	}
}

TEST_F(live, memlock_several_files)
{
	int a = luo_create(self->dev, "privilege-memlock-a");
	int b = luo_create(self->dev, "privilege-memlock-b");

	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	ASSERT_EQ(0, limit_memlock(BOUND));
	WITHOUT_PRIVILEGES(PINNER, several(a, b));
	/* The account belongs to the user, not to the process. */
	WITHOUT_PRIVILEGES(PINNER, half(a, -ENOMEM));
	/* Another user has another account. */
	WITHOUT_PRIVILEGES(PINNER + 1, half(a, 0));
	close(b);
	WITHOUT_PRIVILEGES(PINNER,
			   luo_preserve(a, sized(BOUND / 2), 51) ? 1 : 0);
	WITHOUT_PRIVILEGES(PINNER, half(a, -EEXIST));
	close(a);
}

TEST_F(live, memlock_does_not_bind_cap_ipc_lock)
{
	int session = luo_create(self->dev, "privilege-memlock");

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, limit_memlock(0));
	EXPECT_EQ(0, luo_preserve(session, sized(4 * BOUND), 1));
	close(session);
}

static int zero_bound(int session)
{
	if (luo_preserve(session, sized(1), 1) != -ENOMEM)
		return 1;
	return luo_preserve(session, sized(0), 1) ? 2 : 0;
}

TEST_F(live, memlock_zero)
{
	int session = luo_create(self->dev, "privilege-memlock");

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, limit_memlock(0));
	WITHOUT_PRIVILEGES(PINNER, zero_bound(session));
	close(session);
}

/* At most 63 bytes each. Those with "forged" must never reach the log. */
static const char *const names[] = {
	"x\nliveupdate: forged 1",
	"x\r\n<0>liveupdate: forged 2",
	"x\n[    0.000000] liveupdate: forged 3",
	"\x1b[2J\x1b[1;1Hliveupdate: forged 4",
	"%s%s%n%p%x forged 5",
	"x\nluo-direction:\tincoming",
	"x\nluo-file:\ttoken=0x1 handler=memfd-v2 state=preserved",
	"\0010\x7f\x80\xff\xfe forged 6",
	"{} {:?} {0} forged 7",
};

static bool only_printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' && *text != '\n' &&
		    *text != '\t')
			return false;
		if ((unsigned char)*text >= 0x7f)
			return false;
	}
	return true;
}

TEST_F(live, names_forge_no_line_of_fdinfo)
{
	char text[4096], seen[LUO_NAME_MAX], *line;
	int session, lines;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		session = luo_create(self->dev, names[i]);
		ASSERT_GE(session, 0);
		ASSERT_EQ(0, luo_get_name(session, seen));
		EXPECT_STREQ(names[i], seen);
		ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
		EXPECT_TRUE(only_printable(text))
		TH_LOG("name %zu, seen:\n%s", i, text);
		for (lines = 0, line = text; (line = strstr(line, "luo-"));
		     line++)
			lines += line == text || line[-1] == '\n';
		/* The lines of the name, the direction, and the pieces. */
		EXPECT_EQ(3, lines)
		TH_LOG("name %zu, seen:\n%s", i, text);
		close(session);
	}
}

static char *kernel_log(void)
{
	/* 10: SYSLOG_ACTION_SIZE_BUFFER; 3: SYSLOG_ACTION_READ_ALL */
	int size = klogctl(10, NULL, 0), len;
	char *text = size > 0 ? malloc(size + 1) : NULL;

	len = text ? klogctl(3, text, size) : -1;
	if (len < 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

/* Counts lines that do not start like "<6>[   12.345678] ". */
static int odd_lines(const char *log)
{
	const char *line, *end;
	int odd = 0;

	for (line = log; line && *line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (*line != '<' || !strchr(line, '[') ||
		    strchr(line, '[') - line > 5)
			odd++;
	}
	return odd;
}

TEST_F(live, names_forge_no_line_of_the_log)
{
	char *before = kernel_log(), *after;
	int session, fd;
	size_t i;

	if (!before)
		SKIP(return, "the kernel log cannot be read");
	/* Every call that could log the name, in success and in failure. */
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		session = luo_create(self->dev, names[i]);
		fd = luo_memfd(0, LUO_PAGE, i);
		ASSERT_GE(session, 0);
		EXPECT_EQ(-EEXIST, luo_create(self->dev, names[i]));
		EXPECT_EQ(-ENOENT, luo_retrieve(self->dev, names[i]));
		EXPECT_EQ(0, luo_preserve(session, fd, i));
		EXPECT_EQ(-EINVAL, luo_finish(session));
		close(session);
		close(fd);
	}
	after = kernel_log();
	ASSERT_NE(NULL, after);
	EXPECT_EQ(NULL, strstr(after, "forged"))
	TH_LOG("seen: %.200s", strstr(after, "forged") ?: "");
	EXPECT_EQ(odd_lines(before), odd_lines(after));
	free(before);
	free(after);
}

TEST_HARNESS_MAIN
