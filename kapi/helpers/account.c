// SPDX-License-Identifier: GPL-2.0-only
/* Who is charged for memory, and who may pin how much. */

#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/page_counter.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

struct mem_cgroup *lu_memcg_get(void)
{
	return get_mem_cgroup_from_mm(current->mm);
}

void lu_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

/*
 * How many pages can be charged to @memcg before it, or one of those that it is
 * part of, has to reclaim some, or to slow down who asks. It is a look at numbers
 * that change: others may take what it says there is.
 */
unsigned long lu_memcg_room(struct mem_cgroup *memcg)
{
	unsigned long room = ULONG_MAX;
#ifdef CONFIG_MEMCG
	for (; memcg; memcg = parent_mem_cgroup(memcg)) {
		const struct page_counter *memory = &memcg->memory;
		unsigned long most = min(READ_ONCE(memory->max), READ_ONCE(memory->high));
		unsigned long used = page_counter_read(&memcg->memory);

		room = min(room, most - min(used, most));
#ifdef CONFIG_MEMCG_V1
		/* Version 1 has a limit for memory and swap together. */
		if (!cgroup_subsys_on_dfl(memory_cgrp_subsys)) {
			most = READ_ONCE(memcg->memsw.max);
			used = page_counter_read(&memcg->memsw);
			room = min(room, most - min(used, most));
		}
#endif
	}
#endif
	return room;
}

/* Whose pinned memory is limited: the current user, unless it has CAP_IPC_LOCK. */
struct user_struct *lu_memlock_user(void)
{
	return capable(CAP_IPC_LOCK) ? NULL : get_uid(current_user());
}

/* The same account as that of io_uring and others that pin for a user. */
bool lu_memlock_add(struct user_struct *user, unsigned long pages)
{
	unsigned long most = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long now = atomic_long_read(&user->locked_vm);

	do {
		if (now + pages > most)
			return false;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &now, now + pages));
	return true;
}

void lu_memlock_add_anyway(struct user_struct *user, unsigned long pages)
{
	atomic_long_add(pages, &user->locked_vm);
}

void lu_memlock_put(struct user_struct *user, unsigned long pages)
{
	atomic_long_sub(pages, &user->locked_vm);
	free_uid(user);
}
