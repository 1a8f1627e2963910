/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "virtio/rate_limiter.h"

/* All but one of these have a time of their own. */

static void never(struct rate_limiter *limiter)
{
	(void)limiter;
	fail();	/* the loop does not run */
}

#define MS UINT64_C(1000000)

static void a_request_takes_from_both_buckets_or_none(void **state)
{
	static const struct squib_token_bucket bytes = { 1000, 0, 100 }, ops = { 2, 0, 1000 };
	static const struct squib_rate_limiter config = { &bytes, &ops };
	CLEANUP(loop_free) struct loop *loop = NULL;
	struct rate_limiter limiter;
	uint64_t t;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(rate_limiter_init(&limiter, loop, &config, never), 0);
	t = limiter.ops.updated_ns;
	assert_true(rate_limiter_admit(&limiter, 600, t));
	assert_false(rate_limiter_admit(&limiter, 600, t));	/* 200 bytes are missing */
	assert_true(limiter.blocked);
	assert_int_equal(limiter.ops.budget, 1);		/* not taken */
	assert_false(rate_limiter_admit(&limiter, 600, t + 20 * MS - 1));
	assert_true(rate_limiter_admit(&limiter, 600, t + 20 * MS));
	assert_false(rate_limiter_admit(&limiter, 0, t + 500 * MS - 1));	/* the operations */
	assert_true(limiter.bandwidth.budget <= 1000);
	assert_true(rate_limiter_admit(&limiter, 0, t + 500 * MS));
	rate_limiter_done(&limiter);
}

static void a_request_larger_than_the_bucket_is_paid_for_later(void **state)
{
	static const struct squib_token_bucket bytes = { 1000, 500, 100 };	/* 10 in a ms */
	static const struct squib_rate_limiter config = { .bandwidth = &bytes };
	CLEANUP(loop_free) struct loop *loop = NULL;
	struct rate_limiter limiter;
	uint64_t t;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(rate_limiter_init(&limiter, loop, &config, never), 0);
	t = limiter.bandwidth.updated_ns;
	assert_true(rate_limiter_admit(&limiter, 4500, t));	/* 500 and 1000; 3000 are owed */
	assert_false(rate_limiter_admit(&limiter, 5000, t + 300 * MS - 1));
	assert_false(rate_limiter_admit(&limiter, 1, t + 300 * MS));
	assert_true(rate_limiter_admit(&limiter, 0, t + 10 * MS));	/* no bytes, no wait */
	assert_false(rate_limiter_admit(&limiter, 1, t + 300 * MS));	/* and no remission */
	assert_true(rate_limiter_admit(&limiter, 10, t + 301 * MS));
	assert_true(rate_limiter_admit(&limiter, 2000, t + 301 * MS));	/* nothing is owed */
	assert_false(rate_limiter_admit(&limiter, 2000, t + 501 * MS - 1));
	assert_true(rate_limiter_admit(&limiter, 2000, t + 501 * MS));
	/* the largest there can be: no overflow, and a long wait */
	assert_true(rate_limiter_admit(&limiter, UINT64_MAX, t + 900 * MS));
	assert_false(rate_limiter_admit(&limiter, 1, t + 900 * MS + UINT64_MAX / 4));
	rate_limiter_done(&limiter);
}

static void limits_change_as_a_patch_says(void **state)
{
	static const struct squib_token_bucket bytes = { 1000, 0, 100 }, ops = { 2, 0, 1000 },
		other = { 7, 3, 50 }, none = { 0, 9, 100 }, at_once = { 9, 9, 0 };
	static const struct squib_rate_limiter config = { &bytes, &ops };
	CLEANUP(loop_free) struct loop *loop = NULL;
	struct rate_limiter limiter;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(rate_limiter_init(&limiter, loop, &config, never), 0);
	assert_true(rate_limiter_admit(&limiter, 1000, clock_ns()));
	assert_false(rate_limiter_update(&limiter, NULL));
	assert_int_equal(limiter.bandwidth.size, 1000);
	assert_false(rate_limiter_update(&limiter, &(struct squib_rate_limiter){ .ops = &other }));
	assert_true(limiter.ops.size == 7 && limiter.ops.budget == 7 && limiter.ops.burst == 3);
	assert_true(limiter.bandwidth.size == 1000 && limiter.bandwidth.budget < 1000);
	assert_false(rate_limiter_admit(&limiter, 1000, limiter.bandwidth.updated_ns));
	assert_true(rate_limiter_update(&limiter, &(struct squib_rate_limiter){ &none, NULL }));
	assert_false(limiter.blocked);
	assert_true(limiter.bandwidth.size == 0 && limiter.ops.size == 7);
	rate_limiter_update(&limiter, &(struct squib_rate_limiter){ NULL, &at_once });
	assert_int_equal(limiter.ops.size, 0);
	for (unsigned int i = 0; i < 100; i++)
		assert_true(rate_limiter_admit(&limiter, UINT64_MAX, 0));
	rate_limiter_done(&limiter);
}

struct waiter {
	struct rate_limiter limiter;
	unsigned int called;
};

static void count(struct rate_limiter *limiter)
{
	container_of(limiter, struct waiter, limiter)->called++;
}

static void who_was_refused_is_called_once(void **state)
{
	static const struct squib_token_bucket ops = { 1, 0, 3 };
	static const struct squib_rate_limiter config = { .ops = &ops };
	CLEANUP(loop_free) struct loop *loop = NULL;
	struct waiter waiter = { .called = 0 };

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(rate_limiter_init(&waiter.limiter, loop, &config, count), 0);
	assert_true(rate_limiter_admit(&waiter.limiter, 1, clock_ns()));
	while (rate_limiter_admit(&waiter.limiter, 1, clock_ns()))
		;	/* on a machine that is that slow */
	assert_true(waiter.limiter.blocked);
	while (waiter.called == 0)
		assert_int_equal(loop_run_once(loop, 10000), 0);
	assert_false(waiter.limiter.blocked);
	assert_true(rate_limiter_admit(&waiter.limiter, 1, clock_ns()));
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(waiter.called, 1);
	rate_limiter_done(&waiter.limiter);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_takes_from_both_buckets_or_none),
		cmocka_unit_test(a_request_larger_than_the_bucket_is_paid_for_later),
		cmocka_unit_test(limits_change_as_a_patch_says),
		cmocka_unit_test(who_was_refused_is_called_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
