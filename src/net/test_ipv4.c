/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/ipv4.h"

/* A header with an example checksum, of 115 bytes in all (Wikipedia, "Internet checksum"). */
static const uint8_t example[] = {
	0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
	0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
};

static void headers_are_read(void **state)
{
	struct ipv4_packet packet;
	uint8_t data[130] = { 0 };

	(void)state;
	memcpy(data, example, sizeof(example));
	assert_int_equal(ipv4_read(data, sizeof(data), &packet), 0);
	assert_int_equal(packet.protocol, 17);
	assert_false(packet.is_fragment);
	assert_memory_equal(packet.source, "\xc0\xa8\x00\x01", 4);
	assert_memory_equal(packet.destination, "\xc0\xa8\x00\xc7", 4);
	assert_ptr_equal(packet.payload, data + 20);
	assert_int_equal(packet.payload_len, 95);	/* the rest is padding */
}

static void lengths_are_checked(void **state)
{
	static const struct {
		const char *name;
		uint8_t first, total_high, total_low;
		size_t len;
		int want;
		size_t payload_len;
	} cases[] = {
		{ "no payload", 0x45, 0, 20, 20, 0, 0 },
		{ "one byte too few for a header", 0x45, 0, 20, 19, -EBADMSG, 0 },
		{ "nothing at all", 0x45, 0, 20, 0, -EBADMSG, 0 },
		{ "IPv6", 0x65, 0, 20, 40, -EBADMSG, 0 },
		{ "header shorter than a header", 0x44, 0, 20, 40, -EBADMSG, 0 },
		{ "no header length", 0x40, 0, 20, 40, -EBADMSG, 0 },
		{ "with options", 0x46, 0, 30, 40, 0, 6 },
		{ "with all the options there can be", 0x4f, 0, 60, 60, 0, 0 },
		{ "options beyond the packet", 0x46, 0, 23, 40, -EBADMSG, 0 },
		{ "total shorter than the header", 0x45, 0, 19, 40, -EBADMSG, 0 },
		{ "total of 0", 0x45, 0, 0, 40, -EBADMSG, 0 },
		{ "total just as long as the frame", 0x45, 0, 40, 40, 0, 20 },
		{ "total one more than the frame", 0x45, 0, 41, 40, -EBADMSG, 0 },
		{ "total of 65535", 0x45, 0xff, 0xff, 40, -EBADMSG, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ipv4_packet packet = { .payload_len = 0 };
		uint8_t data[60] = { cases[i].first, 0, cases[i].total_high, cases[i].total_low };
		int r = ipv4_read(data, cases[i].len, &packet);

		if (r != cases[i].want || packet.payload_len != cases[i].payload_len)
			fail_msg("%s: %d, %zu", cases[i].name, r, packet.payload_len);
	}
}

static void fragments_are_told(void **state)
{
	static const struct { uint8_t high, low; bool want; } cases[] = {
		{ 0x00, 0x00, false }, { 0x40, 0x00, false }, { 0x80, 0x00, false },
		{ 0x20, 0x00, true },  { 0x00, 0x01, true },  { 0x1f, 0xff, true },
	};
	struct ipv4_packet packet;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t data[20] = { 0x45, 0, 0, 20, 0, 0, cases[i].high, cases[i].low };

		assert_int_equal(ipv4_read(data, sizeof(data), &packet), 0);
		assert_int_equal(packet.is_fragment, cases[i].want);
	}
}

static void headers_are_written_with_a_checksum(void **state)
{
	struct ipv4_packet packet = { .protocol = 6, .source = { 169, 254, 169, 254 },
				      .destination = { 10, 0, 0, 1 }, .payload_len = 1480 };
	struct ipv4_packet again;
	uint8_t data[1500];

	(void)state;
	ipv4_write(data, &packet);
	assert_int_equal(ipv4_checksum(data, 20), 0);
	assert_int_equal(ipv4_read(data, sizeof(data), &again), 0);
	assert_false(again.is_fragment);
	assert_int_equal(again.payload_len, 1480);
	assert_memory_equal(again.source, packet.source, 4);
	assert_memory_equal(again.destination, packet.destination, 4);
}

static void checksums_are_those_of_the_rfc(void **state)
{
	static const uint8_t numbers[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	static const uint8_t ones[65535] = { [0 ... 65534] = 0xff };

	(void)state;
	assert_int_equal(ipv4_checksum(numbers, sizeof(numbers)), 0xffff & ~0xddf2); /* RFC 1071, 3 */
	assert_int_equal(ipv4_checksum(numbers, 3), 0xffff & ~0xf201);
	assert_int_equal(ipv4_checksum(numbers, 0), 0xffff);
	assert_int_equal(ipv4_checksum(example, sizeof(example)), 0);
	assert_int_equal(ipv4_checksum(ones, 65534), 0);	/* carries, as many as there can be */
	assert_int_equal(ipv4_checksum(ones, 65535), 0x00ff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(lengths_are_checked),
		cmocka_unit_test(fragments_are_told),
		cmocka_unit_test(headers_are_written_with_a_checksum),
		cmocka_unit_test(checksums_are_those_of_the_rfc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
