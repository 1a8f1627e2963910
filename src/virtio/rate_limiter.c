/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/rate_limiter.h"

/*
 * Waits are not shorter, so that small requests under a high limit do not make a wake-up each. No
 * bucket fills in less (refill_time counts in ms), so no token is lost by it.
 */
#define WAIT_MIN_NS 1000000u

static void expired(struct loop_timer *timer)
{
	struct rate_limiter *limiter = container_of(timer, struct rate_limiter, timer);

	limiter->blocked = false;
	limiter->unblocked(limiter);
}

int rate_limiter_init(struct rate_limiter *limiter, struct loop *loop,
		      const struct squib_rate_limiter *config,
		      void (*unblocked)(struct rate_limiter *limiter))
{
	uint64_t now_ns = clock_ns();

	*limiter = (struct rate_limiter){ .loop = loop, .unblocked = unblocked };
	token_bucket_init(&limiter->bandwidth, config != NULL ? config->bandwidth : NULL, now_ns);
	token_bucket_init(&limiter->ops, config != NULL ? config->ops : NULL, now_ns);
	/* Without limits too: they may come later, when the process may not be allowed a new timer. */
	return loop_timer_init(loop, &limiter->timer, expired);
}

void rate_limiter_done(struct rate_limiter *limiter)
{
	if (limiter->loop != NULL)
		loop_timer_done(limiter->loop, &limiter->timer);
}

bool rate_limiter_update(struct rate_limiter *limiter, const struct squib_rate_limiter *config)
{
	bool was_blocked = limiter->blocked;
	uint64_t now_ns = clock_ns();

	if (config == NULL)
		return false;
	if (config->bandwidth != NULL)
		token_bucket_init(&limiter->bandwidth, config->bandwidth, now_ns);
	if (config->ops != NULL)
		token_bucket_init(&limiter->ops, config->ops, now_ns);
	limiter->blocked = false;
	loop_timer_set(&limiter->timer, 0);
	return was_blocked;
}

static void block_until(struct rate_limiter *limiter, uint64_t ready_ns, uint64_t now_ns)
{
	uint64_t when_ns = ready_ns - now_ns < WAIT_MIN_NS ? now_ns + WAIT_MIN_NS : ready_ns;

	limiter->blocked = true;
	loop_timer_set(&limiter->timer, when_ns);
}

bool rate_limiter_admit(struct rate_limiter *limiter, uint64_t bytes, uint64_t now_ns)
{
	uint64_t bytes_ready_ns = token_bucket_ready_ns(&limiter->bandwidth, bytes, now_ns);
	uint64_t ops_ready_ns = token_bucket_ready_ns(&limiter->ops, 1, now_ns);
	uint64_t ready_ns = bytes_ready_ns > ops_ready_ns ? bytes_ready_ns : ops_ready_ns;

	if (ready_ns > now_ns) {
		block_until(limiter, ready_ns, now_ns);
		return false;
	}
	token_bucket_spend(&limiter->bandwidth, bytes, now_ns);
	token_bucket_spend(&limiter->ops, 1, now_ns);
	return true;
}
