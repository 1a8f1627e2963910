/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/aarch64/state.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "engine/kvm/aarch64/registers.h"

/* Headers of Linux 6.1 do not have it yet. */
#ifndef KVM_CAP_COUNTER_OFFSET
#define KVM_CAP_COUNTER_OFFSET 227
#endif

#define FAILED "System configuration error: Error configuring the vcpu: " \
	       "Error configuring the vcpu registers: "

/* Arm DDI 0487, C5.2: EL1 with its own stack pointer; debug, SError, IRQ and FIQ masked */
#define PSTATE_ENTRY 0x3c5

static int set(int vcpu_fd, uint64_t id, uint64_t value, struct fault *fault)
{
	int r = register_set(vcpu_fd, id, value);
	char text[OS_ERROR_MAX];

	return r == 0 ? 0 : fault_set(fault, r, FAILED "Failed to set register 0x%" PRIx64 " to value "
				      "0x%" PRIx64 ": %s", id, value, os_error(r, text));
}

int state_get_mpidr(int vcpu_fd, uint64_t *ret_mpidr, struct fault *fault)
{
	int r = register_get(vcpu_fd, REGISTER_MPIDR_EL1, ret_mpidr);
	char text[OS_ERROR_MAX];

	return r == 0 ? 0 : fault_set(fault, r, FAILED "Failed to get register %" PRIu64 ": %s",
				      (uint64_t)REGISTER_MPIDR_EL1, os_error(r, text));
}

bool state_has_pages(int vcpu_fd, uint32_t page_bytes)
{
	uint64_t mmfr0;

	return register_get(vcpu_fd, REGISTER_ID_AA64MMFR0_EL1, &mmfr0) < 0 ||
	       register_has_pages(mmfr0, page_bytes);
}

/*
 * Else the guest would read the host's. One counter is the whole machine's. Hosts before Linux 6.4
 * cannot, and fail at the register.
 */
static int reset_counter(const struct vm *vm, int vcpu_fd, struct fault *fault)
{
	int r = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COUNTER_OFFSET);

	return r > 0 ? set(vcpu_fd, KVM_REG_ARM_PTIMER_CNT, 0, fault) : 0;
}

int state_set_entry(const struct vm *vm, int vcpu_fd, const struct aarch64_boot_entry *entry,
		    struct fault *fault)
{
	int r = set(vcpu_fd, REGISTER_PSTATE, PSTATE_ENTRY, fault);

	if (r == 0)
		r = set(vcpu_fd, REGISTER_PC, entry->pc, fault);
	if (r == 0)
		r = set(vcpu_fd, REGISTER_X(0), entry->fdt, fault);
	return r < 0 ? r : reset_counter(vm, vcpu_fd, fault);
}

/* Arm DEN 0057; Linux, Documentation/virt/kvm/devices/vcpu.rst */
int state_tell_stolen_time(int vcpu_fd, gpa_t address, struct fault *fault)
{
	struct kvm_device_attr attr = { .group = KVM_ARM_VCPU_PVTIME_CTRL,
					.attr = KVM_ARM_VCPU_PVTIME_IPA,
					.addr = (uintptr_t)&address };
	char text[OS_ERROR_MAX];
	int r;

	if (ioctl(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr) == 0 || errno == ENXIO)
		return 0;
	r = -errno;
	return fault_set(fault, r, "Error enabling pvtime on vcpu: Failed to set/get device attributes "
			 "for vCPU: %s", os_error(r, text));
}
