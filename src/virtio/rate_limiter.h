/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate limiter of a device: a bucket of bytes and one of requests (contract 2.14). A request that
 * finds too few tokens stays in its queue, and a timer tells when to look again.
 *
 * Threads: the loop's. Embedded in the device.
 */
#ifndef SQUIB_VIRTIO_RATE_LIMITER_H
#define SQUIB_VIRTIO_RATE_LIMITER_H

#include <stdbool.h>
#include <stdint.h>
#include <squib/config.h>

#include "base/loop.h"
#include "base/token_bucket.h"

struct rate_limiter {
	struct token_bucket bandwidth;
	struct token_bucket ops;
	bool blocked;		/* a request was refused, and the timer has not run out since */
	void (*unblocked)(struct rate_limiter *limiter);
	struct loop *loop;
	struct loop_timer timer;
};

/**
 * rate_limiter_init() - full buckets
 * @config: may be NULL: no limits; read during the call only
 * @unblocked: called from the loop when it is worth to try a request again
 *
 * Return: 0 or -errno; then rate_limiter_done() is allowed and not needed.
 */
int rate_limiter_init(struct rate_limiter *limiter, struct loop *loop,
		      const struct squib_rate_limiter *config,
		      void (*unblocked)(struct rate_limiter *limiter));
void rate_limiter_done(struct rate_limiter *limiter);

/**
 * rate_limiter_update() - PATCH: a bucket that is absent stays, one without a limit goes, others are
 * replaced by full ones
 * @config: may be NULL: nothing changes
 *
 * Return: was it blocked? Then it no longer is, and the caller tries its request again.
 */
bool rate_limiter_update(struct rate_limiter *limiter, const struct squib_rate_limiter *config);

/**
 * rate_limiter_admit() - pay for one request of @bytes at @now_ns (clock_ns())
 *
 * A request of more bytes than the bucket holds is admitted and pays later.
 *
 * Return: false when it has to wait. Nothing has been paid, and unblocked() will be called.
 */
bool rate_limiter_admit(struct rate_limiter *limiter, uint64_t bytes, uint64_t now_ns);

#endif
