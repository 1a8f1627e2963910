/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts everything into an aarch64 guest's memory that its kernel expects to find there when it
 * starts: itself, the initrd, and the device tree, which has the command line and describes the
 * machine. The map is Firecracker's:
 *
 *	below 0x40000000	the interrupt controller, growing down
 *	0x40000000		boot timer
 *	0x40001000		clock (PL031)
 *	0x40002000		serial port (16550A)
 *	0x40003000		virtio-mmio devices, a page each
 *	0x80000000		memory: 2 MiB that the kernel is not told of, for what is not RAM to it
 *	0x80200000		the kernel's image, at its text offset
 *	...			initrd, up to the device tree
 *	...			device tree, the last 2 MiB of the first region of memory
 */
#ifndef SQUIB_BOOT_AARCH64_H
#define SQUIB_BOOT_AARCH64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "boot/image.h"
#include "mem/guest_mem.h"

#define AARCH64_MMIO32_START	0x40000000u
#define AARCH64_MEM_START	0x80000000u
#define AARCH64_RESERVED_BYTES	0x200000u	/* from AARCH64_MEM_START */
#define AARCH64_MEM_BYTES_MAX	(UINT64_C(1022) << 30)
#define AARCH64_MMIO64_START	(UINT64_C(256) << 30)	/* memory ends here */
#define AARCH64_MMIO64_END	(UINT64_C(512) << 30)	/* and goes on here */
#define AARCH64_FDT_BYTES_MAX	0x200000u	/* Linux, Documentation/arm64/booting.rst */

/* Addresses that the machine and its description have to agree on. A page each. */
#define AARCH64_RTC_ADDRESS	0x40001000u
#define AARCH64_SERIAL_ADDRESS	0x40002000u
#define AARCH64_REGISTER_BYTES	0x1000u

/* A GSI is the number of a shared peripheral interrupt (SPI), from 0: Arm's interrupt id less 32. */
#define AARCH64_GSI_COUNT	96u

#define AARCH64_VCPUS_MAX	32u
#define AARCH64_DEVICES_MAX	92u

/* Interrupt controller, as it is in the machine. */
struct aarch64_gic {
	const char *compatible;		/* "arm,gic-v3"; static */
	uint64_t registers[4];		/* address and size, twice: distributor; redistributors or CPU interface */
	uint32_t maintenance_irq;	/* a private peripheral interrupt (PPI), from 0 */
	uint64_t its[2];		/* address and size of the interrupt translation service; 0: none */
};

enum aarch64_cache_type { AARCH64_CACHE_DATA, AARCH64_CACHE_INSTRUCTION, AARCH64_CACHE_UNIFIED };

#define AARCH64_CACHES_MAX 8	/* of a CPU: data and instruction, unified, in up to 7 levels */

/* A cache of each CPU. What is 0 is not known. */
struct aarch64_cache {
	unsigned int level;		/* from 1 */
	enum aarch64_cache_type type;
	uint32_t size_bytes;
	uint32_t line_bytes;
	uint32_t sets;
	unsigned int cpus_per_unit;	/* that share one, at least 1; a unit has CPUs that follow each other */
};

/* A virtio-mmio device: a page of registers at address. */
struct aarch64_virtio {
	uint64_t address;
	uint32_t gsi;
};

struct aarch64_boot_params {
	struct guest_mem *mem;
	const struct image *image;	/* IMAGE_ARM64 */
	int initrd_fd;			/* -1: none. Read at offsets; stays the caller's */
	const char *cmdline;		/* as cmdline_build() made it: shorter than CMDLINE_MAX */
	const uint64_t *mpidrs;		/* MPIDR_EL1 of each vCPU */
	unsigned int vcpu_count;	/* 1 to AARCH64_VCPUS_MAX */
	const struct aarch64_gic *gic;
	const struct aarch64_cache *caches;	/* levels ascending */
	size_t cache_count;		/* up to AARCH64_CACHES_MAX */
	bool serial;			/* the tree tells of the serial port */
	uint32_t serial_gsi;
	const struct aarch64_virtio *devices;	/* addresses ascending: the guest finds them so */
	size_t device_count;		/* up to AARCH64_DEVICES_MAX */
	/*
	 * Seed of the kernel's random number generator, 64 bytes; NULL: the host's getrandom().
	 * Tests give one, to have the same tree each time.
	 */
	const uint8_t *rng_seed;
};

/*
 * The state in which the boot processor enters the kernel: EL1h with all interrupts masked, MMU off,
 * pc and x0 as here, x1 to x3 0. The other processors are off until PSCI's CPU_ON.
 */
struct aarch64_boot_entry {
	gpa_t pc;
	gpa_t fdt;		/* for x0 */
};

/**
 * aarch64_regions() - where @size_bytes of memory lie; more than AARCH64_MEM_BYTES_MAX is cut
 * @regions: GUEST_REGIONS_MAX of them
 *
 * Return: how many were filled.
 */
size_t aarch64_regions(uint64_t size_bytes, struct guest_region *regions);

/**
 * aarch64_boot() - fill the memory
 *
 * The memory is as guest_mem_new() made it: zero. Kernel and initrd are read straight into it. What
 * of it is written is marked as dirty.
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: " (contract 4.3).
 */
int aarch64_boot(const struct aarch64_boot_params *params, struct aarch64_boot_entry *ret_entry,
		 struct fault *fault);

#endif
