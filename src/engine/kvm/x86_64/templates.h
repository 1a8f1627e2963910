/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The static CPU templates: what they hide from a guest, so that it sees the same on all hosts that
 * a template is for.
 */
#ifndef SQUIB_ENGINE_KVM_X86_64_TEMPLATES_H
#define SQUIB_ENGINE_KVM_X86_64_TEMPLATES_H

#include <squib/config.h>

#include "engine/kvm/x86_64/cpuid.h"
#include "engine/kvm/x86_64/msr.h"

#define TEMPLATE_PARTS	2
#define TEMPLATE_MODELS	3

struct cpu_template {
	enum cpuid_vendor vendor;
	uint32_t models[TEMPLATE_MODELS];	/* cpuid_signature(); 0: no more */
	struct {
		const struct cpuid_change *changes;
		size_t count;
	} cpuid[TEMPLATE_PARTS];
	const struct msr_change *msrs;
	size_t msr_count;
};

/**
 * cpu_template_get() - a template that may be used on a host
 * @signature: cpuid_signature() of the host
 *
 * Return: 0, or -ENOTSUP with @fault, a whole text behind "Start microvm error: ".
 */
int cpu_template_get(enum squib_cpu_template template, enum cpuid_vendor vendor,
		     uint32_t signature, const struct cpu_template **ret_template,
		     struct fault *fault);

#endif
