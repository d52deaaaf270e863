// SPDX-License-Identifier: GPL-2.0-only
#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

void die(const char *what, int err)
{
	say("# %s: %s: %s", program_invocation_short_name, what, strerror(-err));
	exit(1);
}

int need(int result, const char *what)
{
	if (result < 0)
		die(what, result);
	return result;
}
