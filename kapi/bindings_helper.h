/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C that the module uses beyond what the kernel crate binds. bindgen reads this
 * file. helpers.c, with the files that it includes, and mm/ define what is declared
 * here; each definition says what its callers must ensure. Only C knows kernel
 * versions.
 */

#ifndef _LIVEUPDATE_BINDINGS_HELPER_H
#define _LIVEUPDATE_BINDINGS_HELPER_H

#include <linux/anon_inodes.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/block.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memfd.h>
/* Without this, the header declares nothing: the module exports what it declares. */
#ifndef CONFIG_LIVEUPDATE
#define CONFIG_LIVEUPDATE 1
#endif
#include <linux/liveupdate.h>
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
#include "../include/liveupdate_ext.h"

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
	LU_SIZEOF_PAGE = sizeof(struct page),
	LU_OFFSETOF_PAGE_PRIVATE = offsetof(struct page, private),
	LU_MAX_PAGE_ORDER = MAX_PAGE_ORDER,
	LU_TASK_COMM_LEN = TASK_COMM_LEN,
	LU_MODULE_NAME_LEN = MODULE_NAME_LEN,
};

/* A folio that is preserved: its first frame, and where it begins in its file, in pages. */
struct lu_frame {
	u64 pfn;
	u64 index;
};

/* helpers/sync.c */
unsigned int lu_other_cpus(void);
bool lu_fatal_signal_pending(void);
void lu_rwsem_init(struct rw_semaphore *sem);
bool lu_module_get(void);
void lu_module_put(void);
bool lu_other_module_get(struct module *module);
void lu_other_module_get_more(struct module *module);
void lu_other_module_put(struct module *module);
bool lu_other_module_is_loading(struct module *module);
void lu_process_name(char *name);

/* helpers/kho.c */
phys_addr_t lu_virt_to_phys(void *virt);
void *lu_phys_to_virt(phys_addr_t phys);
struct page *lu_pfn_to_online_page(unsigned long pfn);
void *lu_alloc_preserved(bool charge);
unsigned int lu_restore_folios(const phys_addr_t *phys, struct folio **folios,
			       unsigned int nr);
void *lu_page_address(struct page *page);
struct folio *lu_virt_to_folio(void *virt);
void lu_free_page(void *virt);
void lu_release_folios(struct folio **folios, unsigned int nr);
pgoff_t lu_folio_start(struct folio *folio);
pgoff_t lu_folio_end(struct folio *folio);
bool lu_pfn_poisoned(unsigned long pfn);
bool lu_image_hands_over(const void *image);

/* helpers/account.c */
struct mem_cgroup *lu_memcg_of_current(void);
void lu_memcg_get(struct mem_cgroup *memcg);
void lu_memcg_put(struct mem_cgroup *memcg);
unsigned long lu_memcg_headroom(struct mem_cgroup *memcg);
unsigned int lu_memcg_charge_folios(struct folio **folios, unsigned int nr,
				    gfp_t gfp, int *err);
unsigned long lu_ram_pages(void);
struct user_struct *lu_user_of_current(void);
void lu_user_get(struct user_struct *user);
void lu_user_put(struct user_struct *user);
bool lu_locked_vm_try_add(struct user_struct *user, unsigned long pages);
void lu_locked_vm_add(struct user_struct *user, unsigned long pages);
void lu_locked_vm_sub(struct user_struct *user, unsigned long pages);

/* helpers/debugfs.c */
struct dentry *lu_debugfs_create_dir(const char *name);
void lu_debugfs_create_file(const char *name, struct dentry *dir, void *data,
			    const struct file_operations *fops);
void lu_debugfs_remove(struct dentry *dir);

/* helpers/file.c */
struct inode *lu_file_inode(struct file *file);
u32 lu_chrdev(struct file *file);
int lu_file_pin_module(struct file *file);
loff_t lu_file_pos(struct file *file);
void lu_inode_lock(struct inode *inode);
int lu_inode_lock_killable(struct inode *inode);
void lu_inode_unlock(struct inode *inode);

/* helpers/shmem.c */
bool lu_shmem_is_nameless(struct file *file);
bool lu_shmem_try_freeze(struct inode *inode);
void lu_shmem_thaw(struct inode *inode);
loff_t lu_file_size(struct inode *inode);
void lu_file_set(struct file *file, loff_t size, loff_t pos);
unsigned int lu_max_folio_order(void);
unsigned int lu_max_incoming_order(void);

/* mm/pin.c */
unsigned long lu_memory_failures(void);
unsigned long lu_swap_writes(void);
unsigned long lu_shmem_pages(struct inode *inode);
unsigned long lu_shmem_pages_past(struct inode *inode, pgoff_t start);
bool lu_shmem_is_dense(struct inode *inode, unsigned long pages);
unsigned long lu_shmem_next_run(struct inode *inode, pgoff_t *start,
				pgoff_t end, unsigned long max);
long lu_pin_folios(struct file *file, loff_t start, loff_t end,
		   struct folio **folios, unsigned int max);

/* mm/preserve.c */
unsigned int lu_preserve_folios(struct folio **folios, unsigned int nr,
				struct lu_frame *frames, unsigned long *pages,
				int *err);
void lu_unpreserve_folios(const u64 *pfns, unsigned int nr);

/* mm/insert.c */
unsigned int lu_insert_folios(struct inode *inode, struct mem_cgroup *memcg,
			      struct folio **folios, unsigned int nr,
			      pgoff_t index, bool uptodate, int *err);

#endif
