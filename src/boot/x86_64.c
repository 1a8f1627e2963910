/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/x86_64.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "boot/acpi.h"
#include "boot/bytes.h"
#include "boot/cmdline.h"
#include "boot/load.h"
#include "boot/mptable.h"
#include "boot/x86_64_internal.h"

/* Regions */

#define FIRST_4_GIB	(UINT64_C(1) << 32)

size_t x86_64_regions(uint64_t size_bytes, struct guest_region *regions)
{
	size_t count = 0;

	load_add_region(regions, &count, 0, X86_64_MMIO32_START, &size_bytes);
	load_add_region(regions, &count, FIRST_4_GIB, X86_64_MMIO64_START, &size_bytes);
	load_add_region(regions, &count, X86_64_MMIO64_END, UINT64_MAX, &size_bytes);
	return count;
}

/* Segments and page tables */

#define CR0_PE		UINT64_C(0x1)
#define CR0_ET		UINT64_C(0x10)
#define CR0_PG		UINT64_C(0x80000000)
#define CR4_PAE		UINT64_C(0x20)
#define EFER_LME	UINT64_C(0x100)
#define EFER_LMA	UINT64_C(0x400)

#define TYPE_CODE	0xb	/* execute, read, accessed */
#define TYPE_DATA	0x3	/* read, write, accessed */
#define TYPE_TSS	0xb	/* busy; also what VMX wants */

/* The selectors are those that boot.rst asks for; PVH leaves them to us. */
#define SELECTOR_CODE	0x10
#define SELECTOR_DATA	0x18
#define SELECTOR_TSS	0x20	/* takes two entries in long mode */
#define GDT_ENTRIES	6

#define FLAT		UINT32_MAX
#define TSS_LIMIT	0x67

static const struct x86_64_cpu_state cpu_states[] = {
	[X86_64_BOOT_PVH] = {	/* Xen, docs/misc/pvh.pandoc, "initial state" */
		.code = { SELECTOR_CODE, FLAT, TYPE_CODE, .s = true, .db = true, .g = true },
		.data = { SELECTOR_DATA, FLAT, TYPE_DATA, .s = true, .db = true, .g = true },
		.task = { SELECTOR_TSS, TSS_LIMIT, TYPE_TSS },
		.cr0 = CR0_PE | CR0_ET,
		.gdt_limit = GDT_ENTRIES * 8 - 1,
	},
	[X86_64_BOOT_64] = {	/* Linux, Documentation/arch/x86/boot.rst, "64-bit boot protocol" */
		.code = { SELECTOR_CODE, FLAT, TYPE_CODE, .s = true, .l = true, .g = true },
		.data = { SELECTOR_DATA, FLAT, TYPE_DATA, .s = true, .db = true, .g = true },
		.task = { SELECTOR_TSS, TSS_LIMIT, TYPE_TSS },
		.cr0 = CR0_PE | CR0_ET | CR0_PG,
		.cr3 = X86_64_PML4,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA,
		.gdt_limit = GDT_ENTRIES * 8 - 1,
	},
};

const struct x86_64_cpu_state *x86_64_cpu_state(enum x86_64_boot_protocol protocol)
{
	return &cpu_states[protocol];
}

/* Intel SDM, volume 3, figure 3-8. The base is 0. */
static uint64_t descriptor(const struct x86_64_segment *segment)
{
	uint64_t limit = segment->g ? segment->limit >> 12 : segment->limit;

	return (limit & 0xffff) | (limit >> 16 & 0xf) << 48 | (uint64_t)segment->type << 40 |
	       (uint64_t)segment->s << 44 | UINT64_C(1) << 47 | (uint64_t)segment->l << 53 |
	       (uint64_t)segment->db << 54 | (uint64_t)segment->g << 55;
}

static int write_gdt(const struct guest_mem *mem, enum x86_64_boot_protocol protocol)
{
	const struct x86_64_cpu_state *state = &cpu_states[protocol];
	void *data;
	uint8_t *gdt;

	if (load_room(mem, X86_64_GDT, GDT_ENTRIES * 8, &data) < 0)
		return -EFAULT;
	gdt = data;
	put_le64(gdt + SELECTOR_CODE, descriptor(&state->code));
	put_le64(gdt + SELECTOR_DATA, descriptor(&state->data));
	put_le64(gdt + SELECTOR_TSS, descriptor(&state->task));
	return 0;
}

#define PAGE_PRESENT	1u
#define PAGE_WRITABLE	2u
#define PAGE_LARGE	0x80u
#define MAPPED_GIB	4u
#define TABLE_ENTRIES	512u
#define PAGE_2M_SHIFT	21

/*
 * All that is below 4 GiB, so that wherever a kernel, its initrd and what it decompresses may lie, it
 * is mapped; only what is used costs the guest anything. Pages of 1 GiB would be fewer entries, but
 * not every CPU has them.
 */
static int write_page_tables(const struct guest_mem *mem)
{
	uint32_t flags = PAGE_PRESENT | PAGE_WRITABLE;
	gpa_t pdpt = X86_64_PML4 + GUEST_PAGE_BYTES, directories = pdpt + GUEST_PAGE_BYTES;
	uint8_t *tables;
	void *data;

	if (load_room(mem, X86_64_PML4, (2 + MAPPED_GIB) * GUEST_PAGE_BYTES, &data) < 0)
		return -EFAULT;
	tables = data;
	put_le64(tables, pdpt | flags);
	tables += GUEST_PAGE_BYTES;
	for (uint64_t i = 0; i < MAPPED_GIB; i++)
		put_le64(tables + i * 8, (directories + i * GUEST_PAGE_BYTES) | flags);
	tables += GUEST_PAGE_BYTES;
	for (uint64_t i = 0; i < MAPPED_GIB * TABLE_ENTRIES; i++)
		put_le64(tables + i * 8, i << PAGE_2M_SHIFT | flags | PAGE_LARGE);
	return 0;
}

/* All together */

static int load_kernel(const struct x86_64_boot_params *params, struct x86_64_kernel *kernel,
		       struct fault *fault)
{
	CLEANUP(fault_done) struct fault cause = FAULT_INIT;
	int r = x86_64_load_kernel(params->mem, params->image, kernel, &cause);

	if (r < 0)
		fault_set(fault, r, LOAD_KERNEL_FAULT "%s", fault_text(&cause));
	return r;
}

static int place_initrd(const struct x86_64_boot_params *params, const struct x86_64_kernel *kernel,
			struct load_initrd *initrd, struct fault *fault)
{
	uint64_t end = guest_mem_region(params->mem, 0)->size_bytes;

	if (end > kernel->initrd_end)
		end = kernel->initrd_end;
	return load_initrd(params->mem, params->initrd_fd, kernel->end, end, initrd, fault);
}

static int write_cmdline(const struct x86_64_boot_params *params)
{
	size_t len = strlen(params->cmdline);
	void *data;

	assert(len < CMDLINE_MAX);
	if (load_room(params->mem, X86_64_CMDLINE, len + 1, &data) < 0)
		return -EFAULT;
	memcpy(data, params->cmdline, len + 1);
	return 0;
}

/* What the kernel of either protocol looks for by itself. */
static int write_tables(const struct x86_64_boot_params *params)
{
	void *mptable, *acpi;
	int r;

	if (guest_mem_slice(params->mem, X86_64_MPTABLE, X86_64_MPTABLE_BYTES, &mptable) < 0 ||
	    guest_mem_slice(params->mem, X86_64_ACPI, X86_64_ACPI_BYTES, &acpi) < 0)
		return -EFAULT;
	r = mptable_write(mptable, X86_64_MPTABLE_BYTES, X86_64_MPTABLE, params->vcpu_count);
	if (r < 0)
		return r;
	guest_mem_mark_dirty(params->mem, mptable, (size_t)r);
	r = acpi_write(&(struct acpi_params){
		.data = acpi, .size = X86_64_ACPI_BYTES, .address = X86_64_ACPI,
		.vcpu_count = params->vcpu_count,
		.devices = params->devices, .device_count = params->device_count,
	});
	if (r < 0)
		return r;
	guest_mem_mark_dirty(params->mem, acpi, (size_t)r);
	return 0;
}

static int write_entry_info(const struct x86_64_boot_params *params,
			    const struct x86_64_kernel *kernel, const struct load_initrd *initrd)
{
	int r;

	if (kernel->protocol == X86_64_BOOT_PVH)
		return x86_64_write_start_info(params->mem, initrd);
	r = x86_64_write_zero_page(params->mem, kernel, initrd, strlen(params->cmdline));
	return r < 0 ? r : write_page_tables(params->mem);
}

static int write_machine(const struct x86_64_boot_params *params, const struct x86_64_kernel *kernel,
			 const struct load_initrd *initrd)
{
	int r = write_gdt(params->mem, kernel->protocol);

	if (r == 0)
		r = write_cmdline(params);
	if (r == 0)
		r = write_tables(params);
	return r < 0 ? r : write_entry_info(params, kernel, initrd);
}

int x86_64_boot(const struct x86_64_boot_params *params, struct x86_64_boot_entry *ret_entry,
		struct fault *fault)
{
	struct load_initrd initrd = { 0 };
	struct x86_64_kernel kernel;
	int r;

	assert(params->vcpu_count >= 1 && params->vcpu_count <= X86_64_VCPUS_MAX);
	assert(params->device_count <= X86_64_DEVICES_MAX);
	r = load_kernel(params, &kernel, fault);
	if (r == 0)
		r = place_initrd(params, &kernel, &initrd, fault);
	if (r < 0)
		return r;
	r = write_machine(params, &kernel, &initrd);
	if (r < 0)
		return fault_set(fault, r, "System configuration error: The description of the "
				 "machine does not fit into its first MiB of memory");
	*ret_entry = (struct x86_64_boot_entry){
		.protocol = kernel.protocol,
		.rip = kernel.rip,
		.info = kernel.protocol == X86_64_BOOT_PVH ? X86_64_START_INFO : X86_64_ZERO_PAGE,
	};
	return 0;
}
