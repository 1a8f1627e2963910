/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/arch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "boot/aarch64.h"
#include "engine/kvm/aarch64/caches.h"
#include "engine/kvm/aarch64/platform.h"
#include "engine/kvm/aarch64/state.h"

#define ADDRESS_BITS 40		/* of a guest, where KVM does not know */

_Static_assert(ARCH_BOOT_TIMER_ADDRESS == AARCH64_MMIO32_START &&
	       ARCH_DEVICES_ADDRESS == AARCH64_SERIAL_ADDRESS + AARCH64_REGISTER_BYTES &&
	       ARCH_DEVICES_MAX == AARCH64_DEVICES_MAX &&
	       ARCH_DEVICES_GSI + ARCH_DEVICES_MAX <= AARCH64_GSI_COUNT, "the map of boot/aarch64.h");

size_t arch_regions(uint64_t size_bytes, struct guest_region *regions)
{
	return aarch64_regions(size_bytes, regions);
}

/* How many bits the addresses of guests may have here; 0: KVM does not know; or -errno */
static int address_bits(int kvm_fd)
{
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	return bits < 0 ? -errno : bits;
}

long arch_vm_type(int kvm_fd)
{
	int bits = address_bits(kvm_fd);

	return bits < 0 ? bits : (long)KVM_VM_TYPE_ARM_IPA_SIZE((unsigned long)bits);
}

int arch_vm_setup(const struct vm *vm, const struct guest_mem *mem, struct fault *fault)
{
	size_t last = guest_mem_region_count(mem) - 1;
	const struct guest_region *region = guest_mem_region(mem, last);
	uint64_t end = region->start + region->size_bytes;
	int bits = address_bits(vm->kvm_fd);
	char text[OS_ERROR_MAX];

	if (bits < 0)
		return vm_fault(fault, bits, "Cannot set the memory regions");
	if (bits == 0)
		bits = ADDRESS_BITS;
	if ((end - 1) >> bits == 0)
		return 0;
	return fault_set(fault, -EFAULT, "Error with the KvmVm object: Cannot set the memory regions: "
			 "%s: memory of this size ends at %#" PRIx64 ", and this host's KVM gives "
			 "guests addresses of %d bits", os_error(-EFAULT, text), end, bits);
}

static int set_up_cpus(const struct arch_boot_params *params, uint64_t *mpidrs,
		       struct fault *fault)
{
	int r = 0;

	assert(params->machine->config.vcpu_count <= AARCH64_VCPUS_MAX);
	for (unsigned int i = 0; r == 0 && i < params->machine->config.vcpu_count; i++) {
		int fd = vcpus_fd(params->vcpus, i);

		r = cpu_model_setup(params->cpu, fd, i, fault);
		if (r == 0)
			r = state_get_mpidr(fd, &mpidrs[i], fault);
	}
	return r;
}

/* A kernel with pages that the CPU has not would stop at its first instructions, without a word. */
static int check_pages(const struct arch_boot_params *params, struct fault *fault)
{
	uint32_t page_bytes = params->image->page_bytes;

	if (page_bytes == 0 || state_has_pages(vcpus_fd(params->vcpus, 0), page_bytes))
		return 0;
	return fault_set(fault, -ENOEXEC, "System configuration error: Cannot load kernel due to "
			 "invalid memory configuration or invalid kernel image: The Image is made for "
			 "pages of %" PRIu32 " KiB, which this host's CPU does not have",
			 page_bytes / 1024);
}

/*
 * Where the host does not tell of its caches, or KVM keeps their register, guests make do with what
 * they find.
 */
static size_t read_caches(const struct arch_boot_params *params, struct aarch64_cache *caches)
{
	size_t count = caches_read("/sys", caches);

	for (unsigned int i = 0; i < params->machine->config.vcpu_count; i++)
		if (caches_apply(caches, count, vcpus_fd(params->vcpus, i)) < 0)
			break;
	return count;
}

static int boot_memory(const struct arch_boot_params *params, const uint64_t *mpidrs,
		       const struct aarch64_cache *caches, size_t cache_count,
		       struct aarch64_boot_entry *ret_entry, struct fault *fault)
{
	struct aarch64_virtio devices[ARCH_DEVICES_MAX];
	struct aarch64_boot_params boot = {
		.mem = params->mem,
		.image = params->image,
		.initrd_fd = params->initrd_fd,
		.cmdline = params->cmdline,
		.mpidrs = mpidrs,
		.vcpu_count = params->machine->config.vcpu_count,
		.gic = platform_gic(params->platform),
		.caches = caches,
		.cache_count = cache_count,
		/* as upstream, whose kernels without a console do without the port's driver */
		.serial = cmdline_has_console(params->cmdline),
		.serial_gsi = ARCH_SERIAL_GSI,
		.devices = devices,
		.device_count = params->device_count,
	};

	for (size_t i = 0; i < params->device_count; i++)
		devices[i] = (struct aarch64_virtio){
			.address = params->devices[i].address,
			.gsi = params->devices[i].gsi,
		};
	return aarch64_boot(&boot, ret_entry, fault);
}

/* As upstream: at the end of what the kernel takes for no RAM of its own. */
static gpa_t stolen_time_address(const struct arch_boot_params *params, unsigned int index)
{
	return AARCH64_MEM_START + AARCH64_RESERVED_BYTES -
	       (params->machine->config.vcpu_count - index) * STATE_STOLEN_TIME_BYTES;
}

/* Once the kernel has found room in the memory, this has, too. */
static int tell_stolen_time(const struct arch_boot_params *params, struct fault *fault)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < params->machine->config.vcpu_count; i++)
		r = state_tell_stolen_time(vcpus_fd(params->vcpus, i),
					   stolen_time_address(params, i), fault);
	return r;
}

int arch_boot(const struct arch_boot_params *params, struct fault *fault)
{
	struct aarch64_cache caches[AARCH64_CACHES_MAX];
	uint64_t mpidrs[AARCH64_VCPUS_MAX];
	struct aarch64_boot_entry entry;
	size_t cache_count;
	int r = set_up_cpus(params, mpidrs, fault);

	if (r == 0)
		r = check_pages(params, fault);
	if (r < 0)
		return r;
	cache_count = read_caches(params, caches);
	r = boot_memory(params, mpidrs, caches, cache_count, &entry, fault);
	if (r == 0)
		r = tell_stolen_time(params, fault);
	if (r < 0)
		return r;
	return state_set_entry(params->vm, vcpus_fd(params->vcpus, 0), &entry, fault);
}

/* There is no way to tell the guest: it sees that time has passed. */
void arch_vcpu_paused(int vcpu_fd, struct log *log, struct metrics *metrics)
{
	(void)vcpu_fd;
	(void)log;
	(void)metrics;
}
