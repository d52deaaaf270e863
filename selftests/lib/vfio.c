// SPDX-License-Identifier: GPL-2.0-only
/* A PCI device in user space. */
#include "vfio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#define DEVICES "/sys/bus/pci/devices"
/* What the device may do with the memory, at the address that the caller chooses. */
#define MAP_READ_ONLY (IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE)
#define MAP_FLAGS (MAP_READ_ONLY | IOMMU_IOAS_MAP_WRITEABLE)

/* The hexadecimal number in a file of sysfs, or 0. */
static unsigned int read_number(const char *name, const char *file)
{
	unsigned int number = 0;
	char path[128];
	FILE *in;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", name, file);
	in = fopen(path, "re");
	if (!in)
		return 0;
	if (fscanf(in, "%x", &number) != 1)
		number = 0;
	fclose(in);
	return number;
}

static bool is_one_of(const struct pci_id *ids, const char *name)
{
	unsigned int vendor = read_number(name, "vendor");
	unsigned int device = read_number(name, "device");

	for (; ids->vendor; ids++)
		if (ids->vendor == vendor && ids->device == device)
			return true;
	return false;
}

int pci_find(const struct pci_id *ids, int index, char name[PCI_NAME_MAX])
{
	struct dirent **entries;
	int i, count = scandir(DEVICES, &entries, NULL, alphasort);
	int err = -ENODEV;

	if (count < 0)
		return -errno;
	for (i = 0; i < count; i++) {
		if (err && is_one_of(ids, entries[i]->d_name) && !index--) {
			snprintf(name, PCI_NAME_MAX, "%.*s", PCI_NAME_MAX - 1,
				 entries[i]->d_name);
			err = 0;
		}
		free(entries[i]);
	}
	free(entries);
	return err;
}

int pci_command(const char *name, __u16 *command)
{
	char path[128];
	ssize_t done;
	int fd;

	snprintf(path, sizeof(path), DEVICES "/%s/config", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	done = pread(fd, command, sizeof(*command), PCI_COMMAND);
	close(fd);
	return done == sizeof(*command) ? 0 : -EIO;
}

int vfio_take(const char *name)
{
	char path[128], driver[128] = "";
	int err;

	snprintf(path, sizeof(path), DEVICES "/%s/driver", name);
	if (readlink(path, driver, sizeof(driver) - 1) > 0) {
		if (!strcmp(strrchr(driver, '/') ?: "", "/vfio-pci"))
			return 0;
		snprintf(path, sizeof(path), DEVICES "/%s/driver/unbind", name);
		err = luo_write_file(path, name);
		if (err)
			return err;
	}
	snprintf(path, sizeof(path), DEVICES "/%s/driver_override", name);
	err = luo_write_file(path, "vfio-pci");
	if (err)
		return err;
	return luo_write_file("/sys/bus/pci/drivers_probe", name);
}

int vfio_open(const char *name)
{
	char path[300];
	struct dirent *entry;
	int fd = -ENODEV;
	DIR *dir;

	snprintf(path, sizeof(path), DEVICES "/%s/vfio-dev", name);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (fd == -ENODEV && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	closedir(dir);
	return fd;
}

int vfio_bind(int device, int iommufd, __u32 *id)
{
	struct vfio_device_bind_iommufd arg = {
		.argsz = sizeof(arg),
		.iommufd = iommufd,
	};
	int err = luo_ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &arg);

	*id = arg.out_devid;
	return err;
}

int vfio_attach(int device, __u32 target, __u32 *table)
{
	struct vfio_device_attach_iommufd_pt arg = {
		.argsz = sizeof(arg),
		.pt_id = target,
	};
	int err = luo_ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg);

	*table = arg.pt_id;
	return err;
}

static int region(int device, __u32 index, struct vfio_region_info *info)
{
	*info = (struct vfio_region_info){
		.argsz = sizeof(*info),
		.index = index,
	};
	return luo_ioctl(device, VFIO_DEVICE_GET_REGION_INFO, info);
}

int vfio_map_registers(int device, volatile __u32 **registers)
{
	struct vfio_region_info info;
	int err = region(device, VFIO_PCI_BAR0_REGION_INDEX, &info);
	void *map;

	if (err)
		return err;
	map = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		   info.offset);
	if (map == MAP_FAILED)
		return -errno;
	*registers = map;
	return 0;
}

int vfio_read_command(int device, __u16 *command)
{
	struct vfio_region_info info;
	int err = region(device, VFIO_PCI_CONFIG_REGION_INDEX, &info);
	ssize_t done;

	if (err)
		return err;
	done = pread(device, command, sizeof(*command), info.offset + PCI_COMMAND);
	if (done < 0)
		return -errno;
	return done == sizeof(*command) ? 0 : -EIO;
}

int vfio_write_command(int device, __u16 command)
{
	struct vfio_region_info info;
	int err = region(device, VFIO_PCI_CONFIG_REGION_INDEX, &info);
	ssize_t done;

	if (err)
		return err;
	done = pwrite(device, &command, sizeof(command), info.offset + PCI_COMMAND);
	if (done < 0)
		return -errno;
	return done == sizeof(command) ? 0 : -EIO;
}

int iommufd_open(void)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int iommufd_space(int iommufd, __u32 *space)
{
	struct iommu_ioas_alloc arg = { .size = sizeof(arg) };
	int err = luo_ioctl(iommufd, IOMMU_IOAS_ALLOC, &arg);

	*space = arg.out_ioas_id;
	return err;
}

int iommufd_table(int iommufd, __u32 device, __u32 space, __u32 *table)
{
	struct iommu_hwpt_alloc arg = {
		.size = sizeof(arg),
		.dev_id = device,
		.pt_id = space,
	};
	int err = luo_ioctl(iommufd, IOMMU_HWPT_ALLOC, &arg);

	*table = arg.out_hwpt_id;
	return err;
}

int iommufd_destroy(int iommufd, __u32 object)
{
	struct iommu_destroy arg = {
		.size = sizeof(arg),
		.id = object,
	};

	return luo_ioctl(iommufd, IOMMU_DESTROY, &arg);
}

int iommufd_map_file(int iommufd, __u32 space, const struct iommufd_area *area)
{
	struct iommu_ioas_map_file arg = {
		.size = sizeof(arg),
		.flags = area->read_only ? MAP_READ_ONLY : MAP_FLAGS,
		.ioas_id = space,
		.fd = area->file,
		.start = area->start,
		.length = area->size,
		.iova = area->iova,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_MAP_FILE, &arg);
}

int iommufd_map(int iommufd, __u32 space, void *memory, size_t size, __u64 iova)
{
	struct iommu_ioas_map arg = {
		.size = sizeof(arg),
		.flags = MAP_FLAGS,
		.ioas_id = space,
		.user_va = (unsigned long)memory,
		.length = size,
		.iova = iova,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_MAP, &arg);
}

int iommufd_copy(int iommufd, __u32 space, __u64 from, size_t size, __u64 to)
{
	struct iommu_ioas_copy arg = {
		.size = sizeof(arg),
		.flags = MAP_FLAGS,
		.dst_ioas_id = space,
		.src_ioas_id = space,
		.length = size,
		.dst_iova = to,
		.src_iova = from,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_COPY, &arg);
}

long iommufd_unmap(int iommufd, __u32 space, size_t size, __u64 iova)
{
	struct iommu_ioas_unmap arg = {
		.size = sizeof(arg),
		.ioas_id = space,
		.iova = iova,
		.length = size,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_UNMAP, &arg) ?: (long)arg.length;
}

int iommufd_allow(int iommufd, __u32 space, size_t size)
{
	struct iommu_iova_range range = { .last = size - 1 };
	struct iommu_ioas_allow_iovas arg = {
		.size = sizeof(arg),
		.ioas_id = space,
		.num_iovas = 1,
		.allowed_iovas = (unsigned long)&range,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_ALLOW_IOVAS, &arg);
}
