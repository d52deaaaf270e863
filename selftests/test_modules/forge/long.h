/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chains of the maximal length and beyond, and a memfd whose array needs two list
 * pages.
 */

/* clang-format off */

FORGERY(long_nothing, FINE, "", (void)f)
FORGERY(long_zero, NO_FILE, FILE_2 "an array of 130816 for 130817 folios",
	aim(f, &f->memfd[1].list->hdr.next.phys, ZERO))
FORGERY(long_unaligned, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->hdr.next.phys, UNALIGNED))
FORGERY(long_outside, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->hdr.next.phys, OUTSIDE))
FORGERY(long_unknown, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->hdr.next.phys, UNKNOWN))
FORGERY(long_image, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->hdr.next.phys, IMAGE))
FORGERY(long_self, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->hdr.next.phys, SELF))
FORGERY(long_cycle, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].last_list->hdr.next.phys = f->memfd[1].header->folios.first.phys)
FORGERY(long_part, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].last_list->phys[0], SELF))

FORGERY(sessions_10000, FINE, "", many_sessions(f, 10000))
FORGERY(sessions_10001, NO_DEVICE, LIST NO_END, many_sessions(f, 10001))
FORGERY(files_10001, NO_SESSION, SESSION NO_END, many_files(f, 10001))
