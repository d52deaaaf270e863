# SPDX-License-Identifier: GPL-2.0-only
#
# Every command a person types. The scripts of qemu/ and tools/ do the work;
# Kbuild says how the module is made of its parts.
#
# KDIR=	a built, patched kernel tree, instead of the kernel of the cache
# KSRC=	a kernel source tree to copy, patch and build, instead of Debian's

KDIR ?=
KSRC ?=
export KDIR KSRC

# The scripts use all cores by themselves.
.NOTPARALLEL:

.PHONY: module help demo demo-vm demo-device check check-fast check-handover check-debug check-debian soak bench \
	bench-wall lint fmt rust-analyzer paths shell clean distclean

module: ## build liveupdate.ko, liveupdate_vfio.ko and liveupdate_iommufd.ko (the default)
	@tools/packages.sh
	@qemu/build.sh module

help: ## print this list
	@echo "make [KDIR=built-kernel-tree | KSRC=kernel-source-tree] TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

demo: ## preserve memfds across a kexec in a QEMU guest, and compare them
	@qemu/build.sh prepare demo
	@qemu/demo.py

demo-vm: ## update the kernel of a virtual machine's host, while the machine goes on
	@qemu/build.sh vmm
	@qemu/demo_vm.py $(if $(SVG),--svg $(SVG)) $(KERNELS)

demo-device: ## replace the kernel under a device that user space drives
	@qemu/build.sh prepare
	@qemu/demo_device.py $(if $(SVG),--svg $(SVG)) $(KERNELS)

check: ## run all tests in QEMU guests, the host tests, and lint
	@tools/packages.sh lint
	@qemu/build.sh prepare
	@qemu/run.py --build --lint $(SCENARIOS)

check-fast: ## run the same without the debug kernel
	@tools/packages.sh lint
	@qemu/build.sh prepare
	@qemu/run.py --build --lint --no-debug

check-handover: ## run only kexecs between different kernels; prints their matrix
	@qemu/build.sh prepare
	@qemu/run.py --build --handover --no-debug

check-debug: ## run only the tests on the debug kernel (KASAN, lockdep, faults)
	@qemu/build.sh prepare
	@qemu/run.py --build --debug

check-debian: ## test the agent lud under systemd, in a Debian guest
	@tools/debian.sh
	@qemu/build.sh prepare
	@qemu/run.py --build debian

soak: ## run N= (100) kexecs in a row; SEED= repeats an earlier run
	@qemu/build.sh prepare
	@qemu/run.py --kexecs $(or $(N),100) $(if $(SEED),--seed $(SEED)) soak

bench: ## compare with the C implementation, in instructions (7 minutes)
	@qemu/build.sh bench
	@bench/bench.py

bench-wall: ## compare by wall clock, in rounds (longer)
	@qemu/build.sh bench
	@bench/bench.py --wall

lint: ## check format, spelling and style; run clippy, checkpatch and others
	@tools/packages.sh lint
	@tools/lint.sh

fmt: ## format Rust and C sources
	@tools/packages.sh lint
	@tools/lint.sh fmt

rust-analyzer: ## write rust-project.json, with which an editor finds everything
	@qemu/build.sh rust-analyzer

paths: ## print where source, kernel, module and selftests are; builds nothing
	@qemu/build.sh paths

shell: ## start an interactive guest with the module and the next kernel loaded
	@qemu/build.sh prepare
	@qemu/run.py --shell

clean: ## remove what was built in this folder
	rm -rf out

distclean: clean ## remove the cache too: kernels, sources, tools
	@qemu/build.sh remove-cache
