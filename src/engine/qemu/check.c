/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/check.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* Is there io_uring, and may we? Containers often forbid it. */
static int probe_io_uring(void)
{
	struct io_uring_params params = { 0 };
	long fd = syscall(SYS_io_uring_setup, 1, &params);

	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

static int check_drive(const struct squib_drive *drive, struct fault *fault)
{
	const struct squib_rate_limiter *limiter = drive->rate_limiter;
	struct throttle ignored;
	const char *what = NULL;
	char text[OS_ERROR_MAX];
	int r;

	if (limiter != NULL)
		what = throttle_from_bucket(limiter->bandwidth, &ignored);
	if (limiter != NULL && what == NULL)
		what = throttle_from_bucket(limiter->ops, &ignored);
	if (what != NULL)
		return refuse_limit(fault, what, "drive", drive->drive_id);
	r = drive->io_engine == SQUIB_IO_ENGINE_ASYNC ? probe_io_uring() : 0;
	if (r < 0)
		return fault_set(fault, r, "Internal error while starting microVM: the qemu engine "
				 "cannot use io_engine Async on this host (drive %s): io_uring: %s",
				 drive->drive_id, os_error(r, text));
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
	for (size_t i = 0; r == 0 && i < machine->drive_count; i++)
		r = check_drive(machine->drives[i], fault);
	if (r == 0 && machine->entropy != NULL)
		r = check_entropy(machine->entropy, fault);
	if (r < 0)
		return r;
	/* Its address is in RAM on QEMU's aarch64 machine. */
	if (boot_timer && arch != SQUIB_ARCH_X86_64)
		return refuse(fault, "the boot timer on aarch64", NULL, NULL);
	if (qemu_device_count(machine) > slots)
		return engine_refuse_count(fault);
	return 0;
}
