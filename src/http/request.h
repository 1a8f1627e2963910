/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request parser for the HTTP/1.1 subset of contract section 1.3: bytes in, requests out, as they
 * arrive. No sockets, no clock. The same parser serves the API socket and, with other limits, the
 * guest's metadata requests.
 *
 *	for (;;) {
 *		event = http_parser_feed(&parser, data, len, &used);
 *		data += used, len -= used;
 *		NEED_MORE: wait for input. CONTINUE: send 100, go on. REQUEST: answer it, go on.
 *		ERROR: answer with the text, then stop reading; the parser takes nothing more.
 *	}
 */
#ifndef SQUIB_HTTP_REQUEST_H
#define SQUIB_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HTTP_LINE_MAX		1024	    /* request line or header line, with its CRLF */
#define HTTP_BODY_KEEP_MAX	(64 * 1024) /* a larger body buffer is not kept for the next */
#define HTTP_CHUNK_EXTRA_MAX	(16 * 1024) /* chunk extensions and trailers of one request */

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };

/** http_method_name() - "GET", "PUT", "PATCH" or "DELETE" */
const char *http_method_name(enum http_method method);

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

/* What of the request was wrong. The metadata server's answers differ by it (contract 9). */
enum http_error_part {
	HTTP_PART_REQUEST,	/* the request as a whole; its body too */
	HTTP_PART_METHOD,
	HTTP_PART_VERSION,
	HTTP_PART_URI,
	HTTP_PART_HEADER,
};

struct http_request {
	enum http_method method;
	uint8_t minor;			/* HTTP/1.minor: 0 or 1 */
	const char *uri;		/* path part as contract 1.3 "URI"; not NUL-terminated */
	size_t uri_len;			/* may be 0: routes as "/" */
	const char *body;		/* decoded when chunked; never NULL */
	size_t body_len;
	bool close;			/* "Connection: close" */
};

/* Where the parser stands: what the next byte belongs to. */
enum http_parser_state {
	HTTP_STATE_REQUEST_LINE,
	HTTP_STATE_HEADERS,
	HTTP_STATE_BODY,		/* by Content-Length; body_left counts down */
	HTTP_STATE_CHUNK_SIZE,		/* a chunk's first line */
	HTTP_STATE_CHUNK_DATA,		/* body_left counts down */
	HTTP_STATE_CHUNK_CR,		/* the CR after a chunk's data */
	HTTP_STATE_CHUNK_LF,
	HTTP_STATE_TRAILERS,		/* the lines after the last chunk */
	HTTP_STATE_DONE,		/* request handed out; the next feed begins another */
	HTTP_STATE_FAILED,		/* for good */
};

/*
 * Embedded in a connection; fields are the parser's own, but for @header and @held, which may be
 * set after http_parser_init(). The first is called for each accepted header line, name and value
 * without the white space around them, valid during the call only. Trailers are not reported.
 *
 * With @held the caller holds whole requests: what is fed stays until the request was dealt with,
 * and is not cut within a line. Then lines may have any length, and URI, names and values are
 * pieces of what was fed.
 */
struct http_parser {
	uint64_t max_body_bytes;
	void (*header)(struct http_parser *parser, const char *name, size_t name_len,
		       const char *value, size_t value_len);
	bool held;

	enum http_parser_state state;
	struct http_request request;

	bool has_length;		/* a Content-Length was seen, of whatever value */
	bool chunked;
	bool expect;
	uint32_t content_length;
	uint64_t body_left;		/* of the body, or of the chunk */
	size_t chunk_extra;		/* bytes of extensions and trailers so far */
	struct buf body;

	enum http_error_kind error_kind;
	enum http_error_part error_part;
	struct buf error;

	size_t line_len;
	char line[HTTP_LINE_MAX];	/* the beginning of a line that came in pieces */
	char uri[HTTP_LINE_MAX];
};

/** http_parser_init() - bodies longer than @max_body_bytes are refused; equal is allowed */
void http_parser_init(struct http_parser *parser, uint64_t max_body_bytes);
void http_parser_done(struct http_parser *parser);

/**
 * http_parser_feed() - parse until the next event or the end of the input
 * @data, @len:		input; may be cut anywhere. Not needed after the call
 * @ret_consumed:	how many bytes were used; the rest is to be fed again
 *
 * After HTTP_REQUEST the request is valid until the next feed, which begins a new one. Buffers
 * are reused from one request to the next; a body buffer larger than HTTP_BODY_KEEP_MAX is given
 * back. A body's memory grows with what arrives, not with what is announced, and a request
 * without a body allocates nothing.
 */
enum http_event http_parser_feed(struct http_parser *parser, const char *data, size_t len,
				 size_t *ret_consumed);

/** http_parser_request() - after HTTP_REQUEST; after HTTP_CONTINUE too, then without its body */
const struct http_request *http_parser_request(const struct http_parser *parser);

/**
 * http_parser_is_idle() - no byte of a further request has arrived
 *
 * True before the first request and between two; tells a clean end of the stream from a cut one.
 */
bool http_parser_is_idle(const struct http_parser *parser);

/**
 * http_parser_release() - the last request was dealt with: a large body's memory is given back
 * now, not at the next feed, which may be long in coming. The request is not valid any more.
 */
void http_parser_release(struct http_parser *parser);

/** http_parser_error() - the ‹msg› of contract 1.4 (any bytes; not NUL-terminated) */
const char *http_parser_error(const struct http_parser *parser, size_t *ret_len,
			      enum http_error_kind *ret_kind);

/** http_parser_error_part() - what was wrong, and the text without its class in front
 *
 * That is "Unsupported HTTP method." where http_parser_error() says "Invalid HTTP Method:
 * Unsupported HTTP method.", as the metadata server words it.
 */
enum http_error_part http_parser_error_part(const struct http_parser *parser,
					    const char **ret_text, size_t *ret_len);

#endif
