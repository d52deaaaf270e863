// SPDX-License-Identifier: GPL-2.0-only
/* The cards of a process. */
#include "nic_cards.h"
#include "say.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

static const struct pci_id kinds[] = {
	{ 0x8086, 0x100e }, /* e1000 */
	{ 0x8086, 0x10d3 }, /* e1000e */
	{},
};

struct cards cards = { .count = 1, .session = -1, .incoming = -1 };

void cards_find(int card, char name[PCI_NAME_MAX])
{
	need(pci_find(kinds, card, name), "find the card");
}

static __u64 memory_token(int card)
{
	return 2 * card + 1;
}

static __u64 device_token(int card)
{
	return 2 * card + 2;
}

static __u64 iommufd_token(void)
{
	return 2 * MAX_CARDS + 1;
}

/* Lets the cards reach their memory, and nothing else, at the addresses of before. */
static void attach_anew(void)
{
	__u32 target;
	int i;

	for (i = cards.first; i < cards.end; i++)
		need(nic_iommufd_bind(&cards.iommufd, &cards.nic[i]), "bind the card");
	/*
	 * The table is complete before the card is attached to it. Attached to the
	 * address space itself, the card would get an empty one first.
	 */
	for (i = cards.first; i < cards.end; i++) {
		if (cards.to_space && i == cards.count - 1)
			target = cards.iommufd.space;
		else if (i == cards.first || !cards.one_table)
			need(nic_iommufd_table(&cards.iommufd, &cards.nic[i], &target),
			     "IOMMU_HWPT_ALLOC");
		need(nic_iommufd_attach(&cards.nic[i], target), "attach the card");
	}
}

/* The same with an iommufd that crossed the kexec. */
static void attach_again(void)
{
	int i;

	/* While none is bound: a new object must not get the number of one of them. */
	for (i = cards.first; i < cards.end; i++)
		need(nic_iommufd_check(&cards.iommufd, &cards.nic[i]),
		     "look at the iommufd");
	for (i = cards.first; i < cards.end; i++)
		need(nic_iommufd_bind_again(&cards.iommufd, &cards.nic[i]),
		     "bind the card");
	for (i = cards.first; i < cards.end; i++)
		need(nic_iommufd_attach_again(&cards.nic[i]), "attach the card");
}

int cards_preserve_iommufd(void)
{
	return luo_preserve(cards.session, cards.iommufd.fd, iommufd_token());
}

void cards_preserve_memory(void)
{
	int i;

	for (i = cards.first; i < cards.end; i++)
		need(luo_preserve(cards.session, cards.nic[i].memory, memory_token(i)),
		     "preserve the memory");
}

/* fdinfo of a device says in which way it will cross. */
static void check_way(int device)
{
	const char *expected = cards.quiesced ? "liveupdate: quiesced\n" :
						"liveupdate: continuous\n";
	char text[1024];

	need(luo_fdinfo(device, text, sizeof(text)), "read fdinfo");
	if (!strstr(text, expected))
		die("fdinfo has another way", -EPROTO);
}

void cards_preserve_devices(void)
{
	int i;

	for (i = cards.first; i < cards.end; i++) {
		need(luo_preserve(cards.session, cards.nic[i].device, device_token(i)),
		     "preserve the device");
		check_way(cards.nic[i].device);
	}
}

/* In any order: the kernel compares them when the kexec begins. */
void cards_preserve(void)
{
	if (cards.session < 0 || cards.preserve_nothing)
		return;
	if (!cards.without_memory)
		cards_preserve_memory();
	cards_preserve_devices();
}

void cards_create_session(const char *name)
{
	int dev;

	if (!strcmp(name, "-"))
		return;
	dev = need(luo_open(), "open " LUO_DEVICE);
	cards.session = need(luo_create(dev, name), "create the session");
	close(dev);
	if (cards.keep_iommufd && !cards.preserve_nothing)
		need(cards_preserve_iommufd(), "preserve the iommufd");
}

/* Tells the witness where the rings are. */
static void announce(void)
{
	int i;

	for (i = cards.first; i < cards.end; i++) {
		/* Both preserving and mapping for DMA can move pages. */
		need(nic_note_frames(&cards.nic[i]), "read the frame numbers");
		say("NIC %d ready id=%016llx at=%#llx device=%s", i,
		    (unsigned long long)cards.nic[i].header->id,
		    (unsigned long long)cards.nic[i].header->frame * LUO_PAGE,
		    cards.nic[i].header->name);
	}
}

void cards_start(void)
{
	char name[PCI_NAME_MAX];
	int i;

	for (i = cards.first; i < cards.end; i++) {
		cards_find(i, name);
		need(vfio_take(name), "bind the card to vfio-pci");
		cards.nic[i].device = need(vfio_open(name), "open the card");
		need(nic_make_memory(&cards.nic[i], i), "make the memory");
		strcpy(cards.nic[i].header->name, name);
	}
	attach_anew();
	for (i = cards.first; i < cards.end; i++)
		need(nic_start(&cards.nic[i]), "start the card");
	cards_preserve();
	announce();
}

bool cards_complete(const struct nic *nic, const char *when)
{
	bool good = !nic->lost && !nic->bad;

	say("# nic %u: %llu packets %s, %llu lost, %llu not in order",
	    nic->header->index, (unsigned long long)nic->seen, when,
	    (unsigned long long)nic->lost, (unsigned long long)nic->bad);
	return good;
}

void cards_retrieve_session(const char *name)
{
	int dev = need(luo_open(), "open " LUO_DEVICE);

	cards.incoming = need(luo_retrieve(dev, name), "retrieve the session");
	close(dev);
}

void cards_finish_session(void)
{
	need(luo_finish(cards.incoming), "finish the session");
	close(cards.incoming);
}

void cards_retrieve_memory(int card)
{
	struct nic *nic = &cards.nic[card];

	nic->memory = need(luo_retrieve_fd(cards.incoming, memory_token(card)),
			   "retrieve the memory");
	need(nic_map_memory(nic), "map the memory");
}

int cards_retrieve_device(int card)
{
	return luo_retrieve_fd(cards.incoming, device_token(card));
}

int cards_try_iommufd(void)
{
	return luo_retrieve_fd(cards.incoming, iommufd_token());
}

void cards_retrieve_iommufd(void)
{
	if (cards.keep_iommufd) {
		cards.iommufd.fd = need(cards_try_iommufd(), "retrieve the iommufd");
		if (!cards.drop_iommufd)
			return;
		close(cards.iommufd.fd);
	}
	need(nic_iommufd_make(&cards.iommufd), "make an iommufd");
}

void cards_retrieve_devices(void)
{
	int i;

	for (i = cards.first; i < cards.end; i++) {
		cards.nic[i].device = need(cards_retrieve_device(i),
					   "retrieve the device");
		say("NIC %d retrieved device=%s", i, cards.nic[i].header->name);
	}
}

void cards_resume(void)
{
	long moved;
	int i;

	if (cards.keep_iommufd && !cards.drop_iommufd)
		attach_again();
	else
		attach_anew();
	for (i = cards.first; i < cards.end; i++) {
		need(nic_resume(&cards.nic[i]), "take over the card");
		nic_receive(&cards.nic[i]);
		say("NIC %d resumed", i);
		if (!cards_complete(&cards.nic[i], "until it was resumed"))
			exit(1);
		moved = need(nic_moved_frames(&cards.nic[i]), "read the frame numbers");
		say("# nic %d: %ld of %lu frames moved", i, moved, NIC_PAGE_COUNT);
		if (moved)
			exit(1);
	}
}

bool cards_same_memory(const struct nic *nic)
{
	long moved = need(nic_moved_frames(nic), "read the frame numbers");
	long changed = nic_changed_addresses(nic);

	say("# nic %u: %ld of %lu frames moved, %ld addresses in the ring changed",
	    nic->header->index, moved, NIC_PAGE_COUNT, changed);
	return !moved && !changed;
}

/* They get new memory, so that nothing lands in the old one. */
void cards_restart(void)
{
	char name[PCI_NAME_MAX];
	__u16 command;
	int i;

	need(nic_iommufd_make(&cards.iommufd), "make an iommufd");
	for (i = cards.first; i < cards.end; i++) {
		cards_find(i, name);
		need(pci_command(name, &command), "read the configuration");
		if (command & PCI_COMMAND_MASTER)
			die("bus mastering is on", -EISCONN);
		cards_retrieve_memory(i);
		cards.nic[i].device = need(cards_retrieve_device(i),
					   "retrieve the device");
		if (!cards_same_memory(&cards.nic[i]))
			exit(1);
		say("NIC %d retrieved device=%s", i, name);
		close(cards.nic[i].memory);
		need(nic_make_memory(&cards.nic[i], i), "make the memory");
		strcpy(cards.nic[i].header->name, name);
	}
	attach_anew();
	for (i = cards.first; i < cards.end; i++) {
		need(nic_is_reset(&cards.nic[i]), "the card is not reset");
		need(nic_start(&cards.nic[i]), "start the card");
	}
	announce();
}
