/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/test_loading.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot/load.h"

#define INITRD_FAULT "Error with initrd initialization: "

static void *guard(uint8_t *at)
{
	return mmap(at, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

struct guest make_guest(const struct loader *loader, uint64_t size_bytes)
{
	struct guest_region regions[GUEST_REGIONS_MAX];
	struct guest_mem_params params = { .regions = regions, .track_dirty = true };
	struct guest guest;

	params.region_count = loader->regions(size_bytes, regions);
	assert_int_equal(guest_mem_new(&params, &guest.mem, NULL), 0);
	guest.data = guest_mem_region_data(guest.mem, 0);
	guest.size = regions[0].size_bytes;
	madvise(guest.data, size_bytes, MADV_NOHUGEPAGE);	/* few pages are touched */
	guest.guards[0] = guard(guest.data - 4096);
	guest.guards[1] = guard(guest.data + size_bytes);
	return guest;
}

void guest_done_p(struct guest *guest)
{
	for (size_t i = 0; i < ARRAY_SIZE(guest->guards); i++)
		if (guest->guards[i] != MAP_FAILED)	/* something else is there already */
			munmap(guest->guards[i], 4096);
	guest_mem_free(guest->mem);
}

struct image open_image_fd(const struct loader *loader, int fd)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct image image = IMAGE_INIT;

	if (image_open(fd, loader->arch, &image, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	return image;
}

struct image open_image(const struct loader *loader, const struct file *f)
{
	CLEANUP(fd_close) int fd = fd_of(f->data, f->len);

	return open_image_fd(loader, fd);
}

bool all_are(const uint8_t *data, uint8_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != value)
			return false;
	return true;
}

/* Layout */

void check_regions(const struct loader *loader, const struct regions_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct guest_region regions[GUEST_REGIONS_MAX] = { 0 };
		size_t filled = loader->regions(cases[i].size_bytes, regions);

		for (size_t j = 0; j < ARRAY_SIZE(regions); j++)
			if ((j < filled) != (cases[i].want[j].size_bytes != 0) ||
			    regions[j].start != cases[i].want[j].start ||
			    regions[j].size_bytes != cases[i].want[j].size_bytes)
				fail_msg("%s: region %zu", cases[i].sentence, j);
	}
}

void written_pages_are_dirty(const struct guest *guest)
{
	uint64_t bitmap[64 * MIB / 4096 / 64] = { 0 };

	assert_true(guest->size <= 64 * MIB);
	guest_mem_take_dirty(guest->mem, 0, bitmap);
	for (size_t page = 0; page < guest->size / 4096; page++)
		if (!all_are(guest->data + page * 4096, 0, 4096) &&
		    (bitmap[page / 64] >> page % 64 & 1) == 0)
			fail_msg("page %zu was written to", page);
}

/* What is refused */

void refused(const struct loader *loader, const char *sentence, const struct guest *guest,
	     const struct image *image, int initrd_fd, const char *want)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (loader->boot(guest, image, initrd_fd, &fault) == 0)
		fail_msg("%s: taken", sentence);
	if (strcmp(fault_text(&fault), want) != 0)
		fail_msg("%s: got \"%s\"", sentence, fault_text(&fault));
}

void refused_kernel(const struct loader *loader, const char *sentence, const struct file *f,
		    const struct file *change, uint64_t mem_bytes, const char *cause)
{
	CLEANUP(image_done) struct image image = open_image(loader, f);
	CLEANUP(guest_done) struct guest guest = make_guest(loader, mem_bytes);
	char want[512];

	if (change != NULL) {
		assert_int_equal(ftruncate(image.fd, (off_t)change->len), 0);
		assert_int_equal(pwrite(image.fd, change->data, change->len, 0),
				 (ssize_t)change->len);
	}
	snprintf(want, sizeof(want), LOAD_KERNEL_FAULT "%s", cause);
	refused(loader, sentence, &guest, &image, -1, want);
}

void refused_initrd(const struct loader *loader, const char *sentence, const struct file *f,
		    uint64_t mem_bytes, int initrd_fd, const char *cause)
{
	CLEANUP(image_done) struct image image = open_image(loader, f);
	CLEANUP(guest_done) struct guest guest = make_guest(loader, mem_bytes);
	char want[512];

	snprintf(want, sizeof(want), INITRD_FAULT "%s", cause);
	refused(loader, sentence, &guest, &image, initrd_fd, want);
}

void every_truncation_is_survived_of(const struct loader *loader, const struct file *f,
				     size_t needed_len)
{
	CLEANUP(image_done) struct image image = open_image(loader, f);
	CLEANUP(guest_done) struct guest guest = make_guest(loader, 8 * MIB);

	for (size_t len = f->len; len-- > 0;) {
		char sentence[64];

		snprintf(sentence, sizeof(sentence), "cut to %zu bytes", len);
		assert_int_equal(ftruncate(image.fd, (off_t)len), 0);
		if (len < needed_len)
			refused(loader, sentence, &guest, &image, -1,
				LOAD_KERNEL_FAULT "The image is truncated");
		else if (loader->boot(&guest, &image, -1, NULL) < 0)
			fail_msg("%s: refused", sentence);
	}
}

void random_damage_is_survived_of(const struct loader *loader, const struct original *originals,
				  size_t count, size_t rounds)
{
	CLEANUP(guest_done) struct guest guest = make_guest(loader, 8 * MIB);

	srandom(1);
	for (size_t i = 0; i < rounds; i++) {
		CLEANUP(image_done) struct image image = IMAGE_INIT;
		struct file f = originals[i % count].file;
		int fd;

		for (long n = random() % 4 + 1; n > 0; n--)
			f.data[(size_t)random() % originals[i % count].header_len] =
				(uint8_t)random();
		fd = fd_of(f.data, f.len);
		if (image_open(fd, loader->arch, &image, NULL) == 0)
			loader->boot(&guest, &image, i / count % 2 == 0 ? fd : -1, NULL);
		close(fd);
	}
}

/* initrd */

int make_initrd(uint64_t len)
{
	int fd = memfd_create("initrd", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	assert_int_equal(pwrite(fd, "first", 5, 0), 5);
	assert_int_equal(pwrite(fd, "last", 4, (off_t)len - 4), 4);
	return fd;
}

void initrd_is_at(const char *sentence, const struct guest *guest, uint64_t start, uint64_t len)
{
	if (memcmp(guest->data + start, "first", 5) != 0 ||
	    memcmp(guest->data + start + len - 4, "last", 4) != 0)
		fail_msg("%s: it is not there", sentence);
}

void what_is_no_initrd_is_refused(const struct loader *loader, const struct file *f)
{
	CLEANUP(fd_close) int empty = memfd_create("empty", MFD_CLOEXEC);
	CLEANUP(fd_close) int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	refused_initrd(loader, "an empty file", f, 8 * MIB, empty,
		       "Cannot load initrd due to an invalid memory configuration..");
	refused_initrd(loader, "a directory", f, 64 * MIB, dir,
		       "Cannot load initrd due to an invalid image: Is a directory (os error 21).");
	refused_initrd(loader, "not open", f, 8 * MIB, 1000000,
		       "Cannot image metadata: Bad file descriptor (os error 9).");
}
