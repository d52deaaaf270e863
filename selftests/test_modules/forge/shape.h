/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the forged files contain, for the forger and for the program that checks them
 * in the next kernel.
 */
#ifndef SELFTESTS_FORGE_SHAPE_H
#define SELFTESTS_FORGE_SHAPE_H

#define FORGE_PAGE 4096UL

/* Bytes of the last page beyond the end of a file. */
#define FORGE_SLACK 100

/* Pages of a file. Those of memfd 2 are folios of 1, 1, 2 and 4 pages. */
#define FORGE_PAGES 2
#define FORGE_PAGES_2 8

/* Folios of a memfd 2 whose array needs a second list page; one page each. */
#define FORGE_LONG (511UL * 256 + 1)

/* Folios of a memfd 2 that several CPUs restore: 32 full array pages. */
#define FORGE_PIECES (32UL * 256)

/* Pages that are filled at both ends of a long memfd. */
#define FORGE_FILLED 8

/* The seeds of their content, which are also their positions. */
#define FORGE_SEED_FIRST 11
#define FORGE_SEED(token) (20 + (token))
#define FORGE_SEED_LAST 31

/* A name that must be escaped in the log. */
#define FORGE_ODD_NAME "for\nged\x1b"

/* Names of the sessions of cases with long chains. */
#define FORGE_EXTRA "extra-%lu"

/*
 * The cases are listed in addresses.h, chains.h, memfd.h, pieces.h, long.h and
 * million.h, as
 *
 *	FORGERY(name, expected outcome, expected log, the change)
 *
 * Forger and checker both read these lists, and define FORGERY() as they need it. In
 * the expected log, '@' is the address that the case wrote, '#' the page after it,
 * and '$' the name of the session; lines are separated by a newline. The outcomes
 * follow from the table of damage in the documentation of the format.
 */
#define DAMAGED " from the previous kernel is damaged: "
#define LIST "session list" DAMAGED
#define SESSION "session $" DAMAGED
#define FLBS "list of objects bound to files" DAMAGED
#define FILE_2 "file 0x2 of session $ from the previous kernel cannot be used: "
#define FILE_1 "file 0x1 of session $ from the previous kernel cannot be used: "
#define NOTHING "no memory was handed over at @"
#define NO_END "a chain of blocks has no end"
#define OVERLAP "two folios overlap in the file"
#define NO_FORM "an array of folios in an unknown form"

#endif /* SELFTESTS_FORGE_SHAPE_H */
