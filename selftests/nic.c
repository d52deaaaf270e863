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
 *	nic closed            succeeds if no program can open the cards
 *	nic refused ERRNO     succeeds if entering the loaded kernel fails with that error
 *
 *	--cards N             the number of cards (default 1)
 *	--one-table           one page table for all of them, instead of one each
 *	--without-memory      start does not preserve the memory
 *	--quiesced            the cards are stopped for the kexec
 *
 * The scenarios device*.sh use it. Lines that begin with NIC are for the witness
 * (qemu/runner/witness.py), which sends packets to a card from "ready" to "quiet", and
 * expects none of them to arrive after "stopped".
 */
#include "lib/background.h"
#include "lib/luo.h"
#include "lib/nic_ring.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/reboot.h>

#define MAX_CARDS 4
#define SOCKET "nic"
/* Between two looks at the rings, in milliseconds. */
#define NAP 10
/* How long a check waits for packets, and how many it wants to see. */
#define CHECK_SECONDS 5
#define CHECK_PACKETS 20
/* Where memory is mapped that no session preserves. */
#define STRAY_IOVA 0x40000000UL
#define STRAY_SIZE MIB

static const struct pci_id kinds[] = {
	{ 0x8086, 0x100e }, /* e1000 */
	{ 0x8086, 0x10d3 }, /* e1000e */
	{},
};

static struct {
	const char *session;
	const char *next;
	int cards;
	bool one_table;
	bool without_memory;
	bool quiesced;
} options = { .cards = 1 };

static struct nic nics[MAX_CARDS];
static int iommufd;
static __u32 space;
static int session = -1;
static void *stray;

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static void die(const char *what, int err)
{
	say("# nic: %s: %s", what, strerror(-err));
	exit(1);
}

/* Ends the program if a call failed; returns what it returned. */
static int need(int result, const char *what)
{
	if (result < 0)
		die(what, result);
	return result;
}

static __u64 memory_token(int card)
{
	return 2 * card + 1;
}

static __u64 device_token(int card)
{
	return 2 * card + 2;
}

/* Lets the cards reach their memory, and nothing else, at the addresses of before. */
static void attach(void)
{
	__u32 table;
	int i;

	iommufd = need(iommufd_open(), "open /dev/iommu");
	need(iommufd_space(iommufd, &space), "IOMMU_IOAS_ALLOC");
	for (i = 0; i < options.cards; i++) {
		need(vfio_bind(nics[i].device, iommufd, &nics[i].iommu_id),
		     "VFIO_DEVICE_BIND_IOMMUFD");
		need(iommufd_map_file(iommufd, space, nics[i].memory, NIC_SIZE,
				      nic_iova(&nics[i])),
		     "IOMMU_IOAS_MAP_FILE");
	}
	/*
	 * The table is complete before the card is attached to it. Attached to the
	 * address space itself, the card would get an empty one first.
	 */
	for (i = 0; i < options.cards; i++) {
		if (!i || !options.one_table)
			need(iommufd_table(iommufd, nics[i].iommu_id, space, &table),
			     "IOMMU_HWPT_ALLOC");
		need(vfio_attach(nics[i].device, table),
		     "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	}
}

static void preserve_memory(void)
{
	int i;

	for (i = 0; i < options.cards; i++)
		need(luo_preserve(session, nics[i].memory, memory_token(i)),
		     "preserve the memory");
}

/* fdinfo of a device says in which way it will cross. */
static void check_way(int device)
{
	const char *expected = options.quiesced ? "liveupdate: quiesced\n" :
						  "liveupdate: continuous\n";
	char text[1024];

	need(luo_fdinfo(device, text, sizeof(text)), "read fdinfo");
	if (!strstr(text, expected))
		die("fdinfo has another way", -EPROTO);
}

/* Preserves everything in a new session. */
static void preserve_all(const char *name)
{
	int i, dev;

	if (!strcmp(name, "-"))
		return;
	dev = need(luo_open(), "open " LUO_DEVICE);
	session = need(luo_create(dev, name), "create the session");
	close(dev);
	/* In any order: the kernel compares them when the kexec begins. */
	if (!options.without_memory)
		preserve_memory();
	for (i = 0; i < options.cards; i++) {
		need(luo_preserve(session, nics[i].device, device_token(i)),
		     "preserve the device");
		check_way(nics[i].device);
	}
}

/* Tells the witness where the rings are. */
static void announce(void)
{
	int i;

	for (i = 0; i < options.cards; i++) {
		/* Both preserving and mapping for DMA can move pages. */
		need(nic_note_frames(&nics[i]), "read the frame numbers");
		say("NIC %d ready id=%016llx at=%#llx device=%s", i,
		    (unsigned long long)nics[i].header->id,
		    (unsigned long long)nics[i].header->frame * LUO_PAGE,
		    nics[i].header->name);
	}
}

static void start_all(void)
{
	char name[PCI_NAME_MAX];
	int i;

	for (i = 0; i < options.cards; i++) {
		need(pci_find(kinds, i, name), "find the card");
		need(vfio_take(name), "bind the card to vfio-pci");
		nics[i].device = need(vfio_open(name), "open the card");
		need(nic_make_memory(&nics[i], i), "make the memory");
		strcpy(nics[i].header->name, name);
	}
	attach();
	for (i = 0; i < options.cards; i++)
		need(nic_start(&nics[i]), "start the card");
	preserve_all(options.session);
	announce();
}

/* Whether all packets so far came, numbered in order. */
static bool complete(const struct nic *nic, const char *when)
{
	bool good = !nic->lost && !nic->bad;

	say("# nic %u: %llu packets %s, %llu lost, %llu not in order",
	    nic->header->index, (unsigned long long)nic->seen, when,
	    (unsigned long long)nic->lost, (unsigned long long)nic->bad);
	return good;
}

static int retrieve_session(void)
{
	int dev = need(luo_open(), "open " LUO_DEVICE);
	int incoming = need(luo_retrieve(dev, options.session), "retrieve the session");

	close(dev);
	return incoming;
}

static void retrieve_memory(int incoming, int card)
{
	nics[card].memory = need(luo_retrieve_fd(incoming, memory_token(card)),
				 "retrieve the memory");
	need(nic_map_memory(&nics[card]), "map the memory");
}

static void resume_all(void)
{
	int i, incoming;
	long moved;

	incoming = retrieve_session();
	for (i = 0; i < options.cards; i++) {
		retrieve_memory(incoming, i);
		nics[i].device = need(luo_retrieve_fd(incoming, device_token(i)),
				      "retrieve the device");
		say("NIC %d retrieved device=%s", i, nics[i].header->name);
	}
	attach();
	for (i = 0; i < options.cards; i++) {
		need(nic_resume(&nics[i]), "take over the card");
		nic_receive(&nics[i]);
		say("NIC %d resumed", i);
		if (!complete(&nics[i], "until it was resumed"))
			exit(1);
		moved = need(nic_moved_frames(&nics[i]), "read the frame numbers");
		say("# nic %d: %ld of %lu frames moved", i, moved, NIC_PAGE_COUNT);
		if (moved)
			exit(1);
	}
	need(luo_finish(incoming), "finish the session");
	close(incoming);
	if (options.next)
		preserve_all(options.next);
}

/* Whether the memory of a card is as it was, except for packets. */
static bool same_memory(struct nic *nic)
{
	long moved = need(nic_moved_frames(nic), "read the frame numbers");
	long changed = nic_changed_addresses(nic);

	say("# nic %u: %ld of %lu frames moved, %ld addresses in the ring changed",
	    nic->header->index, moved, NIC_PAGE_COUNT, changed);
	return !moved && !changed;
}

/* The cards that were stopped get new memory: nothing lands in the old one. */
static void restart_all(void)
{
	char name[PCI_NAME_MAX];
	int i, incoming;
	__u16 command;

	incoming = retrieve_session();
	for (i = 0; i < options.cards; i++) {
		need(pci_find(kinds, i, name), "find the card");
		need(pci_command(name, &command), "read the configuration");
		if (command & PCI_COMMAND_MASTER)
			die("bus mastering is on", -EISCONN);
		retrieve_memory(incoming, i);
		nics[i].device = need(luo_retrieve_fd(incoming, device_token(i)),
				      "retrieve the device");
		if (!same_memory(&nics[i]))
			exit(1);
		say("NIC %d retrieved device=%s", i, name);
		close(nics[i].memory);
		need(nic_make_memory(&nics[i], i), "make the memory");
		strcpy(nics[i].header->name, name);
	}
	attach();
	for (i = 0; i < options.cards; i++) {
		need(nic_is_reset(&nics[i]), "the card is not reset");
		need(nic_start(&nics[i]), "start the card");
	}
	need(luo_finish(incoming), "finish the session");
	close(incoming);
	announce();
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void receive_all(void)
{
	int i;

	for (i = 0; i < options.cards; i++)
		nic_receive(&nics[i]);
}

/* Whether each card gets packets now, after all those before. */
static bool command_check(void)
{
	double end = now() + CHECK_SECONDS;
	__u64 before[MAX_CARDS];
	bool good = true;
	int i;

	for (i = 0; i < options.cards; i++)
		before[i] = nics[i].seen;
	for (i = 0; i < options.cards; i++) {
		while (nics[i].seen < before[i] + CHECK_PACKETS && now() < end) {
			usleep(NAP * 1000);
			receive_all();
		}
		good &= complete(&nics[i], "so far");
		good &= nics[i].seen >= before[i] + CHECK_PACKETS;
	}
	return good;
}

/* Lets the cards write to memory that no session preserves. */
static bool command_stray(void)
{
	stray = mmap(NULL, STRAY_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (stray == MAP_FAILED)
		return false;
	return !iommufd_map(iommufd, space, stray, STRAY_SIZE, STRAY_IOVA);
}

static bool command_unstray(void)
{
	return !iommufd_unmap(iommufd, space, STRAY_SIZE, STRAY_IOVA);
}

static bool command_preserve(void)
{
	preserve_memory();
	return true;
}

static bool command_end(void)
{
	bool good = true;
	int i;

	for (i = 0; i < options.cards; i++)
		say("NIC %d quiet", i);
	/* What is on its way arrives. */
	sleep(1);
	receive_all();
	for (i = 0; i < options.cards; i++) {
		good &= complete(&nics[i], "in all");
		nic_stop(&nics[i]);
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
	for (i = 0; i < options.cards; i++)
		found += nics[i].lost + nics[i].bad;
	for (i = 0; i < options.cards && found > known; i++)
		complete(&nics[i], "so far");
	known = found;
}

static int in_background(void (*begin)(void))
{
	return need(background_run(SOCKET, begin, look, NAP, commands),
		    "run in the background");
}

static int tell(const char *word)
{
	return need(background_tell(SOCKET, word), "no nic runs");
}

static int discard(void)
{
	int i, incoming;

	incoming = retrieve_session();
	need(luo_finish(incoming), "finish the session");
	for (i = 0; i < options.cards; i++)
		say("NIC %d stopped", i);
	return 0;
}

static int forged(int expected)
{
	bool good = true;
	__u16 command;
	int i, incoming, err;

	incoming = retrieve_session();
	for (i = 0; i < options.cards; i++) {
		retrieve_memory(incoming, i);
		good &= same_memory(&nics[i]);
		need(pci_command(nics[i].header->name, &command),
		     "read the configuration");
		err = luo_retrieve_fd(incoming, device_token(i));
		say("# nic %d: retrieve the device: %s; bus mastering is %s", i,
		    err < 0 ? strerror(-err) : "it works",
		    command & PCI_COMMAND_MASTER ? "on" : "off");
		good &= (err < 0 ? -err : 0) == expected;
		good &= !(command & PCI_COMMAND_MASTER);
		if (err >= 0)
			close(err);
		say("NIC %d stopped", i);
	}
	need(luo_finish(incoming), "finish the session");
	return good ? 0 : 1;
}

static int closed(void)
{
	char name[PCI_NAME_MAX];
	int i, fd, err;
	__u32 id;

	iommufd = need(iommufd_open(), "open /dev/iommu");
	for (i = 0; i < options.cards; i++) {
		need(pci_find(kinds, i, name), "find the card");
		fd = vfio_open(name);
		err = fd < 0 ? fd : vfio_bind(fd, iommufd, &id);
		say("# nic %d: opening %s: %s", i, name,
		    err ? strerror(-err) : "not refused");
		if (!err)
			return 1;
	}
	return 0;
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

static int show_usage(void)
{
	fprintf(stderr, "usage: nic start SESSION | resume SESSION [NEXT] | restart SESSION |\n"
		"           tell WORD | discard SESSION | forged SESSION ERRNO | closed |\n"
		"           refused ERRNO\n"
		"           [--cards N] [--one-table] [--without-memory] [--quiesced]\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *words[3] = {};
	int i, count = 0;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--cards") && i + 1 < argc)
			options.cards = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--one-table"))
			options.one_table = true;
		else if (!strcmp(argv[i], "--without-memory"))
			options.without_memory = true;
		else if (!strcmp(argv[i], "--quiesced"))
			options.quiesced = true;
		else if (argv[i][0] != '-' || !argv[i][1])
			words[count++ % 3] = argv[i];
		else
			return show_usage();
	}
	if (!count || count > 3 || options.cards < 1 || options.cards > MAX_CARDS)
		return show_usage();
	options.session = words[1];
	options.next = words[2];
	if (!strcmp(words[0], "closed") && count == 1)
		return closed();
	if (!strcmp(words[0], "start") && count == 2)
		return in_background(start_all);
	if (!strcmp(words[0], "resume") && count >= 2)
		return in_background(resume_all);
	if (!strcmp(words[0], "restart") && count == 2)
		return in_background(restart_all);
	if (!strcmp(words[0], "tell") && count == 2)
		return tell(words[1]);
	if (!strcmp(words[0], "discard") && count == 2)
		return discard();
	if (!strcmp(words[0], "forged") && count == 3)
		return forged(atoi(words[2]));
	if (!strcmp(words[0], "refused") && count == 2)
		return refused(atoi(words[1]));
	return show_usage();
}
