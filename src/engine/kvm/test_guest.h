/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for tests of the engine: a kernel of a page of code that carries out a script, which the
 * test writes in C. So what a guest does, however hostile, stands in the test that wants it. Each
 * architecture has an interpreter of its own (test_guest.c), and says in test_arch.h what else there
 * is to know of it:
 *
 *	GUEST_CODE		the interpreter
 *	GUEST_CODE + 0x1000	GUEST_SCRIPT: the script
 *	GUEST_CODE + 0x20000	GUEST_DATA: data, up to GUEST_END, 64 KiB above
 *
 * Interrupts are off.
 */
#ifndef SQUIB_ENGINE_KVM_TEST_GUEST_H
#define SQUIB_ENGINE_KVM_TEST_GUEST_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_SCRIPT	(GUEST_CODE + 0x1000u)
#define GUEST_DATA	(GUEST_CODE + 0x20000u)
#define GUEST_END	(GUEST_CODE + 0x30000u)

#define GUEST_STEP(index) (GUEST_SCRIPT + (uint32_t)(index) * 16)	/* for GUEST_JUMP, GUEST_LOOP */

/* As in the tables of the interpreters. */
enum guest_op {
	GUEST_HALT,	/* for good; also what follows the last step */
	GUEST_PUT8,	/* to address a, value b */
	GUEST_PUT16,
	GUEST_PUT32,
	GUEST_PUT64,	/* the high half is c */
	GUEST_GET32,	/* from address a, to address b */
	GUEST_COPY,	/* to address a, from address b, c bytes, one by one */
	GUEST_WAIT32,	/* until the word at address a, masked with c, is b */
	GUEST_PRINT,	/* from address a, b bytes, as the serial port takes them */
	GUEST_PATTERN,	/* print a bytes: 0, 1 and so on up to 255, and again */
	GUEST_ECHO,	/* print what comes in, up to a 'q' */
	GUEST_SPIN,	/* a times around an empty loop */
	GUEST_JUMP,	/* go on at address a */
	GUEST_LOOP,	/* take 1 from the word at address a; go on at address b unless it is 0 */
	GUEST_OPS,	/* from here on the architecture's */
};

struct guest_step {
	uint32_t op;		/* enum guest_op */
	uint32_t a, b, c;
};

/**
 * guest_kernel() - an image of a kernel, in a memory file
 * @data: @len bytes for GUEST_DATA; may be NULL
 *
 * Return: the descriptor, the caller's. Does not fail: a test has no use for that.
 */
int guest_kernel(const struct guest_step *steps, size_t count, const void *data, size_t len);

#include "test_arch.h"	/* in the folder of the architecture */

#endif
