/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the time stamp counter of an x86_64 guest under TCG runs, which is a counter of the host's
 * (engine/qemu/ticks.h). The guest has nothing reliable to calibrate it by: about one boot in fifteen
 * hangs unless the kernel is told.
 */
#ifndef SQUIB_ENGINE_QEMU_TSC_H
#define SQUIB_ENGINE_QEMU_TSC_H

#include <stdint.h>

struct tsc_mark {
	uint64_t ticks;		/* 0: it is not known what counts here */
	uint64_t ns;
};

/** tsc_mark() - counter and clock at the same moment */
struct tsc_mark tsc_mark(void);

/** tsc_khz_since() - its rate, measured since @start; waits until that is 10 ms ago. 0: unknown */
uint32_t tsc_khz_since(const struct tsc_mark *start);

#endif
