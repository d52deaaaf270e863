/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What liveupdate.ko offers to handlers beyond <linux/liveupdate.h>: files of a session
 * that depend on each other. Linux 7.4 has the last two functions; the first stands for
 * the member "session" that its callback arguments have.
 */
#ifndef LIVEUPDATE_EXT_H
#define LIVEUPDATE_EXT_H

#include <linux/liveupdate.h>

struct file;
struct liveupdate_file_op_args;
struct liveupdate_session;

/**
 * liveupdate_ext_session() - Get the session of the file that a callback is called for.
 * @args: What the callback got from liveupdate.ko.
 *
 * Ours: in Linux 7.4 this is @args->session.
 *
 * Context: In preserve, freeze and retrieve of a handler, until the callback returns.
 * Return: The session, which is valid as long as @args; NULL in other callbacks.
 */
struct liveupdate_session *
liveupdate_ext_session(const struct liveupdate_file_op_args *args);

/**
 * liveupdate_get_token_outgoing() - Find out under which token a file is preserved.
 * @session: The session of a file that is being preserved or frozen.
 * @file: An open file, not that of the callback.
 * @tokenp: Where the token is written.
 *
 * Context: Process context; sleeps. As long as @session is valid.
 * Return: 0, -ENOENT if @session does not have @file, -EINVAL if this is no outgoing
 * session.
 */
int liveupdate_get_token_outgoing(struct liveupdate_session *session,
				  struct file *file, u64 *tokenp);

/**
 * liveupdate_get_file_incoming() - Get a file that another file of the session needs.
 * @session: The session of a file that is being retrieved.
 * @token: Token of the file that is wanted.
 * @filep: Where the file is written. The caller has a reference, for fput().
 *
 * The file is retrieved first, unless it was. An error of its handler is final for it,
 * as if a user had asked. The caller decides what becomes of its own file.
 *
 * Context: Process context; sleeps. As long as @session is valid.
 * Return: 0, -ENOENT if there is no such token, -ELOOP if retrieving that file needs the
 * file of this callback or if too many files need each other, -EINVAL if this is no
 * incoming session, or the error of retrieving the file.
 */
int liveupdate_get_file_incoming(struct liveupdate_session *session, u64 token,
				 struct file **filep);

#endif /* LIVEUPDATE_EXT_H */
