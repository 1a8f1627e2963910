/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables that say what a JSON value becomes, and the decoder that obeys them.
 *
 * Upstream derives its decoders from its structs. Here a struct has a table of fields, and one
 * function treats all of them as the derived code does: which keys are known, which may be null,
 * what is missing, and which of two faults is told. Positions are the reader's (json/reader.h).
 */
#ifndef SQUIB_CONFIG_SCHEMA_H
#define SQUIB_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <squib/controller.h>

#include "base/arena.h"
#include "base/fault.h"
#include "json/reader.h"

struct decoder {
	struct json_reader reader;
	struct arena *arena;	/* owns all that is decoded */
	enum squib_arch arch;
};

struct field;

struct enum_name {
	const char *name;
	unsigned int value;
};

enum type_kind {
	TYPE_BOOL,
	TYPE_UINT,	/* of .size bytes, up to .max */
	TYPE_STRING,	/* const char *; a NUL inside is refused */
	TYPE_TEXT,	/* what .parse makes of a string */
	TYPE_ENUM,	/* unsigned int: the value of one of .names */
	TYPE_STRUCT,	/* .fields, on top of .defaults */
	TYPE_POINTER,	/* pointer to a .target */
	TYPE_BY_ARCH,	/* .by_arch[]; no structs, so that both have the same size */
	TYPE_CUSTOM,	/* what .decode does */
};

struct type {
	enum type_kind kind;
	size_t size;			/* of the decoded value */
	/* What a fault says was expected: "u8", "path string", "struct MachineConfig". */
	const char *want;
	union {
		uint64_t max;
		struct {
			/* May fail with json_fail(). The text is not NUL-terminated. */
			int (*parse)(struct decoder *decoder, const struct json_text *text,
				     void *value);
			/*
			 * Upstream fails inside its string reader, which puts the fault right
			 * behind the string; otherwise it is put where the surrounding object
			 * or array was given up.
			 */
			bool fails_in_place;
		};
		struct {
			const struct enum_name *names;
			size_t name_count;
		};
		struct {
			const struct field *fields;	/* in upstream's order: faults list them */
			size_t field_count;		/* up to 32 */
			const void *defaults;		/* .size bytes; NULL: zeros */
			bool open;			/* unknown keys are passed over */
		};
		const struct type *target;
		const struct type *by_arch[2];
		int (*decode)(struct decoder *decoder, void *value);
	};
};

enum field_flags {
	FIELD_REQUIRED = 1 << 0,
	FIELD_NULL = 1 << 1,	/* null is the same as absent */
	FIELD_LIST = 1 << 2,	/* pointer to elements of .type, their number at .count_offset */
	FIELD_HAS = 1 << 3,	/* a bool at .has_offset becomes true when there is a value */
	FIELD_JSON = 1 << 4,	/* text of any value, copied, its length at .count_offset */
};

struct field {
	const char *name;
	const char *alias;	/* another accepted name, which no fault mentions */
	const struct type *type;
	unsigned int flags;
	size_t offset;
	size_t count_offset;
	size_t has_offset;
};

/**
 * decode_value() - decode the reader's next value
 * @value: @type->size bytes, zeroed; undefined after a failure
 *
 * Return: 0, -EINVAL with the reader's fault set (open for some types), or -ENOMEM.
 */
int decode_value(struct decoder *decoder, const struct type *type, void *value);

/** decode_string_copy() - @text as a C string in the arena; refuses NUL inside */
int decode_string_copy(struct decoder *decoder, const struct json_text *text,
		       const char **ret_string);

/** decode_list() - decode an array of @type */
int decode_list(struct decoder *decoder, const struct type *type, void **ret_items,
		size_t *ret_count);

/* Shorthands for tables. */
#define STRUCT_TYPE(struct_name, rust_name, ...) { \
	.kind = TYPE_STRUCT, .size = sizeof(struct struct_name), \
	.want = "struct " rust_name, __VA_ARGS__ }
#define FIELDS(array) .fields = (array), .field_count = ARRAY_SIZE(array)
#define ENUM_TYPE(array) { \
	.kind = TYPE_ENUM, .size = sizeof(unsigned int), .names = (array), \
	.name_count = ARRAY_SIZE(array) }
#define POINTER_TYPE(to) { .kind = TYPE_POINTER, .size = sizeof(void *), .target = (to) }
#define TEXT_TYPE(value_type, parse_function) { \
	.kind = TYPE_TEXT, .size = sizeof(value_type), .want = "a string", \
	.parse = (parse_function) }

#define FIELD(struct_name, member, field_type, field_flags) { \
	.name = #member, .type = (field_type), .flags = (field_flags), \
	.offset = offsetof(struct struct_name, member) }
#define FIELD_AS(key, struct_name, member, field_type, field_flags) { \
	.name = (key), .type = (field_type), .flags = (field_flags), \
	.offset = offsetof(struct struct_name, member) }
#define FIELD_WITH_HAS(struct_name, member, field_type, field_flags) { \
	.name = #member, .type = (field_type), .flags = (field_flags) | FIELD_HAS, \
	.offset = offsetof(struct struct_name, member), \
	.has_offset = offsetof(struct struct_name, has_##member) }
#define LIST_AS(key, struct_name, member, count_member, field_type, field_flags) { \
	.name = (key), .type = (field_type), .flags = (field_flags) | FIELD_LIST, \
	.offset = offsetof(struct struct_name, member), \
	.count_offset = offsetof(struct struct_name, count_member) }
#define LIST(struct_name, member, count_member, field_type, field_flags) \
	LIST_AS(#member, struct_name, member, count_member, field_type, field_flags)

extern const struct type bool_type, u8_type, u16_type, u32_type, u64_type, usize_type;
extern const struct type string_type, path_type;

#endif
