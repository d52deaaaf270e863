// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes the calls of steps; see perform.h.
 */
#include "perform.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define OTHER_TYPE 0xBB

static int fd_of(unsigned int slot)
{
	return STEP_FIRST_FD + slot;
}

static __u64 step_token(unsigned int index)
{
	static const __u64 tokens[MODEL_TOKENS] = { 0, 1, ~0ULL,
						    0x0123456789abcdefULL };

	return tokens[index];
}

void step_name(char *name, const struct step_place *place, unsigned int index)
{
	memset(name, 0, LUO_NAME_MAX);
	if (index < MODEL_NAMES)
		snprintf(name, LUO_NAME_MAX, "step-%u-%u", place->universe,
			 index);
	else if (index == NAME_UNTERMINATED)
		memset(name, 'x', LUO_NAME_MAX);
}

static int step_memfd(unsigned int pages, __u32 seed)
{
	int fd = luo_memfd(memfd_is_sealable(seed) ? MFD_ALLOW_SEALING : 0, 0,
			   0);
	unsigned int i;
	int err;

	if (fd < 0)
		return fd;
	err = luo_truncate(fd, pages * LUO_PAGE);
	for (i = 0; i < pages && !err; i++) {
		if (memfd_has_page(seed, i))
			err = luo_fill(fd, i * LUO_PAGE, LUO_PAGE, seed);
	}
	if (err)
		close(fd);
	return err ?: fd;
}

int incoming_make(int dev, const struct step_place *place)
{
	unsigned int s, token;
	char name[LUO_NAME_MAX];
	int session, fd, err;

	for (s = 0; s < MODEL_INCOMING; s++) {
		step_name(name, place, s);
		session = luo_create(dev, name);
		if (session < 0)
			return session;
		for (token = 0; token < MODEL_TOKENS; token++) {
			if (incoming_pages(s, token) == 0xff)
				continue;
			fd = step_memfd(incoming_pages(s, token),
					incoming_seed(s, token));
			err = fd < 0 ? fd :
				       luo_preserve(session, fd,
						    step_token(token));
			if (err)
				return err;
			close(fd);
		}
	}
	return 0;
}

static struct answer digest(int fd)
{
	__u64 words[LUO_PAGE / 8];
	struct answer answer = {};
	off_t size, off;
	ssize_t n;

	size = luo_size(fd);
	if (size < 0)
		return (struct answer){ .err = size };
	answer.value = digest_word(answer.value, size);
	answer.value = digest_word(answer.value, luo_pos(fd));
	answer.value = digest_word(answer.value, luo_seals(fd));
	for (off = 0; off < size; off += LUO_PAGE) {
		n = pread(fd, words, sizeof(words), off);
		if (n != sizeof(words))
			return (struct answer){ .err = n < 0 ? -errno : -EIO };
		answer.value = digest_page(answer.value, words);
	}
	return answer;
}

/* Moves a new fd into its slot. An error is passed through. */
static int move_to(int fd, unsigned int slot)
{
	int err = 0;

	if (fd < 0)
		return fd;
	if (dup2(fd, fd_of(slot)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* The argument of any ioctl, with space for a tail. */
union argument {
	__u32 size;
	struct liveupdate_ioctl_create_session create;
	struct liveupdate_ioctl_retrieve_session retrieve;
	struct liveupdate_session_preserve_fd preserve;
	struct liveupdate_session_retrieve_fd retrieve_fd;
	struct liveupdate_session_finish finish;
	struct liveupdate_session_get_name get_name;
	char bytes[256];
};

static int call(const struct step *step, unsigned int cmd, union argument *arg,
		__u32 size)
{
	int err, fd = fd_of(step->slot);
	void *readonly;

	arg->size = size;
	switch (step->flavor) {
	case FLAVOR_SMALL:
		arg->size--;
		break;
	case FLAVOR_NOISE:
		arg->bytes[size + 3] = 1;
		arg->size += 8;
		break;
	case FLAVOR_LARGE:
		arg->size += 8;
		break;
	case FLAVOR_NULL:
		return luo_ioctl(fd, cmd, NULL);
	case FLAVOR_READONLY:
		readonly = luo_readonly(arg, sizeof(*arg));
		if (!readonly)
			return -ENOMEM;
		err = luo_ioctl(fd, cmd, readonly);
		munmap(readonly, LUO_PAGE);
		return err;
	}
	return luo_ioctl(fd, cmd, arg);
}

static struct answer make_ioctl(const struct step *step,
				const struct step_place *place)
{
	unsigned int bad = step->flavor == FLAVOR_RESERVED, i;
	union argument arg = {};
	struct answer answer = {};
	char name[LUO_NAME_MAX];

	switch (step->op) {
	case STEP_CREATE:
		step_name((char *)arg.create.name, place, step->arg);
		answer.err = call(step, LIVEUPDATE_IOCTL_CREATE_SESSION, &arg,
				  sizeof(arg.create));
		if (!answer.err)
			answer.err = move_to(arg.create.fd, step->to);
		break;
	case STEP_RETRIEVE:
		step_name((char *)arg.retrieve.name, place, step->arg);
		answer.err = call(step, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &arg,
				  sizeof(arg.retrieve));
		if (!answer.err)
			answer.err = move_to(arg.retrieve.fd, step->to);
		break;
	case STEP_PRESERVE:
		arg.preserve.fd = fd_of(step->to);
		arg.preserve.token = step_token(step->arg);
		answer.err = call(step, LIVEUPDATE_SESSION_PRESERVE_FD, &arg,
				  sizeof(arg.preserve));
		break;
	case STEP_RETRIEVE_FD:
		arg.retrieve_fd.token = step_token(step->arg);
		answer.err = call(step, LIVEUPDATE_SESSION_RETRIEVE_FD, &arg,
				  sizeof(arg.retrieve_fd));
		if (!answer.err)
			answer.err = move_to(arg.retrieve_fd.fd, step->to);
		break;
	case STEP_FINISH:
		arg.finish.reserved = bad;
		answer.err = call(step, LIVEUPDATE_SESSION_FINISH, &arg,
				  sizeof(arg.finish));
		break;
	case STEP_GET_NAME:
		arg.get_name.reserved = bad;
		answer.err = call(step, LIVEUPDATE_SESSION_GET_NAME, &arg,
				  sizeof(arg.get_name));
		for (i = 0; !answer.err && i < MODEL_NAMES; i++) {
			step_name(name, place, i);
			if (!memcmp(name, arg.get_name.name, LUO_NAME_MAX))
				break;
		}
		answer.value = answer.err ? 0 : i;
		break;
	}
	return answer;
}

static struct answer bad_number(const struct step *step)
{
	static const unsigned int numbers[] = {
		_IO(LIVEUPDATE_IOCTL_TYPE, 0x7f),
		_IO(OTHER_TYPE, 0),
		_IO(OTHER_TYPE, 0x40),
	};
	unsigned int which = step->arg;
	union argument arg = { .size = 8 };
	char text[96] = "";

	/* The number must be in the table of this kind of file. */
	if (which && !luo_fdlink(fd_of(step->slot), text, sizeof(text)) &&
	    strstr(text, "luo_session"))
		which = 2;
	return (struct answer){ .err = luo_ioctl(fd_of(step->slot),
						 numbers[which], &arg) };
}

static struct answer fdinfo(unsigned int slot)
{
	struct answer answer = {};
	char text[2048], *at;

	answer.err = luo_fdinfo(fd_of(slot), text, sizeof(text));
	if (answer.err)
		return answer;
	if (strstr(text, "luo-direction:\toutgoing\n"))
		answer.value = 0x100;
	else if (strstr(text, "luo-direction:\tincoming\n"))
		answer.value = 0x200;
	for (at = text; (at = strstr(at, "luo-file:\t")); at++)
		answer.value += 0x01;
	for (at = text; (at = strstr(at, "state=preserved\n")); at++)
		answer.value += 0x10;
	for (at = text; (at = strstr(at, "state=retrieved\n")); at++)
		answer.value += 0x10;
	return answer;
}

static int send_or_receive(const struct step *step,
			   const struct step_place *place)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fd = fd_of(step->slot);

	if (step->op == STEP_SEND) {
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
		return sendmsg(place->inbox[step->arg][0], &msg, MSG_DONTWAIT) <
				       0 ?
			       -errno :
			       0;
	}
	if (recvmsg(place->inbox[step->proc][1], &msg,
		    MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return move_to(fd, step->to);
}

static __thread sigjmp_buf on_bus;

static void bus(int sig)
{
	siglongjmp(on_bus, 1);
}

static int store(const struct step *step)
{
	struct sigaction action = { .sa_handler = bus };
	volatile __u64 *map;
	int err = 0;

	sigaction(SIGBUS, &action, NULL);
	map = mmap(NULL, LUO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd_of(step->slot), step->arg * LUO_PAGE);
	if (map == MAP_FAILED)
		return -errno;
	if (sigsetjmp(on_bus, 1))
		err = -EFAULT;
	else
		map[LUO_PAGE / 8 - 1] = step->seed;
	munmap((void *)map, LUO_PAGE);
	return err;
}

struct answer step_perform(const struct step *step,
			   const struct step_place *place)
{
	int fd = fd_of(step->slot), err;

	switch (step->op) {
	case STEP_OPEN:
		err = move_to(luo_open(), step->to);
		break;
	case STEP_BAD_NUMBER:
		return bad_number(step);
	case STEP_FDINFO:
		return fdinfo(step->slot);
	case STEP_CLOSE:
		err = close(fd) ? -errno : 0;
		break;
	case STEP_DUP:
		err = dup2(fd, fd_of(step->to)) < 0 ? -errno : 0;
		break;
	case STEP_SEND:
	case STEP_RECEIVE:
		err = send_or_receive(step, place);
		break;
	case STEP_NULL:
		err = move_to(open("/dev/null", O_RDWR | O_CLOEXEC), step->to);
		break;
	case STEP_MEMFD:
		err = move_to(step_memfd(step->arg, step->seed), step->to);
		break;
	case STEP_TRUNCATE:
		err = luo_truncate(fd, step->arg * LUO_PAGE);
		break;
	case STEP_PUNCH:
		err = luo_fallocate(fd,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    step->arg * LUO_PAGE, LUO_PAGE);
		break;
	case STEP_WRITE:
		err = luo_fill(fd, step->arg * LUO_PAGE, LUO_PAGE, step->seed);
		break;
	case STEP_MAP:
		err = store(step);
		break;
	case STEP_SEAL:
		err = luo_add_seals(fd, step_seals[step->arg]);
		break;
	case STEP_SEEK:
		err = lseek(fd, step->seed, SEEK_SET) < 0 ? -errno : 0;
		break;
	case STEP_DIGEST:
		return digest(fd);
	case STEP_EXIT:
		_exit(0);
	default:
		return make_ioctl(step, place);
	}
	return (struct answer){ .err = err };
}
