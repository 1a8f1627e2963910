/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP, the store and the tokens, through a connection. The tables are those of the contract. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mmds/mmds_internal.h"
#include "mmds/test_client.h"

#define DOCUMENT \
	"{\"age\":43,\"arr\":[\"zero\",{\"k\":\"v\"},[1,2]],\"empty\":{},\"esc\":\"a\\\"b\\n\\u00e9\"," \
	"\"float\":1.5,\"latest\":{\"meta-data\":{\"ami-id\":\"ami-1\",\"nested\":{\"a\":\"b\"}}}," \
	"\"none\":null,\"s~l/sh\":\"tilde\",\"str\":\"text\",\"void\":\"\",\"yes\":true}"

/* The answer's bytes: head lines that all have, then what differs. */
static void expect(const char *name, const char *got, const char *version, int status,
		   const char *extra, const char *type, const char *body)
{
	char *want = NULL;

	assert_true(asprintf(&want, "%s %d \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
			     "%sContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
			     version, status, extra, type, strlen(body), body) > 0);
	if (got == NULL || strcmp(got, want) != 0)
		fail_msg("%s: got\n%s\nwant\n%s", name, got, want);
	free(want);
}

struct row {
	const char *name;
	const char *request;
	int status;
	const char *type;
	const char *body;
};

#define PLAIN "text/plain"
#define JSON  "application/json"

/* Each row on a connection of its own, and all on one. */
static void check_rows(struct guest *guest, const char *version, const struct row *rows,
		       size_t count)
{
	struct client kept, client;

	client_init(&kept, guest, 1000);
	client_open(&kept);
	for (size_t i = 0; i < count; i++) {
		const struct row *row = &rows[i];
		const char *extra = row->status == 405 ? "Allow: GET, PUT\r\n" : "";

		client_init(&client, guest, (uint16_t)(2000 + i));
		client_open(&client);
		expect(row->name, client_ask(&client, row->request), version, row->status, extra,
		       row->type, row->body);
		client_segment(&client, TCP_ACK | TCP_FIN, NULL, 0);
		client_take(&client);
		assert_true(client.fin);
		client_done(&client);
		expect(row->name, client_ask(&kept, row->request), version, row->status, extra,
		       row->type, row->body);
	}
	client_done(&kept);
}

#define GET(path)	 "GET " path " HTTP/1.1\r\n\r\n"
#define GET_JSON(path)	 "GET " path " HTTP/1.1\r\nAccept: application/json\r\n\r\n"
#define UNSUPPORTED	 "Cannot retrieve value. The value has an unsupported type."
#define MISSING(uri)	 "Resource not found: " uri "."

static void values_are_told(void **state)
{
	static const struct row rows[] = {
		{ "the whole, as a list", GET("/"), 200, PLAIN,
		  "age\narr\nempty/\nesc\nfloat\nlatest/\nnone\nstr\ns~l/sh\nvoid\nyes" },
		{ "the whole, as JSON", GET_JSON("/"), 200, JSON,
		  "{\"age\":43,\"arr\":[\"zero\",{\"k\":\"v\"},[1,2]],\"empty\":{},"
		  "\"esc\":\"a\\\"b\\n\xc3\xa9\",\"float\":1.5,"
		  "\"latest\":{\"meta-data\":{\"ami-id\":\"ami-1\",\"nested\":{\"a\":\"b\"}}},"
		  "\"none\":null,\"str\":\"text\",\"s~l/sh\":\"tilde\",\"void\":\"\",\"yes\":true}" },
		{ "a string", GET("/str"), 200, PLAIN, "text" },
		{ "a string as JSON", GET_JSON("/str"), 200, JSON, "\"text\"" },
		{ "a string that is escaped in JSON", GET("/esc"), 200, PLAIN, "a\"b\n\xc3\xa9" },
		{ "the same as JSON", GET_JSON("/esc"), 200, JSON, "\"a\\\"b\\n\xc3\xa9\"" },
		{ "an empty string", GET("/void"), 200, PLAIN, "" },
		{ "an empty object", GET("/empty"), 200, PLAIN, "" },
		{ "an empty object as JSON", GET_JSON("/empty"), 200, JSON, "{}" },
		{ "an object", GET("/latest/meta-data"), 200, PLAIN, "ami-id\nnested/" },
		{ "an object as JSON", GET_JSON("/latest/meta-data"), 200, JSON,
		  "{\"ami-id\":\"ami-1\",\"nested\":{\"a\":\"b\"}}" },
		{ "a number", GET("/age"), 501, PLAIN, UNSUPPORTED },
		{ "a number as JSON", GET_JSON("/age"), 200, JSON, "43" },
		{ "a fraction", GET_JSON("/float"), 200, JSON, "1.5" },
		{ "true", GET("/yes"), 501, PLAIN, UNSUPPORTED },
		{ "true as JSON", GET_JSON("/yes"), 200, JSON, "true" },
		{ "null", GET("/none"), 501, PLAIN, UNSUPPORTED },
		{ "null as JSON", GET_JSON("/none"), 200, JSON, "null" },
		{ "an array", GET("/arr"), 501, PLAIN, UNSUPPORTED },
		{ "an array as JSON", GET_JSON("/arr"), 200, JSON, "[\"zero\",{\"k\":\"v\"},[1,2]]" },
		{ "the first item", GET("/arr/0"), 200, PLAIN, "zero" },
		{ "an object in an array", GET("/arr/1"), 200, PLAIN, "k" },
		{ "a member of it", GET("/arr/1/k"), 200, PLAIN, "v" },
		{ "an item of an item", GET_JSON("/arr/2/1"), 200, JSON, "2" },
		{ "one past the last item", GET("/arr/3"), 404, PLAIN, MISSING("/arr/3") },
		{ "an index with a zero in front", GET("/arr/00"), 404, PLAIN, MISSING("/arr/00") },
		{ "an index with a sign", GET("/arr/+1"), 404, PLAIN, MISSING("/arr/+1") },
		{ "the item after the last", GET("/arr/-"), 404, PLAIN, MISSING("/arr/-") },
		{ "an index that wraps", GET("/arr/18446744073709551616"), 404, PLAIN,
		  MISSING("/arr/18446744073709551616") },
		{ "below a string", GET("/str/x"), 404, PLAIN, MISSING("/str/x") },
		{ "escapes", GET("/s~0l~1sh"), 200, PLAIN, "tilde" },
		{ "an escape that is none", GET("/s~2l"), 404, PLAIN, MISSING("/s~2l") },
		{ "a tilde at the end", GET("/s~"), 404, PLAIN, MISSING("/s~") },
		{ "a prefix of a key", GET("/ag"), 404, PLAIN, MISSING("/ag") },
		{ "a key and more", GET("/agee"), 404, PLAIN, MISSING("/agee") },
		{ "other case", GET("/Age"), 404, PLAIN, MISSING("/Age") },
		{ "a slash at the end", GET("/latest/meta-data/"), 200, PLAIN, "ami-id\nnested/" },
		{ "many slashes", GET("//latest///meta-data//ami-id//"), 200, PLAIN, "ami-1" },
		{ "nothing but slashes", GET_JSON("////arr//0"), 200, JSON, "\"zero\"" },
		{ "the URI as it was sent", GET("//no//such//"), 404, PLAIN, MISSING("//no//such//") },
		{ "no query", GET("/str?x=1"), 404, PLAIN, MISSING("/str?x=1") },
		{ "no percent escapes", GET("/%73tr"), 404, PLAIN, MISSING("/%73tr") },
		{ "a URI with a host", GET("http://169.254.169.254/str"), 200, PLAIN, "text" },
		{ "a URI with a host alone", GET("http://169.254.169.254"), 400, PLAIN, "Invalid URI." },
		{ "a URI without a slash", GET("str"), 400, PLAIN, "Invalid URI." },
		{ "Accept of everything", "GET /str HTTP/1.1\r\nAccept: */*\r\n\r\n", 200, PLAIN, "text" },
		{ "an empty Accept", "GET /str HTTP/1.1\r\nAccept:\r\n\r\n", 200, PLAIN, "text" },
		{ "Accept in capitals", "GET /str HTTP/1.1\r\nACCEPT:application/json\r\n\r\n", 200,
		  JSON, "\"text\"" },
		{ "Accept that we do not know after one that we do",
		  "GET /str HTTP/1.1\r\nAccept: application/json\r\nAccept: */*\r\n\r\n", 200,
		  JSON, "\"text\"" },
		{ "the last Accept counts",
		  "GET /str HTTP/1.1\r\nAccept: application/json\r\nAccept: text/plain\r\n\r\n", 200,
		  PLAIN, "text" },
		{ "a parameter of Accept", "GET /str HTTP/1.1\r\nAccept: application/json;q=1\r\n\r\n",
		  200, PLAIN, "text" },
		{ "PATCH", "PATCH / HTTP/1.1\r\n\r\n", 405, PLAIN, "Not allowed HTTP method." },
		{ "DELETE", "DELETE / HTTP/1.1\r\n\r\n", 405, PLAIN, "Not allowed HTTP method." },
		{ "PATCH with a body", "PATCH / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 405, PLAIN,
		  "Not allowed HTTP method." },
	};
	struct guest guest;

	(void)state;
	guest_init(&guest, DOCUMENT);
	check_rows(&guest, "HTTP/1.1", rows, ARRAY_SIZE(rows));
	assert_int_equal(guest.metrics->mmds.rx_invalid_token.value, 0);
	assert_true(guest.metrics->mmds.rx_no_token.value > 80);
	guest_done(&guest);
}

static void the_version_is_the_request_s(void **state)
{
	static const struct row rows[] = {
		{ "found", "GET /str HTTP/1.0\r\n\r\n", 200, PLAIN, "text" },
		{ "not found", "GET /x HTTP/1.0\r\n\r\n", 404, PLAIN, MISSING("/x") },
		{ "PATCH", "PATCH / HTTP/1.0\r\n\r\n", 405, PLAIN, "Not allowed HTTP method." },
	};
	struct guest guest;

	(void)state;
	guest_init(&guest, DOCUMENT);
	check_rows(&guest, "HTTP/1.0", rows, ARRAY_SIZE(rows));
	guest_done(&guest);
}

static void what_is_no_request_is_refused(void **state)
{
	static const char invalid[] = "Invalid request.";
	static const struct row rows[] = {
		{ "POST", "POST / HTTP/1.1\r\n\r\n", 501, JSON, "Unsupported HTTP method." },
		{ "HEAD", "HEAD / HTTP/1.1\r\n\r\n", 501, JSON, "Unsupported HTTP method." },
		{ "get", "get / HTTP/1.1\r\n\r\n", 501, JSON, "Unsupported HTTP method." },
		{ "HTTP/2.0", "GET / HTTP/2.0\r\n\r\n", 501, JSON, "Unsupported HTTP version." },
		{ "HTTP/1.1 and more", "GET / HTTP/1.1 \r\n\r\n", 501, JSON, "Unsupported HTTP version." },
		{ "an empty URI", "DELETE  HTTP/1.1\r\n\r\n", 400, JSON, "Empty URI not allowed." },
		{ "an empty URI in the shortest line", "GET  HTTP/1.1\r\n\r\n", 400, JSON, invalid },
		{ "a URI that is not UTF-8", "GET /\xff HTTP/1.1\r\n\r\n", 400, JSON,
		  "Cannot parse URI as UTF-8." },
		{ "no version", "GET /aaaaaaaaaaaa\r\n\r\n", 400, JSON, invalid },
		{ "one word", "GETGETGETGETGETGET\r\n\r\n", 400, JSON, invalid },
		{ "too short a line", "X / HTTP/1.1\r\n\r\n", 400, JSON, invalid },
		{ "an empty line", "\r\n\r\n", 400, JSON, invalid },
		{ "lines without CR", "GET / HTTP/1.1\n\n", 400, JSON, invalid },
		{ "a head's end without CR", "GET / HTTP/1.1\r\nA: b\n\r\n", 400, JSON, invalid },
		{ "a header without colon", "GET / HTTP/1.1\r\nabc\r\n\r\n", 400, JSON,
		  "Header is incorrectly formatted. Key: abc" },
		{ "a bad length", "GET / HTTP/1.1\r\nContent-Length: alpha\r\n\r\n", 400, JSON,
		  "Invalid value. Key:Content-Length; Value: alpha" },
		{ "a coding that is refused", "GET / HTTP/1.1\r\nAccept-Encoding: identity;q=0\r\n\r\n",
		  400, JSON, "Invalid value. Key:Accept-Encoding; Value:identity;q=0" },
		{ "no coding", "GET / HTTP/1.1\r\nAccept-Encoding:\r\n\r\n", 400, JSON, invalid },
		{ "a header that is not UTF-8", "GET / HTTP/1.1\r\nA: \xff\r\n\r\n", 400, JSON, invalid },
		{ "the same after another fault", "GET / HTTP/1.1\r\nabc\r\nA: \xff\r\n\r\n", 400, JSON,
		  invalid },
		{ "GET with a body", "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400, JSON, invalid },
		{ "DELETE with a body", "DELETE / HTTP/1.1\r\nContent-Length: 1\r\n\r\na", 400, JSON,
		  invalid },
		{ "PUT with too long a body", "PUT / HTTP/1.1\r\nContent-Length: 2501\r\n\r\n", 400, JSON,
		  invalid },
	};
	struct guest guest;

	(void)state;
	guest_init(&guest, DOCUMENT);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strstr(rows[i].request, "2501") == NULL)
			check_rows(&guest, "HTTP/1.1", &rows[i], 1);
		mmds_stack_reset(guest.stack);
	}
	check_rows(&guest, "HTTP/1.1", rows, ARRAY_SIZE(rows) - 1);
	guest_done(&guest);
}

static void a_body_that_is_cut_is_refused(void **state)
{
	struct guest guest;
	struct client client;

	(void)state;
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 1000);
	client_open(&client);
	assert_string_equal(client_ask(&client, "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"), "");
	client_segment(&client, TCP_ACK | TCP_FIN, NULL, 0);
	client_take(&client);
	expect("cut", buf_str(&client.received), "HTTP/1.1", 400, "", JSON, "Invalid request.");
	assert_true(client.fin);
	client_done(&client);
	guest_done(&guest);
}

static void a_body_too_long_is_dropped_as_it_comes(void **state)
{
	static const char request[] = "PUT / HTTP/1.1\r\nContent-Length: 6000\r\n\r\n";
	struct guest guest;
	struct client client;
	char piece[2001] = { 0 };

	(void)state;
	memset(piece, '\n', sizeof(piece) - 1);
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 1000);
	client_open(&client);
	expect("too long", client_ask(&client, request), "HTTP/1.1", 400, "", JSON, "Invalid request.");
	for (int i = 0; i < 3; i++)
		assert_string_equal(client_ask(&client, piece), "");
	expect("the next", client_ask(&client, GET("/str")), "HTTP/1.1", 200, "", PLAIN, "text");
	client_done(&client);
	guest_done(&guest);
}

static void lines_may_be_long(void **state)
{
	struct guest guest;
	struct client client;
	char *request = NULL, *body = NULL, path[2001] = { 0 };

	(void)state;
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 1000);
	client_open(&client);
	assert_true(asprintf(&request, "GET %s HTTP/1.1\r\n\r\n", path) > 0);
	assert_true(asprintf(&body, MISSING("%s"), path) > 0);
	expect("URI", client_ask(&client, request), "HTTP/1.1", 404, "", PLAIN, body);
	free(request);
	assert_true(asprintf(&request, "GET /str HTTP/1.1\r\nCookie: %s\r\n\r\n", path) > 0);
	expect("header", client_ask(&client, request), "HTTP/1.1", 200, "", PLAIN, "text");
	free(request);
	free(body);
	client_done(&client);
	guest_done(&guest);
}

static void with_imds_compat_there_is_no_json(void **state)
{
	static const struct row rows[] = {
		{ "plain", GET("/str"), 200, PLAIN, "text" },
		{ "a string", GET_JSON("/str"), 200, JSON, "text" },
		{ "an object", GET_JSON("/latest"), 200, JSON, "meta-data/" },
		{ "a number", GET_JSON("/age"), 501, PLAIN, UNSUPPORTED },
	};
	struct guest guest;

	(void)state;
	guest_init(&guest, DOCUMENT);
	guest_configure(&guest, SQUIB_MMDS_V1, true);
	check_rows(&guest, "HTTP/1.1", rows, ARRAY_SIZE(rows));
	guest_done(&guest);
}

static void a_store_that_nobody_filled_is_null(void **state)
{
	static const struct row rows[] = {
		{ "as JSON", GET_JSON("/"), 200, JSON, "null" },
		{ "as text", GET("/"), 501, PLAIN, UNSUPPORTED },
		{ "below", GET("/a"), 404, PLAIN, MISSING("/a") },
	};
	struct guest guest;

	(void)state;
	guest_init(&guest, NULL);
	check_rows(&guest, "HTTP/1.1", rows, ARRAY_SIZE(rows));
	guest_done(&guest);
}

static void any_value_can_be_the_store(void **state)
{
	static const struct { const char *document, *request; int status; const char *type, *body; }
	cases[] = {
		{ "\"a\"", GET("/"), 200, PLAIN, "a" },
		{ "[ \"a\" , 2 ]", GET_JSON("/"), 200, JSON, "[\"a\",2]" },
		{ "[\"a\"]", GET("/0"), 200, PLAIN, "a" },
		{ "{\"\":1}", GET_JSON("/"), 200, JSON, "{\"\":1}" },
		{ "{\"\":1}", GET("/"), 200, PLAIN, "" },
		{ "{\"b\":1,\"a\":{\"d\":2,\"c\":3},\"b\":4}", GET_JSON("/"), 200, JSON,
		  "{\"a\":{\"c\":3,\"d\":2},\"b\":4}" },
		{ "1e15", GET_JSON("/"), 200, JSON, "1000000000000000.0" },
		{ "-0", GET_JSON("/"), 200, JSON, "-0.0" },
		{ "18446744073709551615", GET_JSON("/"), 200, JSON, "18446744073709551615" },
		{ "{}", GET("/"), 200, PLAIN, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct row row = { cases[i].document, cases[i].request, cases[i].status,
					 cases[i].type, cases[i].body };
		struct guest guest;

		guest_init(&guest, cases[i].document);
		check_rows(&guest, "HTTP/1.1", &row, 1);
		guest_done(&guest);
	}
}

static void what_is_no_json_changes_nothing(void **state)
{
	static const struct row row = { "still there", GET("/str"), 200, PLAIN, "text" };
	struct guest guest;

	(void)state;
	guest_init(&guest, DOCUMENT);
	assert_true(mmds_set_document(guest.mmds, "{", 1) < 0);
	check_rows(&guest, "HTTP/1.1", &row, 1);
	guest_done(&guest);
}

/* Tokens */

#define TTL_MISSING "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or " \
	"`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime."
#define TTL_BOUNDS(n) "Invalid time to live value provided for token: " n \
	". Please provide a value between 1 and 21600."
#define PUT(headers) "PUT /latest/api/token HTTP/1.1\r\n" headers "\r\n"
#define TTL(value)   PUT("X-metadata-token-ttl-seconds: " value "\r\n")

static void bad_requests_for_tokens_are_refused(void **state)
{
	static const struct row rows[] = {
		{ "forwarded", PUT("X-Forwarded-For: a\r\nX-metadata-token-ttl-seconds: 60\r\n"), 400,
		  PLAIN, "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For" },
		{ "forwarded to another path, in small letters",
		  "PUT /x HTTP/1.1\r\nx-forwarded-for:\r\n\r\n", 400, PLAIN,
		  "Invalid header. Reason: Unsupported header name. Key: x-forwarded-for" },
		{ "another path", "PUT /token HTTP/1.1\r\n\r\n", 404, PLAIN, MISSING("/token") },
		{ "a slash at the end", "PUT /latest/api/token/ HTTP/1.1\r\n\r\n", 404, PLAIN,
		  MISSING("/latest/api/token/") },
		{ "no time to live", PUT(""), 400, PLAIN, TTL_MISSING },
		{ "no number", TTL("abc"), 400, PLAIN,
		  "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:abc" },
		{ "nothing", TTL(""), 400, PLAIN,
		  "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:" },
		{ "below 0", PUT("x-aws-ec2-metadata-token-ttl-seconds:  -1 \r\n"), 400, PLAIN,
		  "Invalid header. Reason: Invalid value. Key:x-aws-ec2-metadata-token-ttl-seconds; "
		  "Value:-1" },
		{ "33 bits", TTL("4294967296"), 400, PLAIN,
		  "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; "
		  "Value:4294967296" },
		{ "32 bits", TTL("4294967295"), 400, PLAIN, TTL_BOUNDS("4294967295") },
		{ "0", TTL("0"), 400, PLAIN, TTL_BOUNDS("0") },
		{ "one too many", TTL("21601"), 400, PLAIN, TTL_BOUNDS("21601") },
	};

	(void)state;
	for (enum squib_mmds_version version = SQUIB_MMDS_V1; version <= SQUIB_MMDS_V2; version++) {
		struct guest guest;

		guest_init(&guest, DOCUMENT);
		guest_configure(&guest, version, false);
		check_rows(&guest, "HTTP/1.1", rows, ARRAY_SIZE(rows));
		guest_done(&guest);
	}
}

/* Ask for a token; the answer but for the token is checked. */
static void get_token(struct client *client, const char *request, const char *echo, char *ret_token)
{
	const char *answer = client_ask(client, request), *body = strstr(answer, "\r\n\r\n");

	assert_non_null(body);
	snprintf(ret_token, TOKEN_LEN + 1, "%s", body + 4);
	assert_int_equal(strlen(body + 4), TOKEN_LEN);
	assert_int_equal(strspn(ret_token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				"0123456789+/"), TOKEN_LEN);
	expect(request, answer, "HTTP/1.1", 200, echo, PLAIN, ret_token);
}

static const char *ask_with(struct client *client, const char *header, const char *token)
{
	char request[2000];

	snprintf(request, sizeof(request), "GET /str HTTP/1.1\r\n%s: %s\r\n\r\n", header, token);
	return client_ask(client, request);
}

struct session {
	struct guest guest;
	struct client client;
	char token[TOKEN_LEN + 1];
};

static void session_init(struct session *session, enum squib_mmds_version version)
{
	guest_init(&session->guest, DOCUMENT);
	guest_configure(&session->guest, version, false);
	client_init(&session->client, &session->guest, 1000);
	client_open(&session->client);
	get_token(&session->client, TTL("60"), "X-metadata-token-ttl-seconds: 60\r\n",
		  session->token);
}

static void session_done(struct session *session)
{
	client_done(&session->client);
	guest_done(&session->guest);
}

static void expect_granted(const char *got)
{
	expect("granted", got, "HTTP/1.1", 200, "", PLAIN, "text");
}

static void expect_denied(const char *got)
{
	expect("denied", got, "HTTP/1.1", 401, "", PLAIN, "MMDS token not valid.");
}

static void v2_wants_a_token(void **state)
{
	struct session s;
	const struct metrics_mmds *counters;
	char other[TOKEN_LEN + 1];

	(void)state;
	session_init(&s, SQUIB_MMDS_V2);
	counters = &s.guest.metrics->mmds;
	get_token(&s.client, PUT("x-AWS-ec2-metadata-token-TTL-seconds: +021600\r\n"),
		  "x-AWS-ec2-metadata-token-TTL-seconds: 21600\r\n", other);
	assert_string_not_equal(s.token, other);
	expect_granted(ask_with(&s.client, "X-metadata-token", s.token));
	expect_granted(ask_with(&s.client, "x-METADATA-token", other));
	expect_granted(ask_with(&s.client, "X-aws-ec2-metadata-token", s.token));
	assert_int_equal(counters->rx_no_token.value + counters->rx_invalid_token.value, 0);
	expect("no token", client_ask(&s.client, GET("/str")), "HTTP/1.1", 401, "", PLAIN,
	       "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header "
	       "to specify the session token.");
	assert_int_equal(counters->rx_no_token.value, 1);
	expect_denied(ask_with(&s.client, "X-metadata-token", "INVALID_TOKEN"));
	assert_int_equal(counters->rx_invalid_token.value, 1);
	session_done(&s);
}

static void v1_takes_any_token_and_none(void **state)
{
	struct session s;
	const struct metrics_mmds *counters;

	(void)state;
	session_init(&s, SQUIB_MMDS_V1);
	counters = &s.guest.metrics->mmds;
	expect_granted(ask_with(&s.client, "X-metadata-token", s.token));
	assert_int_equal(counters->rx_no_token.value + counters->rx_invalid_token.value, 0);
	expect_granted(ask_with(&s.client, "X-metadata-token", "INVALID_TOKEN"));
	assert_int_equal(counters->rx_invalid_token.value, 1);
	expect_granted(client_ask(&s.client, GET("/str")));
	assert_int_equal(counters->rx_no_token.value, 1);
	session_done(&s);
}

static void tokens_expire(void **state)
{
	struct session s;

	(void)state;
	session_init(&s, SQUIB_MMDS_V2);
	s.guest.now_ns += 60 * SECOND_NS - 1;
	expect_granted(ask_with(&s.client, "X-metadata-token", s.token));
	s.guest.now_ns += 1;
	expect_denied(ask_with(&s.client, "X-metadata-token", s.token));
	session_done(&s);
}

static void each_bit_of_a_token_counts(void **state)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct session s;
	char token[TOKEN_LEN + 1];

	(void)state;
	session_init(&s, SQUIB_MMDS_V2);
	for (size_t i = 0; i < TOKEN_LEN; i++) {
		for (int bit = 0; bit < 6; bit++) {
			size_t digit = (size_t)(strchr(alphabet, s.token[i]) - alphabet);

			memcpy(token, s.token, sizeof(token));
			token[i] = alphabet[digit ^ (1u << bit)];
			expect_denied(ask_with(&s.client, "X-metadata-token", token));
		}
	}
	expect_granted(ask_with(&s.client, "X-metadata-token", s.token));
	session_done(&s);
}

static void odd_tokens_are_refused(void **state)
{
	struct session s;
	char token[1000], blanks[TOKEN_LEN + 1];

	(void)state;
	session_init(&s, SQUIB_MMDS_V2);
	expect_denied(ask_with(&s.client, "X-metadata-token", ""));
	for (size_t len = 1; len < TOKEN_LEN; len++) {
		snprintf(token, sizeof(token), "%.*s", (int)len, s.token);
		expect_denied(ask_with(&s.client, "X-metadata-token", token));
	}
	snprintf(token, sizeof(token), "%s=", s.token);
	expect_denied(ask_with(&s.client, "X-metadata-token", token));
	snprintf(token, sizeof(token), "%s%s", s.token, s.token);
	expect_denied(ask_with(&s.client, "X-metadata-token", token));
	memset(token, 'A', sizeof(token) - 1);
	token[sizeof(token) - 1] = '\0';
	expect_denied(ask_with(&s.client, "X-metadata-token", token));
	memcpy(blanks, s.token, sizeof(blanks));
	blanks[10] = '\t';
	expect_denied(ask_with(&s.client, "X-metadata-token", blanks));
	memcpy(blanks, s.token, sizeof(blanks));
	memcpy(blanks + TOKEN_LEN - 2, "==", 2);
	expect_denied(ask_with(&s.client, "X-metadata-token", blanks));
	session_done(&s);
}

static void tokens_belong_to_an_instance_and_a_process(void **state)
{
	struct token_authority here, there;
	char token[TOKEN_LEN];

	(void)state;
	assert_int_equal(token_authority_init(&here, "here"), 0);
	assert_int_equal(token_authority_init(&there, "there"), 0);
	memset(token, 'A', sizeof(token));
	assert_false(token_is_valid(&here, token, sizeof(token), 0));	/* none was issued yet */
	assert_int_equal(token_issue(&here, 1, 0, token), 0);
	assert_true(token_is_valid(&here, token, sizeof(token), 0));
	assert_int_equal(token_issue(&there, 1, 0, (char[TOKEN_LEN]){ 0 }), 0);
	assert_false(token_is_valid(&there, token, sizeof(token), 0));
	there.cipher = here.cipher;
	assert_false(token_is_valid(&there, token, sizeof(token), 0));	/* the same key, another id */
	token_authority_done(&here);
	token_authority_done(&there);
}

static void the_key_is_changed_in_time(void **state)
{
	struct token_authority authority;
	char old[TOKEN_LEN], new[TOKEN_LEN];

	(void)state;
	assert_int_equal(token_authority_init(&authority, "id"), 0);
	assert_int_equal(token_issue(&authority, 1, 0, old), 0);
	authority.issued = UINT32_MAX - 1;
	assert_int_equal(token_issue(&authority, 1, 0, new), 0);
	assert_true(token_is_valid(&authority, old, sizeof(old), 0));
	assert_int_equal(token_issue(&authority, 1, 0, new), 1);
	assert_int_equal(authority.issued, 1);
	assert_false(token_is_valid(&authority, old, sizeof(old), 0));
	assert_true(token_is_valid(&authority, new, sizeof(new), 0));
	token_authority_done(&authority);
}

/* The tag is another implementation's, BearSSL's. */
static void the_cipher_is_aes_256_gcm(void **state)
{
	static const uint8_t tag[] = { 0x45, 0x24, 0x7f, 0x2b, 0x45, 0xb5, 0x73, 0x8c,
				       0x0c, 0x8d, 0x4c, 0x57, 0x5a, 0x26, 0xcd, 0x29 };
	static const uint8_t zeros[32], one[8] = { 1 };
	struct gcm_aes256_ctx cipher;
	uint8_t out[8], got[16];

	(void)state;
	gcm_aes256_set_key(&cipher, zeros);
	gcm_aes256_set_iv(&cipher, 12, zeros);
	gcm_aes256_update(&cipher, 3, (const uint8_t *)"abc");
	gcm_aes256_encrypt(&cipher, sizeof(out), out, one);
	gcm_aes256_digest(&cipher, sizeof(got), got);
	assert_memory_equal(got, tag, sizeof(tag));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_told),
		cmocka_unit_test(the_version_is_the_request_s),
		cmocka_unit_test(what_is_no_request_is_refused),
		cmocka_unit_test(a_body_that_is_cut_is_refused),
		cmocka_unit_test(a_body_too_long_is_dropped_as_it_comes),
		cmocka_unit_test(lines_may_be_long),
		cmocka_unit_test(with_imds_compat_there_is_no_json),
		cmocka_unit_test(a_store_that_nobody_filled_is_null),
		cmocka_unit_test(any_value_can_be_the_store),
		cmocka_unit_test(what_is_no_json_changes_nothing),
		cmocka_unit_test(bad_requests_for_tokens_are_refused),
		cmocka_unit_test(v2_wants_a_token),
		cmocka_unit_test(v1_takes_any_token_and_none),
		cmocka_unit_test(tokens_expire),
		cmocka_unit_test(each_bit_of_a_token_counts),
		cmocka_unit_test(odd_tokens_are_refused),
		cmocka_unit_test(tokens_belong_to_an_instance_and_a_process),
		cmocka_unit_test(the_key_is_changed_in_time),
		cmocka_unit_test(the_cipher_is_aes_256_gcm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
