/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory is mapped to itself and cached, as the host's view of it is, so both see the same;
 * what is below it is mapped as devices' registers.
 */
#include "engine/kvm/test_guest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER_MAGIC	0x644d5241u	/* "ARM\x64"; Linux, Documentation/arm64/booting.rst */
#define HEADER_FLAGS	0xau		/* little-endian, pages of 4 KiB, anywhere in memory */

/* Table of level 1, 1 GiB each; Arm DDI 0487, D8.3 */
#define TABLE		(GUEST_CODE + 0x10000u)	/* between script and data */
#define BLOCK_DEVICE	UINT64_C(0x0060000000000401)	/* attribute 0, accessed, no code */
#define BLOCK_MEMORY	UINT64_C(0x0000000000000705)	/* attribute 1, inner shareable, accessed */

extern const uint8_t squib_test_guest_code[], squib_test_guest_code_end[];

/*
 * A step's a, b and c are in w1, w2 and w3, the next one is at x19. x20: the table of operations,
 * x21: the distributor, whose last page is that of GICv2, and tells the version in GICv3 (GICD_PIDR2)
 */
__asm__(
	".pushsection .rodata\n"
	".balign 0x800\n"
	".globl squib_test_guest_code, squib_test_guest_code_end\n"
	".hidden squib_test_guest_code, squib_test_guest_code_end\n"
	"squib_test_guest_code:\n"
	"	b first\n"
	"	.space 60\n"		/* the header */
	"first:\n"
	"	ldr w19, =0x80201000\n"
	"	b start\n"
	"second:\n"
	"	mov x19, x0\n"
	"start:\n"
	"	ldr w0, =0x80210000\n"
	"	msr ttbr0_el1, x0\n"
	"	mov x0, #0xff00\n"		/* attributes: 0: device, 1: memory, write-back */
	"	msr mair_el1, x0\n"
	"	ldr x0, =0x803519\n"		/* 39 bits, pages of 4 KiB, cached walks; TTBR1 off */
	"	msr tcr_el1, x0\n"
	"	adr x0, vectors\n"
	"	msr vbar_el1, x0\n"
	"	isb\n"
	"	mrs x0, sctlr_el1\n"
	"	mov x1, #0x1005\n"		/* I, C, M */
	"	orr x0, x0, x1\n"
	"	msr sctlr_el1, x0\n"
	"	isb\n"
	"	adr x20, ops\n"
	"	ldr w21, =0x3ffff000\n"
	"	ldr w0, [x21, #0xfe8]\n"
	"	ubfx w0, w0, #4, #4\n"
	"	cmp w0, #3\n"
	"	b.ne next\n"
	"	ldr w21, =0x3fff0000\n"
	"next:\n"			/* each step is seen before the next */
	"	dmb sy\n"
	"	ldp w0, w1, [x19]\n"
	"	ldp w2, w3, [x19, #8]\n"
	"	add x19, x19, #16\n"
	"	ldrsw x0, [x20, x0, lsl #2]\n"
	"	add x0, x20, x0\n"
	"	br x0\n"
	"	.balign 4\n"
	"ops:\n"
	"	.word op_halt - ops\n"
	"	.word op_put8 - ops\n"
	"	.word op_put16 - ops\n"
	"	.word op_put32 - ops\n"
	"	.word op_put64 - ops\n"
	"	.word op_get32 - ops\n"
	"	.word op_copy - ops\n"
	"	.word op_wait32 - ops\n"
	"	.word op_print - ops\n"
	"	.word op_pattern - ops\n"
	"	.word op_echo - ops\n"
	"	.word op_spin - ops\n"
	"	.word op_jump - ops\n"
	"	.word op_loop - ops\n"
	"	.word op_call - ops\n"
	"	.word op_start - ops\n"
	"	.word op_irq_on - ops\n"
	"	.word op_irq_wait - ops\n"
	"op_halt:\n"
	"	wfi\n"
	"	b op_halt\n"
	"op_put8:\n"
	"	strb w2, [x1]\n"
	"	b next\n"
	"op_put16:\n"
	"	strh w2, [x1]\n"
	"	b next\n"
	"op_put32:\n"
	"	str w2, [x1]\n"
	"	b next\n"
	"op_put64:\n"
	"	orr x2, x2, x3, lsl #32\n"
	"	str x2, [x1]\n"
	"	b next\n"
	"op_get32:\n"
	"	ldr w0, [x1]\n"
	"	str w0, [x2]\n"
	"	b next\n"
	"op_copy:\n"
	"	cbz w3, next\n"
	"	ldrb w0, [x2]\n"
	"	strb w0, [x1]\n"
	"	add x2, x2, #1\n"
	"	add x1, x1, #1\n"
	"	sub w3, w3, #1\n"
	"	b op_copy\n"
	"op_wait32:\n"
	"	ldr w0, [x1]\n"
	"	and w0, w0, w3\n"
	"	cmp w0, w2\n"
	"	b.ne op_wait32\n"
	"	b next\n"
	"op_print:\n"
	"	cbz w2, next\n"
	"	ldrb w4, [x1], #1\n"
	"	sub w2, w2, #1\n"
	"	bl print\n"
	"	b op_print\n"
	"op_pattern:\n"
	"	mov w4, #0\n"
	"1:	bl print\n"
	"	add w4, w4, #1\n"
	"	cmp w4, w1\n"
	"	b.ne 1b\n"
	"	b next\n"
	"op_echo:\n"
	"	ldr w5, =0x40002000\n"
	"1:	ldrb w0, [x5, #5]\n"
	"	tbz w0, #0, 1b\n"
	"	ldrb w4, [x5]\n"
	"	bl print\n"
	"	cmp w4, #0x71\n"
	"	b.ne op_echo\n"
	"	b next\n"
	"op_spin:\n"
	"	subs w1, w1, #1\n"
	"	b.ne op_spin\n"
	"	b next\n"
	"op_jump:\n"
	"	mov x19, x1\n"
	"	b next\n"
	"op_loop:\n"
	"	ldr w0, [x1]\n"
	"	subs w0, w0, #1\n"
	"	str w0, [x1]\n"
	"	b.eq next\n"
	"	mov x19, x2\n"
	"	b next\n"
	"op_call:\n"
	"	mov x0, x1\n"
	"	mov x1, x2\n"
	"	mov x2, x3\n"
	"	mov x3, #0\n"
	"	hvc #0\n"
	"	b next\n"
	"op_start:\n"			/* CPU_ON: the processor, where, and its x0 */
	"	mov x3, x1\n"
	"	ldr w0, =0xc4000003\n"
	"	mov x1, #1\n"
	"	adr x2, second\n"
	"	hvc #0\n"
	"	b next\n"
	"op_irq_on:\n"			/* GICD_ICFGR: two bits each, 2: edge */
	"	add w1, w1, #32\n"
	"	lsr w0, w1, #4\n"
	"	add x0, x21, x0, lsl #2\n"
	"	lsl w1, w1, #1\n"		/* the shift takes it modulo 32 */
	"	mov w2, #2\n"
	"	lsl w2, w2, w1\n"
	"	str w2, [x0, #0xc00]\n"
	"	b next\n"
	"op_irq_wait:\n"		/* GICD_ISPENDR */
	"	add w1, w1, #32\n"
	"	lsr w0, w1, #5\n"
	"	add x0, x21, x0, lsl #2\n"
	"1:	ldr w2, [x0, #0x200]\n"
	"	lsr w2, w2, w1\n"
	"	tbz w2, #0, 1b\n"
	"	b next\n"
	"print:\n"			/* w4; waits for the transmitter */
	"	ldr w5, =0x40002000\n"
	"1:	ldrb w0, [x5, #5]\n"
	"	tbz w0, #5, 1b\n"
	"	strb w4, [x5]\n"
	"	ret\n"
	"	.ltorg\n"
	"	.balign 0x800\n"
	"vectors:\n"			/* 16 of them, all alike: what was going on is skipped */
	"	.rept 16\n"
	"	mrs x10, elr_el1\n"
	"	add x10, x10, #4\n"
	"	msr elr_el1, x10\n"
	"	eret\n"
	"	.balign 0x80\n"
	"	.endr\n"
	"squib_test_guest_code_end:\n"
	".popsection\n"
);

struct header {
	uint32_t code[2];
	uint64_t text_offset, image_size, flags, reserved[3];
	uint32_t magic, pe;
};

static void put(uint8_t *memory, uint32_t address, const void *data, size_t len)
{
	assert(address + len <= GUEST_END);
	if (len > 0)
		memcpy(memory + (address - GUEST_CODE), data, len);
}

static void fill(uint8_t *memory)
{
	static const uint64_t table[] = { BLOCK_DEVICE, BLOCK_DEVICE | 1 << 30,
					  BLOCK_MEMORY | UINT64_C(2) << 30 };
	struct header header = { .image_size = GUEST_END - GUEST_CODE, .flags = HEADER_FLAGS,
				 .magic = HEADER_MAGIC };
	size_t code_len = (size_t)(squib_test_guest_code_end - squib_test_guest_code);

	assert(code_len <= GUEST_SCRIPT - GUEST_CODE);
	put(memory, GUEST_CODE, squib_test_guest_code, code_len);
	memcpy(header.code, memory, sizeof(header.code));
	put(memory, GUEST_CODE, &header, sizeof(header));
	put(memory, TABLE, table, sizeof(table));
}

int guest_kernel(const struct guest_step *steps, size_t count, const void *data, size_t len)
{
	uint8_t *memory = calloc(1, GUEST_END - GUEST_CODE);
	int fd = memfd_create("test-guest", MFD_CLOEXEC);
	ssize_t written;

	assert(memory != NULL && fd >= 0);
	assert(count * sizeof(*steps) <= TABLE - GUEST_SCRIPT);
	fill(memory);
	put(memory, GUEST_SCRIPT, steps, count * sizeof(*steps));
	put(memory, GUEST_DATA, data, data != NULL ? len : 0);
	written = write(fd, memory, GUEST_END - GUEST_CODE);
	assert(written == GUEST_END - GUEST_CODE);
	free(memory);
	return fd;
}
