/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_open() has checked the image, but the file may be another one by now. So every number is
 * read once more, into a local, and checked against the guest's memory; memory, not the file, is
 * what bounds the work.
 *
 * Only the first region is used, the memory below the hole for 32-bit MMIO: that is what the 32-bit
 * PVH entry reaches, and what the page tables of the 64-bit entry map.
 */
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "boot/bytes.h"
#include "boot/load.h"
#include "boot/x86_64_internal.h"

#define INITRD_END_MAX	UINT64_C(0x80000000)	/* what Linux has as initrd_addr_max, plus 1 */

struct range {
	gpa_t start, end;
};

static uint64_t low_memory(const struct guest_mem *mem)
{
	return guest_mem_region(mem, 0)->size_bytes;
}

/* Is it in memory, and clear of what we put below 1 MiB? */
static int check_place(const struct guest_mem *mem, gpa_t start, uint64_t len, struct range *ret_range,
		       struct fault *fault)
{
	gpa_t end;

	if (start < X86_64_HIGH_MEMORY)
		return fault_set(fault, -ENOEXEC, "The kernel lies at 0x%llx, but the first MiB of "
				 "memory is not free", (unsigned long long)start);
	if (__builtin_add_overflow(start, len, &end) || end > X86_64_MMIO32_START)
		return fault_set(fault, -ENOEXEC, "The kernel lies above 3 GiB, at 0x%llx",
				 (unsigned long long)start);
	if (end > low_memory(mem))
		return fault_set(fault, -ENOMEM, "The kernel needs more than %llu MiB of memory",
				 (unsigned long long)((end - 1) >> 20));
	*ret_range = (struct range){ start, end };
	return 0;
}

/* ELF */

struct elf {
	const struct guest_mem *mem;
	const struct image *image;
	size_t range_count;
	struct range ranges[IMAGE_PHDR_MAX];
};

/*
 * Memory is zero, so what of a segment is not in the file needs no writing; segments that overlap
 * would break that, and let a small file of many segments keep us busy for minutes.
 */
static int add_range(struct elf *elf, const struct range *range, struct fault *fault)
{
	for (size_t i = 0; i < elf->range_count; i++)
		if (range->start < elf->ranges[i].end && elf->ranges[i].start < range->end)
			return fault_set(fault, -ENOEXEC, "The ELF image has segments that overlap, "
					 "at 0x%llx", (unsigned long long)range->start);
	elf->ranges[elf->range_count++] = *range;
	return 0;
}

static int load_segment(struct elf *elf, const Elf64_Phdr *phdr, struct fault *fault)
{
	uint64_t file_len = le64toh(phdr->p_filesz), mem_len = le64toh(phdr->p_memsz);
	uint64_t offset = le64toh(phdr->p_offset);
	struct range range = { 0 };
	int r;

	if (le32toh(phdr->p_type) != PT_LOAD || mem_len == 0)
		return 0;
	if (file_len > mem_len || offset > INT64_MAX - file_len)
		return fault_set(fault, -ENOEXEC, "The ELF image has a segment out of bounds");
	r = check_place(elf->mem, le64toh(phdr->p_paddr), mem_len, &range, fault);
	if (r == 0)
		r = add_range(elf, &range, fault);
	if (r == 0)
		r = load_image(elf->mem, elf->image, offset, range.start, file_len, fault);
	return r;
}

static int load_segments(struct elf *elf, const Elf64_Ehdr *ehdr, struct fault *fault)
{
	Elf64_Phdr phdrs[IMAGE_PHDR_MAX];
	size_t count = le16toh(ehdr->e_phnum);
	uint64_t offset = le64toh(ehdr->e_phoff);
	int r;

	if (count > IMAGE_PHDR_MAX || offset > INT64_MAX - sizeof(phdrs))
		return fault_set(fault, -ENOEXEC, "The ELF image has bad program headers");
	r = image_read(elf->image->fd, offset, phdrs, count * sizeof(phdrs[0]), fault);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = load_segment(elf, &phdrs[i], fault);
	return r;
}

static bool is_loaded(const struct elf *elf, gpa_t gpa)
{
	for (size_t i = 0; i < elf->range_count; i++)
		if (gpa >= elf->ranges[i].start && gpa < elf->ranges[i].end)
			return true;
	return false;
}

static int load_elf(const struct guest_mem *mem, const struct image *image,
		    struct x86_64_kernel *kernel, struct fault *fault)
{
	struct elf elf = { .mem = mem, .image = image };
	Elf64_Ehdr ehdr;
	int r = image_read(image->fd, 0, &ehdr, sizeof(ehdr), fault);

	if (r == 0)
		r = load_segments(&elf, &ehdr, fault);
	if (r < 0)
		return r;
	kernel->protocol = image->pvh_entry != 0 ? X86_64_BOOT_PVH : X86_64_BOOT_64;
	kernel->rip = image->pvh_entry != 0 ? image->pvh_entry : le64toh(ehdr.e_entry);
	if (!is_loaded(&elf, kernel->rip))
		return fault_set(fault, -ENOEXEC, "The ELF image's entry point, at 0x%llx, is not in "
				 "one of its segments", (unsigned long long)kernel->rip);
	for (size_t i = 0; i < elf.range_count; i++)
		if (elf.ranges[i].end > kernel->end)
			kernel->end = elf.ranges[i].end;
	kernel->initrd_end = INITRD_END_MAX;
	return 0;
}

/* bzImage */

/*
 * Where its author wants it. Elsewhere it would not start sooner: its first act is to move itself to
 * the end of the init_size bytes that it unpacks itself into, wherever it lies, and lower than that
 * address it does not run.
 */
static int choose_address(const uint8_t *header, gpa_t *ret_address, struct fault *fault)
{
	uint64_t address = get_le64(header + BZ_PREF_ADDRESS);
	uint64_t alignment = get_le32(header + BZ_KERNEL_ALIGNMENT);

	if (header[BZ_RELOCATABLE_KERNEL] != 0) {
		if (alignment == 0 || (alignment & (alignment - 1)) != 0 ||
		    __builtin_add_overflow(address, alignment - 1, &address))
			return fault_set(fault, -ENOEXEC, "The bzImage has a bad header");
		address &= ~(alignment - 1);
	}
	*ret_address = address;
	return 0;
}

static size_t header_end(const uint8_t *header)
{
	size_t end = BZ_MAGIC + (size_t)header[BZ_JUMP_LEN];

	return end < BZ_HEADER_MAX ? end : BZ_HEADER_MAX;
}

static int load_bzimage(const struct guest_mem *mem, const struct image *image,
			struct x86_64_kernel *kernel, struct fault *fault)
{
	uint8_t *header = kernel->header;
	uint64_t offset, len, needs;
	struct range range = { 0 };
	gpa_t address = 0;
	int r = image_read(image->fd, 0, header, BZ_HEADER_MAX, fault);

	if (r == 0)
		r = choose_address(header, &address, fault);
	if (r < 0)
		return r;
	offset = ((header[BZ_SETUP_SECTS] != 0 ? header[BZ_SETUP_SECTS] : 4) + UINT64_C(1)) * 512;
	len = (uint64_t)get_le32(header + BZ_SYSSIZE) * 16;
	if (len <= BZ_ENTRY_64)
		return fault_set(fault, -ENOEXEC, "The bzImage has no kernel in it");
	needs = get_le32(header + BZ_INIT_SIZE) > len ? get_le32(header + BZ_INIT_SIZE) : len;
	r = check_place(mem, address, needs, &range, fault);
	if (r == 0)
		r = load_image(mem, image, offset, address, len, fault);
	if (r < 0)
		return r;
	put_le32(header + BZ_CODE32_START, (uint32_t)address);
	kernel->protocol = X86_64_BOOT_64;
	kernel->rip = address + BZ_ENTRY_64;
	kernel->end = range.end;
	kernel->initrd_end = get_le32(header + BZ_INITRD_ADDR_MAX) + UINT64_C(1);
	kernel->header_end = header_end(header);
	return 0;
}

int x86_64_load_kernel(const struct guest_mem *mem, const struct image *image,
		       struct x86_64_kernel *ret_kernel, struct fault *fault)
{
	struct x86_64_kernel kernel = { 0 };
	int r;

	if (image->format == IMAGE_ELF)
		r = load_elf(mem, image, &kernel, fault);
	else if (image->format == IMAGE_BZIMAGE)
		r = load_bzimage(mem, image, &kernel, fault);
	else
		r = fault_set(fault, -ENOEXEC, "Not a kernel image for x86_64");
	if (r == 0)
		*ret_kernel = kernel;
	return r;
}
