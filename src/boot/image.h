/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel images: what a file is, and whether it can be started. Nothing in the file is believed
 * before it has been checked against the file's size.
 */
#ifndef SQUIB_BOOT_IMAGE_H
#define SQUIB_BOOT_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <squib/controller.h>

#include "base/fault.h"
#include "base/fd.h"

enum image_format {
	IMAGE_BZIMAGE,		/* x86_64; Documentation/arch/x86/boot.rst of Linux */
	IMAGE_ELF,		/* x86_64 vmlinux */
	IMAGE_ARM64,		/* aarch64 Image; Documentation/arch/arm64/booting.rst */
};

#define IMAGE_DECOMPRESSED_MAX	(UINT64_C(1) << 30)	/* a vmlinux with its debug data is large */

#define IMAGE_PHDR_MAX	64	/* program headers of an ELF image; a vmlinux has 5 */

struct image {
	int fd;			/* the plain image: of its own, position undefined, never written */
	uint64_t size_bytes;
	enum image_format format;
	/*
	 * The least guest memory, from its first byte, with which it can start: up to the end of the
	 * kernel where it runs, unpacked, with its bss. Image: text_offset and all that it needs, from
	 * whichever multiple of 2 MiB.
	 */
	uint64_t memory_bytes;
	uint64_t pvh_entry;	/* ELF: entry point of its PVH note; 0: no such note */
	uint64_t text_offset;	/* Image: where it begins, from a multiple of 2 MiB on */
	uint32_t page_bytes;	/* Image: the size of pages that it is made for; 0: it does not tell */
};

#define IMAGE_INIT { .fd = -1 }

/**
 * image_open() - recognise and check a kernel image
 * @fd: a regular file, readable from 0; stays the caller's
 *
 * A file compressed with gzip or zstd is decompressed into a sealed memory file first, up to
 * IMAGE_DECOMPRESSED_MAX.
 *
 * Return: 0 with @ret_image, to be given to image_done(); or a negative errno with the cause in
 * @fault, to stand behind "Cannot load kernel due to ...: ".
 */
int image_open(int fd, enum squib_arch arch, struct image *ret_image, struct fault *fault);

/**
 * image_read() - read all of [offset, offset + len) of @fd to @data
 *
 * The file may have shrunk since image_open() looked at it. Return: 0 or a negative errno with @fault.
 */
int image_read(int fd, uint64_t offset, void *data, uint64_t len, struct fault *fault);

static inline void image_done(struct image *image) { fd_close(fd_take(&image->fd)); }
static inline void image_done_p(struct image *image) { image_done(image); }

#endif
