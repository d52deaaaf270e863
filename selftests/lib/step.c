// SPDX-License-Identifier: GPL-2.0-only
/*
 * What steps and their answers are in words, and what the files of steps contain.
 */
#include "step.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

const int step_seals[5] = {
	F_SEAL_SHRINK,	     F_SEAL_GROW, F_SEAL_WRITE,
	F_SEAL_FUTURE_WRITE, F_SEAL_SEAL,
};

bool memfd_has_page(__u32 seed, unsigned int page)
{
	return seed >> page & 1;
}

bool memfd_is_sealable(__u32 seed)
{
	return seed & 0xe0;
}

unsigned int incoming_pages(unsigned int session, unsigned int token)
{
	static const unsigned char pages[MODEL_INCOMING][MODEL_TOKENS] = {
		{ 1, 3, 0xff, 0xff },
		{ 0xff, 0xff, 0, 2 },
		{ 0xff, 0xff, 0xff, 0xff },
	};

	return pages[session][token];
}

__u32 incoming_seed(unsigned int session, unsigned int token)
{
	return 0xfd + 0x100 * session + 0x1000 * token;
}

__u64 digest_word(__u64 hash, __u64 value)
{
	return (hash ^ value) * 0x100000001b3ULL + (hash >> 29);
}

__u64 digest_page(__u64 hash, const __u64 *words)
{
	unsigned int i;

	for (i = 0; i < LUO_PAGE / 8; i++)
		hash = digest_word(hash, words[i]);
	return hash;
}

bool step_answer_is(const struct answer *seen, const struct answer *expected)
{
	if (expected->also && seen->err == expected->also)
		return true;
	return seen->err == expected->err &&
	       (seen->err || seen->value == expected->value);
}

static const struct {
	const char *name;
	/* The fields that the step uses: Slot, To, Arg, seed (x). */
	const char *uses;
} words[STEP_OPS] = {
	[STEP_OPEN] = { "open", "t" },
	[STEP_CREATE] = { "create_session", "sat" },
	[STEP_RETRIEVE] = { "retrieve_session", "sat" },
	[STEP_PRESERVE] = { "preserve_fd", "sta" },
	[STEP_RETRIEVE_FD] = { "retrieve_fd", "sat" },
	[STEP_FINISH] = { "finish", "s" },
	[STEP_GET_NAME] = { "get_name", "s" },
	[STEP_BAD_NUMBER] = { "unknown ioctl", "sa" },
	[STEP_FDINFO] = { "read fdinfo", "s" },
	[STEP_CLOSE] = { "close", "s" },
	[STEP_DUP] = { "dup2", "st" },
	[STEP_SEND] = { "send to process", "sa" },
	[STEP_RECEIVE] = { "receive", "t" },
	[STEP_EXIT] = { "exit", "" },
	[STEP_NULL] = { "open /dev/null", "t" },
	[STEP_MEMFD] = { "memfd_create", "tax" },
	[STEP_TRUNCATE] = { "ftruncate", "sa" },
	[STEP_PUNCH] = { "punch hole", "sa" },
	[STEP_WRITE] = { "write page", "sax" },
	[STEP_MAP] = { "store through a mapping", "sax" },
	[STEP_SEAL] = { "add seal", "sa" },
	[STEP_SEEK] = { "lseek", "sx" },
	[STEP_DIGEST] = { "digest of size, position, seals, content", "s" },
};

const char *step_text(const struct step *step)
{
	static const char *const flavors[FLAVORS] = {
		"",
		" (too small)",
		" (larger, zeroes)",
		" (larger, not zero)",
		" (null pointer)",
		" (read-only argument)",
		" (reserved set)",
	};
	static char text[200];
	const char *use;
	int n;

	n = sprintf(text, "process %u: %s", step->proc, words[step->op].name);
	for (use = words[step->op].uses; *use; use++) {
		if (*use == 's')
			n += sprintf(text + n, " slot=%u", step->slot);
		else if (*use == 't')
			n += sprintf(text + n, " to=%u", step->to);
		else if (*use == 'a')
			n += sprintf(text + n, " arg=%u", step->arg);
		else
			n += sprintf(text + n, " seed=%#x", step->seed);
	}
	sprintf(text + n, "%s", flavors[step->flavor]);
	return text;
}

const char *answer_text(const struct answer *answer)
{
	static char texts[2][160];
	static int which;
	char *text = texts[which ^= 1];
	int n;

	n = sprintf(text, "%d (%s)", answer->err,
		    answer->err ? strerror(-answer->err) : "success");
	if (!answer->err && answer->value)
		n += sprintf(text + n, ", value %#llx", answer->value);
	if (answer->also)
		sprintf(text + n, " or %d (%s)", answer->also,
			strerror(-answer->also));
	return text;
}
