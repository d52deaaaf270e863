// SPDX-License-Identifier: GPL-2.0-only
/*
 * Samples the kernel by perf's software clock; see profile.h.
 */
#include "lib/luo.h"
#include "output.h"
#include "profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/perf_event.h>

#define PERIOD_NS 20000
#define RING_PAGES 2048UL
#define MAX_SYMBOLS 100000
#define SHOWN 12

struct symbol {
	__u64 address;
	char name[120];
	long seen;
};

static struct symbol *symbols;
static long symbol_count, samples;
static struct perf_event_mmap_page *ring;

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static int by_samples(const void *a, const void *b)
{
	const struct symbol *const *x = a, *const *y = b;

	return (*y)->seen<(*x)->seen ? -1 : (*y)->seen>(*x)->seen;
}

static void read_symbols(void)
{
	FILE *in = fopen("/proc/kallsyms", "re");
	unsigned long long address;
	char line[1024], name[512];

	symbols = calloc(MAX_SYMBOLS, sizeof(*symbols));
	if (!in || !symbols)
		need(-ENOMEM, "kallsyms");
	/* The first symbol stands for user space. */
	strcpy(symbols[symbol_count++].name, "(user)");
	while (fgets(line, sizeof(line), in) && symbol_count < MAX_SYMBOLS) {
		if (sscanf(line, "%llx %*c %511s", &address, name) != 2)
			continue;
		symbols[symbol_count].address = address;
		snprintf(symbols[symbol_count].name, sizeof(symbols->name),
			 "%.119s", name);
		symbol_count++;
	}
	fclose(in);
	qsort(symbols, symbol_count, sizeof(*symbols), by_address);
}

void profile_start(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = PERIOD_NS,
		.sample_type = PERF_SAMPLE_IP,
	};
	int fd;

	if (!getenv("BENCH_PROFILE"))
		return;
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
		     PERF_FLAG_FD_CLOEXEC);
	need(fd < 0 ? -errno : 0, "perf_event_open");
	ring = mmap(NULL, (RING_PAGES + 1) * LUO_PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	need(ring == MAP_FAILED ? -errno : 0, "the ring of perf");
	read_symbols();
}

static void count(__u64 address)
{
	long low = 0, high = symbol_count;

	while (high - low > 1) {
		long middle = (low + high) / 2;

		if (symbols[middle].address <= address)
			low = middle;
		else
			high = middle;
	}
	symbols[low].seen++;
	samples++;
}

void profile_cut(void)
{
	__u64 head, mask = RING_PAGES * LUO_PAGE - 1, at;
	char *data;
	long i;

	if (!ring)
		return;
	for (i = 0; i < symbol_count; i++)
		symbols[i].seen = 0;
	samples = 0;
	data = (char *)ring + LUO_PAGE;
	head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
	/*
	 * The ring's size is a multiple of 8, so no header and no address wraps
	 * around.
	 */
	for (at = ring->data_tail; at < head;) {
		struct perf_event_header *header = (void *)(data + (at & mask));

		if (header->type == PERF_RECORD_SAMPLE)
			count(*(__u64 *)(data +
					 ((at + sizeof(*header)) & mask)));
		at += header->size;
	}
	/* Drop samples of this function itself. */
	head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
	__atomic_store_n(&ring->data_tail, head, __ATOMIC_RELEASE);
}

void profile_print(const char *op, const char *layout, long n)
{
	static struct symbol *order[MAX_SYMBOLS];
	long i;

	if (!ring || !samples)
		return;
	for (i = 0; i < symbol_count; i++)
		order[i] = &symbols[i];
	qsort(order, symbol_count, sizeof(*order), by_samples);
	for (i = 0; i < SHOWN && order[i]->seen; i++)
		printf("PROF %s %s %ld %.1f %s\n", op, layout, n,
		       100.0 * order[i]->seen / samples, order[i]->name);
}
