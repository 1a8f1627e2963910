/* SPDX-License-Identifier: Apache-2.0 */
/* Model-specific registers of a vCPU. */
#ifndef SQUIB_ENGINE_KVM_X86_64_MSR_H
#define SQUIB_ENGINE_KVM_X86_64_MSR_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

#define MSR_IA32_ARCH_CAPABILITIES 0x10a

/* new = (old & ~filter) | value */
struct msr_change {
	uint32_t index;
	uint64_t filter;
	uint64_t value;
};

/**
 * msr_change_add() - put a change behind those in a list that is sorted and names no MSR twice
 * @changes: has room for one more than *@count
 */
void msr_change_add(struct msr_change *changes, size_t *count, struct msr_change change);

/**
 * msr_list_new() - the MSRs a vCPU is to have: changed ones, and those that Linux expects at boot
 * @vcpu_fd: is asked for what is changed; to be called before it gets its CPUID, as that makes KVM
 *	refuse some
 * @changes: as msr_change_add() makes them; what Linux expects at boot wins
 * @ret_list: to be freed with free()
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: ".
 */
int msr_list_new(int vcpu_fd, const struct msr_change *changes, size_t count,
		 struct kvm_msr_entry **ret_list, size_t *ret_count, struct fault *fault);

/** msr_write() - give them to a vCPU, all of them; returns and faults as above */
int msr_write(int vcpu_fd, struct kvm_msr_entry *list, size_t count, struct fault *fault);

#endif
