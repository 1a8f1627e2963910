/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/host.h"

bool host_runs(enum squib_arch arch)
{
	(void)arch;
	return false;
}

uint64_t host_ticks(void)
{
	return 0;
}
