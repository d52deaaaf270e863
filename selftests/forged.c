// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks in the next kernel what forge.ko handed over: damage is refused with the
 * right error and one line in the log, everything else can be retrieved, and the
 * machine works as before. Incoming state is input from another program, so every
 * field of it is damaged once.
 *
 *	forged stages GROUP		boots that the cases of a group need
 *	forged names GROUP STAGE	the cases of a boot
 *	forged CASE[,CASE...] 1		with the forged state
 *	forged CASE[,CASE...] 2		in the clean kernel after that
 *
 * Cases that damage only their own session share a kexec; each other case has one
 * for itself. FORGED= lists the addresses that forge.ko wrote. With
 * FORGED_DISCARD=, damaged files are not retrieved before finish.
 */
#include "lib/pressure.h"
#include "lib/stages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#include "test_modules/forge/shape.h"

/* What can still be retrieved. By default, everything. */
enum expected {
	FINE,
	NO_DEVICE, /* open: EIO */
	NO_SESSIONS, /* an empty chain */
	NO_LAST, /* a shorter chain */
	NO_SESSION, /* retrieve_session of the case: EIO */
	NO_FILE, /* retrieve_fd of its file 2: EIO */
	NO_FILES, /* retrieve_fd of its files 1 and 2: EIO */
	UNSUPPORTED, /* retrieve_fd of its file 2: EOPNOTSUPP */
};

struct forged_case {
	const char *name;
	enum expected expected;
	const char *log;
};

#define FORGERY(name, expected, log, ...) { #name, expected, log },
static const struct forged_case addresses[] = {
#include "test_modules/forge/addresses.h"
	{}
};

static const struct forged_case chains[] = {
#include "test_modules/forge/chains.h"
	{}
};

static const struct forged_case memfd[] = {
#include "test_modules/forge/memfd.h"
	{}
};

static const struct forged_case pieces[] = {
#include "test_modules/forge/pieces.h"
	{}
};

static const struct forged_case longest[] = {
#include "test_modules/forge/long.h"
	{}
};

static const struct forged_case million[] = {
#include "test_modules/forge/million.h"
	{}
};

static const struct {
	const char *name;
	const struct forged_case *cases;
} groups[] = {
	{ "addresses", addresses }, { "chains", chains },
	{ "memfd", memfd },	    { "pieces", pieces },
	{ "long", longest },	    { "million", million },
};

/* The cases of this kexec, and the current one. */
#define MAX_CASES 50

static const struct forged_case *chosen[MAX_CASES + 1];
static const struct forged_case *now;
static int current, last;

static bool is(const char *prefix)
{
	return !strncmp(now->name, prefix, strlen(prefix));
}

static const char *session_name(void)
{
	return is("name_escaped") ? FORGE_ODD_NAME : now->name;
}

static unsigned long long forged_address(void)
{
	const char *text = getenv("FORGED");
	int i;

	for (i = 0; text && i < current; i++) {
		text = strchr(text, ',');
		if (text)
			text++;
	}
	return text ? strtoull(text, NULL, 0) : 0;
}

/* The kernel log. */

#define LOG_SIZE MIB

/* Expands the next expected line of *log, and moves *log after it. */
static bool next_expected(const char **log, char *line, size_t size)
{
	size_t n = 0;

	if (!**log)
		return false;
	line[0] = 0;
	for (; **log && **log != '\n'; (*log)++) {
		if (**log == '@' || **log == '#')
			n += snprintf(line + n, size - n, "0x%llx",
				      forged_address() +
					      (**log == '#' ? LUO_PAGE : 0));
		else if (**log == '$')
			n += snprintf(line + n, size - n, "%s", now->name);
		else
			n += snprintf(line + n, size - n, "%c", **log);
	}
	if (**log)
		(*log)++;
	return true;
}

/* The same lines, the last one first. */
static const char *last_first(const char *log)
{
	static char text[400];
	size_t n = 0, end = strlen(log), start;

	need_eq(end < sizeof(text), true, "the expected lines are short");
	while (end) {
		for (start = end; start && log[start - 1] != '\n';)
			start--;
		n += snprintf(text + n, sizeof(text) - n, "%s%.*s",
			      n ? "\n" : "", (int)(end - start), log + start);
		end = start ? start - 1 : 0;
	}
	return text;
}

/* Messages of the module that do not report damage. */
static bool is_ordinary(const char *line)
{
	return !strncmp(line, "live update ", 12) ||
	       !strncmp(line, "loading out-of-tree", 19);
}

/* Compares the messages of the module since the previous case. */
static void expect_log(void)
{
	static int checked;
	int lines = 0;
	static const char prefix[] = "] liveupdate: ";
	char *log = calloc(1, LOG_SIZE), *line, *rest;
	const char *expected = now->log;
	char want[400];

	/* Only an insertion finds that folios overlap. */
	if (getenv("FORGED_DISCARD") && strstr(expected, OVERLAP))
		expected = "";
	/* Files are finished in the order that is the reverse of that of preserve. */
	else if (getenv("FORGED_DISCARD") && *expected)
		expected = last_first(expected);
	need_eq(!log, 0, "no memory for the kernel log");
	need_eq(klogctl(3, log, LOG_SIZE - 1) < 0, 0, "no kernel log");
	for (line = strtok_r(log, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		line = strstr(line, prefix);
		if (!line || is_ordinary(line + strlen(prefix)))
			continue;
		line += strlen(prefix);
		if (lines++ < checked)
			continue;
		if (!next_expected(&expected, want, sizeof(want)))
			snprintf(want, sizeof(want), "no more lines");
		if (!strcmp(line, want))
			continue;
		stage_note("the log has \"%s\"", line);
		expect_eq(false, true, "\"%s\" in its place", want);
	}
	if (next_expected(&expected, want, sizeof(want)))
		expect_eq(false, true, "\"%s\" in the log", want);
	checked = lines;
	free(log);
}

/* In cases with IMAGE, the address must be one of this kernel's code. */
static void expect_image(void)
{
	unsigned long long start = 0, end = 0;
	char line[200];
	FILE *f;

	if (!strstr(now->name, "_image"))
		return;
	f = fopen("/proc/iomem", "r");
	need_eq(!f, 0, "no /proc/iomem");
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "Kernel code") &&
		    sscanf(line, " %llx-%llx", &start, &end) == 2)
			break;
	}
	fclose(f);
	expect_range(forged_address(), start, end,
		     "an address in this kernel's code");
}

/* Sessions and files. */

static void expect_file(int session, __u64 token, size_t pages, __u64 seed,
			int err)
{
	size_t size = pages * FORGE_PAGE - FORGE_SLACK,
	       filled = FORGE_FILLED * FORGE_PAGE;
	int fd, i;

	/* finish refuses the file in the same way when it frees it. */
	if (err && getenv("FORGED_DISCARD"))
		return;
	for (i = 0; err && i < 2; i++)
		expect_err(luo_retrieve_fd(session, token), err,
			   "retrieve_fd %llu", (unsigned long long)token);
	if (err)
		return;
	fd = need_fd(luo_retrieve_fd(session, token), "retrieve_fd %llu",
		     (unsigned long long)token);
	expect_eq(luo_size(fd), size, "size of file %llu",
		  (unsigned long long)token);
	expect_eq(luo_pos(fd), seed, "position of file %llu",
		  (unsigned long long)token);
	/* Without swap nothing can be paged out. Reclaim would drop clean pages. */
	if (is("folios_clean"))
		expect_eq(page_out(fd, size), pages,
			  "pages in memory after reclaim");
	if (pages <= 2 * FORGE_FILLED) {
		expect_pattern(fd, 0, size, seed, "content");
	} else {
		expect_pattern(fd, 0, filled, seed, "content at the start");
		expect_pattern(fd, (pages - FORGE_FILLED) * FORGE_PAGE,
			       filled - FORGE_SLACK, seed,
			       "content at the end");
	}
	close(fd);
}

/* Retrieves a session that must exist. */
static int session(int dev, const char *name)
{
	return need_fd(luo_retrieve(dev, name), "retrieve_session \"%s\"",
		       name);
}

static void end_session(int dev, int fd, const char *name)
{
	expect_eq(luo_finish(fd), 0, "finish of \"%s\"", name);
	close(fd);
	expect_err(luo_retrieve(dev, name), -ENOENT,
		   "retrieve_session \"%s\" after finish", name);
}

static void expect_small(int dev, const char *name, __u64 seed, bool exists)
{
	int fd;

	if (!exists) {
		expect_err(luo_retrieve(dev, name), -ENOENT,
			   "retrieve_session \"%s\"", name);
		return;
	}
	fd = session(dev, name);
	expect_file(fd, 1, FORGE_PAGES, seed, 0);
	end_session(dev, fd, name);
}

static void expect_forged(int dev)
{
	const char *name = session_name();
	int fd, i, err = 0;

	if (now->expected == NO_SESSION) {
		for (i = 0; i < 2; i++)
			expect_err(luo_retrieve(dev, name), -EIO,
				   "retrieve_session");
		return;
	}
	if (now->expected == NO_FILE || now->expected == NO_FILES)
		err = -EIO;
	if (now->expected == UNSUPPORTED)
		err = -EOPNOTSUPP;
	fd = session(dev, name);
	expect_file(fd, 1, FORGE_PAGES, FORGE_SEED(1),
		    now->expected == NO_FILES ? -EIO : 0);
	expect_file(fd, 3, FORGE_PAGES, FORGE_SEED(3), 0);
	expect_file(fd, 2,
		    is("long_")	 ? FORGE_LONG :
		    is("piece_") ? FORGE_PIECES :
				   FORGE_PAGES_2,
		    FORGE_SEED(2), err);
	expect_err(luo_retrieve_fd(fd, 4), -ENOENT, "an unknown token");
	end_session(dev, fd, name);
}

/* The sessions that make a chain long. */
static void expect_extra(int dev)
{
	char name[LUO_NAME_MAX];
	unsigned long i;
	int fd;

	for (i = 0; i < 9998; i++) {
		snprintf(name, sizeof(name), FORGE_EXTRA, i);
		fd = session(dev, name);
		need_eq(luo_finish(fd), 0, "finish of \"%s\"", name);
		close(fd);
	}
}

/* The machine still works. */

static void expect_memory(void)
{
	size_t size = 8 * MIB;
	int fd = need_fd(luo_memfd(0, size, 99), "a memfd of 8 MiB");

	expect_pattern(fd, 0, MIB, 99, "new memory, at its start");
	expect_pattern(fd, size - MIB, MIB, 99, "new memory, at its end");
	close(fd);
}

/* Loads the module again. It finds the same damage, or nothing. */
static void load_again(void)
{
	need_eq(system("rmmod liveupdate && insmod \"${LUO_MODULE:-/lib/liveupdate.ko}\""),
		0, "unloading and loading of the module");
}

static void open_thrice(int *dev)
{
	int i;

	for (i = 0; i < 3; i++) {
		if (*dev >= 0)
			close(*dev);
		*dev = luo_open();
		if (now->expected == NO_DEVICE)
			expect_err(*dev, -EIO, "open number %d", i + 1);
		else
			need_fd(*dev, "open number %d", i + 1);
	}
}

/* A session for the next kernel, which stays open. */
static void preserve_after(int dev)
{
	int out = need_fd(luo_create(dev, "after"), "create_session");
	int fd = need_fd(luo_memfd(0, MIB, 77), "a memfd");

	need_eq(luo_preserve(out, fd, 1), 0, "preserve_fd");
	close(fd);
}

static void check_forged(struct stage_ctx *ctx)
{
	static int dev = -1;
	bool exists;

	now = chosen[current];
	exists = now->expected != NO_SESSIONS;
	expect_image();
	if (!current) {
		open_thrice(&dev);
		if (dev >= 0)
			expect_small(dev, "first", FORGE_SEED_FIRST, exists);
	}
	if (dev >= 0 && exists)
		expect_forged(dev);
	if (dev >= 0 && current == last)
		expect_small(dev, "last", FORGE_SEED_LAST,
			     exists && now->expected != NO_LAST);
	if (is("sessions_10000"))
		expect_extra(dev);
	expect_log();
	if (current++ < last)
		return;
	expect_memory();
	if (dev >= 0)
		close(dev);
	load_again();
	dev = luo_open();
	if (now->expected == NO_DEVICE) {
		expect_err(dev, -EIO, "open after loading the module again");
		return;
	}
	need_fd(dev, "open after loading the module again");
	expect_err(luo_retrieve(dev, "first"), -ENOENT, "a finished session");
	preserve_after(dev);
	close(dev);
}

static void check_clean(struct stage_ctx *ctx)
{
	int dev = need_fd(luo_open(), "open the device"), in, fd;

	expect_err(luo_retrieve(dev, "first"), -ENOENT,
		   "a session of the kernel before the last");
	if (chosen[0]->expected != NO_DEVICE) {
		in = session(dev, "after");
		fd = need_fd(luo_retrieve_fd(in, 1), "retrieve_fd");
		expect_eq(luo_size(fd), MIB, "size");
		expect_pattern(fd, 0, MIB, 77, "content");
		close(fd);
		end_session(dev, in, "after");
	}
	close(dev);
}

/* Groups of cases. */

static const struct forged_case *group(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		if (!strcmp(groups[i].name, name))
			return groups[i].cases;
	}
	return NULL;
}

static const struct forged_case *find(const char *name)
{
	const struct forged_case *c;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		for (c = groups[i].cases; c->name; c++) {
			if (!strcmp(c->name, name))
				return c;
		}
	}
	return NULL;
}

static bool is_alone(const struct forged_case *c)
{
	switch (c->expected) {
	case NO_SESSION:
	case NO_FILE:
	case NO_FILES:
	case UNSUPPORTED:
		/* Long files need much memory. */
		return !strncmp(c->name, "long_", 5);
	default:
		return true;
	}
}

/*
 * Chooses the cases of kexec number @unit: first each case that is alone, then
 * all the others together.
 */
static bool choose(const char *name, int unit)
{
	const struct forged_case *c, *cases = group(name);
	int count = 0;

	for (c = cases; c && c->name; c++) {
		if (is_alone(c) && !unit--)
			chosen[count++] = c;
	}
	for (c = cases; !unit && c && c->name; c++) {
		if (!is_alone(c) && count < MAX_CASES)
			chosen[count++] = c;
	}
	chosen[count] = NULL;
	return count;
}

/* Two boots for each kexec, to forge and to check, and one after the last. */
static int stages(const char *name)
{
	int units = 0;

	while (choose(name, units))
		units++;
	if (!units)
		return KSFT_FAIL;
	printf("%d\n", 2 * units + 1);
	return KSFT_PASS;
}

static int names(const char *name, int stage)
{
	int i;

	if (!choose(name, (stage - 1) / 2))
		return KSFT_FAIL;
	for (i = 0; chosen[i]; i++)
		printf("%s%s", i ? "," : "", chosen[i]->name);
	printf("\n");
	return KSFT_PASS;
}

static bool choose_named(char *list)
{
	char *name, *rest;

	for (name = strtok_r(list, ",", &rest); name;
	     name = strtok_r(NULL, ",", &rest)) {
		if (last == MAX_CASES)
			return false;
		chosen[last] = find(name);
		if (!chosen[last++])
			return false;
	}
	return last--;
}

int main(int argc, char **argv)
{
	static struct stage_case cases[MAX_CASES + 1];
	struct stage_program program = {
		.name = "forged",
		.stages = 2,
		.no_device = true,
		.cases = cases,
	};
	int i;

	if (argc == 3 && !strcmp(argv[1], "stages"))
		return stages(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "names"))
		return names(argv[2], atoi(argv[3]));
	if (argc != 3 || !choose_named(argv[1])) {
		fprintf(stderr,
			"usage: %s stages GROUP | names GROUP STAGE | CASE,... 1|2\n",
			argv[0]);
		return KSFT_FAIL;
	}
	/* The clean kernel is checked once. */
	if (!strcmp(argv[2], "2"))
		chosen[1] = NULL;
	for (i = 0; chosen[i]; i++) {
		cases[i].name = chosen[i]->name;
		cases[i].own_sessions = true;
		cases[i].run[0] = check_forged;
		cases[i].run[1] = check_clean;
	}
	return stage_main(2, argv + 1, &program);
}
