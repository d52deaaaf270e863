// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes notes in the old kernel, and checks them in the next; see notes.h.
 */
#include "notes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void notes_session_name(char *name, unsigned int n)
{
	sprintf(name, "races-%u", n);
}

struct note *notes_begin(struct notes *notes, unsigned int thread,
			 const struct note *what)
{
	unsigned int n = notes->count[thread];
	struct note *note = &notes->notes[thread][n];

	if (n == NOTES_MAX)
		return NULL;
	*note = *what;
	/* From here on the note counts. */
	notes->count[thread] = n + 1;
	return note;
}

void notes_end(struct notes *notes, struct note *note, int answer)
{
	note->answer = answer;
	note->end = ++notes->clock;
}

void notes_unexplained(struct notes *notes, int call, int answer)
{
	if (!atomic_exchange(&notes->unexplained, answer))
		notes->unexplained_call = call;
}

/* Whether close had not begun, had begun, or had returned. */
enum close_state {
	OPEN,
	CLOSING,
	CLOSED,
};

/**
 * struct expected - what the notes say about the sessions of a name
 * @instance: the last one whose create had returned, or -1
 * @created:  when that was
 * @closed:   its close
 * @in_use:   a call on it had not returned
 * @begun:    a create of the name had not returned
 * @file:     by token: the file + 1 whose preserve had returned, or 0
 * @maybe:    by token: a bit mask of the files whose preserve had begun
 */
struct expected {
	int instance;
	__u32 created;
	enum close_state closed;
	bool in_use;
	bool begun;
	unsigned int file[NOTES_TOKENS];
	unsigned int maybe[NOTES_TOKENS];
};

/* Finds the session. */
static void note_of_create(struct expected *expected, const struct note *note)
{
	if (note->call != CREATE)
		return;
	if (!note->end)
		expected->begun = true;
	if (note->end > expected->created && !note->answer) {
		expected->created = note->end;
		expected->instance = note->instance;
	}
}

/* Finds the calls on that session. */
static void note_of_use(struct expected *expected, const struct note *note)
{
	if (note->call == CREATE || (int)note->instance != expected->instance)
		return;
	if (note->call == CLOSE)
		expected->closed = note->end ? CLOSED : CLOSING;
	else if (!note->end)
		expected->in_use = true;
	if (note->call != PRESERVE)
		return;
	if (!note->end)
		expected->maybe[note->token] |= 1 << note->file;
	else if (!note->answer)
		expected->file[note->token] = note->file + 1;
}

typedef void (*note_fn)(struct expected *expected, const struct note *note);

static void walk_notes(const struct notes *notes, unsigned int name,
		       note_fn visit, struct expected *expected)
{
	unsigned int t, n;

	for (t = 0; t < NOTES_THREADS; t++) {
		for (n = 0; n < notes->count[t]; n++) {
			if (notes->notes[t][n].name == name)
				visit(expected, &notes->notes[t][n]);
		}
	}
}

static void read_notes(const struct notes *notes, unsigned int name,
		       struct expected *expected)
{
	memset(expected, 0, sizeof(*expected));
	expected->instance = -1;
	walk_notes(notes, name, note_of_create, expected);
	walk_notes(notes, name, note_of_use, expected);
	if (expected->closed == CLOSED && expected->in_use)
		expected->closed = CLOSING;
}

static void check_words(int fd, const struct notes *notes, unsigned int file)
{
	__u32 words[1 + NOTES_THREADS];
	unsigned int t;

	need_eq(pread(fd, words, sizeof(words), 0), sizeof(words),
		"reading a file");
	for (t = 0; t < NOTES_THREADS; t++)
		expect_range(words[1 + t], notes->written[file][t],
			     notes->begun[file][t],
			     "what thread %u wrote to file %u", t, file);
	expect_pattern(fd, LUO_PAGE, LUO_PAGE, NOTES_FILE_SEED(file),
		       "a page that no thread writes");
	expect_eq(luo_size(fd), NOTES_FILE_SIZE, "size of file %u", file);
}

static unsigned int check_session(int session, const struct notes *notes,
				  const struct expected *expected,
				  const char *name, unsigned int *seen_files)
{
	unsigned int token, found = 0, lost = 0;
	__u32 file = NOTES_FILES;
	int fd;

	for (token = 0; token < NOTES_TOKENS; token++) {
		fd = luo_retrieve_fd(session, token);
		if (fd < 0) {
			expect_err(fd, -ENOENT, "retrieve_fd %u of \"%s\"",
				   token, name);
			if (expected->file[token])
				lost |= 1 << token;
			continue;
		}
		found++;
		need_eq(pread(fd, &file, sizeof(file), 0), sizeof(file),
			"reading a file");
		expect_range(file, 0, NOTES_FILES - 1, "number of the file");
		if (file >= NOTES_FILES)
			continue;
		expect_eq(*seen_files >> file & 1, 0,
			  "file %u is also in another session", file);
		*seen_files |= 1 << file;
		if (expected->file[token])
			expect_eq(file, expected->file[token] - 1,
				  "file of token %u of \"%s\"", token, name);
		else
			expect_eq(expected->maybe[token] >> file & 1, 1,
				  "had begun: file %u, token %u of \"%s\"",
				  file, token, name);
		check_words(fd, notes, file);
		close(fd);
	}
	/*
	 * A session whose create had not returned is empty. It can only be
	 * there if the other one is gone.
	 */
	if (!found && expected->begun &&
	    (expected->instance < 0 || expected->closed != OPEN))
		return 0;
	expect_eq(lost, 0, "tokens (bit mask) of \"%s\" whose files are lost",
		  name);
	return found;
}

/* Returns whether the session is there; adds its files to *files. */
static bool check_name(const struct notes *notes, int dev, unsigned int n,
		       unsigned int *files, unsigned int *seen_files)
{
	char name[LUO_NAME_MAX] = "";
	struct expected expected;
	bool exists;
	int session;

	read_notes(notes, n, &expected);
	exists = expected.instance >= 0;
	notes_session_name(name, n);
	session = luo_retrieve(dev, name);
	if (session < 0) {
		expect_err(session, -ENOENT, "retrieve_session \"%s\"", name);
		expect_eq(exists && expected.closed == OPEN, false,
			  "\"%s\" created and not closed", name);
		return false;
	}
	expect_eq((exists && expected.closed != CLOSED) || expected.begun, true,
		  "\"%s\" created and not closed", name);
	*files += check_session(session, notes, &expected, name, seen_files);
	expect_eq(luo_finish(session), 0, "finish of \"%s\"", name);
	close(session);
	return true;
}

void notes_check(const struct notes *notes, int dev)
{
	unsigned int calls = 0, open_calls = 0, sessions = 0, files = 0;
	unsigned int seen_files = 0, i, t;

	expect_eq(notes->unexplained, 0,
		  "an answer that no race explains, to call %d",
		  notes->unexplained_call);
	for (t = 0; t < NOTES_THREADS; t++) {
		calls += notes->count[t];
		if (notes->count[t])
			open_calls += !notes->notes[t][notes->count[t] - 1].end;
	}
	for (i = 0; i < NOTES_NAMES; i++)
		sessions += check_name(notes, dev, i, &files, &seen_files);
	stage_note("seed %llu: %u calls, %u incoming sessions with %u files",
		   notes->seed, calls, sessions, files);
	stage_note("%u of %d threads were in a call when the kexec was entered",
		   open_calls, NOTES_THREADS);
}
