/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_BOOT_X86_64_INTERNAL_H
#define SQUIB_BOOT_X86_64_INTERNAL_H

#include "boot/bzimage.h"
#include "boot/load.h"
#include "boot/x86_64.h"

#define X86_64_START_INFO	0x6000u		/* with all it points to: a page */
#define X86_64_ZERO_PAGE	0x7000u
#define X86_64_CMDLINE		0x20000u
#define X86_64_MPTABLE		0x9fc00u	/* Linux looks there: the last KiB of base memory */
#define X86_64_MPTABLE_BYTES	0x400u
#define X86_64_ACPI		0xe0000u	/* Linux looks there, too (ACPI 6.4, 5.2.5.1) */
#define X86_64_ACPI_BYTES	0x20000u
#define X86_64_HIGH_MEMORY	0x100000u	/* kernels lie at or above it */

struct x86_64_kernel {
	enum x86_64_boot_protocol protocol;
	gpa_t rip;
	gpa_t end;			/* it needs all memory up to there */
	gpa_t initrd_end;		/* the initrd must end there or below */
	/* The setup header of a bzImage: that of the file from BZ_SETUP_SECTS on. */
	size_t header_end;		/* as an offset in the file; 0: none */
	uint8_t header[BZ_HEADER_MAX];
};

/** x86_64_load_kernel() - 0, or -errno with @fault, the cause only */
int x86_64_load_kernel(const struct guest_mem *mem, const struct image *image,
		       struct x86_64_kernel *ret_kernel, struct fault *fault);

/*
 * What the kernel is told of at its entry: PVH start info or zero page. Each returns 0, or -EFAULT
 * when there is no memory where it lies.
 */
int x86_64_write_start_info(const struct guest_mem *mem, const struct load_initrd *initrd);
int x86_64_write_zero_page(const struct guest_mem *mem, const struct x86_64_kernel *kernel,
			   const struct load_initrd *initrd, size_t cmdline_len);

#endif
