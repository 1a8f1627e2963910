/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/tsc.h"

#include <time.h>

#include "engine/qemu/ticks.h"

#define SPAN_NS		10000000u
#define ATTEMPTS	8

static uint64_t raw_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The attempt least disturbed: the counter read between the two closest readings of the clock. */
struct tsc_mark tsc_mark(void)
{
	struct tsc_mark best = { 0 };
	uint64_t best_width = UINT64_MAX;

	for (int i = 0; i < ATTEMPTS; i++) {
		uint64_t before = raw_ns(), count = ticks(), width = raw_ns() - before;

		if (width < best_width) {
			best_width = width;
			best = (struct tsc_mark){ .ticks = count, .ns = before + width / 2 };
		}
	}
	return best;
}

uint32_t tsc_khz_since(const struct tsc_mark *start)
{
	struct tsc_mark now;
	uint64_t passed = raw_ns() - start->ns;
	uint64_t khz;

	if (start->ticks == 0)
		return 0;
	if (passed < SPAN_NS) {
		struct timespec rest = { .tv_nsec = (long)(SPAN_NS - passed) };

		nanosleep(&rest, NULL);
	}
	now = tsc_mark();
	if (now.ticks <= start->ticks || now.ns <= start->ns)
		return 0;	/* it went back: a machine restored from a snapshot */
	khz = (uint64_t)((unsigned __int128)(now.ticks - start->ticks) * 1000000 /
			 (now.ns - start->ns));
	return khz >= 10000 && khz <= 20000000 ? (uint32_t)khz : 0;
}
