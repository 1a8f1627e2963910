/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where upstream's rules are odd, clients may have seen them, so they are kept: a head ends at the
 * first empty line, be it "\n\n", but only one with CRLF throughout is a good one; request lines
 * shorter than the shortest good one, and headers that are not UTF-8, are "Invalid request."
 */
#include "mmds/answer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "http/request.h"
#include "http/response.h"
#include "http/text.h"
#include "mmds/mmds_internal.h"

#define REQUEST_LINE_MIN strlen("GET / HTTP/1.1")

#define TEXT_PLAIN	 "text/plain"
#define APPLICATION_JSON "application/json"

/* A header that was sent: name and value as they stand there. */
struct field {
	struct text name;	/* data NULL: it was not sent */
	struct text value;
};

/*
 * What is known of a request while it is answered. Of headers with the same meaning the last
 * counts; upstream takes any.
 */
struct exchange {
	struct http_parser parser;
	struct mmds *mmds;
	uint64_t now_ns;
	struct mmds_answer *answer;
	bool wants_json;
	struct field token;
	struct field ttl;
	struct field forwarded;
};

/* Answers */

static void answer_text(struct exchange *exchange, int status, const char *content_type,
			struct text body)
{
	http_response_write(&exchange->answer->head, &(struct http_response){
		.status = status,
		.version_1_0 = exchange->parser.request.minor == 0,
		.content_type = content_type,
		.body = body.data, .body_len = body.len,
	});
}

static void answer_plain(struct exchange *exchange, int status, const char *text)
{
	answer_text(exchange, status, TEXT_PLAIN, (struct text){ text, strlen(text) });
}

/* @body was put together, and is emptied. */
static void answer_built(struct exchange *exchange, int status, struct buf *body)
{
	if (buf_error(body) < 0)
		exchange->answer->head.broken = true;
	else
		answer_text(exchange, status, TEXT_PLAIN, (struct text){ body->data, body->len });
	buf_done(body);
}

static void answer_not_found(struct exchange *exchange)
{
	const struct http_request *request = http_parser_request(&exchange->parser);
	struct buf body = BUF_INIT;

	buf_adds(&body, "Resource not found: ");
	buf_add(&body, request->uri, request->uri_len);
	buf_adds(&body, ".");
	answer_built(exchange, 404, &body);
}

/* Requests that are none: with the version that servers have by default, and not plain text. */
static void answer_bad(struct exchange *exchange, int status, struct text text)
{
	exchange->parser.request.minor = 1;
	answer_text(exchange, status, APPLICATION_JSON, text);
}

static void answer_invalid(struct exchange *exchange)
{
	answer_bad(exchange, 400, TEXT("Invalid request."));
}

static void answer_piece(struct exchange *exchange, const char *body, size_t len)
{
	struct mmds_answer *answer = exchange->answer;

	http_response_write_head(&answer->head, &(struct http_response){
		.status = 200,
		.version_1_0 = exchange->parser.request.minor == 0,
		.content_type = exchange->wants_json ? APPLICATION_JSON : TEXT_PLAIN,
		.body_len = len,
	});
	answer->document = mmds_document_ref(exchange->mmds->document);
	answer->body = body;
	answer->body_len = len;
}

/* GET */

/* Slashes side by side count as one. @path is as long as @uri. Return: its length. */
static size_t collapse_slashes(const char *uri, size_t len, char *path)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		if (uri[i] != '/' || n == 0 || path[n - 1] != '/')
			path[n++] = uri[i];
	return n;
}

static void answer_value(struct exchange *exchange, const struct mmds_value *value)
{
	struct mmds *mmds = exchange->mmds;
	const char *body;
	size_t len;

	if (exchange->wants_json && !mmds->imds_compat)
		body = mmds_document_json(mmds->document, value, &len);
	else
		body = mmds_document_imds(mmds->document, value, &len);
	if (body != NULL)
		answer_piece(exchange, body, len);
	else
		answer_plain(exchange, 501,
			     "Cannot retrieve value. The value has an unsupported type.");
}

/* Whether the guest may read; if not, it is answered. */
static bool check_token(struct exchange *exchange)
{
	struct mmds *mmds = exchange->mmds;
	const struct text token = exchange->token.value;
	const bool must = mmds->version == SQUIB_MMDS_V2;

	if (exchange->token.name.data == NULL) {
		metrics_inc(&mmds->counters->rx_no_token);
		if (must)
			answer_plain(exchange, 401,
				     "No MMDS token provided. Use `X-metadata-token` or "
				     "`X-aws-ec2-metadata-token` header to specify the session "
				     "token.");
		return !must;
	}
	if (token_is_valid(&mmds->tokens, token.data, token.len, exchange->now_ns))
		return true;
	metrics_inc(&mmds->counters->rx_invalid_token);
	if (must)
		answer_plain(exchange, 401, "MMDS token not valid.");
	return !must;
}

static void answer_get(struct exchange *exchange, const char *path, size_t len)
{
	const struct mmds_value *value;

	if (!check_token(exchange))
		return;
	value = mmds_document_find(exchange->mmds->document, path, len);
	if (value != NULL)
		answer_value(exchange, value);
	else
		answer_not_found(exchange);
}

/* PUT */

static void answer_bad_ttl(struct exchange *exchange)
{
	const struct field *ttl = &exchange->ttl;
	struct buf body = BUF_INIT;

	buf_adds(&body, "Invalid header. Reason: Invalid value. Key:");
	buf_add(&body, ttl->name.data, ttl->name.len);
	buf_adds(&body, "; Value:");
	buf_add(&body, ttl->value.data, ttl->value.len);
	answer_built(exchange, 400, &body);
}

static void answer_token(struct exchange *exchange, uint32_t ttl_seconds)
{
	struct mmds *mmds = exchange->mmds;
	const struct text name = exchange->ttl.name;
	char token[TOKEN_LEN], echo_name[64], echo_value[16];
	int r;

	assert(name.len < sizeof(echo_name));	/* one of the two we know */
	r = token_issue(&mmds->tokens, ttl_seconds, exchange->now_ns, token);
	if (r < 0) {
		answer_plain(exchange, 400, "Failed to encrypt token.");
		return;
	}
	if (r > 0)
		log_limited_warn(mmds->log, "The limit of tokens generated under current MMDS token "
				 "authority has been reached. MMDS's token authority entity has been "
				 "reseeded and all previously created tokens are now invalid.");
	memcpy(echo_name, name.data, name.len);
	echo_name[name.len] = '\0';
	snprintf(echo_value, sizeof(echo_value), "%" PRIu32, ttl_seconds);
	http_response_write(&exchange->answer->head, &(struct http_response){
		.status = 200,
		.version_1_0 = exchange->parser.request.minor == 0,
		.custom_name = echo_name, .custom_value = echo_value,
		.content_type = TEXT_PLAIN,
		.body = token, .body_len = sizeof(token),
	});
}

static void answer_token_request(struct exchange *exchange)
{
	uint32_t ttl_seconds;
	struct buf body = BUF_INIT;

	if (exchange->ttl.name.data == NULL) {
		answer_plain(exchange, 400,
			     "Token time to live value not found. Use `X-metadata-token-ttl-seconds` "
			     "or `X-aws-ec2-metadata-token-ttl-seconds` header to specify the "
			     "token's lifetime.");
	} else if (!text_parse_u32(exchange->ttl.value, &ttl_seconds)) {
		answer_bad_ttl(exchange);
	} else if (ttl_seconds < TOKEN_TTL_MIN_SECONDS || ttl_seconds > TOKEN_TTL_MAX_SECONDS) {
		buf_addf(&body, "Invalid time to live value provided for token: %" PRIu32
			 ". Please provide a value between %u and %u.",
			 ttl_seconds, TOKEN_TTL_MIN_SECONDS, TOKEN_TTL_MAX_SECONDS);
		answer_built(exchange, 400, &body);
	} else {
		answer_token(exchange, ttl_seconds);
	}
}

static void answer_put(struct exchange *exchange, const char *path, size_t len)
{
	const struct field *forwarded = &exchange->forwarded;
	struct buf body = BUF_INIT;

	if (forwarded->name.data != NULL) {
		buf_adds(&body, "Invalid header. Reason: Unsupported header name. Key: ");
		buf_add(&body, forwarded->name.data, forwarded->name.len);
		answer_built(exchange, 400, &body);
	} else if (!text_is((struct text){ path, len }, TEXT("/latest/api/token"))) {
		answer_not_found(exchange);
	} else {
		answer_token_request(exchange);
	}
}

/* Requests */

static void answer_request(struct exchange *exchange)
{
	const struct http_request *request = http_parser_request(&exchange->parser);
	char path[MMDS_REQUEST_BYTES_MAX];
	size_t len;

	assert(request->uri_len <= sizeof(path));
	len = collapse_slashes(request->uri, request->uri_len, path);
	if (len == 0)
		answer_plain(exchange, 400, "Invalid URI.");
	else if (request->method == HTTP_GET)
		answer_get(exchange, path, len);
	else if (request->method == HTTP_PUT)
		answer_put(exchange, path, len);
	else
		http_response_write(&exchange->answer->head, &(struct http_response){
			.status = 405,
			.version_1_0 = request->minor == 0,
			.allow = "GET, PUT",
			.content_type = TEXT_PLAIN,
			.body = "Not allowed HTTP method.",
			.body_len = strlen("Not allowed HTTP method."),
		});
}

static void note_header(struct http_parser *parser, const char *name_data, size_t name_len,
			const char *value_data, size_t value_len)
{
	struct exchange *exchange = container_of(parser, struct exchange, parser);
	const struct text name = { name_data, name_len }, value = { value_data, value_len };
	const struct field field = { name, value };

	if (text_is_word(name, TEXT("accept"))) {
		if (text_is(value, TEXT(APPLICATION_JSON)))
			exchange->wants_json = true;
		else if (text_is(value, TEXT(TEXT_PLAIN)))
			exchange->wants_json = false;
	} else if (text_is_word(name, TEXT("x-metadata-token")) ||
		   text_is_word(name, TEXT("x-aws-ec2-metadata-token"))) {
		exchange->token = field;
	} else if (text_is_word(name, TEXT("x-metadata-token-ttl-seconds")) ||
		   text_is_word(name, TEXT("x-aws-ec2-metadata-token-ttl-seconds"))) {
		exchange->ttl = field;
	} else if (text_is_word(name, TEXT("x-forwarded-for"))) {
		exchange->forwarded = field;
	}
}

/* Length of the head, its empty line included; 0: that did not come yet. */
static size_t find_head_end(const char *data, size_t len)
{
	const char *lf = data, *end = data + len;

	while ((lf = memchr(lf, '\n', (size_t)(end - lf))) != NULL) {
		lf++;
		if (end - lf >= 1 && lf[0] == '\n')
			return (size_t)(lf + 1 - data);
		if (end - lf >= 2 && lf[0] == '\r' && lf[1] == '\n')
			return (size_t)(lf + 2 - data);
	}
	return 0;
}

static struct text first_line(struct text head)
{
	const char *end = memmem(head.data, head.len, "\r\n", 2);

	return (struct text){ head.data, end != NULL ? (size_t)(end - head.data) : 0 };
}

static void answer_error(struct exchange *exchange, struct text head)
{
	const struct text line = first_line(head);
	const struct text headers = { head.data + line.len, head.len - line.len };
	struct text text;
	enum http_error_part part = http_parser_error_part(&exchange->parser, &text.data, &text.len);
	size_t at, bytes;

	if (line.len < REQUEST_LINE_MIN)
		answer_invalid(exchange);
	else if (part == HTTP_PART_METHOD || part == HTTP_PART_VERSION)
		answer_bad(exchange, 501, text);
	else if (part == HTTP_PART_HEADER && !utf8_is_valid(headers, &at, &bytes))
		answer_invalid(exchange);
	else
		answer_bad(exchange, 400, text);
}

/* The head was taken without fault, but it may not be one to the end, or announce a wrong body. */
static bool check_head(struct exchange *exchange, struct text head)
{
	const struct http_parser *parser = &exchange->parser;
	const bool has_body = parser->content_length > 0 || parser->chunked;

	if (parser->state <= HTTP_STATE_HEADERS || first_line(head).len < REQUEST_LINE_MIN)
		return false;
	return !has_body || (parser->request.method != HTTP_GET &&
			     parser->request.method != HTTP_DELETE);
}

/*
 * What the parser refused. Return as mmds_answer_request(), never 0.
 */
static int answer_refused(struct exchange *exchange, struct text head, uint32_t *ret_skip)
{
	const struct http_parser *parser = &exchange->parser;
	enum http_error_kind kind;
	size_t len;

	http_parser_error(parser, &len, &kind);
	if (kind == HTTP_ERROR_NO_MEMORY)
		return -ENOMEM;
	if (kind == HTTP_ERROR_TOO_LARGE) {
		*ret_skip = parser->content_length;
		answer_invalid(exchange);
	} else {
		answer_error(exchange, head);
	}
	return 1;
}

/* Errors in a head are told when all of it is there, and their requests end with it. */
static int take_head(struct exchange *exchange, struct text head, uint32_t *ret_skip)
{
	const struct http_parser *parser = &exchange->parser;
	enum http_event event;
	size_t used;

	event = http_parser_feed(&exchange->parser, head.data, head.len, &used);
	if (event == HTTP_ERROR)
		return answer_refused(exchange, head, ret_skip);
	if (!check_head(exchange, head)) {
		*ret_skip = parser->content_length;
		answer_invalid(exchange);
		return 1;
	}
	if (event == HTTP_REQUEST) {
		answer_request(exchange);
		return 1;
	}
	return 0;
}

static int take_body(struct exchange *exchange, struct text head, struct text rest, bool at_end,
		     size_t *ret_used, uint32_t *ret_skip)
{
	enum http_event event;

	event = http_parser_feed(&exchange->parser, rest.data, rest.len, ret_used);
	if (event == HTTP_ERROR)
		return answer_refused(exchange, head, ret_skip);
	if (event == HTTP_REQUEST)
		answer_request(exchange);
	else if (at_end)
		answer_invalid(exchange);
	else
		return 0;
	return 1;
}

int mmds_answer_request(struct mmds *mmds, const char *data, size_t len, bool at_end,
			uint64_t now_ns, struct mmds_answer *answer, size_t *ret_used,
			uint32_t *ret_skip)
{
	struct exchange exchange = { .mmds = mmds, .now_ns = now_ns, .answer = answer };
	const struct text head = { data, find_head_end(data, len) };
	size_t body_used = 0;
	int r;

	*ret_skip = 0;
	if (head.len == 0)
		return 0;
	http_parser_init(&exchange.parser, MMDS_REQUEST_BYTES_MAX);
	exchange.parser.header = note_header;
	exchange.parser.held = true;
	r = take_head(&exchange, head, ret_skip);
	if (r == 0)
		r = take_body(&exchange, head, (struct text){ data + head.len, len - head.len },
			      at_end, &body_used, ret_skip);
	*ret_used = head.len + body_used;
	http_parser_done(&exchange.parser);
	if (r > 0 && buf_error(&answer->head) < 0)
		r = -ENOMEM;
	if (r < 0)
		mmds_answer_done(answer);
	return r;
}

bool mmds_answer_is_void(const struct mmds_answer *answer)
{
	return answer->document != NULL && mmds_document_is_revoked(answer->document);
}

size_t mmds_answer_len(const struct mmds_answer *answer)
{
	return answer->head.len + answer->body_len;
}

void mmds_answer_copy(const struct mmds_answer *answer, size_t at, void *to, size_t len)
{
	const size_t head_len = answer->head.len;
	size_t n = 0;

	if (at < head_len) {
		n = head_len - at < len ? head_len - at : len;
		memcpy(to, answer->head.data + at, n);
	}
	if (n < len)
		memcpy((char *)to + n, answer->body + (at + n - head_len), len - n);
}

void mmds_answer_done(struct mmds_answer *answer)
{
	buf_done(&answer->head);
	mmds_document_unref(answer->document);
	*answer = (struct mmds_answer){ .head = BUF_INIT };
}
