// SPDX-License-Identifier: GPL-2.0-only
#include "debugfs_lists.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int list_open(const char *list)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), LIST_DIR "%s", list);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

long list_read(int fd, char *text, size_t piece)
{
	size_t len = 0, next = piece;
	ssize_t got;

	do {
		if (!piece)
			next = next % 64 + 1;
		if (len + next >= LIST_MAX)
			return -EFBIG;
		got = read(fd, text + len, next);
		if (got < 0)
			return -errno;
		len += got;
	} while (got > 0);
	text[len] = '\0';
	return len;
}

const char *list_text(const char *list)
{
	static char text[LIST_MAX];
	int fd = list_open(list);
	long len = fd;

	if (fd >= 0) {
		len = list_read(fd, text, 64 * 1024);
		close(fd);
	}
	if (len < 0)
		snprintf(text, sizeof(text), "%s: %s\n", list, strerror(-len));
	return text;
}

/* The first line of @text that begins with @start and a blank, or NULL. */
static const char *first_line(const char *text, const char *start)
{
	size_t len = strlen(start);

	while (text && *text) {
		if (!strncmp(text, start, len) && text[len] == ' ')
			return text;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return NULL;
}

int list_count(const char *text, const char *start)
{
	int lines = 0;

	for (text = first_line(text, start); text;
	     text = first_line(text + 1, start))
		lines++;
	return lines;
}

static long number(const char *word)
{
	return strcmp(word, "-") ? strtol(word, NULL, 10) : -1;
}

int list_find(const char *text, const char *name, const char *direction,
	      struct list_row *row)
{
	char start[300], files[24], pages[24], pieces[24], age[24], pid[24];
	int lines = 0;

	snprintf(start, sizeof(start), "%s %s", name, direction);
	for (text = first_line(text, start); text;
	     text = first_line(text + 1, start)) {
		lines++;
		if (sscanf(text + strlen(start), " %15s %23s %23s %23s %23s %23s %63s",
			   row->state, files, pages, pieces, age, pid,
			   row->comm) != 7)
			return -EINVAL;
		row->files = number(files);
		row->pages = number(pages);
		row->pieces = number(pieces);
		row->age = number(age);
		row->pid = number(pid);
	}
	return lines;
}
