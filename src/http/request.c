/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: a request is a few lines and then perhaps a body. A line that is whole in the
 * caller's data is parsed where it stands; one that is cut waits in parser->line for its end. A
 * step takes one line or one piece of body from the input and returns HTTP_NEED_MORE to go on, or
 * the event for the caller. No step looks at bytes beyond the line or piece it takes, and none
 * runs without input, so that cuts cannot change what comes out.
 *
 * What is accepted, and the words for what is not, follow upstream (contract 1.3 and 1.4) also
 * where HTTP would have it otherwise: a bare LF ends no line, spaces may stand before a header's
 * colon, "+5" is a length. Chunked bodies are the exception: upstream does not read them, we do,
 * and strictly, since whoever frames a body differently from us could smuggle a request in it.
 */
#include "http/request.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "http/text.h"

struct input {
	const char *at;
	const char *end;
};

static const char *const part_prefix[] = {
	[HTTP_PART_REQUEST] = "",
	[HTTP_PART_METHOD]  = "Invalid HTTP Method: ",
	[HTTP_PART_VERSION] = "Invalid HTTP Version: ",
	[HTTP_PART_URI]     = "Invalid URI: ",
	[HTTP_PART_HEADER]  = "Invalid header. Reason: ",
};
static_assert(ARRAY_SIZE(part_prefix) == HTTP_PART_HEADER + 1, "a prefix for each part");

const char *http_method_name(enum http_method method)
{
	static const char *const names[] = {
		[HTTP_GET] = "GET", [HTTP_PUT] = "PUT",
		[HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
	};

	return names[method];
}

/* Failures. Should the text run out of memory, http_parser_error() turns it into that failure. */

static struct buf *fail_begin(struct http_parser *parser, enum http_error_part part)
{
	parser->state = HTTP_STATE_FAILED;
	parser->error_kind = HTTP_ERROR_PARSE;
	parser->error_part = part;
	buf_reset(&parser->error);
	buf_adds(&parser->error, part_prefix[part]);
	return &parser->error;
}

static enum http_event fail(struct http_parser *parser, enum http_error_part part,
			    const char *text)
{
	buf_adds(fail_begin(parser, part), text);
	return HTTP_ERROR;
}

static enum http_event fail_value(struct http_parser *parser, struct text name, struct text value)
{
	struct buf *text = fail_begin(parser, HTTP_PART_HEADER);

	buf_adds(text, "Invalid value. Key:");
	buf_add(text, name.data, name.len);
	buf_adds(text, "; Value:");
	buf_add(text, value.data, value.len);
	return HTTP_ERROR;
}

static enum http_event fail_utf8(struct http_parser *parser, size_t at, size_t bytes)
{
	struct buf *text = fail_begin(parser, HTTP_PART_HEADER);

	buf_adds(text, "Header contains invalid characters. Key: ");
	if (bytes > 0)
		buf_addf(text, "invalid utf-8 sequence of %zu bytes from index %zu", bytes, at);
	else
		buf_addf(text, "incomplete utf-8 byte sequence from index %zu", at);
	return HTTP_ERROR;
}

/* One text for every way of getting chunks wrong (contract 1.3). */
static enum http_event fail_chunked(struct http_parser *parser)
{
	return fail(parser, HTTP_PART_HEADER,
		    "Unsupported value. Key:Transfer-Encoding; Value: chunked");
}

static enum http_event fail_too_large(struct http_parser *parser, uint64_t size)
{
	struct buf *text = fail_begin(parser, HTTP_PART_REQUEST);

	parser->error_kind = HTTP_ERROR_TOO_LARGE;
	buf_addf(text, "Request payload with size %" PRIu64 " is larger than the limit of %" PRIu64
		 " allowed by server.", size, parser->max_body_bytes);
	return HTTP_ERROR;
}

static enum http_event fail_line_too_long(struct http_parser *parser)
{
	struct buf *text;

	switch (parser->state) {
	case HTTP_STATE_REQUEST_LINE:
		return fail(parser, HTTP_PART_REQUEST, "Invalid request.");
	case HTTP_STATE_HEADERS:
		text = fail_begin(parser, HTTP_PART_HEADER);
		buf_adds(text, "Invalid content length. Header: ");
		utf8_add_lossy(text, (struct text){ parser->line, sizeof(parser->line) });
		return HTTP_ERROR;
	default:
		return fail_chunked(parser);
	}
}

static enum http_event fail_no_memory(struct http_parser *parser)
{
	fail_begin(parser, HTTP_PART_REQUEST);
	parser->error_kind = HTTP_ERROR_NO_MEMORY;
	return HTTP_ERROR;
}

/* The request line */

static bool parse_method(struct text text, enum http_method *ret_method)
{
	for (enum http_method method = HTTP_GET; method <= HTTP_DELETE; method++) {
		const char *name = http_method_name(method);

		if (text_is(text, (struct text){ name, strlen(name) })) {
			*ret_method = method;
			return true;
		}
	}
	return false;
}

/* "/path" as it is, "http://host/path" without its host; of other texts nothing is left. */
static struct text uri_path(struct text uri)
{
	const struct text scheme = TEXT("http://");
	const char *slash;

	if (uri.data[0] == '/')
		return uri;
	if (uri.len <= scheme.len || memcmp(uri.data, scheme.data, scheme.len) != 0)
		return (struct text){ uri.data, 0 };
	slash = memchr(uri.data + scheme.len, '/', uri.len - scheme.len);
	if (slash == NULL)
		return (struct text){ uri.data, 0 };
	return (struct text){ slash, uri.len - (size_t)(slash - uri.data) };
}

static enum http_event parse_uri(struct http_parser *parser, struct text uri)
{
	struct text path;
	size_t at, bytes;

	if (uri.len == 0)
		return fail(parser, HTTP_PART_URI, "Empty URI not allowed.");
	if (!utf8_is_valid(uri, &at, &bytes))
		return fail(parser, HTTP_PART_URI, "Cannot parse URI as UTF-8.");
	path = uri_path(uri);
	parser->request.uri = path.data;
	parser->request.uri_len = path.len;
	if (parser->held)
		return HTTP_NEED_MORE;
	assert(path.len <= sizeof(parser->uri));	/* part of a line */
	memcpy(parser->uri, path.data, path.len);
	parser->request.uri = parser->uri;
	return HTTP_NEED_MORE;
}

static enum http_event parse_request_line(struct http_parser *parser, struct text line)
{
	struct text method = text_cut(&line, ' ');
	struct text uri = text_cut(&line, ' ');

	if (line.data == NULL)		/* no second space */
		return fail(parser, HTTP_PART_REQUEST, "Invalid request.");
	if (!parse_method(method, &parser->request.method))
		return fail(parser, HTTP_PART_METHOD, "Unsupported HTTP method.");
	if (parse_uri(parser, uri) == HTTP_ERROR)
		return HTTP_ERROR;
	if (text_is(line, TEXT("HTTP/1.1")))
		parser->request.minor = 1;
	else if (text_is(line, TEXT("HTTP/1.0")))
		parser->request.minor = 0;
	else
		return fail(parser, HTTP_PART_VERSION, "Unsupported HTTP version.");
	parser->state = HTTP_STATE_HEADERS;
	return HTTP_NEED_MORE;
}

/* Headers */

enum header_id {
	HEADER_OTHER,			/* kept by nobody, but it has to be well formed */
	HEADER_ACCEPT_ENCODING,
	HEADER_CONNECTION,
	HEADER_CONTENT_LENGTH,
	HEADER_EXPECT,
	HEADER_TRANSFER_ENCODING,
};

/* The lengths differ, so that one comparison is enough and most headers need none. */
static enum header_id header_lookup(struct text name)
{
	switch (name.len) {
	case sizeof("expect") - 1:
		return text_is_word(name, TEXT("expect")) ? HEADER_EXPECT : HEADER_OTHER;
	case sizeof("connection") - 1:
		return text_is_word(name, TEXT("connection")) ? HEADER_CONNECTION : HEADER_OTHER;
	case sizeof("content-length") - 1:
		return text_is_word(name, TEXT("content-length")) ? HEADER_CONTENT_LENGTH :
								    HEADER_OTHER;
	case sizeof("accept-encoding") - 1:
		return text_is_word(name, TEXT("accept-encoding")) ? HEADER_ACCEPT_ENCODING :
								     HEADER_OTHER;
	case sizeof("transfer-encoding") - 1:
		return text_is_word(name, TEXT("transfer-encoding")) ? HEADER_TRANSFER_ENCODING :
								       HEADER_OTHER;
	default:
		return HEADER_OTHER;
	}
}

/* Answers are never compressed, so a client that refuses plain ones cannot be served. */
static enum http_event parse_accept_encoding(struct http_parser *parser, struct text value)
{
	struct text rest = value;

	if (value.len == 0)
		return fail(parser, HTTP_PART_REQUEST, "Invalid request.");
	while (rest.data != NULL) {
		struct text token = text_cut(&rest, ',');
		struct text coding = text_trim(token);

		if (text_is(coding, TEXT("identity;q=0")) ||
		    (text_is(coding, TEXT("*;q=0")) && !text_contains(value, TEXT("identity"))))
			return fail_value(parser, TEXT("Accept-Encoding"), token);
	}
	return HTTP_NEED_MORE;
}

static bool list_has_word(struct text list, struct text word)
{
	while (list.data != NULL) {
		if (text_is_word(text_trim(text_cut(&list, ',')), word))
			return true;
	}
	return false;
}

/*
 * Codings we do not know are ignored as upstream ignores them. A list that has chunked in it is
 * not: its sender frames the body by chunks, and we would take them for the next request.
 */
static enum http_event parse_transfer_encoding(struct http_parser *parser, struct text value)
{
	if (text_is_word(value, TEXT("chunked")))
		parser->chunked = true;
	else if (list_has_word(value, TEXT("chunked")))
		return fail_chunked(parser);
	return HTTP_NEED_MORE;
}

static enum http_event parse_known_header(struct http_parser *parser, enum header_id id,
					  struct text name, struct text raw, struct text value)
{
	switch (id) {
	case HEADER_CONTENT_LENGTH:
		if (!text_parse_u32(value, &parser->content_length))
			return fail_value(parser, name, raw);
		parser->has_length = true;
		return HTTP_NEED_MORE;
	case HEADER_CONNECTION:
		parser->request.close |= list_has_word(value, TEXT("close"));
		return HTTP_NEED_MORE;
	case HEADER_EXPECT:
		parser->expect |= text_is(value, TEXT("100-continue"));
		return HTTP_NEED_MORE;
	case HEADER_ACCEPT_ENCODING:
		return parse_accept_encoding(parser, value);
	case HEADER_TRANSFER_ENCODING:
		return parse_transfer_encoding(parser, value);
	case HEADER_OTHER:
		break;
	}
	return HTTP_NEED_MORE;
}

static enum http_event parse_header(struct http_parser *parser, struct text line)
{
	struct text raw = line;			/* what follows the colon, once it is cut */
	struct text name, trimmed_name, value;
	enum header_id id;
	size_t at, bytes;

	if (!utf8_is_valid(line, &at, &bytes))
		return fail_utf8(parser, at, bytes);
	name = text_cut(&raw, ':');
	if (raw.data == NULL) {
		struct buf *text = fail_begin(parser, HTTP_PART_HEADER);

		buf_adds(text, "Header is incorrectly formatted. Key: ");
		buf_add(text, line.data, line.len);
		return HTTP_ERROR;
	}
	trimmed_name = text_trim(name);
	id = header_lookup(trimmed_name);
	if (id == HEADER_OTHER && parser->header == NULL)
		return HTTP_NEED_MORE;
	value = text_trim(raw);
	if (parse_known_header(parser, id, name, raw, value) == HTTP_ERROR)
		return HTTP_ERROR;
	if (parser->header != NULL)
		parser->header(parser, trimmed_name.data, trimmed_name.len, value.data, value.len);
	return HTTP_NEED_MORE;
}

static enum http_event complete(struct http_parser *parser)
{
	if (parser->body.len > 0) {
		parser->request.body = parser->body.data;
		parser->request.body_len = parser->body.len;
	}
	parser->state = HTTP_STATE_DONE;
	return HTTP_REQUEST;
}

static enum http_event end_of_head(struct http_parser *parser)
{
	if (parser->chunked && parser->has_length)
		return fail_chunked(parser);
	if (!parser->chunked && parser->content_length == 0)
		return complete(parser);
	if (parser->content_length > parser->max_body_bytes)
		return fail_too_large(parser, parser->content_length);
	parser->state = parser->chunked ? HTTP_STATE_CHUNK_SIZE : HTTP_STATE_BODY;
	parser->body_left = parser->content_length;
	return parser->expect ? HTTP_CONTINUE : HTTP_NEED_MORE;
}

/* Chunks (RFC 9112 7.1) */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The digits in front of @line, which are taken off it; 1 to 16 of them. */
static bool parse_chunk_size(struct text *line, uint64_t *ret_size)
{
	uint64_t size = 0;
	size_t i = 0;
	int digit;

	for (; i < line->len && (digit = hex_digit(line->data[i])) >= 0; i++) {
		if (i == 2 * sizeof(size))
			return false;
		size = size << 4 | (uint64_t)digit;
	}
	*line = (struct text){ line->data + i, line->len - i };
	*ret_size = size;
	return i > 0;
}

static bool has_control_character(struct text text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* Nothing, or a semicolon and whatever is printable; blanks may stand in front of that. */
static bool is_chunk_extension(struct text text)
{
	size_t i = 0;

	if (text.len == 0)
		return true;
	while (i < text.len && (text.data[i] == ' ' || text.data[i] == '\t'))
		i++;
	return i < text.len && text.data[i] == ';' && !has_control_character(text);
}

/* Count what is read only to be dropped, for it must have an end. */
static bool may_drop(struct http_parser *parser, size_t bytes)
{
	parser->chunk_extra += bytes;
	return parser->chunk_extra <= HTTP_CHUNK_EXTRA_MAX;
}

static enum http_event parse_chunk_line(struct http_parser *parser, struct text line)
{
	const uint64_t have = parser->body.len;
	uint64_t size;

	if (!parse_chunk_size(&line, &size) || !is_chunk_extension(line) ||
	    !may_drop(parser, line.len))
		return fail_chunked(parser);
	if (size > parser->max_body_bytes - have)
		return fail_too_large(parser, size > UINT64_MAX - have ? UINT64_MAX : have + size);
	parser->body_left = size;
	parser->state = size > 0 ? HTTP_STATE_CHUNK_DATA : HTTP_STATE_TRAILERS;
	return HTTP_NEED_MORE;
}

static enum http_event parse_trailer(struct http_parser *parser, struct text line)
{
	if (line.len == 0)
		return complete(parser);
	if (memchr(line.data, ':', line.len) == NULL || has_control_character(line) ||
	    !may_drop(parser, line.len + 2))
		return fail_chunked(parser);
	return HTTP_NEED_MORE;
}

/* The line end after a chunk's data has no line before it, so a wrong byte shows at once. */
static enum http_event take_chunk_end(struct http_parser *parser, struct input *in)
{
	const bool at_cr = parser->state == HTTP_STATE_CHUNK_CR;

	if (*in->at++ != (at_cr ? '\r' : '\n'))
		return fail_chunked(parser);
	parser->state = at_cr ? HTTP_STATE_CHUNK_LF : HTTP_STATE_CHUNK_SIZE;
	return HTTP_NEED_MORE;
}

/* Steps */

static enum http_event take_body(struct http_parser *parser, struct input *in)
{
	size_t len = (size_t)(in->end - in->at);

	if (len > parser->body_left)
		len = (size_t)parser->body_left;
	buf_add(&parser->body, in->at, len);
	if (buf_error(&parser->body) < 0)
		return fail_no_memory(parser);
	in->at += len;
	parser->body_left -= len;
	if (parser->body_left > 0)
		return HTTP_NEED_MORE;
	if (parser->state == HTTP_STATE_BODY)
		return complete(parser);
	parser->state = HTTP_STATE_CHUNK_CR;
	return HTTP_NEED_MORE;
}

/* The first CRLF in @data: pointer to its LF, or NULL. @before is the byte in front of @data. */
static const char *find_line_end(const char *data, size_t len, char before)
{
	const char *at = data, *lf;

	while ((lf = memchr(at, '\n', len - (size_t)(at - data))) != NULL) {
		if ((lf > data ? lf[-1] : before) == '\r')
			return lf;
		at = lf + 1;
	}
	return NULL;
}

/*
 * Take a line, or what there is of it. Return: HTTP_REQUEST when @ret_line is a whole line,
 * without its CRLF, in the input or in parser->line: good until the next call.
 */
static enum http_event take_line(struct http_parser *parser, struct input *in,
				 struct text *ret_line)
{
	const char before = parser->line_len > 0 ? parser->line[parser->line_len - 1] : 0;
	const char *start = in->at, *lf;
	size_t len = (size_t)(in->end - start);

	if (!parser->held && len > sizeof(parser->line) - parser->line_len)
		len = sizeof(parser->line) - parser->line_len;
	lf = find_line_end(start, len, before);
	if (lf != NULL)
		len = (size_t)(lf + 1 - start);
	in->at += len;
	if (lf != NULL && parser->line_len == 0) {
		*ret_line = (struct text){ start, len - 2 };
		return HTTP_REQUEST;
	}
	if (parser->held)
		return HTTP_NEED_MORE;
	memcpy(parser->line + parser->line_len, start, len);
	parser->line_len += len;
	if (lf != NULL) {
		*ret_line = (struct text){ parser->line, parser->line_len - 2 };
		parser->line_len = 0;
		return HTTP_REQUEST;
	}
	if (parser->line_len == sizeof(parser->line))
		return fail_line_too_long(parser);
	return HTTP_NEED_MORE;
}

static enum http_event step_line(struct http_parser *parser, struct input *in)
{
	struct text line;
	enum http_event event = take_line(parser, in, &line);

	if (event != HTTP_REQUEST)
		return event;
	switch (parser->state) {
	case HTTP_STATE_REQUEST_LINE:
		return parse_request_line(parser, line);
	case HTTP_STATE_HEADERS:
		return line.len > 0 ? parse_header(parser, line) : end_of_head(parser);
	case HTTP_STATE_CHUNK_SIZE:
		return parse_chunk_line(parser, line);
	default:
		return parse_trailer(parser, line);
	}
}

static enum http_event step(struct http_parser *parser, struct input *in)
{
	switch (parser->state) {
	case HTTP_STATE_BODY:
	case HTTP_STATE_CHUNK_DATA:
		return take_body(parser, in);
	case HTTP_STATE_CHUNK_CR:
	case HTTP_STATE_CHUNK_LF:
		return take_chunk_end(parser, in);
	default:
		return step_line(parser, in);
	}
}

/* Ready for another request; lines and URI need no clearing. */
static void begin(struct http_parser *parser)
{
	if (parser->body.cap > HTTP_BODY_KEEP_MAX)
		buf_done(&parser->body);
	buf_reset(&parser->body);
	parser->request = (struct http_request){ .uri = parser->uri, .body = "" };
	parser->has_length = false;
	parser->chunked = false;
	parser->expect = false;
	parser->content_length = 0;
	parser->body_left = 0;
	parser->chunk_extra = 0;
	parser->line_len = 0;
	parser->state = HTTP_STATE_REQUEST_LINE;
}

void http_parser_init(struct http_parser *parser, uint64_t max_body_bytes)
{
	memset(parser, 0, sizeof(*parser));
	parser->max_body_bytes = max_body_bytes;
	begin(parser);
}

void http_parser_done(struct http_parser *parser)
{
	buf_done(&parser->body);
	buf_done(&parser->error);
}

enum http_event http_parser_feed(struct http_parser *parser, const char *data, size_t len,
				 size_t *ret_consumed)
{
	struct input in = { data, data + len };
	enum http_event event = HTTP_NEED_MORE;

	if (parser->state == HTTP_STATE_FAILED)
		event = HTTP_ERROR;
	else if (parser->state == HTTP_STATE_DONE)
		begin(parser);
	while (event == HTTP_NEED_MORE && in.at < in.end)
		event = step(parser, &in);
	*ret_consumed = (size_t)(in.at - data);
	return event;
}

const struct http_request *http_parser_request(const struct http_parser *parser)
{
	return &parser->request;
}

bool http_parser_is_idle(const struct http_parser *parser)
{
	return parser->state == HTTP_STATE_DONE ||
	       (parser->state == HTTP_STATE_REQUEST_LINE && parser->line_len == 0);
}

void http_parser_release(struct http_parser *parser)
{
	if (parser->state == HTTP_STATE_DONE)
		begin(parser);
}

static const char *error_text(const struct http_parser *parser, size_t skip, size_t *ret_len)
{
	static const char no_memory[] = "out of memory";

	if (parser->error_kind == HTTP_ERROR_NO_MEMORY || buf_error(&parser->error) < 0) {
		*ret_len = sizeof(no_memory) - 1;
		return no_memory;
	}
	*ret_len = parser->error.len - skip;
	return parser->error.data + skip;
}

const char *http_parser_error(const struct http_parser *parser, size_t *ret_len,
			      enum http_error_kind *ret_kind)
{
	*ret_kind = buf_error(&parser->error) < 0 ? HTTP_ERROR_NO_MEMORY : parser->error_kind;
	return error_text(parser, 0, ret_len);
}

enum http_error_part http_parser_error_part(const struct http_parser *parser,
					    const char **ret_text, size_t *ret_len)
{
	*ret_text = error_text(parser, strlen(part_prefix[parser->error_part]), ret_len);
	return parser->error_part;
}
