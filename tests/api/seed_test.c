/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end-to-end tests the project began with: raw bytes over a real Unix socket, a monitor that
 * acknowledges everything. Names, requests and expectations are theirs.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/stub.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

static void start_in(struct stub *stub, enum squib_phase phase)
{
	struct squib_controller_options options = stub_options();

	options.initial_phase = phase;
	options.queue_capacity = 64;
	stub_start(stub, &options, stub_acknowledge);
}

static void test_should_serve_get_root_with_firecracker_server_header(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_request(&stub, GET("/"));
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer_header(&answer, "server"), "Firecracker API");
	assert_int_equal(strcasecmp(answer_header(&answer, "content-type"), "application/json"), 0);
	assert_non_null(strstr(answer.body, "\"state\":\"Not started\""));
	assert_non_null(strstr(answer.body, "\"id\":\"anonymous\""));
	assert_non_null(strstr(answer.body, "\"app_name\":\"Firecracker\""));
	assert_non_null(strstr(answer.body, "\"vmm_version\":\"1.16.0"));
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_serve_get_version(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_request(&stub, GET("/version"));
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer_header(&answer, "server"), "Firecracker API");
	assert_string_equal(answer.body, "{\"firecracker_version\":\"1.16.0\"}");
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_translate_unknown_path_to_400_with_fault_message(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_request(&stub, GET("/no-such-route"));
	assert_int_equal(answer.status, 400);
	assert_string_equal(answer_header(&answer, "server"), "Firecracker API");
	assert_non_null(strstr(answer.body, "\"fault_message\""));
	assert_non_null(strstr(answer.body, "/no-such-route"));
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_accept_put_machine_config_with_fault_message_on_smt_true(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_json(&stub, "PUT", "/machine-config",
			   "{\"vcpu_count\":1,\"mem_size_mib\":256,\"smt\":true}");
	assert_int_equal(answer.status, 400);
	assert_non_null(strstr(answer.body, "SMT not supported on Apple Silicon"));
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_accept_put_boot_source_against_stub_vmm(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_json(&stub, "PUT", "/boot-source",
			   "{\"kernel_image_path\":\"/tmp/vmlinux.bin\"}");
	assert_int_equal(answer.status, 204);
	assert_string_equal(answer_header(&answer, "server"), "Firecracker API");
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_route_pmem_patch_and_delete(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_RUNNING);
	answer = stub_json(&stub, "PATCH", "/pmem/pmem0", "{\"pmem_id\":\"pmem0\"}");
	assert_int_equal(answer.status, 204);
	answer_done(&answer);
	answer = stub_request(&stub, "DELETE /pmem/pmem0 HTTP/1.1\r\nHost: localhost\r\n"
			      "Connection: close\r\n\r\n");
	assert_int_equal(answer.status, 204);
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_route_hotplug_memory_put_get_patch(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_json(&stub, "PUT", "/hotplug/memory",
			   "{\"total_size_mib\":256,\"block_size_mib\":2,\"slot_size_mib\":128}");
	assert_int_equal(answer.status, 204);
	answer_done(&answer);
	answer = stub_request(&stub, GET("/hotplug/memory"));
	assert_int_equal(answer.status, 200);
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_route_hotplug_memory_patch_post_boot(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_RUNNING);
	answer = stub_json(&stub, "PATCH", "/hotplug/memory", "{\"requested_size_mib\":128}");
	assert_int_equal(answer.status, 204);
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_route_balloon_hinting(void **state)
{
	static const char *const operations[] = { "start", "status", "stop" };
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_RUNNING);
	for (size_t i = 0; i < 3; i++) {
		char request[256];

		snprintf(request, sizeof(request), "PATCH /balloon/hinting/%s HTTP/1.1\r\n"
			 "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			 operations[i]);
		answer = stub_request(&stub, request);
		assert_int_equal(answer.status, 204);
		answer_done(&answer);
	}
	answer = stub_request(&stub, "PATCH /balloon/hinting/frobnicate HTTP/1.1\r\n"
			      "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	assert_int_equal(answer.status, 400);
	assert_non_null(strstr(answer.body, "frobnicate"));
	answer_done(&answer);
	stub_stop(&stub);
}

static void test_should_reject_send_ctrl_alt_del_with_400(void **state)
{
	struct stub stub;
	struct answer answer;

	(void)state;
	start_in(&stub, SQUIB_PHASE_UNINITIALIZED);
	answer = stub_json(&stub, "PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}");
	assert_int_equal(answer.status, 400);
	assert_non_null(strstr(answer.body, "SendCtrlAltDel is x86-only"));
	answer_done(&answer);
	stub_stop(&stub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_should_serve_get_root_with_firecracker_server_header),
		cmocka_unit_test(test_should_serve_get_version),
		cmocka_unit_test(test_should_translate_unknown_path_to_400_with_fault_message),
		cmocka_unit_test(test_should_accept_put_machine_config_with_fault_message_on_smt_true),
		cmocka_unit_test(test_should_accept_put_boot_source_against_stub_vmm),
		cmocka_unit_test(test_should_route_pmem_patch_and_delete),
		cmocka_unit_test(test_should_route_hotplug_memory_put_get_patch),
		cmocka_unit_test(test_should_route_hotplug_memory_patch_post_boot),
		cmocka_unit_test(test_should_route_balloon_hinting),
		cmocka_unit_test(test_should_reject_send_ctrl_alt_del_with_400),
	};

	return cmocka_run_group_tests_name("seed", tests, NULL, NULL);
}
