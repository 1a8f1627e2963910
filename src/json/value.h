/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON document as a tree: the metadata store and its patches.
 *
 * Own code rather than jansson, which the first drafts named: jansson has no unsigned 64-bit
 * integers, prints doubles with 17 digits through the C locale, keeps no sorted keys, and words
 * its faults differently. Clients see all four (contract 1.7 and 2.12).
 *
 * Memory comes from malloc, not from an arena: the store lives as long as the process and is
 * patched again and again, so what a patch replaces must be given back.
 *
 * A tree is plain data without a lock. Nesting is bounded by the reader (JSON_DEPTH_MAX); a merge
 * makes nothing deeper than the deeper of its two sides, so recursion over a tree is bounded too.
 */
#ifndef SQUIB_JSON_VALUE_H
#define SQUIB_JSON_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/util.h"

enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_U64,	/* integers from 0 up */
	JSON_I64,	/* integers below 0 */
	JSON_F64,	/* every other number, -0 and what does not fit 64 bits included; finite */
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

struct json_member;

struct json_value {
	enum json_type type;
	union {
		bool boolean;
		uint64_t u64;
		int64_t i64;
		double f64;
		struct {
			char *data;	/* UTF-8, may hold NUL; followed by a NUL not counted */
			size_t len;
		} string;
		struct {
			struct json_value *items;
			size_t count;
			size_t cap;
		} array;
		struct {
			struct json_member *members;	/* by key, in the order of its bytes */
			size_t count;
			size_t cap;
		} object;
	};
};

struct json_member {
	char *key;		/* as string.data above */
	size_t key_len;
	struct json_value value;
};

#define JSON_VALUE_INIT { .type = JSON_NULL }

/**
 * json_value_parse() - build a tree from a whole document
 * @ret_value: written on success only; empty it with json_value_done()
 *
 * Of equal keys in one object the last wins. Faults are the reader's (json/reader.h), with line
 * and column.
 *
 * Return: 0; -EINVAL with the text in @fault; -ENOMEM.
 */
int json_value_parse(const char *json, size_t len, struct json_value *ret_value,
		     struct fault *fault);

/** json_value_done() - give back everything below @value and make it null */
void json_value_done(struct json_value *value);
static inline void json_value_done_p(struct json_value *value) { json_value_done(value); }

/** json_value_take() - move a tree out, leaving null */
static inline struct json_value json_value_take(struct json_value *value)
{
	struct json_value taken = *value;

	*value = (struct json_value)JSON_VALUE_INIT;
	return taken;
}

/** json_value_copy() - a deep copy; 0 or -ENOMEM. @ret_copy is written on success only */
int json_value_copy(const struct json_value *value, struct json_value *ret_copy);

/** json_value_equal() - same types and values; doubles by their bits */
bool json_value_equal(const struct json_value *a, const struct json_value *b);

/** json_value_write() - append compact JSON: no blanks, keys in order, numbers as upstream's */
void json_value_write(struct buf *buf, const struct json_value *value);

/**
 * json_value_merge() - apply an RFC 7396 merge patch
 * @patch: not taken and not changed
 *
 * A patch that is no object replaces @target. A null member removes, at every depth; a patch
 * object that meets a non-object starts from an empty one. Replacing a member by a non-object
 * copies it as it is, nulls in arrays included.
 *
 * Return: 0, or -ENOMEM, and then @target is a valid tree with a part of the patch applied:
 * whoever needs all or nothing patches a copy.
 */
int json_value_merge(struct json_value *target, const struct json_value *patch);

/** json_object_get() - the member of that name; NULL: none, or @value is no object */
struct json_value *json_object_get(const struct json_value *value, const char *key, size_t key_len);

/** json_write_u64(), json_write_i64(), json_write_f64() - append one number; @number is finite */
void json_write_u64(struct buf *buf, uint64_t number);
void json_write_i64(struct buf *buf, int64_t number);
void json_write_f64(struct buf *buf, double number);

#endif
