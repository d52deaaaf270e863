/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A PCI device in user space: VFIO's character device, and its DMA through iommufd.
 *
 * A function that can fail returns a negative errno.
 */
#ifndef SELFTESTS_VFIO_H
#define SELFTESTS_VFIO_H

#include "luo.h"

/* "0000:00:03.0" */
#define PCI_NAME_MAX 16

/**
 * struct pci_id - a kind of device
 * @vendor: as sysfs has it, in hexadecimal digits
 * @device: the same
 */
struct pci_id {
	unsigned int vendor;
	unsigned int device;
};

/*
 * The name of the device of one of these kinds that is number @index, in the order of
 * names; -ENODEV if there are fewer. @ids ends with zeroes.
 */
int pci_find(const struct pci_id *ids, int index, char name[PCI_NAME_MAX]);

/* The command register of a device that need not have a driver. */
int pci_command(const char *name, __u16 *command);
/* Binds a device to vfio-pci, unless it is. */
int vfio_take(const char *name);
/* Opens the character device of a device of vfio-pci. */
int vfio_open(const char *name);
/* @id is what iommufd calls the device from now on. */
int vfio_bind(int device, int iommufd, __u32 *id);
/*
 * @target is an IOAS, or a page table. @table is the page table that the device uses
 * from now on.
 */
int vfio_attach(int device, __u32 target, __u32 *table);

/* Maps the registers of BAR 0. */
int vfio_map_registers(int device, volatile __u32 **registers);
/* The command register of the configuration space. */
int vfio_read_command(int device, __u16 *command);
int vfio_write_command(int device, __u16 command);

int iommufd_open(void);
/* A new IOAS. */
int iommufd_space(int iommufd, __u32 *space);
/* A page table for @space that devices like @device can be attached to. */
int iommufd_table(int iommufd, __u32 device, __u32 space, __u32 *table);
int iommufd_destroy(int iommufd, __u32 object);

/**
 * struct iommufd_area - a part of a file that devices can reach
 * @file:      the file
 * @start:     where the part begins in it, in bytes
 * @size:      in bytes
 * @iova:      where devices see it
 * @read_only: they cannot write to it
 */
struct iommufd_area {
	int file;
	__u64 start;
	__u64 size;
	__u64 iova;
	bool read_only;
};

int iommufd_map_file(int iommufd, __u32 space, const struct iommufd_area *area);
/* The same for memory without a file. */
int iommufd_map(int iommufd, __u32 space, void *memory, size_t size, __u64 iova);
/* Maps what is at @from at @to, too, for devices to read and write. */
int iommufd_copy(int iommufd, __u32 space, __u64 from, size_t size, __u64 to);
/* Removes all areas that lie in @size bytes. Returns how many bytes they had. */
long iommufd_unmap(int iommufd, __u32 space, size_t size, __u64 iova);
/* Allows areas in the first @size bytes only. */
int iommufd_allow(int iommufd, __u32 space, size_t size);

#endif /* SELFTESTS_VFIO_H */
