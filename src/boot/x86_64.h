/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts everything into an x86_64 guest's memory that its kernel expects to find there when it
 * starts: itself, the initrd, the command line, the description of the machine.
 *
 * The map below 1 MiB; the kernel's own place is where its image says:
 *
 *	0x00500	GDT
 *	0x06000	PVH start info, module list, memory map		(PVH entry)
 *	0x07000	zero page: struct boot_params			(64-bit entry)
 *	0x08ff0	stack, growing down				(64-bit entry)
 *	0x09000	page tables: 4 GiB, mapped to themselves	(64-bit entry)
 *	0x20000	command line
 *	0x9fc00	MP table, up to 0xa0000
 *	0xe0000	ACPI tables: RSDP first, up to 1 MiB
 */
#ifndef SQUIB_BOOT_X86_64_H
#define SQUIB_BOOT_X86_64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "boot/image.h"
#include "mem/guest_mem.h"

#define X86_64_MMIO32_START	0xc0000000u	/* memory ends here and goes on at 4 GiB */
#define X86_64_MMIO64_START	(UINT64_C(256) << 30)	/* it ends here, too */
#define X86_64_MMIO64_END	(UINT64_C(512) << 30)	/* and goes on here */

/* Addresses that the machine and its description have to agree on. */
#define X86_64_IOAPIC_ADDRESS	0xfec00000u
#define X86_64_LAPIC_ADDRESS	0xfee00000u
#define X86_64_SERIAL_PORT	0x3f8
#define X86_64_SERIAL_GSI	4
#define X86_64_I8042_GSI	1
/* ACPI power-off (ACPI 6.4, 4.8.3.7): the sleep control and sleep status registers */
#define X86_64_SLEEP_CONTROL_PORT 0x600
#define X86_64_SLEEP_STATUS_PORT  0x601
#define X86_64_SLEEP_TYPE_S5	5
#define X86_64_SLEEP_ENABLE	0x20

#define X86_64_GDT	0x500u
#define X86_64_STACK	0x8ff0u
#define X86_64_PML4	0x9000u

#define X86_64_VCPUS_MAX	32u
#define X86_64_DEVICES_MAX	19u	/* virtio-mmio: one for each GSI from 5 to 23 */

/* A virtio-mmio device: a page of registers at address. */
struct x86_64_virtio {
	uint32_t address;
	uint32_t gsi;
};

struct x86_64_boot_params {
	struct guest_mem *mem;
	const struct image *image;	/* IMAGE_BZIMAGE or IMAGE_ELF */
	int initrd_fd;			/* -1: none. Read at offsets; stays the caller's */
	const char *cmdline;		/* as cmdline_build() made it: shorter than CMDLINE_MAX */
	unsigned int vcpu_count;	/* 1 to X86_64_VCPUS_MAX */
	const struct x86_64_virtio *devices;	/* in attach order: the guest finds them so */
	size_t device_count;		/* up to X86_64_DEVICES_MAX */
};

enum x86_64_boot_protocol {
	X86_64_BOOT_PVH,	/* 32-bit protected mode, %ebx: start info */
	X86_64_BOOT_64,		/* long mode, identity-mapped, %rsi: zero page */
};

struct x86_64_boot_entry {
	enum x86_64_boot_protocol protocol;
	gpa_t rip;
	gpa_t info;		/* for %rbx or %rsi */
};

/*
 * The state in which the boot processor enters the kernel, beside rip, the register that
 * x86_64_boot_entry.info is for, and rsp = X86_64_STACK with the 64-bit entry: rflags 2, all other
 * general registers 0. The other processors wait for INIT and SIPI. The GDT in memory says the same
 * of the segments, so a kernel may load them again. There is no IDT: limit 0.
 */
struct x86_64_segment {		/* base 0, privilege level 0, present */
	uint16_t selector;
	uint32_t limit;		/* in bytes, as KVM wants it */
	uint8_t type;		/* Intel SDM, volume 3, 3.4.5 */
	bool s, db, l, g;
};

struct x86_64_cpu_state {
	struct x86_64_segment code;	/* cs */
	struct x86_64_segment data;	/* ds, es, fs, gs, ss */
	struct x86_64_segment task;	/* tr. ldtr is unusable */
	uint64_t cr0, cr3, cr4, efer;
	uint16_t gdt_limit;		/* its base is X86_64_GDT */
};

const struct x86_64_cpu_state *x86_64_cpu_state(enum x86_64_boot_protocol protocol);

/**
 * x86_64_regions() - where @size_bytes of memory lie
 * @regions: GUEST_REGIONS_MAX of them; the first begins at 0
 *
 * Return: how many were filled.
 */
size_t x86_64_regions(uint64_t size_bytes, struct guest_region *regions);

/**
 * x86_64_boot() - fill the memory
 *
 * The memory is as guest_mem_new() made it: zero. Kernel and initrd are read straight into it. What
 * of it is written is marked as dirty.
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: " (contract 4.3).
 */
int x86_64_boot(const struct x86_64_boot_params *params, struct x86_64_boot_entry *ret_entry,
		struct fault *fault);

#endif
