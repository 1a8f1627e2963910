/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "boot/bytes.h"
#include "boot/writer.h"
#include "boot/x86_64_internal.h"

/*
 * The map of memory. What lies in [X86_64_MPTABLE, 1 MiB) is reserved, not "ACPI reclaimable", which a
 * kernel would take back: the MP table is there, too.
 */

enum memory_type {	/* the same numbers in e820 (ACPI 6.4, 15.1) and PVH's memory map */
	MEMORY_RAM = 1,
	MEMORY_RESERVED = 2,
};

#define MEMORY_MAP_MAX (GUEST_REGIONS_MAX + 2)

struct memory_range {
	gpa_t start;
	uint64_t size_bytes;
	enum memory_type type;
};

static size_t make_memory_map(const struct guest_mem *mem, struct memory_range *map)
{
	size_t count = 0;

	map[count++] = (struct memory_range){ 0, X86_64_MPTABLE, MEMORY_RAM };
	map[count++] = (struct memory_range){ X86_64_MPTABLE, X86_64_HIGH_MEMORY - X86_64_MPTABLE,
					      MEMORY_RESERVED };
	for (size_t i = 0; i < guest_mem_region_count(mem); i++) {
		const struct guest_region *region = guest_mem_region(mem, i);
		gpa_t start = i > 0 ? region->start : X86_64_HIGH_MEMORY;
		gpa_t end = region->start + region->size_bytes;

		if (start < end)
			map[count++] = (struct memory_range){ start, end - start, MEMORY_RAM };
	}
	return count;
}

/*
 * PVH: Xen's public header arch-x86/hvm/start_info.h, version 1. All in one page: the start info,
 * then a module, then the map.
 */

#define START_MAGIC	0x336ec578
#define START_VERSION	1
#define START_BYTES	56
#define START_MODULES	(X86_64_START_INFO + 0x40)
#define START_MAP	(X86_64_START_INFO + 0x80)

static void write_start_info(struct writer *writer, bool has_initrd, size_t map_count)
{
	writer_u32(writer, START_MAGIC);
	writer_u32(writer, START_VERSION);
	writer_u32(writer, 0);				/* flags */
	writer_u32(writer, has_initrd ? 1 : 0);		/* modules */
	writer_u64(writer, has_initrd ? START_MODULES : 0);
	writer_u64(writer, X86_64_CMDLINE);
	writer_u64(writer, X86_64_ACPI);		/* RSDP */
	writer_u64(writer, START_MAP);
	writer_u32(writer, (uint32_t)map_count);
	writer_u32(writer, 0);
}

int x86_64_write_start_info(const struct guest_mem *mem, const struct load_initrd *initrd)
{
	struct memory_range map[MEMORY_MAP_MAX];
	size_t map_count = make_memory_map(mem, map);
	struct writer writer = { 0 };
	void *page;

	if (load_room(mem, X86_64_START_INFO, GUEST_PAGE_BYTES, &page) < 0)
		return -EFAULT;
	writer = (struct writer)WRITER_INIT(page, GUEST_PAGE_BYTES);
	write_start_info(&writer, initrd->size_bytes > 0, map_count);
	writer_zero(&writer, START_MODULES - X86_64_START_INFO - writer.len);
	writer_u64(&writer, initrd->start);
	writer_u64(&writer, initrd->size_bytes);
	writer_u64(&writer, 0);				/* command line */
	writer_u64(&writer, 0);
	writer_zero(&writer, START_MAP - X86_64_START_INFO - writer.len);
	for (size_t i = 0; i < map_count; i++) {
		writer_u64(&writer, map[i].start);
		writer_u64(&writer, map[i].size_bytes);
		writer_u32(&writer, map[i].type);
		writer_u32(&writer, 0);
	}
	return writer.overflow ? -EFAULT : 0;
}

/* 64-bit entry: the zero page, offsets of Documentation/arch/x86/zero-page.rst */

#define ZERO_ACPI_RSDP		0x070
#define ZERO_E820_ENTRIES	0x1e8
#define ZERO_E820_TABLE		0x2d0
#define ZERO_E820_BYTES		20

#define OUR_VERSION		0x20f	/* of the setup header that an ELF image does not have */
#define OUR_ALIGNMENT		0x200000

/* Of the file's header only what its own length covers. */
static void put_header(uint8_t *page, const struct x86_64_kernel *kernel)
{
	if (kernel->header_end != 0) {
		memcpy(page + BZ_SETUP_SECTS, kernel->header + BZ_SETUP_SECTS,
		       kernel->header_end - BZ_SETUP_SECTS);
	} else {
		put_le16(page + BZ_BOOT_FLAG, BZ_BOOT_FLAG_VALUE);
		memcpy(page + BZ_MAGIC, BZ_MAGIC_VALUE, 4);
		put_le16(page + BZ_VERSION, OUR_VERSION);
		page[BZ_LOADFLAGS] = BZ_LOADED_HIGH;
		put_le32(page + BZ_KERNEL_ALIGNMENT, OUR_ALIGNMENT);
	}
	page[BZ_TYPE_OF_LOADER] = BZ_LOADER_UNDEFINED;
	put_le16(page + BZ_VID_MODE, BZ_VID_MODE_NORMAL);
	put_le64(page + BZ_SETUP_DATA, 0);
}

int x86_64_write_zero_page(const struct guest_mem *mem, const struct x86_64_kernel *kernel,
			   const struct load_initrd *initrd, size_t cmdline_len)
{
	struct memory_range map[MEMORY_MAP_MAX];
	size_t map_count = make_memory_map(mem, map);
	uint8_t *page, *entry;
	void *data;

	if (load_room(mem, X86_64_ZERO_PAGE, GUEST_PAGE_BYTES, &data) < 0)
		return -EFAULT;
	page = data;
	memset(page, 0, GUEST_PAGE_BYTES);
	put_header(page, kernel);
	put_le32(page + BZ_CMD_LINE_PTR, X86_64_CMDLINE);
	if (kernel->header_end == 0)
		put_le32(page + BZ_CMDLINE_SIZE, (uint32_t)cmdline_len);
	put_le32(page + BZ_RAMDISK_IMAGE, (uint32_t)initrd->start);
	put_le32(page + BZ_RAMDISK_SIZE, (uint32_t)initrd->size_bytes);
	put_le64(page + ZERO_ACPI_RSDP, X86_64_ACPI);
	page[ZERO_E820_ENTRIES] = (uint8_t)map_count;
	entry = page + ZERO_E820_TABLE;
	for (size_t i = 0; i < map_count; i++, entry += ZERO_E820_BYTES) {
		put_le64(entry, map[i].start);
		put_le64(entry + 8, map[i].size_bytes);
		put_le32(entry + 16, map[i].type);
	}
	return 0;
}
