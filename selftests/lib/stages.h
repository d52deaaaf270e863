/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests that go through kexec.
 *
 * A program is called once in each kernel, with the number of the stage:
 *
 *	kexec_foo stages	prints how many stages there are
 *	kexec_foo 1		preserves; returns when all is preserved, and leaves
 *				a daemon that holds the session fds
 *	kexec_foo 2		in the next kernel, and so on
 *
 * Each stage prints KTAP, one line for each case. The exit status is 0 only if no
 * case failed. The last stage leaves no daemon.
 *
 * A case has one function for each stage. Memory of a program does not cross kexec.
 * So contents are functions of a seed, and frame numbers go through files in a
 * directory that guest and host share: /host, or $LUO_STATE_DIR.
 *
 * Expectations print what was expected and what was seen. An expect_...() that does
 * not hold fails the case. A need_...() also ends it; the other cases still run.
 */
#ifndef SELFTESTS_STAGES_H
#define SELFTESTS_STAGES_H

#include "luo.h"

#include "kselftest.h"

#define LUO_MAX_STAGES 4

/**
 * struct stage_ctx - what a case gets
 * @dev:    the open device; closed after all cases have run
 * @in:     the session of this case that the previous kernel left, or -1
 * @out:    the session of this case for the next kernel, or -1; stays open
 * @stage:  the number of this kernel; the first is 1
 * @stages: the number of the last kernel
 */
struct stage_ctx {
	int dev;
	int in;
	int out;
	int stage;
	int stages;
};

typedef void (*stage_fn)(struct stage_ctx *ctx);

/**
 * struct stage_case - one line of KTAP in each stage
 * @name:         part of the name of its session
 * @own_sessions: the case makes its sessions itself: @in and @out are -1
 * @run:          one function for each stage; NULL if the stage has nothing to do
 */
struct stage_case {
	const char *name;
	bool own_sessions;
	stage_fn run[LUO_MAX_STAGES];
};

/**
 * struct stage_program - what main() passes to stage_main()
 * @name:       of the program
 * @stages:     how many kernels it runs in
 * @any_stages: $STAGES overrides @stages; the first function of a case serves
 *              all stages
 * @no_device:  the cases open the device themselves
 * @cases:      ends with a case without a name
 */
struct stage_program {
	const char *name;
	int stages;
	bool any_stages;
	bool no_device;
	const struct stage_case *cases;
};

int stage_main(int argc, char **argv, const struct stage_program *program);

/* Expects @seen to equal @expected; prints @what if it does not. */
__printf(3, 4) bool expect_eq(long long seen, long long expected,
			      const char *what, ...);
__printf(3, 4) void need_eq(long long seen, long long expected,
			    const char *what, ...);
/* For calls that must fail: expect_err(luo_finish(s), -EBUSY, "..."). */
__printf(3, 4) bool expect_err(long long seen, int expected, const char *what,
			       ...);
/* Expects low <= seen <= high. */
__printf(4, 5) bool expect_range(long long seen, long long low, long long high,
				 const char *what, ...);
/* Returns @seen. If that is a negative errno, ends the case. */
__printf(2, 3) int need_fd(int seen, const char *what, ...);
/* As luo_memfd(), luo_preserve() and luo_retrieve_fd(), if they must succeed. */
int need_memfd(unsigned int flags, size_t size, __u64 seed);
void need_preserve(int session, int fd, __u64 token);
int need_retrieve(int session, __u64 token);
/* Expects the bytes of the seed, or zeroes. */
bool expect_pattern(int fd, off_t off, size_t len, __u64 seed,
		    const char *what);
bool expect_zero(int fd, off_t off, size_t len, const char *what);

/* Free pages, after waiting for memory that is freed late. */
long stage_free_pages(void);
/* Expects @pages more free pages than @before, within @noise, after @what. */
void expect_freed(long before, long pages, long noise, const char *what);

/* Ends the case as skipped, in this stage and in later ones. */
__printf(1, 2) void stage_skip(const char *why, ...);
/*
 * The kernel log must have a line that matches this regular expression, of any
 * stage: the runner looks for it. For what the kernel says while it goes down.
 */
__printf(1, 2) void stage_expect_log(const char *pattern, ...);
/* Enters the loaded kernel, or returns the error of reboot(2). */
int stage_try_kexec(void);
/* Prints a comment line. */
__printf(1, 2) void stage_note(const char *what, ...);

/* Saves the frame numbers of a file for a later stage, or compares them. */
void stage_save_pfns(const char *tag, int fd);
void stage_same_pfns(const char *tag, int fd);

/* Saves or loads data of a case. Loading what was not saved ends the case. */
void stage_save(const char *tag, const void *data, size_t len);
void stage_load(const char *tag, void *data, size_t len);

#endif /* SELFTESTS_STAGES_H */
