/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/guest_mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mman.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)
#define PAGES_PER_WORD	64

static_assert(GUEST_FILES_MAX >= GUEST_REGIONS_MAX, "there is room for both kinds");

struct guest_mem {
	uint8_t *data;			/* all regions, one behind the other */
	uint64_t mapped_bytes;		/* of data; with files there are gaps */
	uint64_t size_bytes;
	size_t region_count;
	struct guest_region regions[GUEST_FILES_MAX];
	uint64_t offsets[GUEST_FILES_MAX];	/* of the regions, in data */
	int fd;				/* -1: not shared */
	_Atomic uint64_t *dirty;	/* a bit for each page of data; NULL: not tracked */
};

static int take_regions(struct guest_mem *mem, const struct guest_mem_params *params)
{
	assert(params->region_count > 0 && params->region_count <= GUEST_REGIONS_MAX);
	for (size_t i = 0; i < params->region_count; i++) {
		const struct guest_region *region = &params->regions[i];
		gpa_t end;

		if (__builtin_add_overflow(region->start, region->size_bytes, &end))
			return -ENOMEM;
		mem->regions[i] = *region;
		mem->offsets[i] = mem->size_bytes;
		if (__builtin_add_overflow(mem->size_bytes, region->size_bytes, &mem->size_bytes))
			return -ENOMEM;
	}
	mem->mapped_bytes = mem->size_bytes;
	mem->region_count = params->region_count;
	return 0;
}

/* More than is needed, so that a multiple of 2 MiB is in it; the ends are given back. */
static int map_aligned(struct guest_mem *mem, int protection)
{
	uint64_t wide_bytes;
	uint8_t *start, *data;

	if (__builtin_add_overflow(mem->mapped_bytes, HUGE_PAGE_BYTES, &wide_bytes) ||
	    wide_bytes > PTRDIFF_MAX)
		return -ENOMEM;
	start = mmap(NULL, wide_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		     -1, 0);
	if (start == MAP_FAILED)
		return -errno;
	data = (uint8_t *)(((uintptr_t)start + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1));
	if (data > start)
		munmap(start, (size_t)(data - start));
	munmap(data + mem->mapped_bytes, (size_t)(start + wide_bytes - data) - mem->mapped_bytes);
	mem->data = data;
	return 0;
}

/* No MAP_NORESERVE: a pool that is too small is found out here, and not by SIGBUS later. */
static int map_huge(struct guest_mem *mem)
{
	void *data;

	if (mem->size_bytes > PTRDIFF_MAX)
		return -ENOMEM;
	data = mmap(NULL, mem->size_bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
	if (data == MAP_FAILED)
		return -errno;
	mem->data = data;
	return 0;
}

/* Sealed, so that no other process can take away what is mapped here. */
static int make_file(struct guest_mem *mem, enum squib_huge_pages huge_pages)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (mem->mapped_bytes > PTRDIFF_MAX)
		return -ENOMEM;
	if (huge_pages == SQUIB_HUGE_PAGES_2M)
		flags |= MFD_HUGETLB | MAP_HUGE_2MB;	/* MFD_HUGE_2MB, which C libraries lack */
	mem->fd = memfd_create("guest", flags);
	if (mem->fd < 0 || ftruncate(mem->fd, (off_t)mem->mapped_bytes) < 0 ||
	    fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

/* As with map_huge(), a pool that is too small is found out here. */
static int map_shared(struct guest_mem *mem, enum squib_huge_pages huge_pages)
{
	int flags = MAP_SHARED | MAP_FIXED, r = make_file(mem, huge_pages);

	if (huge_pages != SQUIB_HUGE_PAGES_2M)
		flags |= MAP_NORESERVE;
	if (r == 0)
		r = map_aligned(mem, PROT_NONE);
	if (r < 0)
		return r;
	return mmap(mem->data, mem->mapped_bytes, PROT_READ | PROT_WRITE, flags, mem->fd, 0) ==
	       MAP_FAILED ? -errno : 0;
}

static int map(struct guest_mem *mem, const struct guest_mem_params *params)
{
	bool huge = params->huge_pages == SQUIB_HUGE_PAGES_2M;
	int r;

	if (params->shared)
		r = map_shared(mem, params->huge_pages);
	else
		r = huge ? map_huge(mem) : map_aligned(mem, PROT_READ | PROT_WRITE);
	if (r < 0)
		return r;
	/* A host without transparent huge pages says no to the first, and that is all right. */
	if (!huge)
		madvise(mem->data, mem->size_bytes, MADV_HUGEPAGE);
	madvise(mem->data, mem->size_bytes, MADV_DONTDUMP);
	return 0;
}

static int make_dirty_map(struct guest_mem *mem)
{
	uint64_t pages = mem->size_bytes / GUEST_PAGE_BYTES;

	mem->dirty = calloc(pages / PAGES_PER_WORD + 1, sizeof(*mem->dirty));
	return mem->dirty != NULL ? 0 : -ENOMEM;
}

static struct guest_mem *allocate(void)
{
	struct guest_mem *mem = calloc(1, sizeof(*mem));

	if (mem != NULL)
		mem->fd = -1;
	return mem;
}

int guest_mem_new(const struct guest_mem_params *params, struct guest_mem **ret_mem,
		  struct fault *fault)
{
	struct guest_mem *mem = allocate();
	char text[OS_ERROR_MAX];
	int r = mem != NULL ? 0 : -ENOMEM;

	if (r == 0)
		r = take_regions(mem, params);
	if (r == 0)
		r = map(mem, params);
	if (r == 0 && params->track_dirty)
		r = make_dirty_map(mem);
	if (r < 0) {
		guest_mem_free(mem);
		return fault_set(fault, r, "Cannot create mmap region: %s", os_error(r, text));
	}
	*ret_mem = mem;
	return 0;
}

/* --- files of another monitor */

static bool in_whole(uint64_t unit, const struct guest_file *file)
{
	return (file->region.start | file->region.size_bytes | file->offset) % unit == 0;
}

static bool overlap(const struct guest_region *a, const struct guest_region *b)
{
	return a->start < b->start + b->size_bytes && b->start < a->start + a->size_bytes;
}

static int check_region(const struct guest_mem *mem, const struct guest_region *region)
{
	gpa_t end;

	if (region->size_bytes == 0 ||
	    __builtin_add_overflow(region->start, region->size_bytes, &end))
		return -EINVAL;
	for (size_t i = 0; i < mem->region_count; i++)
		if (overlap(region, &mem->regions[i]))
			return -EINVAL;
	return 0;
}

/* Where the pages of a file are huge, parts of one cannot be mapped, nor unmapped. */
static int check_file(const struct guest_file *file)
{
	uint64_t page_bytes = GUEST_PAGE_BYTES, end;
	struct statfs filesystem;
	struct stat st;
	int seals = fcntl(file->fd, F_GET_SEALS);

	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
		return -EPERM;
	if (fstat(file->fd, &st) < 0 || fstatfs(file->fd, &filesystem) < 0)
		return -errno;
	if (filesystem.f_type == HUGETLBFS_MAGIC)
		page_bytes = (uint64_t)filesystem.f_bsize;
	if (!in_whole(page_bytes, file) ||
	    __builtin_add_overflow(file->offset, file->region.size_bytes, &end) ||
	    end > (uint64_t)st.st_size)
		return -EINVAL;
	return 0;
}

/*
 * Each region is put where a huge page of the mapping is one of the file too. The sum cannot wrap:
 * sizes are at most those of files.
 */
static int take_file(struct guest_mem *mem, const struct guest_file *file)
{
	size_t index = mem->region_count;
	uint64_t begin = (mem->mapped_bytes + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
	int r = check_region(mem, &file->region);

	if (r == 0)
		r = check_file(file);
	if (r < 0)
		return r;
	begin += file->offset % HUGE_PAGE_BYTES;
	mem->regions[index] = file->region;
	mem->offsets[index] = begin;
	mem->size_bytes += file->region.size_bytes;
	mem->mapped_bytes = begin + file->region.size_bytes;
	if (mem->mapped_bytes > PTRDIFF_MAX)
		return -ENOMEM;
	mem->region_count++;
	return 0;
}

/* In place of a part of what map_aligned() got, so that one munmap() takes back all. */
static int map_file(struct guest_mem *mem, size_t index, const struct guest_file *file)
{
	uint8_t *data = mem->data + mem->offsets[index];

	if (mmap(data, file->region.size_bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file->fd, (off_t)file->offset) == MAP_FAILED)
		return -errno;
	madvise(data, file->region.size_bytes, MADV_DONTDUMP);
	return 0;
}

int guest_mem_map(const struct guest_file *files, size_t count, struct guest_mem **ret_mem)
{
	CLEANUP(guest_mem_free) struct guest_mem *mem = allocate();
	int r = mem != NULL ? 0 : -ENOMEM;

	assert(count > 0 && count <= GUEST_FILES_MAX);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = take_file(mem, &files[i]);
	if (r == 0)
		r = map_aligned(mem, PROT_NONE);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = map_file(mem, i, &files[i]);
	if (r < 0)
		return r;
	*ret_mem = mem;
	mem = NULL;
	return 0;
}

void guest_mem_free(struct guest_mem *mem)
{
	if (mem == NULL)
		return;
	if (mem->data != NULL)
		munmap(mem->data, mem->mapped_bytes);
	fd_close(mem->fd);
	free(mem->dirty);
	free(mem);
}

int guest_mem_slice(const struct guest_mem *mem, gpa_t gpa, size_t len, void **ret_data)
{
	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < mem->region_count; i++) {
		const struct guest_region *region = &mem->regions[i];
		uint64_t offset = gpa - region->start;	/* huge when gpa is below */

		if (offset >= region->size_bytes)
			continue;
		if (len > region->size_bytes - offset)
			return -EFAULT;
		*ret_data = mem->data + mem->offsets[i] + offset;
		return 0;
	}
	return -EFAULT;
}

bool guest_mem_contains(const struct guest_mem *mem, gpa_t gpa, size_t len)
{
	void *data;

	return guest_mem_slice(mem, gpa, len, &data) == 0;
}

void guest_mem_mark_dirty(const struct guest_mem *mem, const void *data, size_t len)
{
	uint64_t offset, first, last;

	if (mem->dirty == NULL || len == 0)
		return;
	offset = (uint64_t)((const uint8_t *)data - mem->data);
	assert(offset < mem->size_bytes && len <= mem->size_bytes - offset);
	first = offset / GUEST_PAGE_BYTES;
	last = (offset + len - 1) / GUEST_PAGE_BYTES;
	for (uint64_t page = first; page <= last; page++)
		atomic_fetch_or_explicit(&mem->dirty[page / PAGES_PER_WORD],
					 UINT64_C(1) << page % PAGES_PER_WORD,
					 memory_order_relaxed);
}

void guest_mem_take_dirty(struct guest_mem *mem, size_t index, uint64_t *bitmap)
{
	uint64_t first, count;

	assert(index < mem->region_count);
	if (mem->dirty == NULL)
		return;
	first = mem->offsets[index] / GUEST_PAGE_BYTES;
	count = mem->regions[index].size_bytes / GUEST_PAGE_BYTES;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t page = first + i, bit = UINT64_C(1) << page % PAGES_PER_WORD;
		_Atomic uint64_t *word = &mem->dirty[page / PAGES_PER_WORD];

		if ((atomic_load_explicit(word, memory_order_relaxed) & bit) == 0)
			continue;
		atomic_fetch_and_explicit(word, ~bit, memory_order_acquire);
		bitmap[i / PAGES_PER_WORD] |= UINT64_C(1) << i % PAGES_PER_WORD;
	}
}

size_t guest_mem_region_count(const struct guest_mem *mem)
{
	return mem->region_count;
}

const struct guest_region *guest_mem_region(const struct guest_mem *mem, size_t index)
{
	assert(index < mem->region_count);
	return &mem->regions[index];
}

void *guest_mem_region_data(const struct guest_mem *mem, size_t index)
{
	assert(index < mem->region_count);
	return mem->data + mem->offsets[index];
}

int guest_mem_fd(const struct guest_mem *mem)
{
	return mem->fd;
}

uint64_t guest_mem_region_offset(const struct guest_mem *mem, size_t index)
{
	assert(index < mem->region_count);
	return mem->offsets[index];
}

uint64_t guest_mem_size(const struct guest_mem *mem)
{
	return mem->size_bytes;
}
