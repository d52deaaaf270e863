// SPDX-License-Identifier: GPL-2.0-only
/*
 * The benchmark, in the guest. "bench STAGE TAKE MAKE" takes the state that the
 * previous kernel left (TAKE), makes state for the next kernel (MAKE), and enters it
 * by reboot(2) with all sessions open. TAKE and MAKE are KIND:N, or - for nothing.
 * Without anything to make, it ends. It is also the first process of each boot
 * (rdinit=/bench), where it only takes the time.
 *
 * The same program measures both implementations: it uses nothing but
 * /dev/liveupdate.
 */
#include "lib/luo.h"
#include "bench.h"
#include "measure.h"
#include "output.h"
#include "paged.h"
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODULE "/lib/liveupdate.ko"
#define MAX_FDS 200000
#define BALLAST (64 * MIB)
#define INIT "/init"
#define BOOTED "BENCH_BOOTED"

/* No state at all: how long reboot(2) takes with nothing to serialize. */
static void nothing(int dev, const char *layout, long n)
{
}

static const struct kind nothing_kinds[] = { { "empty", nothing, nothing },
					     {} };

static const struct kind *const all_kinds[] = {
	nothing_kinds, files_kinds,    pages_kinds,
	memory_kinds,  blackout_kinds, parallel_kinds,
};

struct step {
	const struct kind *kind;
	long n;
};

static struct step parse(const char *text)
{
	size_t len = strcspn(text, ":");
	struct step step = {};
	const struct kind *kind;
	size_t i;

	if (!strcmp(text, "-"))
		return step;
	if (text[len])
		step.n = atol(text + len + 1);
	for (i = 0; i < ARRAY_SIZE(all_kinds); i++) {
		for (kind = all_kinds[i]; kind->name; kind++) {
			if (strlen(kind->name) == len &&
			    !strncmp(kind->name, text, len))
				step.kind = kind;
		}
	}
	if (!step.kind)
		need(-EINVAL, text);
	return step;
}

/*
 * Loads the module, and reports the time, because the module reads incoming
 * state when it is loaded. The C implementation does that at boot.
 */
static void load_module(const struct step *take)
{
	__u64 start;
	int fd;

	if (!access(LUO_DEVICE, F_OK))
		return;
	fd = open(MODULE, O_RDONLY | O_CLOEXEC);
	need(fd < 0 ? -errno : 0, MODULE);
	start = now();
	need(syscall(SYS_finit_module, fd, "", 0) ? -errno : 0,
	     "load the module");
	if (take->kind)
		report("load", take->kind->name, take->n, 1, now() - start);
	close(fd);
}

/* Grows the fd table now, not during a measurement. */
static void reserve_fds(void)
{
	need(luo_nofile(MAX_FDS), "RLIMIT_NOFILE");
	need(dup2(STDOUT_FILENO, MAX_FDS) < 0 ? -errno : 0, "dup2");
	close(MAX_FDS);
}

/*
 * Until late in boot, a kernel entered by kexec has KHO's scratch memory only.
 * The next allocations get what is freed of it, and such pages must be moved
 * when they are preserved. This file takes that memory instead.
 */
static void ballast(void)
{
	paged_memfd("ballast", BALLAST, LUO_PAGE);
}

static long pages_moved(void)
{
	FILE *in = fopen("/proc/vmstat", "re");
	long moved = 0, n;
	char line[128];

	while (in && fgets(line, sizeof(line), in)) {
		if (sscanf(line, "pgmigrate_success %ld", &n) == 1)
			moved = n;
	}
	if (in)
		fclose(in);
	return moved;
}

/*
 * A boot ends where user space begins. The first process takes the time before
 * anything waits for the host, because idle time is not the same in every boot.
 */
static int first_process(char **argv)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)ticks());
	setenv(BOOTED, text, 1);
	argv[0] = INIT;
	execv(INIT, argv);
	return 1;
}

/*
 * Enters the next kernel. The host takes the time from this log line to the
 * last line of the kernel, and from its ticks to those of the next kernel's first
 * process, each less that time with nothing to serialize. The line has a fixed
 * length, because printing to the console takes time.
 */
static void leave(long stage)
{
	char line[64];

	flush();
	snprintf(line, sizeof(line), "<5>bench: reboot %03ld %020llu", stage,
		 (unsigned long long)ticks());
	need(luo_write_file("/dev/kmsg", line), "/dev/kmsg");
	reboot(RB_KEXEC);
	need(-errno, "reboot");
}

int main(int argc, char **argv)
{
	struct step take, make;
	__u64 start;
	long moved;
	int dev;

	if (getpid() == 1)
		return first_process(argv);
	if (argc != 4) {
		fprintf(stderr,
			"usage: bench STAGE TAKE|- MAKE|-, where TAKE and MAKE are KIND:N\n");
		return 2;
	}
	take = parse(argv[2]);
	make = parse(argv[3]);
	reserve_fds();
	load_module(&take);
	profile_start();
	start = now();
	dev = luo_open();
	start = now() - start;
	need(dev, LUO_DEVICE);
	if (take.kind) {
		printf("BOOTED %s %s\n", argv[1], getenv(BOOTED) ?: "0");
		report("open", take.kind->name, take.n, 1, start);
		take.kind->take(dev, take.kind->name, take.n);
		printf("TAKEN %s\n", argv[2]);
		flush();
	}
	if (make.kind) {
		ballast();
		moved = pages_moved();
		make.kind->make(dev, make.kind->name, make.n);
		moved = pages_moved() - moved;
		if (moved)
			note("%s: %ld pages were moved out of scratch memory",
			     argv[3], moved);
		printf("MADE %s\n", argv[3]);
		leave(atol(argv[1]));
	}
	flush();
	return 0;
}
