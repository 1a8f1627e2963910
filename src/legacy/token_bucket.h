/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket as the API describes it: size tokens at the start and one_time_burst more that
 * never come back; an empty bucket fills in refill_time. Time is passed in.
 */
#ifndef SQUIB_LEGACY_TOKEN_BUCKET_H
#define SQUIB_LEGACY_TOKEN_BUCKET_H

#include <stdint.h>
#include <squib/config.h>

struct token_bucket {
	uint64_t size;		/* 0: no limit */
	uint64_t refill_ns;
	uint64_t budget;
	uint64_t burst;
	uint64_t updated_ns;	/* tokens up to this time are in the budget */
};

/** token_bucket_init() - full at @now_ns; @config may be NULL: no limit */
void token_bucket_init(struct token_bucket *bucket, const struct squib_token_bucket *config,
		       uint64_t now_ns);

/** token_bucket_take() - take up to @wanted tokens; how many there were */
uint64_t token_bucket_take(struct token_bucket *bucket, uint64_t wanted, uint64_t now_ns);

#endif
