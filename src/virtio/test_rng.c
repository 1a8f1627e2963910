/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "virtio/rng.h"
#include "virtio/test_driver.h"

#define DATA DRIVER_DATA

struct bench {
	struct driver driver;
	const struct metrics_entropy *counters;
};

static void start(struct bench *bench, const struct squib_entropy *config)
{
	struct rng_params params = { .config = config };
	struct virtio_device *device;

	driver_init(&bench->driver);
	params.loop = bench->driver.loop;
	params.metrics = bench->driver.metrics;
	bench->counters = &bench->driver.metrics->entropy;
	assert_int_equal(rng_new(&params, &device), 0);
	driver_attach(&bench->driver, device);
	driver_start(&bench->driver);
}

/* false: it was not served */
static bool request(struct bench *bench, const struct driver_buf *bufs, size_t count,
		    uint32_t *ret_len)
{
	uint32_t head;

	driver_add(&bench->driver, bufs, count);
	driver_kick(&bench->driver);
	driver_run(&bench->driver);
	return driver_take(&bench->driver, &head, ret_len);
}

static const struct squib_entropy plain;

static bool is_zero(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != 0)
			return false;
	return true;
}

static void buffers_are_filled_and_nothing_else(void **state)
{
	static const struct driver_buf bufs[] = { { DATA + 100, 64, true }, { DATA + 4096, 1, true },
						  { DATA + 8000, 300, true } };
	struct bench bench;
	const uint8_t *data;
	uint32_t len;

	(void)state;
	start(&bench, &plain);
	data = bench.driver.ram + DATA;
	assert_int_equal(driver_read(&bench.driver, VIRTIO_MMIO_DEVICE_ID), 4);
	assert_int_equal(driver_read(&bench.driver, VIRTIO_MMIO_CONFIG), 0);
	assert_true(request(&bench, bufs, ARRAY_SIZE(bufs), &len));
	assert_int_equal(len, 365);
	assert_true(driver_interrupted(&bench.driver));
	assert_true(is_zero(data, 100) && is_zero(data + 164, 4096 - 164) &&
		    is_zero(data + 4097, 8000 - 4097) && is_zero(data + 8300, 1000));
	assert_false(is_zero(data + 100, 64));	/* once in 2^512 runs */
	assert_false(is_zero(data + 8000, 150));
	assert_false(is_zero(data + 8150, 150));
	assert_int_equal(bench.counters->entropy_event_count.value, 1);
	assert_int_equal(bench.counters->entropy_bytes.value, 365);
	assert_int_equal(bench.counters->entropy_event_fails.value, 0);
	driver_done(&bench.driver);
}

static void a_request_gets_at_most_64_kib(void **state)
{
	static const struct { uint32_t len, want; } cases[] = {
		{ 1, 1 }, { 65535, 65535 }, { 65536, 65536 }, { 65537, 65536 }, { 0x100000, 65536 },
	};
	struct bench bench;
	uint32_t len;

	(void)state;
	start(&bench, &plain);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct driver_buf buf = { DATA, cases[i].len, true };

		assert_true(request(&bench, &buf, 1, &len));
		assert_int_equal(len, cases[i].want);
		assert_true(is_zero(bench.driver.ram + DATA + len, 4096));
	}
	driver_done(&bench.driver);
}

static void a_request_to_read_is_given_back_empty(void **state)
{
	static const struct driver_buf bufs[] = { { DATA, 16, false }, { DATA + 16, 16, true } };
	struct bench bench;
	uint32_t len;

	(void)state;
	start(&bench, &plain);
	assert_true(request(&bench, bufs, 1, &len));
	assert_int_equal(len, 0);
	assert_true(request(&bench, bufs, 2, &len));
	assert_int_equal(len, 0);
	assert_int_equal(bench.counters->entropy_event_fails.value, 2);
	assert_true(request(&bench, bufs + 1, 1, &len));
	assert_int_equal(len, 16);
	driver_done(&bench.driver);
}

static void limits_hold_requests_back(void **state)
{
	static const struct squib_token_bucket bytes = { 100, 0, 100000000 };
	static const struct squib_rate_limiter limits = { .bandwidth = &bytes };
	static const struct squib_entropy config = { .rate_limiter = &limits };
	static const struct driver_buf buf = { DATA, 60, true };
	struct bench bench;
	uint32_t len;

	(void)state;
	start(&bench, &config);
	assert_true(request(&bench, &buf, 1, &len));
	assert_false(request(&bench, &buf, 1, &len));
	assert_false(request(&bench, &buf, 1, &len));
	assert_int_equal(bench.counters->entropy_rate_limiter_throttled.value, 1);
	assert_int_equal(bench.counters->entropy_bytes.value, 60);
	driver_done(&bench.driver);
}

static void the_timer_lets_requests_through(void **state)
{
	static const struct squib_token_bucket ops = { 1, 0, 5 };
	static const struct squib_rate_limiter limits = { .ops = &ops };
	static const struct squib_entropy config = { .rate_limiter = &limits };
	static const struct driver_buf buf = { DATA, 60, true };
	struct bench bench;
	uint32_t head, len;

	(void)state;
	start(&bench, &config);
	for (unsigned int i = 0; i < 3; i++) {
		if (!request(&bench, &buf, 1, &len))
			while (!driver_take(&bench.driver, &head, &len))
				assert_int_equal(loop_run_once(bench.driver.loop, 10000), 0);
		assert_int_equal(len, 60);
	}
	driver_done(&bench.driver);
}

static void a_broken_ring_needs_a_reset(void **state)
{
	static const struct driver_buf nowhere = { DRIVER_MEM_BYTES, 16, true }, buf = { DATA, 9, true };
	struct bench bench;
	uint32_t len;

	(void)state;
	start(&bench, &plain);
	assert_false(request(&bench, &nowhere, 1, &len));
	assert_int_equal(driver_read(&bench.driver, VIRTIO_MMIO_STATUS), 0x4f);
	driver_reset(&bench.driver);
	driver_start(&bench.driver);
	assert_true(request(&bench, &buf, 1, &len));
	driver_done(&bench.driver);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffers_are_filled_and_nothing_else),
		cmocka_unit_test(a_request_gets_at_most_64_kib),
		cmocka_unit_test(a_request_to_read_is_given_back_empty),
		cmocka_unit_test(limits_hold_requests_back),
		cmocka_unit_test(the_timer_lets_requests_through),
		cmocka_unit_test(a_broken_ring_needs_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
