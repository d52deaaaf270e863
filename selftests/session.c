// SPDX-License-Identifier: GPL-2.0-only
/*
 * Outgoing sessions: their names, calls for the other direction, the ways in which
 * their fds travel (dup, fork, exec, SCM_RIGHTS), and fdinfo. A session lives as
 * long as anybody has an fd of it, which is what fd stores and agents rely on.
 */
#include "lib/fixture.h"

#include <sys/wait.h>

#define MANY 2000
#define LISTED 512

/*
 * The program after exec, with a session as fd argv[2]; returns its exit
 * status.
 */
static int held_session(int argc, char **argv)
{
	char name[LUO_NAME_MAX];
	int session, fd;

	session = atoi(argv[2]);
	if (luo_get_name(session, name) || strcmp(name, argv[3]))
		return 2;
	fd = luo_memfd(0, LUO_PAGE, 1);
	return luo_preserve(session, fd, 7) ? 3 : 0;
}

TEST_F(live, names_are_unique)
{
	int a = luo_create(self->dev, "session-a");
	int b = luo_create(self->dev, "session-b");

	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "session-a"));
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "session-b"));
	/* A prefix or an extension of a name is another name. */
	close(b);
	b = luo_create(self->dev, "session-");
	EXPECT_GE(b, 0);
	close(b);
	b = luo_create(self->dev, "session-ab");
	EXPECT_GE(b, 0);
	close(b);
	close(a);
}

TEST_F(live, long_names_differ_in_the_last_byte)
{
	char name[LUO_NAME_MAX] = {};
	int a, b;

	memset(name, 'n', LUO_NAME_MAX - 1);
	a = luo_create(self->dev, name);
	ASSERT_GE(a, 0);
	EXPECT_EQ(-EEXIST, luo_create(self->dev, name));
	name[LUO_NAME_MAX - 2] = 'm';
	b = luo_create(self->dev, name);
	EXPECT_GE(b, 0);
	close(a);
	close(b);
}

TEST_F(live, name_is_free_after_close)
{
	int i, session;

	for (i = 0; i < 100; i++) {
		session = luo_create(self->dev, "session-again");
		ASSERT_GE(session, 0);
		ASSERT_EQ(0, close(session));
	}
}

TEST_F(live, incoming_calls_einval)
{
	struct liveupdate_session_finish finish = { .size = sizeof(finish) };
	int session = luo_create(self->dev, "session-outgoing");
	int fd = luo_memfd(0, LUO_PAGE, 1);

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, luo_preserve(session, fd, 1));
	EXPECT_EQ(-EINVAL, luo_retrieve_fd(session, 1));
	EXPECT_EQ(-EINVAL, luo_retrieve_fd(session, 2));
	EXPECT_EQ(-EINVAL, luo_finish(session));
	finish.reserved = 1;
	EXPECT_EQ(-EINVAL,
		  luo_ioctl(session, LIVEUPDATE_SESSION_FINISH, &finish));
	/* The failed calls changed nothing. */
	EXPECT_EQ(-EEXIST, luo_preserve(session, fd, 1));
	EXPECT_EQ(-EBUSY, luo_preserve(session, fd, 2));
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "session-outgoing"));
	close(session);
	close(fd);
}

TEST_F(live, outgoing_is_not_retrievable)
{
	int session = luo_create(self->dev, "session-retrieve");

	ASSERT_GE(session, 0);
	EXPECT_EQ(-ENOENT, luo_retrieve(self->dev, "session-retrieve"));
	EXPECT_EQ(-ENOENT, luo_retrieve(self->dev, "session-never-created"));
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "session-retrieve"));
	close(session);
}

TEST_F(live, not_a_regular_file)
{
	int session = luo_create(self->dev, "session-io");
	char byte = 0;

	ASSERT_GE(session, 0);
	EXPECT_EQ(-1, read(session, &byte, 1));
	EXPECT_EQ(-1, write(session, &byte, 1));
	EXPECT_EQ(MAP_FAILED,
		  mmap(NULL, LUO_PAGE, PROT_READ, MAP_SHARED, session, 0));
	close(session);
}

TEST_F(live, session_cannot_be_preserved)
{
	int a = luo_create(self->dev, "session-self");
	int b = luo_create(self->dev, "session-other");

	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	EXPECT_EQ(-ENOENT, luo_preserve(a, a, 1));
	EXPECT_EQ(-ENOENT, luo_preserve(a, b, 1));
	EXPECT_EQ(-ENOENT, luo_preserve(a, self->dev, 1));
	close(a);
	close(b);
}

TEST_F(live, dup_keeps_session)
{
	int session = luo_create(self->dev, "session-dup");
	int fd = luo_memfd(0, LUO_PAGE, 1);
	int copy = dup(session);

	ASSERT_GE(copy, 0);
	ASSERT_EQ(0, luo_preserve(session, fd, 1));
	ASSERT_EQ(0, close(session));
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "session-dup"));
	EXPECT_EQ(-EEXIST, luo_preserve(copy, fd, 1));
	ASSERT_EQ(0, close(copy));
	session = luo_create(self->dev, "session-dup");
	EXPECT_GE(session, 0);
	EXPECT_EQ(0, luo_preserve(session, fd, 1));
	close(session);
	close(fd);
}

TEST_F(live, scm_rights_keep_session)
{
	int session = luo_create(self->dev, "session-scm");
	int fd = luo_memfd(0, LUO_PAGE, 1);
	char name[LUO_NAME_MAX];
	int passed;

	ASSERT_GE(session, 0);
	passed = luo_pass_fd(session);
	ASSERT_GE(passed, 0);
	ASSERT_EQ(0, close(session));
	EXPECT_EQ(0, luo_get_name(passed, name));
	EXPECT_STREQ("session-scm", name);
	EXPECT_EQ(0, luo_preserve(passed, fd, 1));
	EXPECT_EQ(-EEXIST, luo_create(self->dev, "session-scm"));
	close(passed);
	close(fd);
}

TEST_F(live, fork_keeps_session)
{
	int session = luo_create(self->dev, "session-fork");
	int fd = luo_memfd(0, LUO_PAGE, 1);
	int status;
	pid_t pid;

	ASSERT_GE(session, 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(luo_preserve(session, fd, 1) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The child preserved the file, and its exit did not unpreserve it. */
	EXPECT_EQ(-EEXIST, luo_preserve(session, fd, 1));
	close(session);
	close(fd);
}

TEST_F(live, exec_keeps_session)
{
	int session = luo_create(self->dev, "session-exec");
	char number[16];
	int status;
	pid_t pid;

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, fcntl(session, F_SETFD, 0));
	snprintf(number, sizeof(number), "%d", session);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		execl("/proc/self/exe", "session", "--held", number,
		      "session-exec", NULL);
		_exit(1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	TH_LOG("2: get_name failed after exec, 3: preserve_fd failed");
	close(session);
}

TEST_F_TIMEOUT(live, many, 120)
{
	static int sessions[MANY];
	char name[LUO_NAME_MAX], seen[LUO_NAME_MAX];
	int i;

	ASSERT_EQ(0, luo_nofile(MANY));
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "session-many-%d", i);
		sessions[i] = luo_create(self->dev, name);
		ASSERT_GE(sessions[i], 0)
		TH_LOG("session %d", i);
	}
	/* Every other session is closed. The others keep their names. */
	for (i = 0; i < MANY; i += 2)
		ASSERT_EQ(0, close(sessions[i]));
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "session-many-%d", i);
		if (i % 2) {
			ASSERT_EQ(-EEXIST, luo_create(self->dev, name));
			ASSERT_EQ(0, luo_get_name(sessions[i], seen));
			ASSERT_STREQ(name, seen);
		} else {
			sessions[i] = luo_create(self->dev, name);
			ASSERT_GE(sessions[i], 0);
		}
	}
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(0, close(sessions[i]));
}

TEST_F(live, fdinfo)
{
	static const __u64 tokens[] = { 0, 0x1234, ~0ULL };
	int session = luo_create(self->dev, "session-fdinfo");
	int fds[ARRAY_SIZE(tokens)];
	char text[4096];
	long pieces;
	size_t i;

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
	EXPECT_EQ(1, luo_count_line(text, "luo-name:\tsession-fdinfo"))
	TH_LOG("seen:\n%s", text);
	EXPECT_EQ(1, luo_count_line(text, "luo-direction:\toutgoing"))
	TH_LOG("seen:\n%s", text);
	EXPECT_EQ(NULL, strstr(text, "luo-file:"));
	EXPECT_EQ(0, luo_pieces(session));

	for (i = 0; i < ARRAY_SIZE(tokens); i++) {
		fds[i] = luo_memfd(0, LUO_PAGE, i);
		ASSERT_EQ(0, luo_preserve(session, fds[i], tokens[i]));
	}
	ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
	for (i = 0; i < ARRAY_SIZE(tokens); i++) {
		EXPECT_EQ(1, luo_count_line(text,
					    luo_file_line(tokens[i], LUO_MEMFD,
							  "preserved")))
		TH_LOG("expected \"%s\", seen:\n%s",
		       luo_file_line(tokens[i], LUO_MEMFD, "preserved"), text);
	}
	/* A page, three that describe it, and one that lists the files. */
	pieces = luo_pieces(session);
	EXPECT_GE(pieces, 1);
	EXPECT_LE(pieces, 4 * ARRAY_SIZE(tokens) + 1);
	EXPECT_EQ(-EBUSY, luo_preserve(session, fds[0], 7));
	EXPECT_EQ(pieces, luo_pieces(session));
	for (i = 0; i < ARRAY_SIZE(tokens); i++)
		close(fds[i]);
	close(session);
}

/* How many lines of a text begin like that. */
static int count_prefix(const char *text, const char *prefix)
{
	int count = 0;

	for (; (text = strstr(text, prefix)); text++)
		count++;
	return count;
}

/* Beyond LISTED files, their number is shown: each line is printed under a lock. */
TEST_F_TIMEOUT(live, fdinfo_of_many_files, 120)
{
	int session = luo_create(self->dev, "session-fdinfo-many");
	static char text[LISTED * 64];
	int fds[LISTED + 1];
	int i;

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, luo_nofile(ARRAY_SIZE(fds)));
	for (i = 0; i < LISTED; i++) {
		fds[i] = luo_memfd(0, LUO_PAGE, i);
		ASSERT_EQ(0, luo_preserve(session, fds[i], i))
			TH_LOG("file %d", i);
	}
	ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
	EXPECT_EQ(LISTED, count_prefix(text, "luo-file:\t"));
	EXPECT_EQ(0, count_prefix(text, "luo-files:\t"));
	for (i = 0; i < LISTED; i++) {
		ASSERT_EQ(1, luo_count_line(text, luo_file_line(i, LUO_MEMFD, "preserved")))
			TH_LOG("file %d", i);
	}

	fds[LISTED] = luo_memfd(0, LUO_PAGE, LISTED);
	ASSERT_EQ(0, luo_preserve(session, fds[LISTED], LISTED));
	ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
	EXPECT_EQ(0, count_prefix(text, "luo-file:\t"));
	EXPECT_EQ(1, luo_count_line(text, "luo-files:\tpreserved=513"))
		TH_LOG("seen:\n%s", text);
	EXPECT_EQ(1, luo_count_line(text, "luo-name:\tsession-fdinfo-many"));
	close(session);
	for (i = 0; i <= LISTED; i++)
		close(fds[i]);
}

TEST_F(live, fdinfo_name_cannot_forge_a_line)
{
	int session = luo_create(self->dev, "x\nluo-direction:\tincoming");
	char text[4096];

	ASSERT_GE(session, 0);
	ASSERT_EQ(0, luo_fdinfo(session, text, sizeof(text)));
	EXPECT_EQ(0, luo_count_line(text, "luo-direction:\tincoming"))
	TH_LOG("seen:\n%s", text);
	EXPECT_EQ(1, luo_count_line(text, "luo-direction:\toutgoing"))
	TH_LOG("seen:\n%s", text);
	EXPECT_NE(NULL, strstr(text, "luo-name:\tx\\nluo-direction:"))
	TH_LOG("expected the newline as \\n, seen:\n%s", text);
	close(session);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--held"))
		return held_session(argc, argv);
	return test_harness_run(argc, argv);
}
