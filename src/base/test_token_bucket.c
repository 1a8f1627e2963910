/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/token_bucket.h"

#define MS UINT64_C(1000000)

static void what_is_not_there_yet_has_a_time(void **state)
{
	static const struct squib_token_bucket config = { .size = 1000, .refill_time_ms = 100 };
	static const struct { const char *name; uint64_t spent, wanted, after_ns, ready_ns; } cases[] = {
		{ "all at once", 0, 1000, 0, 0 },
		{ "nothing, of an empty one", 1000, 0, 0, 0 },
		{ "one of an empty one", 1000, 1, 0, MS / 10 },
		{ "one, a little later", 1000, 1, MS / 10 - 1, MS / 10 },
		{ "one, when it is there", 1000, 1, MS / 10, MS / 10 },
		{ "all of an empty one", 1000, 1000, 0, 100 * MS },
		{ "all of it, half full", 1000, 1000, 50 * MS, 100 * MS },
		{ "all of it, full for long", 1000, 1000, 900 * MS, 900 * MS },
		{ "more than it holds, full", 0, 1001, 0, 0 },
		{ "more than it holds, empty", 1000, 1001, 0, 0 },
		{ "one, when two fillings are owed", 3000, 1, 0, 200 * MS + MS / 10 },
		{ "nothing, when something is owed", 3000, 0, 5, 5 },
		{ "more than it holds, when something is owed", 3000, 5000, 0, 200 * MS },
		{ "the most, when something is owed", 3000, UINT64_MAX, 0, 200 * MS },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct token_bucket bucket;
		uint64_t now = 77 * MS, ready;

		token_bucket_init(&bucket, &config, now);
		token_bucket_spend(&bucket, cases[i].spent, now);
		ready = token_bucket_ready_ns(&bucket, cases[i].wanted, now + cases[i].after_ns);
		if (ready < now + cases[i].after_ns)
			ready = now + cases[i].after_ns;	/* a time in the past is now */
		if (ready != now + cases[i].ready_ns)
			fail_msg("%s: %llu", cases[i].name, (unsigned long long)(ready - now));
	}
}

static void a_burst_is_spent_first_and_never_comes_back(void **state)
{
	static const struct squib_token_bucket config = { 10, 5, 100 };
	struct token_bucket bucket;

	(void)state;
	token_bucket_init(&bucket, &config, 0);
	token_bucket_spend(&bucket, 4, 0);
	assert_true(bucket.burst == 1 && bucket.budget == 10);
	assert_true(token_bucket_ready_ns(&bucket, 11, 0) == 0);
	token_bucket_spend(&bucket, 11, 0);
	assert_true(bucket.burst == 0 && bucket.budget == 0);
	assert_int_equal(token_bucket_ready_ns(&bucket, 1, 0), 10 * MS);
	assert_int_equal(token_bucket_take(&bucket, 99, 1000 * MS), 10);
}

/* Whatever is asked for, the average is the limit. */
static void on_average_the_limit_is_kept(void **state)
{
	static const uint64_t amounts[] = { 1, 7, 999, 1000, 1001, 1999, 2000, 5000, 123456 };
	static const struct squib_token_bucket config = { .size = 1000, .refill_time_ms = 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
		struct token_bucket bucket;
		uint64_t now = 0, spent = 0;

		token_bucket_init(&bucket, &config, 0);
		while (now < 20000 * MS) {
			uint64_t ready = token_bucket_ready_ns(&bucket, amounts[i], now);

			if (ready > now)
				now = ready;
			token_bucket_spend(&bucket, amounts[i], now);
			spent += amounts[i];
		}
		/* 10 in a ms, and what was in it, and the last may be paid for later */
		assert_in_range(spent, now / MS * 10 - amounts[i],
				now / MS * 10 + 1000 + amounts[i] + 10);
	}
}

static void numbers_do_not_overflow(void **state)
{
	static const struct squib_token_bucket slow = { 1, 0, UINT64_MAX / 1000000 },
		large = { UINT64_MAX, UINT64_MAX, UINT64_MAX / 1000000 }, none = { 0, 0, 1 };
	struct token_bucket bucket;

	(void)state;
	token_bucket_init(&bucket, &slow, UINT64_MAX / 2);
	token_bucket_spend(&bucket, UINT64_MAX, UINT64_MAX / 2);
	assert_true(token_bucket_ready_ns(&bucket, 1, UINT64_MAX / 2) == UINT64_MAX);
	assert_true(token_bucket_ready_ns(&bucket, UINT64_MAX, UINT64_MAX - 1) == UINT64_MAX);
	token_bucket_init(&bucket, &large, 0);
	for (unsigned int i = 0; i < 3; i++)
		token_bucket_spend(&bucket, UINT64_MAX, 0);
	assert_true(token_bucket_ready_ns(&bucket, 1, 0) > UINT64_MAX / 2);
	token_bucket_init(&bucket, &none, 0);
	token_bucket_spend(&bucket, UINT64_MAX, 0);
	assert_true(token_bucket_ready_ns(&bucket, UINT64_MAX, 5) == 5);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_there_yet_has_a_time),
		cmocka_unit_test(a_burst_is_spent_first_and_never_comes_back),
		cmocka_unit_test(on_average_the_limit_is_kept),
		cmocka_unit_test(numbers_do_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
