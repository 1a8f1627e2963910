/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/host.h"

bool host_runs(enum squib_arch arch)
{
	return arch == SQUIB_ARCH_X86_64;
}

uint64_t host_ticks(void)
{
	return __builtin_ia32_rdtsc();
}
