/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/ticks.h"

uint64_t ticks(void)
{
	return __builtin_ia32_rdtsc();
}
