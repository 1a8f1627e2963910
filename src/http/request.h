/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request parser for the HTTP/1.1 subset of contract section 1.3: bytes in, requests out, as they
 * arrive. No sockets, no clock. The same parser serves the API socket and, with other limits, the guest's
 * metadata requests.
 */
#ifndef SQUIB_HTTP_REQUEST_H
#define SQUIB_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HTTP_LINE_MAX 1024	/* request line or header line, with its CRLF */

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };

enum http_event {
	HTTP_NEED_MORE,		/* all input consumed, no request complete */
	HTTP_CONTINUE,		/* head read, "Expect: 100-continue": send 100, then feed on */
	HTTP_REQUEST,		/* a request is complete: http_parser_request() */
	HTTP_ERROR,		/* http_parser_error(); nothing more can be fed */
};

enum http_error_kind {
	HTTP_ERROR_PARSE,	/* 400 with the text of contract 1.4 */
	HTTP_ERROR_TOO_LARGE,	/* body over the limit; same, see contract 12.1 */
	HTTP_ERROR_NO_MEMORY,
};

struct http_request {
	enum http_method method;
	uint8_t minor;			/* HTTP/1.minor: 0 or 1 */
	const char *uri;		/* path part as contract 1.3 "URI"; not NUL-terminated */
	size_t uri_len;
	const char *body;		/* decoded when chunked */
	size_t body_len;
	bool close;			/* "Connection: close" */
};

struct http_parser {		/* embedded in a connection; fields are the parser's own */
	uint64_t max_body_bytes;
	/* ... (owner of this file: fill in; a GET must need no allocation) */
};

void http_parser_init(struct http_parser *parser, uint64_t max_body_bytes);
void http_parser_done(struct http_parser *parser);

/**
 * http_parser_feed() - parse until the next event or the end of the input
 * @data, @len:		input; may be cut anywhere
 * @ret_consumed:	how many bytes were used; the rest is to be fed again
 *
 * After HTTP_REQUEST the request is valid until the next feed, which begins a new one. Buffers are reused from one
 * request to the next; a body buffer larger than 64 KiB is given back.
 */
enum http_event http_parser_feed(struct http_parser *parser, const char *data, size_t len,
				 size_t *ret_consumed);

const struct http_request *http_parser_request(const struct http_parser *parser);

/** http_parser_error() - the ‹msg› of contract 1.4 (any bytes; not NUL-terminated) */
const char *http_parser_error(const struct http_parser *parser, size_t *ret_len,
			      enum http_error_kind *ret_kind);

#endif
