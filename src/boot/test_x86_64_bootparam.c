/* SPDX-License-Identifier: Apache-2.0 */
/* Our offsets in the zero page are those of the kernel's own header, which only x86_64 hosts have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <asm/bootparam.h>
#include <cmocka.h>

#include "boot/bzimage.h"
#include "base/util.h"

#define PAGE(field) offsetof(struct boot_params, field)
#define HEADER(field) (offsetof(struct boot_params, hdr) + offsetof(struct setup_header, field))

static void offsets_are_those_of_the_kernels_header(void **state)
{
	static const struct { const char *sentence; size_t ours, theirs; } cases[] = {
		{ "RSDP", 0x070, PAGE(acpi_rsdp_addr) },
		{ "entries of the memory map", 0x1e8, PAGE(e820_entries) },
		{ "memory map", 0x2d0, PAGE(e820_table) },
		{ "size of the setup code", BZ_SETUP_SECTS, HEADER(setup_sects) },
		{ "size of the kernel", BZ_SYSSIZE, HEADER(syssize) },
		{ "video mode", BZ_VID_MODE, HEADER(vid_mode) },
		{ "boot flag", BZ_BOOT_FLAG, HEADER(boot_flag) },
		{ "magic", BZ_MAGIC, HEADER(header) },
		{ "version", BZ_VERSION, HEADER(version) },
		{ "loader", BZ_TYPE_OF_LOADER, HEADER(type_of_loader) },
		{ "flags", BZ_LOADFLAGS, HEADER(loadflags) },
		{ "entry", BZ_CODE32_START, HEADER(code32_start) },
		{ "initrd", BZ_RAMDISK_IMAGE, HEADER(ramdisk_image) },
		{ "size of the initrd", BZ_RAMDISK_SIZE, HEADER(ramdisk_size) },
		{ "command line", BZ_CMD_LINE_PTR, HEADER(cmd_line_ptr) },
		{ "end of the initrd", BZ_INITRD_ADDR_MAX, HEADER(initrd_addr_max) },
		{ "alignment", BZ_KERNEL_ALIGNMENT, HEADER(kernel_alignment) },
		{ "can it be moved", BZ_RELOCATABLE_KERNEL, HEADER(relocatable_kernel) },
		{ "more flags", BZ_XLOADFLAGS, HEADER(xloadflags) },
		{ "size of the command line", BZ_CMDLINE_SIZE, HEADER(cmdline_size) },
		{ "list of more data", BZ_SETUP_DATA, HEADER(setup_data) },
		{ "preferred address", BZ_PREF_ADDRESS, HEADER(pref_address) },
		{ "room to unpack", BZ_INIT_SIZE, HEADER(init_size) },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (cases[i].ours != cases[i].theirs)
			fail_msg("%s: 0x%zx, not 0x%zx", cases[i].sentence, cases[i].ours,
				 cases[i].theirs);
	assert_int_equal(sizeof(struct boot_e820_entry), 20);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(offsets_are_those_of_the_kernels_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
