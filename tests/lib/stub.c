/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/stub.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct squib_controller_options stub_options(void)
{
	struct squib_controller_options options = SQUIB_CONTROLLER_OPTIONS_INIT;

	options.instance_id = "anonymous";
	options.firecracker_version = "1.16.0";
	options.vmm_version = "1.16.0 (squib 0.0.0-test)";
	return options;
}

void stub_acknowledge(struct stub *stub, struct squib_action *action)
{
	(void)stub;
	squib_action_succeed(action);
}

static void *monitor(void *arg)
{
	struct stub *stub = arg;
	struct squib_action *action;

	while (squib_controller_next(stub->controller, -1, &action) == 1)
		stub->handle(stub, action);
	return NULL;
}

void stub_start(struct stub *stub, const struct squib_controller_options *options,
		void (*handle)(struct stub *stub, struct squib_action *action))
{
	struct squib_server_options server_options = SQUIB_SERVER_OPTIONS_INIT;

	snprintf(stub->directory, sizeof(stub->directory), "/tmp/squib-test-XXXXXX");
	assert_non_null(mkdtemp(stub->directory));
	snprintf(stub->socket_path, sizeof(stub->socket_path), "%s/api.sock", stub->directory);
	server_options.socket_path = stub->socket_path;
	assert_int_equal(squib_controller_new(options, &stub->controller), 0);
	assert_int_equal(squib_server_new(stub->controller, &server_options, &stub->server), 0);
	assert_int_equal(squib_server_start(stub->server), 0);
	stub->handle = handle;
	stub->has_monitor = handle != NULL;
	if (stub->has_monitor)
		assert_int_equal(pthread_create(&stub->monitor, NULL, monitor, stub), 0);
}

void stub_stop(struct stub *stub)
{
	squib_controller_close(stub->controller);
	if (stub->has_monitor)
		pthread_join(stub->monitor, NULL);
	squib_server_free(stub->server);
	squib_controller_free(stub->controller);
	unlink(stub->socket_path);
	rmdir(stub->directory);
}

int stub_connect(const struct stub *stub)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 20 };	/* a hang ends the test, nothing more */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", stub->socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

void stub_send(int fd, const char *bytes)
{
	size_t len = strlen(bytes), sent = 0;

	while (sent < len) {
		ssize_t n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);

		assert_true(n > 0);
		sent += (size_t)n;
	}
}

static void parse_answer(struct answer *answer)
{
	const char *end;

	assert_int_equal(sscanf(answer->bytes, "HTTP/1.1 %d", &answer->status), 1);
	end = strstr(answer->bytes, "\r\n\r\n");
	assert_non_null(end);
	answer->body = end + 4;
}

/* Whether @len bytes hold a whole answer. */
static bool is_whole(const char *bytes)
{
	const char *end = strstr(bytes, "\r\n\r\n");
	const char *length = strcasestr(bytes, "\r\ncontent-length:");

	if (end == NULL)
		return false;
	return strlen(end + 4) >= (length != NULL && length < end ?
				   strtoul(length + 17, NULL, 10) : 0);
}

static struct answer read_answer(int fd, bool to_end)
{
	struct answer answer = { .bytes = calloc(1, 1 << 17) };

	assert_non_null(answer.bytes);
	while (to_end || !is_whole(answer.bytes)) {
		ssize_t n = recv(fd, answer.bytes + answer.len, (1 << 17) - 1 - answer.len, 0);

		if (n < 0)
			fail_msg("no answer: %s", strerror(errno));
		if (n == 0)
			break;
		answer.len += (size_t)n;
		answer.bytes[answer.len] = '\0';
	}
	parse_answer(&answer);
	return answer;
}

struct answer stub_read_answer(int fd)
{
	return read_answer(fd, false);
}

struct answer stub_request(const struct stub *stub, const char *bytes)
{
	int fd = stub_connect(stub);
	struct answer answer;

	stub_send(fd, bytes);
	answer = read_answer(fd, true);
	close(fd);
	return answer;
}

struct answer stub_json(const struct stub *stub, const char *method, const char *path,
			const char *body)
{
	char request[4096];
	int len = snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: localhost\r\n"
			   "Content-Type: application/json\r\nContent-Length: %zu\r\n"
			   "Connection: close\r\n\r\n%s", method, path, strlen(body), body);

	assert_true(len < (int)sizeof(request));
	return stub_request(stub, request);
}

const char *answer_header(const struct answer *answer, const char *name)
{
	static _Thread_local char value[256];
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\r\n%s: ", name);
	at = strcasestr(answer->bytes, key);
	if (at == NULL || at >= answer->body)
		return NULL;
	at += strlen(key);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r\n"), at);
	return value;
}

void answer_done(struct answer *answer)
{
	free(answer->bytes);
	*answer = (struct answer){ 0 };
}
