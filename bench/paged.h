/* SPDX-License-Identifier: GPL-2.0-only */
/* Memfds whose content is cheap to make and to check. */
#ifndef BENCH_PAGED_H
#define BENCH_PAGED_H

#include <sys/types.h>

/* A memfd of @size bytes with a page of data every @stride bytes. */
int paged_memfd(const char *name, off_t size, off_t stride);

/* Writes the page at this offset as paged_memfd() does. */
void paged_write(int fd, off_t at);

/* Reads the last page of a file of this size. */
void read_last(int fd, off_t size);

/* Ends the run if these pages or the size are not as paged_memfd() made them. */
void check_paged(int fd, off_t size, off_t stride);

#endif /* BENCH_PAGED_H */
