/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device's limits in QEMU's terms: bytes in a period, nothing else. */
#ifndef SQUIB_ENGINE_QEMU_LIMITS_H
#define SQUIB_ENGINE_QEMU_LIMITS_H

#include <stdint.h>
#include <squib/config.h>

/**
 * rng_limit() - for virtio-rng
 *
 * Return: NULL, or what of @limiter cannot be had, for a message ("one_time_burst"). No limit: bytes 0.
 */
const char *rng_limit(const struct squib_rate_limiter *limiter, uint64_t *ret_bytes,
		      uint32_t *ret_period_ms);

#endif
