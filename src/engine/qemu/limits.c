/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/limits.h"

#include <stddef.h>

#define THROTTLE_MAX	UINT64_C(1000000000000000)	/* QEMU's THROTTLE_VALUE_MAX */

bool bucket_is_set(const struct squib_token_bucket *bucket)
{
	return bucket != NULL && bucket->size != 0 && bucket->refill_time_ms != 0;
}

const char *throttle_from_bucket(const struct squib_token_bucket *bucket,
				 struct throttle *ret_throttle)
{
	uint64_t per_second, rest;

	*ret_throttle = (struct throttle){ 0 };
	if (!bucket_is_set(bucket))
		return NULL;
	if (bucket->one_time_burst != 0)
		return "one_time_burst";
	if (bucket->size > THROTTLE_MAX)
		return "so large a size";
	per_second = bucket->size * 1000 / bucket->refill_time_ms;
	rest = bucket->size * 1000 % bucket->refill_time_ms;
	if (per_second == 0 || (per_second < 100 && rest != 0))
		return "so low a rate";
	if (per_second > THROTTLE_MAX)
		return "so high a rate";
	ret_throttle->per_second = per_second;
	if (bucket->size >= per_second)
		ret_throttle->max = bucket->size;
	return NULL;
}

void throttle_json(struct buf *json, const struct throttle *bytes, const struct throttle *ops)
{
	buf_addf(json, "{\"bps-total\":%llu,\"bps-total-max\":%llu,\"iops-total\":%llu,"
		 "\"iops-total-max\":%llu}", (unsigned long long)bytes->per_second,
		 (unsigned long long)bytes->max, (unsigned long long)ops->per_second,
		 (unsigned long long)ops->max);
}

const char *rng_limit(const struct squib_rate_limiter *limiter, uint64_t *ret_bytes,
		      uint32_t *ret_period_ms)
{
	const struct squib_token_bucket *bytes;

	*ret_bytes = 0;
	*ret_period_ms = 0;
	if (limiter == NULL)
		return NULL;
	if (bucket_is_set(limiter->ops))
		return "ops";
	bytes = limiter->bandwidth;
	if (!bucket_is_set(bytes))
		return NULL;
	if (bytes->one_time_burst != 0)
		return "one_time_burst";
	if (bytes->size > INT64_MAX)
		return "so large a size";
	if (bytes->refill_time_ms > INT32_MAX)
		return "so long a refill_time";
	*ret_bytes = bytes->size;
	*ret_period_ms = (uint32_t)bytes->refill_time_ms;
	return NULL;
}
