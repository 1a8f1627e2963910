/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/image.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "boot/bytes.h"
#include "boot/bzimage.h"
#include "boot/decompress.h"

#define NOTES_MAX	65536		/* bytes of one note segment that are looked at */
#define NOTE_PVH	18		/* XEN_ELFNOTE_PHYS32_ENTRY */

int image_read(int fd, uint64_t offset, void *data, uint64_t len, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			return fault_set(fault, r, "Cannot read the image: %s", os_error(r, text));
		}
		if (n == 0)
			return fault_set(fault, -ENOEXEC, "The image is truncated");
		done += (uint64_t)n;
	}
	return 0;
}

static int truncated(struct fault *fault, const char *format, uint64_t needs, uint64_t has)
{
	return fault_set(fault, -ENOEXEC,
			 "The %s is truncated: its header tells of %llu bytes, the file has %llu",
			 format, (unsigned long long)needs, (unsigned long long)has);
}

static int foreign(struct fault *fault, const char *format, enum squib_arch arch)
{
	return fault_set(fault, -ENOEXEC, "The image is %s, the guest is %s", format,
			 arch == SQUIB_ARCH_X86_64 ? "x86_64" : "aarch64");
}

/* bzImage */

static bool is_bzimage(const uint8_t *head, size_t len)
{
	return len >= BZ_MAGIC + 4 && get_le16(head + BZ_BOOT_FLAG) == BZ_BOOT_FLAG_VALUE &&
	       memcmp(head + BZ_MAGIC, BZ_MAGIC_VALUE, 4) == 0;
}

static int check_bzimage(struct image *image, const uint8_t *head, size_t len, struct fault *fault)
{
	uint64_t needs, body, address;
	uint32_t setup_sects;

	if (len < BZ_HEADER_END)
		return truncated(fault, "bzImage", BZ_HEADER_END, image->size_bytes);
	if (get_le16(head + BZ_VERSION) < BZ_VERSION_64 ||
	    (get_le16(head + BZ_XLOADFLAGS) & BZ_KERNEL_64) == 0)
		return fault_set(fault, -ENOEXEC,
				 "The bzImage has no 64-bit entry point: a 32-bit kernel, or older "
				 "than Linux 3.8");
	if ((head[BZ_LOADFLAGS] & BZ_LOADED_HIGH) == 0)
		return fault_set(fault, -ENOEXEC, "The image is a zImage, not a bzImage");
	setup_sects = head[BZ_SETUP_SECTS] != 0 ? head[BZ_SETUP_SECTS] : 4;
	body = (uint64_t)get_le32(head + BZ_SYSSIZE) * 16;
	needs = (uint64_t)(setup_sects + 1) * 512 + body;
	if (body == 0)
		return fault_set(fault, -ENOEXEC, "The bzImage has no kernel in it");
	if (needs > image->size_bytes)
		return truncated(fault, "bzImage", needs, image->size_bytes);
	/* Wherever it is loaded, it unpacks itself to no lower address than the preferred one. */
	address = get_le64(head + BZ_PREF_ADDRESS);
	if (__builtin_add_overflow(address, get_le32(head + BZ_INIT_SIZE), &image->memory_bytes))
		return fault_set(fault, -ENOEXEC, "The bzImage has a bad header");
	image->format = IMAGE_BZIMAGE;
	return 0;
}

/* ELF */

/* Notes: namesz, descsz, type, then name and desc, each padded to 4. */
static uint64_t find_pvh(const uint8_t *notes, size_t len)
{
	size_t at = 0;

	while (len - at >= 12) {
		uint64_t name_len = get_le32(notes + at), desc_len = get_le32(notes + at + 4);
		uint64_t desc = at + 12 + ((name_len + 3) & ~UINT64_C(3));
		uint64_t end = desc + ((desc_len + 3) & ~UINT64_C(3));

		if (end > len)
			return 0;
		if (get_le32(notes + at + 8) == NOTE_PVH && name_len == 4 &&
		    memcmp(notes + at + 12, "Xen", 4) == 0) {
			if (desc_len == 8)
				return get_le64(notes + desc);
			if (desc_len == 4)
				return get_le32(notes + desc);
		}
		at = (size_t)end;
	}
	return 0;
}

static int read_notes(struct image *image, const Elf64_Phdr *phdr, struct fault *fault)
{
	uint64_t len = le64toh(phdr->p_filesz);
	uint8_t *notes;
	int r;

	if (image->pvh_entry != 0 || len < 12)
		return 0;
	if (len > NOTES_MAX)
		len = NOTES_MAX;
	notes = malloc((size_t)len);
	if (notes == NULL)
		return fault_set(fault, -ENOMEM, "Out of memory (os error 12)");
	r = image_read(image->fd, le64toh(phdr->p_offset), notes, (size_t)len, fault);
	if (r == 0)
		image->pvh_entry = find_pvh(notes, (size_t)len);
	free(notes);
	return r;
}

static int check_segment(struct image *image, const Elf64_Phdr *phdr, struct fault *fault)
{
	uint64_t offset = le64toh(phdr->p_offset), file_len = le64toh(phdr->p_filesz);
	uint64_t addr = le64toh(phdr->p_paddr), mem_len = le64toh(phdr->p_memsz);
	uint64_t end;

	if (__builtin_add_overflow(offset, file_len, &end))
		return fault_set(fault, -ENOEXEC, "The ELF image has a segment out of bounds");
	if (end > image->size_bytes)
		return truncated(fault, "ELF image", end, image->size_bytes);
	if (le32toh(phdr->p_type) == PT_NOTE)
		return read_notes(image, phdr, fault);
	if (mem_len < file_len || __builtin_add_overflow(addr, mem_len, &end))
		return fault_set(fault, -ENOEXEC, "The ELF image has a segment out of bounds");
	if (mem_len > 0 && end > image->memory_bytes)
		image->memory_bytes = end;
	return 0;
}

static int check_segments(struct image *image, uint64_t offset, size_t count, struct fault *fault)
{
	Elf64_Phdr phdrs[IMAGE_PHDR_MAX];
	int r;

	r = image_read(image->fd, offset, phdrs, count * sizeof(phdrs[0]), fault);
	for (size_t i = 0; r == 0 && i < count; i++) {
		uint32_t type = le32toh(phdrs[i].p_type);

		if (type == PT_LOAD || type == PT_NOTE)
			r = check_segment(image, &phdrs[i], fault);
	}
	if (r < 0)
		return r;
	if (image->memory_bytes == 0)
		return fault_set(fault, -ENOEXEC, "The ELF image has nothing to load");
	return 0;
}

static int check_elf(struct image *image, const uint8_t *head, size_t len, enum squib_arch arch,
		     struct fault *fault)
{
	Elf64_Ehdr ehdr;
	uint64_t offset, end;
	size_t count;

	if (len < sizeof(ehdr))
		return truncated(fault, "ELF image", sizeof(ehdr), image->size_bytes);
	memcpy(&ehdr, head, sizeof(ehdr));
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_ident[EI_DATA] != ELFDATA2LSB)
		return fault_set(fault, -ENOEXEC, "The ELF image is not 64-bit little-endian");
	if (le16toh(ehdr.e_machine) == EM_AARCH64 && arch == SQUIB_ARCH_AARCH64)
		return fault_set(fault, -ENOEXEC, "An aarch64 guest needs an Image file, not an ELF "
				 "image");
	if (le16toh(ehdr.e_machine) != EM_X86_64)
		return fault_set(fault, -ENOEXEC, "The ELF image is for another architecture "
				 "(e_machine %u)", le16toh(ehdr.e_machine));
	if (arch != SQUIB_ARCH_X86_64)
		return foreign(fault, "ELF for x86_64", arch);
	if (le16toh(ehdr.e_type) != ET_EXEC && le16toh(ehdr.e_type) != ET_DYN)
		return fault_set(fault, -ENOEXEC, "The ELF image is not an executable");
	offset = le64toh(ehdr.e_phoff);
	count = le16toh(ehdr.e_phnum);
	if (le16toh(ehdr.e_phentsize) != sizeof(Elf64_Phdr) || count == 0 || count > IMAGE_PHDR_MAX ||
	    __builtin_add_overflow(offset, count * sizeof(Elf64_Phdr), &end))
		return fault_set(fault, -ENOEXEC, "The ELF image has bad program headers");
	if (end > image->size_bytes)
		return truncated(fault, "ELF image", end, image->size_bytes);
	image->format = IMAGE_ELF;
	return check_segments(image, offset, count, fault);
}

/* arm64 */

#define ARM64_TEXT_OFFSET	8
#define ARM64_IMAGE_SIZE	16
#define ARM64_FLAGS		24
#define ARM64_MAGIC		56
#define ARM64_PE_OFFSET		60
#define ARM64_HEADER_END	64
#define ARM64_BIG_ENDIAN	1
#define ARM64_PAGE_SIZE_SHIFT	1	/* two bits */
#define ARM64_TEXT_OFFSET_OLD	0x80000

#define PE_MACHINE		4	/* from "PE\0\0" on: the COFF header */
#define PE_SECTIONS		6
#define PE_OPTIONAL_BYTES	20
#define PE_HEADER_END		24
#define PE_MACHINE_ARM64	0xaa64
#define PE_SECTIONS_MAX		96	/* as Windows has it; Linux has two */
#define PE_SECTION_BYTES	40
#define PE_RAW_SIZE		16	/* in a section header */
#define PE_RAW_OFFSET		20

static bool is_arm64(const uint8_t *head, size_t len)
{
	return len >= ARM64_MAGIC + 4 && memcmp(head + ARM64_MAGIC, "ARM\x64", 4) == 0;
}

/* Where the last of what its sections have in the file ends */
static int read_pe_sections(const struct image *image, uint64_t offset, size_t count,
			    uint64_t *ret_end, struct fault *fault)
{
	uint8_t sections[PE_SECTIONS_MAX * PE_SECTION_BYTES];
	uint64_t end = offset + count * PE_SECTION_BYTES;
	int r;

	if (end > image->size_bytes)
		return truncated(fault, "Image", end, image->size_bytes);
	r = image_read(image->fd, offset, sections, count * PE_SECTION_BYTES, fault);
	if (r < 0)
		return r;
	for (const uint8_t *section = sections; count-- > 0; section += PE_SECTION_BYTES) {
		uint64_t section_end = (uint64_t)get_le32(section + PE_RAW_OFFSET) +
				       get_le32(section + PE_RAW_SIZE);

		if (section_end > end)
			end = section_end;
	}
	*ret_end = end;
	return 0;
}

static int read_pe(const struct image *image, uint64_t offset, uint64_t *ret_end, struct fault *fault)
{
	uint64_t end = offset + PE_HEADER_END;
	uint8_t header[PE_HEADER_END];
	int r;

	if (end > image->size_bytes)
		return truncated(fault, "Image", end, image->size_bytes);
	r = image_read(image->fd, offset, header, sizeof(header), fault);
	if (r < 0)
		return r;
	if (memcmp(header, "PE\0\0", 4) != 0 || get_le16(header + PE_SECTIONS) > PE_SECTIONS_MAX)
		return fault_set(fault, -ENOEXEC, "The Image has a bad PE header");
	if (get_le16(header + PE_MACHINE) != PE_MACHINE_ARM64)
		return fault_set(fault, -ENOEXEC, "The Image's PE header is for another architecture "
				 "(machine 0x%x)", get_le16(header + PE_MACHINE));
	return read_pe_sections(image, end + get_le16(header + PE_OPTIONAL_BYTES),
				get_le16(header + PE_SECTIONS), ret_end, fault);
}

/*
 * With the EFI stub it is a PE file, too, whose header tells what is in the file. Else there is only
 * image_size, which counts bss, so it may well be above the file's size; but a file of less than
 * half of that was cut or is something else.
 */
static int check_arm64_size(const struct image *image, const uint8_t *head, struct fault *fault)
{
	uint64_t image_size = get_le64(head + ARM64_IMAGE_SIZE), end = 0;
	int r = 0;

	if (memcmp(head, "MZ", 2) == 0)
		r = read_pe(image, get_le32(head + ARM64_PE_OFFSET), &end, fault);
	else if (image->size_bytes < image_size / 2)
		end = image_size;
	if (r == 0 && image->size_bytes < end)
		r = truncated(fault, "Image", end, image->size_bytes);
	return r;
}

/*
 * That its place may be anywhere (bit 3 of its flags) or should be low in memory makes no difference:
 * it gets the lowest there is.
 */
static int check_arm64(struct image *image, const uint8_t *head, size_t len, struct fault *fault)
{
	uint64_t size, flags;
	unsigned int page_size;
	int r;

	if (len < ARM64_HEADER_END)
		return truncated(fault, "Image", ARM64_HEADER_END, image->size_bytes);
	flags = get_le64(head + ARM64_FLAGS);
	if ((flags & ARM64_BIG_ENDIAN) != 0)
		return fault_set(fault, -ENOEXEC, "The Image is big-endian");
	r = check_arm64_size(image, head, fault);
	if (r < 0)
		return r;
	size = get_le64(head + ARM64_IMAGE_SIZE);
	/* Before Linux 3.17 it did not tell its size, and its offset was not to be believed. */
	image->text_offset = size != 0 ? get_le64(head + ARM64_TEXT_OFFSET) : ARM64_TEXT_OFFSET_OLD;
	if (size < image->size_bytes)
		size = image->size_bytes;
	if (__builtin_add_overflow(size, image->text_offset, &image->memory_bytes))
		return fault_set(fault, -ENOEXEC, "The Image has a bad header");
	page_size = flags >> ARM64_PAGE_SIZE_SHIFT & 3;
	image->page_bytes = page_size != 0 ? 1024u << page_size * 2 : 0;	/* 4, 16, 64 KiB */
	image->format = IMAGE_ARM64;
	return 0;
}

/* All */

static int check(struct image *image, enum squib_arch arch, struct fault *fault)
{
	uint8_t head[4096] = { 0 };
	size_t len = image->size_bytes < sizeof(head) ? (size_t)image->size_bytes : sizeof(head);
	int r = image_read(image->fd, 0, head, len, fault);

	if (r < 0)
		return r;
	if (len == 0)
		return fault_set(fault, -ENOEXEC, "The image is empty");
	if (len >= 8 && memcmp(head, "MZ", 2) == 0 && memcmp(head + 4, "zimg", 4) == 0)
		return fault_set(fault, -ENOEXEC, "The image is a compressed EFI program (zboot); "
				 "give the Image that is in it");
	if (is_arm64(head, len))
		return arch == SQUIB_ARCH_AARCH64 ? check_arm64(image, head, len, fault) :
						    foreign(fault, "an aarch64 Image", arch);
	if (is_bzimage(head, len))
		return arch == SQUIB_ARCH_X86_64 ? check_bzimage(image, head, len, fault) :
						   foreign(fault, "a bzImage", arch);
	if (len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0)
		return check_elf(image, head, len, arch, fault);
	return fault_set(fault, -ENOEXEC, "Not a kernel image: neither bzImage, ELF nor Image, nor "
			 "one of them compressed with gzip or zstd");
}

static int take_size(struct image *image, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	struct stat st;

	if (fstat(image->fd, &st) < 0) {
		int r = -errno;

		return fault_set(fault, r, "Cannot read the image: %s", os_error(r, text));
	}
	if (!S_ISREG(st.st_mode))
		return fault_set(fault, -ENOEXEC, "The image is not a regular file");
	image->size_bytes = (uint64_t)st.st_size;
	return 0;
}

int image_open(int fd, enum squib_arch arch, struct image *ret_image, struct fault *fault)
{
	CLEANUP(image_done) struct image image = IMAGE_INIT;
	char text[OS_ERROR_MAX];
	int r;

	image.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (image.fd < 0) {
		r = -errno;
		return fault_set(fault, r, "Cannot read the image: %s", os_error(r, text));
	}
	r = take_size(&image, fault);
	if (r == 0)
		r = decompress(&image.fd, IMAGE_DECOMPRESSED_MAX, fault);
	if (r == 1)
		r = take_size(&image, fault);
	if (r == 0)
		r = check(&image, arch, fault);
	if (r < 0)
		return r;
	*ret_image = image;
	image.fd = -1;
	return 0;
}
