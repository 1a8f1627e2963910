/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for tests of the engine: a kernel of a page of 32-bit code that carries out a script, which
 * the test writes in C. So what a guest does, however hostile, stands in the test that wants it.
 *
 *	0x100000	the interpreter
 *	0x101000	the script
 *	0x120000	data, up to 0x130000
 *	0x180000	stack, growing down
 *
 * Interrupts are off and there is no IDT.
 */
#ifndef SQUIB_ENGINE_KVM_TEST_GUEST_H
#define SQUIB_ENGINE_KVM_TEST_GUEST_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_CODE	0x100000u
#define GUEST_SCRIPT	0x101000u
#define GUEST_DATA	0x120000u
#define GUEST_END	0x130000u

#define GUEST_STEP(index) (GUEST_SCRIPT + (uint32_t)(index) * 16)	/* for GUEST_JUMP, GUEST_LOOP */

/* As in the table of the interpreter. */
enum guest_op {
	GUEST_HALT,	/* for good; also what follows the last step */
	GUEST_OUT8,	/* port a, value b */
	GUEST_OUT16,
	GUEST_OUT32,
	GUEST_OUTS,	/* rep outsb: port a, from address b, c bytes */
	GUEST_IN8,	/* port a, to address b */
	GUEST_IN32,
	GUEST_INS,	/* rep insb: port a, to address b, c bytes */
	GUEST_PUT8,	/* to address a, value b */
	GUEST_PUT16,
	GUEST_PUT32,
	GUEST_PUT64,	/* the high half is c */
	GUEST_GET32,	/* from address a, to address b */
	GUEST_COPY,	/* rep movsb: to address a, from address b, c bytes */
	GUEST_WAIT32,	/* until the word at address a, masked with c, is b */
	GUEST_PRINT,	/* from address a, b bytes, as the serial port takes them */
	GUEST_PATTERN,	/* print a bytes: 0, 1 and so on up to 255, and again */
	GUEST_ECHO,	/* print what comes in, up to a 'q' */
	GUEST_SPIN,	/* a times around an empty loop */
	GUEST_JUMP,	/* go on at address a */
	GUEST_LOOP,	/* take 1 from the word at address a; go on at address b unless it is 0 */
	GUEST_TRIPLE_FAULT,
};

struct guest_step {
	uint32_t op;		/* enum guest_op */
	uint32_t a, b, c;
};

/**
 * guest_kernel() - an ELF image with a PVH entry, in a memory file
 * @data: @len bytes for GUEST_DATA; may be NULL
 *
 * Return: the descriptor, the caller's. Does not fail: a test has no use for that.
 */
int guest_kernel(const struct guest_step *steps, size_t count, const void *data, size_t len);

#endif
