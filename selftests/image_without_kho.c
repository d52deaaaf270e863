// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image that is loaded came from kexec_load(2), and carries no state of KHO. As
 * long as there is a session, reboot(LINUX_REBOOT_CMD_KEXEC) fails with EOPNOTSUPP,
 * and nothing is lost.
 *
 * Skipped unless LUO_IMAGE_WITHOUT_KHO= is set: with any other image, the guest
 * would enter the next kernel.
 */
#include "lib/fixture.h"

#include <linux/reboot.h>
#include <sys/syscall.h>

#define SIZE (MIB + 5)

static int reboot_kexec(void)
{
	if (!syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		     LINUX_REBOOT_CMD_KEXEC, NULL))
		return 0;
	return -errno;
}

TEST(kexec_is_refused_while_there_are_sessions)
{
	int dev, session, empty, fd, i;

	if (!getenv("LUO_IMAGE_WITHOUT_KHO"))
		SKIP(return, "LUO_IMAGE_WITHOUT_KHO= is not set");
	dev = luo_open();
	ASSERT_GE(dev, 0);
	session = luo_create(dev, "lost");
	ASSERT_GE(session, 0);
	fd = luo_memfd(MFD_ALLOW_SEALING, SIZE, 1);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, luo_preserve(session, fd, 1));
	sync();
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EOPNOTSUPP, reboot_kexec());
		EXPECT_EQ(-EEXIST, luo_preserve(session, fd, 1));
		EXPECT_EQ(LUO_SAME, luo_check(fd, 0, SIZE, 1));
	}
	close(session);
	EXPECT_EQ(0, luo_truncate(fd, 0));

	/* A session without files counts too. */
	empty = luo_create(dev, "empty");
	ASSERT_GE(empty, 0);
	EXPECT_EQ(-EOPNOTSUPP, reboot_kexec());
	close(empty);
	close(fd);
	close(dev);
}

TEST_HARNESS_MAIN
