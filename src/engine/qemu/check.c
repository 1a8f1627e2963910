/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/check.h"

#include <errno.h>
#include <stdio.h>

#include "engine/device_set.h"
#include "engine/qemu/args.h"
#include "engine/qemu/limits.h"
#include "engine/refuse.h"

static int refuse(struct fault *fault, const char *what, const char *kind, const char *id)
{
	return engine_refuse(fault, engine_qemu.name, what, kind, id);
}

static int refuse_limit(struct fault *fault, const char *what, const char *kind, const char *id)
{
	char text[96];

	snprintf(text, sizeof(text), "a rate limiter with %s", what);
	return refuse(fault, text, kind, id);
}

/* "{}" is a configuration too. */
static bool changes_anything(const struct squib_cpu_config *config)
{
	return config->kvm_capability_count + config->cpuid_modifier_count +
	       config->msr_modifier_count + config->vcpu_feature_count +
	       config->reg_modifier_count > 0;
}

static int check_cpu(const struct squib_machine *machine, struct fault *fault)
{
	static const char *const names[] = {
		[SQUIB_CPU_TEMPLATE_C3] = "C3",	    [SQUIB_CPU_TEMPLATE_T2] = "T2",
		[SQUIB_CPU_TEMPLATE_T2S] = "T2S",   [SQUIB_CPU_TEMPLATE_NONE] = "None",
		[SQUIB_CPU_TEMPLATE_T2CL] = "T2CL", [SQUIB_CPU_TEMPLATE_T2A] = "T2A",
		[SQUIB_CPU_TEMPLATE_V1N1] = "V1N1",
	};
	const struct squib_machine_config *config = &machine->config;

	if (machine->cpu_config != NULL && changes_anything(machine->cpu_config))
		return refuse(fault, "custom CPU configurations", NULL, NULL);
	if (config->has_cpu_template && config->cpu_template != SQUIB_CPU_TEMPLATE_NONE)
		return refuse(fault, "CPU templates", "template", names[config->cpu_template]);
	return 0;
}

static int check_entropy(const struct squib_entropy *entropy, struct fault *fault)
{
	uint64_t bytes;
	uint32_t period_ms;
	const char *what = rng_limit(entropy->rate_limiter, &bytes, &period_ms);

	return what != NULL ? refuse_limit(fault, what, "entropy", "device") : 0;
}

int qemu_check(enum squib_arch arch, bool boot_timer, const struct squib_machine *machine,
	       struct fault *fault)
{
	size_t slots = arch == SQUIB_ARCH_X86_64 ? QEMU_DEVICES_X86_64 : QEMU_DEVICES_AARCH64;
	int r = check_cpu(machine, fault);

	if (r == 0)
		r = engine_refuse_devices(fault, engine_qemu.name, machine);
	if (r == 0 && machine->entropy != NULL)
		r = check_entropy(machine->entropy, fault);
	if (r < 0)
		return r;
	/* Its address is in RAM on QEMU's aarch64 machine. */
	if (boot_timer && arch != SQUIB_ARCH_X86_64)
		return refuse(fault, "the boot timer on aarch64", NULL, NULL);
	if (device_set_bound(machine) > slots)
		return engine_refuse_count(fault);
	return 0;
}
