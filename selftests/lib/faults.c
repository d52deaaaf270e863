// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walk of faults.h. After writing n to /proc/thread-self/fail-nth, the nth
 * failure point that this task reaches fails.
 */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

/* More than any call has. */
#define MAX_POINTS 5000

#define STACKS "/sys/kernel/debug/page_owner_stacks/show_stacks"

static int fail_nth = -1;

/*
 * All slabs but kmemleak's: kmemleak turns itself off when an allocation fails.
 */
static bool choose_slabs(void)
{
	DIR *dir = opendir("/sys/kernel/slab");
	struct dirent *entry;
	char path[300];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' ||
		    !strcmp(entry->d_name, "kmemleak_object"))
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab",
			 entry->d_name);
		luo_write_file(path, "1");
	}
	if (dir)
		closedir(dir);
	return dir &&
	       !luo_write_file("/sys/kernel/debug/failslab/cache-filter", "Y");
}

void faults_of_pages(bool on)
{
	luo_write_file("/sys/kernel/debug/fail_page_alloc/min-order",
		       on ? "0" : "99");
}

bool faults_ready(void)
{
	/*
	 * Also fail allocations that may sleep or are for user memory. Print
	 * nothing.
	 */
	static const char *const knobs[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" },
	};
	char path[100];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s",
			 knobs[i][0]);
		if (luo_write_file(path, knobs[i][1]))
			return false;
	}
	if (fail_nth >= 0)
		close(fail_nth);
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return fail_nth >= 0 && faults_pages() >= 0 && choose_slabs();
}

static void arm(int n)
{
	char text[16];

	int tries = 0;

	snprintf(text, sizeof(text), "%d", n);
	/*
	 * This write copies from user memory, so it may itself be the armed
	 * point.
	 */
	while (pwrite(fail_nth, text, strlen(text), 0) < 0) {
		if (++tries > 2)
			ksft_exit_fail_msg("cannot write to fail-nth: %s\n",
					   strerror(errno));
	}
}

/* True if the call did not reach the armed point. */
static bool disarm(void)
{
	char text[16] = {};
	/*
	 * This read reaches a point itself: if it fails, the call had not
	 * failed before.
	 */
	bool left = pread(fail_nth, text, sizeof(text) - 1, 0) < 0 ||
		    atoi(text) > 0;

	arm(0);
	return left;
}

static void problem(struct faults *f, int n, const char *what, int answer)
{
	if (!f->problem[0])
		snprintf(f->problem, sizeof(f->problem),
			 "%s: point %d: %s (%d, %s)", f->what, n, what, answer,
			 answer < 0 ? strerror(-answer) : "success");
}

static bool is_allowed(const struct faults *f, int answer)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(f->allowed) && f->allowed[i]; i++) {
		if (answer == -f->allowed[i])
			return true;
	}
	return false;
}

/* False if the walk should end. */
static bool failed_at(struct faults *f, int n, int answer)
{
	const char *what;

	if (!is_allowed(f, answer))
		problem(f, n, "failed with an unexpected errno", answer);
	what = f->check ? f->check(f->arg, n, answer) : NULL;
	if (what)
		problem(f, n, what, answer);
	answer = f->again ? f->again(f->arg, n, answer) : f->call(f->arg, n);
	if (answer < 0)
		problem(f, n, "the same call fails again without a fault",
			answer);
	else if (f->undo)
		f->undo(f->arg, n, answer);
	return !f->problem[0];
}

void faults_walk(struct faults *f)
{
	int n, answer;
	bool left;

	for (n = 1; n < MAX_POINTS; n++) {
		arm(n);
		answer = f->call(f->arg, n);
		left = disarm();
		if (left && answer < 0)
			problem(f, n, "failed without an injected fault",
				answer);
		if (left) {
			if (answer >= 0 && f->undo)
				f->undo(f->arg, n, answer);
			break;
		}
		f->points++;
		if (answer < 0) {
			if (!failed_at(f, n, answer))
				break;
		} else {
			f->absorbed++;
			if (f->undo)
				f->undo(f->arg, n, answer);
		}
	}
	printf("# %s: %d failure points, %d of them absorbed\n", f->what,
	       f->points, f->absorbed);
}

long faults_pages(void)
{
	FILE *in = fopen(STACKS, "re");
	bool ours = false, table = false;
	long n, pages = 0;
	char line[200];

	if (!in)
		return -errno;
	while (fgets(line, sizeof(line), in)) {
		ours |= !!strstr(line, "lu_alloc_preserved");
		/* KHO never frees the pages of its own radix tree. */
		table |= !!strstr(line, "kho_radix_");
		if (sscanf(line, "nr_base_pages: %ld", &n) == 1) {
			if (ours && !table)
				pages += n;
			ours = false;
			table = false;
		}
	}
	fclose(in);
	return pages;
}

int faults_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}
