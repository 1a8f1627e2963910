/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM of this host, whatever it is, for tests of what is asked of it directly. */
#ifndef SQUIB_ENGINE_KVM_TEST_HOST_H
#define SQUIB_ENGINE_KVM_TEST_HOST_H

#include "engine/kvm/vm.h"

#define HOST_VCPUS_MAX 32

struct host {
	struct vm vm;			/* VM_NONE: not there, and why_not says so */
	int vcpu_fds[HOST_VCPUS_MAX];	/* -1: not made yet */
	char why_not[128];
};

/** host_open() - with an empty machine, where KVM makes one */
void host_open(struct host *host);
void host_close(struct host *host);

/** host_of() - of a test's state; skips the test where there is no machine */
struct host *host_of(void **state);

/** host_vcpu() - made when it is asked for first */
int host_vcpu(struct host *host, unsigned int index);

#endif
