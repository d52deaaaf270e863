/* SPDX-License-Identifier: GPL-2.0-only */
/* How a program that a scenario drives writes its log, and ends when a call fails. */
#ifndef SELFTESTS_SAY_H
#define SELFTESTS_SAY_H

/* Prints a line, in one write: several processes can have the same log. */
void __attribute__((format(printf, 1, 2))) say(const char *format, ...);
/* Prints what failed with which negative errno, and exits. */
void __attribute__((noreturn)) die(const char *what, int err);
/* Ends the program if a call failed; returns what it returned. */
int need(int result, const char *what);

#endif /* SELFTESTS_SAY_H */
