/* SPDX-License-Identifier: Apache-2.0 */
#include "http/response.h"

#include <assert.h>
#include <string.h>

/* No space after the status and no Content-Type: upstream sends this one as a constant. */
const char http_response_full[] =
	"HTTP/1.1 503\r\n"
	"Server: Firecracker API\r\n"
	"Connection: close\r\n"
	"Content-Length: 40\r\n"
	"\r\n"
	"{ \"error\": \"Too many open connections\" }";
const size_t http_response_full_len = sizeof(http_response_full) - 1;

/* With a literal the length is known to the compiler; this is the path of every answer. */
#define ADD(out, literal) buf_add((out), "" literal "", sizeof(literal) - 1)

static void add_header(struct buf *out, const char *name, const char *value)
{
	buf_adds(out, name);
	ADD(out, ": ");
	buf_adds(out, value);
	ADD(out, "\r\n");
}

static void add_number(struct buf *out, size_t number)
{
	char digits[3 * sizeof(number)];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	buf_add(out, digits + at, sizeof(digits) - at);
}

/* RFC 9110 8.6: such answers carry neither a body nor its length. */
static bool has_body(int status)
{
	return status != 100 && status != 204;
}

static void add_body_headers(struct buf *out, const struct http_response *response)
{
	if (response->content_type == NULL)
		ADD(out, "Content-Type: application/json\r\n");
	else
		add_header(out, "Content-Type", response->content_type);
	ADD(out, "Content-Length: ");
	add_number(out, response->body_len);
	ADD(out, "\r\n");
}

void http_response_write_head(struct buf *out, const struct http_response *response)
{
	assert(response->status >= 100 && response->status <= 999);
	if (response->version_1_0)
		ADD(out, "HTTP/1.0 ");
	else
		ADD(out, "HTTP/1.1 ");
	add_number(out, (size_t)response->status);
	ADD(out, " \r\nServer: Firecracker API\r\n");
	if (response->close)
		ADD(out, "Connection: close\r\n");
	else
		ADD(out, "Connection: keep-alive\r\n");
	if (response->allow != NULL)
		add_header(out, "Allow", response->allow);
	if (response->deprecated)
		ADD(out, "Deprecation: true\r\n");
	if (response->custom_name != NULL)
		add_header(out, response->custom_name, response->custom_value);
	if (has_body(response->status))
		add_body_headers(out, response);
	ADD(out, "\r\n");
}

void http_response_write(struct buf *out, const struct http_response *response)
{
	buf_reserve(out, 192 + response->body_len);	/* a usual answer grows it only once */
	http_response_write_head(out, response);
	if (has_body(response->status))
		buf_add(out, response->body, response->body_len);
}

/* The body is written elsewhere first, for its length stands in front of it. */
static void write_with_body(struct buf *out, struct http_response *response,
			    const struct buf *body)
{
	if (buf_error(body) < 0) {
		out->broken = true;
		return;
	}
	response->body = body->data;
	response->body_len = body->len;
	http_response_write(out, response);
}

void http_response_fault(struct buf *out, int status, bool close, bool deprecated,
			 const char *fault, size_t len)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;

	ADD(&body, "{\"fault_message\":");
	buf_add_json_string(&body, fault, len);
	ADD(&body, "}");
	write_with_body(out, &(struct http_response){
		.status = status, .close = close, .deprecated = deprecated }, &body);
}

void http_response_parse_error(struct buf *out, const char *message, size_t len)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;

	ADD(&body, "{ \"error\": \"");
	buf_add(&body, message, len);
	ADD(&body, "\nAll previous unanswered requests will be dropped.\" }");
	write_with_body(out, &(struct http_response){ .status = 400 }, &body);
}

void http_response_continue(struct buf *out, int minor)
{
	http_response_write(out, &(struct http_response){
		.status = 100, .version_1_0 = minor == 0 });
}
