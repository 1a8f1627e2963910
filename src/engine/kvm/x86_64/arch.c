/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/arch.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "boot/x86_64.h"
#include "engine/kvm/x86_64/state.h"

/* Intel hosts without "unrestricted guest" need three pages below the firmware's. */
#define TSS_ADDRESS 0xfffbd000u

size_t arch_regions(uint64_t size_bytes, struct guest_region *regions)
{
	return x86_64_regions(size_bytes, regions);
}

long arch_vm_type(int kvm_fd)
{
	(void)kvm_fd;
	return 0;
}

/* The dummy speaker keeps port 0x61, which some kernels read in loops, in the kernel. */
int arch_vm_setup(const struct vm *vm, const struct guest_mem *mem, struct fault *fault)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	(void)mem;
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return vm_fault(fault, -errno, "Failed during KVM_SET_TSS_ADDRESS");
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return vm_fault(fault, -errno, "Failed to create the interrupt controllers");
	if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
		return vm_fault(fault, -errno, "Failed to create the timer");
	return 0;
}

static int boot_memory(const struct arch_boot_params *params, struct x86_64_boot_entry *ret_entry,
		       struct fault *fault)
{
	struct x86_64_virtio devices[ARCH_DEVICES_MAX];
	struct x86_64_boot_params boot = {
		.mem = params->mem,
		.image = params->image,
		.initrd_fd = params->initrd_fd,
		.cmdline = params->cmdline,
		.vcpu_count = params->machine->config.vcpu_count,
		.devices = devices,
		.device_count = params->device_count,
	};

	for (size_t i = 0; i < params->device_count; i++)
		devices[i] = (struct x86_64_virtio){
			.address = (uint32_t)params->devices[i].address,
			.gsi = params->devices[i].gsi,
		};
	return x86_64_boot(&boot, ret_entry, fault);
}

int arch_boot(const struct arch_boot_params *params, struct fault *fault)
{
	unsigned int count = params->machine->config.vcpu_count;
	struct x86_64_boot_entry entry;
	int r = boot_memory(params, &entry, fault);

	for (unsigned int i = 0; r == 0 && i < count; i++) {
		int fd = vcpus_fd(params->vcpus, i);

		r = cpu_model_setup(params->cpu, fd, i, fault);
		if (r == 0)
			r = state_set_local_apic(fd, fault);
		if (r == 0 && i == 0)	/* the others wait to be started by it */
			r = state_set_entry(fd, &entry, fault);
	}
	return r;
}

/* Without it the guest's watchdogs would count the pause as a lock-up. */
void arch_vcpu_paused(int vcpu_fd, struct log *log, struct metrics *metrics)
{
	char text[OS_ERROR_MAX];

	if (ioctl(vcpu_fd, KVM_KVMCLOCK_CTRL, 0) == 0)
		return;
	/* -EINVAL: the guest does not use that clock, or not yet */
	metrics_inc(&metrics->vcpu.kvmclock_ctrl_fails);
	log_limited_warn(log, "KVM_KVMCLOCK_CTRL call failed %s", os_error(errno, text));
}
