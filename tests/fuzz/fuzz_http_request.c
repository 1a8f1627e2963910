/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the request parser: whatever the bytes, they must not be read beyond their end, and how
 * they are cut must not change what comes out. The first byte of an input chooses the cuts and
 * the body limit, the rest is what a client sends.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_http_request \
 *		tests/fuzz/fuzz_http_request.c src/http/request.c src/http/text.c src/base/buf.c
 *	mkdir -p found && ./fuzz_http_request -max_len=4096 found tests/fuzz/corpus/http_request
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/request.h"

struct run {
	struct http_parser parser;
	struct buf out;		/* all that came out, as text, to be compared */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static void note_header(struct http_parser *parser, const char *name, size_t name_len,
			const char *value, size_t value_len)
{
	struct run *run = container_of(parser, struct run, parser);

	buf_addf(&run->out, "header %zu %zu ", name_len, value_len);
	buf_add(&run->out, name, name_len);
	buf_add(&run->out, value, value_len);
}

static void note_request(struct run *run)
{
	const struct http_request *request = http_parser_request(&run->parser);

	require(request->body_len <= run->parser.max_body_bytes, "body within the limit");
	require(request->uri_len == 0 || request->uri[0] == '/', "URI begins with a slash");
	buf_addf(&run->out, "request %s 1.%d close=%d uri=%zu body=%zu ",
		 http_method_name(request->method), request->minor, request->close,
		 request->uri_len, request->body_len);
	buf_add(&run->out, request->uri, request->uri_len);
	buf_add(&run->out, request->body, request->body_len);
}

static void note_error(struct run *run)
{
	enum http_error_part part;
	enum http_error_kind kind;
	const char *text, *bare;
	size_t len, bare_len;

	text = http_parser_error(&run->parser, &len, &kind);
	part = http_parser_error_part(&run->parser, &bare, &bare_len);
	require(bare_len <= len && bare + bare_len == text + len, "the bare text ends the text");
	buf_addf(&run->out, "error %d %d %zu ", kind, part, bare_len);
	buf_add(&run->out, text, len);
}

/* Feed one piece, from memory of just its size. False when the parser wants no more. */
static int feed(struct run *run, const uint8_t *data, size_t len)
{
	char *piece = malloc(len > 0 ? len : 1);
	size_t at = 0, used;
	int more = 1;

	require(piece != NULL, "memory");
	memcpy(piece, data, len);
	while (at < len && more) {
		enum http_event event = http_parser_feed(&run->parser, piece + at, len - at, &used);

		require(used <= len - at, "consumed what was there");
		require(used > 0, "consumed something");
		at += used;
		if (event == HTTP_NEED_MORE)
			require(at == len, "all consumed");
		else if (event == HTTP_CONTINUE)
			buf_addf(&run->out, "continue 1.%d ", http_parser_request(&run->parser)->minor);
		else if (event == HTTP_REQUEST)
			note_request(run);
		else
			note_error(run);
		more = event != HTTP_ERROR;
	}
	free(piece);
	return more;
}

static void run_init(struct run *run, uint64_t limit)
{
	*run = (struct run){ .out = BUF_INIT };
	http_parser_init(&run->parser, limit);
	run->parser.header = note_header;
}

static void run_done(struct run *run)
{
	http_parser_done(&run->parser);
	buf_done(&run->out);
}

/* Mostly short pieces, now and then a long one; any sequence will do, if it is always the same. */
static size_t next_piece(uint32_t *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 16) % 8 == 0 ? 1 + (*seed >> 19) % 1500 : 1 + (*seed >> 19) % 20;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run whole, cut;
	uint64_t limit;
	uint32_t seed;

	if (size == 0)
		return 0;
	seed = data[0];
	limit = seed % 2 != 0 ? 51200 : 10;
	data++;
	size--;

	run_init(&whole, limit);
	feed(&whole, data, size);

	run_init(&cut, limit);
	for (size_t at = 0, len; at < size; at += len) {
		len = next_piece(&seed);
		if (len > size - at)
			len = size - at;
		if (!feed(&cut, data + at, len))
			break;
	}

	require(whole.out.len == cut.out.len &&
		(whole.out.len == 0 ||
		 memcmp(whole.out.data, cut.out.data, whole.out.len) == 0), "the same when cut");
	require(whole.parser.state == cut.parser.state, "the same state when cut");
	run_done(&whole);
	run_done(&cut);
	return 0;
}
