/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a program needs to know of pair.ko. An ioctl of PAIR_DEVICE makes an fd with a
 * value; an ioctl of that fd makes its file need another one; read(2) gets the state.
 */
#ifndef SELFTESTS_PAIR_H
#define SELFTESTS_PAIR_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PAIR_DEVICE "/dev/pair"

/* The argument is the value. Returns the fd. */
#define PAIR_CREATE _IO('p', 0)
/* The argument is an fd; -1: the file needs none. */
#define PAIR_NEED _IO('p', 1)

/**
 * struct pair_state - what read(2) gets
 * @value: of this file
 * @other: the value of the file that it needs, or its size if that is no pair; 0: none
 * @error: in the next kernel, why there is no such file
 * @early: the token of that file was known when this one was preserved
 */
struct pair_state {
	__s64 value;
	__s64 other;
	__s64 error;
	__s64 early;
};

#endif /* SELFTESTS_PAIR_H */
