/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every address of the state, damaged in every way. A null address ends a chain, so
 * it is damage only where something says how long the chain is.
 */

/* clang-format off */

FORGERY(root_zero, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root_at, ZERO))
FORGERY(root_unaligned, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root_at, UNALIGNED))
FORGERY(root_outside, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root_at, OUTSIDE))
FORGERY(root_unknown, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root_at, UNKNOWN))
FORGERY(root_image, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root_at, IMAGE))

FORGERY(sessions_zero, NO_SESSIONS, "",
	aim(f, &f->root->sessions_pa, ZERO))
FORGERY(sessions_unaligned, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root->sessions_pa, UNALIGNED))
FORGERY(sessions_outside, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root->sessions_pa, OUTSIDE))
FORGERY(sessions_unknown, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root->sessions_pa, UNKNOWN))
FORGERY(sessions_image, NO_DEVICE, LIST NOTHING,
	aim(f, &f->root->sessions_pa, IMAGE))
/* The root, read as a block, begins with "luo-v5". */
FORGERY(sessions_self, NO_DEVICE, LIST "no memory was handed over at 0x35762d6f756c",
	aim(f, &f->root->sessions_pa, SELF))

FORGERY(next_sessions_zero, NO_LAST, "",
	aim(f, &f->sessions->header.next, ZERO))
FORGERY(next_sessions_unaligned, NO_DEVICE, LIST NOTHING,
	aim(f, &f->sessions->header.next, UNALIGNED))
FORGERY(next_sessions_outside, NO_DEVICE, LIST NOTHING,
	aim(f, &f->sessions->header.next, OUTSIDE))
FORGERY(next_sessions_unknown, NO_DEVICE, LIST NOTHING,
	aim(f, &f->sessions->header.next, UNKNOWN))
FORGERY(next_sessions_image, NO_DEVICE, LIST NOTHING,
	aim(f, &f->sessions->header.next, IMAGE))
FORGERY(next_sessions_self, NO_DEVICE, LIST NO_END,
	aim(f, &f->sessions->header.next, SELF))

FORGERY(files_zero, NO_SESSION, SESSION "0 entries instead of 3",
	aim(f, &f->session->file_set_ser.files, ZERO))
FORGERY(files_unaligned, NO_SESSION, SESSION NOTHING,
	aim(f, &f->session->file_set_ser.files, UNALIGNED))
FORGERY(files_outside, NO_SESSION, SESSION NOTHING,
	aim(f, &f->session->file_set_ser.files, OUTSIDE))
FORGERY(files_unknown, NO_SESSION, SESSION NOTHING,
	aim(f, &f->session->file_set_ser.files, UNKNOWN))
FORGERY(files_image, NO_SESSION, SESSION NOTHING,
	aim(f, &f->session->file_set_ser.files, IMAGE))
FORGERY(files_self, NO_SESSION, SESSION NOTHING,
	aim(f, &f->session->file_set_ser.files, SELF))

FORGERY(next_files_zero, NO_SESSION, SESSION "2 entries instead of 3",
	aim(f, &f->files->header.next, ZERO))
FORGERY(next_files_unaligned, NO_SESSION, SESSION NOTHING,
	aim(f, &f->files->header.next, UNALIGNED))
FORGERY(next_files_outside, NO_SESSION, SESSION NOTHING,
	aim(f, &f->files->header.next, OUTSIDE))
FORGERY(next_files_unknown, NO_SESSION, SESSION NOTHING,
	aim(f, &f->files->header.next, UNKNOWN))
FORGERY(next_files_image, NO_SESSION, SESSION NOTHING,
	aim(f, &f->files->header.next, IMAGE))
FORGERY(next_files_self, NO_SESSION, SESSION NO_END,
	aim(f, &f->files->header.next, SELF))

FORGERY(data_zero, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->file->data, ZERO))
FORGERY(data_unaligned, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->file->data, UNALIGNED))
FORGERY(data_outside, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->file->data, OUTSIDE))
FORGERY(data_unknown, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->file->data, UNKNOWN))
FORGERY(data_image, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->file->data, IMAGE))
FORGERY(data_self, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->file->data, SELF))

FORGERY(first_zero, NO_FILE, FILE_2 "an array of 0 for 4 folios",
	aim(f, &f->memfd[1].header->folios.first.phys, ZERO))
FORGERY(first_unaligned, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].header->folios.first.phys, UNALIGNED))
FORGERY(first_outside, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].header->folios.first.phys, OUTSIDE))
FORGERY(first_unknown, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].header->folios.first.phys, UNKNOWN))
FORGERY(first_image, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].header->folios.first.phys, IMAGE))
FORGERY(first_self, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].header->folios.first.phys, SELF))

FORGERY(next_list_unaligned, NO_FILE, FILE_2 NO_FORM,
	aim(f, &f->memfd[1].list->hdr.next.phys, UNALIGNED))
FORGERY(next_list_outside, NO_FILE, FILE_2 NO_FORM,
	aim(f, &f->memfd[1].list->hdr.next.phys, OUTSIDE))
FORGERY(next_list_unknown, NO_FILE, FILE_2 NO_FORM,
	aim(f, &f->memfd[1].list->hdr.next.phys, UNKNOWN))
FORGERY(next_list_image, NO_FILE, FILE_2 NO_FORM,
	aim(f, &f->memfd[1].list->hdr.next.phys, IMAGE))
FORGERY(next_list_self, NO_FILE, FILE_2 NO_FORM,
	aim(f, &f->memfd[1].list->hdr.next.phys, SELF))

FORGERY(part_zero, NO_FILE, FILE_2 "an array of 0 for 4 folios",
	aim(f, &f->memfd[1].list->phys[0], ZERO))
FORGERY(part_unaligned, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->phys[0], UNALIGNED))
FORGERY(part_outside, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->phys[0], OUTSIDE))
FORGERY(part_unknown, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->phys[0], UNKNOWN))
FORGERY(part_image, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->phys[0], IMAGE))
FORGERY(part_self, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->phys[0], SELF))

FORGERY(frame_zero, NO_FILE, FILE_2 NOTHING,
	aim_frame(f, &f->memfd[1].array[3], ZERO))
FORGERY(frame_unaligned, NO_FILE, FILE_2 NOTHING,
	aim_frame(f, &f->memfd[1].array[3], UNALIGNED))
FORGERY(frame_outside, NO_FILE, FILE_2 NOTHING,
	aim_frame(f, &f->memfd[1].array[3], OUTSIDE))
FORGERY(frame_unknown, NO_FILE, FILE_2 NOTHING,
	aim_frame(f, &f->memfd[1].array[3], UNKNOWN))
FORGERY(frame_image, NO_FILE, FILE_2 NOTHING,
	aim_frame(f, &f->memfd[1].array[3], IMAGE))
FORGERY(frame_self, NO_FILE, FILE_2 NOTHING,
	aim_frame(f, &f->memfd[1].array[3], SELF))

FORGERY(flbs_zero, FINE, "",
	aim(f, &f->root->flbs_pa, ZERO))
FORGERY(flbs_unaligned, FINE, FLBS NOTHING,
	aim(f, &f->root->flbs_pa, UNALIGNED))
FORGERY(flbs_outside, FINE, FLBS NOTHING,
	aim(f, &f->root->flbs_pa, OUTSIDE))
FORGERY(flbs_unknown, FINE, FLBS NOTHING,
	aim(f, &f->root->flbs_pa, UNKNOWN))
FORGERY(flbs_image, FINE, FLBS NOTHING,
	aim(f, &f->root->flbs_pa, IMAGE))
/* The root, read as a list of objects. */
FORGERY(flbs_self, FINE, FLBS "7 objects in 58781684692332 pages",
	aim(f, &f->root->flbs_pa, SELF))
