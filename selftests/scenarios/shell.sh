# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# `make shell`: loads the module and the next kernel; init then starts a shell.

load_module >/dev/ttyS0 2>&1
next_kernel >/dev/ttyS0 2>&1
cat >/dev/ttyS0 <<END

This is boot $STAGE. liveupdate.ko is loaded, and so is the next kernel.
  /selftests/upstream/luo_kexec_simple -s $STAGE   the kernel's own two-stage test
  kexec -e                                 live update: boot the next kernel
  ls /selftests/ours /selftests/upstream   all test programs
  exit, then Enter                         power off
END
