/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A call that another thread makes, because it may not return for a while.
 */
#ifndef SELFTESTS_CALL_H
#define SELFTESTS_CALL_H

#include "luo.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/**
 * struct call - a call of another thread
 * @make:   makes it, and returns a result or a negative errno
 * @fd:     of what the call is about; the meaning is that of @make
 * @arg:    another argument
 * @text:   another argument
 * @answer: out: what @make returned
 */
struct call {
	int (*make)(struct call *call);
	int fd;
	unsigned long arg;
	const char *text;
	int answer;
	pthread_t thread;
	atomic_bool has_returned;
};

static inline void *call_thread(void *arg)
{
	struct call *call = arg;

	call->answer = call->make(call);
	call->has_returned = true;
	return NULL;
}

static inline int call_start(struct call *call)
{
	call->has_returned = false;
	return -pthread_create(&call->thread, NULL, call_thread, call);
}

static inline bool call_returns_within(struct call *call, int ms)
{
	while (!call->has_returned && ms-- > 0)
		usleep(1000);
	return call->has_returned;
}

/* Its answer, or -ETIMEDOUT if it has not returned after ten seconds. */
static inline int call_end(struct call *call)
{
	if (!call_returns_within(call, 10000))
		return -ETIMEDOUT;
	pthread_join(call->thread, NULL);
	return call->answer;
}

#endif /* SELFTESTS_CALL_H */
