# SPDX-License-Identifier: GPL-2.0-only
#
# Bindings of C headers for a Rust module outside of the kernel tree. A Kbuild
# includes this and calls lu_bindgen for a header, as in
#
#	$(obj)/bindings.rs: private basetarget := my_bindings
#	$(obj)/bindings.rs: private modname := my_module
#	$(obj)/bindings.rs: $(src)/bindings.h FORCE
#		$(call if_changed,lu_bindgen)
#
# lu_functions, lu_types, lu_vars: patterns of the names that are bound

# What bindgen cannot digest of the flags for the C compiler, as in rust/Makefile.
lu_bindgen_skip := -mno-fp-ret-in-387 -mpreferred-stack-boundary=% -mskip-rax-setup \
	-mgeneral-regs-only -mindirect-branch=thunk-extern -mindirect-branch-register \
	-mfunction-return=thunk-extern -mrecord-mcount -mindirect-branch-cs-prefix \
	-mstack-protector-guard% -fconserve-stack -falign-jumps=% -falign-loops=% \
	-fno-ipa-cp-clone -fno-ipa-sra -fno-partial-inlining -fno-reorder-blocks \
	-fno-allow-store-data-races -fzero-call-used-regs=% -fno-stack-clash-protection \
	-fno-inline-functions-called-once -fsanitize=bounds-strict -fstrict-flex-arrays=% \
	-fmin-function-alignment=% --param=% --param asan-%
lu_bindgen_flags = $(filter-out $(lu_bindgen_skip), $(c_flags)) \
	-w --target=x86_64-linux-gnu -fno-builtin -D__BINDGEN__ -DMODULE

quiet_cmd_lu_bindgen = BINDGEN $@
      cmd_lu_bindgen = \
	$(BINDGEN) $< --rust-target 1.85 --use-core --with-derive-default \
		--ctypes-prefix kernel::ffi --no-layout-tests --no-debug '.*' \
		--no-recursive-allowlist --raw-line 'pub use kernel::bindings::*;' \
		--allowlist-function '$(lu_functions)' \
		--allowlist-type '$(lu_types)' --allowlist-var '$(lu_vars)' \
		-o $@ -- $(lu_bindgen_flags)
