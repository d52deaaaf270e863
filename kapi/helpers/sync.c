// SPDX-License-Identifier: GPL-2.0-only
/* CPUs, locks, and references to the module. */

#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/rwsem.h>

/* How many CPUs there are but this one. */
unsigned int lu_other_cpus(void)
{
	return num_online_cpus() - 1;
}

void lu_rwsem_init(struct rw_semaphore *sem)
{
	init_rwsem(sem);
}

bool lu_module_get(void)
{
	return try_module_get(THIS_MODULE);
}

void lu_module_put(void)
{
	module_put(THIS_MODULE);
}
