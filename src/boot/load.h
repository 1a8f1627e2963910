/* SPDX-License-Identifier: Apache-2.0 */
/* What loading a kernel and its initrd has in common on all architectures. */
#ifndef SQUIB_BOOT_LOAD_H
#define SQUIB_BOOT_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "boot/image.h"
#include "mem/guest_mem.h"

/* In front of why a kernel was not loaded (contract 4.3) */
#define LOAD_KERNEL_FAULT "System configuration error: Cannot load kernel due to invalid memory " \
			  "configuration or invalid kernel image: "

struct load_initrd {
	gpa_t start;
	uint64_t size_bytes;		/* 0: none */
};

/**
 * load_add_region() - put memory into [start, end) of the guest's addresses
 * @count: of @regions so far
 * @left: bytes of memory that have no place yet; what found one is taken off
 */
void load_add_region(struct guest_region *regions, size_t *count, gpa_t start, gpa_t end,
		     uint64_t *left);

/** load_room() - guest_mem_slice() for memory that is about to be written to */
int load_room(const struct guest_mem *mem, gpa_t gpa, size_t len, void **ret_data);

/**
 * load_image() - read [offset, offset + len) of @image to @gpa; nothing when @len is 0
 *
 * Return: 0, or -errno with @fault, the cause only.
 */
int load_image(const struct guest_mem *mem, const struct image *image, uint64_t offset, gpa_t gpa,
	       uint64_t len, struct fault *fault);

/**
 * load_initrd() - read all of @fd to the highest pages of [low, high) that it fits into
 * @fd: -1: there is none
 *
 * Return: 0 with @ret_initrd, or -errno with @fault, "Error with initrd initialization: ‹e›."
 */
int load_initrd(const struct guest_mem *mem, int fd, gpa_t low, gpa_t high,
		struct load_initrd *ret_initrd, struct fault *fault);

#endif
