/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt controller (GIC): version 3 with its interrupt translation service (ITS), or version 2
 * on hosts that have only that. It ends at AARCH64_MMIO32_START and grows down.
 */
#ifndef SQUIB_ENGINE_KVM_AARCH64_GIC_H
#define SQUIB_ENGINE_KVM_AARCH64_GIC_H

#include "base/fault.h"
#include "boot/aarch64.h"
#include "engine/kvm/vm.h"

/**
 * gic_create() - give the machine its interrupt controller
 * @vcpu_count: of vCPUs that the machine has; no more can be made
 * @gsi_count: of lines that are needed, up to AARCH64_GSI_COUNT. There are no more than that takes:
 *	Linux sets up each, at the price of an exit and a half
 *
 * It lives as long as the machine. Return: 0 with @ret_gic, where it is; or -errno with @fault, a
 * whole text behind "Start microvm error: ".
 */
int gic_create(const struct vm *vm, size_t vcpu_count, size_t gsi_count,
	       struct aarch64_gic *ret_gic, struct fault *fault);

#endif
