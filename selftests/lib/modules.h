/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loads and unloads modules, and reads and writes their parameters. BORROW_MODULE= and
 * NUMBER_MODULE= are the paths of borrow.ko and number.ko.
 */
#ifndef SELFTESTS_MODULES_H
#define SELFTESTS_MODULES_H

#include "luo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline int module_load_file(const char *path, const char *parameters)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, parameters, 0))
		err = -errno;
	close(fd);
	return err;
}

/* @variable is the name of the environment variable with the path. */
static inline int module_load(const char *variable, const char *parameters)
{
	const char *path = getenv(variable);

	return module_load_file(path ? path : "", parameters);
}

static inline int module_unload(const char *module)
{
	return syscall(SYS_delete_module, module, O_NONBLOCK) ? -errno : 0;
}

static inline bool module_is_loaded(const char *module)
{
	char path[100];

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	return !access(path, F_OK);
}

static inline int module_set(const char *module, const char *parameter,
			     long value)
{
	char path[100], text[24];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module,
		 parameter);
	snprintf(text, sizeof(text), "%ld", value);
	return luo_write_file(path, text);
}

/* Number @place of a parameter that is a list, or -errno. */
static inline long module_get(const char *module, const char *parameter,
			      int place)
{
	char path[100], text[400] = "", *at = text;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module,
		 parameter);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	while (len > 0 && at && place--) {
		at = strchr(at, ',');
		at += !!at;
	}
	return len > 0 && at ? atol(at) : -EIO;
}

static inline long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Waits until the number is @least or more. Returns false after ten seconds. */
static inline bool module_reaches(const char *module, const char *parameter,
				  int place, long least)
{
	long long end = now_ms() + 10000;

	while (module_get(module, parameter, place) < least) {
		if (now_ms() > end)
			return false;
		usleep(1000);
	}
	return true;
}

#endif /* SELFTESTS_MODULES_H */
