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

#include "arch_constants.h"	/* in the folder of the architecture */

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "boot/cmdline.h"
#include "boot/image.h"
#include "engine/kvm/cpu.h"
#include "engine/kvm/vcpu.h"
#include "engine/kvm/vm.h"
#include "mem/guest_mem.h"

struct kvm_run;
struct uart;

/** arch_regions() - where @size_bytes of memory lie; how many @regions (GUEST_REGIONS_MAX) were filled */
size_t arch_regions(uint64_t size_bytes, struct guest_region *regions);

/* All faults below are whole texts behind "Start microvm error: ". */

/**
 * arch_vm_type() - what KVM_CREATE_VM is asked for
 * @kvm_fd: /dev/kvm
 *
 * Return: its argument, or -errno.
 */
long arch_vm_type(int kvm_fd);

/** arch_vm_setup() - what comes before vCPUs; @mem is what the guest will have */
int arch_vm_setup(const struct vm *vm, const struct guest_mem *mem, struct fault *fault);

struct platform;

struct arch_boot_params {
	const struct vm *vm;
	const struct vcpus *vcpus;
	const struct platform *platform;
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

/*
 * What belongs to the architecture beside the CPU: interrupt controllers where they come after the
 * vCPUs, keyboard controller, clock, power, where the serial port is.
 */
struct platform_params {
	const struct vm *vm;		/* all must outlive the platform */
	size_t vcpu_count;		/* they are made, and have not run */
	size_t device_count;		/* of virtio devices, or more */
	struct uart *uart;
	struct log *log;
	struct metrics *metrics;
};

int platform_new(const struct platform_params *params, struct platform **ret_platform,
		 struct fault *fault);
void platform_free(struct platform *platform);	/* accepts NULL; no vCPU runs any more */

/** platform_port() - KVM_EXIT_IO: port I/O, for architectures that have it. vCPU threads */
enum vcpu_verdict platform_port(struct platform *platform, struct kvm_run *run);

/**
 * platform_mmio() - KVM_EXIT_MMIO: is it one of the platform's registers? vCPU threads
 *
 * Return: whether it was, and the access was made. What a read of others gives stays as it is.
 */
bool platform_mmio(struct platform *platform, struct kvm_run *run);

/** platform_ctrl_alt_del() - type it; the fault is behind "Internal VMM error: " */
int platform_ctrl_alt_del(struct platform *platform, struct fault *fault);

#endif
