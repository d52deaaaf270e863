# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The KUnit suites of the module, which run when it is loaded. Their KTAP goes
# to the kernel log; the runner counts it there.

run insmod load_module_checked
