/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An Image (Linux, Documentation/arm64/booting.rst), entered in EL1 with the MMU off and x0: device
 * tree. It has to be at the address it is linked to, the first that it can be at.
 *
 * The first 4 GiB are mapped to themselves, device registers as normal memory that is not cached:
 * then accesses need no alignment to get out of the machine. Nothing is written before the caches
 * are on, so there is nothing stale in them; the tables come with the Image.
 *
 * Interrupts stay masked. What comes to the exception vectors is an instruction that is undefined or
 * whose access failed, see exception.
 */
#define MAIR		0xff44		/* 0: not cached; 1: written back */
#define TCR_T0SZ	25		/* 39 bits of address */
#define TCR_WALK_CACHED	(1 << 8 | 1 << 10 | 3 << 12)	/* IRGN0, ORGN0, SH0 */
#define TCR_EPD1	(1 << 23)	/* no upper half */
#define SCTLR		0x30d01805	/* bits that are 1; I, C, M. Not A: no need for alignment */
#define BLOCK_DEVICE	0x701		/* accessed, inner shareable, attributes 0 */
#define BLOCK_MEMORY	0x705
#define STACK_BYTES	0x4000
#define EC_FETCH	0x21		/* of ESR: an instruction could not be fetched */

	.section .head, "ax"
	.globl image_start
image_start:
	b main_start
	.long 0
	.quad 0				/* offset from 2 MiB */
	.quad image_end - image_start
	.quad 2				/* little-endian, 4 KiB pages, near the start of memory */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

	.text
main_start:
	mov x19, x0
	bl to_virtual
	ldr x0, =stack_top
	mov sp, x0
	mov x0, x19
	bl hostile_main
	b arch_park

	.globl second_start
second_start:
	bl to_virtual
	ldr x0, =second_stack_top
	mov sp, x0
	bl second_cpu_main

	.globl arch_park
arch_park:
	wfi
	b arch_park

to_virtual:
	msr daifset, #15
	ldr x0, =vectors
	msr vbar_el1, x0
	msr tpidr_el1, xzr
	ldr x0, =MAIR
	msr mair_el1, x0
	ldr x0, =(TCR_T0SZ | TCR_WALK_CACHED | TCR_EPD1)
	msr tcr_el1, x0
	ldr x0, =tables
	msr ttbr0_el1, x0
	isb
	tlbi vmalle1
	ic iallu
	dsb nsh
	isb
	ldr x0, =SCTLR
	msr sctlr_el1, x0
	isb
	ret

	/*
	 * Go on behind the instruction, if it was expected that it fails (TPIDR_EL1 is not 0), or
	 * where it was called from if it is one that is not there.
	 */
exception:
	stp x0, x1, [sp, #-16]!
	mrs x0, tpidr_el1
	cbz x0, 3f
	mrs x0, esr_el1
	ubfx x0, x0, #26, #6	/* KVM of Linux 6.1 sets bits above, too */
	cmp x0, #EC_FETCH
	b.ne 1f
	msr elr_el1, x30
	b 2f
1:	mrs x0, elr_el1
	add x0, x0, #4
	msr elr_el1, x0
2:	ldp x0, x1, [sp], #16
	eret
3:	mrs x0, esr_el1
	mrs x1, elr_el1
	mrs x2, far_el1
	bl unexpected_exception

	.balign 0x800
vectors:
	.rept 16
	b exception
	.balign 0x80
	.endr

	.data
	.balign 4096
tables:	.quad 0x00000000 + BLOCK_DEVICE
	.quad 0x40000000 + BLOCK_DEVICE
	.quad 0x80000000 + BLOCK_MEMORY
	.quad 0xc0000000 + BLOCK_MEMORY
	.fill 508, 8, 0

	.bss
	.balign 16
	.skip STACK_BYTES
stack_top:
	.skip STACK_BYTES
second_stack_top:
