// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that need other files of their session. Retrieving one retrieves what it needs,
 * also if tasks do so at once, or if files need each other.
 *
 * hidden: yes
 */
#include "lib/stages.h"

#include "test_modules/pair/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE (3 * LUO_PAGE + 7)
/* Of the memfd. */
#define MEMFD 1000
/* As many files wait for each other as the module allows, and more. */
#define WAITING 4
#define CHAIN (WAITING + 4)
#define RACES 40

static int need_pair(long value)
{
	int dev = need_fd(open(PAIR_DEVICE, O_RDWR | O_CLOEXEC), "the device");
	int fd = ioctl(dev, PAIR_CREATE, value);

	close(dev);
	return need_fd(fd, "a pair");
}

static void link_pair(int fd, int other)
{
	need_eq(ioctl(fd, PAIR_NEED, other), 0, "link");
}

static struct pair_state state_of(int fd)
{
	struct pair_state state = {};

	need_eq(read(fd, &state, sizeof(state)), sizeof(state), "read");
	return state;
}

static void expect_state(int fd, long value, long other, int error)
{
	struct pair_state state = state_of(fd);

	expect_eq(state.value, value, "value");
	expect_eq(state.other, other, "value of what %ld needs", value);
	expect_eq(state.error, error, "error of %ld", value);
}

/* A memfd that was preserved before the file that needs it. */

static void known_first(struct stage_ctx *ctx)
{
	int memfd = need_memfd(0, SIZE, MEMFD), fd = need_pair(1);

	link_pair(fd, memfd);
	need_preserve(ctx->out, memfd, MEMFD);
	need_preserve(ctx->out, fd, 1);
	close(memfd);
	close(fd);
}

static void known_second(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1), memfd;

	expect_state(fd, 1, SIZE, 0);
	expect_eq(state_of(fd).early, 1, "known when it was preserved");
	memfd = need_retrieve(ctx->in, MEMFD);
	expect_pattern(memfd, 0, SIZE, MEMFD, "content");
	/* It is the same file. */
	need_eq(luo_truncate(memfd, 5), 0, "ftruncate");
	expect_state(fd, 1, 5, 0);
	close(memfd);
	expect_eq(luo_finish(ctx->in), 0, "finish");
	expect_state(fd, 1, 5, 0);
	close(fd);
}

/* A file that is preserved after the one that needs it, or not at all. */

static void late_first(struct stage_ctx *ctx)
{
	int memfd = need_memfd(0, SIZE, MEMFD), fd = need_pair(1);

	link_pair(fd, memfd);
	need_preserve(ctx->out, fd, 1);
	expect_err(stage_try_kexec(), -ENOENT,
		   "kexec, a file needs one that is not preserved");
	need_preserve(ctx->out, memfd, MEMFD);
	close(memfd);
	close(fd);
}

static void late_second(struct stage_ctx *ctx)
{
	int memfd = need_retrieve(ctx->in, MEMFD);
	int fd = need_retrieve(ctx->in, 1);

	expect_state(fd, 1, SIZE, 0);
	expect_eq(state_of(fd).early, 0, "known when it was preserved");
	close(memfd);
	close(fd);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Another session has the file. */
static void apart_first(struct stage_ctx *ctx)
{
	int session = need_fd(luo_create(ctx->dev, "apart"), "a session");
	int memfd = need_memfd(0, SIZE, MEMFD), fd = need_pair(1);

	link_pair(fd, memfd);
	need_preserve(session, memfd, MEMFD);
	need_preserve(ctx->out, fd, 1);
	expect_err(stage_try_kexec(), -ENOENT,
		   "kexec, another session has what a file needs");
	link_pair(fd, -1);
	close(session);
	close(memfd);
	close(fd);
}

static void apart_second(struct stage_ctx *ctx)
{
	int fd = need_retrieve(ctx->in, 1);

	expect_state(fd, 1, 0, 0);
	close(fd);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Two files that need each other. */

static void circle_first(struct stage_ctx *ctx)
{
	int a = need_pair(1), b = need_pair(2);

	link_pair(a, b);
	link_pair(b, a);
	need_preserve(ctx->out, a, 1);
	need_preserve(ctx->out, b, 2);
	close(a);
	close(b);
}

static void circle_second(struct stage_ctx *ctx)
{
	int a = need_retrieve(ctx->in, 1), b = need_retrieve(ctx->in, 2);

	expect_state(a, 1, 2, 0);
	expect_state(b, 2, 0, -ELOOP);
	close(a);
	close(b);
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Each file needs the next one. */

static void chain_first(struct stage_ctx *ctx)
{
	int fds[CHAIN], i;

	for (i = 0; i < CHAIN; i++)
		fds[i] = need_pair(i + 1);
	for (i = 0; i < CHAIN; i++) {
		if (i + 1 < CHAIN)
			link_pair(fds[i], fds[i + 1]);
		need_preserve(ctx->out, fds[i], i);
	}
	for (i = 0; i < CHAIN; i++)
		close(fds[i]);
}

static void chain_second(struct stage_ctx *ctx)
{
	int fds[CHAIN], i;

	for (i = 0; i < CHAIN; i++)
		fds[i] = need_retrieve(ctx->in, i);
	for (i = 0; i < CHAIN; i++) {
		bool last = i == WAITING || i == CHAIN - 1;

		expect_state(fds[i], i + 1, last ? 0 : i + 2,
			     i == WAITING ? -ELOOP : 0);
		close(fds[i]);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

/* Two tasks, each of which retrieves the file that the other one needs. */

static void races_first(struct stage_ctx *ctx)
{
	int a, b, i;

	for (i = 0; i < 2 * RACES; i++) {
		a = need_pair(2 * i + 1);
		b = need_pair(2 * i + 2);
		link_pair(a, b);
		/* Half of them are circles. */
		if (i % 2)
			link_pair(b, a);
		need_preserve(ctx->out, a, 2 * i);
		need_preserve(ctx->out, b, 2 * i + 1);
		close(a);
		close(b);
	}
}

struct racer {
	int session;
	int parity;
	pthread_barrier_t *barrier;
	int fds[2 * RACES];
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	int i;

	for (i = 0; i < 2 * RACES; i++) {
		pthread_barrier_wait(racer->barrier);
		racer->fds[i] = luo_retrieve_fd(racer->session,
						2 * i + racer->parity);
	}
	return NULL;
}

static void races_second(struct stage_ctx *ctx)
{
	struct racer racers[2];
	pthread_barrier_t barrier;
	pthread_t threads[2];
	int i;

	pthread_barrier_init(&barrier, NULL, 2);
	for (i = 0; i < 2; i++) {
		racers[i] = (struct racer){ ctx->in, i, &barrier, {} };
		need_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0,
			"a thread");
	}
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 2 * RACES; i++) {
		struct pair_state a, b;

		need_fd(racers[0].fds[i], "retrieve_fd of the first of %d", i);
		need_fd(racers[1].fds[i], "retrieve_fd of the second of %d", i);
		a = state_of(racers[0].fds[i]);
		b = state_of(racers[1].fds[i]);
		if (i % 2)
			expect_eq((a.error == -ELOOP) + (b.error == -ELOOP), 1,
				  "files of circle %d without the other", i);
		else
			expect_state(racers[0].fds[i], 2 * i + 1, 2 * i + 2, 0);
		close(racers[0].fds[i]);
		close(racers[1].fds[i]);
	}
	expect_eq(luo_finish(ctx->in), 0, "finish");
}

static const struct stage_case cases[] = {
	{ "known", false, { known_first, known_second } },
	{ "late", false, { late_first, late_second } },
	{ "apart", false, { apart_first, apart_second } },
	{ "circle", false, { circle_first, circle_second } },
	{ "chain", false, { chain_first, chain_second } },
	{ "races", false, { races_first, races_second } },
	{}
};

static const struct stage_program program = {
	.name = "kexec_pair",
	.stages = 2,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
