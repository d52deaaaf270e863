/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measures memory in use, to tell whether a test leaks.
 *
 * The tolerances are pages. Shmem and Committed_AS are exact up to the per-CPU
 * batches of a small machine. MemAvailable also moves with slab, page tables and
 * per-CPU free lists: a test that looks for a leak of one page a round must make
 * more than TOLERATE_AVAILABLE rounds.
 */
#ifndef SELFTESTS_USAGE_H
#define SELFTESTS_USAGE_H

#include "fixture.h"

#define TOLERATE_AVAILABLE 900
#define TOLERATE_SHMEM 4
#define TOLERATE_COMMITTED 16
#define TOLERATE_CHARGE 128

#define CGROUP "/sys/fs/cgroup/luo-accounting"

struct usage {
	long available;
	long shmem;
	long committed;
	long charge; /* -1 without a memory cgroup */
};

static bool in_cgroup;

static long charge(void)
{
	FILE *in = in_cgroup ? fopen(CGROUP "/memory.current", "re") : NULL;
	long bytes = -1;

	if (in) {
		if (fscanf(in, "%ld", &bytes) != 1)
			bytes = -1;
		fclose(in);
	}
	return bytes < 0 ? -1 : bytes / (long)LUO_PAGE;
}

static struct usage measure(void)
{
	struct usage now;

	luo_settle();
	now.available = luo_meminfo("MemAvailable");
	now.shmem = luo_meminfo("Shmem");
	now.committed = luo_meminfo("Committed_AS");
	now.charge = charge();
	return now;
}

static bool is_back(const struct usage *before, const struct usage *after)
{
	long tolerated = luo_tolerated_pages(TOLERATE_AVAILABLE);

	return after->available >= before->available - tolerated &&
	       labs(after->shmem - before->shmem) <= TOLERATE_SHMEM &&
	       labs(after->committed - before->committed) <=
		       TOLERATE_COMMITTED &&
	       after->charge <= before->charge + TOLERATE_CHARGE;
}

static void expect_back(struct __test_metadata *_metadata,
			const struct usage *before)
{
	long tolerated = luo_tolerated_pages(TOLERATE_AVAILABLE);
	struct usage after;
	int tries;

	/* Some memory is freed late. */
	for (tries = 0; tries < 10; tries++) {
		after = measure();
		if (is_back(before, &after))
			break;
	}
	TH_LOG("pages before/after: MemAvailable %ld/%ld Shmem %ld/%ld",
	       before->available, after.available, before->shmem, after.shmem);
	TH_LOG("pages before/after: Committed_AS %ld/%ld charge %ld/%ld",
	       before->committed, after.committed, before->charge,
	       after.charge);
	EXPECT_GE(after.available, before->available - tolerated)
	TH_LOG("MemAvailable: expected to shrink by at most %ld", tolerated);
	EXPECT_LE(labs(after.shmem - before->shmem), TOLERATE_SHMEM)
	TH_LOG("Shmem: expected the same, within %d", TOLERATE_SHMEM);
	EXPECT_LE(labs(after.committed - before->committed), TOLERATE_COMMITTED)
	TH_LOG("Committed_AS: expected the same, within %d",
	       TOLERATE_COMMITTED);
	EXPECT_LE(after.charge, before->charge + TOLERATE_CHARGE)
	TH_LOG("memory.current: expected to grow by at most %d",
	       TOLERATE_CHARGE);
}

#endif /* SELFTESTS_USAGE_H */
