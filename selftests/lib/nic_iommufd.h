/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The iommufd of network cards. If it crosses a kexec, its objects must be there
 * afterwards with the numbers that they had: struct nic_header has them.
 *
 * Cards reach their memory in several areas, which begin at several offsets of the
 * memfd. So an area that comes back with another offset or address loses packets.
 */
#ifndef SELFTESTS_NIC_IOMMUFD_H
#define SELFTESTS_NIC_IOMMUFD_H

#include "nic_ring.h"

/**
 * struct nic_iommufd - an iommufd and its IOAS
 * @fd:    the file
 * @space: the number of the IOAS
 */
struct nic_iommufd {
	int fd;
	__u32 space;
};

/* A new file. */
int nic_iommufd_make(struct nic_iommufd *iommufd);
/* Binds a card, and maps its memory. */
int nic_iommufd_bind(const struct nic_iommufd *iommufd, struct nic *nic);
/* A page table that cards like this one can be attached to. */
int nic_iommufd_table(const struct nic_iommufd *iommufd, const struct nic *nic,
		      __u32 *table);
/* Attaches a card to a page table, or to the IOAS. */
int nic_iommufd_attach(struct nic *nic, __u32 target);

/*
 * After a kexec, in a file that crossed it, and in this order: see whether the areas of a
 * card are there, bind it and attach it as before. What is not as it was is printed, and
 * they fail with EPROTO.
 */
int nic_iommufd_check(struct nic_iommufd *iommufd, const struct nic *nic);
int nic_iommufd_bind_again(const struct nic_iommufd *iommufd, struct nic *nic);
int nic_iommufd_attach_again(struct nic *nic);

#endif /* SELFTESTS_NIC_IOMMUFD_H */
