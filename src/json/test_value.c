/* SPDX-License-Identifier: Apache-2.0 */
/* Linked with --wrap for malloc, realloc and reallocarray, to run out of memory at will. */
#include "json/value.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "json/test_guard.h"

static int allocations_left = -1;	/* negative: no bound */

static bool allocation_fails(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(p, size);
}

void *__real_reallocarray(void *p, size_t count, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_reallocarray(p, count, size);
}

static struct json_value parse(const char *json)
{
	struct json_value value = JSON_VALUE_INIT;
	struct fault fault = FAULT_INIT;

	if (json_value_parse(json, strlen(json), &value, &fault) < 0)
		fail_msg("%s: %s", json, fault_text(&fault));
	return value;
}

static void expect_text(const char *name, const struct json_value *value, const char *want)
{
	struct buf buf = BUF_INIT;

	json_value_write(&buf, value);
	assert_int_equal(buf_error(&buf), 0);
	if (strcmp(buf_str(&buf), want) != 0)
		fail_msg("%s: got %s, want %s", name, buf.data, want);
	buf_done(&buf);
}

static void documents_are_written_compact_and_sorted(void **state)
{
	static const struct {
		const char *name;
		const char *json;
		const char *want;
	} cases[] = {
		{ "scalars", "[ null, true ,false,\"x\" ]", "[null,true,false,\"x\"]" },
		{ "empty ones", " [ { } , [ ] , \"\" ] ", "[{},[],\"\"]" },
		{ "keys in the order of bytes", "{\"b\":1,\"\":2,\"a\":3,\"B\":4,\"aa\":5,\"\xc3\xa9\":6}",
		  "{\"\":2,\"B\":4,\"a\":3,\"aa\":5,\"b\":1,\"\xc3\xa9\":6}" },
		{ "of equal keys the last", "{\"a\":1,\"b\":2,\"a\":[3],\"b\":{},\"a\":4}",
		  "{\"a\":4,\"b\":{}}" },
		{ "equal keys in order", "{\"a\":{\"x\":1},\"a\":\"y\"}", "{\"a\":\"y\"}" },
		{ "equal by escape", "{\"\\u0061\":1,\"a\":2}", "{\"a\":2}" },
		{ "NUL in keys and strings", "{\"a\\u0000b\":\"\\u0000\",\"a\":1}",
		  "{\"a\":1,\"a\\u0000b\":\"\\u0000\"}" },
		{ "escapes", "\"\\u0001\\b\\t\\n\\f\\r\\u001f\\\"\\\\\\/\\u007f\\u00e9\"",
		  "\"\\u0001\\b\\t\\n\\f\\r\\u001f\\\"\\\\/\x7f\xc3\xa9\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_value value = parse(cases[i].json);

		expect_text(cases[i].name, &value, cases[i].want);
		json_value_done(&value);
	}
}

static void numbers_are_written_as_upstream_does(void **state)
{
	static const struct {
		const char *json;
		const char *want;
	} cases[] = {
		{ "0", "0" },
		{ "18446744073709551615", "18446744073709551615" },
		{ "-9223372036854775808", "-9223372036854775808" },
		{ "18446744073709551616", "1.8446744073709552e+19" },
		{ "-0", "-0.0" },
		{ "1.0", "1.0" },
		{ "1e1", "10.0" },
		{ "123.456", "123.456" },
		{ "0.1", "0.1" },
		{ "1e15", "1000000000000000.0" },
		{ "1234567890123456.0", "1234567890123456.0" },
		{ "1e16", "1e+16" },
		/* read by a division that rounds twice, and shown so */
		{ "12345678901234567.0", "1.2345678901234566e+16" },
		{ "0.00001", "0.00001" },
		{ "0.0000123", "0.0000123" },
		{ "1e-6", "1e-6" },
		{ "1.5e-7", "1.5e-7" },
		{ "-1.5e300", "-1.5e+300" },
		{ "1.7976931348623157e308", "1.7976931348623157e+308" },
		{ "5e-324", "5e-324" },
		{ "0.3", "0.3" },
		{ "1e23", "1e+23" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_value value = parse(cases[i].json);

		expect_text(cases[i].json, &value, cases[i].want);
		json_value_done(&value);
	}
}

static void doubles_are_as_short_as_they_can_be(void **state)
{
	static const struct {
		const char *name;
		double number;
		const char *want;
	} cases[] = {
		{ "power of two whose shortest is not its nearest", 0x1p-44, "5.684341886080802e-14" },
		{ "another", 0x1p-1022, "2.2250738585072014e-308" },
		{ "largest subnormal", 0x0.fffffffffffffp-1022, "2.225073858507201e-308" },
		{ "two", 2, "2.0" },
		{ "17 digits", 0x1.fffffffffffffp+62, "9.223372036854775e+18" },
		{ "third", 1.0 / 3, "0.3333333333333333" },
		{ "sum", 0.1 + 0.2, "0.30000000000000004" },
		{ "negative", -1e-5, "-0.00001" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_value value = { .type = JSON_F64, .f64 = cases[i].number };

		expect_text(cases[i].name, &value, cases[i].want);
	}
	for (int e = -1074; e < 1024; e++) {
		struct json_value value = { .type = JSON_F64, .f64 = ldexp(1, e) };
		struct buf buf = BUF_INIT;

		json_value_write(&buf, &value);
		assert_true(strtod(buf_str(&buf), NULL) == value.f64);
		buf_done(&buf);
	}
}

static void a_foreign_locale_changes_nothing(void **state)
{
	static const char *const locales[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8" };
	const char *found = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(locales) && found == NULL; i++)
		found = setlocale(LC_ALL, locales[i]);
	if (found == NULL) {
		print_message("skipped: no locale with a decimal comma here\n");
		skip();
	}
	numbers_are_written_as_upstream_does(state);
	setlocale(LC_ALL, "C");
}

static void faults_have_a_place_and_leave_no_value(void **state)
{
	static const struct {
		const char *json;
		const char *want;
	} cases[] = {
		{ "", "EOF while parsing a value at line 1 column 0" },
		{ "{\"a\":[1,{\"b\":\"\\x\"}]}", "invalid escape at line 1 column 16" },
		{ "{\"a\":1}}", "trailing characters at line 1 column 8" },
		{ "[1,\n2,]", "trailing comma at line 2 column 3" },
		{ "nil", "expected ident at line 1 column 2" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct guarded guarded = guarded_new(strlen(cases[i].json));
		struct fault fault = FAULT_INIT;
		struct json_value value = { .type = JSON_U64, .u64 = 7 };
		size_t len = strlen(cases[i].json);
		int r = json_value_parse(guarded_copy(&guarded, cases[i].json, len), len, &value,
					 &fault);

		assert_int_equal(r, -EINVAL);
		assert_string_equal(fault_text(&fault), cases[i].want);
		assert_int_equal(value.u64, 7);
		fault_done(&fault);
		guarded_done(&guarded);
	}
}

static void many_keys_are_sorted(void **state)
{
	enum { COUNT = 3000 };
	struct buf buf = BUF_INIT;
	struct json_value value;

	(void)state;
	buf_addc(&buf, '{');
	for (int i = 0; i < COUNT; i++)		/* each key twice, backwards */
		buf_addf(&buf, "%s\"%04d\":%d", i > 0 ? "," : "", (COUNT - i - 1) / 2, i);
	buf_addc(&buf, '}');
	value = parse(buf_str(&buf));
	assert_int_equal(value.object.count, COUNT / 2);
	for (int i = 0; i < COUNT / 2; i++) {
		char key[16];
		const struct json_value *member;

		snprintf(key, sizeof(key), "%04d", i);
		assert_string_equal(value.object.members[i].key, key);
		member = json_object_get(&value, key, strlen(key));
		assert_int_equal(member->u64, COUNT - 1 - 2 * i);	/* the later of the two */
	}
	assert_null(json_object_get(&value, "0", 1));
	assert_null(json_object_get(&value, "00000", 5));
	assert_null(json_object_get(&value.object.members[0].value, "a", 1));
	json_value_done(&value);
	buf_done(&buf);
}

static const struct {
	const char *name;
	const char *target;
	const char *patch;
	const char *want;
} merges[] = {
	/* RFC 7396, appendix A */
	{ "replaces a member", "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
	{ "adds a member", "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
	{ "removes a member", "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
	{ "removes one of two", "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
	{ "array by string", "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
	{ "string by array", "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
	{ "below", "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
	{ "arrays are not merged", "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
	{ "array by array", "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
	{ "object by array", "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
	{ "object by null", "{\"a\":\"foo\"}", "null", "null" },
	{ "object by string", "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
	{ "keeps a null it does not name", "{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}" },
	{ "array by object", "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
	{ "nulls of new objects vanish", "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
	/* beyond it */
	{ "nulls in arrays stay", "{}", "{\"a\":[null,{\"b\":null}]}", "{\"a\":[null,{\"b\":null}]}" },
	{ "object over number", "{\"a\":1}", "{\"a\":{\"b\":null,\"c\":2}}", "{\"a\":{\"c\":2}}" },
	{ "empty patch", "{\"a\":1}", "{}", "{\"a\":1}" },
	{ "empty patch on a scalar", "1", "{}", "{}" },
	{ "in between, in front, behind", "{\"b\":1,\"d\":2}", "{\"a\":3,\"c\":4,\"e\":5,\"d\":null}",
	  "{\"a\":3,\"b\":1,\"c\":4,\"e\":5}" },
	{ "removes what is not there", "{\"b\":1}", "{\"a\":null,\"c\":null}", "{\"b\":1}" },
};

static void patches_merge(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(merges); i++) {
		struct json_value target = parse(merges[i].target);
		struct json_value patch = parse(merges[i].patch);
		struct json_value before;

		assert_int_equal(json_value_copy(&patch, &before), 0);
		assert_int_equal(json_value_merge(&target, &patch), 0);
		expect_text(merges[i].name, &target, merges[i].want);
		assert_true(json_value_equal(&patch, &before));
		json_value_done(&before);
		json_value_done(&patch);
		json_value_done(&target);
	}
}

static void copies_are_equal_and_apart(void **state)
{
	static const char json[] = "{\"a\":[1,-1,1.5,null,true,\"x\\u0000y\",[],{}],\"b\":{\"c\":2}}";
	static const char *const others[] = {
		"null", "{}", "{\"a\":1,\"b\":{\"c\":2}}",
		"{\"a\":[1,-1,1.5,null,true,\"x\",[],{}],\"b\":{\"c\":2}}",
		"{\"a\":[1,-1,1.5,null,true,\"x\\u0000y\",[]],\"b\":{\"c\":2}}",
		"{\"a\":[1,-1,1.5,null,false,\"x\\u0000y\",[],{}],\"b\":{\"c\":2}}",
		"{\"a\":[1,-1,1.0,null,true,\"x\\u0000y\",[],{}],\"b\":{\"c\":2}}",
		"{\"a\":[1,-1,1.5,null,true,\"x\\u0000y\",[],{}],\"b\":{\"d\":2}}",
	};
	struct json_value value = parse(json);
	struct json_value copy;

	(void)state;
	assert_int_equal(json_value_copy(&value, &copy), 0);
	assert_true(json_value_equal(&value, &copy));
	json_value_done(&value);
	assert_int_equal(value.type, JSON_NULL);
	expect_text("copy", &copy, json);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct json_value other = parse(others[i]);

		assert_false(json_value_equal(&copy, &other));
		json_value_done(&other);
	}
	json_value_done(&copy);
}

/* Runs out of memory at each allocation in turn; the address sanitizer sees to leaks. */
static void memory_may_run_out_anywhere(void **state)
{
	static const char target_json[] = "{\"z\":[1,[2,\"x\"]],\"a\":{\"b\":1,\"c\":2},\"a\":{\"d\":3}}";
	static const char patch_json[] = "{\"a\":{\"d\":null,\"e\":[{}]},\"n\":{\"o\":\"p\"},\"z\":\"\"}";
	int r = -ENOMEM;
	int allowed = 0;

	(void)state;
	for (; r == -ENOMEM; allowed++) {
		struct json_value target = JSON_VALUE_INIT, patch = parse(patch_json);
		struct fault fault = FAULT_INIT;
		struct buf buf = BUF_INIT;

		allocations_left = allowed;
		r = json_value_parse(target_json, strlen(target_json), &target, &fault);
		if (r == 0)
			r = json_value_merge(&target, &patch);
		allocations_left = -1;
		json_value_write(&buf, &target);	/* a tree in any case */
		assert_int_equal(buf_error(&buf), 0);
		if (r == 0)
			expect_text("at last", &target,
				    "{\"a\":{\"e\":[{}]},\"n\":{\"o\":\"p\"},\"z\":\"\"}");
		buf_done(&buf);
		fault_done(&fault);
		json_value_done(&patch);
		json_value_done(&target);
	}
	assert_int_equal(r, 0);
	assert_true(allowed > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_written_compact_and_sorted),
		cmocka_unit_test(numbers_are_written_as_upstream_does),
		cmocka_unit_test(doubles_are_as_short_as_they_can_be),
		cmocka_unit_test(a_foreign_locale_changes_nothing),
		cmocka_unit_test(faults_have_a_place_and_leave_no_value),
		cmocka_unit_test(many_keys_are_sorted),
		cmocka_unit_test(patches_merge),
		cmocka_unit_test(copies_are_equal_and_apart),
		cmocka_unit_test(memory_may_run_out_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
