/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <cmocka.h>

#include "boot/bytes.h"
#include "boot/cmdline.h"
#include "boot/decompress.h"
#include "boot/image.h"
#include "boot/test_files.h"

static int open_bytes(const void *data, size_t len, enum squib_arch arch, struct image *image,
		      struct fault *fault)
{
	int fd = fd_of(data, len);
	int r = image_open(fd, arch, image, fault);

	close(fd);
	return r;
}

static struct file make_bzimage(void)
{
	struct file f = { .len = 5 * 512 + 4096 };

	f.data[0x1f1] = 4;
	f.data[0x1f5] = 1;			/* 256 paragraphs */
	f.data[0x1fe] = 0x55;
	f.data[0x1ff] = 0xaa;
	memcpy(f.data + 0x202, "HdrS", 4);
	f.data[0x206] = 0x0f;
	f.data[0x207] = 2;
	f.data[0x211] = 1;
	f.data[0x236] = 1;
	f.data[0x258 + 3] = 1;			/* pref_address 16 MiB */
	f.data[0x263] = 2;			/* init_size 32 MiB */
	return f;
}

static struct file make_arm64(void)
{
	struct file f = { .len = 4096 };

	f.data[16 + 1] = 0x10;			/* image_size 4096 */
	f.data[24] = 0xa;
	memcpy(f.data + 56, "ARM\x64", 4);
	return f;
}

#define PE		64
#define PE_SECTIONS	(PE + 24 + 160)

static struct file make_arm64_efi(void)		/* as Linux has it, in two sections */
{
	struct file f = make_arm64();

	memcpy(f.data, "MZ", 2);
	f.data[60] = PE;
	f.data[PE] = 'P';
	f.data[PE + 1] = 'E';
	f.data[PE + 4] = 0x64;
	f.data[PE + 5] = 0xaa;
	f.data[PE + 6] = 2;
	f.data[PE + 20] = 160;
	f.data[PE_SECTIONS + 16 + 1] = 6;		/* 1536 bytes */
	f.data[PE_SECTIONS + 20 + 1] = 2;		/* from 512 on */
	f.data[PE_SECTIONS + 40 + 16 + 1] = 8;		/* 2048 bytes */
	f.data[PE_SECTIONS + 40 + 20 + 1] = 8;		/* from there on */
	return f;
}

#define ELF_NOTES	(64 + 3 * 56)
#define ELF_TEXT	512

static struct file make_elf(void)
{
	struct file f = { .len = 1024 };
	Elf64_Ehdr ehdr = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
			    .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_phoff = 64,
			    .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3 };
	Elf64_Phdr phdrs[3] = {
		{ .p_type = PT_LOAD, .p_offset = ELF_TEXT, .p_paddr = 1 << 24, .p_filesz = 512,
		  .p_memsz = 4096 },
		{ .p_type = PT_LOAD, .p_offset = 1024, .p_paddr = (1 << 24) + 65536,
		  .p_memsz = 4096 },
		{ .p_type = PT_NOTE, .p_offset = ELF_NOTES, .p_filesz = 44 },
	};
	static const uint8_t notes[44] = {
		4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 'X', 'e', 'n', 0, 1, 2, 3, 4,
		4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x50, 3, 0, 1, 0, 0, 0, 0,
	};

	memcpy(f.data, &ehdr, sizeof(ehdr));
	memcpy(f.data + 64, phdrs, sizeof(phdrs));
	memcpy(f.data + ELF_NOTES, notes, sizeof(notes));
	return f;
}

static struct file gzip(struct file plain)
{
	struct file f = { 0 };
	z_stream z = { .next_in = plain.data, .avail_in = (uInt)plain.len,
		       .next_out = f.data, .avail_out = FILE_LEN_MAX };

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	f.len = z.total_out;
	deflateEnd(&z);
	return f;
}

static struct file zstd(struct file plain)
{
	struct file f = { 0 };

	f.len = ZSTD_compress(f.data, FILE_LEN_MAX, plain.data, plain.len, 3);
	assert_false(ZSTD_isError(f.len));
	return f;
}

static void every_format_is_recognised_plain_and_compressed(void **state)
{
	const struct { struct file file; enum squib_arch arch; enum image_format format;
		       uint64_t memory; } cases[] = {
		{ make_bzimage(), SQUIB_ARCH_X86_64, IMAGE_BZIMAGE, 3 << 24 },
		{ make_elf(), SQUIB_ARCH_X86_64, IMAGE_ELF, (1 << 24) + 65536 + 4096 },
		{ make_arm64(), SQUIB_ARCH_AARCH64, IMAGE_ARM64, 4096 },
		{ make_arm64_efi(), SQUIB_ARCH_AARCH64, IMAGE_ARM64, 4096 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct file files[] = { cases[i].file, gzip(cases[i].file),
					      zstd(cases[i].file) };

		for (size_t j = 0; j < ARRAY_SIZE(files); j++) {
			CLEANUP(image_done) struct image image = IMAGE_INIT;
			CLEANUP(fault_done) struct fault fault = FAULT_INIT;
			char byte;

			if (open_bytes(files[j].data, files[j].len, cases[i].arch, &image,
				       &fault) < 0)
				fail_msg("%zu %zu: %s", i, j, fault_text(&fault));
			assert_int_equal(image.format, cases[i].format);
			assert_int_equal(image.size_bytes, cases[i].file.len);
			assert_int_equal(image.memory_bytes, cases[i].memory);
			if (image.format == IMAGE_ELF)
				assert_int_equal(image.pvh_entry, 0x1000350);
			assert_int_equal(pread(image.fd, &byte, 1, 0), 1);
			if (j > 0)
				assert_int_equal(pwrite(image.fd, &byte, 1, 0), -1);	/* sealed */
		}
	}
}

static void every_truncation_is_refused(void **state)
{
	const struct { struct file file; enum squib_arch arch; size_t enough; } cases[] = {
		{ make_bzimage(), SQUIB_ARCH_X86_64, SIZE_MAX },
		{ make_elf(), SQUIB_ARCH_X86_64, SIZE_MAX },
		{ make_arm64(), SQUIB_ARCH_AARCH64, 2048 },	/* the rest may be bss */
		{ make_arm64_efi(), SQUIB_ARCH_AARCH64, SIZE_MAX },
		{ gzip(make_arm64_efi()), SQUIB_ARCH_AARCH64, SIZE_MAX },
		{ gzip(make_elf()), SQUIB_ARCH_X86_64, SIZE_MAX },
		{ zstd(make_elf()), SQUIB_ARCH_X86_64, SIZE_MAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t len = 0; len < cases[i].file.len && len < cases[i].enough; len++) {
			CLEANUP(image_done) struct image image = IMAGE_INIT;
			CLEANUP(fault_done) struct fault fault = FAULT_INIT;

			if (open_bytes(cases[i].file.data, len, cases[i].arch, &image, &fault) == 0)
				fail_msg("case %zu was taken with %zu bytes", i, len);
			assert_true(fault_text(&fault)[0] != '\0');
			assert_int_equal(image.fd, -1);
		}
	}
}

static void refused(struct file f, enum squib_arch arch, const char *want)
{
	CLEANUP(image_done) struct image image = IMAGE_INIT;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	assert_true(open_bytes(f.data, f.len, arch, &image, &fault) < 0);
	if (strstr(fault_text(&fault), want) == NULL)
		fail_msg("got \"%s\", want \"%s\"", fault_text(&fault), want);
}

static void hostile_and_foreign_headers_are_refused_by_name(void **state)
{
	struct file f;

	(void)state;
	refused(make_arm64(), SQUIB_ARCH_X86_64, "The image is an aarch64 Image, the guest is x86_64");
	refused(make_bzimage(), SQUIB_ARCH_AARCH64, "The image is a bzImage, the guest is aarch64");
	refused(make_elf(), SQUIB_ARCH_AARCH64, "The image is ELF for x86_64, the guest is aarch64");
	f = make_elf();
	put_le16(f.data + 18, EM_AARCH64);
	refused(f, SQUIB_ARCH_X86_64, "another architecture");
	refused(f, SQUIB_ARCH_AARCH64, "needs an Image file");
	f = make_elf();
	f.data[EI_CLASS] = ELFCLASS32;
	refused(f, SQUIB_ARCH_X86_64, "not 64-bit");
	f = make_elf();
	put_le16(f.data + 16, ET_CORE);
	refused(f, SQUIB_ARCH_X86_64, "not an executable");
	f = make_elf();
	put_le16(f.data + 56, 65535);			/* e_phnum */
	refused(f, SQUIB_ARCH_X86_64, "bad program headers");
	f = make_elf();
	put_le64(f.data + 32, UINT64_MAX - 8);		/* e_phoff */
	refused(f, SQUIB_ARCH_X86_64, "bad program headers");
	f = make_elf();
	put_le64(f.data + 64 + 8, UINT64_MAX);		/* p_offset */
	refused(f, SQUIB_ARCH_X86_64, "out of bounds");
	f = make_elf();
	put_le64(f.data + 64 + 24, UINT64_MAX - 100);	/* p_paddr */
	refused(f, SQUIB_ARCH_X86_64, "out of bounds");
	f = make_elf();
	put_le64(f.data + 64 + 40, 100);		/* p_memsz below p_filesz */
	refused(f, SQUIB_ARCH_X86_64, "out of bounds");
	f = make_elf();
	put_le16(f.data + 64, PT_NULL);
	put_le16(f.data + 64 + 56, PT_NULL);
	refused(f, SQUIB_ARCH_X86_64, "nothing to load");
	f = make_bzimage();
	f.data[0x206] = 6;
	refused(f, SQUIB_ARCH_X86_64, "no 64-bit entry point");
	f = make_bzimage();
	f.data[0x211] = 0;
	refused(f, SQUIB_ARCH_X86_64, "zImage");
	f = make_bzimage();
	f.data[0x1f7] = 0xff;
	refused(f, SQUIB_ARCH_X86_64, "truncated");
	f = make_bzimage();
	f.data[0x1f5] = 0;
	refused(f, SQUIB_ARCH_X86_64, "no kernel in it");
	f = make_bzimage();
	put_le64(f.data + 0x258, UINT64_MAX);		/* pref_address */
	refused(f, SQUIB_ARCH_X86_64, "bad header");
	f = make_arm64();
	f.data[24] |= 1;
	refused(f, SQUIB_ARCH_AARCH64, "big-endian");
	f = make_arm64();
	put_le64(f.data + 8, UINT64_MAX);		/* text_offset */
	refused(f, SQUIB_ARCH_AARCH64, "bad header");
	f = (struct file){ .data = "MZ\0\0zimg", .len = 64 };
	refused(f, SQUIB_ARCH_AARCH64, "zboot");
	f = (struct file){ .data = "#!/bin/sh\n", .len = 10 };
	refused(f, SQUIB_ARCH_X86_64, "Not a kernel image");
	f = (struct file){ .len = 0 };
	refused(f, SQUIB_ARCH_X86_64, "The image is empty");
	refused(gzip(gzip(make_elf())), SQUIB_ARCH_X86_64, "Not a kernel image");
}

static void pe_headers_that_are_refused(void **state)
{
	struct file f;

	(void)state;
	f = make_arm64_efi();
	f.data[PE] = 'N';
	refused(f, SQUIB_ARCH_AARCH64, "The Image has a bad PE header");
	f = make_arm64_efi();
	f.data[PE + 6] = 97;			/* sections */
	refused(f, SQUIB_ARCH_AARCH64, "The Image has a bad PE header");
	f = make_arm64_efi();
	put_le16(f.data + PE + 4, 0x8664);
	refused(f, SQUIB_ARCH_AARCH64, "The Image's PE header is for another architecture (machine "
		"0x8664)");
	f = make_arm64_efi();
	put_le16(f.data + 60, 4096 - 23);
	refused(f, SQUIB_ARCH_AARCH64, "The Image is truncated: its header tells of 4097 bytes, the "
		"file has 4096");
	f = make_arm64_efi();
	memset(f.data + 60, 0xff, 4);
	refused(f, SQUIB_ARCH_AARCH64, "The Image is truncated: its header tells of 4294967319 bytes, "
		"the file has 4096");
	f = make_arm64_efi();
	put_le16(f.data + PE + 20, 4096 - 2 * 40 - 24 - PE + 1);
	refused(f, SQUIB_ARCH_AARCH64, "The Image is truncated: its header tells of 4097 bytes, the "
		"file has 4096");
	f = make_arm64_efi();
	f.data[PE_SECTIONS + 16]++;		/* the first section is too long, but not the last */
	f.data[PE_SECTIONS + 16 + 1] = 14;
	refused(f, SQUIB_ARCH_AARCH64, "The Image is truncated: its header tells of 4097 bytes, the "
		"file has 4096");
	f = make_arm64_efi();
	memset(f.data + PE_SECTIONS + 16, 0xff, 8);
	refused(f, SQUIB_ARCH_AARCH64, "The Image is truncated: its header tells of 8589934590 bytes, "
		"the file has 4096");
}

static void what_the_header_of_an_image_tells(void **state)
{
	static const struct { const char *sentence; uint64_t flags, text_offset, image_size;
			      uint32_t page_bytes; uint64_t want_offset, want_memory; } cases[] = {
		{ "4 KiB pages", 0xa, 0, 8192, 4096, 0, 8192 },
		{ "16 KiB pages", 0xc, 0, 8192, 16384, 0, 8192 },
		{ "64 KiB pages, low in memory", 6, 0x80000, 8192, 65536, 0x80000, 0x82000 },
		{ "it does not tell its pages", 8, 0x1000, 8192, 0, 0x1000, 0x3000 },
		{ "it does not tell its size", 0, 0x1000, 0, 0, 0x80000, 0x81000 },
		{ "what is behind it is loaded, too", 0xa, 0, 100, 4096, 0, 4096 },
		{ "flags of the future", ~UINT64_C(7), 0, 4096, 0, 0, 4096 },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		CLEANUP(image_done) struct image image = IMAGE_INIT;
		const size_t j = i / 2;
		struct file f = i % 2 == 0 ? make_arm64() : make_arm64_efi();

		put_le64(f.data + 8, cases[j].text_offset);
		put_le64(f.data + 16, cases[j].image_size);
		put_le64(f.data + 24, cases[j].flags);
		assert_int_equal(open_bytes(f.data, f.len, SQUIB_ARCH_AARCH64, &image, NULL), 0);
		if (image.page_bytes != cases[j].page_bytes ||
		    image.text_offset != cases[j].want_offset ||
		    image.memory_bytes != cases[j].want_memory)
			fail_msg("%s: pages of %u, at 0x%llx, 0x%llx bytes", cases[j].sentence,
				 image.page_bytes, (unsigned long long)image.text_offset,
				 (unsigned long long)image.memory_bytes);
	}
}

static void notes_that_lie_are_skipped(void **state)
{
	(void)state;
	for (size_t at = ELF_NOTES; at < ELF_NOTES + 44; at++) {
		for (int value = 0; value < 256; value++) {
			CLEANUP(image_done) struct image image = IMAGE_INIT;
			struct file f = make_elf();

			f.data[at] = (uint8_t)value;
			assert_int_equal(open_bytes(f.data, f.len, SQUIB_ARCH_X86_64, &image, NULL),
					 0);
		}
	}
}

static void random_damage_is_survived(void **state)
{
	const struct file originals[] = { make_bzimage(), make_elf(), make_arm64(),
					  gzip(make_elf()), zstd(make_elf()), make_arm64_efi() };

	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		CLEANUP(image_done) struct image image = IMAGE_INIT;
		struct file f = originals[i % 6];

		for (long n = random() % 4 + 1; n > 0; n--)
			f.data[(size_t)random() % (i % 2 ? f.len : 620) % f.len] = (uint8_t)random();
		open_bytes(f.data, f.len, i % 3 == 2 ? SQUIB_ARCH_AARCH64 : SQUIB_ARCH_X86_64,
			   &image, NULL);
	}
}

static void what_comes_out_is_bounded(void **state)
{
	const struct file plain = { .len = 30000 };
	const struct file packed[] = { gzip(plain), zstd(plain) };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(packed); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		int fd = fd_of(packed[i].data, packed[i].len);

		assert_int_equal(decompress(&fd, 29999, &fault), -EFBIG);
		assert_string_equal(fault_text(&fault), "The compressed image is too large");
		assert_int_equal(decompress(&fd, 30000, &fault), 1);
		assert_int_equal(lseek(fd, 0, SEEK_END), 30000);
		close(fd);
	}
}

static void what_is_no_file_is_refused(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct image image = IMAGE_INIT;
	int p[2];
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_true(image_open(p[0], SQUIB_ARCH_X86_64, &image, &fault) < 0);
	assert_true(image_open(dir, SQUIB_ARCH_X86_64, &image, &fault) < 0);
	assert_true(image_open(-1, SQUIB_ARCH_X86_64, &image, &fault) < 0);
	assert_string_equal(fault_text(&fault),
			    "Cannot read the image: Bad file descriptor (os error 9)");
	close(dir);
	close(p[0]);
	close(p[1]);
}

/* Command lines */

static const struct squib_drive root_rw = { .drive_id = "r", .is_root_device = true };
static const struct squib_drive root_ro = { .drive_id = "r", .is_root_device = true,
					    .is_read_only = true, .partuuid = "0eaa91a0-01" };
static const struct squib_drive data = { .drive_id = "d" };

static void command_lines(void **state)
{
	static const struct { const char *args; const struct squib_drive *drive; bool arm;
			      uint32_t khz; const char *want; } cases[] = {
		{ NULL, NULL, false, 0, CMDLINE_DEFAULT " pci=off" },
		{ "", NULL, false, 0, "pci=off" },
		{ "  a b ", &data, false, 0, "a b pci=off" },
		{ "console=ttyS0", &root_rw, false, 2300000,
		  "console=ttyS0 pci=off root=/dev/vda rw tsc_early_khz=2300000 tsc=reliable" },
		{ "x", &root_ro, false, 0, "x pci=off root=PARTUUID=0eaa91a0-01 ro" },
		{ "x -- single -- more", &root_rw, false, 7,
		  "x pci=off root=/dev/vda rw tsc_early_khz=7 tsc=reliable -- single -- more" },
		{ "x", &root_rw, true, 0, "x pci=off root=/dev/vda rw" },
		{ "x console=ttyS0", NULL, true, 0,
		  "x console=ttyS0 pci=off console=ttyAMA0 earlycon=pl011,0x9" },
		{ "console=ttyAMA0,115200", NULL, true, 0,
		  "console=ttyAMA0,115200 pci=off earlycon=pl011,0x9" },
		{ "netconsole=x", NULL, true, 0, "netconsole=x pci=off earlycon=pl011,0x9" },
		{ "x -- console=ttyS0", NULL, true, 0,
		  "x pci=off earlycon=pl011,0x9 -- console=ttyS0" },
		{ "x", NULL, true, 0, "x pci=off" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(buf_done) struct buf line = BUF_INIT;
		struct squib_boot_source source = { .boot_args = cases[i].args };
		struct squib_machine machine = { .boot_source = &source, .drives = &cases[i].drive,
						 .drive_count = cases[i].drive != NULL };
		struct cmdline_params params = {
			.arch = cases[i].arm ? SQUIB_ARCH_AARCH64 : SQUIB_ARCH_X86_64,
			.machine = &machine, .tsc_early_khz = cases[i].khz,
			.console = "ttyAMA0", .earlycon = "pl011,0x9",
		};

		assert_int_equal(cmdline_build(&params, &line, NULL), 0);
		assert_string_equal(buf_str(&line), cases[i].want);
	}
}

static void command_lines_with_devices(void **state)
{
	static const struct squib_pmem pmem = { .id = "p" }, pmem_ro = { .root_device = true,
									 .read_only = true };
	static const struct squib_pmem pmem_rw = { .root_device = true };
	static const struct { const char *sentence; struct cmdline_device devices[5]; size_t count;
			      const char *args, *want; bool arm; } cases[] = {
		{ "no device", { { 0 } }, 0, "a", "a pci=off" },
		{ "what is no root has no more words", { { 0xc0001000, 5, &data, NULL } }, 1, "a",
		  "a pci=off virtio_mmio.device=4K@0xc0001000:5" },
		{ "the root drive has its words in front of it, behind the balloon",
		  { { 0xc0001000, 5, NULL, NULL }, { 0xc0002000, 6, &root_ro, NULL },
		    { 0xc0003000, 7, &data, NULL } }, 3, "a",
		  "a pci=off virtio_mmio.device=4K@0xc0001000:5 root=PARTUUID=0eaa91a0-01 ro "
		  "virtio_mmio.device=4K@0xc0002000:6 virtio_mmio.device=4K@0xc0003000:7" },
		{ "without a PARTUUID it is vda", { { 0xc0001000, 5, &root_rw, NULL } }, 1, "",
		  "pci=off root=/dev/vda rw virtio_mmio.device=4K@0xc0001000:5" },
		{ "a root pmem is counted among the pmems",
		  { { 0xc0001000, 5, &data, NULL }, { 0xc0002000, 6, NULL, NULL },
		    { 0xc0003000, 7, NULL, &pmem }, { 0xc0004000, 8, NULL, &pmem_ro },
		    { 0xc0005000, 23, NULL, NULL } }, 5, "a",
		  "a pci=off virtio_mmio.device=4K@0xc0001000:5 virtio_mmio.device=4K@0xc0002000:6 "
		  "virtio_mmio.device=4K@0xc0003000:7 root=/dev/pmem1 ro "
		  "virtio_mmio.device=4K@0xc0004000:8 virtio_mmio.device=4K@0xc0005000:23" },
		{ "what is for init stays behind", { { 0xc0001000, 5, NULL, &pmem_rw } }, 1,
		  "a -- single", "a pci=off root=/dev/pmem0 rw virtio_mmio.device=4K@0xc0001000:5 "
		  "-- single" },
		{ "on aarch64 what makes it the root is all",
		  { { 0x40003000, 2, NULL, NULL }, { 0x40004000, 3, &root_ro, NULL },
		    { 0x40005000, 4, NULL, &pmem_rw } }, 3, "a",
		  "a pci=off root=PARTUUID=0eaa91a0-01 ro root=/dev/pmem0 rw", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(buf_done) struct buf line = BUF_INIT;
		struct squib_boot_source source = { .boot_args = cases[i].args };
		const struct squib_drive *ignored = &root_rw;
		struct squib_machine machine = { .boot_source = &source, .drives = &ignored,
						 .drive_count = 1 };
		struct cmdline_params params = {
			.arch = cases[i].arm ? SQUIB_ARCH_AARCH64 : SQUIB_ARCH_X86_64,
			.machine = &machine, .devices = cases[i].devices,
			.device_count = cases[i].count,
		};

		assert_int_equal(cmdline_build(&params, &line, NULL), 0);
		if (strcmp(buf_str(&line), cases[i].want) != 0)
			fail_msg("%s: got \"%s\"", cases[i].sentence, buf_str(&line));
	}
}

static void command_lines_that_are_refused(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	char args[CMDLINE_MAX + 1];
	struct squib_boot_source source = { .boot_args = args };
	struct squib_machine machine = { .boot_source = &source };
	struct cmdline_params params = { .machine = &machine };
	struct buf line = BUF_INIT;

	(void)state;
	memset(args, 'x', sizeof(args));
	args[CMDLINE_MAX - 1 - strlen(" pci=off")] = '\0';
	assert_int_equal(cmdline_build(&params, &line, &fault), 0);	/* exactly at the end */
	buf_done(&line);
	args[CMDLINE_MAX - 1 - strlen(" pci=off")] = 'x';
	args[CMDLINE_MAX - strlen(" pci=off")] = '\0';
	assert_true(cmdline_build(&params, &line, &fault) < 0);
	assert_string_equal(fault_text(&fault), "Invalid kernel command line: "
			    "Inserting string would make command line too long.");
	buf_done(&line);
	strcpy(args, "a\nb");
	assert_true(cmdline_build(&params, &line, &fault) < 0);
	assert_string_equal(fault_text(&fault), "Invalid kernel command line: "
			    "String contains a non-printable ASCII character.");
	buf_done(&line);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_format_is_recognised_plain_and_compressed),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(hostile_and_foreign_headers_are_refused_by_name),
		cmocka_unit_test(pe_headers_that_are_refused),
		cmocka_unit_test(what_the_header_of_an_image_tells),
		cmocka_unit_test(notes_that_lie_are_skipped),
		cmocka_unit_test(random_damage_is_survived),
		cmocka_unit_test(what_comes_out_is_bounded),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(command_lines),
		cmocka_unit_test(command_lines_with_devices),
		cmocka_unit_test(command_lines_that_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
