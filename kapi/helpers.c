// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes inline functions and macros of the kernel callable from Rust. No
 * policy here: what is longer than a call or two is one operation on a folio
 * that would otherwise be a dozen calls for every page of a file.
 *
 * As in rust/helpers/ of the kernel, it is one object, from a file for each
 * subject.
 */

#include "bindings_helper.h"

#include "helpers/account.c"
#include "helpers/file.c"
#include "helpers/kho.c"
#include "helpers/pin.c"
#include "helpers/shmem.c"
#include "helpers/sync.c"
