/* SPDX-License-Identifier: Apache-2.0 */
#include "legacy/token_bucket.h"

#define NS_PER_MS 1000000u

typedef unsigned __int128 u128;

void token_bucket_init(struct token_bucket *bucket, const struct squib_token_bucket *config,
		       uint64_t now_ns)
{
	*bucket = (struct token_bucket){ .updated_ns = now_ns };
	/* upstream has no limit either where the time does not fit into nanoseconds */
	if (config == NULL || config->size == 0 || config->refill_time_ms == 0 ||
	    config->refill_time_ms > UINT64_MAX / NS_PER_MS)
		return;
	bucket->size = config->size;
	bucket->budget = config->size;
	bucket->burst = config->one_time_burst;
	bucket->refill_ns = config->refill_time_ms * NS_PER_MS;
}

/*
 * The time a fraction of a token took stays on the account: updated_ns moves by what whole tokens
 * took, rounded up, so that no nanosecond is used twice.
 */
static void replenish(struct token_bucket *bucket, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns > bucket->updated_ns ? now_ns - bucket->updated_ns : 0;
	u128 tokens;

	if (passed_ns >= bucket->refill_ns) {
		bucket->budget = bucket->size;
		bucket->updated_ns = now_ns;
		return;
	}
	tokens = (u128)passed_ns * bucket->size / bucket->refill_ns;	/* below size */
	bucket->updated_ns +=
		(uint64_t)((tokens * bucket->refill_ns + bucket->size - 1) / bucket->size);
	if (tokens >= bucket->size - bucket->budget)
		bucket->budget = bucket->size;
	else
		bucket->budget += (uint64_t)tokens;
}

static uint64_t take_from(uint64_t *store, uint64_t wanted)
{
	uint64_t taken = wanted < *store ? wanted : *store;

	*store -= taken;
	return taken;
}

uint64_t token_bucket_take(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns)
{
	uint64_t taken;

	if (bucket->size == 0)
		return wanted;
	taken = take_from(&bucket->burst, wanted);
	if (taken == wanted) {
		bucket->updated_ns = now_ns;	/* as upstream: nothing refills during the burst */
		return taken;
	}
	if (wanted - taken > bucket->budget)
		replenish(bucket, now_ns);
	return taken + take_from(&bucket->budget, wanted - taken);
}
