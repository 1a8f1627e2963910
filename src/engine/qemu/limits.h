/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits in QEMU's terms. The API's bucket holds size tokens and fills in refill_time. QEMU's
 * throttle groups leak: a rate per second, and a bucket of "max" for bursts of a second's length.
 * So rate = size / refill_time and max = size say the same, as long as max is not below the rate,
 * which QEMU refuses. Without a max QEMU's bucket is a tenth of the rate. A first burst that never
 * comes back (one_time_burst) has no equal.
 */
#ifndef SQUIB_ENGINE_QEMU_LIMITS_H
#define SQUIB_ENGINE_QEMU_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <squib/config.h>

#include "base/buf.h"

struct throttle {
	uint64_t per_second;	/* 0: no limit */
	uint64_t max;		/* 0: a tenth of the rate */
};

/**
 * throttle_from_bucket() - for throttle groups
 * @bucket: NULL or with a zero in it: no limit
 *
 * Return: NULL, or what of it cannot be had, for a message ("one_time_burst"). A long-run rate that
 * would be wrong by more than a hundredth is not had either.
 */
const char *throttle_from_bucket(const struct squib_token_bucket *bucket,
				 struct throttle *ret_throttle);

/** throttle_json() - a throttle group's limits, all of them named, so that they replace earlier ones */
void throttle_json(struct buf *json, const struct throttle *bytes, const struct throttle *ops);

/** bucket_is_set() - does it limit anything? */
bool bucket_is_set(const struct squib_token_bucket *bucket);

/** rng_limit() - for virtio-rng: NULL, or what of @limiter cannot be had. No limit: bytes 0 */
const char *rng_limit(const struct squib_rate_limiter *limiter, uint64_t *ret_bytes,
		      uint32_t *ret_period_ms);

#endif
