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
/* @table is an object of IOMMU_HWPT_ALLOC. */
int vfio_attach(int device, __u32 table);

/* Maps the registers of BAR 0. */
int vfio_map_registers(int device, volatile __u32 **registers);
/* The command register of the configuration space. */
int vfio_read_command(int device, __u16 *command);
int vfio_write_command(int device, __u16 command);

int iommufd_open(void);
int iommufd_space(int iommufd, __u32 *space);
/* A page table for @space that devices like @device can be attached to. */
int iommufd_table(int iommufd, __u32 device, __u32 space, __u32 *table);
/* Lets devices read and write the first @size bytes of a file, or memory. */
int iommufd_map_file(int iommufd, __u32 space, int fd, size_t size, __u64 iova);
int iommufd_map(int iommufd, __u32 space, void *memory, size_t size, __u64 iova);
int iommufd_unmap(int iommufd, __u32 space, size_t size, __u64 iova);

#endif /* SELFTESTS_VFIO_H */
