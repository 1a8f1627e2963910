/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/test_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "base/fd.h"
#include "engine/kvm/arch.h"

void host_open(struct host *host)
{
	struct vm *vm = &host->vm;

	for (size_t i = 0; i < HOST_VCPUS_MAX; i++)
		host->vcpu_fds[i] = -1;
	*vm = VM_NONE;
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd >= 0)
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, arch_vm_type(vm->kvm_fd));
	if (vm->fd < 0)
		snprintf(host->why_not, sizeof(host->why_not), "%s: %s",
			 vm->kvm_fd < 0 ? "/dev/kvm does not open" : "KVM makes no machine",
			 strerror(errno));
}

void host_close(struct host *host)
{
	for (size_t i = 0; i < HOST_VCPUS_MAX; i++)
		fd_close(host->vcpu_fds[i]);
	vm_close(&host->vm);
}

struct host *host_of(void **state)
{
	struct host *host = *state;

	if (host->vm.fd < 0) {
		print_message("skipped: %s\n", host->why_not);
		skip();
	}
	return host;
}

int host_vcpu(struct host *host, unsigned int index)
{
	if (host->vcpu_fds[index] < 0)
		host->vcpu_fds[index] = ioctl(host->vm.fd, KVM_CREATE_VCPU, (unsigned long)index);
	assert_true(host->vcpu_fds[index] >= 0);
	return host->vcpu_fds[index];
}
