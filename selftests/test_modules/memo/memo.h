/* SPDX-License-Identifier: GPL-2.0-only */
/* What memo.ko offers to userspace; memo_rs.rs says what it means. */
#ifndef SELFTESTS_MEMO_H
#define SELFTESTS_MEMO_H

#include <linux/ioctl.h>

#define MEMO_DEVICE "/dev/memo"

/* Makes a memo without text, and returns its file descriptor. */
#define MEMO_CREATE _IO('m', 0)

/* The longest text, in bytes. */
#define MEMO_MAX 4088

#endif /* SELFTESTS_MEMO_H */
