# SPDX-License-Identifier: GPL-2.0-only
#
# What a module with a handler in Rust is built with; mod.rs beside this file says
# more. The Kbuild of the module has
#
#	obj-m := foo.o
#	foo-y := foo_rs.o liveupdate_helpers.o
#
#	liveupdate-crate := foo_rs.o
#	include /path/to/liveupdate/include/liveupdate/handler.mk

# If its files need others of their session, this line comes before the include:
#
#	liveupdate-sessions := y
#
# The module then needs liveupdate.ko, and no other orchestrator will do.

lu_dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

# The kernel's header declares functions only if it is told that somebody defines
# them.
ccflags-y += -DCONFIG_LIVEUPDATE=1 -I$(lu_dir)

include $(lu_dir)/bindgen.mk

lu_functions := lu_.*|liveupdate_(un)?register_file_handler|anon_inode_getfile|kho_(is_enabled|unpreserve_free)
lu_types := liveupdate_file_.*
lu_vars := __this_module

ifeq ($(liveupdate-sessions),y)
ccflags-y += -DLIVEUPDATE_SESSIONS
rustflags-y += --cfg liveupdate_sessions
lu_functions := $(lu_functions)|liveupdate_ext_session|liveupdate_get_(token_outgoing|file_incoming)
lu_types := $(lu_types)|liveupdate_session
endif

lu_bindings := $(obj)/liveupdate_bindings.rs
export LIVEUPDATE_HANDLER_BINDINGS := $(abspath $(lu_bindings))

targets += liveupdate_bindings.rs
$(lu_bindings): private basetarget := liveupdate_bindings
$(lu_bindings): private modname := $(liveupdate-crate:.o=)
$(lu_bindings): $(lu_dir)/bindings.h FORCE
	$(call if_changed,lu_bindgen)

$(obj)/$(liveupdate-crate): $(lu_bindings)

# It has no source in the folder of the module.
$(obj)/liveupdate_helpers.o: $(lu_dir)/helpers.c FORCE
	$(call if_changed_rule,cc_o_c)
