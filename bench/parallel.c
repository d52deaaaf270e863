// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several large files, each in a session of its own, that are restored one after the
 * other ("in-turn") or by a process each ("at-once"). n is the length of a file in MiB.
 */
#include "lib/luo.h"
#include "bench.h"
#include "measure.h"
#include "output.h"
#include "paged.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 8

static const char *name_of(int i)
{
	static char name[LUO_NAME_MAX];

	snprintf(name, sizeof(name), "parallel-%d", i);
	return name;
}

static void parallel_make(int dev, const char *layout, long n)
{
	int i, fd, session;

	for (i = 0; i < FILES; i++) {
		fd = paged_memfd(layout, n * (off_t)MIB, LUO_PAGE);
		session = need(luo_create(dev, name_of(i)), "create_session");
		need(luo_preserve(session, fd, i), "preserve_fd");
	}
}

/* A session and its file, in the new kernel. */
struct restored {
	int session;
	int fd;
};

static struct restored restore(int dev, int i, off_t size)
{
	struct restored r;

	r.session = need(luo_retrieve(dev, name_of(i)), "retrieve_session");
	r.fd = need(luo_retrieve_fd(r.session, i), "retrieve_fd");
	read_last(r.fd, size);
	return r;
}

static void check(struct restored r, off_t size)
{
	check_paged(r.fd, size, LUO_PAGE);
	need(luo_finish(r.session), "finish");
	close(r.session);
	close(r.fd);
}

static void in_turn_take(int dev, const char *layout, long n)
{
	off_t size = n * (off_t)MIB;
	struct restored all[FILES];
	__u64 start = now();
	int i;

	for (i = 0; i < FILES; i++)
		all[i] = restore(dev, i, size);
	report("usable", layout, n, 1, now() - start);
	for (i = 0; i < FILES; i++)
		check(all[i], size);
}

/* A barrier for this process and its children. */
static pthread_barrier_t *shared_barrier(unsigned int processes)
{
	pthread_barrierattr_t attr;
	pthread_barrier_t *barrier;

	barrier = mmap(NULL, sizeof(*barrier), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(barrier == MAP_FAILED ? -errno : 0, "mmap");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	need(-pthread_barrier_init(barrier, &attr, processes), "a barrier");
	return barrier;
}

static void at_once_take(int dev, const char *layout, long n)
{
	pthread_barrier_t *barrier = shared_barrier(FILES + 1);
	off_t size = n * (off_t)MIB;
	struct restored r;
	int i, status;
	__u64 start;
	pid_t child;

	flush();
	for (i = 0; i < FILES; i++) {
		child = fork();
		need(child < 0 ? -errno : 0, "fork");
		if (child)
			continue;
		pthread_barrier_wait(barrier);
		r = restore(dev, i, size);
		/* No file is checked while another one is being restored. */
		pthread_barrier_wait(barrier);
		check(r, size);
		exit(0);
	}
	start = now();
	pthread_barrier_wait(barrier);
	pthread_barrier_wait(barrier);
	report("usable", layout, n, 1, now() - start);
	for (i = 0; i < FILES; i++) {
		need(wait(&status) < 0 ? -errno : 0, "wait");
		need(status ? -ECHILD : 0, "a process that restores");
	}
}

const struct kind parallel_kinds[] = {
	{ "in-turn", parallel_make, in_turn_take },
	{ "at-once", parallel_make, at_once_take },
	{}
};
