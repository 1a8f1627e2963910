/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: what they need, and what they check, of loading a kernel and its initrd, whatever the
 * architecture. Each has a struct loader, which tells of its own.
 */
#ifndef SQUIB_BOOT_TEST_LOADING_H
#define SQUIB_BOOT_TEST_LOADING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/image.h"
#include "boot/test_files.h"
#include "mem/guest_mem.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* A guest's memory, with nothing around it that could be touched by mistake */
struct guest {
	struct guest_mem *mem;
	uint8_t *data;		/* of its first region */
	uint64_t size;
	void *guards[2];
};

struct loader {
	enum squib_arch arch;
	size_t (*regions)(uint64_t size_bytes, struct guest_region *regions);
	/*
	 * Boots a small machine; 0, or -errno with @fault. Fails the test if the entry is not what it
	 * can be: as it was, if the machine does not boot.
	 */
	int (*boot)(const struct guest *guest, const struct image *image, int initrd_fd,
		    struct fault *fault);
};

struct guest make_guest(const struct loader *loader, uint64_t size_bytes);
void guest_done_p(struct guest *guest);

/** open_image() - a kernel that is recognised; its fd may be written to */
struct image open_image(const struct loader *loader, const struct file *f);
struct image open_image_fd(const struct loader *loader, int fd);

bool all_are(const uint8_t *data, uint8_t value, size_t len);

/* Layout */

struct regions_case {
	const char *sentence;
	uint64_t size_bytes;
	struct guest_region want[GUEST_REGIONS_MAX];
};

void check_regions(const struct loader *loader, const struct regions_case *cases, size_t count);

/* Each page of the first region that is not zero is marked as dirty. */
void written_pages_are_dirty(const struct guest *guest);

/* What is refused: @want is the whole text of the fault. */

void refused(const struct loader *loader, const char *sentence, const struct guest *guest,
	     const struct image *image, int initrd_fd, const char *want);

/**
 * refused_kernel() - a kernel that is recognised, but not loaded
 * @change: if any, what the file becomes after it was recognised
 * @cause: what is behind LOAD_KERNEL_FAULT
 */
void refused_kernel(const struct loader *loader, const char *sentence, const struct file *f,
		    const struct file *change, uint64_t mem_bytes, const char *cause);

/** refused_initrd() - @cause: all that is behind "Error with initrd initialization: " */
void refused_initrd(const struct loader *loader, const char *sentence, const struct file *f,
		    uint64_t mem_bytes, int initrd_fd, const char *cause);

/* Whatever @f is cut to after it was recognised, less than @needed_len is refused; ASan watches. */
void every_truncation_is_survived_of(const struct loader *loader, const struct file *f,
				     size_t needed_len);

struct original {
	struct file file;
	size_t header_len;	/* the damage is there */
};

/* With and without an initrd, the same file */
void random_damage_is_survived_of(const struct loader *loader, const struct original *originals,
				  size_t count, size_t rounds);

/* initrd */

/** make_initrd() - a file that initrd_is_at() knows again; at least 9 bytes */
int make_initrd(uint64_t len);
void initrd_is_at(const char *sentence, const struct guest *guest, uint64_t start, uint64_t len);

/* An empty file, a directory and what is not open; 8 MiB are enough for the kernel @f. */
void what_is_no_initrd_is_refused(const struct loader *loader, const struct file *f);

#endif
