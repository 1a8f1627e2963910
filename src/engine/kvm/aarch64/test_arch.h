/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest of test_guest.h here: what an exception is raised at is skipped. A second processor has a
 * script of its own, at GUEST_DATA.
 */
#ifndef SQUIB_ENGINE_KVM_AARCH64_TEST_ARCH_H
#define SQUIB_ENGINE_KVM_AARCH64_TEST_ARCH_H

#include <stdint.h>

#define GUEST_ARCH	SQUIB_ARCH_AARCH64
#define GUEST_CODE	0x80200000u
#define GUEST_MIB_MIN	5	/* of memory that it needs */

/* As in the table of the interpreter. */
enum guest_arch_op {
	GUEST_CALL = GUEST_OPS,	/* PSCI: function a with b and c */
	GUEST_START,		/* the second processor goes on at address a */
	GUEST_IRQ_ON,		/* the distributor keeps edges of the line a */
	GUEST_IRQ_WAIT,		/* for one */
};

#define SERIAL		0x40002000u
#define CLOCK		0x40001000u
#define DISTRIBUTOR	0x3fff0000u	/* of GICv3 */

#define SERIAL_PUT(reg, value)	{ GUEST_PUT8, SERIAL + (reg), (value) }

/* Functions of PSCI (Arm DEN 0022) */
#define PSCI_CPU_OFF		0x84000002u
#define PSCI_SYSTEM_OFF		0x84000008u
#define PSCI_SYSTEM_RESET	0x84000009u
#define PSCI_SYSTEM_SUSPEND	0xc400000eu
#define POWER_OFF		{ GUEST_CALL, PSCI_SYSTEM_OFF }
#define RESET			{ GUEST_CALL, PSCI_SYSTEM_RESET }

/* The metric that counts what the guest sends; @vcpu: struct metrics_vcpu * */
#define GUEST_EXITS_SENDING(vcpu) (&(vcpu)->exit_mmio_write)

#define GUEST_MMIO_PER_BYTE 1	/* memory-mapped writes, of what is sent */

#define IRQ_ON(gsi)		{ GUEST_IRQ_ON, (gsi) }
#define IRQ_WAIT(gsi)		{ GUEST_IRQ_WAIT, (gsi) }

/* Calls to KVM without which a machine of two vCPUs does as well, at most */
#define GUEST_CALLS_NOT_NEEDED 8

/* A word that both processors can reach */
#define GUEST_FLAG	(GUEST_DATA + 0x8000u)

/* Start the second processor with what is at GUEST_DATA, @code; so many steps */
#define START_SECOND_STEPS 1
#define START_SECOND(code) { GUEST_START, GUEST_DATA }

static const struct guest_step second_prints[] = {
	SERIAL_PUT(0, '2'), { GUEST_JUMP, GUEST_DATA },
};

static const struct guest_step second_resets[] = { RESET };

/* It resets the machine a while after GUEST_FLAG is written to. */
static const struct guest_step second_resets_late[] = {
	{ GUEST_WAIT32, GUEST_FLAG, 1, 1 }, { GUEST_SPIN, 0x4000 }, RESET,
};

#endif
