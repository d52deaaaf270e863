// SPDX-License-Identifier: GPL-2.0-only
/* Most are in an IOAS of their own: no device can reach it, so only iommufd refuses. */
#include "obstacle.h"

#include <errno.h>
#include <unistd.h>

/* An address that no card uses. */
#define PLACE 0x40000000UL

static int put_anonymous(const struct nic_iommufd *iommufd, const struct nic *nic)
{
	static char memory[LUO_PAGE] __attribute__((aligned(LUO_PAGE)));
	__u32 own;
	int err = iommufd_space(iommufd->fd, &own);

	if (!err)
		err = iommufd_map(iommufd->fd, own, memory, sizeof(memory), PLACE);
	return err ?: (int)own;
}

static int put_allowed(const struct nic_iommufd *iommufd, const struct nic *nic)
{
	__u32 own;
	int err = iommufd_space(iommufd->fd, &own);

	if (!err)
		err = iommufd_allow(iommufd->fd, own, PLACE);
	return err ?: (int)own;
}

static int put_file(const struct nic_iommufd *iommufd, const struct nic *nic)
{
	struct iommufd_area area = { .size = LUO_PAGE, .iova = PLACE };
	__u32 own;
	int err;

	area.file = luo_memfd(0, LUO_PAGE, 1);
	if (area.file < 0)
		return area.file;
	err = iommufd_space(iommufd->fd, &own);
	if (!err)
		err = iommufd_map_file(iommufd->fd, own, &area);
	close(area.file);
	return err ?: (int)own;
}

static int put_table(const struct nic_iommufd *iommufd, const struct nic *nic)
{
	__u32 table;
	int err = nic_iommufd_table(iommufd, nic, &table);

	return err ?: (int)table;
}

const struct obstacle obstacles[] = {
	{ "anonymous memory", "it maps memory by its address in a process",
	  EOPNOTSUPP, EOPNOTSUPP, put_anonymous },
	{ "allowed IOVAs", "an IOAS has a list of allowed IOVAs",
	  EOPNOTSUPP, EOPNOTSUPP, put_allowed },
	{ "a file that is not preserved",
	  "IOVA 0x40000000 of IOAS .*luo-test.*, a file that its session does not have",
	  0, EBUSY, put_file },
	{ "a page table without a device", "no device is attached to a page table",
	  0, EOPNOTSUPP, put_table },
	{},
};
