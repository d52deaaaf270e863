/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A memfd that several CPUs restore, some of the 32 array pages each. The error that
 * is reported must be that of the first bad array page, as if one CPU had found it.
 */

/* clang-format off */

FORGERY(piece_nothing, FINE, "", (void)f)
FORGERY(piece_any_order, FINE, "",
	swap(*entry(f, 0, 3), *entry(f, 31, 200)); swap(*entry(f, 9, 0), *entry(f, 9, 255)))
FORGERY(piece_index, NO_FILE, FILE_2 OVERLAP,
	entry(f, 20, 7)->index = 5)
FORGERY(piece_first, NO_FILE, FILE_2 OVERLAP,
	entry(f, 30, 0)->index = 0)
FORGERY(piece_within_former, NO_FILE, FILE_2 OVERLAP,
	entry(f, 20, 0)->index = entry(f, 19, 200)->index)
FORGERY(piece_two, NO_FILE, FILE_2 "a folio cannot be at index 0x2002",
	entry(f, 9, 255)->index = FORGE_PIECES + 2; entry(f, 10, 1)->index = FORGE_PIECES + 1)
FORGERY(piece_overlap_and_past, NO_FILE, FILE_2 "a folio cannot be at index 0x2000",
	entry(f, 2, 0)->index = 1; entry(f, 24, 0)->index = FORGE_PIECES)
FORGERY(piece_frame_twice, NO_FILE, FILE_2 NOTHING,
	share_frame(f, entry(f, 25, 0), entry(f, 3, 255)))
FORGERY(piece_flags, UNSUPPORTED, FILE_2 "unknown flags 0x803",
	entry(f, 7, 64)->flags |= 0x800)
FORGERY(piece_part, NO_FILE, FILE_2 NOTHING,
	aim(f, &f->memfd[1].list->phys[16], SELF))
