// SPDX-License-Identifier: GPL-2.0-only
/* Takes times and reports them; see measure.h. */
#include "measure.h"
#include "profile.h"

#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

__u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	profile_cut();
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

__u64 ticks(void)
{
	return __rdtsc();
}

void report(const char *op, const char *layout, long n, long count, __u64 ns)
{
	printf("BENCH %s %s %ld %ld %llu\n", op, layout, n, count,
	       (unsigned long long)ns);
	profile_print(op, layout, n);
}
