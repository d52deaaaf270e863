// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes inline functions and macros of the kernel callable from Rust. As
 * rust/helpers/ of the kernel, it is one object, from a file for each subject. Loops
 * over the pages of a file are in mm/.
 */

#include "bindings_helper.h"

#include "helpers/account.c"
#include "helpers/debugfs.c"
#include "helpers/file.c"
#include "helpers/kho.c"
#include "helpers/module.c"
#include "helpers/shmem.c"
#include "helpers/sync.c"
