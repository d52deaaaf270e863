// SPDX-License-Identifier: GPL-2.0-only
#include "background.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* What a process that runs in the background has: its socket, and the pipe to its caller. */
static int own_listener = -1;
static int own_status = -1;

/* An abstract socket, so that no file is left. */
static socklen_t socket_address(struct sockaddr_un *address, const char *name)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strncpy(address->sun_path + 1, name, sizeof(address->sun_path) - 2);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
}

static int listen_as(const char *name)
{
	struct sockaddr_un address;
	socklen_t len = socket_address(&address, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, 1))
		return -errno;
	return fd;
}

/* Answers one caller. Returns whether that was the last one. */
static bool answer(int listener, const struct background_command *commands)
{
	const struct background_command *command;
	int caller = accept(listener, NULL, NULL);
	char word[32] = "";
	char reply = 'n';
	bool last = false;

	if (caller < 0)
		return false;
	if (read(caller, word, sizeof(word) - 1) > 0) {
		for (command = commands; command->word; command++) {
			if (strcmp(word, command->word))
				continue;
			if (command->run())
				reply = 'y';
			last = command->last;
		}
	}
	if (write(caller, &reply, 1) != 1)
		printf("# the caller of %s left\n", word);
	close(caller);
	return last;
}

int background_run(const char *name, void (*begin)(void), void (*look)(void), int nap,
		   const struct background_command *commands)
{
	struct pollfd listener = { .events = POLLIN };
	int status[2];
	char done;

	if (pipe(status))
		return -errno;
	switch (fork()) {
	case -1:
		return -errno;
	case 0:
		setsid();
		/* A process that was started by one of these is not a part of it. */
		close(own_listener);
		close(own_status);
		close(status[0]);
		own_status = status[1];
		listener.fd = listen_as(name);
		if (listener.fd < 0)
			exit(1);
		own_listener = listener.fd;
		begin();
		if (write(status[1], "y", 1) != 1)
			exit(1);
		close(own_status);
		own_status = -1;
		for (;;) {
			bool called = poll(&listener, 1, nap) > 0;

			look();
			if (called && answer(listener.fd, commands))
				exit(0);
		}
	}
	close(status[1]);
	/* The end of the file if the process has exited. */
	return read(status[0], &done, 1) == 1 ? 0 : 1;
}

int background_tell(const char *name, const char *word)
{
	struct sockaddr_un address;
	socklen_t len = socket_address(&address, name);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char reply = 'n';

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, len) ||
	    write(fd, word, strlen(word)) < 0 || read(fd, &reply, 1) < 0)
		return -errno;
	close(fd);
	return reply == 'y' ? 0 : 1;
}
