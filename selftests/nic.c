// SPDX-License-Identifier: GPL-2.0-only
/*
 * A network card that a program drives through VFIO, and that goes on receiving while one
 * kernel replaces another. lib/nic_ring.h has the driver.
 *
 *	nic start SESSION     drives the cards, preserves them in a new session, and leaves
 *	                      a process that holds everything until the kexec; without
 *	                      a session if its name is "-"
 *	nic resume SESSION [NEXT]
 *	                      in the next kernel: takes them out of the session, and
 *	                      preserves them in the session NEXT
 *	nic restart SESSION   in the next kernel: takes cards out of the session that were
 *	                      stopped for the kexec, and drives them anew
 *	nic tell WORD         asks the process that start or resume left: see commands[]
 *	nic discard SESSION   gives the session up without taking anything out of it
 *	nic forged SESSION ERRNO
 *	                      succeeds if the memory comes back out of the session, as it
 *	                      was, and a card fails with that error (0: it comes back)
 *	                      and has no bus mastering
 *	nic forged-iommufd SESSION ERRNO
 *	                      as resume, if retrieving the iommufd fails with that error:
 *	                      the cards go on with a new one
 *	nic forged-table SESSION ERRNO
 *	                      the same if a card cannot be bound to the iommufd, because
 *	                      that would make its page table again
 *	nic closed            succeeds if no program can open the cards
 *	nic refused ERRNO     succeeds if entering the loaded kernel fails with that error
 *
 *	--cards N             the number of cards (default 1)
 *	--one-table           one page table for all of them, instead of one each
 *	--to-space            the last card is attached to the address space itself
 *	--apart               a process for each card, which share one iommufd
 *	--keep-iommufd        the iommufd is preserved too, and used again
 *	--drop-iommufd        the same, but resume closes it, and makes a new one
 *	--without-memory      start does not preserve the memory
 *	--preserve-nothing    start only makes the session: see the command obstacles
 *	--quiesced            the cards are stopped for the kexec
 *
 * The scenarios device*.sh use it. Lines that begin with NIC are for the witness
 * (qemu/runner/witness.py), which sends packets to a card from "ready" to "quiet", and
 * expects none of them to arrive after "stopped".
 */
#include "lib/background.h"
#include "lib/nic_cards.h"
#include "lib/obstacle.h"
#include "lib/say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/reboot.h>

/* Between two looks at the rings, in milliseconds. */
#define NAP 10
/* How long a check waits for packets, and how many it wants to see. */
#define CHECK_SECONDS 5
#define CHECK_PACKETS 20
/* Where memory is mapped that no session preserves. */
#define STRAY_IOVA 0x40000000UL
#define STRAY_SIZE MIB
/* Of an iommufd without cards. */
#define OTHER_TOKEN 1000

static struct {
	const char *session;
	const char *next;
	bool apart;
	/* The errors that forged-iommufd and forged-table expect. */
	int no_iommufd;
	int no_table;
} options;

static void *stray;
/* What a process for another card begins with. */
static void (*begin_apart)(void);

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void receive_all(void)
{
	int i;

	for (i = cards.first; i < cards.end; i++)
		nic_receive(&cards.nic[i]);
}

/* Whether each card gets packets now, after all those before. */
static bool command_check(void)
{
	double end = now() + CHECK_SECONDS;
	__u64 before[MAX_CARDS];
	bool good = true;
	int i;

	for (i = cards.first; i < cards.end; i++)
		before[i] = cards.nic[i].seen;
	for (i = cards.first; i < cards.end; i++) {
		while (cards.nic[i].seen < before[i] + CHECK_PACKETS && now() < end) {
			usleep(NAP * 1000);
			receive_all();
		}
		good &= cards_complete(&cards.nic[i], "so far");
		good &= cards.nic[i].seen >= before[i] + CHECK_PACKETS;
	}
	return good;
}

/* Lets the cards write to memory that no session preserves. */
static bool command_stray(void)
{
	const struct nic_iommufd *iommufd = &cards.iommufd;

	stray = mmap(NULL, STRAY_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (stray == MAP_FAILED)
		return false;
	return !iommufd_map(iommufd->fd, iommufd->space, stray, STRAY_SIZE, STRAY_IOVA);
}

static bool command_unstray(void)
{
	const struct nic_iommufd *iommufd = &cards.iommufd;

	return iommufd_unmap(iommufd->fd, iommufd->space, STRAY_SIZE, STRAY_IOVA) ==
	       STRAY_SIZE;
}

static bool command_preserve(void)
{
	cards_preserve_memory();
	return true;
}

static int refused(int expected)
{
	int err;

	sync();
	err = syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		      LINUX_REBOOT_CMD_KEXEC, NULL) ? errno : 0;
	say("# nic: reboot(LINUX_REBOOT_CMD_KEXEC): %s", strerror(err));
	return err == expected ? 0 : 1;
}

static bool refused_because(const char *what, const char *reason, int expected)
{
	say("# nic: a kexec with %s", what);
	say("# the kernel log must match: %s", reason);
	return !refused(expected) && command_check();
}

/* Whether the iommufd is not preserved with an obstacle. */
static bool not_preserved(const struct obstacle *obstacle)
{
	int err = cards_preserve_iommufd();

	say("# nic: preserve_fd with %s: %s", obstacle->what, strerror(-err));
	return err == -obstacle->at_preserve;
}

/* Whether the kexec is refused with an obstacle. */
static bool refused_with(const struct obstacle *obstacle,
			 const struct nic_iommufd *iommufd)
{
	int object = need(obstacle->put(iommufd, &cards.nic[cards.first]),
			  obstacle->what);
	bool good = refused_because(obstacle->what, obstacle->reason,
				    obstacle->at_kexec);

	need(iommufd_destroy(iommufd->fd, object), obstacle->what);
	return good;
}

/*
 * Preserves everything, after each thing that an iommufd cannot cross with was refused,
 * and tries to enter the loaded kernel with each of them.
 */
static bool command_obstacles(void)
{
	const struct obstacle *one;
	struct nic_iommufd other;
	bool good = true;
	int object;

	for (one = obstacles; one->what; one++) {
		if (!one->at_preserve)
			continue;
		object = need(one->put(&cards.iommufd, &cards.nic[cards.first]),
			      one->what);
		good &= not_preserved(one);
		need(iommufd_destroy(cards.iommufd.fd, object), one->what);
	}
	need(cards_preserve_iommufd(), "preserve the iommufd");
	cards_preserve_memory();
	good &= refused_because("a card that is not preserved",
				"a device that is bound is not preserved", EOPNOTSUPP);
	cards_preserve_devices();
	/* Frozen after everything else, which must be as before when it refuses. */
	need(nic_iommufd_make(&other), "make an iommufd");
	need(luo_preserve(cards.session, other.fd, OTHER_TOKEN), "preserve an iommufd");
	say("# nic: in another iommufd:");
	good &= refused_with(&obstacles[0], &other);
	for (one = obstacles; one->what; one++)
		good &= refused_with(one, &cards.iommufd);
	return good;
}

static bool command_end(void)
{
	bool good = true;
	int i;

	for (i = cards.first; i < cards.end; i++)
		say("NIC %d quiet", i);
	/* What is on its way arrives. */
	sleep(1);
	receive_all();
	for (i = cards.first; i < cards.end; i++) {
		good &= cards_complete(&cards.nic[i], "in all");
		nic_stop(&cards.nic[i]);
		say("NIC %d stopped", i);
	}
	return good;
}

static const struct background_command commands[] = {
	/* Whether each card gets packets now, after all those before. */
	{ "check", command_check },
	/* Lets the cards write to memory that no session preserves, and no more. */
	{ "stray", command_stray },
	{ "unstray", command_unstray },
	/* Preserves the memory after --without-memory. */
	{ "preserve", command_preserve },
	/* After --preserve-nothing: what is refused, and that the cards go on. */
	{ "obstacles", command_obstacles },
	/* Sees whether everything came, and ends the process. */
	{ "end", command_end, true },
	{},
};

/* Between two commands: receives packets, and tells of those that are wrong. */
static void look(void)
{
	static __u64 known;
	__u64 found = 0;
	int i;

	receive_all();
	for (i = cards.first; i < cards.end; i++)
		found += cards.nic[i].lost + cards.nic[i].bad;
	for (i = cards.first; i < cards.end && found > known; i++)
		cards_complete(&cards.nic[i], "so far");
	known = found;
}

/* The name of the process that drives a card. */
static const char *process_of(int card)
{
	static char name[16];

	snprintf(name, sizeof(name), "nic.%d", card);
	return name;
}

static int in_background(int first, int end, void (*begin)(void))
{
	cards.first = first;
	cards.end = end;
	return need(background_run(process_of(first), begin, look, NAP, commands),
		    "run in the background");
}

/* Another process gives back what it has got of the first card. */
static void begin_other(void)
{
	close(cards.nic[0].device);
	close(cards.nic[0].memory);
	begin_apart();
	if (cards.incoming >= 0)
		close(cards.incoming);
}

/*
 * With --apart, starts a process for each other card. It has copies of all open files of
 * this one: the iommufd is the same, and so are the sessions.
 */
static void start_others(void (*begin)(void))
{
	int i;

	begin_apart = begin;
	for (i = 1; i < cards.count && options.apart; i++)
		if (in_background(i, i + 1, begin_other))
			exit(1);
	if (options.apart) {
		cards.first = 0;
		cards.end = 1;
	}
}

static void start_all(void)
{
	need(nic_iommufd_make(&cards.iommufd), "make an iommufd");
	cards_create_session(options.session);
	cards_start();
	start_others(cards_start);
}

static void retrieve_memory(void)
{
	int i;

	for (i = cards.first; i < cards.end; i++)
		cards_retrieve_memory(i);
}

static void resume_other(void)
{
	retrieve_memory();
	cards_retrieve_devices();
	cards_resume();
}

static void resume_all(void)
{
	cards_retrieve_session(options.session);
	/* An iommufd retrieves the memory that it maps, unless that was done. */
	if (options.next) {
		retrieve_memory();
		cards_retrieve_iommufd();
	} else {
		cards_retrieve_iommufd();
		retrieve_memory();
	}
	cards_retrieve_devices();
	cards_resume();
	start_others(resume_other);
	cards_finish_session();
	if (options.next) {
		cards_create_session(options.next);
		cards_preserve();
	}
}

/* Ends the program unless a call has failed with this error; 0: unless it works. */
static void expect_error(int result, int expected, const char *what)
{
	int err = result < 0 ? -result : 0;

	say("# nic: %s: %s", what, err ? strerror(err) : "it works");
	if (err != expected)
		exit(1);
}

/* The iommufd comes first: what it retrieves before it fails must not be lost. */
static void resume_forged(void)
{
	__u32 object;
	int i, fd;

	cards_retrieve_session(options.session);
	fd = cards_try_iommufd();
	expect_error(fd, options.no_iommufd, "retrieve the iommufd");
	retrieve_memory();
	cards_retrieve_devices();
	for (i = cards.first; i < cards.end && fd >= 0; i++)
		expect_error(vfio_bind(cards.nic[i].device, fd, &object),
			     options.no_table, "bind the card");
	if (fd >= 0)
		close(fd);
	need(nic_iommufd_make(&cards.iommufd), "make an iommufd");
	cards_resume();
	cards_finish_session();
}

static void restart_all(void)
{
	cards_retrieve_session(options.session);
	cards_restart();
	cards_finish_session();
}

static int tell(const char *word)
{
	int i, result = 0;

	for (i = 0; i < (options.apart ? cards.count : 1); i++)
		result |= need(background_tell(process_of(i), word), "no nic runs");
	return result;
}

static int discard(void)
{
	int i;

	cards_retrieve_session(options.session);
	cards_finish_session();
	for (i = 0; i < cards.count; i++)
		say("NIC %d stopped", i);
	return 0;
}

static int forged(int expected)
{
	bool good = true;
	__u16 command;
	int i, err;

	cards_retrieve_session(options.session);
	for (i = 0; i < cards.count; i++) {
		cards_retrieve_memory(i);
		good &= cards_same_memory(&cards.nic[i]);
		need(pci_command(cards.nic[i].header->name, &command),
		     "read the configuration");
		err = cards_retrieve_device(i);
		say("# nic %d: retrieve the device: %s; bus mastering is %s", i,
		    err < 0 ? strerror(-err) : "it works",
		    command & PCI_COMMAND_MASTER ? "on" : "off");
		good &= (err < 0 ? -err : 0) == expected;
		good &= !(command & PCI_COMMAND_MASTER);
		if (err >= 0)
			close(err);
		say("NIC %d stopped", i);
	}
	cards_finish_session();
	return good ? 0 : 1;
}

static int forged_iommufd(int no_iommufd, int no_table)
{
	options.no_iommufd = no_iommufd;
	options.no_table = no_table;
	cards.drop_iommufd = true;
	return in_background(0, cards.count, resume_forged);
}

static int closed(void)
{
	char name[PCI_NAME_MAX];
	int i, fd, err;
	__u32 id;

	cards.iommufd.fd = need(iommufd_open(), "open /dev/iommu");
	for (i = 0; i < cards.count; i++) {
		cards_find(i, name);
		fd = vfio_open(name);
		err = fd < 0 ? fd : vfio_bind(fd, cards.iommufd.fd, &id);
		say("# nic %d: opening %s: %s", i, name,
		    err ? strerror(-err) : "not refused");
		if (!err)
			return 1;
	}
	return 0;
}

static int show_usage(void)
{
	fprintf(stderr, "usage: nic start SESSION | resume SESSION [NEXT] | restart SESSION |\n"
		"           tell WORD | discard SESSION | forged SESSION ERRNO |\n"
		"           forged-iommufd SESSION ERRNO | forged-table SESSION ERRNO |\n"
		"           closed | refused ERRNO\n"
		"           [--cards N] [--one-table] [--to-space] [--apart]\n"
		"           [--keep-iommufd | --drop-iommufd]\n"
		"           [--without-memory | --preserve-nothing] [--quiesced]\n");
	return 2;
}

static const struct {
	const char *word;
	bool *value;
} flags[] = {
	{ "--one-table", &cards.one_table },
	{ "--to-space", &cards.to_space },
	{ "--apart", &options.apart },
	{ "--keep-iommufd", &cards.keep_iommufd },
	{ "--drop-iommufd", &cards.drop_iommufd },
	{ "--without-memory", &cards.without_memory },
	{ "--preserve-nothing", &cards.preserve_nothing },
	{ "--quiesced", &cards.quiesced },
};

static bool set_flag(const char *word)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		if (!strcmp(word, flags[i].word)) {
			*flags[i].value = true;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *words[3] = {};
	int i, together, count = 0;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--cards") && i + 1 < argc)
			cards.count = atoi(argv[++i]);
		else if (argv[i][0] != '-' || !argv[i][1])
			words[count++ % 3] = argv[i];
		else if (!set_flag(argv[i]))
			return show_usage();
	}
	if (!count || count > 3 || cards.count < 1 || cards.count > MAX_CARDS)
		return show_usage();
	options.session = words[1];
	options.next = words[2];
	cards.keep_iommufd |= cards.drop_iommufd;
	/* How many cards the first process drives. */
	together = options.apart ? 1 : cards.count;
	if (!strcmp(words[0], "closed") && count == 1)
		return closed();
	if (!strcmp(words[0], "start") && count == 2)
		return in_background(0, together, start_all);
	/* Only one process preserves again. */
	if (!strcmp(words[0], "resume") && (count == 2 || (count == 3 && !options.apart)))
		return in_background(0, together, resume_all);
	if (!strcmp(words[0], "restart") && count == 2)
		return in_background(0, together, restart_all);
	if (!strcmp(words[0], "tell") && count == 2)
		return tell(words[1]);
	if (!strcmp(words[0], "discard") && count == 2)
		return discard();
	if (!strcmp(words[0], "forged") && count == 3)
		return forged(atoi(words[2]));
	if (!strcmp(words[0], "forged-iommufd") && count == 3)
		return forged_iommufd(atoi(words[2]), 0);
	if (!strcmp(words[0], "forged-table") && count == 3)
		return forged_iommufd(0, atoi(words[2]));
	if (!strcmp(words[0], "refused") && count == 2)
		return refused(atoi(words[1]));
	return show_usage();
}
