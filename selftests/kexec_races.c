// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything against reboot(2): threads make and close sessions, preserve and
 * write files and take over what came in, and go on doing it while the kexec is
 * entered. What the next kernel finds must be a state that an order of the calls
 * explains.
 *
 * Before and after each call a thread notes it in a memfd that is preserved, too,
 * so that the notes cross as they are when the CPUs stop. From them follows:
 *
 * Sessions of one name come one after the other, because a name is free only when
 * the session before is gone. So only the last one whose create was answered can
 * be there, or one whose create was not answered yet. The former must be there if
 * nobody had begun to close it, with every file whose preserve was answered; it
 * may have files whose preserve had begun, and none else. If its close had begun,
 * but not ended, it is there with all that or not at all; the same if it ended while
 * another call on the session had not: that call has it open. Otherwise, if it ended,
 * it is not there. A session whose create had only begun may be there, and is empty.
 *
 * A file is in one session at most. Each thread writes numbers that only grow to a
 * word of its own in each file: what is found is not less than the last number
 * whose write was answered, and not more than the last that was begun.
 *
 * LUO_SEED= (or lu.seed=) makes the same choices again, if not at the same time.
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

#define THREADS		4
#define NAMES		6
#define TOKENS		4
#define FILES		8
#define NOTES		30000
#define INSTANCES	20000
#define SPARES		100
/* Calls before the kexec, at least; by chance. */
#define AHEAD		6000
/* Fd of a session: no number is used twice, so none is closed and another's. */
#define FIRST_FD	1000
#define FILE_SIZE	(3 * LUO_PAGE)

enum call { CREATE, CLOSE, PRESERVE, FDINFO };

struct note {
	__u8 call;
	__u8 name;
	__u8 token;
	__u8 file;
	__u32 instance;
	/* 0: not answered. */
	atomic_uint end;
	__s32 answer;
};

/* What crosses. */
static struct log {
	__u64 seed;
	atomic_uint clock;
	atomic_uint instances;
	/* The first answer that no race explains, and its call. */
	atomic_int wrong;
	atomic_int wrong_call;
	atomic_uint count[THREADS];
	struct note notes[THREADS][NOTES];
	atomic_uint begun[FILES][THREADS];
	atomic_uint written[FILES][THREADS];
} *log_of;

static int dev;
static int files[FILES];
static __u32 *maps[FILES];
/* The session of a name: its instance + 1, or 0; who takes it out closes it. */
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

static void complain(int call, int answer)
{
	if (!atomic_exchange(&log_of->wrong, answer))
		log_of->wrong_call = call;
}

static struct note *begin(struct racer *r, struct note what)
{
	unsigned int n = log_of->count[r->me];
	struct note *note = &log_of->notes[r->me][n];

	if (n == NOTES)
		return NULL;
	*note = what;
	/* It counts from here on. */
	log_of->count[r->me] = n + 1;
	return note;
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
	note = begin(r, (struct note){ .call = CREATE, .name = n, .instance = instance });
	if (!note)
		return false;
	fd = luo_create(dev, name);
	if (fd >= 0) {
		dup2(fd, FIRST_FD + instance);
		close(fd);
	} else if (fd != -EEXIST) {
		complain(CREATE, fd);
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
	note = begin(r, (struct note){ .call = CLOSE, .name = n, .instance = instance - 1 });
	if (!note)
		return false;
	/* Closed, or something else put in its place. */
	err = below(r, 2) ? close(fd) : dup2(files[0], fd) != fd;
	if (err)
		complain(CLOSE, -errno);
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
	note = begin(r, what);
	if (!note)
		return false;
	err = luo_preserve(FIRST_FD + instance - 1, files[file], token);
	/*
	 * Closed meanwhile, or no session any more; or a page that somebody else looks
	 * at this moment could not be moved to where it can stay.
	 */
	if (err && err != -EEXIST && err != -EBUSY && err != -EBADF && err != -ENOTTY &&
	    err != -ENOMEM)
		complain(PRESERVE, err);
	end(note, err);
	return true;
}

static bool look_into(struct racer *r, unsigned int n)
{
	unsigned int instance = current[n];
	char text[2048];
	struct note *note;

	if (!instance)
		return true;
	note = begin(r, (struct note){ .call = FDINFO, .name = n, .instance = instance - 1 });
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
		luo_pwrite(files[file], &value, sizeof(value), (1 + r->me) * sizeof(value));
	else
		((atomic_uint *)maps[file])[1 + r->me] = value;
	log_of->written[file][r->me] = value;
}

/* What the kernel before left for this: it is nobody else's. */
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
		complain(-1, fd);
	else if (luo_check(fd, 0, 100, 1) != LUO_SAME)
		complain(-2, -EBADMSG);
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
			more = look_into(r, n);
			break;
		case 12:
			/* The last page is for this. */
			luo_fallocate(files[file], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
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
	log_of = mmap(NULL, sizeof(*log_of), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need_eq(log_of == MAP_FAILED, 0, "mapping the log");
	/* A page that comes into a hole when all is frozen would not cross. */
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
		session = need_fd(luo_create(dev, name), "create_session \"%s\"", name);
		fd = need_fd(luo_memfd(0, 100, 1), "a memfd");
		need_eq(luo_preserve(session, fd, 1), 0, "preserve_fd");
		close(fd);
	}
	for (i = 0; i < FILES; i++) {
		files[i] = need_fd(luo_memfd(MFD_ALLOW_SEALING, FILE_SIZE, 100 + i), "a memfd");
		maps[i] = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0);
		need_eq(maps[i] == MAP_FAILED, 0, "mapping it");
		memset(maps[i], 0, LUO_PAGE);
		maps[i][0] = i;
	}
	for (i = 0; i < THREADS; i++) {
		racers[i].me = i;
		racers[i].chance = luo_mix(seed, 10 * stage_now + i);
		racers[i].spare = i;
		need_eq(pthread_create(&thread, NULL, race, &racers[i]), 0, "a thread");
	}
	/* They go on meanwhile, and after this. */
	ahead = luo_mix(seed, stage_now) % AHEAD;
	while (log_of->clock < ahead)
		usleep(1000);
}

/* The new kernel. */

struct wanted {
	/* The last session of the name whose create was answered, or -1. */
	int instance;
	__u32 created;
	/* 0: not begun; 1: begun; 2: ended. */
	int closed;
	/* A call on it was not answered. */
	bool in_use;
	/* One that was asked for and not answered. */
	bool begun;
	/* By token: the file + 1 whose preserve was answered, and those that may be. */
	unsigned int file[TOKENS];
	unsigned int maybe[TOKENS];
};

static void understand(const struct log *log, unsigned int name, struct wanted *want)
{
	const struct note *note;
	unsigned int t, n, pass;

	/* First which session it is, then what was done to it. */
	memset(want, 0, sizeof(*want));
	want->instance = -1;
	for (pass = 0; pass < 2; pass++) {
		for (t = 0; t < THREADS; t++) {
			for (n = 0; n < log->count[t]; n++) {
				note = &log->notes[t][n];
				if (note->name != name)
					continue;
				if (!pass && note->call == CREATE) {
					want->begun |= !note->end;
					if (note->end > want->created && !note->answer) {
						want->created = note->end;
						want->instance = note->instance;
					}
				}
				if (!pass || note->call == CREATE ||
				    (int)note->instance != want->instance)
					continue;
				if (note->call == CLOSE)
					want->closed = note->end ? 2 : 1;
				else if (!note->end)
					want->in_use = true;
				if (note->call != PRESERVE)
					continue;
				if (!note->end)
					want->maybe[note->token] |= 1 << note->file;
				else if (!note->answer)
					want->file[note->token] = note->file + 1;
			}
		}
	}
	if (want->closed == 2 && want->in_use)
		want->closed = 1;
}

static void look_at_words(int fd, const struct log *log, unsigned int file)
{
	__u32 words[1 + THREADS];
	unsigned int t;

	need_eq(pread(fd, words, sizeof(words), 0), sizeof(words), "reading a file");
	for (t = 0; t < THREADS; t++)
		expect_range(words[1 + t], log->written[file][t], log->begun[file][t],
			     "what thread %u wrote to file %u", t, file);
	expect_pattern(fd, LUO_PAGE, LUO_PAGE, 100 + file, "a page that nobody wrote to");
	expect_eq(luo_size(fd), FILE_SIZE, "size of file %u", file);
}

static unsigned int look_at_session(int session, const struct log *log, const struct wanted *want,
				    const char *name, unsigned int *seen_files)
{
	unsigned int token, found = 0, lost = 0;
	__u32 file = FILES;
	int fd;

	for (token = 0; token < TOKENS; token++) {
		fd = luo_retrieve_fd(session, token);
		if (fd < 0) {
			expect_err(fd, -ENOENT, "retrieve_fd %u of \"%s\"", token, name);
			if (want->file[token])
				lost |= 1 << token;
			continue;
		}
		found++;
		need_eq(pread(fd, &file, sizeof(file), 0), sizeof(file), "reading a file");
		expect_range(file, 0, FILES - 1, "which file it is");
		if (file >= FILES)
			continue;
		expect_eq(*seen_files >> file & 1, 0, "file %u is in another session, too", file);
		*seen_files |= 1 << file;
		if (want->file[token])
			expect_eq(file, want->file[token] - 1, "file of token %u of \"%s\"", token,
				  name);
		else
			expect_eq(want->maybe[token] >> file & 1, 1,
				  "file %u of token %u of \"%s\" was asked for", file, token, name);
		look_at_words(fd, log, file);
		close(fd);
	}
	/* One that was just being made is empty, and can only be there if this one went. */
	if (!found && want->begun && (want->instance < 0 || want->closed))
		return 0;
	expect_eq(lost, 0, "tokens (bits) of \"%s\" whose files are lost", name);
	return found;
}

static void look(struct stage_ctx *ctx)
{
	unsigned int calls = 0, open_calls = 0, there = 0, all_files = 0, seen_files = 0, i, t;
	char name[LUO_NAME_MAX] = "";
	struct wanted want;
	const struct log *log;
	int session, fd;

	session = need_fd(luo_retrieve(dev, "log"), "retrieve_session \"log\"");
	fd = need_fd(luo_retrieve_fd(session, 1), "retrieve_fd of the log");
	log = mmap(NULL, sizeof(*log), PROT_READ, MAP_SHARED, fd, 0);
	need_eq(log == MAP_FAILED, 0, "mapping the log");
	need_eq(luo_finish(session), 0, "finish of \"log\"");
	close(session);
	close(fd);
	expect_eq(log->wrong, 0, "an answer that no race explains, to call %d", log->wrong_call);
	for (t = 0; t < THREADS; t++) {
		calls += log->count[t];
		if (log->count[t])
			open_calls += !log->notes[t][log->count[t] - 1].end;
	}
	for (i = 0; i < NAMES; i++) {
		understand(log, i, &want);
		name_of(name, i);
		session = luo_retrieve(dev, name);
		if (session < 0) {
			expect_err(session, -ENOENT, "retrieve_session \"%s\"", name);
			if (want.instance >= 0 && !want.closed)
				expect_eq(0, 1, "sessions \"%s\", created and not closed", name);
			continue;
		}
		there++;
		if ((want.instance < 0 || want.closed == 2) && !want.begun)
			expect_eq(1, 0, "sessions \"%s\", closed or never created", name);
		all_files += look_at_session(session, log, &want, name, &seen_files);
		expect_eq(luo_finish(session), 0, "finish of \"%s\"", name);
		close(session);
	}
	stage_note("seed %llu: %u calls, %u sessions and %u files came across", log->seed, calls,
		   there, all_files);
	stage_note("the kexec was entered while %u of %d threads were in a call", open_calls,
		   THREADS);
	/* Those that are left are for this kernel's threads. */
	for (i = 0; i < SPARES; i++) {
		sprintf(name, "spare-%d-%d", stage_now - 2, i);
		expect_err(luo_retrieve(dev, name), -ENOENT, "what the last kernel left alone");
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
		look(ctx);
	}
	if (ctx->stage < ctx->stages)
		start(ctx, seed);
	else
		close(dev);
}

static const struct stage_case cases[] = {
	{ "all", true, { race_with_reboot } },
	{ }
};

static const struct stage_program program = {
	.name = "kexec_races", .stages = 6, .any_stages = true, .no_device = true, .cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(FIRST_FD + INSTANCES);
	return stage_main(argc, argv, &program);
}
