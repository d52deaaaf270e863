/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a program needs to know of number.ko: an ioctl of NUMBER_DEVICE makes an fd
 * that holds a number of 64 bits. read(2) and write(2) get and set it.
 */
#ifndef SELFTESTS_NUMBER_H
#define SELFTESTS_NUMBER_H

#include <linux/ioctl.h>

#define NUMBER_DEVICE "/dev/number"
#define NUMBER_HANDLER "number-v1"

/* The argument is the number, and names the file in the log. Returns the fd. */
#define NUMBER_CREATE _IO('N', 0)
/* Return errors of liveupdate_flb_get_incoming() and liveupdate_flb_get_outgoing(). */
#define NUMBER_GET_INCOMING _IO('N', 1)
#define NUMBER_GET_OUTGOING _IO('N', 2)
/* The reverse. */
#define NUMBER_PUT_INCOMING _IO('N', 3)
#define NUMBER_PUT_OUTGOING _IO('N', 4)

#ifdef __KERNEL__
struct liveupdate_file_handler;
struct liveupdate_file_ops;

/*
 * The handler to register in place of a good one, which lacks @what or has a wrong
 * one. NULL if there is no such handler.
 */
struct liveupdate_file_handler *
broken_handler(const char *what, const struct liveupdate_file_ops *good);
#endif

#endif /* SELFTESTS_NUMBER_H */
