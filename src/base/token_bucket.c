/* SPDX-License-Identifier: Apache-2.0 */
#include "base/token_bucket.h"

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

	if (bucket->size == 0 || wanted == 0)
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

/* How long @tokens take to come in, rounded up; UINT64_MAX: longer than there is time. */
static uint64_t time_for(const struct token_bucket *bucket, uint64_t tokens)
{
	u128 ns = ((u128)tokens * bucket->refill_ns + bucket->size - 1) / bucket->size;

	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

static uint64_t later(uint64_t time_ns, uint64_t by_ns)
{
	uint64_t sum;

	return __builtin_add_overflow(time_ns, by_ns, &sum) ? UINT64_MAX : sum;
}

uint64_t token_bucket_ready_ns(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns)
{
	uint64_t needed;

	if (bucket->size == 0 || wanted <= bucket->burst)
		return now_ns;
	needed = wanted - bucket->burst;
	if (needed > bucket->budget)
		replenish(bucket, now_ns);
	if (needed <= bucket->budget)
		return now_ns;
	if (needed > bucket->size)
		return bucket->updated_ns;	/* in the future only when something is owed */
	return later(bucket->updated_ns, time_for(bucket, needed - bucket->budget));
}

void token_bucket_spend(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns)
{
	uint64_t missing = wanted - token_bucket_take(bucket, wanted, now_ns);

	if (missing > 0)
		bucket->updated_ns = later(bucket->updated_ns, time_for(bucket, missing));
}
