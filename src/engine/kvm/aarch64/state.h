/* SPDX-License-Identifier: Apache-2.0 */
/* The registers with which vCPUs begin, and what they tell. Faults are whole texts behind "Start microvm error: ". */
#ifndef SQUIB_ENGINE_KVM_AARCH64_STATE_H
#define SQUIB_ENGINE_KVM_AARCH64_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "boot/aarch64.h"
#include "engine/kvm/vm.h"

/** state_set_entry() - the first vCPU is about to enter the kernel; @vm's physical counter starts at 0 */
int state_set_entry(const struct vm *vm, int vcpu_fd, const struct aarch64_boot_entry *entry,
		    struct fault *fault);

/** state_get_mpidr() - the number by which the guest knows the vCPU */
int state_get_mpidr(int vcpu_fd, uint64_t *ret_mpidr, struct fault *fault);

/**
 * state_has_pages() - can the guest's kernel use pages of @page_bytes (4, 16 or 64 KiB)?
 * @vcpu_fd: of a vCPU that is set up
 *
 * Return: whether ID_AA64MMFR0_EL1 says so. True where KVM does not tell: then the kernel finds out.
 */
bool state_has_pages(int vcpu_fd, uint32_t page_bytes);

#define STATE_STOLEN_TIME_BYTES 64u	/* of guest memory, for each vCPU */

/**
 * state_tell_stolen_time() - keep the guest told, at @address, of the time that its vCPU could not run
 *
 * The memory is the guest's to read. Hosts that cannot are no failure.
 */
int state_tell_stolen_time(int vcpu_fd, gpa_t address, struct fault *fault);

#endif
