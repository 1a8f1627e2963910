/* SPDX-License-Identifier: Apache-2.0 */
#include "http/response.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEEP "\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
#define JSON "Content-Type: application/json\r\n"

static bool no_memory;
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
	return no_memory ? NULL : __real_realloc(p, size);
}

static void responses_are_exact(void **state)
{
	static const struct {
		const char *name;
		struct http_response response;
		const char *want;
	} table[] = {
		{ "a body", { .status = 200, .body = "{\"a\":1}", .body_len = 7 },
		  "HTTP/1.1 200 " KEEP JSON "Content-Length: 7\r\n\r\n{\"a\":1}" },
		{ "no content", { .status = 204 }, "HTTP/1.1 204 " KEEP "\r\n" },
		{ "no content, whatever the body", { .status = 204, .body = "x", .body_len = 1 },
		  "HTTP/1.1 204 " KEEP "\r\n" },
		{ "an empty body has a length", { .status = 200, .body = "" },
		  "HTTP/1.1 200 " KEEP JSON "Content-Length: 0\r\n\r\n" },
		{ "no body at all has one too", { .status = 500 },
		  "HTTP/1.1 500 " KEEP JSON "Content-Length: 0\r\n\r\n" },
		{ "a body with NUL in it", { .status = 200, .body = "a\0b", .body_len = 3 },
		  "HTTP/1.1 200 " KEEP JSON "Content-Length: 3\r\n\r\na\0b" },
		{ "close", { .status = 204, .close = true },
		  "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: close\r\n\r\n" },
		{ "deprecated", { .status = 204, .deprecated = true },
		  "HTTP/1.1 204 " KEEP "Deprecation: true\r\n\r\n" },
		{ "all lines in their order",
		  { .status = 405, .deprecated = true, .allow = "GET, PUT", .custom_name = "X-TTL",
		    .custom_value = "60", .content_type = "text/plain", .body = "no", .body_len = 2,
		    .version_1_0 = true },
		  "HTTP/1.0 405 " KEEP "Allow: GET, PUT\r\nDeprecation: true\r\nX-TTL: 60\r\n"
		  "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		CLEANUP(buf_done) struct buf out = BUF_INIT;
		size_t head = (size_t)(strstr(table[i].want, "\r\n\r\n") + 4 - table[i].want);
		size_t body = table[i].response.status == 204 ? 0 : table[i].response.body_len;

		http_response_write(&out, &table[i].response);
		if (out.len != head + body || memcmp(out.data, table[i].want, out.len) != 0)
			fail_msg("%s: got %s", table[i].name, buf_str(&out));
	}
}

static void responses_are_appended(void **state)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	(void)state;
	http_response_continue(&out, 1);
	http_response_continue(&out, 0);
	http_response_write(&out, &(struct http_response){ .status = 204 });
	assert_string_equal(buf_str(&out),
			    "HTTP/1.1 100 " KEEP "\r\nHTTP/1.0 100 " KEEP "\r\n"
			    "HTTP/1.1 204 " KEEP "\r\n");
}

static void a_head_may_go_without_its_body(void **state)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	(void)state;
	http_response_write_head(&out, &(struct http_response){ .status = 200, .body_len = 70000 });
	assert_string_equal(buf_str(&out),
			    "HTTP/1.1 200 " KEEP JSON "Content-Length: 70000\r\n\r\n");
}

static void faults_are_json(void **state)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	(void)state;
	http_response_fault(&out, 400, false, false, "Empty PUT request.", 18);
	assert_string_equal(buf_str(&out), "HTTP/1.1 400 " KEEP JSON "Content-Length: 38\r\n\r\n"
			    "{\"fault_message\":\"Empty PUT request.\"}");
	buf_reset(&out);
	http_response_fault(&out, 413, true, true, "\"\\\n\x01\xc3\xa4", 6);
	assert_string_equal(buf_str(&out), "HTTP/1.1 413 \r\nServer: Firecracker API\r\n"
			    "Connection: close\r\nDeprecation: true\r\n" JSON
			    "Content-Length: 34\r\n\r\n"
			    "{\"fault_message\":\"\\\"\\\\\\n\\u0001\xc3\xa4\"}");
}

static void parse_errors_are_raw(void **state)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	(void)state;
	http_response_parse_error(&out, "a\"\n\\\0", 5);
	assert_int_equal(out.len, strlen("HTTP/1.1 400 " KEEP JSON "Content-Length: 70\r\n\r\n") + 70);
	assert_memory_equal(out.data, "HTTP/1.1 400 " KEEP JSON "Content-Length: 70\r\n\r\n"
			    "{ \"error\": \"a\"\n\\\0\nAll previous unanswered requests will be "
			    "dropped.\" }", out.len);
}

static void the_full_answer_has_the_length_it_says(void **state)
{
	static const char head[] = "HTTP/1.1 503\r\nServer: Firecracker API\r\n"
				   "Connection: close\r\nContent-Length: 40\r\n\r\n";
	const char *body = http_response_full + sizeof(head) - 1;

	(void)state;
	assert_int_equal(http_response_full_len, strlen(http_response_full));
	assert_memory_equal(http_response_full, head, sizeof(head) - 1);
	assert_int_equal(strlen(body), 40);
	assert_string_equal(body, "{ \"error\": \"Too many open connections\" }");
}

static void running_out_of_memory_breaks_the_buffer(void **state)
{
	(void)state;
	for (int what = 0; what < 3; what++) {
		CLEANUP(buf_done) struct buf out = BUF_INIT;

		/* Room enough for the answer, so that only the body's own buffer fails. */
		if (what > 0)
			buf_reserve(&out, 4096);
		no_memory = true;
		if (what == 0)
			http_response_write(&out, &(struct http_response){ .status = 204 });
		else if (what == 1)
			http_response_fault(&out, 400, false, false, "x", 1);
		else
			http_response_parse_error(&out, "x", 1);
		no_memory = false;
		assert_int_equal(buf_error(&out), -ENOMEM);
		assert_int_equal(out.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(responses_are_exact),
		cmocka_unit_test(responses_are_appended),
		cmocka_unit_test(a_head_may_go_without_its_body),
		cmocka_unit_test(faults_are_json),
		cmocka_unit_test(parse_errors_are_raw),
		cmocka_unit_test(the_full_answer_has_the_length_it_says),
		cmocka_unit_test(running_out_of_memory_breaks_the_buffer),
	};

	return cmocka_run_group_tests_name("http response", tests, NULL, NULL);
}
