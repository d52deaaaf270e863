/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A memfd: its header, the array that lists its folios, the folios, and how KHO
 * marked their memory.
 */

/* clang-format off */

/* The header. */
FORGERY(size_max, NO_FILE, FILE_2 "no file has a size or position of 0x8000000000000000",
	f->memfd[1].header->size = 1ULL << 63)
FORGERY(size_one_page, NO_FILE, FILE_2 "4 folios for 1 pages",
	f->memfd[1].header->size = PAGE_SIZE)
FORGERY(size_without_last, NO_FILE, FILE_2 "a folio cannot be at index 0x4",
	f->memfd[1].header->size = 4 * PAGE_SIZE)
FORGERY(pos_max, NO_FILE, FILE_2 "no file has a size or position of 0x8000000000000000",
	f->memfd[1].header->pos = 1ULL << 63)
FORGERY(seals_unknown, UNSUPPORTED, FILE_2 "unknown seals 0x40",
	f->memfd[1].header->seals = 0x40)
FORGERY(seals_all, UNSUPPORTED, FILE_2 "unknown seals 0xffffffff",
	f->memfd[1].header->seals = U32_MAX)
FORGERY(flags_unknown, UNSUPPORTED, FILE_2 "unknown flags 0x1",
	f->memfd[1].header->flags = 1)
FORGERY(folios_one_less, NO_FILE, FILE_2 "an array of 4 for 3 folios",
	f->memfd[1].header->nr_folios--)
FORGERY(folios_one_more, NO_FILE, FILE_2 "no memory was handed over at 0x0",
	f->memfd[1].header->nr_folios++)
FORGERY(folios_zero, NO_FILE, FILE_2 "an array of 256 for 0 folios",
	f->memfd[1].header->nr_folios = 0)
FORGERY(folios_max, NO_FILE, FILE_2 "18446744073709551615 folios for 8 pages",
	f->memfd[1].header->nr_folios = U64_MAX)

/* The description of the array. */
FORGERY(array_pages_zero, NO_FILE, FILE_2 "an array of 0 for 4 folios",
	f->memfd[1].header->folios.total_pages = 0)
FORGERY(array_pages_one_more, NO_FILE, FILE_2 "an array of 512 for 4 folios",
	f->memfd[1].header->folios.total_pages = 2)
FORGERY(array_pages_max, NO_FILE, FILE_2 "an array of 1099511627520 for 4 folios",
	f->memfd[1].header->folios.total_pages = U32_MAX)
FORGERY(array_flags, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].header->folios.flags = 4)
FORGERY(array_order, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].header->folios.order = 1)
FORGERY(array_order_11, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].header->folios.order = 11)
FORGERY(array_order_max, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].header->folios.order = U16_MAX)
FORGERY(array_order_and_pages, NO_FILE, FILE_2 NOTHING,
	f->memfd[1].header->folios.order = 1;
	f->memfd[1].header->folios.total_pages = 2;
	f->value = f->memfd[1].list->phys[0])
FORGERY(part_too_many, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].list->phys[1] = virt_to_phys(forge_pages(f, 0)))
FORGERY(part_twice, NO_FILE, FILE_2 NO_FORM,
	f->memfd[1].list->phys[1] = f->memfd[1].list->phys[0])

/*
 * The indexes of folios in the file. Entries come in any order. Two folios that overlap
 * are found when both are inserted.
 */
FORGERY(index_any_order, FINE, "",
	swap(f->memfd[1].array[1], f->memfd[1].array[3]);
	swap(f->memfd[1].array[0], f->memfd[1].array[2]))
FORGERY(index_duplicate, NO_FILE, FILE_2 OVERLAP,
	f->memfd[1].array[1].index = 0)
FORGERY(index_unaligned, NO_FILE, FILE_2 "a folio cannot be at index 0x3",
	f->memfd[1].array[2].index = 3)
FORGERY(index_overlap, NO_FILE, FILE_2 OVERLAP,
	f->memfd[1].array[1].index = 2)
FORGERY(index_past, NO_FILE, FILE_2 "a folio cannot be at index 0x8",
	f->memfd[1].array[3].index = 8)
FORGERY(index_max, NO_FILE, FILE_2 "a folio cannot be at index 0xffffffffffffffff",
	f->memfd[1].array[3].index = U64_MAX)

/* The memory of folios. */
FORGERY(frame_twice, NO_FILE, FILE_2 NOTHING,
	share_frame(f, &f->memfd[1].array[1], &f->memfd[1].array[0]))
FORGERY(frame_of_other_file, NO_FILE, FILE_2 NOTHING,
	share_frame(f, &f->memfd[1].array[0], &f->memfd[0].array[0]))
FORGERY(frame_of_other_session, NO_FILE, FILE_2 NOTHING,
	share_frame(f, &f->memfd[1].array[0], &f->first.array[0]))
FORGERY(frame_high, NO_FILE, FILE_2 NOTHING,
	f->memfd[1].array[0].pfn |= 1ULL << 51;
	f->value = PFN_PHYS(f->memfd[1].array[0].pfn))
FORGERY(frame_max, NO_FILE, FILE_2 "no memory was handed over at 0xfffffffffffff000",
	f->memfd[1].array[0].pfn = ~0ULL)
FORGERY(folio_flags, UNSUPPORTED, FILE_2 "unknown flags 0x803",
	f->memfd[1].array[0].flags |= 0x800)
FORGERY(folio_order_10, NO_FILE, FILE_2 "no file has a folio of order 10",
	f->memfd[1].array[0].pfn = PHYS_PFN(virt_to_phys(forge_pages(f, 10))))

/*
 * Folios that are not marked dirty are not damaged: the dirty bit of the previous
 * kernel only says that swap has no newer copy. forged.c reclaims these pages and
 * then expects their content.
 */
FORGERY(folios_clean, FINE, "",
	clean_folios(f, &f->memfd[1]))

/* Memory that was handed over twice, as folios of different size. */
FORGERY(frame_in_pieces, NO_FILE, FILE_2 NOTHING,
	f->value = PFN_PHYS(f->memfd[1].array[3].pfn);
	preserve_page(f, f->value + PAGE_SIZE))
FORGERY(frame_within, NO_FILE, FILE_2 NOTHING,
	f->value = PFN_PHYS(f->memfd[1].array[3].pfn) + PAGE_SIZE;
	preserve_page(f, f->value);
	f->memfd[1].array[0].pfn = PHYS_PFN(f->value))
FORGERY(frame_and_piece, NO_FILES, FILE_1 "no memory was handed over at #\n" FILE_2 NOTHING,
	f->value = PFN_PHYS(f->memfd[1].array[3].pfn);
	preserve_page(f, f->value + PAGE_SIZE);
	f->memfd[0].array[0].pfn = PHYS_PFN(f->value) + 1)
