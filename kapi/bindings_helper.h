/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C that the module uses beyond what the kernel crate binds: bindgen reads
 * this file, and helpers.c, with the files that it includes, defines what is
 * declared here. Only these know kernel versions.
 */

#ifndef _LIVEUPDATE_BINDINGS_HELPER_H
#define _LIVEUPDATE_BINDINGS_HELPER_H

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/block.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memfd.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/pagemap.h>
#include <linux/rwsem.h>
#include <linux/sched/user.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>
#include <uapi/linux/liveupdate.h>
#include <uapi/linux/memfd.h>

/* Layouts that bindgen cannot express: packed, with an aligned part. */
enum {
	LU_SIZEOF_MEMFD = sizeof(struct memfd_luo_ser),
	LU_SIZEOF_FOLIO = sizeof(struct memfd_luo_folio_ser),
	LU_SIZEOF_VMALLOC = sizeof(struct kho_vmalloc),
	LU_OFFSETOF_MEMFD_POS = offsetof(struct memfd_luo_ser, pos),
	LU_OFFSETOF_MEMFD_SIZE = offsetof(struct memfd_luo_ser, size),
	LU_OFFSETOF_MEMFD_SEALS = offsetof(struct memfd_luo_ser, seals),
	LU_OFFSETOF_MEMFD_NR_FOLIOS = offsetof(struct memfd_luo_ser, nr_folios),
	LU_OFFSETOF_MEMFD_FOLIOS = offsetof(struct memfd_luo_ser, folios),
	LU_OFFSETOF_VMALLOC_ORDER = offsetof(struct kho_vmalloc, order),
	LU_OFFSETOF_FOLIO_INDEX = offsetof(struct memfd_luo_folio_ser, index),
	LU_VMALLOC_PARTS = KHO_VMALLOC_SIZE,
	LU_MEMFD_ALL_SEALS = MEMFD_LUO_ALL_SEALS,
	LU_FOLIO_DIRTY = MEMFD_LUO_FOLIO_DIRTY,
	LU_FOLIO_UPTODATE = MEMFD_LUO_FOLIO_UPTODATE,
	LU_NO_ORDER = 0xff,
};

/* CPUs, macros with an initializer, and locks that are inline functions. */
unsigned int lu_other_cpus(void);
void lu_rwsem_init(struct rw_semaphore *sem);
bool lu_module_get(void);
void lu_module_put(void);
void lu_inode_lock(struct inode *inode);
void lu_inode_unlock(struct inode *inode);

/* Memory that was or will be handed over. */
phys_addr_t lu_virt_to_phys(void *virt);
void *lu_kho_alloc(bool charge);
int lu_kho_order(phys_addr_t phys);
int lu_kho_peek(phys_addr_t phys, void *to, size_t len);
int lu_kho_poke(phys_addr_t phys, const void *from, size_t len);
void lu_kho_orders(const u64 *pfns, unsigned int nr, u64 root, u8 *orders);
unsigned int lu_kho_claim_folios(const u64 *pfns, const u8 *orders, unsigned int nr,
				 struct folio **folios);
void lu_put_folios(struct folio **folios, unsigned int nr);
void *lu_kho_claim_pages(phys_addr_t phys, unsigned int order);
void lu_free_pages(void *virt, unsigned int order);

/* Who is charged. */
struct mem_cgroup *lu_memcg_get(void);
void lu_memcg_put(struct mem_cgroup *memcg);
unsigned long lu_memcg_room(struct mem_cgroup *memcg);

/* Pinned memory of a user. */
struct user_struct *lu_memlock_user(void);
bool lu_memlock_add(struct user_struct *user, unsigned long pages);
void lu_memlock_add_anyway(struct user_struct *user, unsigned long pages);
void lu_memlock_put(struct user_struct *user, unsigned long pages);

/* Files. */
struct inode *lu_file_inode(struct file *file);
u32 lu_chrdev(struct file *file);
int lu_file_pin_module(struct file *file);
loff_t lu_file_pos(struct file *file);

/* Files of shmem: memfds, and tmpfs files without a name. */
bool lu_shmem_is_nameless(struct file *file);
void lu_shmem_freeze(struct inode *inode, bool freeze);
loff_t lu_shmem_size(struct inode *inode);
unsigned long lu_shmem_pages(struct inode *inode);
unsigned long lu_shmem_next_run(struct inode *inode, pgoff_t *start, pgoff_t end,
				unsigned long most);
long lu_shmem_pin(struct file *file, loff_t start, loff_t end, struct folio **folios,
		  unsigned int max);
void lu_shmem_set(struct file *file, loff_t size, loff_t pos);
unsigned int lu_shmem_max_order(void);
unsigned int lu_shmem_insert(struct inode *inode, struct mem_cgroup *memcg,
			     struct folio **folios, unsigned int nr,
			     unsigned long pages, pgoff_t index, u64 flags, int *err);
void lu_shmem_settle(struct inode *inode, long pages);

/* Folios of such a file that are pinned. */
unsigned int lu_preserve_pinned(struct folio **folios, unsigned int nr,
				void *to, u64 *pages, int *err);
unsigned long lu_memory_failures(void);
bool lu_any_poisoned(const void *from, unsigned int nr);
void lu_unpreserve_pinned(const void *from, unsigned int nr);
pgoff_t lu_folio_end(struct folio *folio);
unsigned long lu_pfn_nr_pages(unsigned long pfn);

#endif
