/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <libfdt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "boot/aarch64.h"
#include "boot/bytes.h"
#include "boot/cmdline.h"
#include "boot/load.h"
#include "boot/test_loading.h"

#define BASE AARCH64_MEM_START

/* Kernels */

#define TEXT_OFFSET	8
#define IMAGE_SIZE	16
#define FLAGS		24
#define IMAGE_LEN	5000
#define IMAGE_BYTES	(64 * KIB)	/* with bss */

static struct file make_image(bool efi)
{
	struct file f = { .len = IMAGE_LEN };
	uint8_t *pe = f.data + 64, *sections = pe + 24 + 160;

	memset(f.data + 512, 0xd5, IMAGE_LEN - 512);
	put_le64(f.data + IMAGE_SIZE, IMAGE_BYTES);
	put_le64(f.data + FLAGS, 0xa);
	memcpy(f.data + 56, "ARM\x64", 4);
	if (!efi) {
		put_le64(f.data + IMAGE_SIZE, 2 * IMAGE_LEN);
		return f;
	}
	memcpy(f.data, "MZ", 2);
	put_le32(f.data + 60, 64);
	memcpy(pe, "PE\0\0", 4);
	put_le16(pe + 4, 0xaa64);
	put_le16(pe + 6, 2);
	put_le16(pe + 20, 160);
	put_le32(sections + 16, 2048 - 512);
	put_le32(sections + 20, 512);
	put_le32(sections + 40 + 16, IMAGE_LEN - 2048);
	put_le32(sections + 40 + 20, 2048);
	return f;
}

/* Machines */

static const struct aarch64_gic gicv2 = {
	"arm,gic-400", { 0x3ffff000, 0x1000, 0x3fffd000, 0x2000 }, 8, { 0 },
};
static const struct aarch64_gic gicv3 = {
	"arm,gic-v3", { 0x3fff0000, 0x10000, 0x3fbf0000, 0x400000 }, 9, { 0 },
};
static const struct aarch64_gic gicv3_its = {
	"arm,gic-v3", { 0x3fff0000, 0x10000, 0x3ffb0000, 0x40000 }, 9, { 0x3ff90000, 0x20000 },
};
static const struct aarch64_cache all_caches[AARCH64_CACHES_MAX] = {
	{ 1, AARCH64_CACHE_DATA, 65536, 64, 256, 1 },
	{ 1, AARCH64_CACHE_INSTRUCTION, 65536, 64, 512, 1 },
	{ 2, AARCH64_CACHE_UNIFIED, 1048576, 64, 2048, 1 },
	{ 3, AARCH64_CACHE_UNIFIED, 4194304, 64, 4096, 2 },
	{ 4, AARCH64_CACHE_UNIFIED, 33554432, 64, 32768, 8 },
	{ 5, AARCH64_CACHE_UNIFIED, 33554432, 128, 0, 64 },
	{ 6, AARCH64_CACHE_UNIFIED, 0, 0, 0, 64 },
	{ 7, AARCH64_CACHE_UNIFIED, 1 << 30, 64, 1, 64 },
};
static uint64_t mpidrs[AARCH64_VCPUS_MAX];
static struct aarch64_virtio devices[AARCH64_DEVICES_MAX];
static uint8_t seed[64];

static int make_machines(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < AARCH64_VCPUS_MAX; i++)	/* as KVM makes them */
		mpidrs[i] = UINT64_C(0x80000000) | (i & 15) | i >> 4 << 8;
	for (uint32_t i = 0; i < AARCH64_DEVICES_MAX; i++)
		devices[i] = (struct aarch64_virtio){ 0x40003000 + i * 0x1000, 2 + i };
	for (size_t i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(0x80 + i);
	return 0;
}

static struct aarch64_boot_params make_params(const struct guest *guest, const struct image *image)
{
	return (struct aarch64_boot_params){
		.mem = guest->mem, .image = image, .initrd_fd = -1, .cmdline = "console=x",
		.mpidrs = mpidrs, .vcpu_count = 2, .gic = &gicv3, .serial = true, .serial_gsi = 1,
		.devices = devices, .device_count = 2, .rng_seed = seed,
	};
}

static struct aarch64_boot_entry boots_with(const struct aarch64_boot_params *params)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct aarch64_boot_entry entry = { 0 };

	if (aarch64_boot(params, &entry, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	return entry;
}

static int boots_or_leaves_the_entry(const struct guest *guest, const struct image *image,
				     int initrd_fd, struct fault *fault)
{
	struct aarch64_boot_params params = make_params(guest, image);
	struct aarch64_boot_entry entry = { .pc = 1, .fdt = 1 };
	int r;

	params.initrd_fd = initrd_fd;
	r = aarch64_boot(&params, &entry, fault);
	if (r < 0)
		assert_true(entry.pc == 1 && entry.fdt == 1);
	else
		assert_true(entry.pc >= BASE + 2 * MIB && entry.pc < entry.fdt);
	return r;
}

static const struct loader loader = {
	SQUIB_ARCH_AARCH64, aarch64_regions, boots_or_leaves_the_entry,
};

static struct aarch64_boot_entry boots(const struct guest *guest, const struct file *f, int initrd_fd)
{
	CLEANUP(image_done) struct image image = open_image(&loader, f);
	struct aarch64_boot_params params = make_params(guest, &image);

	params.initrd_fd = initrd_fd;
	return boots_with(&params);
}

/* A machine and a kernel for it; what @params say can be changed before it boots. */
struct machine {
	struct guest guest;
	struct image image;
	struct aarch64_boot_params params;
};

static void machine_init(struct machine *machine, uint64_t mem_bytes)
{
	const struct file f = make_image(true);

	machine->guest = make_guest(&loader, mem_bytes);
	machine->image = open_image(&loader, &f);
	machine->params = make_params(&machine->guest, &machine->image);
}

static void machine_done_p(struct machine *machine)
{
	image_done_p(&machine->image);
	guest_done_p(&machine->guest);
}

static const uint8_t *boots_with_tree(const struct machine *machine)
{
	return machine->guest.data + (boots_with(&machine->params).fdt - BASE);
}

/* Layout */

static void memory_lies_around_the_hole(void **state)
{
	static const struct regions_case cases[] = {
		{ "small", 128 * MIB, { { 2 * GIB, 128 * MIB } } },
		{ "a MiB less than up to the hole", 254 * GIB - MIB, { { 2 * GIB, 254 * GIB - MIB } } },
		{ "up to the hole", 254 * GIB, { { 2 * GIB, 254 * GIB } } },
		{ "a MiB beyond it", 254 * GIB + MIB, { { 2 * GIB, 254 * GIB }, { 512 * GIB, MIB } } },
		{ "a MiB less than there can be", 1022 * GIB - MIB,
		  { { 2 * GIB, 254 * GIB }, { 512 * GIB, 768 * GIB - MIB } } },
		{ "as much as there can be", 1022 * GIB,
		  { { 2 * GIB, 254 * GIB }, { 512 * GIB, 768 * GIB } } },
		{ "more", 1022 * GIB + MIB, { { 2 * GIB, 254 * GIB }, { 512 * GIB, 768 * GIB } } },
		{ "far more", UINT64_MAX, { { 2 * GIB, 254 * GIB }, { 512 * GIB, 768 * GIB } } },
	};

	(void)state;
	check_regions(&loader, cases, ARRAY_SIZE(cases));
}

static void kernel_and_tree_are_where_they_belong_and_nothing_else(void **state)
{
	static const struct { const char *sentence; uint64_t text_offset, size, pc; } cases[] = {
		{ "of today", 0, IMAGE_BYTES, 0 },
		{ "of yesterday", 0x80000, IMAGE_BYTES, 0x80000 },
		{ "a random offset", 0x1f3000, IMAGE_BYTES, 0x1f3000 },
		{ "an offset of more than 2 MiB", 3 * MIB, IMAGE_BYTES, 3 * MIB },
		{ "of before 3.17, which does not tell its size", 0x1234, 0, 0x80000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct file f = set64(set64(make_image(true), TEXT_OFFSET,
						  cases[i].text_offset),
					    IMAGE_SIZE, cases[i].size);
		CLEANUP(guest_done) struct guest guest = make_guest(&loader, 9 * MIB);
		struct aarch64_boot_entry entry = boots(&guest, &f, -1);
		const uint64_t pc = entry.pc - BASE, fdt = 7 * MIB;
		size_t tree_len = fdt_totalsize(guest.data + fdt);

		if (pc != 2 * MIB + cases[i].pc)
			fail_msg("%s: 0x%llx", cases[i].sentence, (unsigned long long)pc);
		assert_int_equal(entry.fdt, BASE + fdt);
		assert_memory_equal(guest.data + pc, f.data, f.len);
		assert_int_equal(fdt_check_full(guest.data + fdt, guest.size - fdt), 0);
		assert_true(all_are(guest.data, 0, pc));
		assert_true(all_are(guest.data + pc + f.len, 0, fdt - pc - f.len));
		assert_true(all_are(guest.data + fdt + tree_len, 0, 2 * MIB - tree_len));
	}
}

static void it_needs_two_mib_in_front_and_two_behind(void **state)
{
	(void)state;
	for (uint64_t size = 4 * KIB; size <= 5 * MIB; size += 4 * KIB) {
		CLEANUP(machine_done) struct machine m;

		machine_init(&m, size);
		if (size >= 4 * MIB + IMAGE_BYTES)
			assert_int_equal(boots_with(&m.params).fdt, BASE + size - 2 * MIB);
		else
			refused(&loader, "too small", &m.guest, &m.image, -1, LOAD_KERNEL_FAULT
				"The kernel needs more than 4 MiB of memory");
	}
}

static void kernels_that_need_more_are_refused(void **state)
{
	const struct file good = make_image(true);
	const struct { const char *sentence; struct file file; uint64_t mem; const char *want; }
	cases[] = {
		{ "bss up to the tree and a byte", set64(good, IMAGE_SIZE, 60 * MIB + 1), 64 * MIB,
		  "The kernel needs more than 64 MiB of memory" },
		{ "its offset leaves no room", set64(good, TEXT_OFFSET, 60 * MIB), 64 * MIB,
		  "The kernel needs more than 64 MiB of memory" },
		{ "a place that wraps", set64(good, TEXT_OFFSET, UINT64_MAX - IMAGE_BYTES), 64 * MIB,
		  "The kernel needs more than 17592186044419 MiB of memory" },
		{ "in the second region", set64(good, TEXT_OFFSET, 510 * GIB), 600 * GIB,
		  "The kernel needs more than 522244 MiB of memory" },
	};
	const struct file exact = set64(good, IMAGE_SIZE, 60 * MIB);
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 64 * MIB);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused_kernel(&loader, cases[i].sentence, &cases[i].file, NULL, cases[i].mem,
			       cases[i].want);
	boots(&guest, &exact, -1);
}

static void what_is_no_image_is_refused(void **state)
{
	CLEANUP(machine_done) struct machine m;

	(void)state;
	machine_init(&m, 64 * MIB);
	m.image.format = IMAGE_ELF;
	refused(&loader, "ELF", &m.guest, &m.image, -1,
		LOAD_KERNEL_FAULT "Not a kernel image for aarch64");
	m.image.format = IMAGE_BZIMAGE;
	refused(&loader, "bzImage", &m.guest, &m.image, -1,
		LOAD_KERNEL_FAULT "Not a kernel image for aarch64");
}

static void every_truncation_is_refused(void **state)
{
	const struct file f = make_image(true);

	(void)state;
	every_truncation_is_survived_of(&loader, &f, f.len);
}

static void random_damage_is_survived(void **state)
{
	const struct original originals[] = { { make_image(true), 336 }, { make_image(false), 336 } };

	(void)state;
	random_damage_is_survived_of(&loader, originals, ARRAY_SIZE(originals), 20000);
}

/* initrd */

static uint64_t get_u64(const void *tree, const char *path, const char *name)
{
	int len = 0, node = fdt_path_offset(tree, path);
	const void *value = fdt_getprop(tree, node, name, &len);

	assert_non_null(value);
	assert_int_equal(len, 8);
	return fdt64_ld(value);
}

static void the_initrd_is_as_high_as_it_can_be(void **state)
{
	const struct file f = make_image(true);
	static const struct { const char *sentence; uint64_t mem, len, start; } cases[] = {
		{ "a page", 8 * MIB, 4096, 6 * MIB - 4096 },
		{ "a page and a byte", 8 * MIB, 4097, 6 * MIB - 8192 },
		{ "a byte less than a page", 8 * MIB, 4095, 6 * MIB - 4096 },
		{ "all that kernel and tree leave", 8 * MIB, 4 * MIB - 64 * KIB, 2 * MIB + 64 * KIB },
		{ "a byte less", 8 * MIB, 4 * MIB - 64 * KIB - 1, 2 * MIB + 64 * KIB },
		{ "an odd size of memory", 9 * MIB, 4096, 7 * MIB - 4096 },
		{ "in reach of the kernel, even if there is more", 64 * GIB, 4096, 32 * GIB - 4096 },
		{ "at the end of its reach", 32 * GIB + 2 * MIB, 4096, 32 * GIB - 4096 },
		{ "below it", 32 * GIB + MIB, 4096, 32 * GIB - MIB - 4096 },
		{ "a byte more than they leave", 8 * MIB, 4 * MIB - 64 * KIB + 1, 0 },
		{ "more than there is memory", 8 * MIB, 9 * MIB, 0 },
		{ "more than all addresses below it", 8 * MIB, 3 * GIB, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fd_close) int fd = make_initrd(cases[i].len);
		CLEANUP(guest_done) struct guest guest = make_guest(&loader, cases[i].mem);
		uint64_t start = cases[i].start;
		const void *tree;

		if (start == 0) {
			refused_initrd(&loader, cases[i].sentence, &f, cases[i].mem, fd,
				       "Failed to compute the initrd address..");
			continue;
		}
		tree = guest.data + (boots(&guest, &f, fd).fdt - BASE);
		initrd_is_at(cases[i].sentence, &guest, start, cases[i].len);
		assert_int_equal(get_u64(tree, "/chosen", "linux,initrd-start"), BASE + start);
		assert_int_equal(get_u64(tree, "/chosen", "linux,initrd-end"),
				 BASE + start + cases[i].len);
	}
}

static void initrds_that_are_refused(void **state)
{
	const struct file f = make_image(true);

	(void)state;
	what_is_no_initrd_is_refused(&loader, &f);
}

/* The tree */

static bool is_text(const char *value, int len)
{
	if (len < 2 || value[len - 1] != '\0' || value[0] == '\0')
		return false;
	for (int i = 0; i < len; i++)
		if ((value[i] < ' ' || value[i] > '~') && (value[i] != '\0' || value[i - 1] == '\0'))
			return false;
	return true;
}

static void print_property(const void *tree, int at, struct buf *text)
{
	const char *name;
	int len;
	const char *value = fdt_getprop_by_offset(tree, at, &name, &len);

	assert_non_null(value);
	buf_addf(text, "%s", name);
	if (is_text(value, len))
		for (int i = 0; i < len; i += (int)strlen(value + i) + 1)
			buf_addf(text, " \"%s\"", value + i);
	else
		for (int i = 0; i < len; i += 4)
			buf_addf(text, " %x", fdt32_ld((const fdt32_t *)(value + i)));
	buf_addf(text, "\n");
}

/* A line for each node and, below it, each property, in their order */
static void print_tree(const void *tree, struct buf *text)
{
	int depth = 0, at;

	for (int node = 0; node >= 0 && depth >= 0; node = fdt_next_node(tree, node, &depth)) {
		buf_addf(text, "%*s%s {\n", depth, "", fdt_get_name(tree, node, NULL));
		fdt_for_each_property_offset(at, tree, node) {
			buf_addf(text, "%*s", depth + 1, "");
			print_property(tree, at, text);
		}
	}
}

#define SEED_TEXT \
	"80818283 84858687 88898a8b 8c8d8e8f 90919293 94959697 98999a9b 9c9d9e9f a0a1a2a3 " \
	"a4a5a6a7 a8a9aaab acadaeaf b0b1b2b3 b4b5b6b7 b8b9babb bcbdbebf"

static void the_tree_is_upstreams(void **state)
{
	static const struct aarch64_cache caches[] = {
		{ 1, AARCH64_CACHE_DATA, 65536, 64, 256, 1 },
		{ 1, AARCH64_CACHE_INSTRUCTION, 32768, 0, 128, 1 },
		{ 2, AARCH64_CACHE_UNIFIED, 1048576, 64, 2048, 1 },
		{ 3, AARCH64_CACHE_UNIFIED, 33554432, 64, 32768, 64 },
	};
	static const char want[] =
		" {\n"
		" compatible \"linux,dummy-virt\"\n"
		" #address-cells 2\n"
		" #size-cells 2\n"
		" interrupt-parent 1\n"
		" cpus {\n"
		"  #address-cells 2\n"
		"  #size-cells 0\n"
		"  cpu@0 {\n"
		"   device_type \"cpu\"\n"
		"   compatible \"arm,arm-v8\"\n"
		"   enable-method \"psci\"\n"
		"   reg 0 0\n"
		"   d-cache-size 10000\n"
		"   d-cache-line-size 40\n"
		"   d-cache-sets 100\n"
		"   i-cache-size 8000\n"
		"   i-cache-sets 80\n"
		"   next-level-cache fa0\n"
		"   l2-0-cache {\n"
		"    phandle fa0\n"
		"    compatible \"cache\"\n"
		"    cache-level 2\n"
		"    cache-size 100000\n"
		"    cache-line-size 40\n"
		"    cache-sets 800\n"
		"    cache-unified\n"
		"    next-level-cache f9e\n"
		"   l3-0-cache {\n"
		"    phandle f9e\n"
		"    compatible \"cache\"\n"
		"    cache-level 3\n"
		"    cache-size 2000000\n"
		"    cache-line-size 40\n"
		"    cache-sets 8000\n"
		"    cache-unified\n"
		"  cpu@1 {\n"
		"   device_type \"cpu\"\n"
		"   compatible \"arm,arm-v8\"\n"
		"   enable-method \"psci\"\n"
		"   reg 0 1\n"
		"   d-cache-size 10000\n"
		"   d-cache-line-size 40\n"
		"   d-cache-sets 100\n"
		"   i-cache-size 8000\n"
		"   i-cache-sets 80\n"
		"   next-level-cache f9f\n"
		"   l2-1-cache {\n"
		"    phandle f9f\n"
		"    compatible \"cache\"\n"
		"    cache-level 2\n"
		"    cache-size 100000\n"
		"    cache-line-size 40\n"
		"    cache-sets 800\n"
		"    cache-unified\n"
		"    next-level-cache f9e\n"
		" memory@ram {\n"
		"  device_type \"memory\"\n"
		"  reg 0 80200000 0 7e00000\n"
		" chosen {\n"
		"  bootargs \"console=x\"\n"
		"  linux,initrd-start 0 87dff000\n"
		"  linux,initrd-end 0 87dff064\n"
		"  linux,pci-probe-only 1\n"
		"  rng-seed " SEED_TEXT "\n"
		" intc@3fff0000 {\n"
		"  compatible \"arm,gic-v3\"\n"
		"  interrupt-controller\n"
		"  #interrupt-cells 3\n"
		"  reg 0 3fff0000 0 10000 0 3ffb0000 0 40000\n"
		"  phandle 1\n"
		"  #address-cells 2\n"
		"  #size-cells 2\n"
		"  ranges\n"
		"  interrupts 1 9 4\n"
		"  msic@3ff90000 {\n"
		"   compatible \"arm,gic-v3-its\"\n"
		"   msi-controller\n"
		"   phandle 3\n"
		"   reg 0 3ff90000 0 20000\n"
		" timer {\n"
		"  compatible \"arm,armv8-timer\"\n"
		"  always-on\n"
		"  interrupts 1 d 4 1 e 4 1 b 4 1 a 4\n"
		" apb-pclk {\n"
		"  compatible \"fixed-clock\"\n"
		"  #clock-cells 0\n"
		"  clock-frequency 16e3600\n"
		"  clock-output-names \"clk24mhz\"\n"
		"  phandle 2\n"
		" psci {\n"
		"  compatible \"arm,psci-0.2\"\n"
		"  method \"hvc\"\n"
		" rtc@40001000 {\n"
		"  compatible \"arm,pl031\" \"arm,primecell\"\n"
		"  reg 0 40001000 0 1000\n"
		"  clocks 2\n"
		"  clock-names \"apb_pclk\"\n"
		" uart@40002000 {\n"
		"  compatible \"ns16550a\"\n"
		"  reg 0 40002000 0 1000\n"
		"  clocks 2\n"
		"  clock-names \"apb_pclk\"\n"
		"  interrupts 0 1 1\n"
		" virtio_mmio@40003000 {\n"
		"  dma-coherent\n"
		"  compatible \"virtio,mmio\"\n"
		"  reg 0 40003000 0 1000\n"
		"  interrupts 0 2 1\n"
		"  interrupt-parent 1\n"
		" virtio_mmio@40004000 {\n"
		"  dma-coherent\n"
		"  compatible \"virtio,mmio\"\n"
		"  reg 0 40004000 0 1000\n"
		"  interrupts 0 3 1\n"
		"  interrupt-parent 1\n";
	CLEANUP(fd_close) int initrd_fd = make_initrd(100);
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	CLEANUP(machine_done) struct machine m;

	(void)state;
	machine_init(&m, 128 * MIB);
	m.params.initrd_fd = initrd_fd;
	m.params.gic = &gicv3_its;
	m.params.caches = caches;
	m.params.cache_count = ARRAY_SIZE(caches);
	print_tree(boots_with_tree(&m), &text);
	for (size_t i = 0; i <= strlen(want); i++)	/* cmocka would print the first lines only */
		if (buf_str(&text)[i] != want[i])
			fail_msg("from here on it differs: %s", buf_str(&text) + i);
}

/* What every tree must be, whatever is in it */

static bool has_twin(const void *tree, int node)
{
	const char *name = fdt_get_name(tree, node, NULL);
	int parent = fdt_parent_offset(tree, node), sibling;

	fdt_for_each_subnode(sibling, tree, parent)
		if (sibling != node && strcmp(fdt_get_name(tree, sibling, NULL), name) == 0)
			return true;
	return false;
}

static void check_properties(const void *tree, int node)
{
	int at, other;
	const char *name, *other_name;

	fdt_for_each_property_offset(at, tree, node) {
		assert_non_null(fdt_getprop_by_offset(tree, at, &name, NULL));
		fdt_for_each_property_offset(other, tree, node) {
			fdt_getprop_by_offset(tree, other, &other_name, NULL);
			if (other != at && strcmp(name, other_name) == 0)
				fail_msg("%s: twice %s", fdt_get_name(tree, node, NULL), name);
		}
	}
}

/* Follows the caches of a CPU outwards and returns how many levels there are beside its own. */
static size_t count_levels(const void *tree, int node, const struct aarch64_boot_params *params)
{
	const void *next;
	size_t levels = 0;
	uint32_t last = 1;

	while ((next = fdt_getprop(tree, node, "next-level-cache", NULL)) != NULL) {
		node = fdt_node_offset_by_phandle(tree, fdt32_ld(next));
		assert_true(node >= 0);
		assert_string_equal(fdt_getprop(tree, node, "compatible", NULL), "cache");
		assert_true(fdt32_ld(fdt_getprop(tree, node, "cache-level", NULL)) > last);
		last = fdt32_ld(fdt_getprop(tree, node, "cache-level", NULL));
		levels++;
	}
	if (params->cache_count > 0)
		assert_int_equal(last, params->caches[params->cache_count - 1].level);
	return levels;
}

static size_t outer_levels(const struct aarch64_boot_params *params)
{
	size_t levels = 0;
	unsigned int last = 1;

	for (size_t i = 0; i < params->cache_count; i++) {
		levels += params->caches[i].level != last;
		last = params->caches[i].level;
	}
	return levels;
}

static void check_tree(const void *tree, const struct aarch64_boot_params *params)
{
	unsigned int cpus = 0;
	size_t virtio = 0;
	int cpu, node;

	assert_int_equal(fdt_check_full(tree, AARCH64_FDT_BYTES_MAX), 0);
	for (node = fdt_next_node(tree, 0, NULL); node >= 0; node = fdt_next_node(tree, node, NULL)) {
		uint32_t phandle = fdt_get_phandle(tree, node);

		assert_false(has_twin(tree, node));
		check_properties(tree, node);
		if (phandle != 0)
			assert_int_equal(fdt_node_offset_by_phandle(tree, phandle), node);
	}
	fdt_for_each_subnode(cpu, tree, fdt_path_offset(tree, "/cpus")) {
		assert_int_equal(fdt64_ld(fdt_getprop(tree, cpu, "reg", NULL)),
				 mpidrs[cpus] & 0xffff);
		assert_int_equal(count_levels(tree, cpu, params), outer_levels(params));
		cpus++;
	}
	assert_int_equal(cpus, params->vcpu_count);
	node = -1;
	while ((node = fdt_node_offset_by_compatible(tree, node, "virtio,mmio")) >= 0)
		assert_int_equal(fdt64_ld(fdt_getprop(tree, node, "reg", NULL)),
				 params->devices[virtio++].address);
	assert_int_equal(virtio, params->device_count);
	assert_int_equal(fdt_node_offset_by_compatible(tree, -1, "ns16550a") >= 0, params->serial);
	assert_string_equal(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "bootargs", NULL),
			    params->cmdline);
}

static const struct { const char *sentence; unsigned int vcpus; size_t devices, caches;
		      const struct aarch64_gic *gic; bool serial; uint64_t mem; } machines[] = {
	{ "the least", 1, 0, 0, &gicv2, false, 5 * MIB },
	{ "a small one", 1, 1, 2, &gicv3, true, 128 * MIB },
	{ "an old host's", 8, 5, 3, &gicv2, true, 128 * MIB },
	{ "with message interrupts", 2, 3, 4, &gicv3_its, true, 128 * MIB },
	{ "memory beyond the hole", 4, 3, 4, &gicv3, false, 254 * GIB + 2 * MIB },
	{ "the largest", 32, 92, 8, &gicv3_its, true, 256 * MIB },
	{ "the largest with GICv2", 32, 92, 8, &gicv2, true, 256 * MIB },
};

static void machine_init_as(struct machine *machine, size_t i, uint64_t mem_bytes)
{
	machine_init(machine, mem_bytes);
	machine->params.vcpu_count = machines[i].vcpus;
	machine->params.device_count = machines[i].devices;
	machine->params.caches = all_caches;
	machine->params.cache_count = machines[i].caches;
	machine->params.gic = machines[i].gic;
	machine->params.serial = machines[i].serial;
}

static void trees_of_all_machines_are_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		CLEANUP(machine_done) struct machine m;

		machine_init_as(&m, i, machines[i].mem);
		check_tree(boots_with_tree(&m), &m.params);
	}
}

/* It would remark of what it wrote itself, where phandles are mere numbers: hence -q. */
static void dtc_has_nothing_to_remark(void **state)
{
	char dir[] = "/tmp/squib-fdt-XXXXXX";

	(void)state;
	skip_without("dtc");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		CLEANUP(machine_done) struct machine m;
		const void *tree;

		machine_init_as(&m, i, machines[i].mem);
		tree = boots_with_tree(&m);
		write_file(dir, "tree.dtb", tree, fdt_totalsize(tree));
		if (run_in(dir, "dtc -I dtb -O dts -o tree.dts tree.dtb 2>remarks && "
				"! test -s remarks && dtc -q -I dts -O dtb -o again.dtb tree.dts && "
				"dtc -I dtb -O dts -o again.dts again.dtb && cmp tree.dts again.dts",
			   "") != 0)
			fail_msg("%s: dtc finds fault with it, see %s", machines[i].sentence, dir);
	}
	run_in(dir, "rm -r $0", "");
}

static void memory_beyond_the_hole_is_told(void **state)
{
	const struct file f = make_image(true);
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 254 * GIB + 5 * MIB);
	const uint64_t want[] = { BASE + 2 * MIB, 254 * GIB - 2 * MIB, 512 * GIB, 5 * MIB };
	const uint8_t *tree = guest.data + (boots(&guest, &f, -1).fdt - BASE);
	const uint8_t *reg;
	int len;

	(void)state;
	assert_ptr_equal(tree, guest.data + 254 * GIB - 2 * MIB);
	reg = fdt_getprop(tree, fdt_path_offset(tree, "/memory"), "reg", &len);
	assert_int_equal(len, sizeof(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		assert_int_equal(fdt64_ld((const fdt64_t *)(reg + 8 * i)), want[i]);
}

static uint32_t next_cache(const void *tree, const char *path)
{
	return fdt32_ld(fdt_getprop(tree, fdt_path_offset(tree, path), "next-level-cache", NULL));
}

#define UNIFIED AARCH64_CACHE_UNIFIED

static void cpus_share_caches_as_on_the_host(void **state)
{
	static const struct { const char *sentence; unsigned int vcpus;
			      struct aarch64_cache caches[4]; size_t count, nodes; } cases[] = {
		{ "pairs in a cluster of four", 8,
		  { { 2, UNIFIED, 1, 1, 1, 2 }, { 3, UNIFIED, 1, 1, 1, 4 } },
		  2, 4 + 2 },
		{ "all share it, and some are not here", 3,
		  { { 2, UNIFIED, 1, 1, 1, 80 }, { 3, UNIFIED, 1, 1, 1, 80 } },
		  2, 1 + 1 },
		{ "threes in fours", 32,
		  { { 2, UNIFIED, 1, 1, 1, 3 }, { 3, UNIFIED, 1, 1, 1, 4 } },
		  2, 11 + 6 },
		{ "an outer one for fewer", 8,
		  { { 2, UNIFIED, 1, 1, 1, 4 }, { 3, UNIFIED, 1, 1, 1, 1 } },
		  2, 2 + 2 },
		{ "data and instructions apart in the second level", 4,
		  { { 1, UNIFIED, 1, 1, 1, 1 }, { 2, AARCH64_CACHE_DATA, 1, 1, 1, 2 },
		    { 2, AARCH64_CACHE_INSTRUCTION, 1, 1, 1, 2 } }, 3, 2 },
		{ "levels are missing", 2,
		  { { 3, UNIFIED, 1, 1, 1, 1 }, { 7, UNIFIED, 1, 1, 1, 2 } },
		  2, 2 + 1 },
		{ "shared by more than can be counted with", 4,
		  { { 2, UNIFIED, 1, 1, 1, UINT32_MAX } }, 1, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(machine_done) struct machine m;
		size_t nodes = 0;
		const void *tree;

		machine_init(&m, 8 * MIB);
		m.params.vcpu_count = cases[i].vcpus;
		m.params.caches = cases[i].caches;
		m.params.cache_count = cases[i].count;
		tree = boots_with_tree(&m);
		check_tree(tree, &m.params);
		for (int n = -1; (n = fdt_node_offset_by_compatible(tree, n, "cache")) >= 0;)
			nodes++;
		if (nodes != cases[i].nodes)
			fail_msg("%s: %zu caches", cases[i].sentence, nodes);
		if (i == 0) {
			assert_int_equal(next_cache(tree, "/cpus/cpu@2"),
					 next_cache(tree, "/cpus/cpu@3"));
			assert_int_not_equal(next_cache(tree, "/cpus/cpu@1"),
					     next_cache(tree, "/cpus/cpu@2"));
		}
	}
}

static void the_longest_command_line_is_told(void **state)
{
	CLEANUP(machine_done) struct machine m;
	char line[CMDLINE_MAX] = "";

	(void)state;
	machine_init_as(&m, 5, 256 * MIB);
	memset(line, '~', CMDLINE_MAX - 1);
	m.params.cmdline = line;
	check_tree(boots_with_tree(&m), &m.params);
	m.params.cmdline = "";
	check_tree(boots_with_tree(&m), &m.params);
}

static void without_a_seed_the_hosts_is_told(void **state)
{
	uint8_t seeds[2][64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
		CLEANUP(machine_done) struct machine m;
		const void *tree, *value;
		int len;

		machine_init(&m, 8 * MIB);
		m.params.rng_seed = NULL;
		tree = boots_with_tree(&m);
		value = fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "rng-seed", &len);
		assert_int_equal(len, sizeof(seeds[i]));
		memcpy(seeds[i], value, sizeof(seeds[i]));
	}
	assert_memory_not_equal(seeds[0], seeds[1], sizeof(seeds[0]));
}

/* Others */

static void what_is_written_is_dirty(void **state)
{
	CLEANUP(fd_close) int initrd_fd = make_initrd(5000);
	CLEANUP(machine_done) struct machine m;

	(void)state;
	machine_init_as(&m, 5, 8 * MIB);
	m.params.initrd_fd = initrd_fd;
	boots_with(&m.params);
	written_pages_are_dirty(&m.guest);
}

static void boot_kernel(const char *path)
{
	CLEANUP(guest_done) struct guest guest = make_guest(&loader, 256 * MIB);
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	CLEANUP(image_done) struct image image = open_image_fd(&loader, fd);
	struct aarch64_boot_params params = make_params(&guest, &image);

	assert_int_equal(boots_with(&params).pc, BASE + 2 * MIB + image.text_offset);
}

static void kernels_of_distributions_are_loaded(void **state)
{
	const char *path = getenv("SQUIB_AARCH64_KERNEL");

	(void)state;
	if (path == NULL) {
		print_message("SQUIB_AARCH64_KERNEL names no Image\n");
		skip();
	}
	boot_kernel(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_lies_around_the_hole),
		cmocka_unit_test(kernel_and_tree_are_where_they_belong_and_nothing_else),
		cmocka_unit_test(it_needs_two_mib_in_front_and_two_behind),
		cmocka_unit_test(kernels_that_need_more_are_refused),
		cmocka_unit_test(what_is_no_image_is_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(random_damage_is_survived),
		cmocka_unit_test(the_initrd_is_as_high_as_it_can_be),
		cmocka_unit_test(initrds_that_are_refused),
		cmocka_unit_test(the_tree_is_upstreams),
		cmocka_unit_test(trees_of_all_machines_are_sound),
		cmocka_unit_test(dtc_has_nothing_to_remark),
		cmocka_unit_test(memory_beyond_the_hole_is_told),
		cmocka_unit_test(cpus_share_caches_as_on_the_host),
		cmocka_unit_test(the_longest_command_line_is_told),
		cmocka_unit_test(without_a_seed_the_hosts_is_told),
		cmocka_unit_test(what_is_written_is_dirty),
		cmocka_unit_test(kernels_of_distributions_are_loaded),
	};

	return cmocka_run_group_tests(tests, make_machines, NULL);
}
