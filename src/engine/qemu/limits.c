/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/limits.h"

#include <stddef.h>

static bool bucket_is_set(const struct squib_token_bucket *bucket)
{
	return bucket != NULL && bucket->size != 0 && bucket->refill_time_ms != 0;
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
