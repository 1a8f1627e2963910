/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the KVM engine needs to know of the architecture. Each has a folder with files of the same
 * names that implement all of this, chosen by the build.
 *
 * Threads: the monitor's, unless said otherwise.
 */
#ifndef SQUIB_ENGINE_KVM_ARCH_H
#define SQUIB_ENGINE_KVM_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch_constants.h"	/* these two are in the folder of the architecture */
#include "cpu.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "boot/cmdline.h"
#include "boot/image.h"
#include "engine/kvm/vcpu.h"
#include "engine/kvm/vm.h"
#include "mem/guest_mem.h"

struct kvm_run;
struct uart;

/** arch_regions() - where @size_bytes of memory lie; how many @regions (GUEST_REGIONS_MAX) were filled */
size_t arch_regions(uint64_t size_bytes, struct guest_region *regions);

/* All faults below are whole texts behind "Start microvm error: ". */

/** arch_vm_setup() - what comes before vCPUs: interrupt controllers, timers */
int arch_vm_setup(const struct vm *vm, struct fault *fault);

struct arch_boot_params {
	const struct vcpus *vcpus;
	const struct cpu_model *cpu;
	struct guest_mem *mem;
	const struct squib_machine *machine;
	const struct image *image;
	int initrd_fd;			/* -1: none */
	const char *cmdline;
	const struct cmdline_device *devices;	/* in attach order */
	size_t device_count;
};

/** arch_boot() - load the kernel and give every vCPU its first state */
int arch_boot(const struct arch_boot_params *params, struct fault *fault);

/** arch_vcpu_paused() - a vCPU was taken out of the guest for longer. Its thread */
void arch_vcpu_paused(int vcpu_fd, struct log *log, struct metrics *metrics);

/* The devices that belong to the architecture: keyboard controller, power, where the port is. */
struct platform;

struct platform_params {
	struct uart *uart;		/* all must outlive the platform */
	struct log *log;
	struct metrics *metrics;
};

int platform_new(const struct platform_params *params, const struct vm *vm,
		 struct platform **ret_platform, struct fault *fault);
void platform_free(struct platform *platform);	/* accepts NULL; no vCPU runs any more */

/** platform_exit() - KVM_EXIT_IO: port I/O, for architectures that have it. vCPU threads */
enum vcpu_verdict platform_exit(struct platform *platform, struct kvm_run *run);

/** platform_ctrl_alt_del() - type it; the fault is behind "Internal VMM error: " */
int platform_ctrl_alt_del(struct platform *platform, struct fault *fault);

#endif
