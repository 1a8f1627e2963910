/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm PrimeCell real time clock (PL031; Arm DDI 0224C): the host's time of day in seconds, with the
 * offset that the guest gives it by writing the load register. It has no interrupt line, as upstream:
 * its match register, mask and status are kept, and nothing comes of them.
 *
 * Threads: any.
 */
#ifndef SQUIB_LEGACY_PL031_H
#define SQUIB_LEGACY_PL031_H

#include <stdint.h>

#include "base/metrics.h"

struct pl031;

/**
 * pl031_new() - @metrics: its group rtc counts accesses that the clock does not have; outlives it
 *
 * Return: 0 or -errno.
 */
int pl031_new(struct metrics *metrics, struct pl031 **ret_rtc);
void pl031_free(struct pl031 *rtc);	/* accepts NULL */

/**
 * pl031_read() / pl031_write() - the guest accesses @len bytes at @offset in its page of registers
 *
 * Registers are 32 bits wide. Other accesses are counted; those that read leave @data as it is.
 */
void pl031_read(struct pl031 *rtc, uint64_t offset, uint8_t *data, uint32_t len);
void pl031_write(struct pl031 *rtc, uint64_t offset, const uint8_t *data, uint32_t len);

#endif
