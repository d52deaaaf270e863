/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the pages of a file are in memory: frame numbers, and in how many pieces they
 * are.
 */
#ifndef SELFTESTS_FRAMES_H
#define SELFTESTS_FRAMES_H

#include "luo.h"

/* Frame numbers, one for each page; 0 for a hole, which is not filled. */
int luo_pfns(int fd, size_t pages, __u64 *pfns);

/*
 * In how many pieces these single pages are, if they are preserved in this order. A page
 * begins a piece unless it is adjacent to the run of adjacent pages before it. Frame 0
 * stands for a hole.
 */
long luo_pieces_of(const __u64 *pfns, size_t pages);
/* How many runs of adjacent pages there are, whatever their order; -ENOMEM. */
long luo_runs_of(const __u64 *pfns, size_t pages);

#endif /* SELFTESTS_FRAMES_H */
