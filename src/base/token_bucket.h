/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket as the API describes it: size tokens at the start and one_time_burst more that
 * never come back; an empty bucket fills in refill_time. Time is passed in.
 */
#ifndef SQUIB_BASE_TOKEN_BUCKET_H
#define SQUIB_BASE_TOKEN_BUCKET_H

#include <stdint.h>
#include <squib/config.h>

struct token_bucket {
	uint64_t size;		/* 0: no limit */
	uint64_t refill_ns;
	uint64_t budget;
	uint64_t burst;
	/*
	 * Tokens up to this time are in the budget. In the future when more was spent than there was:
	 * until then, what comes in pays for that.
	 */
	uint64_t updated_ns;
};

/** token_bucket_init() - full at @now_ns; @config may be NULL: no limit */
void token_bucket_init(struct token_bucket *bucket, const struct squib_token_bucket *config,
		       uint64_t now_ns);

/** token_bucket_take() - take up to @wanted tokens; how many there were */
uint64_t token_bucket_take(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns);

/**
 * token_bucket_ready_ns() - from when on can @wanted tokens be spent at once?
 *
 * More than the bucket holds can be spent too, as soon as nothing is owed: the bucket then owes the
 * difference, so that on average the limit is kept. (Upstream lets tokens come in while the debt is
 * paid, and is up to twice as fast as its limit.)
 *
 * Return: a time up to @now_ns when it is now.
 */
uint64_t token_bucket_ready_ns(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns);

/** token_bucket_spend() - take @wanted tokens, which token_bucket_ready_ns() allows at @now_ns */
void token_bucket_spend(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns);

#endif
