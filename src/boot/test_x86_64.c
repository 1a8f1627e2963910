/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "boot/bytes.h"
#include "boot/test_loading.h"
#include "boot/x86_64.h"
#include "boot/x86_64_internal.h"

/* Kernels */

#define ELF_PHDRS	64
#define ELF_TEXT	512
#define ELF_DATA	1024
#define ELF_NOTES	1200
#define ELF_ENTRY	16		/* from the kernel's start */
#define ELF_PVH		32
#define ELF_END		0x4000

static struct file make_elf(uint64_t start, bool pvh)
{
	struct file f = { .len = ELF_NOTES + 24 };
	Elf64_Ehdr ehdr = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
			    .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_phoff = ELF_PHDRS,
			    .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3,
			    .e_entry = start + ELF_ENTRY };
	Elf64_Phdr phdrs[3] = {
		{ .p_type = PT_LOAD, .p_offset = ELF_TEXT, .p_paddr = start, .p_filesz = 512,
		  .p_memsz = 4096 },
		{ .p_type = PT_LOAD, .p_offset = ELF_DATA, .p_paddr = start + 0x2000,
		  .p_filesz = 100, .p_memsz = ELF_END - 0x2000 },
		{ .p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = ELF_NOTES, .p_filesz = 24 },
	};
	uint8_t notes[24] = { 4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0 };

	put_le64(notes + 16, start + ELF_PVH);
	memset(f.data + ELF_TEXT, 0x90, 512);
	memset(f.data + ELF_DATA, 0xda, 100);
	memcpy(f.data, &ehdr, sizeof(ehdr));
	memcpy(f.data + ELF_PHDRS, phdrs, sizeof(phdrs));
	memcpy(f.data + ELF_NOTES, notes, sizeof(notes));
	return f;
}

#define BZ_BODY		(5 * 512)
#define BZ_BODY_LEN	4096

static struct file make_bzimage(void)	/* wants to be at 2 MiB, needs 1 MiB there */
{
	struct file f = { .len = BZ_BODY + BZ_BODY_LEN };

	memset(f.data, 0xee, 0x1f1);	/* nothing of this belongs into the zero page */
	f.data[BZ_SETUP_SECTS] = 4;
	put_le32(f.data + BZ_SYSSIZE, BZ_BODY_LEN / 16);
	put_le16(f.data + BZ_BOOT_FLAG, 0xaa55);
	f.data[BZ_JUMP_LEN] = 0x6a;	/* to 0x26c, as 2.15 has it */
	memcpy(f.data + BZ_MAGIC, "HdrS", 4);
	put_le16(f.data + BZ_VERSION, 0x20f);
	f.data[BZ_LOADFLAGS] = 1;
	put_le32(f.data + BZ_INITRD_ADDR_MAX, 0x7fffffff);
	put_le32(f.data + BZ_KERNEL_ALIGNMENT, 2 * MIB);
	f.data[BZ_RELOCATABLE_KERNEL] = 1;
	put_le16(f.data + BZ_XLOADFLAGS, 1);
	put_le32(f.data + BZ_CMDLINE_SIZE, 2047);
	put_le64(f.data + BZ_SETUP_DATA, 0x123456);
	put_le64(f.data + BZ_PREF_ADDRESS, 2 * MIB);
	put_le32(f.data + BZ_INIT_SIZE, 1 * MIB);
	put_le32(f.data + 0x268, 0x1234);	/* kernel_info_offset */
	memset(f.data + 0x26c, 0xee, BZ_BODY - 0x26c);
	memset(f.data + BZ_BODY, 0x90, BZ_BODY_LEN);
	return f;
}

static const struct x86_64_virtio devices[] = { { 0xc0001000, 5 }, { 0xc0002000, 6 } };

static int boot(const struct guest *guest, const struct image *image, int initrd_fd,
		struct x86_64_boot_entry *entry, struct fault *fault)
{
	struct x86_64_boot_params params = {
		.mem = guest->mem, .image = image, .initrd_fd = initrd_fd, .cmdline = "console=x",
		.vcpu_count = 2, .devices = devices, .device_count = ARRAY_SIZE(devices),
	};

	return x86_64_boot(&params, entry, fault);
}

static int boots_or_leaves_the_entry(const struct guest *guest, const struct image *image,
				     int initrd_fd, struct fault *fault)
{
	struct x86_64_boot_entry entry = { .rip = 1 };
	int r = boot(guest, image, initrd_fd, &entry, fault);

	if (r < 0)
		assert_int_equal(entry.rip, 1);
	return r;
}

static const struct loader loader = {
	SQUIB_ARCH_X86_64, x86_64_regions, boots_or_leaves_the_entry,
};

static struct x86_64_boot_entry boots(const struct guest *guest, const struct file *f, int initrd_fd)
{
	CLEANUP(image_done) struct image image = open_image(&loader, f);
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct x86_64_boot_entry entry;

	if (boot(guest, &image, initrd_fd, &entry, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	return entry;
}

/* What was written: all that is not zero lies in one of the ranges. */

struct range {
	uint64_t start, end;
};

static void written_only_in(const struct guest *guest, const struct range *ranges, size_t count)
{
	for (uint64_t i = 0; i < guest->size; i++) {
		bool allowed = guest->data[i] == 0;

		for (size_t j = 0; !allowed && j < count; j++)
			allowed = i >= ranges[j].start && i < ranges[j].end;
		if (!allowed)
			fail_msg("0x%llx was written to", (unsigned long long)i);
	}
}

/* Regions */

static void memory_lies_around_the_holes(void **state)
{
	static const struct regions_case cases[] = {
		{ "small", 128 * MIB, { { 0, 128 * MIB } } },
		{ "up to the first hole", 3 * GIB, { { 0, 3 * GIB } } },
		{ "a MiB beyond it", 3 * GIB + MIB, { { 0, 3 * GIB }, { 4 * GIB, MIB } } },
		{ "up to the second", 255 * GIB, { { 0, 3 * GIB }, { 4 * GIB, 252 * GIB } } },
		{ "beyond it", 256 * GIB,
		  { { 0, 3 * GIB }, { 4 * GIB, 252 * GIB }, { 512 * GIB, GIB } } },
		{ "far beyond", UINT64_C(1) << 50,
		  { { 0, 3 * GIB }, { 4 * GIB, 252 * GIB },
		    { 512 * GIB, (UINT64_C(1) << 50) - 255 * GIB } } },
	};

	(void)state;
	check_regions(&loader, cases, ARRAY_SIZE(cases));
}

/* PVH */

static void check_start_info(const struct guest *guest, uint64_t initrd, uint64_t initrd_len)
{
	const uint8_t *info = guest->data + X86_64_START_INFO, *module, *map;

	assert_int_equal(get_le32(info), 0x336ec578);
	assert_int_equal(get_le32(info + 4), 1);
	assert_int_equal(get_le32(info + 8), 0);
	assert_int_equal(get_le32(info + 12), initrd_len > 0);
	if (initrd_len > 0) {
		module = guest->data + get_le64(info + 16);
		assert_int_equal(get_le64(module), initrd);
		assert_int_equal(get_le64(module + 8), initrd_len);
		assert_int_equal(get_le64(module + 16), 0);
	} else {
		assert_int_equal(get_le64(info + 16), 0);
	}
	assert_string_equal((const char *)guest->data + get_le64(info + 24), "console=x");
	assert_memory_equal(guest->data + get_le64(info + 32), "RSD PTR ", 8);
	map = guest->data + get_le64(info + 40);
	assert_int_equal(get_le32(info + 48), 3);
	assert_int_equal(get_le64(map), 0);
	assert_int_equal(get_le64(map + 8), 0x9fc00);
	assert_int_equal(get_le32(map + 16), 1);
	assert_int_equal(get_le64(map + 24), 0x9fc00);
	assert_int_equal(get_le64(map + 32), 0x60400);
	assert_int_equal(get_le32(map + 40), 2);
	assert_int_equal(get_le64(map + 48), MIB);
	assert_int_equal(get_le64(map + 56), guest->size - MIB);
	assert_int_equal(get_le32(map + 64), 1);
}

static void a_tiny_kernel_with_a_pvh_note_needs_two_mib(void **state)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 2 * MIB);
	const struct file f = make_elf(MIB, true);
	struct x86_64_boot_entry entry = boots(&guest, &f, -1);
	static const struct range ranges[] = {
		{ 0x510, 0x530 }, { 0x6000, 0x7000 }, { 0x20000, 0x20800 }, { 0x9fc00, 0xa0000 },
		{ 0xe0000, 0x100000 }, { MIB, MIB + 512 }, { MIB + 0x2000, MIB + 0x2000 + 100 },
	};

	(void)state;
	assert_int_equal(entry.protocol, X86_64_BOOT_PVH);
	assert_int_equal(entry.rip, MIB + ELF_PVH);
	assert_int_equal(entry.info, 0x6000);
	check_start_info(&guest, 0, 0);
	assert_true(all_are(guest.data + MIB, 0x90, 512));
	assert_true(all_are(guest.data + MIB + 0x2000, 0xda, 100));
	written_only_in(&guest, ranges, ARRAY_SIZE(ranges));
}

static void a_kernel_may_end_with_the_memory(void **state)
{
	const struct file f = make_elf(4 * MIB - ELF_END, true);
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 4 * MIB);
	struct file longer = f;

	(void)state;
	boots(&guest, &f, -1);
	put_le64(longer.data + ELF_PHDRS + 56 + 40, ELF_END - 0x2000 + 1);	/* p_memsz */
	refused_kernel(&loader, "a byte more", &longer, NULL, 4 * MIB,
		       "The kernel needs more than 4 MiB of memory");
}

/* The 64-bit entry */

static uint64_t translate(const struct guest *guest, uint64_t address)
{
	uint64_t entry = get_le64(guest->data + X86_64_PML4 + (address >> 39) * 8);

	assert_int_equal(entry & 0xfff, 3);
	entry = get_le64(guest->data + (entry & ~UINT64_C(0xfff)) + (address >> 30 & 511) * 8);
	assert_int_equal(entry & 0xfff, 3);
	entry = get_le64(guest->data + (entry & ~UINT64_C(0xfff)) + (address >> 21 & 511) * 8);
	assert_int_equal(entry & 0x1fffff, 0x83);
	return (entry & ~UINT64_C(0x1fffff)) | (address & 0x1fffff);
}

static void check_page_tables(const struct guest *guest)
{
	static const uint64_t addresses[] = { 0, 0x7000, MIB, GIB - 1, GIB, 3 * GIB - 1, 4 * GIB - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		assert_int_equal(translate(guest, addresses[i]), addresses[i]);
	assert_true(all_are(guest->data + X86_64_PML4 + 8, 0, 4096 - 8));
	assert_true(all_are(guest->data + X86_64_PML4 + 4096 + 4 * 8, 0, 4096 - 4 * 8));
}

static void check_zero_page(const struct guest *guest, uint64_t initrd, uint64_t initrd_len)
{
	const uint8_t *page = guest->data + X86_64_ZERO_PAGE, *map = page + 0x2d0;

	assert_true(all_are(page, 0, 0x70));
	assert_int_equal(get_le64(page + 0x70), 0xe0000);
	assert_int_equal(page[0x1e8], 3);
	assert_int_equal(page[0x1ef], 0);		/* the sentinel */
	assert_int_equal(get_le16(page + 0x1fe), 0xaa55);
	assert_memory_equal(page + 0x202, "HdrS", 4);
	assert_int_equal(page[0x210], 0xff);
	assert_int_equal(get_le32(page + 0x218), initrd);
	assert_int_equal(get_le32(page + 0x21c), initrd_len);
	assert_string_equal((const char *)guest->data + get_le32(page + 0x228), "console=x");
	assert_int_equal(get_le64(page + 0x250), 0);
	assert_int_equal(get_le64(map + 40), MIB);
	assert_int_equal(get_le64(map + 48), guest->size - MIB);
	assert_int_equal(get_le32(map + 56), 1);
	assert_true(all_are(map + 60, 0, 4096 - 0x2d0 - 60));
}

static void an_elf_kernel_without_a_note_has_the_64_bit_entry(void **state)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 4 * MIB);
	const struct file f = make_elf(2 * MIB, false);
	struct x86_64_boot_entry entry = boots(&guest, &f, -1);

	(void)state;
	assert_int_equal(entry.protocol, X86_64_BOOT_64);
	assert_int_equal(entry.rip, 2 * MIB + ELF_ENTRY);
	assert_int_equal(entry.info, 0x7000);
	check_zero_page(&guest, 0, 0);
	check_page_tables(&guest);
	assert_int_equal(get_le16(guest.data + 0x7000 + BZ_VERSION), 0x20f);
}

static void a_bzimage_is_put_where_it_wants_to_be(void **state)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 4 * MIB);
	CLEANUP(fd_close) int initrd_fd = fd_of("initrd", 6);
	const struct file f = make_bzimage();
	struct x86_64_boot_entry entry = boots(&guest, &f, initrd_fd);
	static const struct range ranges[] = {
		{ 0x510, 0x530 }, { 0x7000, 0x8000 }, { 0x9000, 0xf000 }, { 0x20000, 0x20800 },
		{ 0x9fc00, 0xa0000 }, { 0xe0000, 0x100000 }, { 2 * MIB, 2 * MIB + BZ_BODY_LEN },
		{ 4 * MIB - 4096, 4 * MIB - 4096 + 6 },
	};
	const uint8_t *page = guest.data + 0x7000;

	(void)state;
	assert_int_equal(entry.protocol, X86_64_BOOT_64);
	assert_int_equal(entry.rip, 2 * MIB + 0x200);
	assert_true(all_are(guest.data + 2 * MIB, 0x90, BZ_BODY_LEN));
	assert_memory_equal(guest.data + 4 * MIB - 4096, "initrd", 6);
	check_zero_page(&guest, 4 * MIB - 4096, 6);
	check_page_tables(&guest);
	assert_int_equal(get_le64(page + BZ_PREF_ADDRESS), 2 * MIB);
	assert_int_equal(get_le32(page + BZ_CODE32_START), 2 * MIB);
	assert_int_equal(get_le32(page + 0x268), 0x1234);	/* the last of its fields */
	assert_true(all_are(page + 0x26c, 0, 0x2d0 - 0x26c));
	written_only_in(&guest, ranges, ARRAY_SIZE(ranges));
}

static void of_a_setup_header_no_more_is_copied_than_there_is(void **state)
{
	static const struct { const char *sentence; uint8_t jump; size_t end; } cases[] = {
		{ "a short one", 0x50, 0x252 },
		{ "one that ends with the room for it", 0x8e, 0x290 },
		{ "one that claims more", 0x8f, 0x290 },
		{ "one that claims all it can", 0xff, 0x290 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(guest_done) struct guest guest = make_guest(&loader, 4 * MIB);
		const uint8_t *page = guest.data + 0x7000;
		struct file f = make_bzimage();

		f.data[BZ_JUMP_LEN] = cases[i].jump;
		boots(&guest, &f, -1);
		if (cases[i].end > 0x26c && !all_are(page + 0x26c, 0xee, cases[i].end - 0x26c))
			fail_msg("%s: too little", cases[i].sentence);
		if (!all_are(page + cases[i].end, 0, 0x2d0 - cases[i].end))
			fail_msg("%s: too much", cases[i].sentence);
		check_zero_page(&guest, 0, 0);
	}
}

static void a_bzimage_is_aligned_when_it_can_be_moved(void **state)
{
	CLEANUP(guest_done) struct guest moved = make_guest(&loader, 8 * MIB);
	CLEANUP(guest_done) struct guest kept = make_guest(&loader, 8 * MIB);
	struct file f = make_bzimage();

	(void)state;
	put_le64(f.data + BZ_PREF_ADDRESS, 3 * MIB);
	assert_int_equal(boots(&moved, &f, -1).rip, 4 * MIB + 0x200);
	f.data[BZ_RELOCATABLE_KERNEL] = 0;
	assert_int_equal(boots(&kept, &f, -1).rip, 3 * MIB + 0x200);
}

/* Segments */

static void check_descriptor(const struct guest *guest, const struct x86_64_segment *segment)
{
	uint64_t d = get_le64(guest->data + X86_64_GDT + segment->selector);
	uint64_t limit = (d & 0xffff) | (d >> 32 & 0xf0000);

	assert_int_equal(segment->selector % 8, 0);
	assert_int_equal(d >> 16 & 0xffffff, 0);	/* base */
	assert_int_equal(d >> 56, 0);
	assert_int_equal(d >> 40 & 0xf, segment->type);
	assert_int_equal(d >> 44 & 1, segment->s);
	assert_int_equal(d >> 45 & 3, 0);
	assert_int_equal(d >> 47 & 1, 1);
	assert_int_equal(d >> 53 & 1, segment->l);
	assert_int_equal(d >> 54 & 1, segment->db);
	assert_int_equal(d >> 55, segment->g);
	assert_int_equal(segment->g ? limit << 12 | 0xfff : limit, segment->limit);
}

static void the_gdt_says_what_the_processor_is_given(void **state)
{
	const struct file files[] = { make_elf(MIB, true), make_bzimage() };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		CLEANUP(guest_done) struct guest guest = make_guest(&loader, 4 * MIB);
		struct x86_64_boot_entry entry = boots(&guest, &files[i], -1);
		const struct x86_64_cpu_state *cpu = x86_64_cpu_state(entry.protocol);

		check_descriptor(&guest, &cpu->code);
		check_descriptor(&guest, &cpu->data);
		check_descriptor(&guest, &cpu->task);
		assert_int_equal(cpu->gdt_limit, 0x2f);
		assert_int_equal(cpu->code.selector, 0x10);
		assert_int_equal(cpu->data.selector, 0x18);
		if (entry.protocol == X86_64_BOOT_PVH) {
			assert_true(cpu->code.db && !cpu->code.l);
			assert_int_equal(cpu->cr0, 0x11);
			assert_int_equal(cpu->cr4 | cpu->efer | cpu->cr3, 0);
		} else {
			assert_true(cpu->code.l && !cpu->code.db);
			assert_int_equal(cpu->cr0, 0x80000011);
			assert_int_equal(cpu->cr4, 0x20);
			assert_int_equal(cpu->efer, 0x500);
			assert_int_equal(cpu->cr3, X86_64_PML4);
		}
	}
}

/* What is refused */

static struct file cut(struct file f, size_t len)
{
	f.len = len;
	return f;
}

#define FIRST		ELF_PHDRS
#define SECOND		(ELF_PHDRS + 56)
#define P_OFFSET	8
#define P_PADDR		24
#define P_FILESZ	32
#define P_MEMSZ		40

static void elf_images_that_are_refused(void **state)
{
	const struct file good = make_elf(MIB, true);
	const struct { const char *sentence; struct file file; const char *want; } cases[] = {
		{ "it would overwrite the tables", make_elf(0x9000, true),
		  "The kernel lies at 0x9000, but the first MiB of memory is not free" },
		{ "it begins a byte too low", set64(good, FIRST + P_PADDR, MIB - 1),
		  "The kernel lies at 0xfffff, but the first MiB of memory is not free" },
		{ "a segment at 0", set64(good, SECOND + P_PADDR, 0),
		  "The kernel lies at 0x0, but the first MiB of memory is not free" },
		{ "a segment in the hole", set64(good, SECOND + P_PADDR, 3 * GIB),
		  "The kernel lies above 3 GiB, at 0xc0000000" },
		{ "a segment high up", set64(good, SECOND + P_PADDR, UINT64_C(1) << 62),
		  "The kernel lies above 3 GiB, at 0x4000000000000000" },
		{ "a segment above the memory", set64(good, SECOND + P_PADDR, 64 * MIB),
		  "The kernel needs more than 64 MiB of memory" },
		{ "bss beyond the memory", set64(good, SECOND + P_MEMSZ, 128 * MIB),
		  "The kernel needs more than 129 MiB of memory" },
		{ "segments overlap", set64(good, SECOND + P_PADDR, MIB + 4095),
		  "The ELF image has segments that overlap, at 0x100fff" },
		{ "one segment is in the other", set64(good, FIRST + P_MEMSZ, MIB),
		  "The ELF image has segments that overlap, at 0x102000" },
		{ "the PVH entry is nowhere", set64(good, ELF_NOTES + 16, 0x7000),
		  "The ELF image's entry point, at 0x7000, is not in one of its segments" },
		{ "the PVH entry is between segments", set64(good, ELF_NOTES + 16, MIB + 4096),
		  "The ELF image's entry point, at 0x101000, is not in one of its segments" },
		{ "the entry is a virtual address",
		  set64(make_elf(MIB, false), 24, 0xffffffff81000000),
		  "The ELF image's entry point, at 0xffffffff81000000, is not in one of its segments" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused_kernel(&loader, cases[i].sentence, &cases[i].file, NULL, 64 * MIB,
			       cases[i].want);
}

static void elf_images_that_change_are_refused(void **state)
{
	const struct file good = make_elf(MIB, true);
	const struct { const char *sentence; struct file file; const char *want; } cases[] = {
		{ "no program header", set16(good, 56, 0),
		  "The ELF image's entry point, at 0x100020, is not in one of its segments" },
		{ "too many of them", set16(good, 56, 65),
		  "The ELF image has bad program headers" },
		{ "as many as there can be", set16(good, 56, 65535),
		  "The ELF image has bad program headers" },
		{ "program headers far away", set64(good, 32, UINT64_MAX),
		  "The ELF image has bad program headers" },
		{ "program headers behind the end", set64(good, 32, good.len),
		  "The image is truncated" },
		{ "more of a segment in the file than in memory", set64(good, FIRST + P_FILESZ, 4097),
		  "The ELF image has a segment out of bounds" },
		{ "an offset that wraps", set64(good, FIRST + P_OFFSET, UINT64_MAX - 16),
		  "The ELF image has a segment out of bounds" },
		{ "an offset at the end of all files", set64(good, FIRST + P_OFFSET, INT64_MAX - 512),
		  "The image is truncated" },
		{ "a size that wraps", set64(good, FIRST + P_MEMSZ, UINT64_MAX - MIB + 1),
		  "The kernel lies above 3 GiB, at 0x100000" },
		{ "nothing but the header", cut(good, 64), "The image is truncated" },
		{ "nothing at all", cut(good, 0), "The image is truncated" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused_kernel(&loader, cases[i].sentence, &good, &cases[i].file, 64 * MIB,
			       cases[i].want);
}

static void bzimages_that_are_refused(void **state)
{
	const struct file good = make_bzimage();
	const struct { const char *sentence; struct file file; const char *want; } cases[] = {
		{ "it wants to be below 1 MiB", set64(good, BZ_PREF_ADDRESS, 0),
		  "The kernel lies at 0x0, but the first MiB of memory is not free" },
		{ "it wants to be in the hole", set64(good, BZ_PREF_ADDRESS, 0xc0000000),
		  "The kernel lies above 3 GiB, at 0xc0000000" },
		{ "it wants to be above the memory", set64(good, BZ_PREF_ADDRESS, 64 * MIB),
		  "The kernel needs more than 64 MiB of memory" },
		{ "it unpacks to more than there is", set32(good, BZ_INIT_SIZE, 128 * MIB),
		  "The kernel needs more than 129 MiB of memory" },
		{ "no alignment", set32(good, BZ_KERNEL_ALIGNMENT, 0),
		  "The bzImage has a bad header" },
		{ "an alignment that is none", set32(good, BZ_KERNEL_ALIGNMENT, 3 * MIB),
		  "The bzImage has a bad header" },
		{ "an alignment of 2 GiB", set32(good, BZ_KERNEL_ALIGNMENT, 0x80000000),
		  "The kernel needs more than 2048 MiB of memory" },
		{ "an address that wraps when it is aligned",
		  set64(set32(good, BZ_INIT_SIZE, 0), BZ_PREF_ADDRESS, UINT64_MAX - MIB),
		  "The bzImage has a bad header" },
		{ "it ends before its entry point", set32(good, BZ_SYSSIZE, 0x20),
		  "The bzImage has no kernel in it" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused_kernel(&loader, cases[i].sentence, &cases[i].file, NULL, 64 * MIB,
			       cases[i].want);
	refused_kernel(&loader, "nothing is left of it", &good, &(struct file){ 0 }, 64 * MIB,
		       "The image is truncated");
}

static void less_than_a_mib_is_no_memory(void **state)
{
	const struct file f = make_elf(MIB, true);

	(void)state;
	refused_kernel(&loader, "1 MiB", &f, NULL, MIB,
		       "The kernel needs more than 1 MiB of memory");
}

static void every_truncation_is_survived(void **state)
{
	const struct file elfs[] = { make_elf(MIB, true), make_elf(MIB, false) };
	const struct file bz = make_bzimage();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(elfs); i++)
		every_truncation_is_survived_of(&loader, &elfs[i], ELF_DATA + 100);
	every_truncation_is_survived_of(&loader, &bz, bz.len);
}

static void random_damage_is_survived(void **state)
{
	const struct original originals[] = {
		{ make_elf(MIB, true), 232 }, { make_elf(MIB, false), 232 }, { make_bzimage(), 0x270 },
	};

	(void)state;
	random_damage_is_survived_of(&loader, originals, ARRAY_SIZE(originals), 30000);
}

/* initrd */

static void the_initrd_is_as_high_as_it_can_be(void **state)
{
	const struct file elf = make_elf(2 * MIB - ELF_END, true), bz = make_bzimage();
	static const struct { const char *sentence; bool bz; uint64_t mem, len, start; } cases[] = {
		{ "a page", false, 4 * MIB, 4096, 4 * MIB - 4096 },
		{ "a page and a byte", false, 4 * MIB, 4097, 4 * MIB - 8192 },
		{ "all that the kernel leaves", false, 4 * MIB, 2 * MIB, 2 * MIB },
		{ "a byte less", false, 4 * MIB, 2 * MIB - 1, 2 * MIB },
		{ "all that unpacking leaves", true, 4 * MIB, MIB, 3 * MIB },
		{ "a byte more than the kernel leaves", false, 4 * MIB, 2 * MIB + 1, 0 },
		{ "more than there is memory", false, 4 * MIB, 5 * MIB, 0 },
		{ "a byte more than unpacking leaves", true, 4 * MIB, MIB + 1, 0 },
		{ "below 2 GiB, even if there is more", false, 3 * GIB, 4096, 2 * GIB - 4096 },
		{ "below initrd_addr_max", true, 3 * GIB, 5000, 2 * GIB - 8192 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fd_close) int fd = make_initrd(cases[i].len);
		const struct file *f = cases[i].bz ? &bz : &elf;
		CLEANUP(guest_done) struct guest guest = make_guest(&loader, cases[i].mem);

		if (cases[i].start == 0) {
			refused_initrd(&loader, cases[i].sentence, f, cases[i].mem, fd,
				       "Failed to compute the initrd address..");
			continue;
		}
		boots(&guest, f, fd);
		initrd_is_at(cases[i].sentence, &guest, cases[i].start, cases[i].len);
		if (!cases[i].bz && cases[i].mem < GIB)
			check_start_info(&guest, cases[i].start, cases[i].len);
		if (cases[i].bz && cases[i].mem < GIB)
			check_zero_page(&guest, cases[i].start, cases[i].len);
	}
}

static void initrds_that_are_refused(void **state)
{
	const struct file elf = make_elf(MIB, true);
	const struct file nowhere = set32(make_bzimage(), BZ_INITRD_ADDR_MAX, 0);
	CLEANUP(fd_close) int initrd = make_initrd(100);

	(void)state;
	what_is_no_initrd_is_refused(&loader, &elf);
	refused_initrd(&loader, "a kernel that wants it nowhere", &nowhere, 4 * MIB, initrd,
		       "Failed to compute the initrd address..");
}

/* Files of sysfs claim a page and have less, as one that shrinks while it is read. */
static void an_initrd_that_is_shorter_than_it_was_is_refused(void **state)
{
	CLEANUP(fd_close) int fd = open("/sys/devices/system/cpu/online", O_RDONLY | O_CLOEXEC);
	const struct file f = make_elf(MIB, true);
	struct stat st;

	(void)state;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4096) {
		print_message("no sysfs here\n");
		skip();
	}
	refused_initrd(&loader, "shorter", &f, 4 * MIB, fd, "Cannot load initrd due to an invalid "
		       "image: failed to fill whole buffer.");
}

/* Others */

static void what_is_written_is_dirty(void **state)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 4 * MIB);
	CLEANUP(fd_close) int initrd_fd = make_initrd(5000);
	const struct file f = make_bzimage();

	(void)state;
	boots(&guest, &f, initrd_fd);
	written_pages_are_dirty(&guest);
}

static void memory_above_the_holes_is_told(void **state)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 3 * GIB + 5 * MIB);
	const struct file f = make_bzimage();
	const uint8_t *page = guest.data + 0x7000, *last = page + 0x2d0 + 3 * 20;

	(void)state;
	boots(&guest, &f, -1);
	assert_int_equal(page[0x1e8], 4);
	assert_int_equal(get_le64(last), 4 * GIB);
	assert_int_equal(get_le64(last + 8), 5 * MIB);
	assert_int_equal(get_le32(last + 16), 1);
}

static void boot_file(const char *dir, const char *name, enum x86_64_boot_protocol protocol)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 256 * MIB);
	CLEANUP(image_done) struct image image = IMAGE_INIT;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(fd_close) int fd = -1, initrd_fd = -1;
	struct x86_64_boot_entry entry;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/initrd", dir);
	initrd_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		print_message("no %s in %s\n", name, dir);
		return;
	}
	image = open_image_fd(&loader, fd);
	if (boot(&guest, &image, initrd_fd, &entry, &fault) < 0)
		fail_msg("%s: %s", name, fault_text(&fault));
	assert_int_equal(entry.protocol, protocol);
	assert_true(entry.rip >= 16 * MIB && entry.rip < image.memory_bytes);
}

static void kernels_of_distributions_are_loaded(void **state)
{
	const char *dir = getenv("SQUIB_GUEST");

	(void)state;
	if (dir == NULL) {
		print_message("SQUIB_GUEST names no directory with kernel, vmlinux and initrd\n");
		skip();
	}
	boot_file(dir, "kernel", X86_64_BOOT_64);
	boot_file(dir, "vmlinux", X86_64_BOOT_PVH);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_lies_around_the_holes),
		cmocka_unit_test(a_tiny_kernel_with_a_pvh_note_needs_two_mib),
		cmocka_unit_test(a_kernel_may_end_with_the_memory),
		cmocka_unit_test(an_elf_kernel_without_a_note_has_the_64_bit_entry),
		cmocka_unit_test(a_bzimage_is_put_where_it_wants_to_be),
		cmocka_unit_test(of_a_setup_header_no_more_is_copied_than_there_is),
		cmocka_unit_test(a_bzimage_is_aligned_when_it_can_be_moved),
		cmocka_unit_test(the_gdt_says_what_the_processor_is_given),
		cmocka_unit_test(elf_images_that_are_refused),
		cmocka_unit_test(elf_images_that_change_are_refused),
		cmocka_unit_test(bzimages_that_are_refused),
		cmocka_unit_test(less_than_a_mib_is_no_memory),
		cmocka_unit_test(every_truncation_is_survived),
		cmocka_unit_test(random_damage_is_survived),
		cmocka_unit_test(the_initrd_is_as_high_as_it_can_be),
		cmocka_unit_test(initrds_that_are_refused),
		cmocka_unit_test(an_initrd_that_is_shorter_than_it_was_is_refused),
		cmocka_unit_test(what_is_written_is_dirty),
		cmocka_unit_test(memory_above_the_holes_is_told),
		cmocka_unit_test(kernels_of_distributions_are_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
