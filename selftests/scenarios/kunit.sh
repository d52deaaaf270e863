# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The KUnit suites of the module, which run when it is loaded. Their KTAP goes
# to the kernel log; the runner counts it there.
#
# debug: yes
# stages: 1
# memory: 1G
# timeout: 60
# kernels: rust-7.3
# kunit: yes
# cmdline: kunit.enable=1 kunit.autorun=1

run insmod load_module_checked
