// SPDX-License-Identifier: GPL-2.0-only
/* The iommufd of network cards, new or from the kernel before. */
#include "nic_iommufd.h"
#include "say.h"

#include <errno.h>

/* An area of each card that it does not use, between addresses that are free. */
#define UNUSED_IOVA(nic) (nic_iova(nic) + 16 * MIB)
#define UNUSED_SIZE (16 * LUO_PAGE)
#define AREAS 3
/* More objects than all cards have. */
#define MAX_NEW 32

static void list_areas(const struct nic *nic, struct iommufd_area areas[AREAS])
{
	areas[0] = (struct iommufd_area){
		.file = nic->memory,
		.size = NIC_BUFFERS,
		.iova = nic_iova(nic),
	};
	areas[1] = (struct iommufd_area){
		.file = nic->memory,
		.start = NIC_BUFFERS,
		.size = NIC_SIZE - NIC_BUFFERS,
		.iova = nic_iova(nic) + NIC_BUFFERS,
	};
	areas[2] = (struct iommufd_area){
		.file = nic->memory,
		.start = NIC_RING,
		.size = UNUSED_SIZE,
		.iova = UNUSED_IOVA(nic),
		.read_only = true,
	};
}

int nic_iommufd_make(struct nic_iommufd *iommufd)
{
	__u32 other;
	int err;

	iommufd->fd = iommufd_open();
	if (iommufd->fd < 0)
		return iommufd->fd;
	/*
	 * The number of an object that is gone goes to a later one. So a kernel that makes
	 * the objects anew, in whatever order, does not get the same numbers by chance.
	 */
	err = iommufd_space(iommufd->fd, &other);
	if (!err)
		err = iommufd_space(iommufd->fd, &iommufd->space);
	return err ?: iommufd_destroy(iommufd->fd, other);
}

int nic_iommufd_bind(const struct nic_iommufd *iommufd, struct nic *nic)
{
	struct iommufd_area areas[AREAS];
	int i, err = vfio_bind(nic->device, iommufd->fd, &nic->header->object);

	nic->header->space = iommufd->space;
	list_areas(nic, areas);
	for (i = 0; i < AREAS && !err; i++)
		err = iommufd_map_file(iommufd->fd, iommufd->space, &areas[i]);
	return err;
}

int nic_iommufd_table(const struct nic_iommufd *iommufd, const struct nic *nic,
		      __u32 *table)
{
	return iommufd_table(iommufd->fd, nic->header->object, iommufd->space, table);
}

int nic_iommufd_attach(struct nic *nic, __u32 target)
{
	nic->header->target = target;
	return vfio_attach(nic->device, target, &nic->header->table);
}

/* Prints what is not as it was. */
static int compare(const struct nic *nic, const char *what, long now, long before)
{
	if (now == before)
		return 0;
	say("# nic %u: %s: %ld instead of %ld", nic->header->index, what, now, before);
	return -EPROTO;
}

/* No other area can be where one is. */
static int check_ends(const struct nic_iommufd *iommufd, const struct nic *nic,
		      const struct iommufd_area *area)
{
	struct iommufd_area page = { .file = nic->memory, .size = LUO_PAGE };
	int err;

	page.iova = area->iova;
	err = compare(nic, "mapping over the start of an area",
		      iommufd_map_file(iommufd->fd, iommufd->space, &page), -EEXIST);
	page.iova = area->iova + area->size - LUO_PAGE;
	return err ?: compare(nic, "mapping over the end of an area",
			      iommufd_map_file(iommufd->fd, iommufd->space, &page),
			      -EEXIST);
}

/* The unused area can be read only, and has the size that it had. Maps it again. */
static int check_unused(const struct nic_iommufd *iommufd, const struct nic *nic,
			const struct iommufd_area *area)
{
	int err;

	err = compare(nic, "copying the read-only area to a writable one",
		      iommufd_copy(iommufd->fd, iommufd->space, area->iova, area->size,
				   area->iova + 2 * area->size), -EPERM);
	if (!err)
		err = compare(nic, "the size of the read-only area",
			      iommufd_unmap(iommufd->fd, iommufd->space, 3 * area->size,
					    area->iova - area->size), area->size);
	return err ?: iommufd_map_file(iommufd->fd, iommufd->space, area);
}

/* A new object gets no number of an object that is still to be made. */
static int check_new(const struct nic_iommufd *iommufd, const struct nic *nic)
{
	const __u32 old[] = {
		nic->header->space, nic->header->object, nic->header->table
	};
	__u32 numbers[MAX_NEW], last = 0;
	int i, count = 0, err = 0;

	for (i = 0; i < ARRAY_SIZE(old); i++)
		last = old[i] > last ? old[i] : last;
	/* The lowest number that is free is taken first. */
	while (!err && count < MAX_NEW && (!count || numbers[count - 1] < last)) {
		err = iommufd_space(iommufd->fd, &numbers[count]);
		count += !err;
		for (i = 0; i < ARRAY_SIZE(old) && !err; i++) {
			if (numbers[count - 1] != old[i])
				continue;
			say("# nic %u: a new object has the old number %u",
			    nic->header->index, old[i]);
			err = -EPROTO;
		}
	}
	while (count--)
		iommufd_destroy(iommufd->fd, numbers[count]);
	return err;
}

int nic_iommufd_check(struct nic_iommufd *iommufd, const struct nic *nic)
{
	struct iommufd_area areas[AREAS];
	int i, err;

	iommufd->space = nic->header->space;
	list_areas(nic, areas);
	err = check_new(iommufd, nic);
	for (i = 0; i < AREAS && !err; i++)
		err = check_ends(iommufd, nic, &areas[i]);
	return err ?: check_unused(iommufd, nic, &areas[AREAS - 1]);
}

int nic_iommufd_bind_again(const struct nic_iommufd *iommufd, struct nic *nic)
{
	__u32 object;
	int err = vfio_bind(nic->device, iommufd->fd, &object);

	return err ?: compare(nic, "the object of the device", object,
			      nic->header->object);
}

int nic_iommufd_attach_again(struct nic *nic)
{
	__u32 table;
	int err = vfio_attach(nic->device, nic->header->target, &table);

	return err ?: compare(nic, "the page table of the device", table,
			      nic->header->table);
}
