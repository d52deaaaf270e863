// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes inline functions and macros of the kernel callable from Rust. What is
 * longer than a call or two is a loop over the pages of a file, which would be a
 * dozen calls for each of them otherwise, or has to be under one lock.
 *
 * As in rust/helpers/ of the kernel, it is one object, from a file for each
 * subject.
 */

#include "bindings_helper.h"

#include "helpers/account.c"
#include "helpers/file.c"
#include "helpers/kho.c"
#include "helpers/module.c"
#include "helpers/pin.c"
#include "helpers/shmem.c"
#include "helpers/sync.c"
