/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the host's time stamp counter runs. An x86_64 guest under TCG reads the very same
 * counter but has nothing reliable to calibrate it by: about one boot in fifteen hangs unless the
 * kernel is told.
 */
#ifndef SQUIB_ENGINE_QEMU_TSC_H
#define SQUIB_ENGINE_QEMU_TSC_H

#include <stdint.h>

struct tsc_mark {
	uint64_t ticks;		/* 0: this host has no such counter */
	uint64_t ns;
};

/** tsc_mark() - counter and clock at the same moment */
struct tsc_mark tsc_mark(void);

/** tsc_khz_since() - its rate, measured since @start; waits until that is 10 ms ago. 0: unknown */
uint32_t tsc_khz_since(const struct tsc_mark *start);

#endif
