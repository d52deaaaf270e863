/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that load and unload number.ko while others use it, for some seconds.
 * NUMBER_MODULE= is its path.
 */
#ifndef SELFTESTS_CHURN_H
#define SELFTESTS_CHURN_H

#include "modules.h"

#include "../test_modules/number/number.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#define CHURN_SECONDS 8
#define CHURN_THREADS 8

/**
 * struct churn - what the threads share
 * @dev:        the device
 * @end_ms:     when they end
 * @unexpected: out: the first answer that no race explains, or 0
 * @where:      out: which call gave it
 * @loads:      out: how often the module was loaded
 * @unloads:    out: how often it was unloaded
 * @refused:    out: how often that was refused
 * @works:      out: how often other threads got what they wanted
 */
struct churn {
	int dev;
	long long end_ms;
	atomic_int unexpected;
	const char *where;
	atomic_long loads;
	atomic_long unloads;
	atomic_long refused;
	atomic_long works;
};

static inline bool churn_goes_on(const struct churn *c)
{
	return now_ms() < c->end_ms && !c->unexpected;
}

/* Success, or one of the errnos in @allowed, which ends with 0. Returns whether it succeeded. */
static inline bool churn_answer(struct churn *c, int answer, const char *where,
				const int *allowed)
{
	if (answer >= 0)
		return true;
	for (; *allowed; allowed++) {
		if (answer == -*allowed)
			return false;
	}
	c->where = where;
	c->unexpected = answer;
	return false;
}

/* Long enough for the others to find the module unused, now and then. */
static inline void churn_pause(void)
{
	static atomic_ulong pauses;

	usleep(luo_mix(pauses++, 1) % 3000);
}

/* Loads and unloads. Two threads at once, so each may find that the other was first. */
static inline void *churn_module(void *arg)
{
	/* EBUSY: initialized or unloaded by another thread at the moment. */
	static const int load[] = { EEXIST, EBUSY, 0 };
	static const int unload[] = { EWOULDBLOCK, EBUSY, ENOENT, 0 };
	struct churn *c = arg;

	while (churn_goes_on(c)) {
		if (churn_answer(c, module_load("NUMBER_MODULE", ""),
				 "finit_module", load))
			c->loads++;
		churn_pause();
		if (churn_answer(c, module_unload("number"), "delete_module",
				 unload))
			c->unloads++;
		else
			c->refused++;
	}
	return NULL;
}

/* A file, or -errno: -ENOENT or similar if the module is not there. */
static inline int churn_number(__u64 value)
{
	int device = open(NUMBER_DEVICE, O_RDWR | O_CLOEXEC), fd;

	if (device < 0)
		return -errno;
	fd = ioctl(device, NUMBER_CREATE, value);
	if (fd < 0)
		fd = -errno;
	close(device);
	return fd;
}

/* Runs @threads, the first two of which are churn_module(). */
static inline int churn(struct churn *c, int dev,
			void *(*const *threads)(void *), int count)
{
	pthread_t started[CHURN_THREADS];
	int i, err;

	memset(c, 0, sizeof(*c));
	c->dev = dev;
	c->end_ms = now_ms() + CHURN_SECONDS * 1000;
	for (i = 0; i < count; i++) {
		err = pthread_create(&started[i], NULL, threads[i], c);
		if (err)
			return -err;
	}
	for (i = 0; i < count; i++)
		pthread_join(started[i], NULL);
	return 0;
}

/* Whatever the threads have left, it can be loaded and unloaded. */
static inline int churn_settle(void)
{
	int err;

	if (module_is_loaded("number")) {
		err = module_unload("number");
		if (err)
			return err;
	}
	return module_load("NUMBER_MODULE", "") ?: module_unload("number");
}

#endif /* SELFTESTS_CHURN_H */
