/* SPDX-License-Identifier: Apache-2.0 */
/* The registers with which vCPUs begin. Faults are whole texts behind "Start microvm error: ". */
#ifndef SQUIB_ENGINE_KVM_X86_64_STATE_H
#define SQUIB_ENGINE_KVM_X86_64_STATE_H

#include "base/fault.h"
#include "boot/x86_64.h"

/** state_set_entry() - the first vCPU is about to enter the kernel as its protocol says */
int state_set_entry(int vcpu_fd, const struct x86_64_boot_entry *entry, struct fault *fault);

/** state_set_local_apic() - external interrupts and NMI come in as firmware leaves it ("virtual wire") */
int state_set_local_apic(int vcpu_fd, struct fault *fault);

#endif
