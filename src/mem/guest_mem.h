/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory: one mapping of the host, shown to the guest as a few regions around the holes
 * of its address space. It is ours, or that of another monitor, which shares files with us.
 *
 * Guest memory is shared with a guest that writes to it at any time, and runs strangers' code. So it
 * is reached through guest_mem_slice() alone, and a value in it is read once, into a local, before
 * it is looked at.
 *
 * Threads: guest_mem_slice() and guest_mem_mark_dirty() may be called by any; the others by the one
 * that owns the machine.
 */
#ifndef SQUIB_MEM_GUEST_MEM_H
#define SQUIB_MEM_GUEST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <squib/config.h>

#include "base/fault.h"
#include "base/util.h"

typedef uint64_t gpa_t;		/* a guest physical address */

#define GUEST_PAGE_BYTES	4096u
#define GUEST_REGIONS_MAX	4u
#define GUEST_FILES_MAX		8u

struct guest_region {
	gpa_t start;
	uint64_t size_bytes;
};

struct guest_mem_params {
	/* Ascending, not overlapping, not empty, in whole pages (2 MiB ones with SQUIB_HUGE_PAGES_2M). */
	const struct guest_region *regions;
	size_t region_count;		/* 1 to GUEST_REGIONS_MAX */
	enum squib_huge_pages huge_pages;
	bool shared;			/* can be mapped by other processes, see guest_mem_fd() */
	bool track_dirty;
};

struct guest_mem;

/**
 * guest_mem_new() - map the memory, zeroed, without reserving it
 *
 * Each page costs the host memory once it is touched. The mapping begins at a multiple of 2 MiB, as
 * each region should, so that the host can use huge pages for both sides. With SQUIB_HUGE_PAGES_2M
 * the pages are taken from the host's pool now, or it fails.
 *
 * Return: 0, or -errno with @fault "Cannot create mmap region: ‹io›".
 */
int guest_mem_new(const struct guest_mem_params *params, struct guest_mem **ret_mem,
		  struct fault *fault);

/* A region whose memory is @fd's from @offset on. */
struct guest_file {
	struct guest_region region;
	int fd;			/* not kept */
	uint64_t offset;
};

/**
 * guest_mem_map() - map memory that another monitor made
 * @files: whatever that monitor said; in any order
 * @count: 1 to GUEST_FILES_MAX
 *
 * Files must be sealed against shrinking, as QEMU's memory-backend-memfd is, so that what is mapped
 * stays there. Dirty pages are not tracked.
 *
 * Return: 0; -EINVAL when a region is empty, not in whole pages, wraps, overlaps another or is not
 * all in its file; -EPERM when a file can shrink; another -errno of the host.
 */
int guest_mem_map(const struct guest_file *files, size_t count, struct guest_mem **ret_mem);

void guest_mem_free(struct guest_mem *mem);	/* accepts NULL */
DEFINE_CLEANUP(struct guest_mem *, guest_mem_free)

/**
 * guest_mem_slice() - @len bytes of guest memory at @gpa
 * @ret_data: written on success only; valid as long as @mem
 *
 * Return: 0; -EINVAL when @len is 0; -EFAULT when not all of it lies in one region.
 */
int guest_mem_slice(const struct guest_mem *mem, gpa_t gpa, size_t len, void **ret_data);

/** guest_mem_contains() - would guest_mem_slice() succeed? */
bool guest_mem_contains(const struct guest_mem *mem, gpa_t gpa, size_t len);

/**
 * guest_mem_mark_dirty() - we, not the guest, wrote to @len bytes at @data
 * @data: from a slice
 *
 * What the guest writes, KVM tells. Does nothing without track_dirty.
 */
void guest_mem_mark_dirty(const struct guest_mem *mem, const void *data, size_t len);

/**
 * guest_mem_take_dirty() - which pages of region @index did we write to?
 * @bitmap: one bit a page, the first in bit 0 of the first word; bits are added to it
 *
 * They are clean from then on. @bitmap has room for all pages of the region.
 */
void guest_mem_take_dirty(struct guest_mem *mem, size_t index, uint64_t *bitmap);

size_t guest_mem_region_count(const struct guest_mem *mem);
const struct guest_region *guest_mem_region(const struct guest_mem *mem, size_t index);
void *guest_mem_region_data(const struct guest_mem *mem, size_t index);	/* page-aligned */
/** guest_mem_fd() - the file that shared memory is, with all regions; the memory's. -1: not shared */
int guest_mem_fd(const struct guest_mem *mem);
uint64_t guest_mem_region_offset(const struct guest_mem *mem, size_t index);	/* in the file */
uint64_t guest_mem_size(const struct guest_mem *mem);	/* bytes in all regions */

#endif
