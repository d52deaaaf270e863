// SPDX-License-Identifier: GPL-2.0-only
/*
 * Generates malformed ioctls, knows their answers, and makes them; see malform.h.
 */
#include "malform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The pages of the mapping: w is writable, r read-only, . unmapped. */
static const char pages[] = "wwrr.ww.";

#define PAGES (sizeof(pages) - 1)
#define LENGTH ((long)(PAGES * LUO_PAGE))

/* More fds than a process can have. */
#define NO_FD 0x1000000

/*
 * Two files, each mapped twice: with the protections above, which the kernel
 * sees, and writable, to place arguments. Outside of arguments, one file is all
 * zero and the other has no zero byte.
 */
static struct {
	char *seen;
	char *ours;
} zeroes, noise;

/* Addresses outside of user space, or that no process has mapped. */
static const unsigned long elsewhere[] = {
	0,
	1,
	3,
	0x1000,
	0x7ffffffff000UL - 2,
	0x7ffffffff000UL,
	0x7fffffffffffUL,
	0x800000000000UL,
	1UL << 63,
	0xffff800000000000UL,
	0xffff888000000000UL,
	0xffffea0000000000UL,
	0xffffffff81000000UL,
	-4096UL,
	-72UL,
	-16UL,
	-4UL,
	-2UL,
	-1UL,
};

static const struct {
	const char *name;
	unsigned int cmd;
	__u32 size;
	bool on_session;
} commands[] = {
	[CREATE_SESSION] = { "create_session", LIVEUPDATE_IOCTL_CREATE_SESSION,
			     sizeof(struct liveupdate_ioctl_create_session),
			     false },
	[RETRIEVE_SESSION] = { "retrieve_session",
			       LIVEUPDATE_IOCTL_RETRIEVE_SESSION,
			       sizeof(struct liveupdate_ioctl_retrieve_session),
			       false },
	[PRESERVE_FD] = { "preserve_fd", LIVEUPDATE_SESSION_PRESERVE_FD,
			  sizeof(struct liveupdate_session_preserve_fd), true },
	[RETRIEVE_FD] = { "retrieve_fd", LIVEUPDATE_SESSION_RETRIEVE_FD,
			  sizeof(struct liveupdate_session_retrieve_fd), true },
	[FINISH] = { "finish", LIVEUPDATE_SESSION_FINISH,
		     sizeof(struct liveupdate_session_finish), true },
	[GET_NAME] = { "get_name", LIVEUPDATE_SESSION_GET_NAME,
		       sizeof(struct liveupdate_session_get_name), true },
};

/* The random numbers of one call. */
struct random {
	__u64 seed;
	__u64 n;
};

static __u64 any(struct random *r)
{
	return luo_mix(r->seed, r->n++);
}

static __u64 below(struct random *r, __u64 limit)
{
	return any(r) % limit;
}

static int map_twice(char **seen, char **ours, unsigned char fill)
{
	int fd = memfd_create("malform", MFD_CLOEXEC);
	size_t i;

	if (fd < 0 || ftruncate(fd, LENGTH))
		return -errno;
	*ours = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*seen = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (*ours == MAP_FAILED || *seen == MAP_FAILED)
		return -errno;
	memset(*ours, fill, LENGTH);
	for (i = 0; i < PAGES; i++) {
		int prot = pages[i] == 'r' ? PROT_READ : PROT_NONE;

		if (pages[i] != 'w' &&
		    mprotect(*seen + i * LUO_PAGE, LUO_PAGE, prot))
			return -errno;
	}
	return 0;
}

int malform_map(void)
{
	return map_twice(&zeroes.seen, &zeroes.ours, 0) ?:
		       map_twice(&noise.seen, &noise.ours, 0xa5);
}

size_t malform_size(enum malform_command which)
{
	return commands[which].size;
}

/* How many bytes can be read from this offset on. */
static long readable(long offset)
{
	long end = offset;

	if (offset < 0)
		return 0;
	while (end < LENGTH && pages[end / LUO_PAGE] != '.')
		end += LUO_PAGE - end % LUO_PAGE;
	return end - offset;
}

static bool writable(long offset, long len)
{
	long at;

	for (at = offset; at < offset + len; at += LUO_PAGE - at % LUO_PAGE) {
		if (at < 0 || at >= LENGTH || pages[at / LUO_PAGE] != 'w')
			return false;
	}
	return true;
}

static int name_answer(const struct malform *m, bool create, const __u8 *name)
{
	const char *text = (const char *)name;

	/* No session has such a name. */
	if (!name[0] || !memchr(name, 0, LUO_NAME_MAX))
		return create ? -EINVAL : -ENOENT;
	if (create)
		return !m->incoming && !strcmp(text, m->taken) ? -EEXIST : 0;
	if (m->incoming && !strcmp(text, m->taken))
		return -EINVAL;
	return m->pending && !strcmp(text, m->pending) ? 0 : -ENOENT;
}

/* What is answered to the content of a structure that was read. */
static int content_answer(const struct malform *m, const struct malform_call *call)
{
	const union malform_arg *arg = &call->arg;

	switch (call->which) {
	case CREATE_SESSION:
		return name_answer(m, true, arg->create.name);
	case RETRIEVE_SESSION:
		return name_answer(m, false, arg->retrieve.name);
	case PRESERVE_FD:
		if (arg->preserve.token == m->token)
			return -EEXIST;
		if (arg->preserve.fd == m->memfd)
			return 0;
		if (arg->preserve.fd == m->busy)
			return -EBUSY;
		return arg->preserve.fd == m->other ? -ENOENT : -EBADF;
	case RETRIEVE_FD:
		return arg->retrieve_fd.token == m->token ? 0 : -ENOENT;
	case FINISH:
		return arg->finish.reserved ? -EINVAL : 0;
	default:
		return arg->get_name.reserved ? -EINVAL : 0;
	}
}

int malform_expected(const struct malform *m, const struct malform_call *call)
{
	unsigned int nr = call->cmd & 0xff;
	unsigned int first = call->fd == m->dev ? 0 : LIVEUPDATE_CMD_SESSION_BASE;
	unsigned int count = call->fd == m->dev ? 2 : 4;
	long there = readable(call->offset), size = call->size;
	long known = call->which < MALFORM_COMMANDS ? commands[call->which].size : 0;
	int err;

	if (nr < first || nr >= first + count)
		return -EINVAL;
	if (there < (long)sizeof(__u32))
		return -EFAULT;
	if (call->which == MALFORM_COMMANDS)
		return -ENOTTY;
	if (call->which == PRESERVE_FD && m->incoming)
		return -EINVAL;
	if ((call->which == RETRIEVE_FD || call->which == FINISH) && !m->incoming)
		return -EINVAL;
	if (size < known)
		return -EINVAL;
	if (call->nonzero < size && call->nonzero < there)
		return -E2BIG;
	if (size > there)
		return -EFAULT;
	err = content_answer(m, call);
	if (!err && !writable(call->offset, known))
		return -EFAULT;
	return err;
}

/* Makes the content invalid, so that the call fails whatever else it has. */
static void spoil(struct malform_call *call)
{
	switch (call->which) {
	case CREATE_SESSION:
	case RETRIEVE_SESSION:
		call->arg.create.name[0] = '\0';
		break;
	case PRESERVE_FD:
		call->arg.preserve.fd = -1;
		break;
	case RETRIEVE_FD:
		call->arg.retrieve_fd.token ^= 1;
		break;
	case FINISH:
	case GET_NAME:
		call->arg.finish.reserved = 1;
		break;
	default:
		break;
	}
}

/* A name that is taken, free, or invalid. */
static void any_name(const struct malform *m, struct random *r, __u8 *name)
{
	__u64 kind = below(r, 8);

	if (kind == 0)
		return;
	memset(name, 0, LUO_NAME_MAX);
	if (kind < 3)
		memcpy(name, m->taken, strlen(m->taken));
	else if (kind < 5 && m->pending)
		memcpy(name, m->pending, strlen(m->pending));
	else if (kind == 5)
		memset(name, 'x', LUO_NAME_MAX);
	else
		snprintf((char *)name, LUO_NAME_MAX, "malform-%d",
			 (int)below(r, 4));
}

static void content(const struct malform *m, struct random *r,
		    struct malform_call *call)
{
	const int fds[] = { m->memfd, m->busy, m->other, -1, NO_FD };
	union malform_arg *arg = &call->arg;
	size_t i;

	for (i = 0; i < sizeof(*arg); i += sizeof(__u64)) {
		__u64 word = any(r);

		memcpy(arg->bytes + i, &word, sizeof(word));
	}
	arg->size = call->size;
	switch (call->which) {
	case CREATE_SESSION:
	case RETRIEVE_SESSION:
		any_name(m, r, arg->create.name);
		break;
	case PRESERVE_FD:
		/* A random number might be an open fd. */
		arg->preserve.fd |= NO_FD;
		if (below(r, 8))
			arg->preserve.fd = fds[below(r, ARRAY_SIZE(fds))];
		if (!below(r, 4))
			arg->preserve.token = m->token;
		break;
	case RETRIEVE_FD:
		if (below(r, 2))
			arg->retrieve_fd.token = m->token;
		break;
	case FINISH:
		/*
		 * finish may succeed although its argument cannot be written
		 * back.
		 */
		arg->finish.reserved |= 1;
		break;
	case GET_NAME:
		if (below(r, 2))
			arg->get_name.reserved = 0;
		break;
	default:
		break;
	}
}

static void tail(struct random *r, struct malform_call *call)
{
	__u32 known =
		call->which < MALFORM_COMMANDS ? commands[call->which].size : 0;
	__u32 len = call->size > known ? call->size - known : 0;

	call->nonzero = ~0U;
	if (call->tail == TAIL_NOISE)
		call->nonzero = known;
	else if (call->tail == TAIL_ONE_BYTE && len)
		call->nonzero = known + below(r, len);
}

static void place(struct malform_call *call, long offset)
{
	call->offset = offset;
	call->ptr =
		(call->tail == TAIL_NOISE ? noise.seen : zeroes.seen) + offset;
}

static struct random random_of(const struct malform *m, __u64 number)
{
	return (struct random){ .seed = luo_mix(m->seed, number) };
}

void malform_elsewhere(struct malform_call *call, unsigned long address)
{
	call->offset = -1;
	call->ptr = (char *)address;
}

void malform_at(const struct malform *m, __u64 number,
		enum malform_command which, __u32 size,
		enum malform_tail tail_kind, long offset,
		struct malform_call *call)
{
	struct random r = random_of(m, number);

	call->number = number;
	call->which = which;
	call->fd = commands[which].on_session ? m->session : m->dev;
	call->cmd = commands[which].cmd;
	call->size = size;
	call->tail = tail_kind;
	tail(&r, call);
	content(m, &r, call);
	place(call, offset);
}

/* Types with commands that do_vfs_ioctl() handles for every file. */
static bool is_of_the_vfs(unsigned int cmd)
{
	return strchr("TXf\x94\x15", cmd >> 8 & 0xff);
}

/* An unknown command that differs from a known one in some bits. */
static void other_command(struct random *r, struct malform_call *call)
{
	unsigned int i;

	do {
		call->cmd = commands[below(r, MALFORM_COMMANDS)].cmd;
		switch (below(r, 4)) {
		case 0:
			call->cmd = any(r);
			break;
		case 1:
			call->cmd ^= 1 + below(r, 0xff);
			break;
		case 2:
			call->cmd ^= (1 + below(r, 0xff)) << 8;
			break;
		default:
			call->cmd ^= (1 + below(r, 0xffff)) << 16;
			break;
		}
	} while (is_of_the_vfs(call->cmd));
	call->which = MALFORM_COMMANDS;
	for (i = 0; i < MALFORM_COMMANDS; i++) {
		if (call->cmd == commands[i].cmd)
			call->which = i;
	}
}

static __u32 any_size(struct random *r, __u32 known)
{
	switch (below(r, 8)) {
	case 0:
		return known;
	case 1:
		return known + below(r, 17) - 8;
	case 2:
		return below(r, known + 1);
	case 3:
		/* Larger than the mapping. */
		return below(r, 2) ? ~0U : any(r) | 1U << 31;
	default:
		return below(r, LUO_PAGE + 1);
	}
}

static long any_offset(struct random *r, __u32 known)
{
	long border = (1 + below(r, PAGES - 1)) * LUO_PAGE;

	switch (below(r, 4)) {
	case 0:
		return below(r, LENGTH);
	case 1:
		/* The structure ends near a border, or crosses it. */
		return border - below(r, known + 9);
	case 2:
		return border - below(r, 9);
	default:
		return below(r, LUO_PAGE);
	}
}

void malform_random(const struct malform *m, __u64 number,
		    struct malform_call *call)
{
	struct random r = random_of(m, number);
	__u32 known;

	call->number = number;
	call->which = below(&r, MALFORM_COMMANDS);
	call->cmd = commands[call->which].cmd;
	call->fd = commands[call->which].on_session ? m->session : m->dev;
	if (!below(&r, 8))
		other_command(&r, call);
	if (!below(&r, 16))
		call->fd = below(&r, 2) ? m->session : m->dev;
	known = call->which < MALFORM_COMMANDS ? commands[call->which].size :
						 72;
	call->size = any_size(&r, known);
	call->tail = call->size > LUO_PAGE + 8 ? TAIL_ZERO : below(&r, 3);
	tail(&r, call);
	content(m, &r, call);
	place(call, any_offset(&r, known));
	if (!below(&r, 16))
		malform_elsewhere(call,
				  elsewhere[below(&r, ARRAY_SIZE(elsewhere))]);
}

static void print_call(const struct malform *m, const struct malform_call *call,
		       int expected, int seen, int times)
{
	const char *on = call->fd == m->dev ? "the device" :
			 m->incoming	    ? "an incoming session" :
					      "an outgoing session";
	const char *name = call->which < MALFORM_COMMANDS ?
				   commands[call->which].name :
				   "unknown";
	static const char *const tails[] = { "zero", "one byte not zero",
					     "noise" };
	size_t i;

	printf("# seed %#llx call %llu%s: expected %d (%s), seen %d (%s)\n",
	       (unsigned long long)m->seed, (unsigned long long)call->number,
	       times > 1 ? " the second time" : "", -expected,
	       strerror(-expected), -seen, strerror(-seen));
	printf("#   command %#x (%s) on %s, size %u, tail: %s, from byte %d on\n",
	       call->cmd, name, on, call->size, tails[call->tail],
	       (int)call->nonzero);
	if (call->offset < 0)
		printf("#   at address %p\n#   content", call->ptr);
	else
		printf("#   at offset %ld of page '%c', %ld readable, pages %s\n#   content",
		       call->offset % (long)LUO_PAGE,
		       pages[call->offset / LUO_PAGE], readable(call->offset),
		       pages);
	for (i = 0; i < sizeof(call->arg); i++)
		printf("%s%02x", i % 4 ? "" : " ", call->arg.bytes[i]);
	printf("\n");
}

/* Places the argument in the mapping, or with @back restores what was there. */
static void put(const struct malform_call *call, bool back)
{
	char *ours = call->tail == TAIL_NOISE ? noise.ours : zeroes.ours;
	__u32 known = call->which < MALFORM_COMMANDS ?
			      commands[call->which].size :
			      72;
	long at = call->offset, len = known;

	if (at < 0)
		return;
	if (len > LENGTH - at)
		len = LENGTH - at;
	if (back)
		memset(ours + at, call->tail == TAIL_NOISE ? 0xa5 : 0, len);
	else
		memcpy(ours + at, &call->arg, len);
	if (call->tail == TAIL_ONE_BYTE && call->nonzero < call->size &&
	    at + call->nonzero < LENGTH)
		ours[at + call->nonzero] = !back;
}

bool malform_make(struct malform *m, struct malform_call *call)
{
	int expected = malform_expected(m, call);
	int seen, times = 0;

	if (!expected) {
		spoil(call);
		expected = malform_expected(m, call);
	}
	do {
		put(call, false);
		seen = ioctl(call->fd, call->cmd, call->ptr) < 0 ? -errno : 0;
		put(call, true);
		m->calls++;
		m->answers[-seen & 0xff]++;
		times++;
		/*
		 * If the first call had an effect, the second has another
		 * answer.
		 */
	} while (seen == expected && seen == -EFAULT && times < 2);
	if (seen == expected && seen)
		return true;
	print_call(m, call, expected, seen, times);
	return false;
}

void malform_read_state(const struct malform *m, struct malform_state *state)
{
	size_t fd;

	memset(state, 0, sizeof(*state));
	luo_fdinfo(m->session, state->fdinfo, sizeof(state->fdinfo));
	luo_get_name(m->session, state->name);
	for (fd = 0; fd < ARRAY_SIZE(state->flags); fd++)
		state->flags[fd] = fcntl(fd, F_GETFD);
}

bool malform_is_as_before(const struct malform *m,
			  const struct malform_state *before)
{
	struct malform_state now;
	bool same = true;
	size_t fd;

	malform_read_state(m, &now);
	if (strcmp(before->fdinfo, now.fdinfo) ||
	    strcmp(before->name, now.name)) {
		printf("# session \"%s\" was:\n%s", before->name,
		       before->fdinfo);
		printf("# session \"%s\" is:\n%s", now.name, now.fdinfo);
		same = false;
	}
	for (fd = 0; fd < ARRAY_SIZE(now.flags); fd++) {
		if (before->flags[fd] != now.flags[fd]) {
			printf("# flags of fd %zu: %d before, %d now\n", fd,
			       before->flags[fd], now.flags[fd]);
			same = false;
		}
	}
	return same;
}

void malform_print(const struct malform *m)
{
	size_t i;

	printf("# %lu calls, seed %#llx:", m->calls,
	       (unsigned long long)m->seed);
	for (i = 0; i < ARRAY_SIZE(m->answers); i++) {
		if (m->answers[i])
			printf(" %s %lu", strerrorname_np(i), m->answers[i]);
	}
	printf("\n");
}
