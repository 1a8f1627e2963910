/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the PVH entry (32 bits, no paging, %ebx: start info) and from a start-up interrupt of a second
 * CPU (16 bits) to long mode, with the first 4 GiB mapped to themselves. There is no IDT: an
 * exception is a triple fault, and nobody enables interrupts.
 */
#define CR0_PE		0x00000001
#define CR0_PG		0x80000000
#define CR4_PAE		0x20
#define MSR_EFER	0xc0000080
#define EFER_LME	0x100
#define CODE64		0x08
#define DATA		0x10
#define CODE32		0x18
#define STACK_BYTES	0x4000

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18		/* name and content in bytes; XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad start32

	.text
	.code32
	.globl start32
start32:
	cli
	cld
	movl $stack_top, %esp
	movl %ebx, start_info
	lgdt gdt_pointer
	movl $pdpt + 3, pml4
	movl $pd + 3, %eax
	movl $pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	loop 1b
	movl $0x83, %eax	/* 2 MiB, writable, present */
	movl $pd, %edi
	movl $2048, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 1b
	movl $main64, %esi
	jmp to_long_mode

second32:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $1, %eax
	lock xaddl %eax, second_count
	testl %eax, %eax
	jnz park
	movl $second_stack_top, %esp
	movl $second64, %esi

	/* %esi: where to go on */
to_long_mode:
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $(CR0_PG | CR0_PE), %eax
	movl %eax, %cr0
	ljmp $CODE64, $in_long_mode

park:	hlt
	jmp park

	.code64
in_long_mode:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl %esi, %esi
	jmp *%rsi

main64:	movl start_info, %edi
	call hostile_main
1:	hlt
	jmp 1b

second64:
	call second_cpu_main
1:	hlt
	jmp 1b

	/* Copied below 1 MiB; only its own data can be reached from there. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	lgdtl trampoline_gdt_pointer - trampoline
	movl %cr0, %eax
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $second32
	.balign 4
trampoline_gdt_pointer:
	.word 31
	.long gdt
trampoline_end:

	.data
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00cf9b000000ffff
gdt_pointer:
	.word 31
	.long gdt

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
	.skip STACK_BYTES
stack_top:
	.skip STACK_BYTES
second_stack_top:
start_info:
	.skip 8
second_count:
	.skip 4
