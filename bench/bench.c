// SPDX-License-Identifier: GPL-2.0-only
/*
 * The benchmark, in the guest: "bench STAGE TAKE MAKE" takes what the previous
 * kernel sent (TAKE), builds what the next one shall get (MAKE), and enters it
 * with reboot(2), holding all sessions. TAKE and MAKE are KIND:N, or - for
 * nothing; without anything to make it ends. The same program runs with both
 * implementations and uses nothing but /dev/liveupdate.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MODULE		"/lib/liveupdate.ko"
#define MAX_FDS		200000
#define BALLAST		(64 * MIB)

__u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	profile_cut();
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

void report(const char *op, const char *layout, long n, long count, __u64 ns)
{
	printf("BENCH %s %s %ld %ld %llu\n", op, layout, n, count,
	       (unsigned long long)ns);
	profile_print(op, layout, n);
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("NOTE ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

static void flush(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

long need(long result, const char *what)
{
	if (result < 0) {
		printf("FAILED %s: %s\n", what, strerror(-result));
		flush();
		exit(1);
	}
	return result;
}

int paged_memfd(const char *name, off_t size, off_t stride)
{
	static unsigned char page[LUO_PAGE];
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t at;

	need(fd < 0 ? -errno : 0, "memfd_create");
	/* The size comes first, so that folios may be larger than a write. */
	need(luo_truncate(fd, size), "ftruncate");
	for (at = 0; at < size; at += stride) {
		memcpy(page, &at, sizeof(at));
		need(luo_pwrite(fd, page, sizeof(page), at), "write to a memfd");
	}
	return fd;
}

void check_paged(int fd, off_t size, off_t stride)
{
	off_t at, found;

	if (luo_size(fd) != size)
		need(-EBADMSG, "the size of what came back");
	for (at = 0; at < size; at += stride) {
		if (pread(fd, &found, sizeof(found), at) != sizeof(found) || found != at)
			need(-EBADMSG, "the content of what came back");
	}
}

/* An outside probe of reboot(2) starts with nothing to serialize. */
static void nothing(int dev, const char *layout, long n)
{
}

static const struct kind nothing_kinds[] = {
	{ "empty", nothing, nothing },
	{ }
};

static const struct kind *const all_kinds[] = {
	nothing_kinds, files_kinds, pages_kinds, memory_kinds,
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
			if (strlen(kind->name) == len && !strncmp(kind->name, text, len))
				step.kind = kind;
		}
	}
	if (!step.kind)
		need(-EINVAL, text);
	return step;
}

/*
 * Loading is where the module first looks at what came in, so it is measured
 * like an operation. A kernel with the C implementation looks while it boots.
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
	need(syscall(SYS_finit_module, fd, "", 0) ? -errno : 0, "load the module");
	if (take->kind)
		report("load", take->kind->name, take->n, 1, now() - start);
	close(fd);
}

/* The table of fds grows here, and not in the middle of a measurement. */
static void reserve_fds(void)
{
	need(luo_nofile(MAX_FDS), "RLIMIT_NOFILE");
	need(dup2(STDOUT_FILENO, MAX_FDS) < 0 ? -errno : 0, "dup2");
	close(MAX_FDS);
}

/*
 * Early in the second and all later kernels there is nothing but KHO's scratch
 * memory. What is freed of it then is what the next allocations get, whose
 * pages have to be moved when they are preserved. Somebody else shall have it.
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
 * The host takes the time from this line of the kernel log to the kernel's own
 * last one, less what that is with nothing to serialize. Its length is always
 * the same, for the console takes time.
 */
static void leave(long stage)
{
	char line[64];

	snprintf(line, sizeof(line), "<5>bench: reboot %03ld", stage);
	flush();
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

	if (argc != 4) {
		fprintf(stderr, "usage: bench STAGE TAKE MAKE\n");
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
			note("%s: %ld pages were moved out of scratch memory", argv[3], moved);
		printf("MADE %s\n", argv[3]);
		leave(atol(argv[1]));
	}
	flush();
	return 0;
}
