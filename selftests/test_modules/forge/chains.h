/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blocks, their entries, and the root: lengths, counts, strings and duplicates.
 */

/* clang-format off */

FORGERY(nothing, FINE, "", (void)f)

/* Chains that are circles. */
FORGERY(sessions_cycle, NO_DEVICE, LIST NO_END,
	f->last_sessions->header.next = f->root->sessions_pa)
FORGERY(files_cycle, NO_SESSION, SESSION NO_END,
	f->last_files->header.next = f->session->file_set_ser.files)

/* Counts. A block holds 51 sessions or 63 files. */
FORGERY(sessions_count_zero, NO_DEVICE, LIST "a block cannot hold 0 entries",
	f->sessions->header.count = 0)
FORGERY(sessions_count_last_zero, NO_DEVICE, LIST "a block cannot hold 0 entries",
	f->last_sessions->header.count = 0)
FORGERY(sessions_count_one_more, NO_DEVICE, LIST "a session name is empty or does not end",
	f->sessions->header.count++)
FORGERY(sessions_count_52, NO_DEVICE, LIST "a block cannot hold 52 entries",
	f->sessions->header.count = 52)
FORGERY(sessions_count_max, NO_DEVICE, LIST "a block cannot hold 18446744073709551615 entries",
	f->sessions->header.count = U64_MAX)
FORGERY(files_count_zero, NO_SESSION, SESSION "a block cannot hold 0 entries",
	f->files->header.count = 0)
FORGERY(files_count_one_more, NO_SESSION, SESSION "4 entries instead of 3",
	f->files->header.count++)
FORGERY(files_count_64, NO_SESSION, SESSION "a block cannot hold 64 entries",
	f->files->header.count = 64)
FORGERY(files_count_max, NO_SESSION, SESSION "a block cannot hold 18446744073709551615 entries",
	f->files->header.count = U64_MAX)
FORGERY(file_set_count_zero, NO_SESSION, SESSION "3 entries instead of 0",
	f->session->file_set_ser.count = 0)
FORGERY(file_set_count_one_less, NO_SESSION, SESSION "3 entries instead of 2",
	f->session->file_set_ser.count = 2)
FORGERY(file_set_count_one_more, NO_SESSION, SESSION "3 entries instead of 4",
	f->session->file_set_ser.count = 4)
FORGERY(file_set_count_max, NO_SESSION, SESSION "3 entries instead of 18446744073709551615",
	f->session->file_set_ser.count = U64_MAX)

/* The root. */
FORGERY(root_size_zero, NO_DEVICE, LIST "a root of 0 bytes is too small",
	f->root_size = 0)
FORGERY(root_size_31, NO_DEVICE, LIST "a root of 31 bytes is too small",
	f->root_size = sizeof(*f->root) - 1)
FORGERY(root_version, NO_DEVICE, LIST "the root is \"luo-v6\" and not \"luo-v5\"",
	f->root->compatible[5] = '6')
FORGERY(root_unterminated, NO_DEVICE, LIST "the root is \"luo-v5\\n\\x1b\" and not \"luo-v5\"",
	memcpy(f->root->compatible, "luo-v5\n\x1b", 8))
FORGERY(root_as_data, NO_FILE, FILE_2 NOTHING,
	aim_at(f, &f->file->data, f->root))
FORGERY(root_as_list, NO_FILE, FILE_2 NOTHING,
	aim_at(f, &f->memfd[1].header->folios.first.phys, f->root))
FORGERY(root_as_frame, NO_FILE, FILE_2 NOTHING,
	f->value = virt_to_phys(f->root);
	f->memfd[1].array[0].pfn = PHYS_PFN(f->value))

/* Objects bound to files (FLBs). No module knows these. A page holds 63. */
FORGERY(flbs_two, FINE, "",
	forge_flb(f, 0, "one", 1);
	forge_flb(f, 1, "two", 1))
FORGERY(flbs_name_empty, FINE, FLBS "FLB \"\" without own name or files",
	forge_flb(f, 0, "", 1))
FORGERY(flbs_name_unterminated, FINE,
	FLBS "FLB \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" without own name or files",
	memset(forge_flb(f, 0, "", 1)->name, 'x', LIVEUPDATE_FLB_COMPAT_LENGTH))
FORGERY(flbs_name_duplicate, FINE, FLBS "FLB \"one\" without own name or files",
	forge_flb(f, 0, "one", 1);
	forge_flb(f, 1, "one", 2))
FORGERY(flbs_no_files, FINE, FLBS "FLB \"one\" without own name or files",
	forge_flb(f, 0, "one", 0))
FORGERY(flbs_count_64, FINE, FLBS "64 objects in 1 pages",
	f->flbs->count = 64)
FORGERY(flbs_count_max, FINE, FLBS "18446744073709551615 objects in 1 pages",
	f->flbs->count = U64_MAX)
FORGERY(flbs_pages, FINE, FLBS "0 objects in 2 pages",
	f->flbs->pgcnt = 2)

/* Strings. */
FORGERY(name_empty, NO_DEVICE, LIST "a session name is empty or does not end",
	f->session->name[0] = 0)
FORGERY(name_unterminated, NO_DEVICE, LIST "a session name is empty or does not end",
	memset(f->session->name, 'x', sizeof(f->session->name)))
FORGERY(name_duplicate, NO_DEVICE, LIST "two sessions have the same name",
	strscpy(f->session->name, "last"))
FORGERY(name_escaped, NO_SESSION,
	"session for\\nged\\x1b" DAMAGED "2 entries instead of 3",
	strscpy(f->session->name, FORGE_ODD_NAME); f->files->header.next = 0)
FORGERY(handler_version, UNSUPPORTED, FILE_2 "no handler for \"memfd-v3\"",
	strscpy(f->file->compatible, "memfd-v3"))
FORGERY(handler_empty, UNSUPPORTED, FILE_2 "no handler for \"\"",
	f->file->compatible[0] = 0)
FORGERY(handler_unterminated, UNSUPPORTED,
	FILE_2 "no handler for \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
	memset(f->file->compatible, 'x', sizeof(f->file->compatible)))
FORGERY(handler_escaped, UNSUPPORTED, FILE_2 "no handler for \"\\n\\x1b\\xff%s\"",
	strscpy(f->file->compatible, "\n\x1b\xff%s"))

/* Duplicates. */
FORGERY(token_duplicate, NO_SESSION, SESSION "two files have the token 0x1",
	f->file->token = 1)
FORGERY(token_duplicate_next, NO_SESSION, SESSION "two files have the token 0x1",
	f->last_files->entry[0].token = 1)
FORGERY(files_shared, NO_SESSION, SESSION NOTHING,
	f->value = f->sessions->entry[0].file_set_ser.files;
	f->session->file_set_ser.files = f->value;
	f->session->file_set_ser.count = 1)
FORGERY(data_shared, NO_FILE, FILE_2 NOTHING,
	f->value = f->files->entry[0].data;
	f->file->data = f->value)

/* Blocks of two pages. */
FORGERY(sessions_large, NO_DEVICE, LIST NOTHING,
	enlarge(f, &f->root->sessions_pa))
FORGERY(files_large, NO_SESSION, SESSION NOTHING,
	enlarge(f, &f->session->file_set_ser.files))
