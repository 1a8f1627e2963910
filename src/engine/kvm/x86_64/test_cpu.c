/* SPDX-License-Identifier: Apache-2.0 */
/* Against the KVM of this host, whatever it is. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "base/fd.h"
#include "engine/kvm/x86_64/cpu.h"
#include "engine/kvm/x86_64/cpuid.h"

#define VCPUS_MAX 32

struct host {			/* -1: not there */
	int kvm_fd, vm_fd;
	int vcpu_fds[VCPUS_MAX];
};

static int setup(void **state)
{
	static struct host host;

	for (size_t i = 0; i < VCPUS_MAX; i++)
		host.vcpu_fds[i] = -1;
	host.vm_fd = -1;
	host.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (host.kvm_fd < 0) {
		print_message("SKIP: /dev/kvm does not open: %s\n", strerror(errno));
	} else {
		host.vm_fd = ioctl(host.kvm_fd, KVM_CREATE_VM, 0);
		if (host.vm_fd < 0)
			print_message("SKIP: KVM makes no machine: %s\n", strerror(errno));
		else if (ioctl(host.vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
			 ioctl(host.vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
			return -1;
	}
	*state = &host;
	return 0;
}

static int teardown(void **state)
{
	struct host *host = *state;

	for (size_t i = 0; i < VCPUS_MAX; i++)
		fd_close(host->vcpu_fds[i]);
	fd_close(host->vm_fd);
	fd_close(host->kvm_fd);
	return 0;
}

static struct host *host_of(void **state)
{
	struct host *host = *state;

	if (host->vm_fd < 0)
		skip();
	return host;
}

static int vcpu(struct host *host, unsigned int index)	/* made once, and used by every test */
{
	if (host->vcpu_fds[index] < 0)
		host->vcpu_fds[index] = ioctl(host->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	assert_true(host->vcpu_fds[index] >= 0);
	return host->vcpu_fds[index];
}

static uint64_t read_msr(int vcpu_fd, uint32_t index)
{
	_Alignas(struct kvm_msrs) uint8_t buffer[sizeof(struct kvm_msrs) +
						 sizeof(struct kvm_msr_entry)] = { 0 };
	struct kvm_msrs *msrs = (struct kvm_msrs *)buffer;

	msrs->nmsrs = 1;
	msrs->entries[0].index = index;
	assert_int_equal(ioctl(vcpu_fd, KVM_GET_MSRS, msrs), 1);
	return msrs->entries[0].data;
}

static struct kvm_cpuid2 *read_cpuid(int vcpu_fd)	/* to be freed */
{
	struct kvm_cpuid2 *cpuid = calloc(1, CPUID_SIZE_BYTES(CPUID_ENTRIES_MAX));

	assert_non_null(cpuid);
	cpuid->nent = CPUID_ENTRIES_MAX;
	assert_int_equal(ioctl(vcpu_fd, KVM_GET_CPUID2, cpuid), 0);
	return cpuid;
}

static void vcpus_take_what_a_model_gives(void **state)
{
	struct host *host = host_of(state);
	static const struct { uint8_t vcpus; bool smt; } machines[] = {
		{ 1, false }, { 1, true }, { 4, false }, { 4, true }, { 32, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct squib_machine machine = { .config = { .vcpu_count = machines[i].vcpus,
							     .smt = machines[i].smt } };
		struct cpu_model *model = NULL;

		if (cpu_model_new(host->kvm_fd, &machine, &model, &fault) < 0)
			fail_msg("%s", fault_text(&fault));
		for (unsigned int k = 0; k < machines[i].vcpus; k++) {
			struct kvm_cpuid2 *cpuid;

			if (cpu_model_setup(model, vcpu(host, k), k, &fault) < 0)
				fail_msg("vCPU %u: %s", k, fault_text(&fault));
			cpuid = read_cpuid(vcpu(host, k));
			assert_int_equal(cpuid_find(cpuid, 1, 0)->ebx >> 24, k);
			assert_int_equal(cpuid_find(cpuid, 1, 0)->ecx >> 31, 1);
			free(cpuid);
			assert_int_equal(read_msr(vcpu(host, k), 0x2ff), 0x806);
		}
		cpu_model_free(model);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(vcpus_take_what_a_model_gives),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
