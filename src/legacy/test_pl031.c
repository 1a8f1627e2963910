/* SPDX-License-Identifier: Apache-2.0 */
/* The host's time is the test's own here: time() is wrapped. */
#include <endian.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/util.h"
#include "legacy/pl031.h"

#define DR	0x000
#define MR	0x004
#define LR	0x008
#define CR	0x00c
#define IMSC	0x010
#define RIS	0x014
#define MIS	0x018
#define ICR	0x01c
#define ID	0xfe0

#define NOW	1700000000u
#define MANY	100000

static _Atomic time_t now_s;

time_t __wrap_time(time_t *ret_time);

time_t __wrap_time(time_t *ret_time)
{
	time_t now = now_s;

	if (ret_time != NULL)
		*ret_time = now;
	return now;
}

struct fixture {
	struct metrics *metrics;
	struct pl031 *rtc;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	now_s = NOW;
	assert_int_equal(metrics_new(&f->metrics), 0);
	assert_int_equal(pl031_new(f->metrics, &f->rtc), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pl031_free(f->rtc);
	metrics_free(f->metrics);
	free(f);
	return 0;
}

static uint32_t get(struct pl031 *rtc, uint64_t offset)
{
	uint32_t value = 0x5a5a5a5a;

	pl031_read(rtc, offset, (uint8_t *)&value, sizeof(value));
	return le32toh(value);
}

static void put(struct pl031 *rtc, uint64_t offset, uint32_t value)
{
	value = htole32(value);
	pl031_write(rtc, offset, (uint8_t *)&value, sizeof(value));
}

static void check_counts(const struct fixture *f, uint64_t errors, uint64_t reads, uint64_t writes)
{
	assert_int_equal(f->metrics->rtc.error_count.value, errors);
	assert_int_equal(f->metrics->rtc.missed_read_count.value, reads);
	assert_int_equal(f->metrics->rtc.missed_write_count.value, writes);
}

static void it_tells_the_hosts_time(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[4];

	assert_int_equal(get(f->rtc, DR), NOW);
	now_s += 86400;
	assert_int_equal(get(f->rtc, DR), NOW + 86400);
	now_s = 0x12345678;
	pl031_read(f->rtc, DR, bytes, sizeof(bytes));
	assert_memory_equal(bytes, "\x78\x56\x34\x12", 4);
	check_counts(f, 0, 0, 0);
}

static void a_time_that_was_loaded_goes_on_from_there(void **state)
{
	static const struct {
		const char *name;
		uint32_t load;
		int passed_s;		/* on the host, since then */
		uint32_t want;
	} cases[] = {
		{ "at once",				1000,		0,   1000 },
		{ "later",				1000,		61,  1061 },
		{ "the future",				0xf0000000,	5,   0xf0000005 },
		{ "zero",				0,		1,   1 },
		{ "up to the end",			0xfffffff0,	15,  0xffffffff },
		{ "past the end it is the host's",	0xfffffff0,	16,  NOW + 16 },
		{ "the host's clock is set back",	1000,		-10, 990 },
		{ "back to the beginning",		1000,		-1000, 0 },
		{ "before it, it is the host's",	1000,		-1001, NOW - 1001 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t got;

		now_s = NOW;
		put(f->rtc, LR, cases[i].load);
		assert_int_equal(get(f->rtc, LR), cases[i].load);
		now_s += cases[i].passed_s;
		got = get(f->rtc, DR);
		if (got != cases[i].want)
			fail_msg("%s: got %u, want %u", cases[i].name, got, cases[i].want);
		assert_int_equal(get(f->rtc, LR), cases[i].load);
	}
	check_counts(f, 0, 0, 0);
}

/* Linux writes it back as it was read when it starts. */
static void enabling_it_sets_the_hosts_time(void **state)
{
	struct fixture *f = *state;

	put(f->rtc, LR, 1000);
	put(f->rtc, CR, 0);		/* it goes on, and says so */
	assert_int_equal(get(f->rtc, CR), 1);
	assert_int_equal(get(f->rtc, DR), 1000);
	put(f->rtc, CR, 3);
	assert_int_equal(get(f->rtc, DR), 1000);
	put(f->rtc, CR, 1);
	assert_int_equal(get(f->rtc, DR), NOW);
	assert_int_equal(get(f->rtc, LR), 0);
	check_counts(f, 0, 0, 0);
}

static void match_and_mask_are_kept_and_nothing_comes_of_them(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f->rtc, MR), 0);
	assert_int_equal(get(f->rtc, IMSC), 0);
	put(f->rtc, MR, NOW + 1);
	put(f->rtc, IMSC, 0xffffffff);
	now_s += 2;
	assert_int_equal(get(f->rtc, MR), NOW + 1);
	assert_int_equal(get(f->rtc, IMSC), 1);
	assert_int_equal(get(f->rtc, RIS), 0);
	assert_int_equal(get(f->rtc, MIS), 0);
	put(f->rtc, ICR, 1);
	assert_int_equal(get(f->rtc, RIS), 0);
	put(f->rtc, CR, 1);		/* is about the time only */
	assert_int_equal(get(f->rtc, MR), NOW + 1);
	assert_int_equal(get(f->rtc, IMSC), 1);
	put(f->rtc, IMSC, 0xfffffffe);
	assert_int_equal(get(f->rtc, IMSC), 0);
	check_counts(f, 0, 0, 0);
}

static void it_says_that_it_is_a_pl031(void **state)
{
	struct fixture *f = *state;
	uint64_t peripheral = 0, cell = 0;

	for (uint64_t i = 0; i < 4; i++) {
		peripheral |= (uint64_t)get(f->rtc, ID + 4 * i) << 8 * i;
		cell |= (uint64_t)get(f->rtc, ID + 16 + 4 * i) << 8 * i;
	}
	assert_int_equal(peripheral, 0x00041031);	/* Linux asks for 0x00041031 in 0x000fffff */
	assert_int_equal(cell, 0xb105f00d);
	check_counts(f, 0, 0, 0);
}

static void other_registers_are_missed(void **state)
{
	static const uint64_t unreadable[] = { ICR, 1, DR + 2, 0x020, 0xfdc, 0x1000, UINT64_MAX - 3 };
	static const uint64_t unwritable[] = {
		DR, RIS, MIS, LR + 1, 0x020, 0xfdc, ID, ID + 0x1c, 0x1000, UINT64_MAX - 3,
	};
	struct fixture *f = *state;

	put(f->rtc, LR, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(unreadable); i++)
		assert_int_equal(get(f->rtc, unreadable[i]), 0x5a5a5a5a);	/* as it was */
	check_counts(f, ARRAY_SIZE(unreadable), ARRAY_SIZE(unreadable), 0);
	for (size_t i = 0; i < ARRAY_SIZE(unwritable); i++)
		put(f->rtc, unwritable[i], 0x1234);
	check_counts(f, ARRAY_SIZE(unreadable) + ARRAY_SIZE(unwritable), ARRAY_SIZE(unreadable),
		     ARRAY_SIZE(unwritable));
	assert_int_equal(get(f->rtc, DR), 1000);
	assert_int_equal(get(f->rtc, LR), 1000);
	assert_int_equal(get(f->rtc, MR), 0);
}

static void other_sizes_are_errors(void **state)
{
	static const uint32_t lens[] = { 1, 2, 3, 8 };
	struct fixture *f = *state;

	put(f->rtc, LR, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		uint8_t *data = malloc(lens[i]);	/* no byte more, for the sanitizer */
		uint8_t *before = malloc(lens[i]);

		assert_non_null(data);
		assert_non_null(before);
		memset(data, 0xa5, lens[i]);
		memset(before, 0xa5, lens[i]);
		pl031_write(f->rtc, LR, data, lens[i]);
		pl031_read(f->rtc, LR, data, lens[i]);
		assert_memory_equal(data, before, lens[i]);
		free(before);
		free(data);
	}
	assert_int_equal(get(f->rtc, LR), 1000);
	check_counts(f, 2 * ARRAY_SIZE(lens), 0, 0);
}

static void *load_in_turns(void *arg)
{
	for (int i = 0; i < MANY; i++)
		put(arg, LR, i % 2 == 0 ? 1000 : 2000);
	return NULL;
}

static void vcpus_may_use_it_at_once(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	put(f->rtc, LR, 1000);
	assert_int_equal(pthread_create(&thread, NULL, load_in_turns, f->rtc), 0);
	for (int i = 0; i < MANY; i++) {
		uint32_t time_s = get(f->rtc, DR);

		assert_true(time_s == 1000 || time_s == 2000);
	}
	pthread_join(thread, NULL);
	assert_int_equal(get(f->rtc, DR), 2000);
	check_counts(f, 0, 0, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(it_tells_the_hosts_time),
		CASE(a_time_that_was_loaded_goes_on_from_there),
		CASE(enabling_it_sets_the_hosts_time),
		CASE(match_and_mask_are_kept_and_nothing_comes_of_them),
		CASE(it_says_that_it_is_a_pl031),
		CASE(other_registers_are_missed),
		CASE(other_sizes_are_errors),
		CASE(vcpus_may_use_it_at_once),
	};

	pl031_free(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
