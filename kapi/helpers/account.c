// SPDX-License-Identifier: GPL-2.0-only
/* Memory cgroups that are charged, and limits for pinned memory. */

#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/page_counter.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

/**
 * lu_memcg_of_current() - Get the memory cgroup of the current task.
 *
 * Context: Process context.
 * Return: A reference for lu_memcg_put(), or NULL if there are no memory cgroups.
 */
struct mem_cgroup *lu_memcg_of_current(void)
{
	return get_mem_cgroup_from_mm(current->mm);
}

/**
 * lu_memcg_get() - See css_get().
 * @memcg: Memory cgroup to which the caller has a reference.
 *
 * Context: Any context.
 */
void lu_memcg_get(struct mem_cgroup *memcg)
{
#ifdef CONFIG_MEMCG
	css_get(&memcg->css);
#endif
}

/**
 * lu_memcg_put() - See mem_cgroup_put().
 * @memcg: Memory cgroup to which the caller gives up a reference.
 *
 * Context: Any context.
 */
void lu_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

/**
 * lu_memcg_headroom() - Count the pages that can be charged without reclaim.
 * @memcg: Memory cgroup to which the caller has a reference.
 *
 * Neither @memcg nor one of its ancestors has to reclaim, or to slow down the task that
 * charges, for that many pages. It is a snapshot: other tasks may charge them first.
 *
 * Context: Any context.
 * Return: The number of pages; ULONG_MAX if there is no limit.
 */
unsigned long lu_memcg_headroom(struct mem_cgroup *memcg)
{
	unsigned long headroom = ULONG_MAX;
#ifdef CONFIG_MEMCG
	for (; memcg; memcg = parent_mem_cgroup(memcg)) {
		const struct page_counter *memory = &memcg->memory;
		unsigned long limit =
			min(READ_ONCE(memory->max), READ_ONCE(memory->high));
		unsigned long used = page_counter_read(&memcg->memory);

		headroom = min(headroom, limit - min(used, limit));
#ifdef CONFIG_MEMCG_V1
		/* Version 1 has a limit for memory and swap together. */
		if (!cgroup_subsys_on_dfl(memory_cgrp_subsys)) {
			limit = READ_ONCE(memcg->memsw.max);
			used = page_counter_read(&memcg->memsw);
			headroom = min(headroom, limit - min(used, limit));
		}
#endif
	}
#endif
	return headroom;
}

/**
 * lu_memcg_charge_folios() - Charge folios to the active memory cgroup.
 * @folios: Folios that are not charged yet.
 * @nr: Size of @folios.
 * @gfp: How memory may be reclaimed.
 * @err: Set to the error that stopped it, or 0.
 *
 * See mem_cgroup_charge_folios(). It charges all folios or none, so it is only used
 * while nothing has to be reclaimed. After that, each folio reclaims only what it
 * needs itself.
 *
 * Context: Process context. May sleep, if @gfp allows it.
 * Return: N: the first N of @folios are charged. If N is less than @nr, @err is -ENOMEM.
 */
unsigned int lu_memcg_charge_folios(struct folio **folios, unsigned int nr,
				    gfp_t gfp, int *err)
{
	unsigned int charged = 0;

	*err = 0;
#ifdef mem_cgroup_charge_folios
	charged = mem_cgroup_charge_folios(folios, nr, NULL,
					   gfp & ~__GFP_DIRECT_RECLAIM);
#endif
	for (; charged < nr; charged++) {
		*err = mem_cgroup_charge(folios[charged], NULL, gfp);
		if (*err)
			break;
	}
	return charged;
}

/**
 * lu_ram_pages() - Count the pages of the machine.
 *
 * Context: Any context.
 */
unsigned long lu_ram_pages(void)
{
	return totalram_pages();
}

/**
 * lu_user_of_current() - Get the user whose pinned memory is limited.
 *
 * Context: Process context.
 * Return: A reference to the user of the current task, for lu_user_put(), or NULL if the
 * task has CAP_IPC_LOCK.
 */
struct user_struct *lu_user_of_current(void)
{
	return capable(CAP_IPC_LOCK) ? NULL : get_uid(current_user());
}

/**
 * lu_user_get() - See get_uid().
 * @user: User to which the caller has a reference.
 *
 * Context: Any context.
 */
void lu_user_get(struct user_struct *user)
{
	get_uid(user);
}

/**
 * lu_user_put() - See free_uid().
 * @user: User to which the caller gives up a reference.
 *
 * Context: Any context.
 */
void lu_user_put(struct user_struct *user)
{
	free_uid(user);
}

/**
 * lu_locked_vm_try_add() - Account pinned pages, within RLIMIT_MEMLOCK.
 * @user: User to which the caller has a reference.
 * @pages: Number of pages.
 *
 * It is the account that io_uring and others use too.
 *
 * Context: Process context.
 * Return: False, with nothing accounted, if the limit of the current task is too low.
 */
bool lu_locked_vm_try_add(struct user_struct *user, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long now = atomic_long_read(&user->locked_vm);

	do {
		if (now + pages > limit)
			return false;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &now, now + pages));
	return true;
}

/**
 * lu_locked_vm_add() - Account pinned pages, whatever the limit.
 * @user: User to which the caller has a reference.
 * @pages: Number of pages.
 *
 * Context: Any context.
 */
void lu_locked_vm_add(struct user_struct *user, unsigned long pages)
{
	atomic_long_add(pages, &user->locked_vm);
}

/**
 * lu_locked_vm_sub() - Take pages off the account.
 * @user: User to which the caller has a reference.
 * @pages: Number of pages that were accounted.
 *
 * Context: Any context.
 */
void lu_locked_vm_sub(struct user_struct *user, unsigned long pages)
{
	atomic_long_sub(pages, &user->locked_vm);
}
