/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each message is fed whole, byte by byte, and cut in two at every byte, and has to give the same
 * each time. Pieces end at an unmapped page, so that reading beyond one faults, and are wiped
 * before the result is looked at, so that nothing in it can still point into them.
 *
 * A result is written as lines: "PUT /path HTTP/1.1 {body}", with " close" in front of the body;
 * "100 HTTP/1.1" where the client is told to go on; "!text" for a rejection.
 */
#include "http/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT		51200
#define GUARDED_MAX	(4096 * 64)

struct message {
	const char *name;
	const char *in;
	size_t len;
	const char *want;
};
#define MESSAGE(name, in, want) { (name), (in), sizeof(in) - 1, (want) }

#define HEAD	"PUT /a HTTP/1.1\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define NOT_CHUNKED \
	"!Invalid header. Reason: Unsupported value. Key:Transfer-Encoding; Value: chunked\n"

/* A test takes the memory away here; buffers grow by realloc() only. */
static bool no_memory;
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
	return no_memory ? NULL : __real_realloc(p, size);
}

static int map_guarded(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, GUARDED_MAX + page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + GUARDED_MAX, page, PROT_NONE) < 0)
		return -1;
	*state = map;
	return 0;
}

static int unmap_guarded(void **state)
{
	return munmap(*state, GUARDED_MAX + (size_t)sysconf(_SC_PAGESIZE));
}

static void write_request(struct buf *out, const struct http_request *request)
{
	buf_addf(out, "%s %.*s HTTP/1.%d%s", http_method_name(request->method),
		 (int)request->uri_len, request->uri, request->minor,
		 request->close ? " close" : "");
	if (request->body_len > 0) {
		buf_adds(out, " {");
		buf_add(out, request->body, request->body_len);
		buf_adds(out, "}");
	}
	buf_adds(out, "\n");
}

/* Feed one piece; the result goes to @out. False when the parser wants no more. */
static bool feed_piece(char *guarded, struct http_parser *parser, const char *piece, size_t len,
		       struct buf *out)
{
	while (len > 0) {
		char *copy = guarded + GUARDED_MAX - len;
		enum http_error_kind kind;
		enum http_event event;
		const char *error;
		size_t used, n;

		assert_true(len <= GUARDED_MAX);
		memcpy(copy, piece, len);
		event = http_parser_feed(parser, copy, len, &used);
		memset(copy, '#', len);
		assert_true(used <= len);
		piece += used;
		len -= used;
		switch (event) {
		case HTTP_NEED_MORE:
			assert_int_equal(len, 0);
			break;
		case HTTP_CONTINUE:
			buf_addf(out, "100 HTTP/1.%d\n", http_parser_request(parser)->minor);
			break;
		case HTTP_REQUEST:
			write_request(out, http_parser_request(parser));
			break;
		case HTTP_ERROR:
			error = http_parser_error(parser, &n, &kind);
			buf_addc(out, '!');
			buf_add(out, error, n);
			buf_addc(out, '\n');
			return false;
		}
	}
	return true;
}

/* @first bytes, then pieces of @step bytes. The result is to be freed. */
static char *play(char *guarded, uint64_t limit, const char *in, size_t len, size_t first,
		  size_t step)
{
	struct buf out = BUF_INIT;
	struct http_parser parser;
	size_t piece = first < len ? first : len;

	http_parser_init(&parser, limit);
	while (len > 0 && feed_piece(guarded, &parser, in, piece, &out)) {
		in += piece;
		len -= piece;
		piece = step < len ? step : len;
	}
	http_parser_done(&parser);
	return buf_take(&out);
}

static void check_play(char *guarded, uint64_t limit, const struct message *m, size_t first,
		       size_t step)
{
	char *got = play(guarded, limit, m->in, m->len, first, step);

	if (strcmp(got, m->want) != 0)
		fail_msg("%s (cut at %zu, then each %zu):\ngot  %s\nwant %s", m->name, first, step,
			 got, m->want);
	free(got);
}

/* @every: distance of the cuts in two; 1 except where that would take long. */
static void check_message(char *guarded, uint64_t limit, const struct message *m, size_t every)
{
	check_play(guarded, limit, m, m->len, m->len);
	check_play(guarded, limit, m, 1, 1);
	for (size_t cut = 1; cut < m->len; cut += every)
		check_play(guarded, limit, m, cut, m->len);
}

static void check_table(void **state, const struct message *table, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_message(*state, LIMIT, &table[i], 1);
}

static void request_lines_are_read(void **state)
{
	static const struct message table[] = {
		MESSAGE("nothing yet", "GET / HTTP/1.1\r\n", ""),
		MESSAGE("the smallest request", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n"),
		MESSAGE("version 1.0", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\n"),
		MESSAGE("all methods, one after the other",
			"GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\n\r\n"
			"PATCH /c HTTP/1.1\r\n\r\nDELETE /d HTTP/1.1\r\n\r\n",
			"GET /a HTTP/1.1\nPUT /b HTTP/1.1\nPATCH /c HTTP/1.1\nDELETE /d HTTP/1.1\n"),
		MESSAGE("slashes, query and escapes stay as they are",
			"GET //a//b/?x=%2f&y#z HTTP/1.1\r\n\r\n",
			"GET //a//b/?x=%2f&y#z HTTP/1.1\n"),
		MESSAGE("an absolute URI loses its host",
			"GET http://localhost:80/vm/config HTTP/1.1\r\n\r\n",
			"GET /vm/config HTTP/1.1\n"),
		MESSAGE("a host of no letters", "GET http:///x HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1\n"),
		MESSAGE("a host without a path", "GET http://localhost HTTP/1.1\r\n\r\n",
			"GET  HTTP/1.1\n"),
		MESSAGE("a scheme alone", "GET http:// HTTP/1.1\r\n\r\n", "GET  HTTP/1.1\n"),
		MESSAGE("half a scheme", "GET http:/ HTTP/1.1\r\n\r\n", "GET  HTTP/1.1\n"),
		MESSAGE("another scheme", "GET https://h/x HTTP/1.1\r\n\r\n", "GET  HTTP/1.1\n"),
		MESSAGE("the scheme in capitals", "GET HTTP://h/x HTTP/1.1\r\n\r\n",
			"GET  HTTP/1.1\n"),
		MESSAGE("a relative URI", "GET version HTTP/1.1\r\n\r\n", "GET  HTTP/1.1\n"),
		MESSAGE("a tab is part of the URI", "GET /a\tb HTTP/1.1\r\n\r\n",
			"GET /a\tb HTTP/1.1\n"),
		MESSAGE("a bare LF is part of the URI", "GET /a\nb HTTP/1.1\r\n\r\n",
			"GET /a\nb HTTP/1.1\n"),
		MESSAGE("a bare CR is part of the URI", "GET /a\r\rb HTTP/1.1\r\n\r\n",
			"GET /a\r\rb HTTP/1.1\n"),
		MESSAGE("a URI in UTF-8", "GET /\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x99 HTTP/1.1\r\n\r\n",
			"GET /\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x99 HTTP/1.1\n"),
		MESSAGE("no line ends in CRLF, so it goes on", "GET / HTTP/1.1\n\n", ""),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

static void wrong_request_lines_are_refused(void **state)
{
	static const struct message table[] = {
		MESSAGE("an empty line in front", "\r\nGET / HTTP/1.1\r\n\r\n", "!Invalid request.\n"),
		MESSAGE("one word", "GET\r\n", "!Invalid request.\n"),
		MESSAGE("two words", "GET /\r\n", "!Invalid request.\n"),
		MESSAGE("two words of which the method is wrong", "POST /\r\n", "!Invalid request.\n"),
		MESSAGE("a method in small letters", "get / HTTP/1.1\r\n",
			"!Invalid HTTP Method: Unsupported HTTP method.\n"),
		MESSAGE("POST", "POST / HTTP/1.1\r\n",
			"!Invalid HTTP Method: Unsupported HTTP method.\n"),
		MESSAGE("HEAD", "HEAD / HTTP/1.1\r\n",
			"!Invalid HTTP Method: Unsupported HTTP method.\n"),
		MESSAGE("a method with one letter more", "GETS / HTTP/1.1\r\n",
			"!Invalid HTTP Method: Unsupported HTTP method.\n"),
		MESSAGE("no method", " / HTTP/1.1\r\n",
			"!Invalid HTTP Method: Unsupported HTTP method.\n"),
		MESSAGE("the method is looked at before the URI", "GOT \xff HTTP/9\r\n",
			"!Invalid HTTP Method: Unsupported HTTP method.\n"),
		MESSAGE("two spaces: the URI between them is empty", "GET  / HTTP/1.1\r\n",
			"!Invalid URI: Empty URI not allowed.\n"),
		MESSAGE("a URI that is not UTF-8", "GET /\xff HTTP/1.1\r\n",
			"!Invalid URI: Cannot parse URI as UTF-8.\n"),
		MESSAGE("not UTF-8 in the host either", "GET http://\xc3/ HTTP/1.1\r\n",
			"!Invalid URI: Cannot parse URI as UTF-8.\n"),
		MESSAGE("the URI is looked at before the version", "GET \xff HTTP/9\r\n",
			"!Invalid URI: Cannot parse URI as UTF-8.\n"),
		MESSAGE("version 2", "GET / HTTP/2\r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("version 1.2", "GET / HTTP/1.2\r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("a version in small letters", "GET / http/1.1\r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("no version", "GET / \r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("a space after the version", "GET / HTTP/1.1 \r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("a space within the URI", "GET /a b HTTP/1.1\r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("the first line ended by a bare LF", "GET / HTTP/1.1\nHost: x\r\n",
			"!Invalid HTTP Version: Unsupported HTTP version.\n"),
		MESSAGE("what came before the wrong request is handed out",
			"GET /a HTTP/1.1\r\n\r\nBREW /b HTTP/1.1\r\n\r\n",
			"GET /a HTTP/1.1\n!Invalid HTTP Method: Unsupported HTTP method.\n"),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

static void headers_are_read(void **state)
{
	static const struct message table[] = {
		MESSAGE("unknown ones are dropped",
			"GET / HTTP/1.1\r\nHost: x\r\nX-Y:\r\n: z\r\n:\r\n\r\n", "GET / HTTP/1.1\n"),
		MESSAGE("a length", HEAD "Content-Length: 5\r\n\r\nhello", "PUT /a HTTP/1.1 {hello}\n"),
		MESSAGE("a GET may have a body here; routing refuses it",
			"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", "GET / HTTP/1.1 {ab}\n"),
		MESSAGE("a name in any case, white space around name and value",
			HEAD " \tcOnTent-lEngth \x0b\x0c: \t 5 \t\r\n\r\nhello",
			"PUT /a HTTP/1.1 {hello}\n"),
		MESSAGE("a bare CR at the end is white space",
			HEAD "Content-Length:\r5\r\r\n\r\nhello", "PUT /a HTTP/1.1 {hello}\n"),
		MESSAGE("Unicode's white space counts too",
			HEAD "\xc2\xa0\xe3\x80\x80" "content-length\xe2\x80\x8a:\xe2\x80\xa8"
			"5\xc2\x85\r\n\r\nhello", "PUT /a HTTP/1.1 {hello}\n"),
		MESSAGE("a zero width space is not white space",
			HEAD "content-length\xe2\x80\x8b: 5\r\n\r\n", "PUT /a HTTP/1.1\n"),
		MESSAGE("a longer name is another header", HEAD "Content-Lengths: 5\r\n\r\n",
			"PUT /a HTTP/1.1\n"),
		MESSAGE("a control character does not pass for a hyphen",
			HEAD "Content\rLength: 5\r\n\r\n", "PUT /a HTTP/1.1\n"),
		MESSAGE("a plus sign and zeros", HEAD "Content-Length: +0000000000002\r\n\r\nab",
			"PUT /a HTTP/1.1 {ab}\n"),
		MESSAGE("a length of zero is no body", HEAD "Content-Length: 0\r\n\r\n",
			"PUT /a HTTP/1.1\n"),
		MESSAGE("the last length wins",
			HEAD "Content-Length: 9\r\nContent-Length: 2\r\n\r\nab", "PUT /a HTTP/1.1 {ab}\n"),
		MESSAGE("the last length wins, even zero",
			HEAD "Content-Length: 9\r\nContent-Length: 0\r\n\r\n", "PUT /a HTTP/1.1\n"),
		MESSAGE("a body of any bytes",
			HEAD "Content-Length: 5\r\n\r\n\r\n\xff{\n", "PUT /a HTTP/1.1 {\r\n\xff{\n}\n"),
		MESSAGE("any type of content",
			HEAD "Content-Type: image/png\r\nAccept: text/html\r\nAccept:\r\n\r\n",
			"PUT /a HTTP/1.1\n"),
		MESSAGE("a value with colons", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
			"GET / HTTP/1.1\n"),
		MESSAGE("a bare LF hides a header in the line before",
			HEAD "X: y\nContent-Length: 5\r\n\r\n", "PUT /a HTTP/1.1\n"),
		MESSAGE("a value in UTF-8", "GET / HTTP/1.1\r\nX: \xe2\x82\xac\r\n\r\n",
			"GET / HTTP/1.1\n"),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

#define BAD_LENGTH(value) \
	"!Invalid header. Reason: Invalid value. Key:Content-Length; Value:" value "\n"
#define BAD_UTF8(what) \
	"!Invalid header. Reason: Header contains invalid characters. Key: " what "\n"

static void wrong_headers_are_refused(void **state)
{
	static const struct message table[] = {
		MESSAGE("no colon", HEAD "Host localhost\r\n",
			"!Invalid header. Reason: Header is incorrectly formatted. Key: Host localhost\n"),
		MESSAGE("a line of one space", HEAD " \r\n",
			"!Invalid header. Reason: Header is incorrectly formatted. Key:  \n"),
		MESSAGE("a length of letters", HEAD "Content-Length: alpha\r\n", BAD_LENGTH(" alpha")),
		MESSAGE("name and value as they were sent", HEAD " content-LENGTH\t: 1 2 \r\n",
			"!Invalid header. Reason: Invalid value. Key: content-LENGTH\t; Value: 1 2 \n"),
		MESSAGE("no length", HEAD "Content-Length:\r\n", BAD_LENGTH("")),
		MESSAGE("a negative length", HEAD "Content-Length:-1\r\n", BAD_LENGTH("-1")),
		MESSAGE("minus zero", HEAD "Content-Length:-0\r\n", BAD_LENGTH("-0")),
		MESSAGE("a plus alone", HEAD "Content-Length: +\r\n", BAD_LENGTH(" +")),
		MESSAGE("two plus signs", HEAD "Content-Length: ++1\r\n", BAD_LENGTH(" ++1")),
		MESSAGE("a length of 2^32", HEAD "Content-Length: 4294967296\r\n",
			BAD_LENGTH(" 4294967296")),
		MESSAGE("a length of 2^64 + 1", HEAD "Content-Length: 18446744073709551617\r\n",
			BAD_LENGTH(" 18446744073709551617")),
		MESSAGE("a list of lengths", HEAD "Content-Length: 2, 2\r\n", BAD_LENGTH(" 2, 2")),
		MESSAGE("a length with a colon", HEAD "Content-Length: 24: 2\r\n", BAD_LENGTH(" 24: 2")),
		MESSAGE("hexadecimal", HEAD "Content-Length: 0x10\r\n", BAD_LENGTH(" 0x10")),
		MESSAGE("a bad one, though a good one follows",
			HEAD "Content-Length: x\r\nContent-Length: 0\r\n\r\n", BAD_LENGTH(" x")),
		MESSAGE("a stray byte", HEAD "X: \xff\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 3")),
		MESSAGE("not UTF-8 comes before no colon", HEAD "X\x80\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 1")),
		MESSAGE("a long form", HEAD "X: \xc0\x80\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 3")),
		MESSAGE("a long form of three bytes", HEAD "X: abcdefgh\xe0\x9f\xbf\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 11")),
		MESSAGE("a surrogate", HEAD "X: \xed\xa0\x80\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 3")),
		MESSAGE("beyond U+10FFFF", HEAD "X: \xf4\x90\x80\x80\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 3")),
		MESSAGE("far beyond it", HEAD "X: \xf5\x80\x80\x80\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 3")),
		MESSAGE("a long form of four bytes", HEAD "X: \xf0\x8f\xbf\xbf\r\n",
			BAD_UTF8("invalid utf-8 sequence of 1 bytes from index 3")),
		MESSAGE("two bytes begin well", HEAD "X: \xe2\x82 \r\n",
			BAD_UTF8("invalid utf-8 sequence of 2 bytes from index 3")),
		MESSAGE("three bytes begin well", HEAD "X: \xf0\x9f\x90 \r\n",
			BAD_UTF8("invalid utf-8 sequence of 3 bytes from index 3")),
		MESSAGE("the line ends within a character", HEAD "X: \xf0\x9f\x90\r\n",
			BAD_UTF8("incomplete utf-8 byte sequence from index 3")),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

static void connection_close_is_seen(void **state)
{
	static const struct message table[] = {
		MESSAGE("close", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
			"GET / HTTP/1.1 close\n"),
		MESSAGE("in a list, in any case",
			"GET / HTTP/1.1\r\nconnection:TE ,\tCLOSE , x\r\n\r\n", "GET / HTTP/1.1 close\n"),
		MESSAGE("in one of several lines",
			"GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
			"GET / HTTP/1.1 close\n"),
		MESSAGE("not a part of a word",
			"GET / HTTP/1.1\r\nConnection: closed, xclose, clo se,\r\n\r\n", "GET / HTTP/1.1\n"),
		MESSAGE("empty", "GET / HTTP/1.1\r\nConnection:\r\n\r\n", "GET / HTTP/1.1\n"),
		MESSAGE("keep-alive is the rule with 1.0 too",
			"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\n"),
		MESSAGE("the next request knows nothing of it",
			"GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n",
			"GET / HTTP/1.1 close\nGET / HTTP/1.1\n"),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

#define BAD_CODING(token) \
	"!Invalid header. Reason: Invalid value. Key:Accept-Encoding; Value:" token "\n"

static void answers_must_be_allowed_plain(void **state)
{
	static const struct message table[] = {
		MESSAGE("what clients send", "GET / HTTP/1.1\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
			"GET / HTTP/1.1\n"),
		MESSAGE("others with weights", "GET / HTTP/1.1\r\n"
			"Accept-Encoding: gzip;q=0, identity;q=0.5, *;q=0\r\n\r\n", "GET / HTTP/1.1\n"),
		MESSAGE("identity allowed by name after the star",
			"GET / HTTP/1.1\r\nAccept-Encoding: *;q=0, identity\r\n\r\n", "GET / HTTP/1.1\n"),
		MESSAGE("only that spelling counts",
			"GET / HTTP/1.1\r\nAccept-Encoding: identity; q=0, Identity;q=0\r\n\r\n",
			"GET / HTTP/1.1\n"),
		MESSAGE("identity refused", HEAD "Accept-Encoding: identity;q=0\r\n",
			BAD_CODING("identity;q=0")),
		MESSAGE("identity refused in a list", HEAD "accept-encoding: gzip, identity;q=0 ,br\r\n",
			BAD_CODING(" identity;q=0 ")),
		MESSAGE("all refused", HEAD "Accept-Encoding: *;q=0\r\n", BAD_CODING("*;q=0")),
		MESSAGE("all others refused", HEAD "Accept-Encoding: gzip, *;q=0\r\n",
			BAD_CODING(" *;q=0")),
		MESSAGE("empty", HEAD "Accept-Encoding: \r\n", "!Invalid request.\n"),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

static void continue_is_asked_for(void **state)
{
	static const struct message table[] = {
		MESSAGE("with a body", HEAD "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
			"100 HTTP/1.1\nPUT /a HTTP/1.1 {ab}\n"),
		MESSAGE("with version 1.0",
			"PUT /a HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
			"100 HTTP/1.0\nPUT /a HTTP/1.0 {ab}\n"),
		MESSAGE("with chunks", HEAD "Expect:100-continue\r\n"
			"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
			"100 HTTP/1.1\nPUT /a HTTP/1.1 {x}\n"),
		MESSAGE("not without a body", HEAD "Expect: 100-continue\r\n\r\n", "PUT /a HTTP/1.1\n"),
		MESSAGE("not for a body that is too large",
			HEAD "Expect: 100-continue\r\nContent-Length: 51201\r\n\r\n",
			"!Request payload with size 51201 is larger than the limit of 51200 allowed by "
			"server.\n"),
		MESSAGE("other values are ignored",
			HEAD "Expect: 103-checkpoint\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
			"PUT /a HTTP/1.1 {x}\n"),
		MESSAGE("and do not take it back",
			HEAD "Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n\r\nx",
			"100 HTTP/1.1\nPUT /a HTTP/1.1 {x}\n"),
		MESSAGE("the next request knows nothing of it",
			HEAD "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
			HEAD "Content-Length: 1\r\n\r\ny",
			"100 HTTP/1.1\nPUT /a HTTP/1.1 {x}\nPUT /a HTTP/1.1 {y}\n"),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

static void chunks_are_joined(void **state)
{
	static const struct message table[] = {
		MESSAGE("one chunk", CHUNKED "5\r\nhello\r\n0\r\n\r\n", "PUT /a HTTP/1.1 {hello}\n"),
		MESSAGE("several, their sizes in hexadecimal of both cases",
			CHUNKED "1\r\nx\r\na\r\n0123456789\r\n0B\r\nabcdefghijk\r\n000\r\n\r\n",
			"PUT /a HTTP/1.1 {x0123456789abcdefghijk}\n"),
		MESSAGE("none: that is no body", CHUNKED "0\r\n\r\n", "PUT /a HTTP/1.1\n"),
		MESSAGE("sixteen digits", CHUNKED "0000000000000001\r\nx\r\n0000000000000000\r\n\r\n",
			"PUT /a HTTP/1.1 {x}\n"),
		MESSAGE("line ends as data", CHUNKED "6\r\n\r\n0\r\n\r\r\n0\r\n\r\n",
			"PUT /a HTTP/1.1 {\r\n0\r\n\r}\n"),
		MESSAGE("extensions are dropped",
			CHUNKED "1;a\r\nx\r\n1 ; b=\"c\";d\r\ny\r\n0\t;e=\xff\r\n\r\n",
			"PUT /a HTTP/1.1 {xy}\n"),
		MESSAGE("trailers are dropped",
			CHUNKED "1\r\nx\r\n0\r\nContent-Length: 5\r\nX:\r\n: y\r\n\r\n",
			"PUT /a HTTP/1.1 {x}\n"),
		MESSAGE("another request follows",
			CHUNKED "1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
			"PUT /a HTTP/1.1 {x}\nGET / HTTP/1.1\n"),
		MESSAGE("and a chunked one", CHUNKED "1\r\nx\r\n0\r\n\r\n" CHUNKED "1\r\ny\r\n0\r\n\r\n",
			"PUT /a HTTP/1.1 {x}\nPUT /a HTTP/1.1 {y}\n"),
		MESSAGE("after one with a length, and before another",
			HEAD "Content-Length: 1\r\n\r\nx" CHUNKED "1\r\ny\r\n0\r\n\r\n"
			HEAD "Content-Length: 1\r\n\r\nz",
			"PUT /a HTTP/1.1 {x}\nPUT /a HTTP/1.1 {y}\nPUT /a HTTP/1.1 {z}\n"),
		MESSAGE("the coding in capitals, and said twice",
			HEAD "Transfer-Encoding: CHUNKED\r\nTransfer-Encoding: chunked\r\n\r\n"
			"1\r\nx\r\n0\r\n\r\n", "PUT /a HTTP/1.1 {x}\n"),
		MESSAGE("identity does not take it back",
			HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
			"1\r\nx\r\n0\r\n\r\n", "PUT /a HTTP/1.1 {x}\n"),
		MESSAGE("other codings are ignored",
			HEAD "Transfer-Encoding: identity; q=0\r\nTransfer-Encoding: gzip\r\n"
			"Transfer-Encoding: xchunked\r\nContent-Length: 1\r\n\r\nx",
			"PUT /a HTTP/1.1 {x}\n"),
		MESSAGE("the last chunk alone does not end it", CHUNKED "0\r\n", ""),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

static void wrong_chunks_are_refused(void **state)
{
	static const struct message table[] = {
		MESSAGE("length and chunks",
			HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", NOT_CHUNKED),
		MESSAGE("chunks and length",
			HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", NOT_CHUNKED),
		MESSAGE("a length of zero too",
			HEAD "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", NOT_CHUNKED),
		MESSAGE("chunked and something else", HEAD "Transfer-Encoding: gzip, Chunked\r\n",
			NOT_CHUNKED),
		MESSAGE("no size", CHUNKED "\r\n", NOT_CHUNKED),
		MESSAGE("not a number", CHUNKED "hello\r\n", NOT_CHUNKED),
		MESSAGE("a sign", CHUNKED "+1\r\nx\r\n", NOT_CHUNKED),
		MESSAGE("0x", CHUNKED "0x1\r\nx\r\n", NOT_CHUNKED),
		MESSAGE("a space in front", CHUNKED " 1\r\nx\r\n", NOT_CHUNKED),
		MESSAGE("a space behind", CHUNKED "1 \r\nx\r\n", NOT_CHUNKED),
		MESSAGE("seventeen digits", CHUNKED "00000000000000001\r\nx\r\n", NOT_CHUNKED),
		MESSAGE("a bare LF after the size", CHUNKED "1\nx\r\n", NOT_CHUNKED),
		MESSAGE("a bare CR in an extension", CHUNKED "1;\rx\r\n", NOT_CHUNKED),
		MESSAGE("a DEL in an extension", CHUNKED "1;\x7f\r\nx\r\n", NOT_CHUNKED),
		MESSAGE("data longer than said", CHUNKED "1\r\nxy\r\n", NOT_CHUNKED),
		MESSAGE("data shorter than said", CHUNKED "3\r\nx\r\n0\r\n", NOT_CHUNKED),
		MESSAGE("a bare LF after the data", CHUNKED "1\r\nx\n", NOT_CHUNKED),
		MESSAGE("a bare CR after the data", CHUNKED "1\r\nx\r0", NOT_CHUNKED),
		MESSAGE("a trailer without a colon", CHUNKED "0\r\nGET / HTTP/1.1\r\n\r\n", NOT_CHUNKED),
		MESSAGE("a trailer with a bare LF", CHUNKED "0\r\nX: y\nZ: z\r\n", NOT_CHUNKED),
		MESSAGE("a chunk too large",
			CHUNKED "1\r\nx\r\nc800\r\n",
			"!Request payload with size 51201 is larger than the limit of 51200 allowed by "
			"server.\n"),
		MESSAGE("the largest chunk does not wrap the sum",
			CHUNKED "1\r\nx\r\nFFFFFFFFFFFFFFFF\r\n",
			"!Request payload with size 18446744073709551615 is larger than the limit of "
			"51200 allowed by server.\n"),
	};

	check_table(state, table, ARRAY_SIZE(table));
}

/* A line of @len bytes with its CRLF: @head, then as many 'x' as it takes, then @tail. */
static void add_line(struct buf *out, size_t len, const char *head, const char *tail)
{
	size_t end = out->len + len - strlen(tail) - 2;

	buf_adds(out, head);
	while (out->len < end)
		buf_addc(out, 'x');
	buf_adds(out, tail);
	buf_adds(out, "\r\n");
}

static void check_built(void **state, const char *name, const struct buf *in, struct buf *want)
{
	struct message m = { name, in->data, in->len, buf_str(want) };

	check_message(*state, LIMIT, &m, 7);
}

static void a_line_may_have_1024_bytes(void **state)
{
	for (size_t before = 0; before <= 1; before++) {	/* nothing, or a request, in front */
		CLEANUP(buf_done) struct buf in = BUF_INIT, want = BUF_INIT;

		if (before > 0) {
			buf_adds(&in, "GET /b HTTP/1.1\r\n\r\n");
			buf_adds(&want, "GET /b HTTP/1.1\n");
		}
		add_line(&in, 1024, "GET /", " HTTP/1.1");
		add_line(&in, 1024, "X: ", "");
		add_line(&in, 1024, "", ": y");
		buf_adds(&in, "Transfer-Encoding: chunked\r\n\r\n");
		add_line(&in, 1024, "1;", "");
		buf_adds(&in, "z\r\n0\r\n");
		add_line(&in, 1024, "X: ", "");
		buf_adds(&in, "\r\n");

		buf_adds(&want, "GET /");
		for (size_t i = 0; i < 1024 - strlen("GET / HTTP/1.1\r\n"); i++)
			buf_addc(&want, 'x');
		buf_adds(&want, " HTTP/1.1 {z}\n");
		check_built(state, "lines of 1024 bytes", &in, &want);
	}
}

static void longer_lines_are_refused(void **state)
{
	static const struct {
		const char *name, *before, *head, *want;
		bool shown;	/* the text ends with the line's first 1024 bytes */
	} table[] = {
		{ "request line", "", "GET /", "!Invalid request.\n", false },
		{ "second request line", "GET / HTTP/1.1\r\n\r\n", "GET /",
		  "GET / HTTP/1.1\n!Invalid request.\n", false },
		{ "header", HEAD, "X: ", "!Invalid header. Reason: Invalid content length. Header: ",
		  true },
		{ "chunk size", CHUNKED, "1;", NOT_CHUNKED, false },
		{ "trailer", CHUNKED "0\r\n", "X: ", NOT_CHUNKED, false },
	};

	/* One byte too many with the line end in it; and a line that never ends. */
	for (size_t len = 1025; len <= 2000; len += 975) {
		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			CLEANUP(buf_done) struct buf in = BUF_INIT, want = BUF_INIT;
			size_t start;

			buf_adds(&in, table[i].before);
			start = in.len;
			add_line(&in, len, table[i].head, "");
			buf_adds(&want, table[i].want);
			if (table[i].shown) {
				buf_add(&want, in.data + start, 1024);
				buf_addc(&want, '\n');
			}
			check_built(state, table[i].name, &in, &want);
		}
	}
}

static void a_long_header_that_is_not_utf8_is_shown_in_utf8(void **state)
{
	CLEANUP(buf_done) struct buf in = BUF_INIT, want = BUF_INIT;

	buf_adds(&in, HEAD "X\xff\xe2\x82:\xf0\x9f\x90\x99");
	buf_adds(&want, "!Invalid header. Reason: Invalid content length. Header: "
			"X\xef\xbf\xbd\xef\xbf\xbd:\xf0\x9f\x90\x99");
	for (size_t i = 0; i < 1024 - 9 - 3; i++) {
		buf_addc(&in, 'x');
		buf_addc(&want, 'x');
	}
	buf_adds(&in, "\xf0\x9f\x90\x99\r\n");	/* the 1024th byte is within this */
	buf_adds(&want, "\xef\xbf\xbd\n");
	check_built(state, "cut character", &in, &want);
}

static void body_limit_is_inclusive(void **state)
{
#define TOO_LARGE(size, limit) \
	"!Request payload with size " size " is larger than the limit of " limit \
	" allowed by server.\n"
	static const struct { uint64_t limit; struct message m; } table[] = {
		{ 3, MESSAGE("equal", HEAD "Content-Length: 3\r\n\r\nabc", "PUT /a HTTP/1.1 {abc}\n") },
		{ 3, MESSAGE("one more", HEAD "Content-Length: 4\r\n\r\n", TOO_LARGE("4", "3")) },
		{ 3, MESSAGE("equal in chunks", CHUNKED "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
			     "PUT /a HTTP/1.1 {abc}\n") },
		{ 3, MESSAGE("one more in chunks", CHUNKED "2\r\nab\r\n2\r\n", TOO_LARGE("4", "3")) },
		{ 0, MESSAGE("no body allowed, none sent", HEAD "\r\n", "PUT /a HTTP/1.1\n") },
		{ 0, MESSAGE("no body allowed, none in chunks", CHUNKED "0\r\n\r\n",
			     "PUT /a HTTP/1.1\n") },
		{ 0, MESSAGE("no body allowed", HEAD "Content-Length: 1\r\n\r\n", TOO_LARGE("1", "0")) },
		{ UINT32_MAX - 1, MESSAGE("the largest length",
			     HEAD "Content-Length: 4294967295\r\n\r\n",
			     TOO_LARGE("4294967295", "4294967294")) },
		{ UINT64_MAX, MESSAGE("no limit", HEAD "Content-Length: 4294967295\r\n\r\nabc", "") },
		{ UINT64_MAX, MESSAGE("no limit, chunks", CHUNKED "1\r\na\r\nFFFFFFFFFFFFFFFF\r\n",
			     TOO_LARGE("18446744073709551615", "18446744073709551615")) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		check_message(*state, table[i].limit, &table[i].m, 1);
}

/* A body of eight bytes whose extensions and trailers are as long as allowed, and @more. */
static void add_chatty_request(struct buf *out, size_t more)
{
	buf_adds(out, CHUNKED);
	for (int i = 0; i < 8; i++) {
		buf_addc(out, '1');		/* the size and CRLF are not counted: 1020 are */
		add_line(out, 1022, ";", "");
		add_line(out, 3, "z", "");
	}
	buf_adds(out, "0\r\n");
	for (int i = 0; i < 8; i++)
		add_line(out, 1024 - 4, "X:", "");
	add_line(out, HTTP_CHUNK_EXTRA_MAX - 16 * 1020 + more, "X:", "");
	buf_adds(out, "\r\n");
}

static void what_chunks_carry_besides_data_is_bounded(void **state)
{
	CLEANUP(buf_done) struct buf in = BUF_INIT;
	struct message m = { .name = "extensions and trailers" };

	for (size_t request = 0; request < 2; request++)	/* the count begins anew */
		add_chatty_request(&in, 0);
	m.in = in.data;
	m.len = in.len;
	m.want = "PUT /a HTTP/1.1 {zzzzzzzz}\nPUT /a HTTP/1.1 {zzzzzzzz}\n";
	check_play(*state, LIMIT, &m, m.len, m.len);
	check_play(*state, LIMIT, &m, 1, 1);

	buf_reset(&in);
	add_chatty_request(&in, 1);
	m.in = in.data;
	m.len = in.len;
	m.want = NOT_CHUNKED;
	check_play(*state, LIMIT, &m, m.len, m.len);
	check_play(*state, LIMIT, &m, 1, 1);
}

static void headers_may_be_many(void **state)
{
	CLEANUP(buf_done) struct buf in = BUF_INIT;

	buf_adds(&in, "GET / HTTP/1.1\r\n");
	for (int i = 0; i < 10000; i++)
		buf_addf(&in, "X-%d: y\r\n", i);
	buf_adds(&in, "\r\n");
	check_play(*state, LIMIT, &(struct message){ "10000 headers", in.data, in.len,
		   "GET / HTTP/1.1\n" }, in.len, in.len);
	check_play(*state, LIMIT, &(struct message){ "10000 headers", in.data, in.len,
		   "GET / HTTP/1.1\n" }, 777, 777);
}

/* Feed a message to a parser in use and expect @want. */
static void expect(void **state, struct http_parser *parser, const char *in, const char *want)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	feed_piece(*state, parser, in, strlen(in), &out);
	assert_string_equal(buf_str(&out), want);
}

static void a_get_allocates_nothing(void **state)
{
	struct http_parser parser;

	http_parser_init(&parser, LIMIT);
	expect(state, &parser, "GET / HTTP/1.1\r\nHost: loc", "");
	expect(state, &parser, "alhost\r\nAccept: */*\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
	       "GET / HTTP/1.1\nGET /b HTTP/1.1\n");
	assert_null(parser.body.data);
	assert_null(parser.error.data);
	http_parser_done(&parser);
}

/* Feed the head and @len bytes of a body of @announced bytes. */
static void feed_body(void **state, struct http_parser *parser, size_t announced, size_t len)
{
	CLEANUP(buf_done) struct buf in = BUF_INIT, out = BUF_INIT;

	buf_addf(&in, HEAD "Content-Length: %zu\r\n\r\n", announced);
	for (size_t i = 0; i < len; i++)
		buf_addc(&in, 'x');
	feed_piece(*state, parser, in.data, in.len, &out);
	if (len == announced)
		assert_int_equal(http_parser_request(parser)->body_len, len);
	else
		assert_int_equal(out.len, 0);
}

static void body_memory_grows_with_what_arrives(void **state)
{
	struct http_parser parser;

	http_parser_init(&parser, 2 * 1024 * 1024);
	feed_body(state, &parser, 2 * 1024 * 1024, 100);
	assert_in_range(parser.body.cap, 100, 200);
	http_parser_done(&parser);
}

static void body_memory_is_kept_only_when_small(void **state)
{
	struct http_parser parser;
	size_t cap;

	http_parser_init(&parser, 2 * 1024 * 1024);
	feed_body(state, &parser, 1000, 1000);
	cap = parser.body.cap;
	expect(state, &parser, HEAD "Content-Length: 1\r\n\r\nx", "PUT /a HTTP/1.1 {x}\n");
	assert_int_equal(parser.body.cap, cap);

	feed_body(state, &parser, HTTP_BODY_KEEP_MAX, HTTP_BODY_KEEP_MAX);
	expect(state, &parser, "G", "");
	assert_int_equal(parser.body.cap, HTTP_BODY_KEEP_MAX);
	expect(state, &parser, "ET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n");

	feed_body(state, &parser, 100000, 100000);
	expect(state, &parser, "G", "");
	assert_int_equal(parser.body.cap, 0);
	expect(state, &parser, "ET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n");

	feed_body(state, &parser, 100000, 100000);
	http_parser_release(&parser);
	assert_int_equal(parser.body.cap, 0);
	feed_body(state, &parser, 100000, 50000);
	http_parser_release(&parser);		/* not while a request is on its way */
	assert_int_equal(parser.body.len, 50000);
	http_parser_done(&parser);
}

static void idle_is_between_requests(void **state)
{
	struct http_parser parser;
	size_t used;

	http_parser_init(&parser, LIMIT);
	assert_true(http_parser_is_idle(&parser));
	expect(state, &parser, "G", "");
	assert_false(http_parser_is_idle(&parser));
	expect(state, &parser, "ET / HTTP/1.1\r\n", "");
	assert_false(http_parser_is_idle(&parser));
	expect(state, &parser, "\r\n", "GET / HTTP/1.1\n");
	assert_true(http_parser_is_idle(&parser));
	assert_int_equal(http_parser_feed(&parser, "", 0, &used), HTTP_NEED_MORE);
	assert_int_equal(used, 0);
	assert_true(http_parser_is_idle(&parser));
	http_parser_done(&parser);
}

static void only_what_belongs_to_a_request_is_consumed(void **state)
{
	static const char in[] = "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
	struct http_parser parser;
	size_t used;

	(void)state;
	http_parser_init(&parser, LIMIT);
	assert_int_equal(http_parser_feed(&parser, in, sizeof(in) - 1, &used), HTTP_REQUEST);
	assert_int_equal(used, (sizeof(in) - 1) / 2);
	assert_memory_equal(http_parser_request(&parser)->uri, "/a", 2);
	assert_non_null(http_parser_request(&parser)->body);
	http_parser_done(&parser);
}

static void a_failed_parser_takes_nothing_more(void **state)
{
	static const char good[] = "GET / HTTP/1.1\r\n\r\n";
	enum http_error_kind kind;
	struct http_parser parser;
	size_t used, len;

	http_parser_init(&parser, LIMIT);
	expect(state, &parser, "\r\n", "!Invalid request.\n");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(http_parser_feed(&parser, good, sizeof(good) - 1, &used),
				 HTTP_ERROR);
		assert_int_equal(used, 0);
		assert_memory_equal(http_parser_error(&parser, &len, &kind), "Invalid request.", 16);
		assert_int_equal(len, 16);
		assert_int_equal(kind, HTTP_ERROR_PARSE);
	}
	http_parser_done(&parser);
}

static void errors_name_the_part(void **state)
{
	static const struct {
		const char *in, *want;
		enum http_error_part part;
		enum http_error_kind kind;
	} table[] = {
		{ "\r\n", "Invalid request.", HTTP_PART_REQUEST, HTTP_ERROR_PARSE },
		{ "X / HTTP/1.1\r\n", "Unsupported HTTP method.", HTTP_PART_METHOD, HTTP_ERROR_PARSE },
		{ "GET / X\r\n", "Unsupported HTTP version.", HTTP_PART_VERSION, HTTP_ERROR_PARSE },
		{ "GET  \r\n", "Empty URI not allowed.", HTTP_PART_URI, HTTP_ERROR_PARSE },
		{ HEAD "X\r\n", "Header is incorrectly formatted. Key: X", HTTP_PART_HEADER,
		  HTTP_ERROR_PARSE },
		{ HEAD "Content-Length: 51201\r\n\r\n", "Request payload with size 51201 is larger than "
		  "the limit of 51200 allowed by server.", HTTP_PART_REQUEST, HTTP_ERROR_TOO_LARGE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		enum http_error_kind kind;
		struct http_parser parser;
		const char *text;
		size_t used, len;

		http_parser_init(&parser, LIMIT);
		assert_int_equal(http_parser_feed(&parser, table[i].in, strlen(table[i].in), &used),
				 HTTP_ERROR);
		assert_int_equal(http_parser_error_part(&parser, &text, &len), table[i].part);
		assert_int_equal(len, strlen(table[i].want));
		assert_memory_equal(text, table[i].want, len);
		http_parser_error(&parser, &len, &kind);
		assert_int_equal(kind, table[i].kind);
		http_parser_done(&parser);
	}
}

static void running_out_of_memory_is_told(void **state)
{
	static const char *const inputs[] = {
		HEAD "Content-Length: 1\r\n\r\nx",	/* no room for the body */
		CHUNKED "1\r\nx",
		"\r\n",					/* no room for the text */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
		enum http_error_kind kind;
		struct http_parser parser;
		enum http_event event;
		const char *text;
		size_t used, len;

		http_parser_init(&parser, LIMIT);
		no_memory = true;
		event = http_parser_feed(&parser, inputs[i], strlen(inputs[i]), &used);
		no_memory = false;
		assert_int_equal(event, HTTP_ERROR);
		text = http_parser_error(&parser, &len, &kind);
		assert_int_equal(kind, HTTP_ERROR_NO_MEMORY);
		assert_memory_equal(text, "out of memory", len);
		assert_int_equal(http_parser_error_part(&parser, &text, &len), HTTP_PART_REQUEST);
		assert_memory_equal(text, "out of memory", len);
		http_parser_done(&parser);
	}
}

struct noting_parser {
	struct http_parser parser;
	struct buf notes;
};

static void note_header(struct http_parser *parser, const char *name, size_t name_len,
			const char *value, size_t value_len)
{
	struct noting_parser *noting = container_of(parser, struct noting_parser, parser);

	buf_addf(&noting->notes, "[%.*s|%.*s]", (int)name_len, name, (int)value_len, value);
}

static void header_lines_can_be_listened_to(void **state)
{
	static const char in[] =
		"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n X-Token : \ta b \r\nEmpty:\r\n"
		"Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: y\r\n\r\n";

	for (size_t piece = 1; piece <= sizeof(in); piece++) {
		CLEANUP(buf_done) struct buf out = BUF_INIT;
		struct noting_parser noting = { .notes = BUF_INIT };

		http_parser_init(&noting.parser, LIMIT);
		noting.parser.header = note_header;
		for (size_t at = 0; at < sizeof(in) - 1; at += piece) {
			size_t len = sizeof(in) - 1 - at < piece ? sizeof(in) - 1 - at : piece;

			feed_piece(*state, &noting.parser, in + at, len, &out);
		}
		assert_string_equal(buf_str(&out), "PUT /latest/api/token HTTP/1.1\n");
		assert_string_equal(buf_str(&noting.notes),
				    "[Host|x][X-Token|a b][Empty|][Transfer-Encoding|chunked]");
		buf_done(&noting.notes);
		http_parser_done(&noting.parser);
	}
}

static void requests_that_are_held_have_lines_of_any_length(void **state)
{
	CLEANUP(buf_done) struct buf in = BUF_INIT;
	const struct http_request *request;
	struct http_parser parser;
	size_t used;

	(void)state;
	add_line(&in, 3000, "GET /", " HTTP/1.1");
	add_line(&in, 3000, "A: ", "");
	buf_adds(&in, "\r\n");
	http_parser_init(&parser, LIMIT);
	parser.held = true;
	assert_int_equal(http_parser_feed(&parser, in.data, in.len, &used), HTTP_REQUEST);
	assert_int_equal(used, in.len);
	request = http_parser_request(&parser);
	assert_ptr_equal(request->uri, in.data + 4);
	assert_int_equal(request->uri_len, 3000 - strlen("GET  HTTP/1.1\r\n"));
	/* An end within a line is no end of it. */
	assert_int_equal(http_parser_feed(&parser, in.data, 2999, &used), HTTP_NEED_MORE);
	assert_int_equal(parser.state, HTTP_STATE_REQUEST_LINE);
	http_parser_done(&parser);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_lines_are_read),
		cmocka_unit_test(wrong_request_lines_are_refused),
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(wrong_headers_are_refused),
		cmocka_unit_test(connection_close_is_seen),
		cmocka_unit_test(answers_must_be_allowed_plain),
		cmocka_unit_test(continue_is_asked_for),
		cmocka_unit_test(chunks_are_joined),
		cmocka_unit_test(wrong_chunks_are_refused),
		cmocka_unit_test(a_line_may_have_1024_bytes),
		cmocka_unit_test(longer_lines_are_refused),
		cmocka_unit_test(a_long_header_that_is_not_utf8_is_shown_in_utf8),
		cmocka_unit_test(body_limit_is_inclusive),
		cmocka_unit_test(what_chunks_carry_besides_data_is_bounded),
		cmocka_unit_test(headers_may_be_many),
		cmocka_unit_test(a_get_allocates_nothing),
		cmocka_unit_test(body_memory_grows_with_what_arrives),
		cmocka_unit_test(body_memory_is_kept_only_when_small),
		cmocka_unit_test(idle_is_between_requests),
		cmocka_unit_test(only_what_belongs_to_a_request_is_consumed),
		cmocka_unit_test(a_failed_parser_takes_nothing_more),
		cmocka_unit_test(errors_name_the_part),
		cmocka_unit_test(running_out_of_memory_is_told),
		cmocka_unit_test(header_lines_can_be_listened_to),
		cmocka_unit_test(requests_that_are_held_have_lines_of_any_length),
	};

	return cmocka_run_group_tests_name("http request", tests, map_guarded, unmap_guarded);
}
