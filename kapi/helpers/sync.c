// SPDX-License-Identifier: GPL-2.0-only
/* CPUs, tasks, locks, and references to the module. */

#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>

/**
 * lu_other_cpus() - Count the CPUs that are online, less one.
 *
 * Context: Any context.
 */
unsigned int lu_other_cpus(void)
{
	return num_online_cpus() - 1;
}

/**
 * lu_fatal_signal_pending() - See fatal_signal_pending().
 *
 * Context: Any context.
 */
bool lu_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/**
 * lu_process_name() - Copy the name of the current process, that of its first thread.
 * @name: Memory for TASK_COMM_LEN bytes, of which the last becomes NUL.
 *
 * Context: Process context.
 */
void lu_process_name(char *name)
{
	strscpy_pad(name, current->group_leader->comm, TASK_COMM_LEN);
}

/**
 * lu_rwsem_init() - See init_rwsem().
 * @sem: Memory for a semaphore, which does not move afterwards.
 *
 * Context: Any context.
 */
void lu_rwsem_init(struct rw_semaphore *sem)
{
	init_rwsem(sem);
}

/**
 * lu_module_get() - See try_module_get().
 *
 * Context: Any context.
 * Return: Whether this module has one reference more, for lu_module_put().
 */
bool lu_module_get(void)
{
	return try_module_get(THIS_MODULE);
}

/**
 * lu_module_put() - See module_put().
 *
 * Context: Any context. The caller owns a reference of lu_module_get(), and returns to code
 * that stays when the module is unloaded, or owns another reference.
 */
void lu_module_put(void)
{
	module_put(THIS_MODULE);
}

/**
 * lu_other_module_get() - See try_module_get().
 * @module: Module that is not freed during the call.
 *
 * Context: Any context.
 * Return: Whether @module has one reference more, for lu_other_module_put().
 */
bool lu_other_module_get(struct module *module)
{
	return try_module_get(module);
}

/**
 * lu_other_module_get_more() - See __module_get().
 * @module: Module to which the caller has a reference.
 *
 * Context: Any context.
 */
void lu_other_module_get_more(struct module *module)
{
	__module_get(module);
}

/**
 * lu_other_module_put() - See module_put().
 * @module: Module to which the caller gives up a reference.
 *
 * Context: Any context.
 */
void lu_other_module_put(struct module *module)
{
	module_put(module);
}

/**
 * lu_other_module_is_loading() - Ask whether a module is being initialized.
 * @module: Module that is not freed during the call.
 *
 * Context: Any context.
 * Return: Whether the kernel frees @module if its initialization fails.
 */
bool lu_other_module_is_loading(struct module *module)
{
	return module->state == MODULE_STATE_COMING;
}
