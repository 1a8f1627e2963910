/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest of test_guest.h here: 32-bit code, without paging and with no room for any gate in its
 * IDT. The stack grows down from 0x180000. A second processor has 16-bit code.
 */
#ifndef SQUIB_ENGINE_KVM_X86_64_TEST_ARCH_H
#define SQUIB_ENGINE_KVM_X86_64_TEST_ARCH_H

#include <stdint.h>

#define GUEST_ARCH	SQUIB_ARCH_X86_64
#define GUEST_CODE	0x100000u
#define GUEST_MIB_MIN	2	/* of memory that it needs */

/* As in the table of the interpreter. */
enum guest_arch_op {
	GUEST_OUT8 = GUEST_OPS,	/* port a, value b */
	GUEST_OUT16,
	GUEST_OUT32,
	GUEST_OUTS,	/* rep outsb: port a, from address b, c bytes */
	GUEST_IN8,	/* port a, to address b */
	GUEST_IN32,
	GUEST_INS,	/* rep insb: port a, to address b, c bytes */
	GUEST_TRIPLE_FAULT,
};

#define SERIAL		0x3f8u
#define I8042_COMMAND	0x64u
#define SLEEP_CONTROL	0x600u
#define IO_APIC		0xfec00000u
#define LOCAL_APIC	0xfee00000u

#define SERIAL_PUT(reg, value)	{ GUEST_OUT8, SERIAL + (reg), (value) }
#define POWER_OFF		{ GUEST_OUT8, SLEEP_CONTROL, 5 << 2 | 0x20 }
#define RESET			{ GUEST_OUT8, I8042_COMMAND, 0xfe }

/* The metric that counts what the guest sends; @vcpu: struct metrics_vcpu * */
#define GUEST_EXITS_SENDING(vcpu) (&(vcpu)->exit_io_out)

#define GUEST_MMIO_PER_BYTE 0	/* memory-mapped writes, of what is sent */

/* Make a line's interrupt visible, as vector 0x20 + gsi; and wait until it was requested. */
#define IRQ_ON(gsi) \
	{ GUEST_PUT32, LOCAL_APIC + 0xf0, 0x1ff }, \
	{ GUEST_PUT32, IO_APIC, 0x10 + 2 * (gsi) }, \
	{ GUEST_PUT32, IO_APIC + 0x10, 0x20 + (gsi) }
#define IRQ_WAIT(gsi) \
	{ GUEST_WAIT32, LOCAL_APIC + 0x210, 1 << (gsi), 1 << (gsi) }

/* Calls to KVM without which a machine of two vCPUs does as well, at most */
#define GUEST_CALLS_NOT_NEEDED 0

/* A word that both processors can reach */
#define GUEST_FLAG	0x9000u

/* Start the second processor with what is at GUEST_DATA, @code; so many steps */
#define START_SECOND_STEPS 7
#define START_SECOND(code) \
	{ GUEST_COPY, 0x8000, GUEST_DATA, sizeof(code) }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x310, 1 << 24 }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x300, 0x4500 },		/* INIT */ \
	{ GUEST_SPIN, 1000 }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x310, 1 << 24 }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x300, 0x4608 },		/* start-up at 0x8000 */ \
	{ GUEST_SPIN, 1000 }

static const uint8_t second_prints[] = {
	0xba, 0xf8, 0x03,	/* mov $0x3f8, %dx */
	0xb0, '2',		/* mov $'2', %al */
	0xee,			/* out %al, %dx */
	0xeb, 0xfd,		/* jmp, back to the out */
};

static const uint8_t second_resets[] = {
	0xb0, 0xfe,		/* mov $0xfe, %al */
	0xe6, 0x64,		/* out %al, $0x64 */
	0xf4,			/* hlt */
};

/* It resets the machine a while after GUEST_FLAG is written to. */
static const uint8_t second_resets_late[] = {
	0x31, 0xc0,			/* xor %ax, %ax */
	0x8e, 0xd8,			/* mov %ax, %ds */
	0x80, 0x3e, 0x00, 0x90, 0x00,	/* cmpb $0, 0x9000 */
	0x74, 0xf9,			/* je, back to the cmpb */
	0xb9, 0x00, 0x40,		/* mov $0x4000, %cx */
	0xe2, 0xfe,			/* loop, here */
	0xb0, 0xfe,			/* mov $0xfe, %al */
	0xe6, 0x64,			/* out %al, $0x64 */
	0xf4,				/* hlt */
};

#endif
