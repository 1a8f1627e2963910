/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_QEMU_TICKS_H
#define SQUIB_ENGINE_QEMU_TICKS_H

#include <stdint.h>

/**
 * ticks() - what the time stamp counter of an x86_64 guest under TCG counts on this host
 *
 * That is the counter of QEMU's cpu_get_host_ticks() (its include/qemu/timer.h), which is a matter of
 * the host's architecture: each has its own ticks.c, chosen by the build. 0: not known.
 */
uint64_t ticks(void);

#endif
