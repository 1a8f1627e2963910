/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the loaders of kernels, that of the architecture which the file is for: whatever the bytes,
 * they are refused with a text, or loaded with an entry point that lies in memory. Guest memory
 * stands next to pages that cannot be touched. The first byte of an input chooses the size of the
 * memory and whether there is an initrd, the second how much of the file is gone between its being
 * recognised and its being loaded; the rest is the file.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_kernel \
 *		tests/fuzz/fuzz_kernel.c src/boot/{aarch64,aarch64_fdt,acpi,aml,decompress}.c \
 *		src/boot/{image,load,mptable,writer,x86_64,x86_64_info,x86_64_kernel}.c \
 *		src/mem/guest_mem.c src/base/{buf,fault}.c -lz -lzstd -lfdt
 *	mkdir -p found && ./fuzz_kernel -max_len=8192 found tests/fuzz/corpus/kernel
 */
#include <libfdt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/aarch64.h"
#include "boot/image.h"
#include "boot/x86_64.h"

#define MIB (UINT64_C(1) << 20)
#define GUARD_BYTES 65536

struct guest {
	struct guest_mem *mem;
	uint8_t *data;
	uint64_t size_bytes;
	void *guards[2];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static void *guard(uint8_t *at)
{
	return mmap(at, GUARD_BYTES, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static void guest_make(struct guest *guest, uint64_t size_bytes,
		       size_t (*place)(uint64_t size_bytes, struct guest_region *regions))
{
	struct guest_region regions[GUEST_REGIONS_MAX];
	struct guest_mem_params params = { .regions = regions, .track_dirty = true };

	params.region_count = place(size_bytes, regions);
	require(guest_mem_new(&params, &guest->mem, NULL) == 0, "memory");
	guest->data = guest_mem_region_data(guest->mem, 0);
	guest->size_bytes = size_bytes;
	madvise(guest->data, size_bytes, MADV_NOHUGEPAGE);
	guest->guards[0] = guard(guest->data - GUARD_BYTES);
	guest->guards[1] = guard(guest->data + size_bytes);
}

static void guest_done(struct guest *guest)
{
	for (int i = 0; i < 2; i++)
		if (guest->guards[i] != MAP_FAILED)
			munmap(guest->guards[i], GUARD_BYTES);
	guest_mem_free(guest->mem);
}

static int make_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file");
	return fd;
}

static uint64_t memory_bytes(uint8_t choice)
{
	return (8 + choice % 57) * MIB;
}

static int initrd_fd(const struct image *image, uint8_t choice)
{
	return choice & 0x80 ? image->fd : -1;
}

static void check_result(int r, struct fault *fault)
{
	require(r <= 0, "loaded or refused");
	require((r == 0) == (fault_text(fault)[0] == '\0'), "a text when refused");
	fault_done(fault);
}

/* Below 1 MiB there is nothing but what we put there: the page in front of the GDT stays empty. */
static void load_x86_64(const struct image *image, uint8_t choice)
{
	static const struct x86_64_virtio devices[] = { { 0xc0001000, 5 } };
	static const uint8_t nothing[X86_64_GDT];
	struct x86_64_boot_entry entry = { 0 };
	struct fault fault = FAULT_INIT;
	struct x86_64_boot_params params = {
		.image = image, .initrd_fd = initrd_fd(image, choice), .cmdline = "a",
		.vcpu_count = 1, .devices = devices, .device_count = 1,
	};
	struct guest guest;
	int r;

	guest_make(&guest, memory_bytes(choice), x86_64_regions);
	params.mem = guest.mem;
	r = x86_64_boot(&params, &entry, &fault);
	if (r == 0) {
		require(entry.rip >= MIB && entry.rip < guest.size_bytes, "the entry is in memory");
		require(entry.info > 0 && entry.info < MIB, "and what is told to it");
		require(memcmp(guest.data, nothing, sizeof(nothing)) == 0,
			"nothing else is written");
	} else {
		require(entry.rip == 0, "no entry when refused");
	}
	check_result(r, &fault);
	guest_done(&guest);
}

/* In front of the kernel nothing is written. */
static void check_aarch64(const struct guest *guest, const struct image *image,
			  const struct aarch64_boot_entry *entry)
{
	const uint64_t kernel = entry->pc - AARCH64_MEM_START, tree = entry->fdt - AARCH64_MEM_START;
	static const uint8_t nothing[4096];

	require(kernel >= AARCH64_RESERVED_BYTES && kernel < tree, "the entry is in memory");
	require(image->size_bytes <= tree - kernel, "the kernel ends before the tree");
	require(tree == guest->size_bytes - AARCH64_FDT_BYTES_MAX, "the tree is at the end");
	require(fdt_check_full(guest->data + tree, AARCH64_FDT_BYTES_MAX) == 0, "it is whole");
	require(memcmp(guest->data, nothing, sizeof(nothing)) == 0 &&
		memcmp(guest->data + kernel - sizeof(nothing), nothing, sizeof(nothing)) == 0,
		"nothing else is written");
}

static void load_aarch64(const struct image *image, uint8_t choice)
{
	static const struct aarch64_gic gic = { .compatible = "arm,gic-v3" };
	static const struct aarch64_virtio devices[] = { { 0x40003000, 2 } };
	static const uint64_t mpidrs[] = { 0 };
	static const uint8_t seed[64];
	struct aarch64_boot_entry entry = { 0 };
	struct fault fault = FAULT_INIT;
	struct aarch64_boot_params params = {
		.image = image, .initrd_fd = initrd_fd(image, choice), .cmdline = "a",
		.mpidrs = mpidrs, .vcpu_count = 1, .gic = &gic, .devices = devices,
		.device_count = 1, .rng_seed = seed,
	};
	struct guest guest;
	int r;

	guest_make(&guest, memory_bytes(choice), aarch64_regions);
	params.mem = guest.mem;
	r = aarch64_boot(&params, &entry, &fault);
	if (r == 0)
		check_aarch64(&guest, image, &entry);
	else
		require(entry.pc == 0, "no entry when refused");
	check_result(r, &fault);
	guest_done(&guest);
}

static int open_any(int fd, struct image *image)
{
	int r = image_open(fd, SQUIB_ARCH_X86_64, image, NULL);

	return r == 0 ? 0 : image_open(fd, SQUIB_ARCH_AARCH64, image, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(image_done) struct image image = IMAGE_INIT;
	size_t len;
	int fd;

	if (size < 2)
		return 0;
	len = size - 2;
	fd = make_file(data + 2, len);
	/* What was decompressed is sealed, and stays whole. */
	if (open_any(fd, &image) == 0 &&
	    (data[1] == 0 || ftruncate(image.fd, (off_t)(len * (255 - data[1]) / 255)) <= 0)) {
		if (image.format == IMAGE_ARM64)
			load_aarch64(&image, data[0]);
		else
			load_x86_64(&image, data[0]);
	}
	close(fd);
	return 0;
}
