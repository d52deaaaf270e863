// SPDX-License-Identifier: GPL-2.0-only
/* Prints the lines that the host reads; see output.h. */
#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("NOTE ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

void flush(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

long need(long result, const char *what)
{
	if (result < 0) {
		printf("FAILED %s: %s\n", what, strerror(-result));
		flush();
		exit(1);
	}
	return result;
}
