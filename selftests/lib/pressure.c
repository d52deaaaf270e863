// SPDX-License-Identifier: GPL-2.0-only
/*
 * The functions of pressure.h. None of them decides whether a test passes.
 */
#include "pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/blkpg.h>
#include <linux/fs.h>

#define CGROUPS "/sys/fs/cgroup"
#define SWAP_DISK "/dev/ram0"
#define SWAP_PARTITION SWAP_DISK "p1"
#define OOM_SCORE "/proc/self/oom_score_adj"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int open_procs(const char *group)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Opens the fds now: an open file is charged to the cgroup that opens it. */
int group_make(struct group *group, const char *name)
{
	char home[128] = CGROUPS, line[100];
	FILE *in = fopen("/proc/self/cgroup", "re");

	if (!in)
		return -errno;
	while (fgets(line, sizeof(line), in)) {
		if (!strncmp(line, "0::", 3)) {
			line[strcspn(line, "\n")] = '\0';
			strcat(home, line + 3);
		}
	}
	fclose(in);
	snprintf(group->path, sizeof(group->path), CGROUPS "/%s", name);
	if (mkdir(group->path, 0755) && errno != EEXIST)
		return -errno;
	group->home = open_procs(home);
	group->procs = open_procs(group->path);
	return group->home < 0	? group->home :
	       group->procs < 0 ? group->procs :
				  0;
}

int group_drop(struct group *group)
{
	close(group->home);
	close(group->procs);
	return rmdir(group->path) ? -errno : 0;
}

int group_set(const struct group *group, const char *file, const char *value)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", group->path, file);
	return luo_write_file(path, value);
}

long long group_get(const struct group *group, const char *file)
{
	long long value = -1;
	char path[160];
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", group->path, file);
	in = fopen(path, "re");
	if (!in)
		return -errno;
	if (fscanf(in, "%lld", &value) != 1)
		value = -ENODATA;
	fclose(in);
	return value;
}

int group_limit(const struct group *group, long long more)
{
	long long now = group_get(group, "memory.current");
	char text[32];

	if (now < 0)
		return now;
	snprintf(text, sizeof(text), "%lld", now + more);
	return group_set(group, "memory.max", text);
}

int group_unlimit(const struct group *group)
{
	return group_set(group, "memory.max", "max");
}

static int move_to(int procs)
{
	return write(procs, "0", 1) < 0 ? -errno : 0;
}

int group_enter(const struct group *group)
{
	return move_to(group->procs);
}

int group_leave(const struct group *group)
{
	return move_to(group->home);
}

/* The kernel's union swap_header, less the fields that may be zero. */
struct swap_label {
	char boot[1024];
	__u32 version;
	__u32 last_page;
	char rest[LUO_PAGE - 1024 - 2 * sizeof(__u32) - 10];
	char magic[10];
};

static int open_disk(const char *path, __u64 *size)
{
	int disk = open(path, O_RDWR | O_CLOEXEC);

	if (disk < 0)
		return -errno;
	if (ioctl(disk, BLKGETSIZE64, size)) {
		close(disk);
		return -errno;
	}
	return disk;
}

static int swap_on_disk(const char *path)
{
	struct swap_label label = { .version = 1 };
	__u64 size;
	int disk, err = 0;

	disk = open_disk(path, &size);
	if (disk < 0)
		return disk;
	label.last_page = size / LUO_PAGE - 1;
	memcpy(label.magic, "SWAPSPACE2", sizeof(label.magic));
	if (pwrite(disk, &label, sizeof(label), 0) != sizeof(label) ||
	    fsync(disk))
		err = -EIO;
	close(disk);
	if (!err && swapon(path, 0))
		err = -errno;
	return err;
}

int swap_start(void)
{
	return swap_on_disk(SWAP_DISK);
}

/* Adds, resizes or deletes the partition: all of the disk, or its first page. */
static int change_partition(int op, bool whole)
{
	struct blkpg_partition part = { .pno = 1, .length = LUO_PAGE };
	struct blkpg_ioctl_arg arg = {
		.op = op, .datalen = sizeof(part), .data = &part,
	};
	__u64 size;
	int disk = open_disk(SWAP_DISK, &size), err;

	if (disk < 0)
		return disk;
	if (whole)
		part.length = size;
	err = ioctl(disk, BLKPG, &arg) ? -errno : 0;
	close(disk);
	return err;
}

int swap_break_start(void)
{
	int err = change_partition(BLKPG_ADD_PARTITION, true);

	return err ? err : swap_on_disk(SWAP_PARTITION);
}

int swap_break(bool broken)
{
	return change_partition(BLKPG_RESIZE_PARTITION, !broken);
}

int swap_break_stop(void)
{
	if (swapoff(SWAP_PARTITION))
		return -errno;
	return change_partition(BLKPG_DEL_PARTITION, true);
}

int swap_stop(void)
{
	__u64 range[2] = { 0, 0 };
	int disk, err = 0;

	if (swapoff(SWAP_DISK))
		return -errno;
	disk = open_disk(SWAP_DISK, &range[1]);
	if (disk < 0)
		return disk;
	if (ioctl(disk, BLKDISCARD, range))
		err = -errno;
	close(disk);
	return err;
}

long swap_used(void)
{
	return luo_meminfo("SwapTotal") - luo_meminfo("SwapFree");
}

/* A mapped file, and which of its pages are in memory. */
struct view {
	char *map;
	size_t size;
	size_t pages;
	unsigned char *in_memory;
};

static void unview(struct view *v)
{
	if (v->map != MAP_FAILED)
		munmap(v->map, v->size);
	free(v->in_memory);
}

static int view(struct view *v, int fd, size_t size)
{
	int err = 0;

	v->size = size;
	v->pages = (size + LUO_PAGE - 1) / LUO_PAGE;
	v->in_memory = malloc(v->pages);
	v->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!v->in_memory || v->map == MAP_FAILED ||
	    mincore(v->map, size, v->in_memory)) {
		err = -errno;
		unview(v);
	}
	return err;
}

long resident(int fd, size_t size)
{
	struct view v;
	long count = 0;
	size_t i;
	int err;

	err = view(&v, fd, size);
	if (err)
		return err;
	for (i = 0; i < v.pages; i++)
		count += v.in_memory[i] & 1;
	unview(&v);
	return count;
}

/*
 * MADV_PAGEOUT pages out mapped pages only. Pages that are not in memory are
 * not touched, because that would bring them in.
 */
static int page_out_once(int fd, size_t size)
{
	struct view v;
	size_t i;
	int err;

	err = view(&v, fd, size);
	if (err)
		return err;
	for (i = 0; i < v.pages; i++) {
		if (v.in_memory[i] & 1)
			(void)*(volatile char *)(v.map + i * LUO_PAGE);
	}
	if (madvise(v.map, size, MADV_PAGEOUT))
		err = -errno;
	unview(&v);
	return err;
}

long page_out(int fd, size_t size)
{
	int tries, err;
	long left = 0;

	for (tries = 0; tries < 5; tries++) {
		/*
		 * Moves pages from per-CPU batches to the LRU lists, where
		 * reclaim finds them.
		 */
		luo_write_file("/proc/sys/vm/drop_caches", "1");
		err = page_out_once(fd, size);
		if (err)
			return err;
		left = resident(fd, size);
		if (left <= 0)
			break;
	}
	return left;
}

bool mostly_out(long pages, size_t size)
{
	return pages >= 0 && pages <= (long)(size / LUO_PAGE / 8);
}

int collapse(int fd, size_t size)
{
	unsigned long huge = 2 * MIB;
	char *place, *map;
	int err = 0;

	/* Aligned, so that huge pages can be mapped. */
	place = mmap(NULL, size + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	if (place == MAP_FAILED)
		return -errno;
	map = (char *)(((unsigned long)place + huge - 1) & ~(huge - 1));
	map = mmap(map, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   fd, 0);
	if (map == MAP_FAILED || madvise(map, size, MADV_COLLAPSE))
		err = -errno;
	munmap(place, size + huge);
	return err;
}

int oom_never(void)
{
	return luo_write_file(OOM_SCORE, "-1000");
}

int oom_first(void)
{
	return luo_write_file(OOM_SCORE, "1000");
}

static void be_ballast(long leave, int ready)
{
	size_t step = MIB;

	/* This process must not hold fds that the parent closes. */
	dup2(ready, STDERR_FILENO + 1);
	ready = STDERR_FILENO + 1;
	close_range(ready + 1, ~0U, 0);
	oom_first();
	for (;;) {
		long left = luo_meminfo("MemFree") - leave;
		char *map;

		if (left <= 0)
			break;
		if (left < (long)(4 * step / LUO_PAGE))
			step = 16 * LUO_PAGE;
		map = mmap(NULL, step, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED)
			break;
		memset(map, 1, step);
	}
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

int ballast_start(long leave)
{
	int fds[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid)
		be_ballast(leave, fds[1]);
	close(fds[1]);
	if (pid > 0 && read(fds[0], &byte, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = -ENOMEM;
	}
	close(fds[0]);
	return pid;
}

bool ballast_stop(int pid)
{
	int status;
	bool gone = waitpid(pid, &status, WNOHANG) == pid;

	if (!gone) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	return gone;
}
