/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cards of a process, from one kernel to the next: how they get their memory, how
 * they are preserved, and how they come back.
 *
 * A function that fails prints why and ends the program. Lines that begin with NIC are
 * for the witness, see nic.c.
 */
#ifndef SELFTESTS_NIC_CARDS_H
#define SELFTESTS_NIC_CARDS_H

#include "nic_iommufd.h"

#define MAX_CARDS 4

/**
 * struct cards - the cards, and what is done with them
 * @count:            their number, in all processes
 * @first:            the first one of this process
 * @end:              one more than the last one of this process
 * @one_table:        one page table for all of them, instead of one each
 * @to_space:         the last card is attached to the address space itself
 * @keep_iommufd:     the iommufd is preserved, too
 * @drop_iommufd:     the next kernel makes a new one nevertheless
 * @without_memory:   the memory is not preserved with the cards
 * @preserve_nothing: nothing is preserved, there is only a session
 * @quiesced:         they are stopped for the kexec
 * @nic:              each of them
 * @iommufd:          for all of them
 * @session:          the outgoing session, or -1
 * @incoming:         the incoming session, or -1
 */
struct cards {
	int count;
	int first;
	int end;
	bool one_table;
	bool to_space;
	bool keep_iommufd;
	bool drop_iommufd;
	bool without_memory;
	bool preserve_nothing;
	bool quiesced;
	struct nic nic[MAX_CARDS];
	struct nic_iommufd iommufd;
	int session;
	int incoming;
};

extern struct cards cards;

/* The name of the PCI device of a card, which need not be open. */
void cards_find(int card, char name[PCI_NAME_MAX]);

/* Starts the cards of this process, and preserves them if there is a session. */
void cards_start(void);
/*
 * Takes them over with packets in their rings. They, their memory and the iommufd are
 * retrieved before.
 */
void cards_resume(void);
/* Starts them after they were stopped for a kexec. They get new memory. */
void cards_restart(void);

/* A new session, with the iommufd in it; no session if the name is "-". */
void cards_create_session(const char *name);
/* Returns a negative errno if it fails, and does not end the program. */
int cards_preserve_iommufd(void);
void cards_preserve_memory(void);
void cards_preserve_devices(void);
/* Memory and devices, as the options say. */
void cards_preserve(void);

void cards_retrieve_session(const char *name);
/* The iommufd that was preserved, or a new one. */
void cards_retrieve_iommufd(void);
void cards_retrieve_memory(int card);
void cards_retrieve_devices(void);
/* As cards_preserve_iommufd(). */
int cards_retrieve_device(int card);
int cards_try_iommufd(void);
void cards_finish_session(void);

/* Whether all packets so far came, numbered in order. */
bool cards_complete(const struct nic *nic, const char *when);
/* Whether the memory of a card is as it was, except for packets. */
bool cards_same_memory(const struct nic *nic);

#endif /* SELFTESTS_NIC_CARDS_H */
