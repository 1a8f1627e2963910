/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of a vCPU by KVM's numbers for them, which tell their width, too. Nothing here needs
 * an Arm host to compile.
 *
 * Sources: Linux, arch/arm64/include/uapi/asm/kvm.h; Arm ARM (DDI 0487), D19 "AArch64 System Register
 * Descriptions".
 */
#ifndef SQUIB_ENGINE_KVM_AARCH64_REGISTERS_H
#define SQUIB_ENGINE_KVM_AARCH64_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <squib/config.h>

/** REGISTER_SYSTEM() - a 64-bit system register, by the numbers that MRS and MSR have for it */
#define REGISTER_SYSTEM(op0, op1, crn, crm, op2) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | UINT64_C(0x0013) << 16 | UINT64_C(op0) << 14 | \
	 UINT64_C(op1) << 11 | UINT64_C(crn) << 7 | UINT64_C(crm) << 3 | UINT64_C(op2))

#define REGISTER_MIDR_EL1		REGISTER_SYSTEM(3, 0, 0, 0, 0)
#define REGISTER_MPIDR_EL1		REGISTER_SYSTEM(3, 0, 0, 0, 5)
#define REGISTER_ID_AA64PFR0_EL1	REGISTER_SYSTEM(3, 0, 0, 4, 0)
#define REGISTER_ID_AA64ISAR0_EL1	REGISTER_SYSTEM(3, 0, 0, 6, 0)
#define REGISTER_ID_AA64ISAR1_EL1	REGISTER_SYSTEM(3, 0, 0, 6, 1)
#define REGISTER_ID_AA64MMFR0_EL1	REGISTER_SYSTEM(3, 0, 0, 7, 0)
#define REGISTER_ID_AA64MMFR2_EL1	REGISTER_SYSTEM(3, 0, 0, 7, 2)
#define REGISTER_CLIDR_EL1		REGISTER_SYSTEM(3, 1, 0, 0, 1)

/** REGISTER_CORE() - a 64-bit register at @offset bytes in struct kvm_regs: x0 at 0, pc at 256, pstate at 264 */
#define REGISTER_CORE(offset) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | UINT64_C(0x0010) << 16 | UINT64_C(offset) / 4)
#define REGISTER_X(n)		REGISTER_CORE((n) * 8)
#define REGISTER_PC		REGISTER_CORE(256)
#define REGISTER_PSTATE		REGISTER_CORE(264)

/** struct register_value - up to 128 bits, low half first, as KVM gives them; the rest is 0 */
struct register_value {
	uint64_t half[2];
};

/** register_bits() - the width that @id tells */
unsigned int register_bits(uint64_t id);

/** register_read(), register_write() - a register of up to 128 bits; 0, or -errno (-ENOENT: KVM has it not) */
int register_read(int vcpu_fd, uint64_t id, struct register_value *ret_value);
int register_write(int vcpu_fd, uint64_t id, const struct register_value *value);

/** register_get(), register_set() - a 64-bit register; 0 or -errno */
int register_get(int vcpu_fd, uint64_t id, uint64_t *ret_value);
int register_set(int vcpu_fd, uint64_t id, uint64_t value);

/** register_change() - apply @bitmap to a register's value, cut to the width of @id */
struct register_value register_change(uint64_t id, struct register_value value,
				      const struct squib_bitmap *bitmap);

#define REGISTER_TEXT_MAX sizeof("0x0123456789abcdef0123456789abcdef")

/** register_text() - the value in as many hex digits as the register is wide; returns @text */
const char *register_text(uint64_t id, struct register_value value, char text[REGISTER_TEXT_MAX]);

/** register_has_pages() - does an ID_AA64MMFR0_EL1 of @mmfr0 have a granule of 4, 16 or 64 KiB? */
bool register_has_pages(uint64_t mmfr0, uint32_t page_bytes);

#endif
