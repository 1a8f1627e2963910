/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Response bytes as contract section 1.2 wants them, in that order of lines. All functions append
 * to @out, and when memory runs out leave it broken (base/buf.h).
 */
#ifndef SQUIB_HTTP_RESPONSE_H
#define SQUIB_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct http_response {
	int status;			/* three digits */
	bool version_1_0;		/* "HTTP/1.0": for the metadata server only */
	bool close;			/* "Connection: close" instead of keep-alive */
	bool deprecated;		/* "Deprecation: true" */
	const char *allow;		/* "Allow: ..." (405 only) or NULL */
	const char *custom_name;	/* one further header (MMDS token TTL) or NULL */
	const char *custom_value;
	const char *content_type;	/* NULL: application/json */
	const char *body;		/* not sent with 100 and 204 */
	size_t body_len;
};

/** http_response_write() - append the whole response; header texts are the caller's to check */
void http_response_write(struct buf *out, const struct http_response *response);

/** http_response_write_head() - append all but the body, of which @response tells the length */
void http_response_write_head(struct buf *out, const struct http_response *response);

/** http_response_fault() - append a response with {"fault_message":"..."}, JSON-escaped */
void http_response_fault(struct buf *out, int status, bool close, bool deprecated,
			 const char *fault, size_t len);

/** http_response_parse_error() - the 400 of contract 1.4 with its raw newline */
void http_response_parse_error(struct buf *out, const char *message, size_t len);

/** http_response_continue() - "HTTP/1.‹minor› 100 ..." (contract 1.3 Expect) */
void http_response_continue(struct buf *out, int minor);

/* The bytes the eleventh client gets (contract 1.4, "Full"). */
extern const char http_response_full[];
extern const size_t http_response_full_len;

#endif
