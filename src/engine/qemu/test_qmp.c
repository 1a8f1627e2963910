/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "engine/qemu/qmp.h"

/* A copy that ends at an unmapped page, so that reading past the end is a fault */
static const char *at_edge(const char *text, size_t len)
{
	static char *page;
	long size = sysconf(_SC_PAGESIZE);

	if (page == NULL) {
		page = mmap(NULL, 2 * (size_t)size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(page + size, (size_t)size, PROT_NONE);
	}
	return memcpy(page + size - len, text, len);
}

static int parse(const char *text, struct qmp_message *message)
{
	return qmp_parse(at_edge(text, strlen(text)), strlen(text), message);
}

static const char shutdown_event[] =
	"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"SHUTDOWN\", "
	"\"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r";

static void messages_of_every_kind(void **state)
{
	struct qmp_message m;

	(void)state;
	assert_int_equal(parse("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22}}, "
			       "\"capabilities\": [\"oob\", 1, {}, []]}}", &m), 0);
	assert_int_equal(m.kind, QMP_GREETING);
	assert_int_equal(parse("{\"return\": {}, \"id\": 18446744073709551615}", &m), 0);
	assert_int_equal(m.kind, QMP_RETURN);
	assert_true(m.id == UINT64_MAX);
	assert_int_equal(parse("{\"id\": 7, \"error\": {\"class\": \"GenericError\", \"desc\": "
			       "\"a \\\"b\\\"\\n\\u0041\"}}", &m), 0);
	assert_int_equal(m.kind, QMP_ERROR);
	assert_int_equal(m.id, 7);
	assert_string_equal(m.text, "a \"b\" ?0041");
	assert_int_equal(parse(shutdown_event, &m), 0);
	assert_int_equal(m.kind, QMP_EVENT);
	assert_string_equal(m.name, "SHUTDOWN");
	assert_string_equal(m.reason, "guest-reset");
	assert_true(m.guest);
	assert_int_equal(parse("{\"event\": \"STOP\"}", &m), 0);
	assert_string_equal(m.name, "STOP");
	assert_false(m.guest);
	assert_int_equal(parse("{}", &m), 0);
	assert_int_equal(m.kind, QMP_OTHER);
	/* members of inner objects are not the message's */
	assert_int_equal(parse("{\"x\": {\"event\": \"SHUTDOWN\"}, \"y\": \"\\\"event\\\": 1\"}",
			       &m), 0);
	assert_int_equal(m.kind, QMP_OTHER);
	/* wrong types are not taken for what they are not */
	assert_int_equal(parse("{\"event\": 5, \"data\": [1]}", &m), 0);
	assert_string_equal(m.name, "");
	assert_int_equal(parse("{\"return\": 1, \"id\": \"5\"}", &m), 0);
	assert_int_equal(m.id, 0);
	assert_int_equal(parse("{\"return\": 1, \"id\": 99999999999999999999}", &m), 0);
	assert_int_equal(m.id, 0);
}

static void what_is_no_object_is_refused(void **state)
{
	static const char *const cases[] = {
		"", " ", "{", "}", "[]", "null", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":}",
		"{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{\"a\":1}x", "{\"a\":[}", "{\"a\":\"\\",
		"{\"a\":\"\\\"", "{a:1}", "{\"a\":\"\n\"}", "{\"a\" 1}", "{,}", "\xff\xfe",
	};
	struct qmp_message m;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (parse(cases[i], &m) != -EPROTO)
			fail_msg("taken: %s", cases[i]);
	for (size_t len = 0; len < sizeof(shutdown_event) - 2; len++)
		assert_int_equal(qmp_parse(at_edge(shutdown_event, len), len, &m), -EPROTO);
}

static void nesting_and_length_are_bounded(void **state)
{
	static char deep[QMP_LINE_MAX], name[2000];
	struct qmp_message m;

	(void)state;
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "{\"a\":", 5);
	assert_int_equal(qmp_parse(deep, sizeof(deep), &m), -EPROTO);
	for (size_t i = 5; i + 5 <= sizeof(deep); i += 5)
		memcpy(deep + i, "{\"a\":", 5);
	assert_int_equal(qmp_parse(deep, sizeof(deep), &m), -EPROTO);
	snprintf(name, sizeof(name), "{\"event\": \"%01500d\"}", 0);
	assert_int_equal(parse(name, &m), 0);
	assert_int_equal(strlen(m.name), QMP_NAME_MAX - 1);
}

static void random_damage_is_survived(void **state)
{
	struct qmp_message m;

	(void)state;
	srandom(1);
	for (int i = 0; i < 200000; i++) {
		char text[sizeof(shutdown_event)];

		memcpy(text, shutdown_event, sizeof(text));
		for (int n = 0; n < 3; n++)
			text[(size_t)random() % sizeof(text)] = (char)random();
		qmp_parse(at_edge(text, sizeof(text)), sizeof(text), &m);
	}
}

static void lines_arrive_in_pieces(void **state)
{
	static const char stream[] = "{\"QMP\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n";
	struct qmp *qmp = calloc(1, sizeof(*qmp));
	struct qmp_message m;
	int s[2], got = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	qmp->fd = s[0];
	for (size_t i = 0; i < sizeof(stream) - 1; i++) {
		assert_int_equal(qmp_receive(qmp), 0);
		assert_int_equal(write(s[1], stream + i, 1), 1);
		assert_int_equal(qmp_receive(qmp), 1);
		while (qmp_next(qmp, &m) == 1)
			got++;
	}
	assert_int_equal(got, 2);
	assert_int_equal(m.id, 1);
	assert_int_equal(qmp_send(qmp, 5, "cont", NULL), 0);
	close(s[1]);
	assert_int_equal(qmp_receive(qmp), -EPIPE);
	close(s[0]);
	free(qmp);
}

static void a_line_without_end_is_an_error(void **state)
{
	static char flood[QMP_LINE_MAX];
	struct qmp *qmp = calloc(1, sizeof(*qmp));
	struct qmp_message m;
	int s[2], r = 1;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	qmp->fd = s[0];
	memset(flood, 'x', sizeof(flood));
	for (int i = 0; i < 100 && r >= 0; i++) {
		send(s[1], flood, sizeof(flood), MSG_DONTWAIT);
		r = qmp_receive(qmp);
		assert_int_equal(qmp_next(qmp, &m), 0);
	}
	assert_int_equal(r, -EPROTO);
	for (int i = 0; i < 5000; i++)
		r = qmp_send(qmp, 1, "query-status", NULL);
	assert_int_equal(r, -EAGAIN);	/* a QEMU that reads nothing does not block us */
	close(s[0]);
	close(s[1]);
	free(qmp);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_every_kind),
		cmocka_unit_test(what_is_no_object_is_refused),
		cmocka_unit_test(nesting_and_length_are_bounded),
		cmocka_unit_test(random_damage_is_survived),
		cmocka_unit_test(lines_arrive_in_pieces),
		cmocka_unit_test(a_line_without_end_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
