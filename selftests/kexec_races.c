// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything against reboot(2): threads create and close sessions, preserve and write
 * files and retrieve incoming ones, while the kexec is entered. What the next kernel
 * finds must be a state that some order of the calls explains.
 *
 * Each thread notes a call before and after it in a preserved memfd, so the notes
 * cross as they are when the CPUs stop. From them follows:
 *
 * - Sessions of one name exist one after the other, because a name is free only
 *   after close. So only one of them can be there: the last one whose create has
 *   returned, or one whose create had not returned.
 * - The former must be there if no close of it had begun, with every file whose
 *   preserve had returned. It may have files whose preserve had begun, and no others.
 * - If its close had begun but not returned, it is there like that, or not at all.
 *   The same holds if close had returned while another call on the session had not:
 *   that call holds a reference.
 * - Otherwise, if its close had returned, it is not there.
 * - A session whose create had only begun may be there, and is empty.
 * - A file is in at most one session.
 * - Each thread writes ascending numbers to a word of its own in each file. The word
 *   is at least the last number whose write had returned, and at most the last one
 *   whose write had begun.
 *
 * LUO_SEED= or lu.seed= repeats the choices, but not their timing.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 4
#define NAMES 6
#define TOKENS 4
#define FILES 8
#define NOTES 30000
#define INSTANCES 20000
#define SPARES 100
/* The kexec waits for a random number of calls, less than this. */
#define AHEAD 6000
/*
 * The fd of a session. No number is used twice, so an fd never names another
 * file.
 */
#define FIRST_FD 1000
#define FILE_SIZE (3 * LUO_PAGE)

enum call { CREATE, CLOSE, PRESERVE, FDINFO };

struct note {
	__u8 call;
	__u8 name;
	__u8 token;
	__u8 file;
	__u32 instance;
	/* 0: the call had not returned. */
	atomic_uint end;
	__s32 answer;
};

/* The notes, which cross the kexec. */
static struct log {
	__u64 seed;
	atomic_uint clock;
	atomic_uint instances;
	/* The first answer that no race explains, and its call. */
	atomic_int unexplained;
	atomic_int unexplained_call;
	atomic_uint count[THREADS];
	struct note notes[THREADS][NOTES];
	atomic_uint begun[FILES][THREADS];
	atomic_uint written[FILES][THREADS];
} *log_of;

static int dev;
static int files[FILES];
static __u32 *maps[FILES];
/*
 * The session of a name: its instance + 1, or 0. The thread that clears it
 * closes the session.
 */
static atomic_uint current[NAMES];
static int stage_now;

struct racer {
	unsigned int me;
	__u64 chance;
	unsigned int spare;
};

static unsigned int below(struct racer *r, unsigned int limit)
{
	r->chance = luo_mix(r->chance, 0);
	return r->chance % limit;
}

static void note_unexplained(int call, int answer)
{
	if (!atomic_exchange(&log_of->unexplained, answer))
		log_of->unexplained_call = call;
}

static struct note *add_note(struct racer *r, const struct note *what)
{
	unsigned int n = log_of->count[r->me];
	struct note *note = &log_of->notes[r->me][n];

	if (n == NOTES)
		return NULL;
	*note = *what;
	/* From here on the note counts. */
	log_of->count[r->me] = n + 1;
	return note;
}

static struct note *begin(struct racer *r, enum call which, unsigned int name,
			  unsigned int instance)
{
	struct note what = { .call = which,
			     .name = name,
			     .instance = instance };

	return add_note(r, &what);
}

static void end(struct note *note, int answer)
{
	note->answer = answer;
	note->end = ++log_of->clock;
}

static void name_of(char *name, unsigned int n)
{
	sprintf(name, "races-%u", n);
}

static bool create(struct racer *r, unsigned int n)
{
	char name[LUO_NAME_MAX] = "";
	unsigned int instance = log_of->instances++;
	struct note *note;
	int fd;

	if (instance >= INSTANCES)
		return false;
	name_of(name, n);
	note = begin(r, CREATE, n, instance);
	if (!note)
		return false;
	fd = luo_create(dev, name);
	if (fd >= 0) {
		dup2(fd, FIRST_FD + instance);
		close(fd);
	} else if (fd != -EEXIST) {
		note_unexplained(CREATE, fd);
	}
	end(note, fd < 0 ? fd : 0);
	if (fd >= 0)
		current[n] = instance + 1;
	return true;
}

static bool close_one(struct racer *r, unsigned int n)
{
	unsigned int instance = atomic_exchange(&current[n], 0);
	int fd = FIRST_FD + instance - 1, err;
	struct note *note;

	if (!instance)
		return true;
	note = begin(r, CLOSE, n, instance - 1);
	if (!note)
		return false;
	/* Closes by close() or by dup2(). */
	err = below(r, 2) ? close(fd) : dup2(files[0], fd) != fd;
	if (err)
		note_unexplained(CLOSE, -errno);
	end(note, err);
	return true;
}

static bool preserve(struct racer *r, unsigned int n)
{
	unsigned int instance = current[n];
	unsigned int token = below(r, TOKENS), file = below(r, FILES);
	struct note what = { .call = PRESERVE, .name = n }, *note;
	int err;

	if (!instance)
		return true;
	what.instance = instance - 1;
	what.token = token;
	what.file = file;
	note = add_note(r, &what);
	if (!note)
		return false;
	err = luo_preserve(FIRST_FD + instance - 1, files[file], token);
	/*
	 * EBADF, ENOTTY: another thread has closed the session. ENOMEM: a page
	 * could not move out of scratch memory, because another task held a
	 * reference.
	 */
	if (err && err != -EEXIST && err != -EBUSY && err != -EBADF &&
	    err != -ENOTTY && err != -ENOMEM)
		note_unexplained(PRESERVE, err);
	end(note, err);
	return true;
}

static bool read_fdinfo(struct racer *r, unsigned int n)
{
	unsigned int instance = current[n];
	char text[2048];
	struct note *note;

	if (!instance)
		return true;
	note = begin(r, FDINFO, n, instance - 1);
	if (!note)
		return false;
	end(note, luo_fdinfo(FIRST_FD + instance - 1, text, sizeof(text)));
	return true;
}

static void write_word(struct racer *r, unsigned int file, bool by_call)
{
	__u32 value = log_of->begun[file][r->me] + 1;

	log_of->begun[file][r->me] = value;
	if (by_call)
		luo_pwrite(files[file], &value, sizeof(value),
			   (1 + r->me) * sizeof(value));
	else
		((atomic_uint *)maps[file])[1 + r->me] = value;
	log_of->written[file][r->me] = value;
}

/*
 * Retrieves a session that the previous kernel left; each belongs to one
 * thread.
 */
static void take_spare(struct racer *r)
{
	char name[LUO_NAME_MAX] = "";
	int session, fd;

	if (stage_now == 1 || r->spare >= SPARES)
		return;
	sprintf(name, "spare-%d-%u", stage_now - 1, r->spare);
	r->spare += THREADS;
	session = luo_retrieve(dev, name);
	fd = session < 0 ? session : luo_retrieve_fd(session, 1);
	if (fd < 0)
		note_unexplained(-1, fd);
	else if (luo_check(fd, 0, 100, 1) != LUO_SAME)
		note_unexplained(-2, -EBADMSG);
	if (below(r, 2))
		luo_finish(session);
	close(session);
	close(fd);
}

static void *race(void *arg)
{
	struct racer *r = arg;
	unsigned int n, file;
	bool more = true;

	while (more) {
		n = below(r, NAMES);
		file = below(r, FILES);
		switch (below(r, 14)) {
		case 0 ... 1:
			more = create(r, n);
			break;
		case 2:
			more = close_one(r, n);
			break;
		case 3 ... 6:
			more = preserve(r, n);
			break;
		case 7 ... 8:
			write_word(r, file, true);
			break;
		case 9 ... 10:
			write_word(r, file, false);
			break;
		case 11:
			more = read_fdinfo(r, n);
			break;
		case 12:
			/*
			 * Calls that must fail on a preserved file touch the
			 * last page only.
			 */
			luo_fallocate(files[file],
				      FALLOC_FL_PUNCH_HOLE |
					      FALLOC_FL_KEEP_SIZE,
				      FILE_SIZE - LUO_PAGE, LUO_PAGE);
			luo_truncate(files[file], FILE_SIZE);
			luo_add_seals(files[file], F_SEAL_SHRINK);
			maps[file][(FILE_SIZE - 1) / sizeof(__u32)] = 1;
			break;
		case 13:
			take_spare(r);
			break;
		}
	}
	return NULL;
}

/* The old kernel. */

static int make_log(__u64 seed)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	need_eq(luo_truncate(fd, sizeof(*log_of)), 0, "the size of the log");
	log_of = mmap(NULL, sizeof(*log_of), PROT_READ | PROT_WRITE, MAP_SHARED,
		      fd, 0);
	need_eq(log_of == MAP_FAILED, 0, "mapping the log");
	/*
	 * Fill all holes: a page that fills a hole after the freeze would not
	 * cross.
	 */
	memset(log_of, 0xff, sizeof(*log_of));
	memset(log_of, 0, sizeof(*log_of));
	log_of->seed = seed;
	return fd;
}

static void start(struct stage_ctx *ctx, __u64 seed)
{
	static struct racer racers[THREADS];
	char name[LUO_NAME_MAX];
	int i, fd, session, log;
	unsigned int ahead;
	pthread_t thread;

	log = make_log(seed);
	session = need_fd(luo_create(dev, "log"), "create_session \"log\"");
	need_eq(luo_preserve(session, log, 1), 0, "preserving the log");
	for (i = 0; i < SPARES; i++) {
		sprintf(name, "spare-%d-%d", stage_now, i);
		session = need_fd(luo_create(dev, name),
				  "create_session \"%s\"", name);
		fd = need_fd(luo_memfd(0, 100, 1), "a memfd");
		need_eq(luo_preserve(session, fd, 1), 0, "preserve_fd");
		close(fd);
	}
	for (i = 0; i < FILES; i++) {
		files[i] = need_fd(luo_memfd(MFD_ALLOW_SEALING, FILE_SIZE,
					     100 + i),
				   "a memfd");
		maps[i] = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED, files[i], 0);
		need_eq(maps[i] == MAP_FAILED, 0, "mapping it");
		memset(maps[i], 0, LUO_PAGE);
		maps[i][0] = i;
	}
	for (i = 0; i < THREADS; i++) {
		racers[i].me = i;
		racers[i].chance = luo_mix(seed, 10 * stage_now + i);
		racers[i].spare = i;
		need_eq(pthread_create(&thread, NULL, race, &racers[i]), 0,
			"a thread");
	}
	/* The threads run on during the kexec. */
	ahead = luo_mix(seed, stage_now) % AHEAD;
	while (log_of->clock < ahead)
		usleep(1000);
}

/* The new kernel. */

struct expected {
	/* The last session of the name whose create had returned, or -1. */
	int instance;
	__u32 created;
	/* 0: not begun; 1: begun; 2: returned. */
	int closed;
	/* A call on it had not returned. */
	bool in_use;
	/* A create of the name had not returned. */
	bool begun;
	/*
	 * By token: the file + 1 whose preserve had returned, and a bit mask of
	 * files whose preserve had begun.
	 */
	unsigned int file[TOKENS];
	unsigned int maybe[TOKENS];
};

static void read_notes(const struct log *log, unsigned int name,
		       struct expected *expected)
{
	const struct note *note;
	unsigned int t, n, pass;

	/* The first pass finds the session, the second the calls on it. */
	memset(expected, 0, sizeof(*expected));
	expected->instance = -1;
	for (pass = 0; pass < 2; pass++) {
		for (t = 0; t < THREADS; t++) {
			for (n = 0; n < log->count[t]; n++) {
				note = &log->notes[t][n];
				if (note->name != name)
					continue;
				if (!pass && note->call == CREATE) {
					expected->begun |= !note->end;
					if (note->end > expected->created &&
					    !note->answer) {
						expected->created = note->end;
						expected->instance =
							note->instance;
					}
				}
				if (!pass || note->call == CREATE ||
				    (int)note->instance != expected->instance)
					continue;
				if (note->call == CLOSE)
					expected->closed = note->end ? 2 : 1;
				else if (!note->end)
					expected->in_use = true;
				if (note->call != PRESERVE)
					continue;
				if (!note->end)
					expected->maybe[note->token] |=
						1 << note->file;
				else if (!note->answer)
					expected->file[note->token] =
						note->file + 1;
			}
		}
	}
	if (expected->closed == 2 && expected->in_use)
		expected->closed = 1;
}

static void check_words(int fd, const struct log *log, unsigned int file)
{
	__u32 words[1 + THREADS];
	unsigned int t;

	need_eq(pread(fd, words, sizeof(words), 0), sizeof(words),
		"reading a file");
	for (t = 0; t < THREADS; t++)
		expect_range(words[1 + t], log->written[file][t],
			     log->begun[file][t],
			     "what thread %u wrote to file %u", t, file);
	expect_pattern(fd, LUO_PAGE, LUO_PAGE, 100 + file,
		       "a page that no thread writes");
	expect_eq(luo_size(fd), FILE_SIZE, "size of file %u", file);
}

static unsigned int check_session(int session, const struct log *log,
				  const struct expected *expected,
				  const char *name, unsigned int *seen_files)
{
	unsigned int token, found = 0, lost = 0;
	__u32 file = FILES;
	int fd;

	for (token = 0; token < TOKENS; token++) {
		fd = luo_retrieve_fd(session, token);
		if (fd < 0) {
			expect_err(fd, -ENOENT, "retrieve_fd %u of \"%s\"",
				   token, name);
			if (expected->file[token])
				lost |= 1 << token;
			continue;
		}
		found++;
		need_eq(pread(fd, &file, sizeof(file), 0), sizeof(file),
			"reading a file");
		expect_range(file, 0, FILES - 1, "number of the file");
		if (file >= FILES)
			continue;
		expect_eq(*seen_files >> file & 1, 0,
			  "file %u is also in another session", file);
		*seen_files |= 1 << file;
		if (expected->file[token])
			expect_eq(file, expected->file[token] - 1,
				  "file of token %u of \"%s\"", token, name);
		else
			expect_eq(expected->maybe[token] >> file & 1, 1,
				  "had begun: file %u, token %u of \"%s\"",
				  file, token, name);
		check_words(fd, log, file);
		close(fd);
	}
	/*
	 * A session whose create had not returned is empty. It can only be
	 * there if the other one is gone.
	 */
	if (!found && expected->begun &&
	    (expected->instance < 0 || expected->closed))
		return 0;
	expect_eq(lost, 0, "tokens (bit mask) of \"%s\" whose files are lost",
		  name);
	return found;
}

static void check_incoming(struct stage_ctx *ctx)
{
	unsigned int calls = 0, open_calls = 0, there = 0, all_files = 0,
		     seen_files = 0, i, t;
	char name[LUO_NAME_MAX] = "";
	struct expected expected;
	const struct log *log;
	int session, fd;

	session = need_fd(luo_retrieve(dev, "log"), "retrieve_session \"log\"");
	fd = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd of the log");
	log = mmap(NULL, sizeof(*log), PROT_READ, MAP_SHARED, fd, 0);
	need_eq(log == MAP_FAILED, 0, "mapping the log");
	need_eq(luo_finish(session), 0, "finish of \"log\"");
	close(session);
	close(fd);
	expect_eq(log->unexplained, 0,
		  "an answer that no race explains, to call %d",
		  log->unexplained_call);
	for (t = 0; t < THREADS; t++) {
		calls += log->count[t];
		if (log->count[t])
			open_calls += !log->notes[t][log->count[t] - 1].end;
	}
	for (i = 0; i < NAMES; i++) {
		read_notes(log, i, &expected);
		name_of(name, i);
		session = luo_retrieve(dev, name);
		if (session < 0) {
			expect_err(session, -ENOENT, "retrieve_session \"%s\"",
				   name);
			if (expected.instance >= 0 && !expected.closed)
				expect_eq(0, 1, "sessions \"%s\" not closed",
					  name);
			continue;
		}
		there++;
		if ((expected.instance < 0 || expected.closed == 2) &&
		    !expected.begun)
			expect_eq(1, 0,
				  "sessions \"%s\", closed or never created",
				  name);
		all_files += check_session(session, log, &expected, name,
					   &seen_files);
		expect_eq(luo_finish(session), 0, "finish of \"%s\"", name);
		close(session);
	}
	stage_note("seed %llu: %u calls, %u incoming sessions with %u files",
		   log->seed, calls, there, all_files);
	stage_note("%u of %d threads were in a call when the kexec was entered",
		   open_calls, THREADS);
	/* The sessions of the last kernel but one are gone. */
	for (i = 0; i < SPARES; i++) {
		sprintf(name, "spare-%d-%d", stage_now - 2, i);
		expect_err(luo_retrieve(dev, name), -ENOENT,
			   "a session of the kernel before the last");
	}
	munmap((void *)log, sizeof(*log));
}

static void race_with_reboot(struct stage_ctx *ctx)
{
	__u64 seed;

	stage_now = ctx->stage;
	dev = need_fd(luo_open(), "open");
	if (ctx->stage == 1) {
		seed = luo_seed();
		stage_save("seed", &seed, sizeof(seed));
	} else {
		stage_load("seed", &seed, sizeof(seed));
		check_incoming(ctx);
	}
	if (ctx->stage < ctx->stages)
		start(ctx, seed);
	else
		close(dev);
}

static const struct stage_case cases[] = { { "all", true, { race_with_reboot } },
					   {} };

static const struct stage_program program = {
	.name = "kexec_races",
	.stages = 6,
	.any_stages = true,
	.no_device = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(FIRST_FD + INSTANCES);
	return stage_main(argc, argv, &program);
}
