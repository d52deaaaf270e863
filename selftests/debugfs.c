// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lists in debugfs: what they say of outgoing sessions and of handlers. Each
 * session must be there once, also while others come and go. A slow reader must hold up
 * nobody.
 */
#include "lib/debugfs_lists.h"
#include "lib/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* Sessions that stay. Their lines are some pages of text. */
#define STAY 200
#define ROUNDS 3
/* One write of this size takes a tenth of a second in a guest, and seconds in a debug kernel. */
#define PARTS 128
#define NOBODY 65534

#define NO_LISTS "no " LIST_DIR ": another implementation, or no debugfs"

static bool no_lists(void)
{
	return access(LIST_DIR, F_OK);
}

static void stay_name(int i, char *name)
{
	snprintf(name, LUO_NAME_MAX, "stay-%04d", i);
}

/* Returns the first error. */
static int make_stay(int dev, int *sessions)
{
	char name[LUO_NAME_MAX];
	int i;

	if (luo_nofile(STAY))
		return -EMFILE;
	for (i = 0; i < STAY; i++) {
		stay_name(i, name);
		sessions[i] = luo_create(dev, name);
		if (sessions[i] < 0)
			return sessions[i];
	}
	return 0;
}

static void close_stay(const int *sessions)
{
	int i;

	for (i = 0; i < STAY; i++)
		close(sessions[i]);
}

/* How many of the sessions that stay have not exactly one line. */
static int not_once(const char *text)
{
	char name[LUO_NAME_MAX];
	struct list_row row;
	int i, bad = 0;

	for (i = 0; i < STAY; i++) {
		stay_name(i, name);
		bad += list_find(text, name, "outgoing", &row) != 1;
	}
	return bad;
}

/* How many lines have another number of words than the header. */
static int uneven_lines(const char *text)
{
	int words = 0, columns = 0, uneven = 0;

	for (; *text; text++) {
		words += *text == ' ' || *text == '\n';
		if (*text != '\n')
			continue;
		columns = columns ? columns : words;
		uneven += words != columns;
		words = 0;
	}
	/* The text does not end within a line. */
	return uneven + (words != 0);
}

TEST_F(live, a_session_and_what_it_costs)
{
	int session, three, five;
	struct list_row row;
	char comm[64] = {};
	const char *text;
	int fd;

	if (no_lists())
		SKIP(return, NO_LISTS);
	session = luo_create(self->dev, "debugfs-cost");
	three = luo_memfd(0, 3 * LUO_PAGE, 1);
	five = luo_memfd(0, 4 * LUO_PAGE + 1, 2);
	ASSERT_GE(session, 0);
	text = list_text(LIST_SESSIONS);
	EXPECT_EQ(0, strncmp(text, SESSIONS_HEADER "\n", sizeof(SESSIONS_HEADER)));
	EXPECT_EQ(0, uneven_lines(text));
	ASSERT_EQ(1, list_find(text, "debugfs-cost", "outgoing", &row));
	EXPECT_STREQ("open", row.state);
	EXPECT_EQ(0, row.files);
	EXPECT_EQ(0, row.pages);
	EXPECT_EQ(getpid(), row.pid);
	EXPECT_GE(row.age, 0);
	EXPECT_LT(row.age, 60);
	fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	ASSERT_GT(read(fd, comm, sizeof(comm) - 1), 0);
	close(fd);
	comm[strcspn(comm, "\n")] = '\0';
	EXPECT_STREQ(comm, row.comm);

	ASSERT_EQ(0, luo_preserve(session, three, 1));
	ASSERT_EQ(0, luo_preserve(session, five, 2));
	ASSERT_EQ(1, list_find(list_text(LIST_SESSIONS), "debugfs-cost", "outgoing",
			       &row));
	EXPECT_EQ(2, row.files);
	EXPECT_EQ(8, row.pages);
	EXPECT_EQ(luo_pieces(session), row.pieces);
	EXPECT_STREQ("open", row.state);

	/* A call that fails changes nothing. */
	EXPECT_EQ(-EEXIST, luo_preserve(session, five, 2));
	EXPECT_EQ(-EBUSY, luo_preserve(session, five, 3));
	EXPECT_EQ(-EBADF, luo_preserve(session, -1, 3));
	ASSERT_EQ(1, list_find(list_text(LIST_SESSIONS), "debugfs-cost", "outgoing",
			       &row));
	EXPECT_EQ(2, row.files);
	EXPECT_EQ(8, row.pages);
	EXPECT_STREQ("open", row.state);

	close(session);
	EXPECT_EQ(0, list_find(list_text(LIST_SESSIONS), "debugfs-cost", "outgoing",
			       &row));
	close(three);
	close(five);
}

TEST_F(live, a_name_is_one_word)
{
	static const char name[] = "debugfs a\n\\b\x7f\xff";
	static const char shown[] = "debugfs\\x20a\\x0a\\x5cb\\x7f\\xff";
	char longest[LUO_NAME_MAX] = {}, longest_shown[4 * LUO_NAME_MAX] = {};
	struct list_row row;
	const char *text;
	int a, b, i;

	if (no_lists())
		SKIP(return, NO_LISTS);
	memset(longest, 1, LUO_NAME_MAX - 1);
	for (i = 0; i < LUO_NAME_MAX - 1; i++)
		strcat(longest_shown, "\\x01");
	a = luo_create(self->dev, name);
	b = luo_create(self->dev, longest);
	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	text = list_text(LIST_SESSIONS);
	EXPECT_EQ(0, uneven_lines(text));
	EXPECT_EQ(1, list_find(text, shown, "outgoing", &row));
	EXPECT_EQ(1, list_find(text, longest_shown, "outgoing", &row));
	close(a);
	close(b);
}

TEST_F(live, handlers_and_flbs)
{
	const char *text;

	if (no_lists())
		SKIP(return, NO_LISTS);
	text = list_text(LIST_HANDLERS);
	EXPECT_EQ(0, strncmp(text, HANDLERS_HEADER "\n", sizeof(HANDLERS_HEADER)));
	EXPECT_EQ(0, uneven_lines(text));
	EXPECT_EQ(1, list_count(text, LUO_MEMFD " liveupdate"));
	text = list_text(LIST_FLBS);
	EXPECT_EQ(0, strncmp(text, FLBS_HEADER "\n", sizeof(FLBS_HEADER)));
	EXPECT_EQ(0, uneven_lines(text));
}

TEST_F(live, only_root_reads)
{
	static const char *const lists[] = { LIST_SESSIONS, LIST_HANDLERS,
					     LIST_FLBS };
	char path[80];
	struct stat st;
	int i, status;
	pid_t pid;

	if (no_lists())
		SKIP(return, NO_LISTS);
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		snprintf(path, sizeof(path), LIST_DIR "%s", lists[i]);
		ASSERT_EQ(0, stat(path, &st));
		EXPECT_EQ(S_IFREG | 0400, st.st_mode);
		EXPECT_EQ(0, st.st_uid);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			if (setgid(NOBODY) || setuid(NOBODY))
				_exit(2);
			_exit(list_open(lists[i]) == -EACCES ? 0 : 1);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
}

/* Sessions whose names are between those of others, made and closed all the time. */
struct churn {
	int dev;
	atomic_bool stop;
	atomic_int rounds;
	int error;
};

static void *churn(void *arg)
{
	struct churn *c = arg;
	char name[LUO_NAME_MAX + 2];
	int sessions[8], i, n;

	for (n = 0; !c->stop && !c->error; n++) {
		for (i = 0; i < ARRAY_SIZE(sessions); i++) {
			stay_name((n * 37 + i * 41) % STAY, name);
			strcat(name, i % 2 ? "+" : "!");
			sessions[i] = luo_create(c->dev, name);
			if (sessions[i] < 0 && sessions[i] != -EEXIST)
				c->error = sessions[i];
		}
		for (i = 0; i < ARRAY_SIZE(sessions); i++)
			if (sessions[i] >= 0)
				close(sessions[i]);
		c->rounds++;
	}
	return NULL;
}

TEST_F_TIMEOUT(live, complete_under_load, 120)
{
	static const size_t pieces[] = { 0, 1, 64 * 1024 };
	static int sessions[STAY];
	static char text[LIST_MAX];
	struct churn c = { .dev = self->dev };
	int i, fd, before;
	pthread_t thread;
	long len;

	if (no_lists())
		SKIP(return, NO_LISTS);
	ASSERT_EQ(0, make_stay(self->dev, sessions));
	ASSERT_EQ(0, pthread_create(&thread, NULL, churn, &c));
	while (!c.rounds && !c.error)
		usleep(1000);
	for (i = 0; i < ROUNDS * ARRAY_SIZE(pieces); i++) {
		before = c.rounds;
		fd = list_open(LIST_SESSIONS);
		ASSERT_GE(fd, 0);
		len = list_read(fd, text, pieces[i % ARRAY_SIZE(pieces)]);
		close(fd);
		EXPECT_GT(len, 0);
		EXPECT_EQ(0, not_once(text));
		EXPECT_EQ(1, list_count(text, "name"));
		EXPECT_EQ(0, uneven_lines(text));
		/* Others went on. */
		while (c.rounds == before && !c.error)
			usleep(1000);
	}
	c.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, c.error);
	close_stay(sessions);
}

/* The number of references to the module, or a negative errno. */
static int module_references(void)
{
	char text[16] = {};
	int fd = open("/sys/module/liveupdate/refcnt", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atoi(text);
}

TEST_F(live, a_slow_reader_holds_up_nobody)
{
	static int sessions[STAY];
	static char text[LIST_MAX];
	int list, session, fd, references;
	char name[LUO_NAME_MAX];
	struct list_row row;
	size_t len;
	ssize_t got;

	if (no_lists())
		SKIP(return, NO_LISTS);
	ASSERT_EQ(0, make_stay(self->dev, sessions));
	references = module_references();
	list = list_open(LIST_SESSIONS);
	ASSERT_GE(list, 0);
	/* rmmod would fail with EWOULDBLOCK. */
	EXPECT_EQ(references + 1, module_references());
	/* No read gives more than a page, for which the kernel has memory. */
	got = read(list, text, sizeof(text) - 1);
	ASSERT_GT(got, 0);
	EXPECT_LE(got, LUO_PAGE);
	len = got;
	len += read(list, text + len, 7);

	/* Everything works meanwhile, also of the session that was read last. */
	session = luo_create(self->dev, "debugfs-slow");
	EXPECT_GE(session, 0);
	fd = luo_memfd(0, LUO_PAGE, 1);
	EXPECT_EQ(0, luo_preserve(session, fd, 1));
	EXPECT_EQ(0, close(session));
	EXPECT_EQ(0, close(fd));
	close_stay(sessions);
	ASSERT_EQ(0, make_stay(self->dev, sessions));

	EXPECT_GE(list_read(list, text + len, 4096), 0);
	EXPECT_EQ(0, not_once(text));
	EXPECT_EQ(0, list_find(text, "debugfs-slow", "outgoing", &row));

	/* From the start, and from the middle. */
	ASSERT_EQ(0, lseek(list, 0, SEEK_SET));
	len = list_read(list, text, 4096);
	EXPECT_EQ(0, not_once(text));
	EXPECT_EQ(0, strncmp(text, SESSIONS_HEADER, strlen(SESSIONS_HEADER)));
	got = pread(list, name, sizeof(name), len / 2);
	EXPECT_EQ(sizeof(name), got);
	EXPECT_EQ(0, memcmp(name, text + len / 2, sizeof(name)));
	EXPECT_EQ(0, close(list));
	EXPECT_EQ(references, module_references());
	close_stay(sessions);
}

/* Sessions that go while the list is open are not shown later. */
TEST_F(live, what_is_gone_is_gone)
{
	static int sessions[STAY];
	static char text[LIST_MAX];
	struct list_row row;
	char name[LUO_NAME_MAX];
	int list;

	if (no_lists())
		SKIP(return, NO_LISTS);
	ASSERT_EQ(0, make_stay(self->dev, sessions));
	list = list_open(LIST_SESSIONS);
	ASSERT_GE(list, 0);
	ASSERT_GT(read(list, text, 1), 0);
	close_stay(sessions);
	EXPECT_GE(list_read(list, text, 4096), 0);
	/* At most what fits the page that was read. */
	stay_name(STAY - 1, name);
	EXPECT_EQ(0, list_find(text, name, "outgoing", &row));
	close(list);
}

struct writer {
	int fd;
	int session;
	atomic_bool written;
	int preserved;
};

static void *write_all(void *arg)
{
	static struct iovec parts[PARTS];
	static char part[MIB];
	struct writer *w = arg;
	int i;

	for (i = 0; i < PARTS; i++)
		parts[i] = (struct iovec){ part, sizeof(part) };
	if (pwritev(w->fd, parts, PARTS, 0) != PARTS * MIB)
		perror("pwritev");
	w->written = true;
	return NULL;
}

static void *preserve(void *arg)
{
	struct writer *w = arg;

	w->preserved = luo_preserve(w->session, w->fd, 1);
	return NULL;
}

/* preserve_fd waits for the end of a write(2). The reader does not. */
TEST_F_TIMEOUT(live, a_busy_session_does_not_hold_up_the_reader, 60)
{
	pthread_t writing, preserving;
	struct list_row row = {};
	struct writer w = {};
	bool written;
	int i;

	if (no_lists())
		SKIP(return, NO_LISTS);
	w.session = luo_create(self->dev, "debugfs-busy");
	w.fd = luo_memfd(0, 0, 1);
	ASSERT_GE(w.session, 0);
	ASSERT_EQ(0, pthread_create(&writing, NULL, write_all, &w));
	while (!luo_size(w.fd))
		usleep(100);
	ASSERT_EQ(0, pthread_create(&preserving, NULL, preserve, &w));
	for (i = 0; i < 10000 && strcmp(row.state, "busy"); i++) {
		ASSERT_EQ(1, list_find(list_text(LIST_SESSIONS), "debugfs-busy",
				       "outgoing", &row));
		written = w.written;
		if (written)
			break;
		/* The writer may have the only CPU. */
		usleep(500);
	}
	EXPECT_STREQ("busy", row.state);
	EXPECT_EQ(0, row.files);
	EXPECT_FALSE(written);
	pthread_join(writing, NULL);
	pthread_join(preserving, NULL);
	EXPECT_EQ(0, w.preserved);
	ASSERT_EQ(1, list_find(list_text(LIST_SESSIONS), "debugfs-busy", "outgoing",
			       &row));
	EXPECT_STREQ("open", row.state);
	EXPECT_EQ(1, row.files);
	EXPECT_EQ(PARTS * MIB / LUO_PAGE, row.pages);
	close(w.session);
	close(w.fd);
}

TEST_HARNESS_MAIN
