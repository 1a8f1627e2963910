/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "base/fd.h"
#include "engine/kvm/arch.h"

int vm_fault(struct fault *fault, int error, const char *what)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Error with the KvmVm object: %s: %s", what,
			 os_error(error, text));
}

static int open_kvm(struct fault *fault)
{
	CLEANUP(fd_close) int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char text[OS_ERROR_MAX];
	int version;

	if (fd < 0) {
		int r = -errno;

		return fault_set(fault, r, "Kvm error: Error creating KVM object: %s Make sure the "
				 "user launching the firecracker process is configured on the "
				 "/dev/kvm file's ACL.", os_error(r, text));
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return fault_set(fault, -ENOTSUP, "Kvm error: The host kernel reports an invalid KVM "
				 "API version: %d", version);
	return fd_take(&fd);
}

/* A signal may interrupt it while the kernel waits for others: not a failure. */
static int create_vm(int kvm_fd)
{
	long type = arch_vm_type(kvm_fd);
	int fd;

	if (type < 0)
		return (int)type;
	do {
		fd = ioctl(kvm_fd, KVM_CREATE_VM, type);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int run_bytes(int kvm_fd)
{
	int r = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (r < 0)
		return -errno;
	return r < (int)sizeof(struct kvm_run) ? -ENOTSUP : r;
}

int vm_open(struct vm *ret_vm, struct fault *fault)
{
	struct vm vm = VM_NONE;
	int r;

	vm.kvm_fd = open_kvm(fault);
	if (vm.kvm_fd < 0)
		return vm.kvm_fd;
	r = create_vm(vm.kvm_fd);
	if (r >= 0) {
		vm.fd = r;
		r = run_bytes(vm.kvm_fd);
	}
	if (r < 0) {
		vm_close(&vm);
		return vm_fault(fault, r, "Failed to create VM");
	}
	vm.run_bytes = (size_t)r;
	*ret_vm = vm;
	return 0;
}

void vm_close(struct vm *vm)
{
	fd_close(fd_take(&vm->fd));
	fd_close(fd_take(&vm->kvm_fd));
}

int vm_add_memory(const struct vm *vm, const struct guest_mem *mem, bool track_dirty,
		  struct fault *fault)
{
	for (size_t i = 0; i < guest_mem_region_count(mem); i++) {
		const struct guest_region *region = guest_mem_region(mem, i);
		struct kvm_userspace_memory_region slot = {
			.slot = (uint32_t)i,
			.flags = track_dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = region->start,
			.memory_size = region->size_bytes,
			.userspace_addr = (uintptr_t)guest_mem_region_data(mem, i),
		};

		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return vm_fault(fault, -errno, "Cannot set the memory regions");
	}
	return 0;
}

int vm_add_irq(const struct vm *vm, int fd, uint32_t gsi)
{
	struct kvm_irqfd irq = { .fd = (uint32_t)fd, .gsi = gsi };

	return ioctl(vm->fd, KVM_IRQFD, &irq) < 0 ? -errno : 0;
}

int vm_add_doorbell(const struct vm *vm, int fd, uint64_t address, uint32_t value)
{
	struct kvm_ioeventfd doorbell = {
		.datamatch = value,
		.addr = address,
		.len = sizeof(value),
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &doorbell) < 0 ? -errno : 0;
}
