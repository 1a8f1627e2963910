/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPU a guest sees: the host's, as KVM offers it, changed by a static template or a custom
 * configuration, and the place of each vCPU. On x86_64 that is CPUID and model-specific registers; on
 * aarch64 features, asked for when a vCPU is made ready (KVM_ARM_VCPU_INIT), and registers. Each
 * architecture has its own cpu.c, chosen by the build.
 */
#ifndef SQUIB_ENGINE_KVM_CPU_H
#define SQUIB_ENGINE_KVM_CPU_H

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
 * @machine: its vcpu_count, smt, cpu_template and cpu_config, which must live up to the last
 *	cpu_model_setup()
 *
 * To be called before the first vCPU of the process is made: from then on Linux lets nobody ask for
 * the features that an x86_64 guest may only have on request (AMX).
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: " (contract 4.3):
 * templates that this host's CPU is not made for, registers and features that no guest can have.
 */
int cpu_model_new(const struct vm *vm, const struct squib_machine *machine,
		  struct cpu_model **ret_model, struct fault *fault);
void cpu_model_free(struct cpu_model *model);	/* accepts NULL */

/**
 * cpu_model_setup() - make a vCPU ready and give it its registers, those that Linux expects at boot
 *	included; on aarch64 all but the first are off then
 * @index: of the vCPU, from 0; on x86_64 its APIC id is the same
 *
 * To be called once for each vCPU, in ascending order, before anything else is done with it.
 *
 * Return: 0, or -errno with @fault as above: registers that this host does not have or that KVM does
 * not let us write. Nothing is written on aarch64 before all have been read.
 */
int cpu_model_setup(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		    struct fault *fault);

#endif
