/* SPDX-License-Identifier: Apache-2.0 */
/* Expected faults were told by serde_json 1.0.149 for the same documents. */
#include "json/reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "json/debug_text.h"
#include "json/test_guard.h"

#define TEXT(s) (s), sizeof(s) - 1
#define SAME "same"

/* Runs @read over a whole document that ends at the end of memory. */
static int read_document(int (*read)(struct json_reader *reader), const char *json, size_t len,
			 struct fault *fault)
{
	struct guarded guarded = guarded_new(len);
	struct json_reader reader;
	int r;

	json_reader_init(&reader, guarded_copy(&guarded, json, len), len, fault);
	r = read(&reader);
	if (r == 0)
		r = json_reader_end(&reader);
	json_reader_done(&reader);
	guarded_done(&guarded);
	return r;
}

static void expect_fault(const char *name, int (*read)(struct json_reader *reader),
			 const char *json, size_t len, const char *want)
{
	struct fault fault = FAULT_INIT;
	int r = read_document(read, json, len, &fault);

	if (r != (want != NULL ? -EINVAL : 0))
		fail_msg("%s: got %d (%s)", name, r, fault_text(&fault));
	if (want != NULL && strcmp(fault_text(&fault), want) != 0)
		fail_msg("%s: got \"%s\", want \"%s\"", name, fault_text(&fault), want);
	fault_done(&fault);
}

static void broken_documents_are_refused_where_they_break(void **state)
{
	static const struct {
		const char *name;
		const char *json;
		size_t len;
		const char *check;	/* what json_check() says */
		const char *skip;	/* what json_skip() says; NULL: nothing */
	} cases[] = {
	{ "empty", TEXT(""), "EOF while parsing a value at line 1 column 0", SAME },
	{ "blanks only", TEXT(" \n "), "EOF while parsing a value at line 2 column 1", SAME },
	{ "byte order mark", TEXT("\357\273\277{}"), "expected value at line 1 column 1", SAME },
	{ "garbage", TEXT("?"), "expected value at line 1 column 1", SAME },
	{ "word cut off", TEXT("tru"), "EOF while parsing a value at line 1 column 3", SAME },
	{ "word misspelt", TEXT("nulL"), "expected ident at line 1 column 4", SAME },
	{ "word with a tail", TEXT("truex"), "trailing characters at line 1 column 5", SAME },
	{ "capital letter", TEXT("True"), "expected value at line 1 column 1", SAME },
	{ "bytes after the value", TEXT("{} x"), "trailing characters at line 1 column 4", SAME },
	{ "second value on another line", TEXT("1\n 2"),
	  "trailing characters at line 2 column 2", SAME },
	{ "object cut off after the brace", TEXT("{"),
	  "EOF while parsing an object at line 1 column 1", SAME },
	{ "object cut off after a key", TEXT("{\"a\""),
	  "EOF while parsing an object at line 1 column 4", SAME },
	{ "object cut off after the colon", TEXT("{\"a\":"),
	  "EOF while parsing a value at line 1 column 5", SAME },
	{ "object cut off after a value", TEXT("{\"a\":1"),
	  "EOF while parsing an object at line 1 column 6", SAME },
	{ "object cut off after the comma", TEXT("{\"a\":1,"),
	  "EOF while parsing a value at line 1 column 7",
	  "EOF while parsing an object at line 1 column 7" },
	{ "key without quotes", TEXT("{a:1}"), "key must be a string at line 1 column 2", SAME },
	{ "key is a number", TEXT("{\"a\":1,2:3}"),
	  "key must be a string at line 1 column 8", SAME },
	{ "no colon", TEXT("{\"a\" 1}"), "expected `:` at line 1 column 6", SAME },
	{ "no comma", TEXT("{\"a\":1 \"b\":2}"), "expected `,` or `}` at line 1 column 8", SAME },
	{ "trailing comma in an object", TEXT("{\"a\":1,}"),
	  "trailing comma at line 1 column 8", "key must be a string at line 1 column 8" },
	{ "comma only, object", TEXT("{,}"), "key must be a string at line 1 column 2", SAME },
	{ "wrong bracket closes an object", TEXT("{\"a\":1]"),
	  "expected `,` or `}` at line 1 column 7", SAME },
	{ "array cut off", TEXT("["), "EOF while parsing a list at line 1 column 1", SAME },
	{ "array cut off after a value", TEXT("[1"),
	  "EOF while parsing a list at line 1 column 2", SAME },
	{ "array cut off after the comma", TEXT("[1,"),
	  "EOF while parsing a value at line 1 column 3", SAME },
	{ "trailing comma in an array", TEXT("[1, ]"),
	  "trailing comma at line 1 column 5", "expected value at line 1 column 5" },
	{ "comma only, array", TEXT("[,]"), "expected value at line 1 column 2", SAME },
	{ "no comma in an array", TEXT("[1 2]"), "expected `,` or `]` at line 1 column 4", SAME },
	{ "wrong bracket closes an array", TEXT("[1}"),
	  "expected `,` or `]` at line 1 column 3", SAME },
	{ "leading zero", TEXT("01"), "invalid number at line 1 column 2", SAME },
	{ "minus only", TEXT("-"),
	  "EOF while parsing a value at line 1 column 1", "invalid number at line 1 column 1" },
	{ "minus and a letter", TEXT("-a"), "invalid number at line 1 column 2", SAME },
	{ "plus", TEXT("+1"), "expected value at line 1 column 1", SAME },
	{ "point without digits", TEXT("1."),
	  "EOF while parsing a value at line 1 column 2", "invalid number at line 1 column 2" },
	{ "point and a letter", TEXT("[1.x]"), "invalid number at line 1 column 4", SAME },
	{ "leading point", TEXT(".5"), "expected value at line 1 column 1", SAME },
	{ "exponent without digits", TEXT("1e"),
	  "EOF while parsing a value at line 1 column 2", "invalid number at line 1 column 2" },
	{ "exponent with a sign only", TEXT("1e+"),
	  "EOF while parsing a value at line 1 column 3", "invalid number at line 1 column 3" },
	{ "exponent and a letter", TEXT("1e+x"), "invalid number at line 1 column 4", SAME },
	{ "number over the largest double", TEXT("1e309"),
	  "number out of range at line 1 column 5", NULL },
	{ "exponent over 32 bits", TEXT("1e99999999999"),
	  "number out of range at line 1 column 12", NULL },
	{ "not a number", TEXT("NaN"), "expected value at line 1 column 1", SAME },
	{ "hex number", TEXT("0x10"), "trailing characters at line 1 column 2", SAME },
	{ "string cut off", TEXT("\"abc"), "EOF while parsing a string at line 1 column 4", SAME },
	{ "string cut off in an escape", TEXT("\"a\\"),
	  "EOF while parsing a string at line 1 column 3", SAME },
	{ "string cut off in a hex escape", TEXT("\"\\u12"),
	  "EOF while parsing a string at line 1 column 5", SAME },
	{ "control byte in a string", TEXT("\"a\001\""),
	  "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 3",
	  "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 2" },
	{ "newline in a string", TEXT("\"a\nb\""),
	  "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
	  "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 2" },
	{ "NUL in a string", TEXT("\"a\000b\""),
	  "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 3",
	  "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 2" },
	{ "unknown escape", TEXT("\"\\x\""), "invalid escape at line 1 column 3", SAME },
	{ "escaped NUL byte", TEXT("\"\\\000\""), "invalid escape at line 1 column 3", SAME },
	{ "hex escape with a bad digit", TEXT("\"\\u00g0\""),
	  "invalid escape at line 1 column 7", SAME },
	{ "low surrogate alone", TEXT("\"\\udc00\""),
	  "lone leading surrogate in hex escape at line 1 column 7", NULL },
	{ "high surrogate alone", TEXT("\"\\ud800\""),
	  "unexpected end of hex escape at line 1 column 8", NULL },
	{ "high surrogate and another escape", TEXT("\"\\ud800\\n\""),
	  "unexpected end of hex escape at line 1 column 9", NULL },
	{ "high surrogate twice", TEXT("\"\\ud800\\ud800\""),
	  "lone leading surrogate in hex escape at line 1 column 13", NULL },
	{ "high surrogate at the end", TEXT("\"\\ud800\\"),
	  "EOF while parsing a string at line 1 column 8", SAME },
	{ "not UTF-8", TEXT("\"a\377b\""), "invalid unicode code point at line 1 column 5", NULL },
	{ "UTF-8 cut off", TEXT("\"\342\202\""),
	  "invalid unicode code point at line 1 column 4", NULL },
	{ "overlong UTF-8", TEXT("\"\300\200\""),
	  "invalid unicode code point at line 1 column 4", NULL },
	{ "surrogate as UTF-8", TEXT("\"\355\240\200\""),
	  "invalid unicode code point at line 1 column 5", NULL },
	{ "beyond Unicode", TEXT("\"\364\220\200\200\""),
	  "invalid unicode code point at line 1 column 6", NULL },
	{ "key not UTF-8", TEXT("{\"\377\":1}"),
	  "invalid unicode code point at line 1 column 4", NULL },
	{ "fault on the third line", TEXT("{\n\n  \"a\": ?}"),
	  "expected value at line 3 column 8", SAME },
	{ "fault at a newline", TEXT("{\"a\":1\n"),
	  "EOF while parsing an object at line 2 column 0", SAME },
	{ "fault is the newline", TEXT("[tr\nue]"), "expected ident at line 2 column 0", SAME },
	{ "single quotes", TEXT("{'a':1}"), "key must be a string at line 1 column 2", SAME },
	{ "comment", TEXT("// x\n1"), "expected value at line 1 column 1", SAME },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *skip = cases[i].skip;

		if (skip != NULL && strcmp(skip, SAME) == 0)
			skip = cases[i].check;
		expect_fault(cases[i].name, json_check, cases[i].json, cases[i].len,
			     cases[i].check);
		expect_fault(cases[i].name, json_skip, cases[i].json, cases[i].len, skip);
	}
}

static void sound_documents_pass(void **state)
{
	static const char *const documents[] = {
		"null", " true ", "false", "0", "-0", "-12", "0.5e-3", "1E+2", "\"\"", "\"\\u00e9\"",
		"\"\\ud83d\\ude00\"", "\"\xc3\xa9\xf0\x9f\x98\x80\x7f\"", "[]", "{}", "[ ]", "{ }",
		"[1,[2,{}],\"]\"]", "{\"a\":{\"b\":[null]},\"a\":1}\r\n\t ", "1e-99999999999",
		"0e99999999999",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(documents); i++) {
		size_t len = strlen(documents[i]);

		expect_fault(documents[i], json_check, documents[i], len, NULL);
		expect_fault(documents[i], json_skip, documents[i], len, NULL);
	}
}

static void every_beginning_of_a_document_is_a_fault(void **state)
{
	static const char json[] =
		"{\"a\":[1,-2.5e+3,true,null,\"x\\n\\ud83d\\ude00\xc3\xa9\"], \"b\" : {\"c\":false}}";

	(void)state;
	for (size_t len = 0; len < sizeof(json) - 1; len++) {
		struct fault fault = FAULT_INIT;

		assert_int_equal(read_document(json_check, json, len, &fault), -EINVAL);
		assert_non_null(strstr(fault_text(&fault), " at line 1 column "));
		assert_int_equal(read_document(json_skip, json, len, &fault), -EINVAL);
		fault_done(&fault);
	}
	assert_int_equal(read_document(json_check, json, sizeof(json) - 1, NULL), 0);
}

static void nest(char *json, char open, char close, size_t depth)
{
	memset(json, open, depth);
	memset(json + depth, close, depth);
}

static void nesting_ends_at_127(void **state)
{
	static char json[20000];

	(void)state;
	nest(json, '[', ']', 127);
	expect_fault("127 arrays", json_check, json, 254, NULL);
	nest(json, '[', ']', 128);
	expect_fault("128 arrays", json_check, json, 256,
		     "recursion limit exceeded at line 1 column 128");
	nest(json, '[', ']', sizeof(json) / 2);
	expect_fault("skipped at any depth", json_skip, json, sizeof(json), NULL);
	expect_fault("skipped, one bracket short", json_skip, json, sizeof(json) - 1,
		     "EOF while parsing a list at line 1 column 19999");
}

enum wanted { WANT_BOOL, WANT_U8, WANT_U64, WANT_STRING, WANT_PATH };

static enum wanted wanted;	/* by read_wanted() */

static int read_wanted(struct json_reader *reader)
{
	struct json_text text;
	uint64_t u64;
	bool boolean;

	switch (wanted) {
	case WANT_BOOL:
		return json_read_bool(reader, &boolean);
	case WANT_U8:
		return json_read_uint(reader, UINT8_MAX, "u8", &u64);
	case WANT_U64:
		return json_read_uint(reader, UINT64_MAX, "u64", &u64);
	case WANT_STRING:
		return json_read_string(reader, "a string", &text);
	case WANT_PATH:
		return json_read_string(reader, "path string", &text);
	}
	return -ENOSYS;
}

static void wrong_types_are_named(void **state)
{
	static const struct {
		const char *name;
		enum wanted wanted;
		const char *json;
		const char *want;
	} cases[] = {
		{ "nothing", WANT_BOOL, "", "EOF while parsing a value at line 1 column 0" },
		{ "true", WANT_BOOL, "true", NULL },
		{ "false", WANT_BOOL, " false", NULL },
		{ "null for a boolean", WANT_BOOL, "null",
		  "invalid type: null, expected a boolean at line 1 column 4" },
		{ "broken null for a boolean", WANT_BOOL, "nul",
		  "EOF while parsing a value at line 1 column 3" },
		{ "number for a boolean", WANT_BOOL, "1",
		  "invalid type: integer `1`, expected a boolean at line 1 column 1" },
		{ "broken number for a boolean", WANT_BOOL, "1.",
		  "EOF while parsing a value at line 1 column 2" },
		{ "array for a boolean: nothing is consumed", WANT_BOOL, " [1]",
		  "invalid type: sequence, expected a boolean at line 1 column 1" },
		{ "object for a boolean: nothing is consumed", WANT_BOOL, "{}",
		  "invalid type: map, expected a boolean at line 1 column 0" },
		{ "garbage for a boolean", WANT_BOOL, "?", "expected value at line 1 column 1" },
		{ "least u8", WANT_U8, "0", NULL },
		{ "largest u8", WANT_U8, "255", NULL },
		{ "one over u8", WANT_U8, "256",
		  "invalid value: integer `256`, expected u8 at line 1 column 3" },
		{ "below u8", WANT_U8, "-1",
		  "invalid value: integer `-1`, expected u8 at line 1 column 2" },
		{ "minus zero is no integer", WANT_U8, "-0",
		  "invalid type: floating point `-0.0`, expected u8 at line 1 column 2" },
		{ "whole float", WANT_U8, "1.0",
		  "invalid type: floating point `1.0`, expected u8 at line 1 column 3" },
		{ "boolean for a number", WANT_U8, "true",
		  "invalid type: boolean `true`, expected u8 at line 1 column 4" },
		{ "string for a number", WANT_U8, "\"1\"",
		  "invalid type: string \"1\", expected u8 at line 1 column 3" },
		{ "largest u64", WANT_U64, "18446744073709551615", NULL },
		{ "one over u64", WANT_U64, "18446744073709551616",
		  "invalid type: floating point `1.8446744073709552e+19`, expected u64 at line 1 column 20" },
		{ "least i64 for a u64", WANT_U64, "-9223372036854775808",
		  "invalid value: integer `-9223372036854775808`, expected u64 at line 1 column 20" },
		{ "below i64", WANT_U64, "-9223372036854775809",
		  "invalid type: floating point `-9.223372036854776e+18`, expected u64 at line 1 column 20" },
		{ "number for a string", WANT_STRING, "1.5",
		  "invalid type: floating point `1.5`, expected a string at line 1 column 3" },
		{ "boolean for a path", WANT_PATH, "false",
		  "invalid type: boolean `false`, expected path string at line 1 column 5" },
		{ "text that must be escaped", WANT_U8, "\"\\t\\\"\\\\'\\u0000\\u007f\\u0301\\u00e9\"",
		  "invalid type: string \"\\t\\\"\\\\'\\0\\u{7f}\\u{301}\xc3\xa9\", expected u8 at line 1 column 33" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		wanted = cases[i].wanted;
		expect_fault(cases[i].name, read_wanted, cases[i].json, strlen(cases[i].json),
			     cases[i].want);
	}
}

static void strings_are_decoded(void **state)
{
	static const struct {
		const char *json;
		const char *want;
		size_t len;
	} cases[] = {
		{ "\"\"", TEXT("") },
		{ "\"plain\"", TEXT("plain") },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", TEXT("\"\\/\b\f\n\r\t") },
		{ "\"a\\u0000b\"", TEXT("a\0b") },
		{ "\"\\u0041\\u00e9\\u20AC\\uD83D\\ude00!\"", TEXT("A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!") },
		{ "\"\\uffff\\u07ff\\u0800\"", TEXT("\xef\xbf\xbf\xdf\xbf\xe0\xa0\x80") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_reader reader;
		struct json_text text;

		json_reader_init(&reader, cases[i].json, strlen(cases[i].json), NULL);
		assert_int_equal(json_read_string(&reader, "a string", &text), 0);
		assert_int_equal(text.len, cases[i].len);
		assert_memory_equal(text.data, cases[i].want, text.len);
		json_reader_done(&reader);
	}
}

static void numbers_are_decoded(void **state)
{
	static const struct {
		const char *json;
		struct json_number want;
	} cases[] = {
		{ "0", { JSON_NUMBER_U64, .u64 = 0 } },
		{ "18446744073709551615", { JSON_NUMBER_U64, .u64 = UINT64_MAX } },
		{ "-1", { JSON_NUMBER_I64, .i64 = -1 } },
		{ "-9223372036854775808", { JSON_NUMBER_I64, .i64 = INT64_MIN } },
		{ "-9223372036854775809", { JSON_NUMBER_F64, .f64 = -9223372036854775808.0 } },
		{ "-0", { JSON_NUMBER_F64, .f64 = -0.0 } },
		{ "0.1", { JSON_NUMBER_F64, .f64 = 0.1 } },
		{ "1e2", { JSON_NUMBER_F64, .f64 = 100 } },
		{ "1.5E-2", { JSON_NUMBER_F64, .f64 = 0.015 } },
		{ "18446744073709551616", { JSON_NUMBER_F64, .f64 = 18446744073709551616.0 } },
		{ "1e-400", { JSON_NUMBER_F64, .f64 = 0 } },
		{ "-1e-99999999999", { JSON_NUMBER_F64, .f64 = -0.0 } },
		{ "1.7976931348623157e308", { JSON_NUMBER_F64, .f64 = 1.7976931348623157e308 } },
		/* One division, not the nearest double: upstream's way. */
		{ "2.2250738585072011e-308", { JSON_NUMBER_F64, .f64 = 22250738585072012.0 / 1e308 / 1e16 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_reader reader;
		struct json_number number = { 0 };

		json_reader_init(&reader, cases[i].json, strlen(cases[i].json), NULL);
		assert_int_equal(json_read_number(&reader, &number), 0);
		if (number.kind != cases[i].want.kind || number.u64 != cases[i].want.u64)
			fail_msg("%s: kind %d, %#llx", cases[i].json, (int)number.kind,
				 (unsigned long long)number.u64);
		json_reader_done(&reader);
	}
}

/* An object with one key that is judged right after it was read. */
static int read_judged_object(struct json_reader *reader)
{
	struct json_text key;
	bool first = true;
	int r;

	if (json_peek(reader) == '[') {
		assert_int_equal(json_array_begin(reader), 0);
		assert_int_equal(json_array_next(reader, &first), 1);
		r = json_array_end(reader, read_judged_object(reader));
		return r;
	}
	if (json_peek(reader) == '"') {
		assert_int_equal(json_read_string(reader, "a string", &key), 0);
		return json_fail(reader, "judged");
	}
	assert_int_equal(json_object_begin(reader), 0);
	r = json_object_next(reader, &first, &key);
	if (r == 0 || key.data[0] == 'k')
		r = json_fail(reader, "judged");
	if (r > 0) {
		assert_int_equal(json_colon(reader), 0);
		r = read_judged_object(reader);
	}
	return json_object_end(reader, r);
}

static void judgements_get_the_place_where_the_object_was_given_up(void **state)
{
	static const struct {
		const char *name;
		const char *json;
		const char *want;
	} cases[] = {
		{ "behind the brace of an empty object", "{ }", "judged at line 1 column 3" },
		{ "behind the key", "{\"k\":1}", "judged at line 1 column 4" },
		{ "blanks before the colon are passed", "{\"k\" \n :1}", "judged at line 2 column 1" },
		{ "the brace behind the last value is taken", "{\"v\":\"x\" }", "judged at line 1 column 10" },
		{ "a comma behind a value is not", "{\"v\":\"x\" ,\"w\":1}", "judged at line 1 column 9" },
		{ "the bracket behind the last element is", "[\"x\" ]", "judged at line 1 column 6" },
		{ "a comma behind an element is, with blanks", "[\"x\" ,  1]", "judged at line 1 column 8" },
		{ "an outer object does not move it", "{\"v\":{\"k\":1} }", "judged at line 1 column 9" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect_fault(cases[i].name, read_judged_object, cases[i].json,
			     strlen(cases[i].json), cases[i].want);
}

static void debug_text_shows_bytes_that_are_no_utf8(void **state)
{
	struct buf buf = BUF_INIT;

	(void)state;
	debug_text_add(&buf, TEXT("a\r\xff\xc3\xa9\xe2\x82"));
	assert_string_equal(buf_str(&buf), "\"a\\r\\xFF\xc3\xa9\\xE2\\x82\"");
	buf_done(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_documents_are_refused_where_they_break),
		cmocka_unit_test(sound_documents_pass),
		cmocka_unit_test(every_beginning_of_a_document_is_a_fault),
		cmocka_unit_test(nesting_ends_at_127),
		cmocka_unit_test(wrong_types_are_named),
		cmocka_unit_test(strings_are_decoded),
		cmocka_unit_test(numbers_are_decoded),
		cmocka_unit_test(judgements_get_the_place_where_the_object_was_given_up),
		cmocka_unit_test(debug_text_shows_bytes_that_are_no_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
