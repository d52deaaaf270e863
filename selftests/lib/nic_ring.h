/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The receive half of a network card that a program drives without interrupts: Intel's
 * e1000 and e1000e, with descriptors of the oldest layout, which both have.
 *
 * Everything that the card writes to is in one memfd:
 *
 *	NIC_HEADER    struct nic_header
 *	NIC_PAGES     the frame number of each page of the file, 8 bytes each
 *	NIC_RING      descriptors, 16 bytes each
 *	NIC_BUFFERS   a buffer of 2 KiB for each descriptor
 *
 * qemu/runner/witness.py reads it from outside of the guest, so it has the same
 * numbers. It also sends the packets. A packet has, after an Ethernet header:
 *
 *	offset 14  "NIC#"
 *	offset 18  the number of the card, 2 bytes, big-endian as what follows
 *	offset 20  the number of the packet, 8 bytes, from 0
 *
 * The card fills descriptors in turn. The driver looks at them as they are filled, but
 * gives them back to the card only when half of the ring is full: so the witness, and
 * the next kernel's driver, find the latest packets there.
 */
#ifndef SELFTESTS_NIC_RING_H
#define SELFTESTS_NIC_RING_H

#include "luo.h"
#include "vfio.h"

#define NIC_DESCRIPTORS 4096UL
#define NIC_BUFFER_SIZE 2048UL
#define NIC_HEADER 0UL
#define NIC_PAGES LUO_PAGE
#define NIC_RING (64UL * 1024)
#define NIC_BUFFERS (128UL * 1024)
#define NIC_SIZE (NIC_BUFFERS + NIC_DESCRIPTORS * NIC_BUFFER_SIZE)
#define NIC_PAGE_COUNT (NIC_SIZE / LUO_PAGE)
#define NIC_MAGIC "NICRING1"

/**
 * struct nic_header - the start of the memfd
 * @magic: NIC_MAGIC
 * @id:    a number that no other header has, from any boot
 * @frame: the frame number of the header itself
 * @pages: frame numbers of the pages with the list of all frame numbers
 * @index: number of the card, from 0
 * @name:  of the PCI device
 * @first: number of the first packet, once it is known
 * @given: how many descriptors were given back to the card since the start
 * @known: whether @first is valid
 * @space: the IOAS with the memory, as what follows a number of iommufd
 * @object: the device
 * @target: what it was attached to
 * @table: the page table that it uses
 */
struct nic_header {
	char magic[8];
	__u64 id;
	__u64 frame;
	__u64 pages[8];
	__u32 index;
	char name[PCI_NAME_MAX];
	__u32 known;
	__u64 first;
	__u64 given;
	__u32 space;
	__u32 object;
	__u32 target;
	__u32 table;
};

/**
 * struct nic - a card and its memory
 * @device:    the VFIO device
 * @memory:    the memfd
 * @header:    the memory, mapped
 * @registers: BAR 0
 * @seen:      how many packets were looked at since the start
 * @lost:      how many numbers are missing
 * @bad:       how many packets were none of ours, or in the wrong order
 */
struct nic {
	int device;
	int memory;
	struct nic_header *header;
	volatile __u32 *registers;
	__u64 seen;
	__u64 lost;
	__u64 bad;
};

/* Makes the memfd of a card that is not started yet. */
int nic_make_memory(struct nic *nic, int index);
/* Maps the memfd of a card that was started before. */
int nic_map_memory(struct nic *nic);
/* The address at which the card sees its memfd. */
__u64 nic_iova(const struct nic *nic);
/* Writes down the frame numbers, once the pages can move no more. */
int nic_note_frames(struct nic *nic);
/* How many pages are elsewhere than nic_note_frames() found them, or -errno. */
long nic_moved_frames(const struct nic *nic);
/* How many descriptors have another address than nic_start() gave them. */
long nic_changed_addresses(const struct nic *nic);

/* Fails with EALREADY if a card that is not started yet receives. */
int nic_is_reset(struct nic *nic);
/* Resets the card, and lets it receive. Waits until the link is up. */
int nic_start(struct nic *nic);
/* Takes a card over as it is, with packets in its ring. */
int nic_resume(struct nic *nic);
/* Lets it receive no more. */
void nic_stop(struct nic *nic);
/* Looks at all packets that have come since the last call. */
void nic_receive(struct nic *nic);

#endif /* SELFTESTS_NIC_RING_H */
