# SPDX-License-Identifier: GPL-2.0-only
#
# Every command a person types. What they do lives in qemu/; how the module is
# made of its parts, in Kbuild.
#
# KDIR=	a built, patched kernel tree, instead of the one of the cache
# KSRC=	a kernel source tree to copy, patch and build, instead of Debian's

KDIR ?=
KSRC ?=
export KDIR KSRC

# The scripts make use of both cores themselves.
.NOTPARALLEL:

.PHONY: module help demo check check-fast check-handover check-debug soak bench \
	bench-wall lint paths shell clean distclean

module: ## build liveupdate.ko (the default)
	@qemu/packages.sh
	@qemu/build.sh module

help: ## this list
	@echo "make [KDIR=built-kernel-tree | KSRC=kernel-source-tree] TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

demo: ## memfds go through a kexec in a QEMU guest and come back in place
	@qemu/build.sh prepare demo
	@qemu/demo.py

check: ## all tests, in QEMU guests, and lint
	@qemu/build.sh prepare debug
	@qemu/run.py --lint $(SCENARIOS)

check-fast: ## all but those on the debug kernel
	@qemu/build.sh prepare
	@qemu/run.py --lint --no-debug

check-handover: ## only the kexecs between different kernels, and their matrix
	@qemu/build.sh prepare
	@qemu/run.py --handover --no-debug

check-debug: ## only those on the debug kernel: sanitizers, and faults injected
	@qemu/build.sh prepare debug
	@qemu/run.py --debug

soak: ## N= (100) kexecs in a row, by chance; SEED= makes a run again
	@qemu/build.sh prepare
	@qemu/run.py --kexecs $(or $(N),100) $(if $(SEED),--seed $(SEED)) soak

bench: ## measure against the C implementation, by instructions (4 minutes)
	@qemu/build.sh bench
	@bench/bench.py

bench-wall: ## the same by wall clock, in rounds (longer)
	@qemu/build.sh bench
	@bench/bench.py --wall

lint: ## rustfmt, clippy, checkpatch, shellcheck
	@qemu/packages.sh
	@qemu/lint.sh

paths: ## print where source, kernel, module and selftests are; builds nothing
	@qemu/build.sh paths

shell: ## an interactive guest: module and next kernel loaded
	@qemu/build.sh prepare demo
	@qemu/run.py --shell

clean: ## remove what was built here
	rm -rf out

distclean: clean ## and the cache: kernels, sources, tools
	@qemu/build.sh remove-cache
