// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each round is prepared by steps in turn. Then the threads start at the same
 * moment, each after a pause of random length. Every pair of calls of the table
 * gets its turn, with arguments chosen so that the calls mostly meet.
 */
#include "race.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAUSE 3000

/* The slots of a round. */
enum { DEVICE, SESSION_A, SESSION_B, FILE_A, FILE_B, MADE };

#define MAX_PROBE 64
/* Names that sessions are created with. */
#define NAMES 3

static const struct {
	unsigned char op, slot, to;
	bool needs_incoming;
} calls[] = {
	{ STEP_OPEN, 0, MADE },
	{ STEP_CREATE, DEVICE, MADE },
	{ STEP_RETRIEVE, DEVICE, MADE },
	{ STEP_PRESERVE, SESSION_A, FILE_A },
	{ STEP_RETRIEVE_FD, SESSION_B, MADE, true },
	{ STEP_FINISH, SESSION_B, 0, true },
	{ STEP_GET_NAME, SESSION_A },
	{ STEP_FDINFO, SESSION_A },
	{ STEP_CLOSE, SESSION_A },
	{ STEP_CLOSE, FILE_A },
	{ STEP_CLOSE, DEVICE },
	/* dup2() onto an fd that is open. */
	{ STEP_DUP, FILE_B, SESSION_A },
	{ STEP_DUP, SESSION_B, SESSION_A },
	{ STEP_DUP, SESSION_A, FILE_A },
	{ STEP_DUP, SESSION_A, MADE },
	{ STEP_TRUNCATE, FILE_A },
	{ STEP_PUNCH, FILE_A },
	{ STEP_WRITE, FILE_A },
	{ STEP_MAP, FILE_A },
	{ STEP_SEAL, FILE_A },
	{ STEP_SEEK, FILE_A },
};

#define CALLS ARRAY_SIZE(calls)

/* The pairs that take most locks: every other round is one of them. */
static const unsigned char often[][2] = {
	{ STEP_CREATE, STEP_CREATE },
	{ STEP_PRESERVE, STEP_PRESERVE },
	{ STEP_PRESERVE, STEP_CLOSE },
	{ STEP_PRESERVE, STEP_TRUNCATE },
	{ STEP_PRESERVE, STEP_PUNCH },
	{ STEP_CREATE, STEP_CLOSE },
	/* Only with incoming sessions. */
	{ STEP_RETRIEVE, STEP_RETRIEVE },
	{ STEP_RETRIEVE_FD, STEP_FINISH },
	{ STEP_RETRIEVE_FD, STEP_RETRIEVE_FD },
	{ STEP_FINISH, STEP_FINISH },
	{ STEP_PRESERVE, STEP_FINISH },
};

#define OFTEN_OUTGOING 6

static struct {
	struct step_place place;
	__u64 chance;
	unsigned int racers;
	struct step steps[RACE_THREADS];
	struct answer seen[RACE_THREADS];
	unsigned int pause[RACE_THREADS];
	sem_t go[RACE_THREADS];
	sem_t done;
	/* Threads that are awake. They start when all are. */
	atomic_uint ready;
	atomic_bool end;
	struct step probe[MAX_PROBE];
	struct answer found[MAX_PROBE];
	unsigned int probes;
} now;

static unsigned int below(unsigned int limit)
{
	now.chance = luo_mix(now.chance, 0);
	return now.chance % limit;
}

/* What the threads do. */

static void *racer(void *arg)
{
	unsigned int me = (unsigned long)arg, tries;
	volatile unsigned int i;
	cpu_set_t mine;

	/*
	 * Without this, the scheduler wakes two threads on one CPU, one after
	 * the other.
	 */
	CPU_ZERO(&mine);
	CPU_SET(me % sysconf(_SC_NPROCESSORS_ONLN), &mine);
	sched_setaffinity(0, sizeof(mine), &mine);
	for (;;) {
		sem_wait(&now.go[me]);
		if (now.end)
			return NULL;
		now.ready++;
		for (tries = 1; now.ready < now.racers; tries++) {
			/* There may be fewer CPUs than threads. */
			if (tries % 1000)
				__builtin_ia32_pause();
			else
				sched_yield();
		}
		for (i = 0; i < now.pause[me]; i++)
			;
		now.seen[me] = step_perform(&now.steps[me], &now.place);
		sem_post(&now.done);
	}
}

static void run_threads(void)
{
	unsigned int i;

	now.ready = 0;
	for (i = 0; i < now.racers; i++)
		sem_post(&now.go[i]);
	for (i = 0; i < now.racers; i++)
		sem_wait(&now.done);
}

/* What a call may see of another that fails while both run; see race.h. */

static bool same_file(const struct model *m, unsigned int a, unsigned int b)
{
	const struct model_fd *one = &m->fds[0][a], *other = &m->fds[0][b];

	return one->kind == KIND_MEMFD && other->kind == KIND_MEMFD &&
	       m->files[one->object].inode == m->files[other->object].inode;
}

static bool sees(const struct model *before, const struct step *step, int err,
		 const struct step *other, const struct answer *its)
{
	bool failed = its->err < 0;

	switch (step->op) {
	case STEP_CREATE:
		/* The failed create held the name until its copy-out failed. */
		return other->op == STEP_CREATE && other->arg == step->arg &&
		       failed && err == -EEXIST;
	case STEP_RETRIEVE:
		return other->op == STEP_RETRIEVE && other->arg == step->arg &&
		       failed && err == -EINVAL;
	case STEP_PRESERVE:
		/*
		 * dup2() replaces the fd before the session it named is closed.
		 */
		if (other->op == STEP_DUP && other->to == step->slot)
			return err == -EBUSY;
		if (other->op != STEP_PRESERVE || !failed)
			return false;
		return (err == -EEXIST && other->arg == step->arg) ||
		       (err == -EBUSY &&
			same_file(before, step->to, other->to));
	case STEP_TRUNCATE:
	case STEP_PUNCH:
	case STEP_WRITE:
		/* The failed preserve had frozen the file for a while. */
		return err == -EPERM && other->op == STEP_PRESERVE && failed &&
		       same_file(before, step->slot, other->to);
	case STEP_SEAL:
		if (err != -EBUSY)
			return false;
		/* Mapped or pinned for a moment. */
		return (other->op == STEP_MAP &&
			same_file(before, step->slot, other->slot)) ||
		       (other->op == STEP_PRESERVE &&
			same_file(before, step->slot, other->to));
	case STEP_MAP:
		/* The kernel denies new mappings while it tries a seal. */
		return err == -EPERM && other->op == STEP_SEAL && failed &&
		       same_file(before, step->slot, other->slot);
	}
	return false;
}

static bool is_seen(const struct model *before, unsigned int i)
{
	unsigned int k;

	for (k = 0; k < now.racers; k++) {
		if (k != i && sees(before, &now.steps[i], now.seen[i].err,
				   &now.steps[k], &now.seen[k]))
			return true;
	}
	return false;
}

/* Orders of the calls. */

static bool probe_agrees(const struct model *after)
{
	struct model m = *after;
	struct answer answer;
	unsigned int i;

	for (i = 0; i < now.probes; i++) {
		answer = model_step(&m, &now.probe[i]);
		if (answer.err != STEP_SKIPPED &&
		    !step_answer_is(&now.found[i], &answer))
			return false;
	}
	return true;
}

/* Tries the calls in the bit mask @left in every order. */
static bool explains(const struct model *before, const struct model *m,
		     unsigned int left)
{
	unsigned int i;

	if (!left)
		return probe_agrees(m);
	for (i = 0; i < now.racers; i++) {
		struct model next = *m;
		struct answer answer;

		if (!(left & 1 << i))
			continue;
		answer = model_step(&next, &now.steps[i]);
		/* The model leaves this open: the round has no verdict. */
		if (answer.err == STEP_SKIPPED)
			return true;
		if (step_answer_is(&now.seen[i], &answer)) {
			if (explains(before, &next, left & ~(1 << i)))
				return true;
		}
		if (is_seen(before, i) && explains(before, m, left & ~(1 << i)))
			return true;
	}
	return false;
}

static void probe(const struct step *step)
{
	now.found[now.probes] = step_perform(step, &now.place);
	now.probe[now.probes++] = *step;
}

static void probe_name(unsigned int op, unsigned int name)
{
	struct step step = {
		.op = op,
		.slot = DEVICE,
		.arg = name,
		.to = MADE,
	};

	probe(&step);
}

/*
 * Reads everything. Then closes sessions, after which names and files must be
 * free.
 */
static void probe_all(bool incoming)
{
	unsigned int i;

	now.probes = 0;
	for (i = 0; i < MODEL_SLOTS; i++) {
		probe(&(struct step){ .op = STEP_FDINFO, .slot = i });
		probe(&(struct step){ .op = STEP_DIGEST, .slot = i });
	}
	for (i = 0; i < MODEL_SLOTS; i++)
		probe(&(struct step){ .op = STEP_PUNCH, .slot = i, .arg = 1 });
	for (i = 0; i < MODEL_SLOTS; i++) {
		if (i != FILE_A && i != FILE_B)
			probe(&(struct step){ .op = STEP_CLOSE, .slot = i });
	}
	probe(&(struct step){ .op = STEP_PUNCH, .slot = FILE_A, .arg = 1 });
	probe(&(struct step){ .op = STEP_CLOSE, .slot = FILE_A });
	probe(&(struct step){ .op = STEP_CLOSE, .slot = FILE_B });
	probe(&(struct step){ .op = STEP_OPEN, .to = DEVICE });
	for (i = 0; i < NAMES; i++)
		probe_name(STEP_CREATE, i);
	for (i = 0; incoming && i < MODEL_INCOMING; i++)
		probe_name(STEP_RETRIEVE, i);
	probe(&(struct step){ .op = STEP_CLOSE, .slot = MADE });
	probe(&(struct step){ .op = STEP_CLOSE, .slot = DEVICE });
}

/* Rounds. */

static bool prepare(struct race *race, struct model *m)
{
	struct step steps[12];
	unsigned int n = 0, i;

	model_init(m, race->incoming);
	now.place.universe = race->first_universe + race->rounds;
	steps[n++] = (struct step){ .op = STEP_OPEN, .to = DEVICE };
	steps[n++] = (struct step){
		.op = STEP_CREATE, .slot = DEVICE, .arg = 0, .to = SESSION_A
	};
	if (race->incoming && below(8))
		steps[n++] = (struct step){ .op = STEP_RETRIEVE,
					    .slot = DEVICE,
					    .arg = below(MODEL_INCOMING),
					    .to = SESSION_B };
	else
		steps[n++] = (struct step){ .op = STEP_CREATE,
					    .slot = DEVICE,
					    .arg = 1,
					    .to = SESSION_B };
	if (race->incoming && below(2))
		steps[n++] = (struct step){ .op = STEP_RETRIEVE_FD,
					    .slot = SESSION_B,
					    .arg = below(MODEL_TOKENS),
					    .to = FILE_A };
	else
		steps[n++] = (struct step){ .op = STEP_MEMFD,
					    .to = FILE_A,
					    .seed = 0xfd,
					    .arg = 1 + below(MODEL_PAGES) };
	if (below(4))
		steps[n++] = (struct step){ .op = STEP_MEMFD,
					    .to = FILE_B,
					    .seed = 0x1fb,
					    .arg = 1 + below(MODEL_PAGES) };
	else
		steps[n++] = (struct step){ .op = STEP_DUP,
					    .slot = FILE_A,
					    .to = FILE_B };
	if (!below(3))
		steps[n++] = (struct step){ .op = STEP_PRESERVE,
					    .slot = SESSION_A,
					    .to = FILE_A,
					    .arg = below(2) };
	if (!below(3))
		steps[n++] = (struct step){ .op = STEP_PRESERVE,
					    .slot = SESSION_A,
					    .to = FILE_B,
					    .arg = below(2) };
	for (i = 0; i < n; i++) {
		struct answer seen = step_perform(&steps[i], &now.place);
		struct answer expected = model_step(m, &steps[i]);

		if (!step_answer_is(&seen, &expected)) {
			sprintf(race->trouble,
				"in turn, round %lu: %s: expected %s, seen %s",
				race->rounds, step_text(&steps[i]),
				answer_text(&expected), answer_text(&seen));
			return false;
		}
	}
	return true;
}

static void choose(unsigned int i, unsigned int which)
{
	struct step *step = &now.steps[i];
	bool alike = below(3);

	*step = (struct step){ .op = calls[which].op,
			       .slot = calls[which].slot,
			       .to = calls[which].to,
			       .seed = below(1 << 30) | 1 };
	/* Mostly the same object, sometimes its neighbor. */
	if (step->slot == SESSION_A && !alike)
		step->slot = SESSION_B;
	if (step->slot == FILE_A && !below(4))
		step->slot = FILE_B;
	if (step->op == STEP_PRESERVE && !below(3))
		step->to = FILE_B;
	if (step->to == MADE)
		step->to = MADE + i;
	switch (step->op) {
	case STEP_CREATE:
	case STEP_RETRIEVE:
		/* A free name, or that of a session. */
		step->arg = below(2) ? NAMES - 1 : below(NAMES);
		break;
	case STEP_TRUNCATE:
		step->arg = below(MODEL_PAGES + 1);
		break;
	case STEP_SEAL:
		step->arg = below(ARRAY_SIZE(step_seals));
		break;
	case STEP_MAP:
		/*
		 * Not the pages of STEP_WRITE, which is not one atomic store.
		 */
		step->arg = below(2);
		break;
	case STEP_WRITE:
		step->arg = 2 + below(2);
		break;
	case STEP_SEEK:
	case STEP_RETRIEVE_FD:
		step->arg = below(MODEL_TOKENS);
		break;
	default:
		step->arg = below(2);
	}
	if (step->op >= STEP_CREATE && step->op <= STEP_FINISH && !below(8))
		step->flavor = FLAVOR_READONLY;
	now.pause[i] = below(2) ? below(PAUSE) : below(100);
}

static void report(struct race *race, const struct model *before)
{
	char *text = race->trouble;
	unsigned int i;

	text += sprintf(text, "round %lu: no order explains the answers\n",
			race->rounds);
	for (i = 0; i < now.racers; i++)
		text += sprintf(text, "#   %s: %s\n", step_text(&now.steps[i]),
				answer_text(&now.seen[i]));
	text += sprintf(text, "#   before, by slot:");
	for (i = 0; i < MODEL_SLOTS; i++)
		text += sprintf(text, " %u/%u", before->fds[0][i].kind,
				before->fds[0][i].object);
	text += sprintf(text, "\n#   afterwards:");
	for (i = 0; i < now.probes; i++)
		text += sprintf(text, " %d", now.found[i].err);
}

static void close_all(void)
{
	unsigned int i;

	for (i = 0; i < MODEL_SLOTS; i++)
		close(STEP_FIRST_FD + i);
}

static bool one_round(struct race *race, unsigned int a, unsigned int b)
{
	struct model before;
	unsigned int i;
	bool well;

	well = prepare(race, &before);
	if (well) {
		now.racers = below(6) ? 2 : 3;
		choose(0, a);
		choose(1, b);
		do {
			i = below(CALLS);
		} while (calls[i].needs_incoming && !race->incoming);
		choose(2, i);
		run_threads();
		probe_all(race->incoming);
		well = explains(&before, &before, (1 << now.racers) - 1);
		if (!well)
			report(race, &before);
	}
	close_all();
	return well;
}

static bool next_pair(const struct race *race, unsigned int *a, unsigned int *b)
{
	do {
		if (++*b == CALLS) {
			++*a;
			*b = *a;
		}
		if (*a == CALLS) {
			*a = 0;
			*b = 0;
		}
	} while (!race->incoming &&
		 (calls[*a].needs_incoming || calls[*b].needs_incoming));
	return !*a && !*b;
}

static unsigned int call_of(unsigned int op)
{
	unsigned int i;

	for (i = 0; calls[i].op != op; i++)
		;
	return i;
}

bool race_run(struct race *race, unsigned int seconds, unsigned long rounds)
{
	time_t end = time(NULL) + seconds;
	pthread_t threads[RACE_THREADS];
	unsigned int a = 0, b = 0, i;
	bool well = true, again = false;
	const unsigned char *pair;

	memset(&now, 0, sizeof(now));
	now.chance = luo_mix(race->seed, race->incoming);
	sem_init(&now.done, 0, 0);
	for (i = 0; i < RACE_THREADS; i++) {
		sem_init(&now.go[i], 0, 0);
		if (pthread_create(&threads[i], NULL, racer,
				   (void *)(unsigned long)i)) {
			sprintf(race->trouble, "no thread");
			return false;
		}
	}
	race->rounds = 0;
	race->pairs = 0;
	while (well && time(NULL) < end && race->rounds < rounds) {
		if (race->rounds & 1) {
			pair = often[below(race->incoming ? ARRAY_SIZE(often) :
							    OFTEN_OUTGOING)];
			well = one_round(race, call_of(pair[0]),
					 call_of(pair[1]));
			race->rounds++;
			continue;
		}
		well = one_round(race, a, b);
		race->rounds++;
		race->pairs += !again;
		again |= next_pair(race, &a, &b);
	}
	now.end = true;
	for (i = 0; i < RACE_THREADS; i++) {
		sem_post(&now.go[i]);
		pthread_join(threads[i], NULL);
	}
	return well;
}
