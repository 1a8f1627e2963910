/* SPDX-License-Identifier: Apache-2.0 */
#include "config/schema.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "json/debug_text.h"

#define LIST_FIRST_CAP 4

const struct type bool_type = { .kind = TYPE_BOOL, .size = sizeof(bool) };
const struct type u8_type = { .kind = TYPE_UINT, .size = 1, .want = "u8", .max = UINT8_MAX };
const struct type u16_type = { .kind = TYPE_UINT, .size = 2, .want = "u16", .max = UINT16_MAX };
const struct type u32_type = { .kind = TYPE_UINT, .size = 4, .want = "u32", .max = UINT32_MAX };
const struct type u64_type = { .kind = TYPE_UINT, .size = 8, .want = "u64", .max = UINT64_MAX };
const struct type usize_type = { .kind = TYPE_UINT, .size = 8, .want = "usize", .max = UINT64_MAX };
const struct type string_type = {
	.kind = TYPE_STRING, .size = sizeof(const char *), .want = "a string",
};
const struct type path_type = {
	.kind = TYPE_STRING, .size = sizeof(const char *), .want = "path string",
};

static bool text_is(const struct json_text *text, const char *s)
{
	return s != NULL && strlen(s) == text->len && memcmp(text->data, s, text->len) == 0;
}

static int decode_bool(struct decoder *decoder, void *value)
{
	bool boolean;
	int r = json_read_bool(&decoder->reader, &boolean);

	if (r == 0)
		memcpy(value, &boolean, sizeof(boolean));
	return r;
}

static int decode_uint(struct decoder *decoder, const struct type *type, void *value)
{
	uint64_t u64;
	int r = json_read_uint(&decoder->reader, type->max, type->want, &u64);

	if (r < 0)
		return r;
	switch (type->size) {
	case 1: *(uint8_t *)value = (uint8_t)u64; break;
	case 2: *(uint16_t *)value = (uint16_t)u64; break;
	case 4: *(uint32_t *)value = (uint32_t)u64; break;
	default: *(uint64_t *)value = u64; break;
	}
	return 0;
}

int decode_string_copy(struct decoder *decoder, const struct json_text *text,
		       const char **ret_string)
{
	CLEANUP(buf_done) struct buf quoted = BUF_INIT;

	if (text->len > 0 && memchr(text->data, 0, text->len) != NULL) {
		/* Own text: upstream's strings may hold NUL, and fail in a system call later. */
		debug_text_add(&quoted, text->data, text->len);
		if (buf_str(&quoted) == NULL)
			return -ENOMEM;
		json_fail(&decoder->reader,
			  "invalid value: string %s, expected a string without NUL bytes",
			  quoted.data);
		return json_place_fault(&decoder->reader, -EINVAL);
	}
	*ret_string = arena_memdup(decoder->arena, text->data, text->len);
	return *ret_string != NULL ? 0 : -ENOMEM;
}

static int decode_string(struct decoder *decoder, const struct type *type, void *value)
{
	struct json_text text;
	int r = json_read_string(&decoder->reader, type->want, &text);

	return r < 0 ? r : decode_string_copy(decoder, &text, value);
}

static int decode_text(struct decoder *decoder, const struct type *type, void *value)
{
	struct json_text text;
	int r = json_read_string(&decoder->reader, type->want, &text);

	if (r < 0)
		return r;
	r = type->parse(decoder, &text, value);
	return type->fails_in_place ? json_place_fault(&decoder->reader, r) : r;
}

/* "expected `a`", "expected `a` or `b`", "expected one of `a`, `b`, `c`" */
static void add_expected(struct buf *buf, size_t index, size_t count, const char *name)
{
	if (index == 0)
		buf_adds(buf, count > 2 ? "expected one of " : "expected ");
	else
		buf_adds(buf, count > 2 ? ", " : " or ");
	buf_addf(buf, "`%s`", name);
}

/* Takes the list of known names in @expected. */
static int fail_unknown(struct decoder *decoder, const char *what, const struct json_text *name,
			struct buf *expected)
{
	if (buf_str(expected) == NULL)
		return -ENOMEM;
	/* A NUL ends the name here: fault texts are C strings. */
	return json_fail(&decoder->reader, "unknown %s `%.*s`, %s", what, (int)name->len,
			 name->data, expected->data);
}

static int find_enum(struct decoder *decoder, const struct type *type,
		     const struct json_text *name, void *value)
{
	CLEANUP(buf_done) struct buf expected = BUF_INIT;

	for (size_t i = 0; i < type->name_count; i++) {
		if (text_is(name, type->names[i].name)) {
			*(unsigned int *)value = type->names[i].value;
			return 0;
		}
	}
	for (size_t i = 0; i < type->name_count; i++)
		add_expected(&expected, i, type->name_count, type->names[i].name);
	return fail_unknown(decoder, "variant", name, &expected);
}

static int decode_enum(struct decoder *decoder, const struct type *type, void *value)
{
	struct json_text name;
	bool wrapped;
	int r = json_enum_begin(&decoder->reader, &wrapped, &name);

	if (r < 0)
		return r;
	return json_enum_end(&decoder->reader, wrapped, find_enum(decoder, type, &name, value));
}

static int decode_pointer(struct decoder *decoder, const struct type *type, void *value)
{
	void *target = arena_alloc(decoder->arena, type->target->size);

	if (target == NULL)
		return -ENOMEM;
	*(void **)value = target;
	return decode_value(decoder, type->target, target);
}

/* Lists */

/* Room for one more item, zeroed; NULL: out of memory. */
static char *next_item(struct decoder *decoder, size_t size, void **items, size_t count,
		       size_t *cap)
{
	void *more;

	if (count == *cap) {
		*cap = *cap > 0 ? *cap * 2 : LIST_FIRST_CAP;
		more = arena_alloc(decoder->arena, *cap * size);
		if (more == NULL)
			return NULL;
		if (count > 0)
			memcpy(more, *items, count * size);
		*items = more;
	}
	return (char *)*items + count * size;
}

static int decode_items(struct decoder *decoder, const struct type *type, void **items,
			size_t *count)
{
	bool first = true;
	size_t cap = 0;
	int r;

	while ((r = json_array_next(&decoder->reader, &first)) > 0) {
		void *item = next_item(decoder, type->size, items, *count, &cap);

		if (item == NULL)
			return -ENOMEM;
		r = decode_value(decoder, type, item);
		if (r < 0)
			return r;
		(*count)++;
	}
	return r;
}

int decode_list(struct decoder *decoder, const struct type *type, void **ret_items,
		size_t *ret_count)
{
	int c = json_peek_value(&decoder->reader);
	int r;

	if (c < 0)
		return c;
	if (c != '[')
		return json_wrong_type(&decoder->reader, "a sequence");
	r = json_array_begin(&decoder->reader);
	if (r < 0)
		return r;
	*ret_items = NULL;
	*ret_count = 0;
	return json_array_end(&decoder->reader, decode_items(decoder, type, ret_items, ret_count));
}

/* Any value, kept as its text. */
static int decode_json(struct decoder *decoder, const char **ret_text, size_t *ret_len)
{
	size_t start;
	int c = json_peek_value(&decoder->reader);
	int r;

	if (c < 0)
		return c;
	start = decoder->reader.pos;
	r = json_check(&decoder->reader);
	if (r < 0)
		return r;
	*ret_len = decoder->reader.pos - start;
	*ret_text = arena_memdup(decoder->arena, decoder->reader.data + start, *ret_len);
	return *ret_text != NULL ? 0 : -ENOMEM;
}

/* Structs */

static int decode_field(struct decoder *decoder, const struct field *field, char *value)
{
	int r;

	if ((field->flags & FIELD_NULL) != 0) {
		r = json_read_null(&decoder->reader);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	if ((field->flags & FIELD_HAS) != 0)
		*(bool *)(value + field->has_offset) = true;
	if ((field->flags & FIELD_LIST) != 0)
		return decode_list(decoder, field->type, (void **)(value + field->offset),
				   (size_t *)(value + field->count_offset));
	if ((field->flags & FIELD_JSON) != 0)
		return decode_json(decoder, (const char **)(value + field->offset),
				   (size_t *)(value + field->count_offset));
	return decode_value(decoder, field->type, value + field->offset);
}

/* The field of that name; field_count: none. */
static size_t find_field(const struct type *type, const struct json_text *name)
{
	size_t i = 0;

	while (i < type->field_count && !text_is(name, type->fields[i].name) &&
	       !text_is(name, type->fields[i].alias))
		i++;
	return i;
}

static int unknown_field(struct decoder *decoder, const struct type *type,
			 const struct json_text *name)
{
	CLEANUP(buf_done) struct buf expected = BUF_INIT;
	int r;

	if (type->open) {
		r = json_colon(&decoder->reader);
		return r < 0 ? r : json_skip(&decoder->reader);
	}
	for (size_t i = 0; i < type->field_count; i++)
		add_expected(&expected, i, type->field_count, type->fields[i].name);
	return fail_unknown(decoder, "field", name, &expected);
}

static int decode_member(struct decoder *decoder, const struct type *type,
			 const struct json_text *name, uint32_t *seen, char *value)
{
	size_t i = find_field(type, name);
	int r;

	if (i == type->field_count)
		return unknown_field(decoder, type, name);
	if ((*seen & 1u << i) != 0)
		return json_fail(&decoder->reader, "duplicate field `%s`", type->fields[i].name);
	*seen |= 1u << i;
	r = json_colon(&decoder->reader);
	return r < 0 ? r : decode_field(decoder, &type->fields[i], value);
}

static int check_missing(struct decoder *decoder, const struct type *type, uint32_t seen)
{
	for (size_t i = 0; i < type->field_count; i++)
		if ((type->fields[i].flags & FIELD_REQUIRED) != 0 && (seen & 1u << i) == 0)
			return json_fail(&decoder->reader, "missing field `%s`",
					 type->fields[i].name);
	return 0;
}

static int decode_members(struct decoder *decoder, const struct type *type, void *value)
{
	struct json_text name;
	uint32_t seen = 0;
	bool first = true;
	int r;

	while ((r = json_object_next(&decoder->reader, &first, &name)) > 0) {
		r = decode_member(decoder, type, &name, &seen, value);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : check_missing(decoder, type, seen);
}

static int decode_struct(struct decoder *decoder, const struct type *type, void *value)
{
	int c = json_peek_value(&decoder->reader);
	int r;

	assert(type->field_count <= 32);
	if (c < 0)
		return c;
	/* An array of the fields in order, which upstream accepts, is refused (contract 1.7). */
	if (c != '{')
		return json_wrong_type(&decoder->reader, type->want);
	r = json_object_begin(&decoder->reader);
	if (r < 0)
		return r;
	if (type->defaults != NULL)
		memcpy(value, type->defaults, type->size);
	return json_object_end(&decoder->reader, decode_members(decoder, type, value));
}

int decode_value(struct decoder *decoder, const struct type *type, void *value)
{
	switch (type->kind) {
	case TYPE_BOOL:
		return decode_bool(decoder, value);
	case TYPE_UINT:
		return decode_uint(decoder, type, value);
	case TYPE_STRING:
		return decode_string(decoder, type, value);
	case TYPE_TEXT:
		return decode_text(decoder, type, value);
	case TYPE_ENUM:
		return decode_enum(decoder, type, value);
	case TYPE_STRUCT:
		return decode_struct(decoder, type, value);
	case TYPE_POINTER:
		return decode_pointer(decoder, type, value);
	case TYPE_BY_ARCH:
		return decode_value(decoder, type->by_arch[decoder->arch], value);
	case TYPE_CUSTOM:
		return type->decode(decoder, value);
	}
	return -EINVAL;
}
