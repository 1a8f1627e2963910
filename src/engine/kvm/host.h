/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to know of the host's architecture. Each has its own host.c, chosen by the build. */
#ifndef SQUIB_ENGINE_KVM_HOST_H
#define SQUIB_ENGINE_KVM_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <squib/controller.h>

/** host_runs() - could KVM, where the host has it, run guests of @arch? */
bool host_runs(enum squib_arch arch);

/**
 * host_ticks() - what the time stamp counter of an x86_64 guest under QEMU's TCG counts here
 *
 * That is the counter of QEMU's cpu_get_host_ticks() (its include/qemu/timer.h). 0: not known.
 */
uint64_t host_ticks(void);

#endif
