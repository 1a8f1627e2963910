/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPU a guest sees: CPUID and model-specific registers, made of what the host supports, a static
 * template or a custom configuration, and the place of each vCPU in the topology.
 */
#ifndef SQUIB_ENGINE_KVM_X86_64_CPU_H
#define SQUIB_ENGINE_KVM_X86_64_CPU_H

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
 * @machine: its vcpu_count, smt, cpu_template and cpu_config; read during the call only
 *
 * To be called before the first vCPU of the process is made: from then on Linux lets nobody ask for
 * the features that a guest may only have on request (AMX).
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: " (contract 4.3):
 * templates that this host's CPU is not made for, registers that it does not have.
 */
int cpu_model_new(const struct vm *vm, const struct squib_machine *machine,
		  struct cpu_model **ret_model, struct fault *fault);
void cpu_model_free(struct cpu_model *model);	/* accepts NULL */

/**
 * cpu_model_setup() - give a vCPU its CPUID and its MSRs, those that Linux expects at boot included
 * @index: of the vCPU, from 0; its APIC id is the same
 *
 * To be called once for each vCPU, before it runs. Return: 0, or -errno with @fault as above.
 */
int cpu_model_setup(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		    struct fault *fault);

#endif
