/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cli/network.h"

#define FILE_WITH(squib) "{\"boot-source\":{\"kernel_image_path\":\"k\"},\"drives\":[]," squib "}"

static void the_command_line_comes_first(void **state)
{
	static const char *const files[] = {
		NULL,
		FILE_WITH("\"squib\":null"),
		FILE_WITH("\"squib\":{\"network\":\"shared\"}"),
		FILE_WITH("\"squib\":{\"network\":\"userspace\"}"),
		"{\"squib\":{\"network\":\"userspace\"}",	/* ends too early */
	};
	static const struct {
		bool given;
		enum args_network network;
		enum vmm_network want[ARRAY_SIZE(files)];
	} cases[] = {
		{ false, ARGS_NETWORK_TAP, { [3] = VMM_NETWORK_USERSPACE } },
		{ true, ARGS_NETWORK_TAP, { VMM_NETWORK_TAP } },
		{ true, ARGS_NETWORK_USERSPACE,
		  { VMM_NETWORK_USERSPACE, VMM_NETWORK_USERSPACE, VMM_NETWORK_USERSPACE,
		    VMM_NETWORK_USERSPACE, VMM_NETWORK_USERSPACE } },
	};

	(void)state;
	assert_int_equal(VMM_NETWORK_TAP, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct squib_args args = { .network = cases[i].network,
					   .network_given = cases[i].given };

		for (size_t j = 0; j < ARRAY_SIZE(files); j++) {
			size_t len = files[j] != NULL ? strlen(files[j]) : 0;
			struct network network;

			assert_int_equal(network_decide(&args, files[j], len, &network), 0);
			assert_int_equal(network.kind, cases[i].want[j]);
			assert_int_equal(network.port_count, 0);
			assert_null(network.warning);
			network_done(&network);
		}
	}
}

static void ports_are_taken_from_the_file(void **state)
{
	static const char file[] = FILE_WITH(
		"\"squib\":{\"network\":\"userspace\",\"ports\":["
		"{\"protocol\":\"udp\",\"host_port\":53,\"guest_port\":5353,\"host_address\":\"::1\"},"
		"{\"protocol\":\"tcp\",\"host_port\":8080,\"guest_port\":80}]}");
	struct squib_args args = { .network = ARGS_NETWORK_TAP };
	struct network network;

	(void)state;
	assert_int_equal(network_decide(&args, file, strlen(file), &network), 0);
	assert_null(network.warning);
	assert_int_equal(network.port_count, 2);
	assert_int_equal(network.ports[0].protocol, PASST_UDP);
	assert_string_equal(network.ports[0].host_address, "::1");
	assert_int_equal(network.ports[0].host_port, 53);
	assert_int_equal(network.ports[0].guest_port, 5353);
	assert_int_equal(network.ports[1].protocol, PASST_TCP);
	assert_string_equal(network.ports[1].host_address, "127.0.0.1");
	assert_int_equal(network.ports[1].host_port, 8080);
	assert_int_equal(network.ports[1].guest_port, 80);
	network_done(&network);

	args.network_given = true;	/* and says tap */
	assert_int_equal(network_decide(&args, file, strlen(file), &network), 0);
	assert_string_equal(network.warning, "The configuration file's ports have no effect: they are "
			    "for --network userspace.");
	network_done(&network);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_command_line_comes_first),
		cmocka_unit_test(ports_are_taken_from_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
