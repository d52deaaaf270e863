# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The KUnit suites of the module run when it is loaded. They print KTAP to the
# kernel log, where the runner counts it.

run insmod load_module_checked
