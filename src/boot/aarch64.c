/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol is that of Linux, Documentation/arch/arm64/booting.rst. All lies in the first region
 * of memory. image_open() has checked the numbers used here, which are those of struct image; should
 * the file be another one by now, only the guest has the worse of it.
 */
#include "boot/aarch64.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "boot/aarch64_internal.h"
#include "boot/cmdline.h"

#define KERNEL_BASE	(AARCH64_MEM_START + AARCH64_RESERVED_BYTES)	/* a multiple of 2 MiB */
#define NOT_KERNEL_BYTES (AARCH64_RESERVED_BYTES + AARCH64_FDT_BYTES_MAX)

/* The initrd has to be in a window of this size that begins at a multiple of 1 GiB, as the kernel. */
#define INITRD_END_MAX	(AARCH64_MEM_START + (UINT64_C(32) << 30))

size_t aarch64_regions(uint64_t size_bytes, struct guest_region *regions)
{
	uint64_t left = size_bytes < AARCH64_MEM_BYTES_MAX ? size_bytes : AARCH64_MEM_BYTES_MAX;
	size_t count = 0;

	load_add_region(regions, &count, AARCH64_MEM_START, AARCH64_MMIO64_START, &left);
	load_add_region(regions, &count, AARCH64_MMIO64_END, UINT64_MAX, &left);
	return count;
}

static int place_kernel(const struct image *image, uint64_t low_bytes, struct fault *fault)
{
	if (image->format != IMAGE_ARM64)
		return fault_set(fault, -ENOEXEC, "Not a kernel image for aarch64");
	if (low_bytes < NOT_KERNEL_BYTES || image->memory_bytes > low_bytes - NOT_KERNEL_BYTES)
		return fault_set(fault, -ENOMEM, "The kernel needs more than %llu MiB of memory",
				 (unsigned long long)(((image->memory_bytes - 1) >> 20) +
						      (NOT_KERNEL_BYTES >> 20)));
	return 0;
}

static int load_kernel(const struct aarch64_boot_params *params, uint64_t low_bytes,
		       struct fault *fault)
{
	const struct image *image = params->image;
	CLEANUP(fault_done) struct fault cause = FAULT_INIT;
	int r = place_kernel(image, low_bytes, &cause);

	if (r == 0)
		r = load_image(params->mem, image, 0, KERNEL_BASE + image->text_offset,
			       image->size_bytes, &cause);
	if (r < 0)
		fault_set(fault, r, LOAD_KERNEL_FAULT "%s", fault_text(&cause));
	return r;
}

int aarch64_boot(const struct aarch64_boot_params *params, struct aarch64_boot_entry *ret_entry,
		 struct fault *fault)
{
	uint64_t low_bytes = guest_mem_region(params->mem, 0)->size_bytes;
	gpa_t fdt = AARCH64_MEM_START + low_bytes - AARCH64_FDT_BYTES_MAX;
	struct load_initrd initrd = { 0 };
	int r;

	assert(params->vcpu_count >= 1 && params->vcpu_count <= AARCH64_VCPUS_MAX);
	assert(params->cache_count <= AARCH64_CACHES_MAX);
	assert(params->device_count <= AARCH64_DEVICES_MAX);
	assert(strlen(params->cmdline) < CMDLINE_MAX);
	r = load_kernel(params, low_bytes, fault);
	if (r == 0)
		r = load_initrd(params->mem, params->initrd_fd,
				KERNEL_BASE + params->image->memory_bytes,
				fdt < INITRD_END_MAX ? fdt : INITRD_END_MAX, &initrd, fault);
	if (r == 0)
		r = aarch64_write_fdt(params, &initrd, fdt, fault);
	if (r == 0)
		*ret_entry = (struct aarch64_boot_entry){
			.pc = KERNEL_BASE + params->image->text_offset,
			.fdt = fdt,
		};
	return r;
}
