/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/host.h"

#include "base/loop.h"

bool host_runs(enum squib_arch arch)
{
	return arch == SQUIB_ARCH_AARCH64;
}

/* QEMU knows no counter of this architecture, and takes CLOCK_MONOTONIC in nanoseconds. */
uint64_t host_ticks(void)
{
	return clock_ns();
}
