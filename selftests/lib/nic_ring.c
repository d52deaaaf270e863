// SPDX-License-Identifier: GPL-2.0-only
/* The receive half of an e1000 or e1000e. */
#include "nic_ring.h"
#include "frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <linux/pci_regs.h>

/* Offsets of registers, and their bits. */
#define CTRL 0x0000
#define CTRL_ASDE 0x00000020
#define CTRL_SLU 0x00000040
#define CTRL_RST 0x04000000
#define STATUS 0x0008
#define STATUS_LU 0x00000002
#define ICR 0x00c0
#define IMC 0x00d8
#define RCTL 0x0100
#define RCTL_EN 0x00000002
#define RCTL_UPE 0x00000008
#define RCTL_MPE 0x00000010
#define RCTL_BAM 0x00008000
#define RCTL_SECRC 0x04000000
#define RDBAL 0x2800
#define RDBAH 0x2804
#define RDLEN 0x2808
#define RDH 0x2810
#define RDT 0x2818
#define RDTR 0x2820

#define DESCRIPTOR_DONE 1

struct descriptor {
	__u64 address;
	__u16 length;
	__u16 checksum;
	__u8 status;
	__u8 errors;
	__u16 special;
};

#define PACKET_MAGIC "NIC#"
#define PACKET_MAGIC_AT 14
#define PACKET_INDEX_AT 18
#define PACKET_NUMBER_AT 20

/* Far from where x86 has its interrupt addresses. */
#define IOVA 0x10000000UL
#define IOVA_STEP 0x2000000UL

static __u32 get(const struct nic *nic, unsigned int offset)
{
	return nic->registers[offset / 4];
}

static void set(struct nic *nic, unsigned int offset, __u32 value)
{
	nic->registers[offset / 4] = value;
}

static void *at(const struct nic *nic, size_t offset)
{
	return (char *)nic->header + offset;
}

static volatile struct descriptor *descriptor(const struct nic *nic, __u64 packet)
{
	volatile struct descriptor *ring = at(nic, NIC_RING);

	return &ring[packet % NIC_DESCRIPTORS];
}

__u64 nic_iova(const struct nic *nic)
{
	return IOVA + nic->header->index * IOVA_STEP;
}

int nic_map_memory(struct nic *nic)
{
	void *map = mmap(NULL, NIC_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, nic->memory, 0);

	if (map == MAP_FAILED)
		return -errno;
	nic->header = map;
	return 0;
}

int nic_make_memory(struct nic *nic, int index)
{
	int err;

	nic->memory = memfd_create("nic", MFD_CLOEXEC);
	if (nic->memory < 0 || ftruncate(nic->memory, NIC_SIZE))
		return -errno;
	err = nic_map_memory(nic);
	if (err)
		return err;
	nic->header->index = index;
	if (getrandom(&nic->header->id, sizeof(nic->header->id), 0) !=
	    sizeof(nic->header->id))
		return -EIO;
	return 0;
}

int nic_note_frames(struct nic *nic)
{
	__u64 *frames = at(nic, NIC_PAGES);
	int i, err;

	err = luo_pfns(nic->memory, NIC_PAGE_COUNT, frames);
	if (err)
		return err;
	for (i = 0; i < ARRAY_SIZE(nic->header->pages); i++)
		nic->header->pages[i] = frames[NIC_PAGES / LUO_PAGE + i];
	nic->header->frame = frames[0];
	memcpy(nic->header->magic, NIC_MAGIC, sizeof(nic->header->magic));
	return 0;
}

long nic_moved_frames(const struct nic *nic)
{
	__u64 *frames = calloc(NIC_PAGE_COUNT, sizeof(*frames));
	const __u64 *noted = at(nic, NIC_PAGES);
	long moved;
	size_t i;

	if (!frames)
		return -ENOMEM;
	moved = luo_pfns(nic->memory, NIC_PAGE_COUNT, frames);
	for (i = 0; i < NIC_PAGE_COUNT && moved >= 0; i++)
		moved += frames[i] != noted[i];
	free(frames);
	return moved;
}

static __u64 buffer_address(const struct nic *nic, __u64 slot)
{
	return nic_iova(nic) + NIC_BUFFERS + slot * NIC_BUFFER_SIZE;
}

long nic_changed_addresses(const struct nic *nic)
{
	long changed = 0;
	__u64 slot;

	for (slot = 0; slot < NIC_DESCRIPTORS; slot++)
		changed += descriptor(nic, slot)->address != buffer_address(nic, slot);
	return changed;
}

/*
 * The card owns the descriptors from its head up to, but not including, its tail. So the
 * last one that was given to it is never its own: a ring whose head and tail are equal
 * has none.
 */
static __u32 tail(const struct nic *nic)
{
	return (nic->header->given + NIC_DESCRIPTORS - 1) % NIC_DESCRIPTORS;
}

static int add_to_command(struct nic *nic, __u16 bits)
{
	__u16 command;
	int err = vfio_read_command(nic->device, &command);

	return err ?: vfio_write_command(nic->device, command | bits);
}

int nic_is_reset(struct nic *nic)
{
	int err = add_to_command(nic, PCI_COMMAND_MEMORY);

	if (!err)
		err = vfio_map_registers(nic->device, &nic->registers);
	if (err)
		return err;
	return get(nic, RCTL) & RCTL_EN ? -EALREADY : 0;
}

int nic_start(struct nic *nic)
{
	__u64 ring = nic_iova(nic) + NIC_RING, i;
	int tries, err;

	err = add_to_command(nic, PCI_COMMAND_MEMORY);
	if (err)
		return err;
	err = vfio_map_registers(nic->device, &nic->registers);
	if (err)
		return err;
	for (i = 0; i < NIC_DESCRIPTORS; i++)
		descriptor(nic, i)->address = buffer_address(nic, i);
	/*
	 * It may still be receiving, because a reset of the function leaves the registers
	 * of QEMU's e1000 as they are. So it gets access to memory only afterwards.
	 */
	set(nic, RCTL, 0);
	set(nic, IMC, ~0U);
	err = add_to_command(nic, PCI_COMMAND_MASTER);
	if (err)
		return err;
	set(nic, CTRL, get(nic, CTRL) | CTRL_RST);
	usleep(20000);
	set(nic, IMC, ~0U);
	get(nic, ICR);
	set(nic, CTRL, get(nic, CTRL) | CTRL_SLU | CTRL_ASDE);
	set(nic, RDBAL, ring & 0xffffffff);
	set(nic, RDBAH, ring >> 32);
	set(nic, RDLEN, NIC_DESCRIPTORS * sizeof(struct descriptor));
	set(nic, RDTR, 0);
	set(nic, RDH, 0);
	set(nic, RDT, tail(nic));
	/*
	 * All that comes, in buffers of 2048 bytes. QEMU's e1000e would put the checksum
	 * of a packet into a descriptor of its own.
	 */
	set(nic, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM | RCTL_SECRC);
	for (tries = 0; !(get(nic, STATUS) & STATUS_LU); tries++) {
		if (tries == 500)
			return -ENETDOWN;
		usleep(10000);
	}
	/* QEMU's e1000 takes no packet for a second after RCTL was written. */
	usleep(1100000);
	return 0;
}

/* Gives descriptors back to the card, up to the one for packet @until. */
static void give(struct nic *nic, __u64 until)
{
	__u64 packet = nic->header->given;

	/*
	 * A kexec can come after each of these steps. The next driver starts with the
	 * packet @given, and repeats the rest.
	 */
	nic->header->given = until;
	__sync_synchronize();
	for (; packet < until; packet++)
		descriptor(nic, packet)->status = 0;
	__sync_synchronize();
	set(nic, RDT, tail(nic));
}

int nic_resume(struct nic *nic)
{
	__u16 command;
	__u32 slot;
	int err = vfio_map_registers(nic->device, &nic->registers);

	if (err)
		return err;
	err = vfio_read_command(nic->device, &command);
	if (err)
		return err;
	if (!(command & PCI_COMMAND_MASTER))
		return -EPERM;
	if (!(get(nic, RCTL) & RCTL_EN))
		return -ENETRESET;
	for (slot = get(nic, RDT); slot != tail(nic);
	     slot = (slot + 1) % NIC_DESCRIPTORS)
		descriptor(nic, slot)->status = 0;
	set(nic, RDT, tail(nic));
	nic->seen = nic->header->given;
	return 0;
}

void nic_stop(struct nic *nic)
{
	set(nic, RCTL, 0);
}

/* Looks at one packet. */
static void check(struct nic *nic, const unsigned char *packet)
{
	struct nic_header *header = nic->header;
	__u64 number, expected;
	__u16 index;

	memcpy(&index, packet + PACKET_INDEX_AT, sizeof(index));
	memcpy(&number, packet + PACKET_NUMBER_AT, sizeof(number));
	number = __builtin_bswap64(number);
	if (memcmp(packet + PACKET_MAGIC_AT, PACKET_MAGIC, strlen(PACKET_MAGIC)) ||
	    __builtin_bswap16(index) != header->index) {
		nic->bad++;
		return;
	}
	if (!header->known) {
		header->first = number - nic->seen;
		header->known = 1;
	}
	expected = header->first + nic->seen;
	if (number < expected) {
		nic->bad++;
	} else if (number > expected) {
		nic->lost += number - expected;
		header->first += number - expected;
	}
}

void nic_receive(struct nic *nic)
{
	/* A card that fills more than it owns is not followed for ever. */
	while (nic->seen - nic->header->given < NIC_DESCRIPTORS &&
	       descriptor(nic, nic->seen)->status & DESCRIPTOR_DONE) {
		size_t slot = nic->seen % NIC_DESCRIPTORS;

		/* The card writes the packet first. */
		__sync_synchronize();
		check(nic, at(nic, NIC_BUFFERS + slot * NIC_BUFFER_SIZE));
		nic->seen++;
	}
	if (nic->seen - nic->header->given > NIC_DESCRIPTORS / 2)
		give(nic, nic->seen - NIC_DESCRIPTORS / 2);
}
