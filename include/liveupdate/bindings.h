/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C that handlers in Rust use beyond what the kernel crate binds. bindgen reads
 * this file. helpers.c defines what is declared here; each definition says what its
 * callers must ensure.
 */

#ifndef _LIVEUPDATE_HANDLER_BINDINGS_H
#define _LIVEUPDATE_HANDLER_BINDINGS_H

#include <linux/anon_inodes.h>
#include <linux/kexec_handover.h>
#include <linux/liveupdate.h>
#include <linux/module.h>

/* handler.mk defines it for a module whose files need others of their session. */
#ifdef LIVEUPDATE_SESSIONS
#include "../liveupdate_ext.h"
#endif

void *lu_alloc_preserved(size_t size);
phys_addr_t lu_virt_to_phys(void *virt);
void *lu_claim(phys_addr_t phys, size_t *size);
void lu_free_claimed(void *virt);
bool lu_may_log(void);

#endif
