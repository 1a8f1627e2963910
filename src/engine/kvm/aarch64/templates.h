/* SPDX-License-Identifier: Apache-2.0 */
/* The static CPU templates. */
#ifndef SQUIB_ENGINE_KVM_AARCH64_TEMPLATES_H
#define SQUIB_ENGINE_KVM_AARCH64_TEMPLATES_H

#include <stddef.h>

#include <squib/config.h>

#include "base/fault.h"

struct cpu_template {
	const struct squib_register_modifier *modifiers;
	size_t count;
};

/**
 * cpu_template_get() - a template by its name
 *
 * Any host may try: KVM refuses what its CPU cannot be made to look like.
 *
 * Return: 0, or -ENOTSUP with @fault, a whole text behind "Start microvm error: ".
 */
int cpu_template_get(enum squib_cpu_template template, const struct cpu_template **ret_template,
		     struct fault *fault);

#endif
