// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the list of sessions in debugfs says across a kexec: a session of the previous
 * kernel is pending before anybody has opened the device, retrieved, finished, and
 * gone after its file is closed. An outgoing session stays beside it.
 *
 * memory: 1G
 * timeout: 120
 */
#include "lib/debugfs_lists.h"
#include "lib/stages.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define FILES 3

static void preserve(struct stage_ctx *ctx)
{
	static const char *const names[] = { "list-a", "list b", "list-c" };
	int i, file, session;

	ctx->dev = need_fd(luo_open(), "open the device");
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		session = need_fd(luo_create(ctx->dev, names[i]),
				  "create_session");
		for (file = 0; file < FILES; file++) {
			int fd = need_memfd(0, 2 * LUO_PAGE, file);

			need_preserve(session, fd, file);
			close(fd);
		}
	}
	/* The daemon keeps the sessions open, but the device is not needed. */
	close(ctx->dev);
	ctx->dev = -1;
}

static void expect_row(const char *name, const char *state, struct list_row *row)
{
	memset(row, 0, sizeof(*row));
	need_eq(list_find(list_text(LIST_SESSIONS), name, "incoming", row), 1,
		"lines of incoming session %s", name);
	if (!expect_eq(strcmp(row->state, state), 0, "state of %s", name))
		stage_note("expected: %s, seen: %s", state, row->state);
	expect_eq(row->files, FILES, "files of %s", name);
	expect_eq(row->pages, -1, "pages of %s, which are not known", name);
}

static void expect_gone(const char *name)
{
	struct list_row row;

	expect_eq(list_find(list_text(LIST_SESSIONS), name, "incoming", &row), 0,
		  "lines of incoming session %s, which is finished", name);
}

static void look(struct stage_ctx *ctx)
{
	struct list_row row;
	int a, b, c, out;

	/* Nobody has opened the device. */
	expect_row("list-a", "pending", &row);
	expect_eq(row.pid, -1, "pid of a session that nobody has");
	expect_row("list\\x20b", "pending", &row);

	ctx->dev = need_fd(luo_open(), "open the device");
	a = need_fd(luo_retrieve(ctx->dev, "list-a"), "retrieve_session");
	expect_row("list-a", "retrieved", &row);
	expect_eq(row.pid, getpid(), "pid of the session");
	expect_range(row.age, 0, 60, "age of the session");
	expect_row("list\\x20b", "pending", &row);
	close(need_retrieve(a, 1));
	expect_row("list-a", "retrieved", &row);

	/* A session of the other direction may have the same name. */
	out = need_fd(luo_create(ctx->dev, "list-a"), "create_session");
	need_eq(list_find(list_text(LIST_SESSIONS), "list-a", "outgoing", &row), 1,
		"lines of the outgoing session");
	expect_eq(row.files, 0, "files of the outgoing session");
	expect_row("list-a", "retrieved", &row);
	close(out);

	expect_eq(luo_finish(a), 0, "finish");
	expect_row("list-a", "finished", &row);
	close(a);
	expect_gone("list-a");

	/* Closing is finishing. */
	b = need_fd(luo_retrieve(ctx->dev, "list b"), "retrieve_session");
	expect_row("list\\x20b", "retrieved", &row);
	close(b);
	expect_gone("list\\x20b");
	expect_row("list-c", "pending", &row);
	c = need_fd(luo_retrieve(ctx->dev, "list-c"), "retrieve_session");
	close(c);
	expect_gone("list-c");
	expect_eq(strcmp(list_text(LIST_SESSIONS), SESSIONS_HEADER "\n"), 0,
		  "only the header is left");
	close(ctx->dev);
	ctx->dev = -1;
}

static const struct stage_case cases[] = { { "list", true, { preserve, look } },
					   {} };

static const struct stage_program program = {
	.name = "kexec_debugfs",
	.stages = 2,
	.no_device = true,
	.cases = cases,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &program);
}
