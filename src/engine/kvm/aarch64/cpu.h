/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPU a guest sees: the host's, as KVM passes it on, changed by a static template or a custom
 * configuration. A vCPU is made ready (KVM_ARM_VCPU_INIT) here, too, since that takes its features.
 */
#ifndef SQUIB_ENGINE_KVM_AARCH64_CPU_H
#define SQUIB_ENGINE_KVM_AARCH64_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include <squib/config.h>

#include "base/fault.h"

struct cpu_model;
struct vm;

/**
 * cpu_check_capabilities() - whether KVM can do what a machine needs, and what its cpu_config adds
 *
 * Return: 0, or -ENOTSUP with @fault, a whole text behind "Start microvm error: ".
 */
int cpu_check_capabilities(int kvm_fd, const struct squib_machine *machine, struct fault *fault);

/**
 * cpu_model_new() - work out the CPU of a machine
 * @vm: asked during the call only
 * @machine: its cpu_template and cpu_config; must live up to the last cpu_model_setup()
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: " (contract 4.3):
 * features that KVM has no place for, or that no guest can have.
 */
int cpu_model_new(const struct vm *vm, const struct squib_machine *machine,
		  struct cpu_model **ret_model, struct fault *fault);
void cpu_model_free(struct cpu_model *model);	/* accepts NULL */

/**
 * cpu_model_setup() - make a vCPU ready, off unless it is the first, and give it its registers
 * @index: of the vCPU, from 0
 *
 * To be called once for each vCPU, in ascending order, before anything else is done with it. All
 * registers of a template are read before one is written.
 *
 * Return: 0, or -errno with @fault as above: registers that this host does not have or that KVM does
 * not let us write.
 */
int cpu_model_setup(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		    struct fault *fault);

/**
 * cpu_has_pages() - can the guest's kernel use pages of @page_bytes (4, 16 or 64 KiB)?
 * @vcpu_fd: of a vCPU that is set up
 *
 * Return: whether ID_AA64MMFR0_EL1 says so. True where KVM does not tell: then the kernel finds out.
 */
bool cpu_has_pages(int vcpu_fd, uint32_t page_bytes);

#endif
