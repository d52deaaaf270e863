/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a program needs to know of borrow.ko, which preserves open files of /dev/full
 * and /dev/zero. Ioctls of BORROW_DEVICE register and unregister handlers and FLBs,
 * and return what the kernel's functions return.
 */
#ifndef SELFTESTS_BORROW_H
#define SELFTESTS_BORROW_H

#include <linux/ioctl.h>

#define BORROW_DEVICE "/dev/borrow"
#define BORROW_FULL_HANDLER "borrow-full-v1"
#define BORROW_ZERO_HANDLER "borrow-zero-v1"

/* Handlers, by the files that they preserve. */
enum borrow_kind { BORROW_FULL, BORROW_ZERO, BORROW_KINDS };

/* FLBs are numbers below BORROW_FLBS. One more has the name of FLB 0. */
#define BORROW_FLBS 64
#define BORROW_TWIN BORROW_FLBS

/* The argument is a handler. */
#define BORROW_REGISTER _IO('B', 0)
#define BORROW_UNREGISTER _IO('B', 1)

/* The argument is BORROW_LINK(handler, FLB). */
#define BORROW_LINK(kind, flb) ((kind) << 8 | (flb))
#define BORROW_REGISTER_FLB _IO('B', 2)
#define BORROW_UNREGISTER_FLB _IO('B', 3)

/* The argument is an FLB. Getting one returns 0 only if it is the right one. */
#define BORROW_GET_INCOMING _IO('B', 4)
#define BORROW_PUT_INCOMING _IO('B', 5)
#define BORROW_GET_OUTGOING _IO('B', 6)
#define BORROW_PUT_OUTGOING _IO('B', 7)

/*
 * Callbacks: bits of the parameter "held", and places in the parameter "calls". Those
 * for files of /dev/zero are never held, and not counted.
 */
enum borrow_callback {
	BORROW_PRESERVE,
	BORROW_UNPRESERVE,
	BORROW_FREEZE,
	BORROW_UNFREEZE,
	BORROW_RETRIEVE,
	BORROW_CAN_FINISH,
	BORROW_FINISH,
	BORROW_FLB_PRESERVE,
	BORROW_FLB_UNPRESERVE,
	BORROW_FLB_RETRIEVE,
	BORROW_FLB_FINISH,
	BORROW_CALLBACKS
};

#endif /* SELFTESTS_BORROW_H */
