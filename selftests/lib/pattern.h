/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The content of test files: word n is a function of a seed and of n. The programs
 * and the forge module share it, so that a file written by one of them can be
 * checked by the other.
 */
#ifndef SELFTESTS_PATTERN_H
#define SELFTESTS_PATTERN_H

#include <linux/types.h>

static inline __u64 pattern_word(__u64 seed, __u64 n)
{
	__u64 z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

#endif /* SELFTESTS_PATTERN_H */
