/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/test_guest.h"

#include <assert.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern const uint8_t squib_test_guest_code[], squib_test_guest_code_end[];

/* A step's a, b and c are in %edi, %ebx and %ecx, the next one is at %esi. */
__asm__(
	".pushsection .rodata\n"
	".balign 16\n"
	".globl squib_test_guest_code, squib_test_guest_code_end\n"
	".hidden squib_test_guest_code, squib_test_guest_code_end\n"
	".code32\n"
	"squib_test_guest_code:\n"
	"	cld\n"
	"	movl $0x180000, %esp\n"
	"	movl $0x101000, %esi\n"
	"next:\n"
	"	movl (%esi), %eax\n"
	"	movl 4(%esi), %edi\n"
	"	movl 8(%esi), %ebx\n"
	"	movl 12(%esi), %ecx\n"
	"	addl $16, %esi\n"
	"	movl (ops - squib_test_guest_code + 0x100000)(,%eax,4), %eax\n"
	"	addl $0x100000, %eax\n"
	"	movl %edi, %edx\n"
	"	jmp *%eax\n"
	"ops:\n"
	"	.long op_halt - squib_test_guest_code\n"
	"	.long op_put8 - squib_test_guest_code\n"
	"	.long op_put16 - squib_test_guest_code\n"
	"	.long op_put32 - squib_test_guest_code\n"
	"	.long op_put64 - squib_test_guest_code\n"
	"	.long op_get32 - squib_test_guest_code\n"
	"	.long op_copy - squib_test_guest_code\n"
	"	.long op_wait32 - squib_test_guest_code\n"
	"	.long op_print - squib_test_guest_code\n"
	"	.long op_pattern - squib_test_guest_code\n"
	"	.long op_echo - squib_test_guest_code\n"
	"	.long op_spin - squib_test_guest_code\n"
	"	.long op_jump - squib_test_guest_code\n"
	"	.long op_loop - squib_test_guest_code\n"
	"	.long op_out8 - squib_test_guest_code\n"
	"	.long op_out16 - squib_test_guest_code\n"
	"	.long op_out32 - squib_test_guest_code\n"
	"	.long op_outs - squib_test_guest_code\n"
	"	.long op_in8 - squib_test_guest_code\n"
	"	.long op_in32 - squib_test_guest_code\n"
	"	.long op_ins - squib_test_guest_code\n"
	"	.long op_triple_fault - squib_test_guest_code\n"
	"op_halt:\n"
	"	hlt\n"
	"	jmp op_halt\n"
	"op_out8:\n"
	"	movl %ebx, %eax\n"
	"	outb %al, %dx\n"
	"	jmp next\n"
	"op_out16:\n"
	"	movl %ebx, %eax\n"
	"	outw %ax, %dx\n"
	"	jmp next\n"
	"op_out32:\n"
	"	movl %ebx, %eax\n"
	"	outl %eax, %dx\n"
	"	jmp next\n"
	"op_outs:\n"
	"	xchgl %esi, %ebx\n"
	"	rep outsb\n"
	"	movl %ebx, %esi\n"
	"	jmp next\n"
	"op_in8:\n"
	"	inb %dx, %al\n"
	"	movb %al, (%ebx)\n"
	"	jmp next\n"
	"op_in32:\n"
	"	inl %dx, %eax\n"
	"	movl %eax, (%ebx)\n"
	"	jmp next\n"
	"op_ins:\n"
	"	movl %ebx, %edi\n"
	"	rep insb\n"
	"	jmp next\n"
	"op_put8:\n"
	"	movb %bl, (%edi)\n"
	"	jmp next\n"
	"op_put16:\n"
	"	movw %bx, (%edi)\n"
	"	jmp next\n"
	"op_put32:\n"
	"	movl %ebx, (%edi)\n"
	"	jmp next\n"
	"op_put64:\n"		/* whatever is there, it is not what is compared with */
	"	movl $0x12345678, %eax\n"
	"	movl $0x9abcdef0, %edx\n"
	"	cmpxchg8b (%edi)\n"
	"	cmpxchg8b (%edi)\n"
	"	jmp next\n"
	"op_get32:\n"
	"	movl (%edi), %eax\n"
	"	movl %eax, (%ebx)\n"
	"	jmp next\n"
	"op_copy:\n"
	"	xchgl %esi, %ebx\n"
	"	rep movsb\n"
	"	movl %ebx, %esi\n"
	"	jmp next\n"
	"op_wait32:\n"
	"	movl (%edi), %eax\n"
	"	andl %ecx, %eax\n"
	"	cmpl %ebx, %eax\n"
	"	jne op_wait32\n"
	"	jmp next\n"
	"op_print:\n"
	"	testl %ebx, %ebx\n"
	"	jz next\n"
	"	movb (%edi), %cl\n"
	"	call print\n"
	"	incl %edi\n"
	"	decl %ebx\n"
	"	jmp op_print\n"
	"op_pattern:\n"
	"	movl $0, %ecx\n"
	"1:	call print\n"
	"	incl %ecx\n"
	"	cmpl %ecx, %edi\n"
	"	jne 1b\n"
	"	jmp next\n"
	"op_echo:\n"
	"	movl $0x3fd, %edx\n"
	"1:	inb %dx, %al\n"
	"	testb $1, %al\n"
	"	jz 1b\n"
	"	movl $0x3f8, %edx\n"
	"	inb %dx, %al\n"
	"	movb %al, %cl\n"
	"	call print\n"
	"	cmpb $0x71, %cl\n"
	"	jne op_echo\n"
	"	jmp next\n"
	"op_spin:\n"
	"	decl %edi\n"
	"	jnz op_spin\n"
	"	jmp next\n"
	"op_jump:\n"
	"	movl %edi, %esi\n"
	"	jmp next\n"
	"op_loop:\n"
	"	decl (%edi)\n"
	"	jz next\n"
	"	movl %ebx, %esi\n"
	"	jmp next\n"
	"op_triple_fault:\n"	/* the IDT has no room for any gate */
	"	ud2\n"
	"print:\n"		/* %cl; waits for the transmitter */
	"	movl $0x3fd, %edx\n"
	"1:	inb %dx, %al\n"
	"	testb $0x20, %al\n"
	"	jz 1b\n"
	"	movl $0x3f8, %edx\n"
	"	movb %cl, %al\n"
	"	outb %al, %dx\n"
	"	ret\n"
	"squib_test_guest_code_end:\n"
	".code64\n"
	".popsection\n"
);

struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[2];
	struct {
		Elf64_Nhdr nhdr;
		char name[4];
		uint32_t entry;
	} note;
	_Alignas(16) uint8_t memory[GUEST_END - GUEST_CODE];
};

#define NOTE_PVH 18	/* XEN_ELFNOTE_PHYS32_ENTRY */

static void fill_headers(struct image *image)
{
	memcpy(image->ehdr.e_ident, ELFMAG, SELFMAG);
	image->ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	image->ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	image->ehdr.e_ident[EI_VERSION] = EV_CURRENT;
	image->ehdr.e_type = ET_EXEC;
	image->ehdr.e_machine = EM_X86_64;
	image->ehdr.e_version = EV_CURRENT;
	image->ehdr.e_ehsize = sizeof(image->ehdr);
	image->ehdr.e_phoff = offsetof(struct image, phdrs);
	image->ehdr.e_phentsize = sizeof(Elf64_Phdr);
	image->ehdr.e_phnum = 2;
	image->phdrs[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_paddr = GUEST_CODE,
					.p_offset = offsetof(struct image, memory),
					.p_filesz = sizeof(image->memory),
					.p_memsz = sizeof(image->memory) };
	image->phdrs[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = offsetof(struct image, note),
					.p_filesz = sizeof(image->note) };
	image->note.nhdr = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 4, .n_type = NOTE_PVH };
	memcpy(image->note.name, "Xen", 4);
	image->note.entry = GUEST_CODE;
}

int guest_kernel(const struct guest_step *steps, size_t count, const void *data, size_t len)
{
	size_t code_len = (size_t)(squib_test_guest_code_end - squib_test_guest_code);
	struct image *image = calloc(1, sizeof(*image));
	int fd = memfd_create("test-guest", MFD_CLOEXEC);
	ssize_t written;

	assert(code_len <= GUEST_SCRIPT - GUEST_CODE);
	assert(count * sizeof(*steps) <= GUEST_DATA - GUEST_SCRIPT);
	assert(len <= GUEST_END - GUEST_DATA);
	assert(image != NULL && fd >= 0);
	fill_headers(image);
	memcpy(image->memory, squib_test_guest_code, code_len);
	memcpy(image->memory + (GUEST_SCRIPT - GUEST_CODE), steps, count * sizeof(*steps));
	if (data != NULL)
		memcpy(image->memory + (GUEST_DATA - GUEST_CODE), data, len);
	written = write(fd, image, sizeof(*image));
	assert(written == (ssize_t)sizeof(*image));
	free(image);
	return fd;
}
