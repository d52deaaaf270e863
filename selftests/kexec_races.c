// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything against reboot(2): threads create and close sessions, preserve and write
 * files and retrieve incoming ones, while the kexec is entered. What the next kernel
 * finds must be a state that some order of the calls explains; lib/notes.h says how
 * that is known.
 *
 * LUO_SEED= or lu.seed= repeats the choices, but not their timing.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/notes.h"
#include "lib/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INSTANCES 20000
#define SPARES 100
/* The kexec waits for a random number of calls, less than this. */
#define AHEAD 6000
/*
 * The fd of a session. No number is used twice, so an fd never names another
 * file.
 */
#define FIRST_FD 1000
#define NOTES_FILE_SIZE (3 * LUO_PAGE)

/* The notes of this kernel. */
static struct notes *notes;

static int dev;
static int files[NOTES_FILES];
static __u32 *maps[NOTES_FILES];
/*
 * The session of a name: its instance + 1, or 0. The thread that clears it
 * closes the session.
 */
static atomic_uint current[NOTES_NAMES];
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

static struct note *begin(struct racer *r, enum call which, unsigned int name,
			  unsigned int instance)
{
	struct note what = { .call = which,
			     .name = name,
			     .instance = instance };

	return notes_begin(notes, r->me, &what);
}

static bool create(struct racer *r, unsigned int n)
{
	char name[LUO_NAME_MAX] = "";
	unsigned int instance = notes->instances++;
	struct note *note;
	int fd;

	if (instance >= INSTANCES)
		return false;
	notes_session_name(name, n);
	note = begin(r, CREATE, n, instance);
	if (!note)
		return false;
	fd = luo_create(dev, name);
	if (fd >= 0) {
		dup2(fd, FIRST_FD + instance);
		close(fd);
	} else if (fd != -EEXIST) {
		notes_unexplained(notes, CREATE, fd);
	}
	notes_end(notes, note, fd < 0 ? fd : 0);
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
		notes_unexplained(notes, CLOSE, -errno);
	notes_end(notes, note, err);
	return true;
}

static bool preserve(struct racer *r, unsigned int n)
{
	unsigned int instance = current[n];
	unsigned int token = below(r, NOTES_TOKENS),
		     file = below(r, NOTES_FILES);
	struct note what = { .call = PRESERVE, .name = n }, *note;
	int err;

	if (!instance)
		return true;
	what.instance = instance - 1;
	what.token = token;
	what.file = file;
	note = notes_begin(notes, r->me, &what);
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
		notes_unexplained(notes, PRESERVE, err);
	notes_end(notes, note, err);
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
	notes_end(notes, note,
		  luo_fdinfo(FIRST_FD + instance - 1, text, sizeof(text)));
	return true;
}

static void write_word(struct racer *r, unsigned int file, bool by_call)
{
	__u32 value = notes->begun[file][r->me] + 1;

	notes->begun[file][r->me] = value;
	if (by_call)
		luo_pwrite(files[file], &value, sizeof(value),
			   (1 + r->me) * sizeof(value));
	else
		((atomic_uint *)maps[file])[1 + r->me] = value;
	notes->written[file][r->me] = value;
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
	r->spare += NOTES_THREADS;
	session = luo_retrieve(dev, name);
	fd = session < 0 ? session : luo_retrieve_fd(session, 1);
	if (fd < 0)
		notes_unexplained(notes, -1, fd);
	else if (luo_check(fd, 0, 100, 1) != LUO_SAME)
		notes_unexplained(notes, -2, -EBADMSG);
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
		n = below(r, NOTES_NAMES);
		file = below(r, NOTES_FILES);
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
				      NOTES_FILE_SIZE - LUO_PAGE, LUO_PAGE);
			luo_truncate(files[file], NOTES_FILE_SIZE);
			luo_add_seals(files[file], F_SEAL_SHRINK);
			maps[file][(NOTES_FILE_SIZE - 1) / sizeof(__u32)] = 1;
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

	need_eq(luo_truncate(fd, sizeof(*notes)), 0, "the size of the log");
	notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	need_eq(notes == MAP_FAILED, 0, "mapping the log");
	/*
	 * Fill all holes: a page that fills a hole after the freeze would not
	 * cross.
	 */
	memset(notes, 0xff, sizeof(*notes));
	memset(notes, 0, sizeof(*notes));
	notes->seed = seed;
	return fd;
}

static void start(struct stage_ctx *ctx, __u64 seed)
{
	static struct racer racers[NOTES_THREADS];
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
	for (i = 0; i < NOTES_FILES; i++) {
		files[i] = need_fd(luo_memfd(MFD_ALLOW_SEALING, NOTES_FILE_SIZE,
					     NOTES_FILE_SEED(i)),
				   "a memfd");
		maps[i] = mmap(NULL, NOTES_FILE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED, files[i], 0);
		need_eq(maps[i] == MAP_FAILED, 0, "mapping it");
		memset(maps[i], 0, LUO_PAGE);
		maps[i][0] = i;
	}
	for (i = 0; i < NOTES_THREADS; i++) {
		racers[i].me = i;
		racers[i].chance = luo_mix(seed, 10 * stage_now + i);
		racers[i].spare = i;
		need_eq(pthread_create(&thread, NULL, race, &racers[i]), 0,
			"a thread");
	}
	/* The threads run on during the kexec. */
	ahead = luo_mix(seed, stage_now) % AHEAD;
	while (notes->clock < ahead)
		usleep(1000);
}

/* The new kernel. */

static void check_incoming(void)
{
	char name[LUO_NAME_MAX] = "";
	const struct notes *old;
	int i, session, fd;

	session = need_fd(luo_retrieve(dev, "log"), "retrieve_session \"log\"");
	fd = need_retrieve(session, 1);
	old = mmap(NULL, sizeof(*old), PROT_READ, MAP_SHARED, fd, 0);
	need_eq(old == MAP_FAILED, 0, "mapping the notes");
	need_eq(luo_finish(session), 0, "finish of \"log\"");
	close(session);
	close(fd);
	notes_check(old, dev);
	/* The sessions of the last kernel but one are gone. */
	for (i = 0; i < SPARES; i++) {
		sprintf(name, "spare-%d-%d", stage_now - 2, i);
		expect_err(luo_retrieve(dev, name), -ENOENT,
			   "a session of the kernel before the last");
	}
	munmap((void *)old, sizeof(*old));
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
		check_incoming();
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
