/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each function stands for one rule of the grammar. Two ways to fail: fail_here() blames the last
 * byte consumed, fail_next() the byte looked at. Which one a rule uses, and whether it has
 * consumed the offending byte by then, decides the column, so neither is free to change.
 */
#include "json/reader.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/debug_text.h"
#include "json/value.h"

/* Sums and products below must be rounded to double at each step, as everywhere but on x87. */
_Static_assert(FLT_EVAL_METHOD == 0, "doubles are evaluated as doubles");

static const char eof_value[] = "EOF while parsing a value";
static const char eof_object[] = "EOF while parsing an object";
static const char eof_list[] = "EOF while parsing a list";
static const char eof_string[] = "EOF while parsing a string";
static const char bad_number[] = "invalid number";
static const char bad_range[] = "number out of range";
static const char bad_value[] = "expected value";
static const char bad_escape[] = "invalid escape";
static const char bad_control[] =
	"control character (\\u0000-\\u001F) found while parsing a string";
static const char bad_surrogate[] = "lone leading surrogate in hex escape";
static const char bad_hex_end[] = "unexpected end of hex escape";
static const char bad_key[] = "key must be a string";
static const char bad_trailing[] = "trailing characters";
static const char bad_comma[] = "trailing comma";

void json_reader_init(struct json_reader *reader, const char *data, size_t len,
		      struct fault *fault)
{
	*reader = (struct json_reader){
		.data = data, .len = len, .depth_left = JSON_DEPTH_MAX + 1,
		.scratch = BUF_INIT, .fault = fault,
	};
}

void json_reader_done(struct json_reader *reader)
{
	buf_done(&reader->scratch);
}

/* Faults and where they are */

static int fail_at(struct json_reader *reader, size_t end, const char *text)
{
	size_t line = 1, column = 0;

	for (size_t i = 0; i < end; i++) {
		column++;
		if (reader->data[i] == '\n') {
			line++;
			column = 0;
		}
	}
	reader->fault_open = false;
	return fault_set(reader->fault, -EINVAL, "%s at line %zu column %zu", text, line, column);
}

static int fail_here(struct json_reader *reader, const char *text)
{
	return fail_at(reader, reader->pos, text);
}

static int fail_next(struct json_reader *reader, const char *text)
{
	return fail_at(reader, reader->pos < reader->len ? reader->pos + 1 : reader->len, text);
}

int json_fail(struct json_reader *reader, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	reader->fault_open = true;
	if (buf_str(&text) == NULL)
		return -ENOMEM;
	return fault_set(reader->fault, -EINVAL, "%s", text.data);
}

int json_place_fault(struct json_reader *reader, int result)
{
	if (result == -EINVAL && reader->fault_open)
		fail_here(reader, reader->fault != NULL ? fault_text(reader->fault) : "");
	return result;
}

/* Bytes */

static int look(const struct json_reader *reader)
{
	return reader->pos < reader->len ? (unsigned char)reader->data[reader->pos] : JSON_EOF;
}

static int take(struct json_reader *reader)
{
	int c = look(reader);

	if (c != JSON_EOF)
		reader->pos++;
	return c;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

int json_peek(struct json_reader *reader)
{
	for (;;) {
		int c = look(reader);

		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			return c;
		reader->pos++;
	}
}

int json_peek_value(struct json_reader *reader)
{
	int c = json_peek(reader);

	return c == JSON_EOF ? fail_next(reader, eof_value) : c;
}

int json_reader_end(struct json_reader *reader)
{
	return json_peek(reader) == JSON_EOF ? 0 : fail_next(reader, bad_trailing);
}

/* What is left of true, false or null after the first letter. */
static int read_rest_of_word(struct json_reader *reader, const char *rest)
{
	for (; *rest != '\0'; rest++) {
		int c = take(reader);

		if (c == JSON_EOF)
			return fail_here(reader, eof_value);
		if (c != *rest)
			return fail_here(reader, "expected ident");
	}
	return 0;
}

static int read_word(struct json_reader *reader)
{
	switch (take(reader)) {
	case 'n': return read_rest_of_word(reader, "ull");
	case 't': return read_rest_of_word(reader, "rue");
	default:  return read_rest_of_word(reader, "alse");
	}
}

/*
 * Numbers. Integers up to 64 bits stay integers. Others become doubles the way upstream makes
 * them: as many digits as fit 64 bits, then one multiplication or division by a power of ten.
 * That is not always the nearest double, and the difference shows when the value is printed.
 */

static double pow10_of(int exponent)
{
	/* As far as powers of ten are exact. */
	static const double exact[] = {
		1e0,  1e1,  1e2,  1e3,	1e4,  1e5,  1e6,  1e7,	1e8,  1e9,  1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
	};
	char text[16];

	if ((size_t)exponent < ARRAY_SIZE(exact))
		return exact[exponent];
	/* Rounds like a constant of the compiler, and has no decimal point a locale could change. */
	snprintf(text, sizeof(text), "1e%d", exponent);
	return strtod(text, NULL);
}

static int make_double(struct json_reader *reader, bool negative, uint64_t digits,
		       int64_t exponent, struct json_number *ret_number)
{
	double number = (double)digits;

	while (exponent < -308 && number != 0.0) {
		number /= 1e308;
		exponent += 308;
	}
	if (number != 0.0 && exponent > 308)
		return fail_here(reader, bad_range);
	if (number != 0.0 && exponent >= 0)
		number *= pow10_of((int)exponent);
	else if (number != 0.0)
		number /= pow10_of((int)-exponent);
	if (isinf(number))
		return fail_here(reader, bad_range);
	*ret_number = (struct json_number){
		.kind = JSON_NUMBER_F64, .f64 = negative ? -number : number,
	};
	return 0;
}

/* Appends a digit; false when the sum would not fit. */
static bool add_digit(uint64_t *digits, int c)
{
	uint64_t sum;

	if (__builtin_mul_overflow(*digits, (uint64_t)10, &sum) ||
	    __builtin_add_overflow(sum, (uint64_t)(c - '0'), &sum))
		return false;
	*digits = sum;
	return true;
}

static size_t skip_digits(struct json_reader *reader)
{
	size_t start = reader->pos;

	while (is_digit(look(reader)))
		reader->pos++;
	return reader->pos - start;
}

static int read_exponent(struct json_reader *reader, bool negative, uint64_t digits,
			 int64_t exponent, struct json_number *ret_number)
{
	bool small = false;
	int64_t given;
	int c;

	reader->pos++;	/* the e */
	if (look(reader) == '+' || look(reader) == '-')
		small = take(reader) == '-';
	c = take(reader);
	if (c == JSON_EOF)
		return fail_here(reader, eof_value);
	if (!is_digit(c))
		return fail_here(reader, bad_number);
	given = c - '0';
	while (is_digit(look(reader))) {
		given = given * 10 + (take(reader) - '0');
		if (given <= INT32_MAX)
			continue;
		if (digits != 0 && !small)
			return fail_here(reader, bad_range);
		skip_digits(reader);
		digits = 0;
		break;
	}
	return make_double(reader, negative, digits, exponent + (small ? -given : given),
			   ret_number);
}

/* From the decimal point on. */
static int read_fraction(struct json_reader *reader, bool negative, uint64_t digits,
			 int64_t exponent, struct json_number *ret_number)
{
	size_t start = ++reader->pos;

	while (is_digit(look(reader)) && add_digit(&digits, look(reader))) {
		reader->pos++;
		exponent--;
	}
	skip_digits(reader);	/* those that do not fit do not count */
	if (reader->pos == start)
		return fail_next(reader, look(reader) == JSON_EOF ? eof_value : bad_number);
	if (look(reader) == 'e' || look(reader) == 'E')
		return read_exponent(reader, negative, digits, exponent, ret_number);
	return make_double(reader, negative, digits, exponent, ret_number);
}

static int make_integer(bool negative, uint64_t digits, struct json_number *ret_number)
{
	if (!negative)
		*ret_number = (struct json_number){ .kind = JSON_NUMBER_U64, .u64 = digits };
	else if (digits == 0 || digits > (uint64_t)INT64_MAX + 1)
		*ret_number = (struct json_number){
			.kind = JSON_NUMBER_F64, .f64 = -(double)digits,
		};
	else
		*ret_number = (struct json_number){
			.kind = JSON_NUMBER_I64, .i64 = (int64_t)(0 - digits),
		};
	return 0;
}

int json_read_number(struct json_reader *reader, struct json_number *ret_number)
{
	bool negative = look(reader) == '-';
	uint64_t digits;
	int64_t exponent = 0;
	int c;

	if (negative)
		reader->pos++;
	c = take(reader);
	if (c == JSON_EOF)
		return fail_here(reader, eof_value);
	if (!is_digit(c))
		return fail_here(reader, bad_number);
	if (c == '0' && is_digit(look(reader)))
		return fail_next(reader, bad_number);
	digits = (uint64_t)(c - '0');
	while (is_digit(look(reader)) && add_digit(&digits, look(reader)))
		reader->pos++;
	exponent = (int64_t)skip_digits(reader);	/* digits that do not fit */
	c = look(reader);
	if (c == '.')
		return read_fraction(reader, negative, digits, exponent, ret_number);
	if (c == 'e' || c == 'E')
		return read_exponent(reader, negative, digits, exponent, ret_number);
	if (exponent > 0)
		return make_double(reader, negative, digits, exponent, ret_number);
	return make_integer(negative, digits, ret_number);
}

/* Strings */

static int hex_value(int c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits after \u. Return: the number or -EINVAL. */
static int read_hex_escape(struct json_reader *reader)
{
	int number = 0;

	if (reader->len - reader->pos < 4) {
		reader->pos = reader->len;
		return fail_here(reader, eof_string);
	}
	for (int i = 0; i < 4; i++) {
		int digit = hex_value(take(reader));

		number = digit < 0 || number < 0 ? -1 : number << 4 | digit;
	}
	return number < 0 ? fail_here(reader, bad_escape) : number;
}

static void add_utf8(struct buf *buf, unsigned int code_point)
{
	if (code_point < 0x80)
		buf_addc(buf, (char)code_point);
	else if (code_point < 0x800)
		buf_add(buf, (char[]){ (char)(0xc0 | code_point >> 6),
				       (char)(0x80 | (code_point & 0x3f)) }, 2);
	else if (code_point < 0x10000)
		buf_add(buf, (char[]){ (char)(0xe0 | code_point >> 12),
				       (char)(0x80 | (code_point >> 6 & 0x3f)),
				       (char)(0x80 | (code_point & 0x3f)) }, 3);
	else
		buf_add(buf, (char[]){ (char)(0xf0 | code_point >> 18),
				       (char)(0x80 | (code_point >> 12 & 0x3f)),
				       (char)(0x80 | (code_point >> 6 & 0x3f)),
				       (char)(0x80 | (code_point & 0x3f)) }, 4);
}

/* The second half of a surrogate pair must begin with @want. */
static int read_pair_byte(struct json_reader *reader, char want)
{
	int c = take(reader);

	if (c == JSON_EOF)
		return fail_here(reader, eof_string);
	return c == want ? 0 : fail_here(reader, bad_hex_end);
}

static int read_unicode_escape(struct json_reader *reader)
{
	int high = read_hex_escape(reader);
	int low, r;

	if (high < 0)
		return high;
	if (high < 0xd800 || high > 0xdfff) {
		add_utf8(&reader->scratch, (unsigned int)high);
		return 0;
	}
	if (high >= 0xdc00)
		return fail_here(reader, bad_surrogate);
	r = read_pair_byte(reader, '\\');
	if (r == 0)
		r = read_pair_byte(reader, 'u');
	if (r < 0)
		return r;
	low = read_hex_escape(reader);
	if (low < 0)
		return low;
	if (low < 0xdc00 || low > 0xdfff)
		return fail_here(reader, bad_surrogate);
	add_utf8(&reader->scratch,
		 0x10000 + ((unsigned int)(high - 0xd800) << 10) + (unsigned int)(low - 0xdc00));
	return 0;
}

/* What follows a backslash, into the scratch buffer. */
static int read_escape(struct json_reader *reader)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int c = take(reader);
	const char *p;

	if (c == JSON_EOF)
		return fail_here(reader, eof_string);
	if (c == 'u')
		return read_unicode_escape(reader);
	p = c != 0 ? strchr(from, c) : NULL;
	if (p == NULL)
		return fail_here(reader, bad_escape);
	buf_addc(&reader->scratch, to[p - from]);
	return 0;
}

/* Moves to the next quote, backslash, control byte or the end, and tells which. */
static int skip_plain(struct json_reader *reader)
{
	int c = look(reader);

	while (c >= 0x20 && c != '"' && c != '\\') {
		reader->pos++;
		c = look(reader);
	}
	return c;
}

static bool is_utf8(const char *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		unsigned int code_point;
		size_t size = utf8_decode(s + i, len - i, &code_point);

		if (size == 0)
			return false;
		i += size;
	}
	return true;
}

/* The rest of a string whose opening quote was consumed. */
static int read_rest_of_string(struct json_reader *reader, struct json_text *ret_text)
{
	size_t start = reader->pos;
	bool escapes = false;
	int c, r;

	buf_reset(&reader->scratch);
	for (;;) {
		c = skip_plain(reader);
		if (c == JSON_EOF)
			return fail_here(reader, eof_string);
		if (c == '"')
			break;
		if (c == '\\') {
			buf_add(&reader->scratch, reader->data + start, reader->pos - start);
			reader->pos++;
			r = read_escape(reader);
			if (r < 0)
				return r;
			start = reader->pos;
			escapes = true;
			continue;
		}
		reader->pos++;
		return fail_here(reader, bad_control);
	}
	*ret_text = (struct json_text){ reader->data + start, reader->pos - start };
	reader->pos++;
	if (escapes) {
		buf_add(&reader->scratch, ret_text->data, ret_text->len);
		if (buf_error(&reader->scratch) < 0)
			return -ENOMEM;
		*ret_text = (struct json_text){ reader->scratch.data, reader->scratch.len };
	}
	if (!is_utf8(ret_text->data, ret_text->len))
		return fail_here(reader, "invalid unicode code point");
	return 0;
}

static int skip_rest_of_string(struct json_reader *reader)
{
	for (;;) {
		int c = skip_plain(reader);

		if (c == JSON_EOF)
			return fail_here(reader, eof_string);
		if (c != '"' && c != '\\')
			return fail_here(reader, bad_control);	/* not consumed here */
		reader->pos++;
		if (c == '"')
			return 0;
		c = take(reader);
		if (c == JSON_EOF)
			return fail_here(reader, eof_string);
		if (c == 'u') {
			int r = read_hex_escape(reader);

			if (r < 0)
				return r;
		} else if (c == 0 || strchr("\"\\/bfnrt", c) == NULL) {
			return fail_here(reader, bad_escape);
		}
	}
}

/* Scalars that are asked for by type */

static int wrong_number(struct json_reader *reader, const char *want)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	struct json_number number;
	int r = json_read_number(reader, &number);

	if (r < 0)
		return r;
	switch (number.kind) {
	case JSON_NUMBER_U64: json_write_u64(&text, number.u64); break;
	case JSON_NUMBER_I64: json_write_i64(&text, number.i64); break;
	case JSON_NUMBER_F64: json_write_f64(&text, number.f64); break;
	}
	if (buf_str(&text) == NULL)
		return -ENOMEM;
	return json_fail(reader, "invalid type: %s `%s`, expected %s",
			 number.kind == JSON_NUMBER_F64 ? "floating point" : "integer", text.data,
			 want);
}

static int wrong_string(struct json_reader *reader, const char *want)
{
	CLEANUP(buf_done) struct buf quoted = BUF_INIT;
	struct json_text text;
	int r;

	reader->pos++;
	r = read_rest_of_string(reader, &text);
	if (r < 0)
		return r;
	debug_text_add(&quoted, text.data, text.len);
	if (buf_str(&quoted) == NULL)
		return -ENOMEM;
	return json_fail(reader, "invalid type: string %s, expected %s", quoted.data, want);
}

static int wrong_word(struct json_reader *reader, const char *got, const char *want)
{
	int r = read_word(reader);

	return r < 0 ? r : json_fail(reader, "invalid type: %s, expected %s", got, want);
}

int json_wrong_type(struct json_reader *reader, const char *want)
{
	int c = json_peek(reader);
	int r;

	if (c == 'n')
		r = wrong_word(reader, "null", want);
	else if (c == 't')
		r = wrong_word(reader, "boolean `true`", want);
	else if (c == 'f')
		r = wrong_word(reader, "boolean `false`", want);
	else if (c == '-' || is_digit(c))
		r = wrong_number(reader, want);
	else if (c == '"')
		r = wrong_string(reader, want);
	else if (c == '[')
		r = json_fail(reader, "invalid type: sequence, expected %s", want);
	else if (c == '{')
		r = json_fail(reader, "invalid type: map, expected %s", want);
	else
		r = fail_next(reader, bad_value);
	return json_place_fault(reader, r);
}

int json_read_null(struct json_reader *reader)
{
	int r;

	if (json_peek(reader) != 'n')
		return 0;
	r = read_word(reader);
	return r < 0 ? r : 1;
}

int json_read_bool(struct json_reader *reader, bool *ret_value)
{
	int c = json_peek_value(reader);
	int r;

	if (c < 0)
		return c;
	if (c != 't' && c != 'f')
		return json_wrong_type(reader, "a boolean");
	r = read_word(reader);
	if (r == 0)
		*ret_value = c == 't';
	return r;
}

int json_read_uint(struct json_reader *reader, uint64_t max, const char *want,
		   uint64_t *ret_value)
{
	struct json_number number;
	size_t start;
	int c = json_peek_value(reader);
	int r;

	if (c < 0)
		return c;
	if (c != '-' && !is_digit(c))
		return json_wrong_type(reader, want);
	start = reader->pos;
	r = json_read_number(reader, &number);
	if (r < 0)
		return r;
	if (number.kind == JSON_NUMBER_U64 && number.u64 <= max) {
		*ret_value = number.u64;
		return 0;
	}
	if (number.kind == JSON_NUMBER_F64) {
		reader->pos = start;	/* once more, for the words */
		return json_wrong_type(reader, want);
	}
	/* An integer is shown as it was written: there is but one way. */
	json_fail(reader, "invalid value: integer `%.*s`, expected %s", (int)(reader->pos - start),
		  reader->data + start, want);
	return json_place_fault(reader, -EINVAL);
}

int json_read_string(struct json_reader *reader, const char *want, struct json_text *ret_text)
{
	int c = json_peek_value(reader);

	if (c < 0)
		return c;
	if (c != '"')
		return json_wrong_type(reader, want);
	reader->pos++;
	return read_rest_of_string(reader, ret_text);
}

/* Objects, arrays and enumerations */

static int enter(struct json_reader *reader)
{
	reader->depth_left--;
	if (reader->depth_left == 0)
		return fail_next(reader, "recursion limit exceeded");
	reader->pos++;
	return 0;
}

int json_object_begin(struct json_reader *reader)
{
	return enter(reader);
}

/* The first byte of the next member, or '}' at the end. */
static int next_member(struct json_reader *reader, bool *first)
{
	int c = json_peek(reader);

	if (c == JSON_EOF)
		return fail_next(reader, eof_object);
	if (c == '}')
		return c;
	if (!*first) {
		if (c != ',')
			return fail_next(reader, "expected `,` or `}`");
		reader->pos++;
		c = json_peek_value(reader);
		if (c == '}')
			return fail_next(reader, bad_comma);
		if (c < 0)
			return c;
	}
	*first = false;
	return c == '"' ? c : fail_next(reader, bad_key);
}

int json_object_next(struct json_reader *reader, bool *first, struct json_text *ret_key)
{
	int c = next_member(reader, first);
	int r;

	if (c < 0)
		return c;
	if (c == '}')
		return 0;
	reader->pos++;
	r = read_rest_of_string(reader, ret_key);
	return r < 0 ? r : 1;
}

int json_colon(struct json_reader *reader)
{
	int c = json_peek(reader);

	if (c == JSON_EOF)
		return fail_next(reader, eof_object);
	if (c != ':')
		return fail_next(reader, "expected `:`");
	reader->pos++;
	return 0;
}

int json_object_end(struct json_reader *reader, int result)
{
	reader->depth_left++;
	if (result < 0) {
		/* Upstream still tries to close the object, and only then asks where it is. */
		if (reader->fault_open && json_peek(reader) == '}')
			reader->pos++;
		return json_place_fault(reader, result);
	}
	assert(look(reader) == '}');	/* json_object_next() saw it */
	reader->pos++;
	return 0;
}

int json_array_begin(struct json_reader *reader)
{
	return enter(reader);
}

int json_array_next(struct json_reader *reader, bool *first)
{
	int c = json_peek(reader);

	if (c == JSON_EOF)
		return fail_next(reader, eof_list);
	if (c == ']')
		return 0;
	if (!*first) {
		if (c != ',')
			return fail_next(reader, "expected `,` or `]`");
		reader->pos++;
		c = json_peek_value(reader);
		if (c == ']')
			return fail_next(reader, bad_comma);
		if (c < 0)
			return c;
	}
	*first = false;
	return 1;
}

int json_array_end(struct json_reader *reader, int result)
{
	int c;

	reader->depth_left++;
	if (result < 0) {
		/* As in json_object_end(); a comma is passed, and the blanks after it. */
		c = reader->fault_open ? json_peek(reader) : JSON_EOF;
		if (c == ']' || c == ',')
			reader->pos++;
		if (c == ',')
			json_peek(reader);
		return json_place_fault(reader, result);
	}
	assert(look(reader) == ']');	/* json_array_next() saw it */
	reader->pos++;
	return 0;
}

int json_enum_begin(struct json_reader *reader, bool *ret_wrapped, struct json_text *ret_name)
{
	int c = json_peek_value(reader);
	int r;

	if (c < 0)
		return c;
	if (c != '{' && c != '"')
		return fail_next(reader, bad_value);
	r = c == '{' ? enter(reader) : 0;
	if (r < 0)
		return r;
	*ret_wrapped = c == '{';
	return json_read_string(reader, "variant identifier", ret_name);
}

static int read_enum_unit(struct json_reader *reader)
{
	int c = json_peek_value(reader);

	if (c < 0)
		return c;
	return c == 'n' ? read_word(reader) : json_wrong_type(reader, "unit");
}

int json_enum_end(struct json_reader *reader, bool wrapped, int result)
{
	int r, c;

	if (result < 0 || !wrapped)
		return json_place_fault(reader, result);
	r = json_colon(reader);
	if (r == 0)
		r = read_enum_unit(reader);
	if (r < 0)
		return r;
	c = json_peek(reader);
	if (c != '}')
		return fail_here(reader, c == JSON_EOF ? eof_object : bad_value);
	reader->pos++;
	reader->depth_left++;
	return 0;
}

/* Values nobody wants. Nesting has no bound here, so the open brackets are kept in a buffer. */

static int skip_number(struct json_reader *reader)
{
	int c;

	if (look(reader) == '-')
		reader->pos++;
	c = take(reader);
	if (!is_digit(c))
		return fail_here(reader, bad_number);
	if (c != '0')
		skip_digits(reader);
	else if (is_digit(look(reader)))
		return fail_next(reader, bad_number);
	if (look(reader) == '.') {
		reader->pos++;
		if (skip_digits(reader) == 0)
			return fail_next(reader, bad_number);
	}
	c = look(reader);
	if (c != 'e' && c != 'E')
		return 0;
	reader->pos++;
	c = look(reader);
	if (c == '+' || c == '-')
		reader->pos++;
	if (!is_digit(take(reader)))
		return fail_here(reader, bad_number);
	skip_digits(reader);
	return 0;
}

/* Passes a scalar. Return: 0, 1 when a bracket was consumed instead, or a failure. */
static int skip_scalar(struct json_reader *reader, int *ret_bracket)
{
	int c = json_peek_value(reader);

	if (c < 0)
		return c;
	if (c == 'n' || c == 't' || c == 'f')
		return read_word(reader);
	if (c == '-' || is_digit(c))
		return skip_number(reader);
	if (c != '"' && c != '[' && c != '{')
		return fail_next(reader, bad_value);
	reader->pos++;
	if (c == '"')
		return skip_rest_of_string(reader);
	*ret_bracket = c;
	return 1;
}

static int skip_key(struct json_reader *reader)
{
	int c = json_peek(reader);
	int r;

	if (c != '"')
		return fail_next(reader, c == JSON_EOF ? eof_object : bad_key);
	reader->pos++;
	r = skip_rest_of_string(reader);
	return r < 0 ? r : json_colon(reader);
}

/*
 * After a value, or after an opening bracket when @first: closes brackets and passes a comma.
 * Return: 1 when a value follows, 0 when the outermost bracket was closed.
 */
static int skip_to_value(struct json_reader *reader, struct buf *open, bool first)
{
	for (;;) {
		char bracket = open->data[open->len - 1];
		int c = json_peek(reader);

		if (c == JSON_EOF)
			return fail_next(reader, bracket == '[' ? eof_list : eof_object);
		if (c == (bracket == '[' ? ']' : '}')) {
			reader->pos++;
			open->len--;
			if (open->len == 0)
				return 0;
			first = false;
			continue;
		}
		if (!first && c != ',')
			return fail_next(reader, bracket == '[' ? "expected `,` or `]`"
								: "expected `,` or `}`");
		if (!first)
			reader->pos++;
		c = bracket == '{' ? skip_key(reader) : 0;
		return c < 0 ? c : 1;
	}
}

int json_skip(struct json_reader *reader)
{
	struct buf *open = &reader->scratch;
	int bracket = 0;
	int r;

	buf_reset(open);
	do {
		r = skip_scalar(reader, &bracket);
		if (r < 0)
			return r;
		if (r == 1) {
			buf_addc(open, (char)bracket);
			if (buf_error(open) < 0)
				return -ENOMEM;
		}
		if (open->len == 0)
			return 0;
		r = skip_to_value(reader, open, r == 1);
	} while (r == 1);
	return r;
}

/* Values checked in full */

static int check_object(struct json_reader *reader)
{
	struct json_text key;
	bool first = true;
	int r = json_object_begin(reader);

	if (r < 0)
		return r;
	while ((r = json_object_next(reader, &first, &key)) > 0) {
		r = json_colon(reader);
		if (r == 0)
			r = json_check(reader);
		if (r < 0)
			break;
	}
	return json_object_end(reader, r);
}

static int check_array(struct json_reader *reader)
{
	bool first = true;
	int r = json_array_begin(reader);

	if (r < 0)
		return r;
	while ((r = json_array_next(reader, &first)) > 0) {
		r = json_check(reader);
		if (r < 0)
			break;
	}
	return json_array_end(reader, r);
}

int json_check(struct json_reader *reader)
{
	struct json_number number;
	struct json_text text;
	int c = json_peek_value(reader);

	if (c < 0)
		return c;
	if (c == 'n' || c == 't' || c == 'f')
		return read_word(reader);
	if (c == '-' || is_digit(c))
		return json_read_number(reader, &number);
	if (c == '"')
		return json_read_string(reader, "", &text);
	if (c == '{')
		return check_object(reader);
	return c == '[' ? check_array(reader) : fail_next(reader, bad_value);
}
