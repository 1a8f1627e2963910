/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two texts are made of the tree once, and each value knows its part of them: the whole as JSON, in
 * which the JSON of each value is a piece, and a second text with all that can be told in the IMDS
 * form, strings without quotes and for each object the list of its keys. Members of an object, and
 * items of an array, stand side by side in the array of values; members in the order of their keys.
 */
#include "mmds/document.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "json/value.h"

/*
 * Places in the texts have 32 bits. Numbers may be longer than they were written, less than five
 * times (1e15 is 1000000000000000.0); the IMDS text is shorter, for the JSON has quotes and commas.
 */
#define DOCUMENT_BYTES_MAX (UINT32_MAX / 8)

struct piece {
	uint32_t at;
	uint32_t len;
};

struct mmds_value {
	enum json_type type;
	uint32_t first;		/* index of the first member or item */
	uint32_t count;		/* of them */
	struct piece key;	/* of the IMDS text; a member's */
	struct piece json;
	struct piece imds;
};

struct mmds_document {
	unsigned int refs;
	struct buf json;
	struct buf imds;
	uint32_t count;
	struct mmds_value *values;	/* the first is the whole; NULL: revoked */
};

static size_t children(const struct json_value *value)
{
	if (value->type == JSON_OBJECT)
		return value->object.count;
	return value->type == JSON_ARRAY ? value->array.count : 0;
}

static const struct json_value *child(const struct json_value *value, size_t i)
{
	return value->type == JSON_OBJECT ? &value->object.members[i].value :
					    &value->array.items[i];
}

static size_t count_values(const struct json_value *value)
{
	size_t count = 1;

	for (size_t i = 0; i < children(value); i++)
		count += count_values(child(value, i));
	return count;
}

static struct piece piece_since(const struct buf *buf, size_t at)
{
	return (struct piece){ (uint32_t)at, (uint32_t)(buf->len - at) };
}

/* The list of an object's keys; it is where the members' keys are kept, too. */
static void list_keys(struct mmds_document *document, const struct json_value *object,
		      struct mmds_value *members)
{
	for (size_t i = 0; i < object->object.count; i++) {
		const struct json_member *member = &object->object.members[i];
		size_t at;

		if (i > 0)
			buf_addc(&document->imds, '\n');
		at = document->imds.len;
		buf_add(&document->imds, member->key, member->key_len);
		members[i].key = piece_since(&document->imds, at);
		if (member->value.type == JSON_OBJECT)
			buf_addc(&document->imds, '/');
	}
}

static void add_imds(struct mmds_document *document, struct mmds_value *value,
		     const struct json_value *source)
{
	size_t at = document->imds.len;

	if (source->type == JSON_STRING)
		buf_add(&document->imds, source->string.data, source->string.len);
	else if (source->type == JSON_OBJECT)
		list_keys(document, source, &document->values[value->first]);
	value->imds = piece_since(&document->imds, at);
}

static void add_value(struct mmds_document *document, struct mmds_value *value,
		      const struct json_value *source);

static void add_children(struct mmds_document *document, const struct mmds_value *value,
			 const struct json_value *source)
{
	const bool is_object = source->type == JSON_OBJECT;

	buf_addc(&document->json, is_object ? '{' : '[');
	for (uint32_t i = 0; i < value->count; i++) {
		if (i > 0)
			buf_addc(&document->json, ',');
		if (is_object) {
			const struct json_member *member = &source->object.members[i];

			buf_add_json_string(&document->json, member->key, member->key_len);
			buf_addc(&document->json, ':');
		}
		add_value(document, &document->values[value->first + i], child(source, i));
	}
	buf_addc(&document->json, is_object ? '}' : ']');
}

/* As deep as the reader lets documents be. */
static void add_value(struct mmds_document *document, struct mmds_value *value,
		      const struct json_value *source)
{
	size_t at = document->json.len;

	value->type = source->type;
	value->first = document->count;
	value->count = (uint32_t)children(source);
	document->count += value->count;
	add_imds(document, value, source);
	if (source->type == JSON_OBJECT || source->type == JSON_ARRAY)
		add_children(document, value, source);
	else
		json_value_write(&document->json, source);
	value->json = piece_since(&document->json, at);
}

int mmds_document_new(const char *json, size_t len, struct mmds_document **ret_document)
{
	CLEANUP(json_value_done) struct json_value tree = JSON_VALUE_INIT;
	CLEANUP(mmds_document_unref) struct mmds_document *document = NULL;
	int r;

	if (len > DOCUMENT_BYTES_MAX)
		return -EFBIG;
	r = json_value_parse(json, len, &tree, NULL);
	if (r < 0)
		return r;
	document = calloc(1, sizeof(*document));
	if (document == NULL)
		return -ENOMEM;
	document->refs = 1;
	document->count = 1;
	document->values = calloc(count_values(&tree), sizeof(document->values[0]));
	if (document->values == NULL)
		return -ENOMEM;
	buf_reserve(&document->json, len);
	buf_reserve(&document->imds, 1);	/* pieces of it are pointers even if all are empty */
	add_value(document, &document->values[0], &tree);
	if (buf_error(&document->json) < 0 || buf_error(&document->imds) < 0)
		return -ENOMEM;
	*ret_document = document;
	document = NULL;
	return 0;
}

struct mmds_document *mmds_document_ref(struct mmds_document *document)
{
	document->refs++;
	return document;
}

void mmds_document_unref(struct mmds_document *document)
{
	if (document == NULL || --document->refs > 0)
		return;
	mmds_document_revoke(document);
	free(document);
}

bool mmds_document_is_shared(const struct mmds_document *document)
{
	return document->refs > 1;
}

void mmds_document_revoke(struct mmds_document *document)
{
	if (document == NULL)
		return;
	buf_done(&document->json);
	buf_done(&document->imds);
	free(document->values);
	document->values = NULL;
}

bool mmds_document_is_revoked(const struct mmds_document *document)
{
	return document->values == NULL;
}

/* Looking up */

/* A part of a pointer: what it means is compared byte by byte, so that nothing is copied. */
struct token {
	const char *data;
	size_t len;
};

/* The next character of @token, ~0 and ~1 being one. Return: false at its end. */
static bool next_character(struct token *token, unsigned char *ret)
{
	size_t len = 1;

	if (token->len == 0)
		return false;
	*ret = (unsigned char)token->data[0];
	if (*ret == '~' && token->len > 1 && (token->data[1] == '0' || token->data[1] == '1')) {
		*ret = token->data[1] == '0' ? '~' : '/';
		len = 2;
	}
	*token = (struct token){ token->data + len, token->len - len };
	return true;
}

static int compare_key(struct token token, const char *key, size_t len)
{
	unsigned char c;

	for (size_t i = 0; i < len; i++) {
		if (!next_character(&token, &c))
			return -1;
		if (c != (unsigned char)key[i])
			return c < (unsigned char)key[i] ? -1 : 1;
	}
	return token.len > 0;
}

static const struct mmds_value *find_member(const struct mmds_document *document,
					    const struct mmds_value *object, struct token token)
{
	uint32_t low = 0, high = object->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct mmds_value *member = &document->values[object->first + middle];
		int order = compare_key(token, document->imds.data + member->key.at,
					member->key.len);

		if (order == 0)
			return member;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static const struct mmds_value *find_item(const struct mmds_document *document,
					  const struct mmds_value *array, struct token token)
{
	uint64_t index = 0;

	if (token.data[0] == '0' && token.len > 1)
		return NULL;
	for (size_t i = 0; i < token.len; i++) {
		if (token.data[i] < '0' || token.data[i] > '9')
			return NULL;
		index = index * 10 + (uint64_t)(token.data[i] - '0');
		if (index >= array->count)
			return NULL;
	}
	return &document->values[array->first + index];
}

static const struct mmds_value *find_child(const struct mmds_document *document,
					   const struct mmds_value *value, struct token token)
{
	if (value->type == JSON_OBJECT)
		return find_member(document, value, token);
	return value->type == JSON_ARRAY && token.len > 0 ? find_item(document, value, token) : NULL;
}

const struct mmds_value *mmds_document_find(const struct mmds_document *document,
					    const char *path, size_t len)
{
	const struct mmds_value *value = &document->values[0];
	const char *at = path, *end = path + len;

	if (len > 0 && end[-1] == '/')
		end--;
	while (value != NULL && at < end) {
		const char *start = at + 1, *slash;

		if (*at != '/')
			return NULL;
		slash = memchr(start, '/', (size_t)(end - start));
		at = slash != NULL ? slash : end;
		value = find_child(document, value, (struct token){ start, (size_t)(at - start) });
	}
	return value;
}

const char *mmds_document_json(const struct mmds_document *document,
			       const struct mmds_value *value, size_t *ret_len)
{
	*ret_len = value->json.len;
	return document->json.data + value->json.at;
}

const char *mmds_document_imds(const struct mmds_document *document,
			       const struct mmds_value *value, size_t *ret_len)
{
	if (value->type != JSON_STRING && value->type != JSON_OBJECT)
		return NULL;
	*ret_len = value->imds.len;
	return document->imds.data + value->imds.at;
}
