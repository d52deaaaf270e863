// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 32-bit process on a 64-bit kernel gets the same answers: the structures have
 * the same layout for both, so the module needs no compat code.
 *
 * A 64-bit machine may have no 32-bit C library. So this program has none: it makes
 * system calls by int 0x80 and prints KTAP itself.
 */
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/liveupdate.h>
#include <linux/memfd.h>
#include <asm/unistd_32.h>

#define DEVICE "/dev/liveupdate"

static long call(long nr, long a, long b, long c)
{
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(nr), "b"(a), "c"(b), "d"(c)
		     : "memory");
	return result;
}

static void say(const char *text)
{
	long len = 0;

	while (text[len])
		len++;
	call(__NR_write, 1, (long)text, len);
}

static int count, failures;

static void say_number(long n)
{
	char digits[24], *at = digits + sizeof(digits) - 1;
	unsigned long rest = n < 0 ? -n : n;

	*at = 0;
	do {
		*--at = '0' + rest % 10;
		rest /= 10;
	} while (rest);
	if (n < 0)
		*--at = '-';
	say(at);
}

static void expect(long seen, long expected, const char *what)
{
	if (seen != expected) {
		failures++;
		say("# expected ");
		say_number(expected);
		say(", seen ");
		say_number(seen);
		say("\nnot ");
	}
	say("ok ");
	say_number(++count);
	say(" ");
	say(what);
	say("\n");
}

static struct liveupdate_ioctl_create_session session = {
	.size = sizeof(session),
	.name = "compat32",
};

static struct liveupdate_session_preserve_fd preserve = {
	.size = sizeof(preserve),
	.token = 0xfedcba9876543210,
};

static struct liveupdate_session_get_name name = { .size = sizeof(name) };
static struct liveupdate_session_finish finish = { .size = sizeof(finish) };

__attribute__((used)) static void run(void)
{
	long dev, memfd;

	say("TAP version 13\n1..7\n");
	dev = call(__NR_open, (long)DEVICE, O_RDWR, 0);
	expect(dev < 0, 0, "open");
	expect(call(__NR_ioctl, dev, LIVEUPDATE_IOCTL_CREATE_SESSION,
		    (long)&session),
	       0, "create_session");
	memfd = call(__NR_memfd_create, (long)"compat32", 0, 0);
	call(__NR_write, memfd, (long)"x", 1);
	preserve.fd = memfd;
	expect(call(__NR_ioctl, session.fd, LIVEUPDATE_SESSION_PRESERVE_FD,
		    (long)&preserve),
	       0, "preserve_fd");
	expect(call(__NR_ioctl, session.fd, LIVEUPDATE_SESSION_PRESERVE_FD,
		    (long)&preserve),
	       -EEXIST, "the same token again");
	expect(call(__NR_ioctl, session.fd, LIVEUPDATE_SESSION_FINISH,
		    (long)&finish),
	       -EINVAL, "finish of an outgoing session");
	expect(call(__NR_ioctl, session.fd, LIVEUPDATE_SESSION_GET_NAME,
		    (long)&name) ||
		       name.name[0] != 'c' || name.name[7] != '2' ||
		       name.name[8],
	       0, "get_name");
	expect(call(__NR_ioctl, session.fd, LIVEUPDATE_SESSION_GET_NAME + 0x100,
		    (long)&name),
	       -ENOTTY, "a command of another type");
	call(__NR_exit, !!failures, 0, 0);
	__builtin_unreachable();
}

/*
 * The kernel aligns the stack to 16 bytes; the ABI wants that before the call.
 */
asm(".globl _start\n_start:\n\tsub $12, %esp\n\tcall run\n");
