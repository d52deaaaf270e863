/* SPDX-License-Identifier: GPL-2.0-only */
/* What an iommufd cannot have when it crosses a kexec. */
#ifndef SELFTESTS_OBSTACLE_H
#define SELFTESTS_OBSTACLE_H

#include "nic_iommufd.h"

/**
 * struct obstacle - one such thing
 * @what:        a name for the log
 * @reason:      what the kernel log says
 * @at_preserve: preserve_fd fails with this errno; 0 if it may work
 * @at_kexec:    the kexec fails with this errno
 * @put:         makes it; returns the number of the object that is to be destroyed to be
 *               rid of it, or a negative errno
 */
struct obstacle {
	const char *what;
	const char *reason;
	int at_preserve;
	int at_kexec;
	int (*put)(const struct nic_iommufd *iommufd, const struct nic *nic);
};

/* Ends with zeroes. */
extern const struct obstacle obstacles[];

#endif /* SELFTESTS_OBSTACLE_H */
