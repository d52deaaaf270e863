// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random sequences of calls by several processes that take turns, checked by a
 * model; see lib/model.h. In the first kernel nothing is incoming. In the second,
 * every sequence has incoming sessions of its own.
 *
 * LUO_GENERATE_SECONDS= is the duration, in both kernels together. For an unexpected
 * answer, the program prints the seed and the number of the sequence, leaves out as
 * many steps as possible, and prints what still fails. LUO_SEED= or lu.seed= repeats
 * a run, LUO_GENERATE_SEQUENCE= only one of its sequences.
 *
 * memory: 1G
 * timeout: 240
 */
#include "lib/model.h"
#include "lib/perform.h"
#include "lib/stages.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS 120
#define SECONDS 40
#define STUCK 60
/* The last SPARE universes are for minimizing. */
#define UNIVERSES 1500
#define SPARE 300
#define MINIMIZE 60

/* Shared between the process that runs a sequence and its parent. */
struct sequence {
	unsigned int universe;
	bool incoming;
	__u64 seed;
	unsigned int count;
	struct step steps[STEPS];
	/* The outcome. */
	int failed;
	unsigned long performed;
	struct answer expected, seen;
	char trouble[160];
};

#define NOT_FAILED (-1)
#define FAILED_AT_END STEPS

static struct worker {
	pid_t pid;
	int control;
} workers[MODEL_PROCS];

static struct step_place place;
static __u64 chance;
static unsigned int next_universe;

static unsigned int below(unsigned int limit)
{
	chance = luo_mix(chance, 0);
	return chance % limit;
}

/* Random steps, with a preference for those that can succeed. */

static unsigned int slot_of(const struct model *m, unsigned int proc,
			    unsigned int kind)
{
	unsigned int i, slot = below(MODEL_SLOTS);

	if (!below(10))
		return slot;
	for (i = 0; i < MODEL_SLOTS; i++, slot = (slot + 1) % MODEL_SLOTS) {
		if (m->fds[proc][slot].kind == kind)
			break;
	}
	return slot;
}

static void choose(const struct model *m, struct step *step)
{
	static const struct {
		unsigned char op, weight, kind;
	} table[] = {
		{ STEP_OPEN, 6, KIND_NONE },
		{ STEP_CREATE, 12, KIND_DEVICE },
		{ STEP_RETRIEVE, 8, KIND_DEVICE },
		{ STEP_PRESERVE, 20, KIND_OUTGOING },
		{ STEP_RETRIEVE_FD, 10, KIND_INCOMING },
		{ STEP_FINISH, 3, KIND_INCOMING },
		{ STEP_GET_NAME, 3, KIND_OUTGOING },
		{ STEP_BAD_NUMBER, 1, KIND_OUTGOING },
		{ STEP_FDINFO, 4, KIND_OUTGOING },
		{ STEP_CLOSE, 8, KIND_OUTGOING },
		{ STEP_DUP, 5, KIND_OUTGOING },
		{ STEP_SEND, 5, KIND_OUTGOING },
		{ STEP_RECEIVE, 5, KIND_NONE },
		{ STEP_EXIT, 1, KIND_NONE },
		{ STEP_NULL, 1, KIND_NONE },
		{ STEP_MEMFD, 8, KIND_NONE },
		{ STEP_TRUNCATE, 6, KIND_MEMFD },
		{ STEP_PUNCH, 6, KIND_MEMFD },
		{ STEP_WRITE, 6, KIND_MEMFD },
		{ STEP_MAP, 6, KIND_MEMFD },
		{ STEP_SEAL, 2, KIND_MEMFD },
		{ STEP_SEEK, 2, KIND_MEMFD },
		{ STEP_DIGEST, 8, KIND_MEMFD },
	};
	static const unsigned char passed[] = { KIND_DEVICE, KIND_INCOMING,
						KIND_MEMFD };
	unsigned int i, all = 0, kind;
	int at;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		all += table[i].weight;
	at = below(all);
	for (i = 0; (at -= table[i].weight) >= 0; i++)
		;
	kind = table[i].kind;
	/* Calls that both kinds of session have are made on both. */
	if (kind == KIND_OUTGOING && table[i].op != STEP_PRESERVE && !below(2))
		kind = KIND_INCOMING;
	*step = (struct step){ .op = table[i].op, .proc = below(MODEL_PROCS) };
	if (step->op == STEP_DUP || step->op == STEP_SEND ||
	    step->op == STEP_CLOSE)
		kind = below(2) ? kind : passed[below(ARRAY_SIZE(passed))];
	step->slot = slot_of(m, step->proc, kind);
	step->to = slot_of(m, step->proc,
			   step->op == STEP_PRESERVE ? KIND_MEMFD : KIND_NONE);
	step->seed = (below(1 << 30) | 1);
	switch (step->op) {
	case STEP_CREATE:
	case STEP_RETRIEVE:
		step->arg = below(20) ? below(MODEL_NAMES) :
					MODEL_NAMES + below(2);
		break;
	case STEP_BAD_NUMBER:
		step->arg = below(2);
		break;
	case STEP_SEND:
		step->arg = below(MODEL_PROCS);
		break;
	case STEP_MEMFD:
	case STEP_TRUNCATE:
		step->arg = below(MODEL_PAGES + 1);
		break;
	case STEP_SEAL:
		step->arg = below(ARRAY_SIZE(step_seals));
		break;
	default:
		step->arg = below(MODEL_PAGES);
	}
	if (step->op >= STEP_CREATE && step->op <= STEP_GET_NAME && !below(6))
		step->flavor = below(FLAVORS);
}

/* The processes that perform the steps. */

static void work(int control)
{
	struct answer answer;
	struct step step;

	while (read(control, &step, sizeof(step)) == sizeof(step)) {
		answer = step_perform(&step, &place);
		if (write(control, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

static bool start_worker(unsigned int proc)
{
	int pair[2], i;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return false;
	workers[proc].pid = fork();
	if (!workers[proc].pid) {
		for (i = 0; i < MODEL_PROCS; i++)
			close(workers[i].control);
		close(pair[0]);
		work(pair[1]);
	}
	close(pair[1]);
	workers[proc].control = pair[0];
	return workers[proc].pid > 0;
}

static bool stop_worker(unsigned int proc)
{
	int status;

	close(workers[proc].control);
	workers[proc].control = -1;
	return waitpid(workers[proc].pid, &status, 0) == workers[proc].pid &&
	       !status;
}

static bool perform(const struct step *step, struct answer *seen)
{
	int control = workers[step->proc].control;

	if (step->op == STEP_EXIT) {
		*seen = (struct answer){};
		return stop_worker(step->proc) && start_worker(step->proc);
	}
	return write(control, step, sizeof(*step)) == sizeof(*step) &&
	       read(control, seen, sizeof(*seen)) == sizeof(*seen);
}

/* All fds are closed: the sequence must have left nothing. */
static void check_leftovers(struct sequence *s)
{
	char name[LUO_NAME_MAX];
	int dev = luo_open(), i, fd;

	if (dev < 0) {
		sprintf(s->trouble, "afterwards: open: %s", strerror(-dev));
		s->failed = FAILED_AT_END;
		return;
	}
	for (i = 0; i < MODEL_NAMES; i++) {
		step_name(name, &place, i);
		fd = luo_create(dev, name);
		if (fd < 0) {
			sprintf(s->trouble,
				"afterwards: create_session number %d: %s", i,
				strerror(-fd));
			s->failed = FAILED_AT_END;
		}
		close(fd);
		/*
		 * Closing finishes the sessions that the sequence did not
		 * retrieve.
		 */
		fd = luo_retrieve(dev, name);
		if (fd >= 0)
			close(fd);
	}
	close(dev);
}

/* Runs a sequence in a process of its own; chooses its steps if it has none. */
static void run(struct sequence *s)
{
	bool make = !s->count;
	struct model model;
	unsigned int i;

	alarm(STUCK);
	chance = s->seed;
	place.universe = s->universe;
	model_init(&model, s->incoming);
	for (i = 0; i < MODEL_PROCS; i++) {
		workers[i].control = -1;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			       place.inbox[i]))
			return;
	}
	for (i = 0; i < MODEL_PROCS; i++) {
		if (!start_worker(i))
			return;
	}
	for (i = 0; make ? i < STEPS : i < s->count; i++) {
		if (make) {
			choose(&model, &s->steps[i]);
			s->count++;
		}
		s->expected = model_step(&model, &s->steps[i]);
		if (s->expected.err == STEP_SKIPPED)
			continue;
		s->failed = i;
		if (!perform(&s->steps[i], &s->seen)) {
			sprintf(s->trouble, "the process died");
			return;
		}
		if (!step_answer_is(&s->seen, &s->expected))
			return;
		s->performed++;
	}
	s->failed = NOT_FAILED;
	for (i = 0; i < MODEL_PROCS; i++)
		stop_worker(i);
	for (i = 0; i < MODEL_PROCS; i++) {
		close(place.inbox[i][0]);
		close(place.inbox[i][1]);
	}
	check_leftovers(s);
}

/* Returns whether all answers were expected. The exit closes all fds. */
static bool run_apart(struct sequence *s)
{
	int status = -1;
	pid_t pid;

	s->failed = 0;
	s->trouble[0] = '\0';
	memset(&s->seen, 0, sizeof(s->seen));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		run(s);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (status) {
		sprintf(s->trouble, "stuck for %d s, or killed", STUCK);
		kill(-pid, SIGKILL);
	}
	return s->failed == NOT_FAILED;
}

/* Minimizing. */

static void take_out(struct sequence *to, const struct sequence *from,
		     unsigned int at, unsigned int n)
{
	*to = *from;
	memmove(&to->steps[at], &to->steps[at + n],
		(to->count - at - n) * sizeof(struct step));
	to->count -= n;
	/* The incoming sessions of the universe are used up. */
	if (to->incoming)
		to->universe = next_universe--;
}

static void minimize(struct sequence *worst, struct sequence *trial)
{
	time_t end = time(NULL) + MINIMIZE;
	unsigned int n, at;

	if (worst->failed < (int)worst->count)
		worst->count = worst->failed + 1;
	for (n = worst->count / 2; n; n /= 2) {
		for (at = 0; at + n <= worst->count && time(NULL) < end;) {
			if (worst->count == n)
				break;
			take_out(trial, worst, at, n);
			if (run_apart(trial)) {
				at += n;
				continue;
			}
			*worst = *trial;
			if (worst->failed < (int)worst->count)
				worst->count = worst->failed + 1;
		}
	}
}

static void print_sequence(const struct sequence *s)
{
	unsigned int i;

	for (i = 0; i < s->count; i++)
		ksft_print_msg("%3u %s\n", i, step_text(&s->steps[i]));
	if (s->trouble[0])
		ksft_print_msg("    %s\n", s->trouble);
	else
		ksft_print_msg("    expected %s, seen %s\n",
			       answer_text(&s->expected),
			       answer_text(&s->seen));
}

static int number_from(const char *variable, int otherwise)
{
	const char *text = getenv(variable);

	return text ? atoi(text) : otherwise;
}

static void generate(struct stage_ctx *ctx, __u64 seed, bool incoming)
{
	int only = number_from("LUO_GENERATE_SEQUENCE", -1),
	    n = only < 0 ? 0 : only;
	time_t end =
		time(NULL) + number_from("LUO_GENERATE_SECONDS", SECONDS) / 2;
	struct sequence *shared = mmap(NULL, 2 * sizeof(*shared),
				       PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool well = true;

	need_eq(shared == MAP_FAILED, 0, "no memory");
	next_universe = UNIVERSES - 1;
	for (; well && (only < 0 ? time(NULL) < end : n == only); n++) {
		shared->incoming = incoming && n < UNIVERSES - SPARE;
		shared->universe = shared->incoming ? n : UNIVERSES + n;
		shared->seed = luo_mix(seed, n);
		shared->count = 0;
		well = run_apart(shared);
	}
	stage_note("seed %llu: %d sequences, %lu calls", seed, n,
		   shared->performed);
	if (!expect_eq(well, true,
		       "seed %llu: all answers of sequence %d are expected",
		       seed, n - 1)) {
		if (shared->failed < (int)shared->count)
			stage_note("step %d: %s", shared->failed,
				   step_text(&shared->steps[shared->failed]));
		minimize(shared, shared + 1);
		stage_note("the shortest sequence found that still fails:");
		print_sequence(shared);
	}
	munmap(shared, 2 * sizeof(*shared));
}

static void outgoing(struct stage_ctx *ctx)
{
	__u64 seed = luo_seed();

	stage_save("seed", &seed, sizeof(seed));
	generate(ctx, seed, false);
}

static void make_incoming(struct stage_ctx *ctx)
{
	int dev = need_fd(luo_open(), "open");
	unsigned int i;

	for (i = 0; i < UNIVERSES; i++) {
		place.universe = i;
		need_eq(incoming_make(dev, &place), 0,
			"preserving for sequence %u", i);
	}
	close(dev);
}

static void both(struct stage_ctx *ctx)
{
	__u64 seed;

	stage_load("seed", &seed, sizeof(seed));
	generate(ctx, seed, true);
}

static const struct stage_case cases[] = {
	{ "calls", true, { outgoing, both } },
	{ "incoming", true, { make_incoming, NULL } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_generate",
	.stages = 2,
	.no_device = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	luo_nofile(4 * UNIVERSES);
	return stage_main(argc, argv, &program);
}
