// SPDX-License-Identifier: GPL-2.0-only
/*
 * Soak: any number of kexecs in a row. Each kernel writes a journal of what it
 * leaves, into the directory shared with the host, and the next one checks it: every
 * session and file of the journal must be there, and nothing that the journal calls
 * gone. Slow leaks and rare orders of events show up here.
 *
 * Random choices decide what happens to an incoming session: it is finished, closed,
 * held half retrieved, or never retrieved. Files are dropped or, changed, preserved
 * again. New sessions and files are added. All choices follow from the seed and the
 * stage: lu.seed= on the kernel command line, or LUO_SEED, repeats a run.
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SESSIONS 16
#define MAX_FILES 8
#define MAX_GONE 64
#define MAX_PAGES 512
#define MAX_CARRIED (MAX_SESSIONS * MAX_FILES)

/*
 * How many pages more or less may be in use than in the second kernel. (The
 * first was not entered by kexec, and has its memory elsewhere.) Pages of
 * memfds (Shmem) and pages that wait for a retrieve, which the journal knows,
 * do not count. What counts are headers and lists (up to three pages for each
 * of some dozen files), slab and page tables, which move by up to 100 pages.
 * The limit is the same in every later kernel: pages that each kexec leaks and
 * hands over again add up until they exceed it.
 */
#define TOLERATE 200

struct file {
	__u64 token;
	__u64 size;
	__u64 pos;
	int seals;
	/* Pages in memory. */
	unsigned int pages;
	/* The seed of each page; 0 for a page of zeroes. */
	__u32 seed[MAX_PAGES];
};

struct session {
	char name[LUO_NAME_MAX];
	unsigned int count;
	struct file files[MAX_FILES];
};

static struct journal {
	__u64 seed;
	long in_use;
	unsigned int count;
	struct session sessions[MAX_SESSIONS];
	unsigned int gone;
	char names[MAX_GONE][LUO_NAME_MAX];
} before, after;

/* Retrieved files that will be preserved again. */
static struct {
	int fd;
	struct file file;
} carried[MAX_CARRIED];

static unsigned int carrying;
static __u64 state;
static int last_stage, current_stage;
/* Pages of incoming files that this kernel neither retrieves nor frees. */
static long waiting;
static struct {
	unsigned int sessions, files, finished, closed, held, ignored;
} tally;

static __u64 any(void)
{
	state = luo_mix(state, 0);
	return state;
}

static unsigned int below(unsigned int limit)
{
	return any() % limit;
}

static bool one_in(unsigned int n)
{
	return !below(n);
}

static void journal_tag(char *tag, int stage)
{
	sprintf(tag, "journal-%d", stage);
}

static void now_gone(const char *name)
{
	if (after.gone < MAX_GONE)
		strcpy(after.names[after.gone++], name);
}

static bool is_expected(const char *name)
{
	unsigned int i;

	for (i = 0; i < before.count; i++) {
		if (!strcmp(before.sessions[i].name, name))
			return true;
	}
	return false;
}

/* Files. */

static size_t pages_of(const struct file *file)
{
	return (file->size + LUO_PAGE - 1) / LUO_PAGE;
}

static size_t bytes_of_page(const struct file *file, size_t page)
{
	__u64 left = file->size - page * LUO_PAGE;

	return left < LUO_PAGE ? left : LUO_PAGE;
}

static void write_page(int fd, struct file *file, size_t page)
{
	file->seed[page] = (any() & 0xffffff) + 1;
	need_eq(luo_fill(fd, page * LUO_PAGE, bytes_of_page(file, page),
			 file->seed[page]),
		0, "write to page %zu", page);
}

static bool is_writable(const struct file *file)
{
	return !(file->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
}

static void write_some(int fd, struct file *file)
{
	size_t n = below(4);

	while (file->size && n-- && is_writable(file))
		write_page(fd, file, below(pages_of(file)));
}

static __u64 any_size(void)
{
	static const __u64 sizes[] = {
		0, 1, LUO_PAGE - 1, LUO_PAGE, LUO_PAGE + 1, 2 * MIB
	};

	if (one_in(4))
		return sizes[below(ARRAY_SIZE(sizes))];
	return 1 + below(one_in(3) ? 2 * MIB : 32 * LUO_PAGE);
}

static int make_file(struct file *file)
{
	static const int some[] = {
		F_SEAL_SEAL,  F_SEAL_SHRINK,	   F_SEAL_GROW,
		F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_EXEC,
	};
	bool sparse = one_in(2);
	size_t page;
	int fd, i;

	memset(file, 0, sizeof(*file));
	file->size = any_size();
	fd = need_fd(luo_memfd(MFD_ALLOW_SEALING, 0, 0), "a memfd");
	need_eq(luo_truncate(fd, file->size), 0, "truncate");
	for (page = 0; page < pages_of(file); page++) {
		if (!sparse || one_in(5))
			write_page(fd, file, page);
	}
	for (i = 0; one_in(2) && i < 3; i++)
		luo_add_seals(fd, some[below(ARRAY_SIZE(some))]);
	file->seals = luo_seals(fd);
	return fd;
}

static void check_file(int fd, const struct file *file, const char *name)
{
	size_t page;
	long at;

	expect_eq(luo_size(fd), file->size, "size of %#llx of \"%s\"",
		  file->token, name);
	expect_eq(luo_pos(fd), file->pos, "position of %#llx of \"%s\"",
		  file->token, name);
	expect_eq(luo_seals(fd), file->seals, "seals of %#llx of \"%s\"",
		  file->token, name);
	for (page = 0; page < pages_of(file); page++) {
		off_t off = page * LUO_PAGE;
		size_t len = bytes_of_page(file, page);

		if (file->seed[page])
			at = luo_check(fd, off, len, file->seed[page]);
		else
			at = luo_check_zero(fd, off, len);
		if (!expect_eq(at, LUO_SAME,
			       "content of page %zu of %#llx of \"%s\"", page,
			       file->token, name))
			return;
	}
}

/* Incoming sessions. */

static void take_file(int session, const struct session *from,
		      const struct file *file, bool may_carry)
{
	int fd = luo_retrieve_fd(session, file->token);

	if (!expect_eq(fd < 0 ? fd : 0, 0, "retrieve_fd %#llx of \"%s\"",
		       file->token, from->name))
		return;
	check_file(fd, file, from->name);
	if (may_carry && current_stage < last_stage && carrying < MAX_CARRIED &&
	    !one_in(3)) {
		carried[carrying].fd = fd;
		carried[carrying++].file = *file;
	} else {
		close(fd);
	}
}

/* The daemon keeps open what is not closed here. */
static void take_session(int dev, const struct session *from)
{
	bool last = current_stage == last_stage, half = one_in(3),
	     hold = !last && one_in(6);
	char name[LUO_NAME_MAX];
	unsigned int i;
	int session;

	if (!last && one_in(8)) {
		tally.ignored++;
		for (i = 0; i < from->count; i++)
			waiting += from->files[i].pages;
		now_gone(from->name);
		return;
	}
	session = luo_retrieve(dev, from->name);
	if (!expect_eq(session < 0 ? session : 0, 0, "retrieve_session \"%s\"",
		       from->name))
		return;
	expect_eq(luo_get_name(session, name), 0, "get_name");
	expect_eq(strcmp(name, from->name), 0, "the name \"%s\" of \"%s\"",
		  name, from->name);
	expect_err(luo_retrieve(dev, from->name), -EINVAL,
		   "retrieve_session again");
	expect_err(luo_retrieve_fd(session, any()), -ENOENT,
		   "retrieve_fd of an unknown token");
	for (i = 0; i < from->count; i++) {
		if (!half || one_in(2))
			take_file(session, from, &from->files[i], !hold);
		else if (hold)
			waiting += from->files[i].pages;
	}
	now_gone(from->name);
	if (hold) {
		tally.held++;
		return;
	}
	if (one_in(2)) {
		tally.finished++;
		expect_eq(luo_finish(session), 0, "finish of \"%s\"",
			  from->name);
		if (from->count)
			expect_err(luo_retrieve_fd(session,
						   from->files[0].token),
				   -ENOENT, "retrieve_fd after finish");
	} else {
		tally.closed++;
	}
	close(session);
	expect_err(luo_retrieve(dev, from->name), -ENOENT,
		   "retrieve_session after close");
}

static long pages_in_use(void)
{
	return -(luo_free_pages() + luo_meminfo("Shmem") + waiting);
}

/* Measured at the same point in every kernel: after the last retrieve. */
static void check_memory(void)
{
	long more = 0;
	int tries;

	for (tries = 0; tries < 10; tries++) {
		luo_settle();
		after.in_use = pages_in_use();
		if (current_stage <= 2)
			break;
		more = after.in_use - before.in_use;
		if (labs(more) <= TOLERATE)
			break;
		usleep(200000);
	}
	stage_note("%ld more pages than in kernel 2, %ld not retrieved", more,
		   waiting);
	if (current_stage > 2) {
		expect_range(more, -TOLERATE, TOLERATE,
			     "pages more in use than in kernel 2");
		after.in_use = before.in_use;
	}
}

static void check_incoming(int dev)
{
	unsigned int i;

	for (i = 0; i < before.gone; i++) {
		if (!is_expected(before.names[i]))
			expect_err(luo_retrieve(dev, before.names[i]), -ENOENT,
				   "retrieve_session \"%s\"", before.names[i]);
	}
	for (i = 0; i < before.count; i++)
		take_session(dev, &before.sessions[i]);
}

/* Outgoing sessions. */

static int create(int dev, struct session *session, unsigned int number)
{
	int fd;

	snprintf(session->name, LUO_NAME_MAX, "soak-%d-%u",
		 one_in(3) ? 0 : current_stage, number);
	/* Some names have the maximal length. */
	if (one_in(4))
		memset(session->name + strlen(session->name), 'x',
		       LUO_NAME_MAX - 1 - strlen(session->name));
	fd = need_fd(luo_create(dev, session->name), "create_session \"%s\"",
		     session->name);
	expect_err(luo_create(dev, session->name), -EEXIST,
		   "create_session again");
	session->count = 0;
	return fd;
}

static void put_file(int session, struct session *to)
{
	struct file *file = &to->files[to->count];
	struct stat st;
	int fd;

	if (carrying && !one_in(3)) {
		unsigned int which = below(carrying);

		fd = carried[which].fd;
		*file = carried[which].file;
		carried[which] = carried[--carrying];
		write_some(fd, file);
	} else {
		fd = make_file(file);
	}
	file->token = one_in(4) ? to->count : any();
	need_eq(luo_preserve(session, fd, file->token), 0,
		"preserve_fd %#llx in \"%s\"", file->token, to->name);
	expect_err(luo_preserve(session, fd, file->token + 1), -EBUSY,
		   "preserve_fd again");
	/* The preserved file is still in use. */
	write_some(fd, file);
	file->pos = one_in(3) ? any() >> 1 : below(3 * MIB);
	expect_eq(lseek(fd, file->pos, SEEK_SET), file->pos, "lseek");
	expect_eq(fstat(fd, &st), 0, "fstat");
	file->pages = st.st_blocks * 512 / LUO_PAGE;
	to->count++;
	if (one_in(2))
		close(fd);
}

static void leave(int dev)
{
	unsigned int sessions = 4 + below(MAX_SESSIONS - 4), i, n;
	char tag[32];

	for (i = 0; i < sessions; i++) {
		struct session *session = &after.sessions[after.count];
		int fd = create(dev, session, i);

		for (n = below(MAX_FILES + 1); n; n--)
			put_file(fd, session);
		if (one_in(5)) {
			now_gone(session->name);
			close(fd);
			continue;
		}
		after.count++;
		tally.sessions++;
		tally.files += session->count;
	}
	while (carrying)
		close(carried[--carrying].fd);
	journal_tag(tag, current_stage);
	stage_save(tag, &after, sizeof(after));
}

static void soak(struct stage_ctx *ctx)
{
	char tag[32];

	current_stage = ctx->stage;
	last_stage = ctx->stages;
	if (ctx->stage == 1) {
		after.seed = luo_seed();
	} else {
		journal_tag(tag, ctx->stage - 1);
		stage_load(tag, &before, sizeof(before));
		after.seed = before.seed;
	}
	state = luo_mix(after.seed, ctx->stage);
	if (ctx->stage > 1)
		check_incoming(ctx->dev);
	check_memory();
	stage_note("seed %llu: %u finished, %u closed, %u held, %u ignored",
		   after.seed, tally.finished, tally.closed, tally.held,
		   tally.ignored);
	if (ctx->stage < ctx->stages) {
		leave(ctx->dev);
		stage_note("%u outgoing sessions with %u files", tally.sessions,
			   tally.files);
	}
}

static const struct stage_case cases[] = { { "all", true, { soak } }, {} };

static const struct stage_program program = {
	.name = "soak",
	.stages = 2,
	.any_stages = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
