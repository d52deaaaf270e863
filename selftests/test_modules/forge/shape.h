/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the forged files look like to who retrieves them. For the forger and for
 * the program that looks at its work in the next kernel.
 */
#ifndef SELFTESTS_FORGE_SHAPE_H
#define SELFTESTS_FORGE_SHAPE_H

#define FORGE_PAGE	4096UL

/* Bytes of the last page that are past the end of a file. */
#define FORGE_SLACK	100

/* Pages of a file; those of memfd 2 come in folios of 1, 1, 2 and 4. */
#define FORGE_PAGES	2
#define FORGE_PAGES_2	8

/* A memfd 2 whose array needs a second list page: one page to a folio. */
#define FORGE_LONG	(511UL * 256 + 1)

/* One that several CPUs restore: 32 parts of its array are full. */
#define FORGE_PIECES	(32UL * 256)

/* Of a long one, so much is filled at both ends. */
#define FORGE_FILLED	8

/* The seeds of what is in them, which are their positions too. */
#define FORGE_SEED_FIRST	11
#define FORGE_SEED(token)	(20 + (token))
#define FORGE_SEED_LAST		31

/* A name that must not get into a log as it is. */
#define FORGE_ODD_NAME	"for\nged\x1b"

/* Sessions of cases that have many, with a number. */
#define FORGE_EXTRA	"extra-%lu"

/*
 * The cases stand in addresses.h, chains.h, memfd.h, pieces.h, long.h and
 * million.h, as
 *
 *	FORGERY(name, what is expected, what the log says, the change)
 *
 * and are read by both sides, which define FORGERY() as they need it. In the log,
 * '@' stands for the address that the case wrote, '#' for the page after it, and
 * '$' for the name of the session; a newline is between lines. What is expected
 * follows from the table in docs/architecture.md.
 */
#define DAMAGED		" from the previous kernel is damaged: "
#define LIST		"session list" DAMAGED
#define SESSION		"session $" DAMAGED
#define FLBS		"list of objects bound to files" DAMAGED
#define FILE_2		"file 0x2 of session $ from the previous kernel is refused: "
#define FILE_1		"file 0x1 of session $ from the previous kernel is refused: "
#define NOTHING		"no memory was handed over at @"
#define NO_END		"a chain of blocks has no end"
#define NO_FORM		"an array of folios in an unknown form"

#endif /* SELFTESTS_FORGE_SHAPE_H */
