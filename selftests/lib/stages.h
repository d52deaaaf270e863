/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests that go through a kexec.
 *
 * A program is called once in each kernel, with the number of the stage:
 *
 *	kexec_foo stages	prints how many stages there are
 *	kexec_foo 1		prepares; returns when all is preserved, and leaves
 *				a daemon behind that holds the session fds
 *	kexec_foo 2		in the next kernel, and so on
 *
 * Each stage prints KTAP, one line for each case. The exit status is 0 only if
 * no case failed. The last stage leaves no daemon.
 *
 * A case has a function for each stage. Memory does not last from one stage to
 * the next, so contents are functions of a seed, and frame numbers go through
 * files in a directory that the guest shares with the host: /host, or what
 * LUO_STATE_DIR names.
 *
 * Expectations name what was expected and what was seen. A need_...() that is
 * not met ends the case (the others go on), an expect_...() only fails it.
 */
#ifndef SELFTESTS_STAGES_H
#define SELFTESTS_STAGES_H

#include "luo.h"

#include "kselftest.h"

#define LUO_MAX_STAGES	4

/**
 * struct stage_ctx - what a case finds ready
 * @dev:   the open device; closed when all cases have run
 * @in:    the session of this case that the kernel before left, or -1
 * @out:   the session of this case for the next kernel, or -1; stays open
 * @stage: 1 in the first kernel
 * @stages: that of the last kernel
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
 * @run:          one function a stage; none: nothing to do in that stage
 */
struct stage_case {
	const char *name;
	bool own_sessions;
	stage_fn run[LUO_MAX_STAGES];
};

/**
 * struct stage_program - what main() hands to stage_main()
 * @name:     of the program
 * @stages:   kernels it runs in
 * @any_stages: as many as $STAGES says if that is set; the first function of a
 *            case serves them all
 * @no_device: the cases open the device themselves, if they can
 * @cases:    ends with a case that has no name
 */
struct stage_program {
	const char *name;
	int stages;
	bool any_stages;
	bool no_device;
	const struct stage_case *cases;
};

int stage_main(int argc, char **argv, const struct stage_program *program);

/* seen must be expected. what is said when it is not. */
__printf(3, 4)
bool expect_eq(long long seen, long long expected, const char *what, ...);
__printf(3, 4)
void need_eq(long long seen, long long expected, const char *what, ...);
/* An answer that must be an errno: expect_err(luo_finish(s), -EBUSY, "..."). */
__printf(3, 4)
bool expect_err(long long seen, int expected, const char *what, ...);
/* seen must be low <= seen <= high. */
__printf(4, 5)
bool expect_range(long long seen, long long low, long long high, const char *what, ...);
/* A negative value is an errno and ends the case; any other is returned. */
__printf(2, 3)
int need_fd(int seen, const char *what, ...);
/* Content must be that of the seed. */
bool expect_pattern(int fd, off_t off, size_t len, __u64 seed, const char *what);
bool expect_zero(int fd, off_t off, size_t len, const char *what);

/* Free pages, with what is freed late among them. */
long stage_free_pages(void);
/* So many pages more than before, within noise, must have come free by what is said. */
void expect_freed(long before, long pages, long noise, const char *what);

/* Ends the case as skipped, in this stage and those that follow. */
__printf(1, 2)
void stage_skip(const char *why, ...);
/* A line of comment in the KTAP output. */
__printf(1, 2)
void stage_note(const char *what, ...);

/* Frame numbers: kept for the next stage, or compared with those kept. */
void stage_save_pfns(const char *tag, int fd);
void stage_same_pfns(const char *tag, int fd);

/* A number for the next stage; reading one that is not there ends the case. */
void stage_save(const char *tag, const void *data, size_t len);
void stage_load(const char *tag, void *data, size_t len);

#endif /* SELFTESTS_STAGES_H */
