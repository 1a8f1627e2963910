/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/arp.h"

static const uint8_t request[ARP_BYTES] = {
	0, 1, 8, 0, 6, 4, 0, 1,
	0x02, 0xfc, 1, 2, 3, 4, 172, 16, 0, 2,
	0, 0, 0, 0, 0, 0, 169, 254, 169, 254,
};

static void requests_are_read(void **state)
{
	struct arp_packet packet;

	(void)state;
	assert_int_equal(arp_read_request(request, sizeof(request), &packet), 0);
	assert_memory_equal(packet.sender_mac, "\x02\xfc\x01\x02\x03\x04", 6);
	assert_memory_equal(packet.sender_ip, "\xac\x10\x00\x02", 4);
	assert_memory_equal(packet.target_mac, "\0\0\0\0\0\0", 6);
	assert_memory_equal(packet.target_ip, "\xa9\xfe\xa9\xfe", 4);
}

static void what_is_none_is_refused(void **state)
{
	static const struct { const char *name; size_t at; uint8_t value; } cases[] = {
		{ "hardware that is not Ethernet", 1, 6 },
		{ "a protocol that is not IPv4", 2, 0x86 },
		{ "hardware addresses of 8 bytes", 4, 8 },
		{ "protocol addresses of 16 bytes", 5, 16 },
		{ "a reply", 7, 2 },
		{ "no operation", 7, 0 },
		{ "operation 257", 6, 1 },
	};
	struct arp_packet packet;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t data[ARP_BYTES];

		memcpy(data, request, sizeof(data));
		data[cases[i].at] = cases[i].value;
		if (arp_read_request(data, sizeof(data), &packet) != -EBADMSG)
			fail_msg("%s", cases[i].name);
	}
	assert_int_equal(arp_read_request(request, sizeof(request) - 1, &packet), -EBADMSG);
}

static void frames_may_be_padded(void **state)
{
	uint8_t data[46] = { 0 };
	struct arp_packet packet;

	(void)state;
	memcpy(data, request, sizeof(request));
	assert_int_equal(arp_read_request(data, sizeof(data), &packet), 0);
}

static void replies_are_written(void **state)
{
	static const struct arp_packet packet = {
		{ 6, 1, 0x23, 0x45, 0x67, 1 }, { 169, 254, 169, 254 },
		{ 2, 0xfc, 1, 2, 3, 4 }, { 172, 16, 0, 2 },
	};
	static const uint8_t expected[ARP_BYTES] = {
		0, 1, 8, 0, 6, 4, 0, 2,
		6, 1, 0x23, 0x45, 0x67, 1, 169, 254, 169, 254,
		2, 0xfc, 1, 2, 3, 4, 172, 16, 0, 2,
	};
	uint8_t data[ARP_BYTES];

	(void)state;
	arp_write_reply(data, &packet);
	assert_memory_equal(data, expected, sizeof(data));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_read),
		cmocka_unit_test(what_is_none_is_refused),
		cmocka_unit_test(frames_may_be_padded),
		cmocka_unit_test(replies_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
