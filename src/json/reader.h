/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pull decoder for JSON whose faults are those of the Firecracker API: same words, same line,
 * same column as serde_json 1.0.149, which upstream v1.16.1 links (contract 1.7). Clients and
 * upstream's tests compare these texts, so where this file looks odd it is on purpose.
 *
 * Columns. A fault is put either at the bytes consumed so far, or, when it is about a byte that
 * was only looked at, one further. The column is the number of bytes between there and the last
 * newline, so it is 0 right after a newline, and at the start of an empty document.
 *
 * Open faults. What a document means is judged by code outside this reader ("unknown field",
 * "missing field", a malformed MAC address): such faults are made with json_fail() and have no
 * position yet. Whichever read function is next on the way out gives them one: the end of the
 * surrounding object or array, after its own attempt to close it. Hence json_object_end() and
 * json_array_end() must be called with the result of what came before, good or bad.
 *
 * All int functions return 0 (or what they document) on success, -EINVAL with the reader's fault
 * set, or -ENOMEM. After a failure nothing but the _end functions, json_place_fault() and
 * json_reader_done() may be called.
 *
 * Nothing is read beyond the given range, and nothing is allocated unless a string holds an
 * escape. The C locale has no influence.
 */
#ifndef SQUIB_JSON_READER_H
#define SQUIB_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/util.h"

#define JSON_DEPTH_MAX 127	/* arrays and objects inside one another */
#define JSON_EOF (-1)

/* A decoded string. Valid until the reader's next string; may hold NUL, does not end in one. */
struct json_text {
	const char *data;
	size_t len;
};

enum json_number_kind {
	JSON_NUMBER_U64,
	JSON_NUMBER_I64,	/* below 0 */
	JSON_NUMBER_F64,
};

struct json_number {
	enum json_number_kind kind;
	union {
		uint64_t u64;
		int64_t i64;
		double f64;	/* finite */
	};
};

struct json_reader {
	const char *data;
	size_t len;
	size_t pos;		/* bytes consumed */
	unsigned int depth_left;
	struct buf scratch;	/* strings with escapes; open brackets while skipping */
	struct fault *fault;
	bool fault_open;	/* a fault was set that has no position yet */
};

/** json_reader_init() - read @data from its start; @fault may be NULL and must outlive the reader */
void json_reader_init(struct json_reader *reader, const char *data, size_t len,
		      struct fault *fault);
void json_reader_done(struct json_reader *reader);
static inline void json_reader_done_p(struct json_reader *reader) { json_reader_done(reader); }

/** json_reader_end() - refuse anything but blanks after the document's value */
int json_reader_end(struct json_reader *reader);

/** json_peek() - the byte the next value or token starts with, blanks skipped; or JSON_EOF */
int json_peek(struct json_reader *reader);

/** json_peek_value() - the same where a value must follow: the end is a fault */
int json_peek_value(struct json_reader *reader);

/** json_fail() - set an open fault; -EINVAL */
int json_fail(struct json_reader *reader, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** json_place_fault() - put an open fault at the bytes consumed so far; returns @result */
int json_place_fault(struct json_reader *reader, int result);

/**
 * json_wrong_type() - the next value is not what is wanted
 * @want: what is, as in "expected a boolean"
 *
 * Consumes scalars. Return: -EINVAL; the fault tells of broken syntax if there is some.
 */
int json_wrong_type(struct json_reader *reader, const char *want);

/** json_read_null() - 1 when the next value is null, which is consumed; 0 when it is something else */
int json_read_null(struct json_reader *reader);

int json_read_bool(struct json_reader *reader, bool *ret_value);

/**
 * json_read_uint() - an integer from 0 to @max
 * @want: name of the type in faults, "u8"
 */
int json_read_uint(struct json_reader *reader, uint64_t max, const char *want,
		   uint64_t *ret_value);

/** json_read_number() - any number; json_peek() said '-' or a digit */
int json_read_number(struct json_reader *reader, struct json_number *ret_number);

/** json_read_string() - @want is used when the next value is no string */
int json_read_string(struct json_reader *reader, const char *want, struct json_text *ret_text);

/**
 * json_object_begin() - enter the object whose brace json_peek() told
 *
 * Then json_object_next() until it returns 0, after each key json_colon() and a value, and
 * json_object_end() in any case.
 */
int json_object_begin(struct json_reader *reader);
/**
 * json_object_next() - 1 with a key, 0 at the closing brace, which is left for json_object_end()
 * @first: true before the first call; belongs to this function
 */
int json_object_next(struct json_reader *reader, bool *first, struct json_text *ret_key);
int json_colon(struct json_reader *reader);
/** json_object_end() - leave an object; with a negative @result the fault gets its place */
int json_object_end(struct json_reader *reader, int result);

/** json_array_begin() and so on - as for objects; json_array_next() returns 1 before an element */
int json_array_begin(struct json_reader *reader);
int json_array_next(struct json_reader *reader, bool *first);
int json_array_end(struct json_reader *reader, int result);

/**
 * json_enum_begin() - the name of an enumeration's value
 * @ret_wrapped: whether it came as {"name":null}, which is the same value by another spelling
 *
 * Return: 0 with the name. The caller looks the name up, and then calls json_enum_end() with the
 * result of that.
 */
int json_enum_begin(struct json_reader *reader, bool *ret_wrapped, struct json_text *ret_name);
int json_enum_end(struct json_reader *reader, bool wrapped, int result);

/** json_skip() - pass over a value nobody wants: syntax is checked, UTF-8 and nesting are not */
int json_skip(struct json_reader *reader);

/** json_check() - pass over a value, checked as if it were decoded */
int json_check(struct json_reader *reader);

#endif
