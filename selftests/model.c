// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every call must answer, and what it changes; see model.h. This is the
 * contract, and knows nothing of how the calls are made.
 */
#include "model.h"
#include "pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

const int step_seals[5] = {
	F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL,
};

#define AGAINST_WRITING	(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

static struct answer err(int answer)
{
	return (struct answer){ .err = answer };
}

/* Both are right. */
static struct answer either(int answer, int also)
{
	return (struct answer){ .err = answer, .also = also };
}

/* Things that are counted; the last reference has consequences. */

static void put_file(struct model *m, unsigned int index)
{
	struct model_file *file = &m->files[index];

	if (!--file->refs)
		m->inodes[file->inode].refs--;
}

static int new_file(struct model *m, unsigned int pages, __u32 seed)
{
	unsigned int file, inode, i;

	for (file = 0; m->files[file].refs; file++)
		;
	for (inode = 0; m->inodes[inode].refs; inode++)
		;
	m->files[file] = (struct model_file){ .refs = 1, .inode = inode };
	memset(&m->inodes[inode], 0, sizeof(m->inodes[inode]));
	m->inodes[inode].refs = 1;
	m->inodes[inode].pages = pages;
	m->inodes[inode].seals = memfd_is_sealable(seed) ? 0 : F_SEAL_SEAL;
	for (i = 0; i < pages; i++) {
		if (memfd_has_page(seed, i)) {
			m->inodes[inode].page[i].seed = seed;
			m->inodes[inode].page[i].present = true;
		}
	}
	return file;
}

/* Everything in it is let go; for an incoming one this is what finish does. */
static void empty_session(struct model *m, struct model_session *session)
{
	unsigned int i;

	for (i = 0; i < MODEL_TOKENS; i++) {
		struct model_inode *inode;

		session->pending[i] = 0;
		if (!session->file[i])
			continue;
		inode = &m->inodes[m->files[session->file[i] - 1].inode];
		inode->busy = false;
		inode->frozen = false;
		inode->pinned = false;
		put_file(m, session->file[i] - 1);
		session->file[i] = 0;
	}
}

static void drop(struct model *m, struct model_fd *fd)
{
	struct model_session *session = &m->sessions[fd->object];

	switch (fd->kind) {
	case KIND_DEVICE:
		m->device_refs--;
		break;
	case KIND_OUTGOING:
	case KIND_INCOMING:
		if (--session->refs)
			break;
		empty_session(m, session);
		session->incoming = INCOMING_GONE;
		break;
	case KIND_MEMFD:
		put_file(m, fd->object);
		break;
	}
	fd->kind = KIND_NONE;
}

static void take(struct model *m, const struct model_fd *fd)
{
	switch (fd->kind) {
	case KIND_DEVICE:
		m->device_refs++;
		break;
	case KIND_OUTGOING:
	case KIND_INCOMING:
		m->sessions[fd->object].refs++;
		break;
	case KIND_MEMFD:
		m->files[fd->object].refs++;
		break;
	}
}

/* The new one is there before the old one goes. */
static void install(struct model *m, const struct step *step, unsigned int kind,
		    unsigned int object)
{
	struct model_fd *fd = &m->fds[step->proc][step->to];

	drop(m, fd);
	fd->kind = kind;
	fd->object = object;
}

/* What is told before anything is looked up; 0: all is well so far. */
static int early(const struct step *step)
{
	bool reserved = step->op == STEP_FINISH || step->op == STEP_GET_NAME;

	switch (step->flavour) {
	case FLAVOUR_SMALL:
		return -EINVAL;
	case FLAVOUR_NOISE:
		return -E2BIG;
	case FLAVOUR_NULL:
		return -EFAULT;
	case FLAVOUR_RESERVED:
		return reserved ? -EINVAL : 0;
	}
	return 0;
}

/* An error, if the answer could not have been written either. */
static struct answer refuse(const struct step *step, int why)
{
	return either(why, step->flavour == FLAVOUR_READONLY ? -EFAULT : 0);
}

static bool is_session(unsigned int kind)
{
	return kind == KIND_OUTGOING || kind == KIND_INCOMING;
}

/* An ioctl on something that does not have it, or with a bad argument. */
static bool misdirected(const struct step *step, unsigned int kind, unsigned int right,
			struct answer *answer)
{
	int why = early(step);

	if (kind == KIND_NONE)
		*answer = err(-EBADF);
	else if (kind == KIND_MEMFD || kind == KIND_NULL)
		*answer = err(-ENOTTY);
	else if (is_session(kind) != is_session(right))
		*answer = err(-EINVAL);
	else if (kind != right)
		*answer = either(-EINVAL, why ?: step->flavour == FLAVOUR_READONLY ? -EFAULT : 0);
	else if (why)
		*answer = err(why);
	else
		return false;
	return true;
}

static struct answer create(struct model *m, const struct step *step)
{
	struct model_session *s;
	int i, empty = -1;

	if (step->arg >= MODEL_NAMES)
		return refuse(step, -EINVAL);
	for (i = MODEL_INCOMING; i < MODEL_SESSIONS; i++) {
		s = &m->sessions[i];
		if (s->refs && s->name == step->arg)
			return refuse(step, -EEXIST);
		if (!s->refs)
			empty = i;
	}
	if (step->flavour == FLAVOUR_READONLY)
		return err(-EFAULT);
	m->sessions[empty] = (struct model_session){ .refs = 1, .name = step->arg };
	install(m, step, KIND_OUTGOING, empty);
	return err(0);
}

static struct answer retrieve(struct model *m, const struct step *step)
{
	struct model_session *s = &m->sessions[step->arg];

	if (step->arg >= MODEL_NAMES)
		return refuse(step, -ENOENT);
	if (step->arg >= MODEL_INCOMING || s->incoming == INCOMING_GONE)
		return refuse(step, -ENOENT);
	if (s->incoming == INCOMING_HELD)
		return refuse(step, -EINVAL);
	if (step->flavour == FLAVOUR_READONLY)
		return err(-EFAULT);
	s->incoming = INCOMING_HELD;
	s->refs = 1;
	install(m, step, KIND_INCOMING, step->arg);
	return err(0);
}

static struct answer preserve(struct model *m, struct model_session *s, const struct step *step)
{
	const struct model_fd *fd = &m->fds[step->proc][step->to];
	struct model_inode *inode;
	unsigned int i;

	if (s->file[step->arg])
		return refuse(step, -EEXIST);
	if (fd->kind == KIND_NONE)
		return refuse(step, -EBADF);
	if (fd->kind != KIND_MEMFD)
		return refuse(step, -ENOENT);
	inode = &m->inodes[m->files[fd->object].inode];
	if (inode->busy)
		return refuse(step, -EBUSY);
	if (step->flavour == FLAVOUR_READONLY)
		return err(-EFAULT);
	inode->busy = true;
	inode->frozen = true;
	for (i = 0; i < inode->pages; i++)
		inode->pinned |= inode->page[i].present;
	m->files[fd->object].refs++;
	s->file[step->arg] = fd->object + 1;
	return err(0);
}

static struct answer retrieve_fd(struct model *m, const struct model_fd *from,
				 const struct step *step)
{
	struct model_session *s = &m->sessions[from->object];
	unsigned int file;

	if (!s->file[step->arg] && !s->pending[step->arg])
		return refuse(step, -ENOENT);
	if (step->flavour == FLAVOUR_READONLY)
		return err(-EFAULT);
	if (s->pending[step->arg]) {
		file = new_file(m, incoming_pages(from->object, step->arg),
				incoming_seed(from->object, step->arg));
		m->inodes[m->files[file].inode].busy = true;
		s->file[step->arg] = file + 1;
		s->pending[step->arg] = 0;
	}
	file = s->file[step->arg] - 1;
	m->files[file].refs++;
	install(m, step, KIND_MEMFD, file);
	return err(0);
}

static struct answer fdinfo(const struct model *m, const struct model_fd *fd)
{
	const struct model_session *s = &m->sessions[fd->object];
	struct answer answer = {};
	unsigned int i;

	if (fd->kind == KIND_NONE)
		return err(-ENOENT);
	if (!is_session(fd->kind))
		return answer;
	answer.value = fd->kind == KIND_OUTGOING ? 0x100 : 0x200;
	for (i = 0; i < MODEL_TOKENS; i++) {
		if (s->file[i])
			answer.value += 0x11;
		else if (s->pending[i])
			answer.value += 0x01;
	}
	return answer;
}

static struct answer session_ioctl(struct model *m, struct model_fd *fd, const struct step *step)
{
	struct model_session *s = &m->sessions[fd->object];
	unsigned int right = step->op == STEP_PRESERVE ? KIND_OUTGOING : KIND_INCOMING;
	struct answer answer;

	if (step->op == STEP_GET_NAME && is_session(fd->kind))
		right = fd->kind;
	if (misdirected(step, fd->kind, right, &answer))
		return answer;
	if (step->op == STEP_PRESERVE)
		return preserve(m, s, step);
	if (step->op == STEP_RETRIEVE_FD)
		return retrieve_fd(m, fd, step);
	if (step->flavour == FLAVOUR_READONLY)
		return err(-EFAULT);
	if (step->op == STEP_GET_NAME)
		return (struct answer){ .value = s->name };
	empty_session(m, s);
	return err(0);
}

/* Memfds, as mm/shmem.c and mm/memfd.c have it. */

static struct answer look(const struct model *m, const struct model_fd *fd)
{
	const struct model_file *file = &m->files[fd->object];
	const struct model_inode *inode = &m->inodes[file->inode];
	__u64 hash = 0, words[LUO_PAGE / 8];
	unsigned int i, n;

	hash = look_at(hash, inode->pages * LUO_PAGE);
	hash = look_at(hash, file->pos);
	hash = look_at(hash, inode->seals);
	for (i = 0; i < inode->pages; i++) {
		memset(words, 0, sizeof(words));
		for (n = 0; inode->page[i].seed && n < ARRAY_SIZE(words); n++)
			words[n] = pattern_word(inode->page[i].seed, i * ARRAY_SIZE(words) + n);
		if (inode->page[i].stored)
			words[ARRAY_SIZE(words) - 1] = inode->page[i].word;
		hash = look_page(hash, words);
	}
	return (struct answer){ .value = hash };
}

static struct answer truncate_to(struct model_inode *inode, unsigned int pages)
{
	unsigned int i;

	if ((pages < inode->pages && inode->seals & F_SEAL_SHRINK) ||
	    (pages > inode->pages && inode->seals & F_SEAL_GROW) ||
	    (pages != inode->pages && inode->frozen))
		return err(-EPERM);
	for (i = pages; i < MODEL_PAGES; i++)
		memset(&inode->page[i], 0, sizeof(inode->page[i]));
	inode->pages = pages;
	return err(0);
}

static struct answer write_page(struct model_inode *inode, const struct step *step)
{
	bool beyond = step->arg >= inode->pages;

	if (inode->seals & AGAINST_WRITING ||
	    (beyond && (inode->frozen || inode->seals & F_SEAL_GROW)))
		return err(-EPERM);
	if (beyond)
		inode->pages = step->arg + 1;
	inode->page[step->arg].seed = step->seed;
	inode->page[step->arg].present = true;
	inode->page[step->arg].stored = false;
	return err(0);
}

static struct answer store(struct model_inode *inode, const struct step *step)
{
	if (inode->seals & AGAINST_WRITING)
		return err(-EPERM);
	if (step->arg >= inode->pages)
		return err(-EFAULT);
	inode->page[step->arg].word = step->seed;
	inode->page[step->arg].stored = true;
	inode->page[step->arg].present = true;
	return err(0);
}

static struct answer seal(struct model_inode *inode, int seals)
{
	bool writing = seals == F_SEAL_WRITE && !(inode->seals & F_SEAL_WRITE);

	if (inode->seals & F_SEAL_SEAL)
		return err(-EPERM);
	if (writing && inode->frozen && inode->pinned)
		return err(-EBUSY);
	/* Whether holes of a preserved file are pinned is nobody's business. */
	if (writing && inode->frozen && inode->pages)
		return err(STEP_SKIPPED);
	inode->seals |= seals;
	return err(0);
}

static struct answer memfd_call(struct model *m, const struct model_fd *fd,
				const struct step *step)
{
	struct model_file *file = &m->files[fd->object];
	struct model_inode *inode = &m->inodes[file->inode];

	if (fd->kind == KIND_NONE)
		return err(-EBADF);
	if (fd->kind != KIND_MEMFD)
		return err(STEP_SKIPPED);
	switch (step->op) {
	case STEP_TRUNCATE:
		return truncate_to(inode, step->arg);
	case STEP_PUNCH:
		if (inode->frozen || inode->seals & AGAINST_WRITING)
			return err(-EPERM);
		memset(&inode->page[step->arg], 0, sizeof(inode->page[0]));
		return err(0);
	case STEP_WRITE:
		return write_page(inode, step);
	case STEP_MAP:
		return store(inode, step);
	case STEP_SEAL:
		return seal(inode, step_seals[step->arg]);
	case STEP_SEEK:
		file->pos = step->seed;
		return err(0);
	default:
		return look(m, fd);
	}
}

static struct answer send_fd(struct model *m, const struct model_fd *fd, unsigned int proc)
{
	if (fd->kind == KIND_NONE || m->waiting[proc] == MODEL_INBOX)
		return err(STEP_SKIPPED);
	take(m, fd);
	m->inbox[proc][m->waiting[proc]++] = *fd;
	return err(0);
}

static struct answer receive_fd(struct model *m, const struct step *step)
{
	struct model_fd *inbox = m->inbox[step->proc];

	if (!m->waiting[step->proc])
		return err(STEP_SKIPPED);
	install(m, step, inbox[0].kind, inbox[0].object);
	memmove(inbox, inbox + 1, (MODEL_INBOX - 1) * sizeof(*inbox));
	m->waiting[step->proc]--;
	return err(0);
}

static struct answer bad_number(unsigned int kind, unsigned int which)
{
	if (kind == KIND_NONE)
		return err(-EBADF);
	if (kind == KIND_MEMFD || kind == KIND_NULL)
		return err(-ENOTTY);
	/* Outside of the table, or in it and of another direction; see step_perform(). */
	return err(which ? -ENOTTY : -EINVAL);
}

struct answer model_step(struct model *m, const struct step *step)
{
	struct model_fd *fd = &m->fds[step->proc][step->slot];
	struct model_fd *to = &m->fds[step->proc][step->to];
	struct answer answer;
	unsigned int i;

	switch (step->op) {
	case STEP_OPEN:
		if (m->device_refs)
			return err(-EBUSY);
		m->device_refs = 1;
		install(m, step, KIND_DEVICE, 0);
		return err(0);
	case STEP_CREATE:
	case STEP_RETRIEVE:
		if (misdirected(step, fd->kind, KIND_DEVICE, &answer))
			return answer;
		return step->op == STEP_CREATE ? create(m, step) : retrieve(m, step);
	case STEP_PRESERVE:
	case STEP_RETRIEVE_FD:
	case STEP_FINISH:
	case STEP_GET_NAME:
		return session_ioctl(m, fd, step);
	case STEP_BAD_NUMBER:
		return bad_number(fd->kind, step->arg);
	case STEP_FDINFO:
		return fdinfo(m, fd);
	case STEP_CLOSE:
		if (fd->kind == KIND_NONE)
			return err(-EBADF);
		drop(m, fd);
		return err(0);
	case STEP_DUP:
		if (fd->kind == KIND_NONE)
			return err(-EBADF);
		if (fd == to)
			return err(0);
		take(m, fd);
		install(m, step, fd->kind, fd->object);
		return err(0);
	case STEP_SEND:
		return send_fd(m, fd, step->arg);
	case STEP_RECEIVE:
		return receive_fd(m, step);
	case STEP_EXIT:
		for (i = 0; i < MODEL_SLOTS; i++)
			drop(m, &m->fds[step->proc][i]);
		return err(0);
	case STEP_NULL:
		install(m, step, KIND_NULL, 0);
		return err(0);
	case STEP_MEMFD:
		install(m, step, KIND_MEMFD, new_file(m, step->arg, step->seed));
		return err(0);
	default:
		return memfd_call(m, fd, step);
	}
}

void model_init(struct model *m, bool incoming)
{
	unsigned int s, token;

	memset(m, 0, sizeof(*m));
	for (s = 0; incoming && s < MODEL_INCOMING; s++) {
		m->sessions[s].incoming = INCOMING_WAITING;
		m->sessions[s].name = s;
		for (token = 0; token < MODEL_TOKENS; token++)
			m->sessions[s].pending[token] = incoming_pages(s, token) != 0xff;
	}
}
