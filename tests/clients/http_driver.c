/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request parser as a filter, for comparison with other parsers: reads messages from standard
 * input, each with its length in four bytes, little endian, in front; parses each with a new
 * parser; and prints a line of JSON for each:
 *
 *	{"requests":[{"method":"PUT","uri":"/a","minor":1,"close":false,"body":"6869","end":61}],
 *	 "event":"idle","error":""}
 *
 * Bodies are hexadecimal; "end" is where the request ends in the message. The event is "idle" after
 * a whole request, "need_more" within one, or "error".
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/request.h"

#define MAX_BODY_BYTES 51200

static void add_request(struct buf *out, const struct http_request *request, size_t end)
{
	buf_addf(out, "%s{\"method\":\"%s\",\"uri\":", out->data[out->len - 1] == '[' ? "" : ",",
		 http_method_name(request->method));
	buf_add_json_string(out, request->uri, request->uri_len);
	buf_addf(out, ",\"minor\":%d,\"close\":%s,\"body\":\"", request->minor,
		 request->close ? "true" : "false");
	for (size_t i = 0; i < request->body_len; i++)
		buf_addf(out, "%02x", (unsigned char)request->body[i]);
	buf_addf(out, "\",\"end\":%zu}", end);
}

static void add_result(struct buf *out, const struct http_parser *parser, enum http_event event)
{
	enum http_error_kind kind;
	const char *error = "";
	size_t len = 0;

	if (event == HTTP_ERROR)
		error = http_parser_error(parser, &len, &kind);
	buf_addf(out, "],\"event\":\"%s\",\"error\":", event == HTTP_ERROR ? "error" :
		 http_parser_is_idle(parser) ? "idle" : "need_more");
	buf_add_json_string(out, error, len);
	buf_adds(out, "}\n");
}

static void parse(const char *message, size_t len, struct buf *out)
{
	enum http_event event = HTTP_NEED_MORE;
	struct http_parser parser;
	size_t at = 0, used;

	http_parser_init(&parser, MAX_BODY_BYTES);
	buf_adds(out, "{\"requests\":[");
	while (at < len && event != HTTP_ERROR) {
		event = http_parser_feed(&parser, message + at, len - at, &used);
		at += used;
		if (event == HTTP_REQUEST)
			add_request(out, http_parser_request(&parser), at);
	}
	add_result(out, &parser, event);
	http_parser_done(&parser);
}

int main(void)
{
	unsigned char head[4];

	while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		size_t len = head[0] | head[1] << 8 | head[2] << 16 | (size_t)head[3] << 24;
		CLEANUP(buf_done) struct buf out = BUF_INIT;
		char *message = malloc(len > 0 ? len : 1);	/* its own size: over-reads show */

		if (message == NULL || fread(message, 1, len, stdin) != len)
			return 1;
		parse(message, len, &out);
		free(message);
		if (buf_error(&out) < 0 || fwrite(out.data, 1, out.len, stdout) != out.len)
			return 1;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
