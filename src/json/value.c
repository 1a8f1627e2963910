/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree is built by recursion over the reader, and every later walk recurses as deep as the
 * tree, which the reader keeps to JSON_DEPTH_MAX. Members of an object are collected as they come,
 * and sorted once at its closing brace: documents written by upstream are sorted already, and one
 * sorted backwards must not cost the square of its size.
 */
#include "json/value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/reader.h"

static int compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static char *copy_bytes(const char *data, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	return copy;
}

static void member_done(struct json_member *member)
{
	free(member->key);
	json_value_done(&member->value);
}

void json_value_done(struct json_value *value)
{
	if (value->type == JSON_STRING) {
		free(value->string.data);
	} else if (value->type == JSON_ARRAY) {
		for (size_t i = 0; i < value->array.count; i++)
			json_value_done(&value->array.items[i]);
		free(value->array.items);
	} else if (value->type == JSON_OBJECT) {
		for (size_t i = 0; i < value->object.count; i++)
			member_done(&value->object.members[i]);
		free(value->object.members);
	}
	*value = (struct json_value)JSON_VALUE_INIT;
}

/* Growing */

static void *grow(void *items, size_t count, size_t *cap, size_t size)
{
	size_t more;

	if (count < *cap)
		return items;
	more = *cap > 0 ? *cap * 2 : 4;
	items = reallocarray(items, more, size);
	if (items != NULL)
		*cap = more;
	return items;
}

/* A new null at the end of an array; NULL: out of memory. */
static struct json_value *array_append(struct json_value *array)
{
	struct json_value *items = grow(array->array.items, array->array.count, &array->array.cap,
					sizeof(*items));
	struct json_value *item;

	if (items == NULL)
		return NULL;
	array->array.items = items;
	item = &items[array->array.count++];
	*item = (struct json_value)JSON_VALUE_INIT;
	return item;
}

/* A new member with a null value, not yet in order; NULL: out of memory. */
static struct json_value *object_append(struct json_value *object, const char *key, size_t key_len)
{
	struct json_member *members = grow(object->object.members, object->object.count,
					   &object->object.cap, sizeof(*members));
	char *copy;

	if (members == NULL)
		return NULL;
	object->object.members = members;
	copy = copy_bytes(key, key_len);
	if (copy == NULL)
		return NULL;
	members[object->object.count] = (struct json_member){ .key = copy, .key_len = key_len };
	return &members[object->object.count++].value;
}

/* Sorting: a merge sort, for of equal keys the order of the document must be kept. */

static int compare_members(const struct json_member *a, const struct json_member *b)
{
	return compare_keys(a->key, a->key_len, b->key, b->key_len);
}

static void merge_runs(const struct json_member *from, struct json_member *to, size_t count,
		       size_t run)
{
	for (size_t start = 0; start < count; start += 2 * run) {
		size_t middle = start + run < count ? start + run : count;
		size_t end = middle + run < count ? middle + run : count;
		size_t left = start, right = middle;

		for (size_t i = start; i < end; i++) {
			bool take_left = right == end || (left < middle &&
				compare_members(&from[left], &from[right]) <= 0);

			to[i] = from[take_left ? left++ : right++];
		}
	}
}

static int sort_members(struct json_value *object)
{
	size_t count = object->object.count;
	struct json_member *from = object->object.members;
	struct json_member *to = reallocarray(NULL, count, sizeof(*to));

	if (to == NULL)
		return -ENOMEM;
	for (size_t run = 1; run < count; run *= 2) {
		struct json_member *swap = from;

		merge_runs(from, to, count, run);
		from = to;
		to = swap;
	}
	object->object.members = from;
	if (from != to && object->object.cap > count)
		object->object.cap = count;	/* both arrays hold at least that many */
	free(to);
	return 0;
}

/* Of equal neighbours the last stays. */
static void drop_duplicates(struct json_value *object)
{
	struct json_member *members = object->object.members;
	size_t kept = 0;

	for (size_t i = 0; i < object->object.count; i++) {
		if (kept > 0 && compare_members(&members[kept - 1], &members[i]) == 0)
			member_done(&members[--kept]);
		members[kept++] = members[i];
	}
	object->object.count = kept;
}

static int order_members(struct json_value *object)
{
	const struct json_member *members = object->object.members;
	bool sorted = true;
	int r;

	for (size_t i = 1; i < object->object.count && sorted; i++)
		sorted = compare_members(&members[i - 1], &members[i]) < 0;
	if (sorted)
		return 0;
	r = sort_members(object);
	if (r == 0)
		drop_duplicates(object);
	return r;
}

/* Parsing */

static int read_value(struct json_reader *reader, struct json_value *value);

static int read_members(struct json_reader *reader, struct json_value *object)
{
	struct json_text key;
	bool first = true;
	int r;

	while ((r = json_object_next(reader, &first, &key)) > 0) {
		struct json_value *value = object_append(object, key.data, key.len);

		if (value == NULL)
			return -ENOMEM;
		r = json_colon(reader);
		if (r == 0)
			r = read_value(reader, value);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_object(struct json_reader *reader, struct json_value *value)
{
	int r = json_object_begin(reader);

	if (r < 0)
		return r;
	*value = (struct json_value){ .type = JSON_OBJECT };
	r = json_object_end(reader, read_members(reader, value));
	return r < 0 ? r : order_members(value);
}

static int read_items(struct json_reader *reader, struct json_value *array)
{
	bool first = true;
	int r;

	while ((r = json_array_next(reader, &first)) > 0) {
		struct json_value *item = array_append(array);

		if (item == NULL)
			return -ENOMEM;
		r = read_value(reader, item);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_array(struct json_reader *reader, struct json_value *value)
{
	int r = json_array_begin(reader);

	if (r < 0)
		return r;
	*value = (struct json_value){ .type = JSON_ARRAY };
	return json_array_end(reader, read_items(reader, value));
}

static int set_string(struct json_value *value, const char *data, size_t len)
{
	char *copy = copy_bytes(data, len);

	if (copy == NULL)
		return -ENOMEM;
	*value = (struct json_value){ .type = JSON_STRING, .string = { copy, len } };
	return 0;
}

static int read_string(struct json_reader *reader, struct json_value *value)
{
	struct json_text text;
	int r = json_read_string(reader, "a string", &text);

	return r < 0 ? r : set_string(value, text.data, text.len);
}

static int read_number(struct json_reader *reader, struct json_value *value)
{
	struct json_number number;
	int r = json_read_number(reader, &number);

	if (r < 0)
		return r;
	switch (number.kind) {
	case JSON_NUMBER_U64:
		*value = (struct json_value){ .type = JSON_U64, .u64 = number.u64 };
		break;
	case JSON_NUMBER_I64:
		*value = (struct json_value){ .type = JSON_I64, .i64 = number.i64 };
		break;
	case JSON_NUMBER_F64:
		*value = (struct json_value){ .type = JSON_F64, .f64 = number.f64 };
		break;
	}
	return 0;
}

static int read_bool(struct json_reader *reader, struct json_value *value)
{
	bool boolean = false;
	int r = json_read_bool(reader, &boolean);

	*value = (struct json_value){ .type = JSON_BOOL, .boolean = boolean };
	return r;
}

/* @value is null before; on failure it holds what there was, and is the caller's to empty. */
static int read_value(struct json_reader *reader, struct json_value *value)
{
	switch (json_peek(reader)) {
	case '{':
		return read_object(reader, value);
	case '[':
		return read_array(reader, value);
	case '"':
		return read_string(reader, value);
	case 't':
	case 'f':
		return read_bool(reader, value);
	case '-':
	case '0': case '1': case '2': case '3': case '4':
	case '5': case '6': case '7': case '8': case '9':
		return read_number(reader, value);
	default:
		return json_check(reader);	/* null, or a fault */
	}
}

int json_value_parse(const char *json, size_t len, struct json_value *ret_value,
		     struct fault *fault)
{
	CLEANUP(json_value_done) struct json_value value = JSON_VALUE_INIT;
	CLEANUP(json_reader_done) struct json_reader reader;
	int r;

	json_reader_init(&reader, json, len, fault);
	r = read_value(&reader, &value);
	if (r == 0)
		r = json_reader_end(&reader);
	if (r == -ENOMEM)
		return fault_set(fault, r, "out of memory");
	if (r == 0)
		*ret_value = json_value_take(&value);
	return r;
}

/* Copying and comparing */

static int copy_array(const struct json_value *value, struct json_value *copy)
{
	*copy = (struct json_value){ .type = JSON_ARRAY };
	for (size_t i = 0; i < value->array.count; i++) {
		struct json_value *item = array_append(copy);

		if (item == NULL || json_value_copy(&value->array.items[i], item) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int copy_object(const struct json_value *value, struct json_value *copy)
{
	*copy = (struct json_value){ .type = JSON_OBJECT };
	for (size_t i = 0; i < value->object.count; i++) {
		const struct json_member *member = &value->object.members[i];
		struct json_value *item = object_append(copy, member->key, member->key_len);

		if (item == NULL || json_value_copy(&member->value, item) < 0)
			return -ENOMEM;
	}
	return 0;
}

int json_value_copy(const struct json_value *value, struct json_value *ret_copy)
{
	CLEANUP(json_value_done) struct json_value copy = JSON_VALUE_INIT;
	int r = 0;

	if (value->type == JSON_STRING)
		r = set_string(&copy, value->string.data, value->string.len);
	else if (value->type == JSON_ARRAY)
		r = copy_array(value, &copy);
	else if (value->type == JSON_OBJECT)
		r = copy_object(value, &copy);
	else
		copy = *value;
	if (r == 0)
		*ret_copy = json_value_take(&copy);
	return r;
}

static bool equal_arrays(const struct json_value *a, const struct json_value *b)
{
	if (a->array.count != b->array.count)
		return false;
	for (size_t i = 0; i < a->array.count; i++)
		if (!json_value_equal(&a->array.items[i], &b->array.items[i]))
			return false;
	return true;
}

static bool equal_objects(const struct json_value *a, const struct json_value *b)
{
	if (a->object.count != b->object.count)
		return false;
	for (size_t i = 0; i < a->object.count; i++)
		if (compare_members(&a->object.members[i], &b->object.members[i]) != 0 ||
		    !json_value_equal(&a->object.members[i].value, &b->object.members[i].value))
			return false;
	return true;
}

bool json_value_equal(const struct json_value *a, const struct json_value *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case JSON_NULL:
		return true;
	case JSON_BOOL:
		return a->boolean == b->boolean;
	case JSON_U64:
		return a->u64 == b->u64;
	case JSON_I64:
		return a->i64 == b->i64;
	case JSON_F64:
		return memcmp(&a->f64, &b->f64, sizeof(a->f64)) == 0;
	case JSON_STRING:
		return compare_keys(a->string.data, a->string.len, b->string.data,
				    b->string.len) == 0;
	case JSON_ARRAY:
		return equal_arrays(a, b);
	case JSON_OBJECT:
		return equal_objects(a, b);
	}
	return false;
}

struct json_value *json_object_get(const struct json_value *value, const char *key, size_t key_len)
{
	size_t low = 0, high = value->type == JSON_OBJECT ? value->object.count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct json_member *member = &value->object.members[middle];
		int order = compare_keys(key, key_len, member->key, member->key_len);

		if (order == 0)
			return &member->value;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* Merging: both sides are sorted, so that one pass over both makes the result. */

static int replace(struct json_value *target, const struct json_value *patch)
{
	struct json_value copy;
	int r = json_value_copy(patch, &copy);

	if (r < 0)
		return r;
	json_value_done(target);
	*target = copy;
	return 0;
}

/* A member that only the patch has. Appended to @members unless it is null. */
static int merge_new(struct json_member *members, size_t *count, const struct json_member *patch)
{
	struct json_member member = { .key_len = patch->key_len };
	int r;

	if (patch->value.type == JSON_NULL)
		return 0;
	member.key = copy_bytes(patch->key, patch->key_len);
	if (member.key == NULL)
		return -ENOMEM;
	r = json_value_merge(&member.value, &patch->value);
	if (r < 0)
		member_done(&member);
	else
		members[(*count)++] = member;
	return r;
}

/* A member that both have. */
static int merge_old(struct json_member *members, size_t *count, struct json_member *old,
		     const struct json_value *patch)
{
	int r = 0;

	if (patch->type == JSON_NULL) {
		member_done(old);
		return 0;
	}
	r = json_value_merge(&old->value, patch);
	members[(*count)++] = *old;
	return r;
}

/*
 * Which side has the next member: below 0 the target, above 0 the patch, 0 both. After a failure
 * nothing more is applied, and the rest of the target stays.
 */
static int merge_order(const struct json_value *target, size_t t, const struct json_value *patch,
		       size_t p, int r)
{
	if (p == patch->object.count || r < 0)
		return -1;
	if (t == target->object.count)
		return 1;
	return compare_members(&target->object.members[t], &patch->object.members[p]);
}

static int merge_objects(struct json_value *target, const struct json_value *patch)
{
	size_t cap = target->object.count + patch->object.count;
	struct json_member *members = reallocarray(NULL, cap > 0 ? cap : 1, sizeof(*members));
	size_t count = 0, t = 0, p = 0;
	int r = 0;

	if (members == NULL)
		return -ENOMEM;
	while (t < target->object.count || (p < patch->object.count && r == 0)) {
		int order = merge_order(target, t, patch, p, r);

		if (order < 0)
			members[count++] = target->object.members[t++];
		else if (order > 0)
			r = merge_new(members, &count, &patch->object.members[p++]);
		else
			r = merge_old(members, &count, &target->object.members[t++],
				      &patch->object.members[p++].value);
	}
	free(target->object.members);
	target->object.members = members;
	target->object.count = count;
	target->object.cap = cap;
	return r;
}

int json_value_merge(struct json_value *target, const struct json_value *patch)
{
	if (patch->type != JSON_OBJECT)
		return replace(target, patch);
	if (target->type != JSON_OBJECT) {
		json_value_done(target);
		*target = (struct json_value){ .type = JSON_OBJECT };
	}
	return merge_objects(target, patch);
}

/* Writing */

void json_write_u64(struct buf *buf, uint64_t number)
{
	buf_addf(buf, "%" PRIu64, number);
}

void json_write_i64(struct buf *buf, int64_t number)
{
	buf_addf(buf, "%" PRId64, number);
}

/* A positive double as 0.‹digits› * 10^‹point›, the digits in text and without zeros at the end. */
struct decimal {
	char digits[20];
	int count;
	int point;
};

/*
 * @count digits, correctly rounded. printf() and strtod() do the exact arithmetic; only the
 * decimal point depends on the locale, so it is neither read nor written here.
 */
static void round_to_digits(double number, int count, struct decimal *decimal)
{
	char text[48];
	char *p = text;

	snprintf(text, sizeof(text), "%.*e", count - 1, number);
	decimal->count = 0;
	for (; *p != 'e'; p++)
		if (*p >= '0' && *p <= '9' && decimal->count < count)
			decimal->digits[decimal->count++] = *p;
	decimal->point = (int)strtol(p + 1, NULL, 10) + 1;
}

static bool reads_back(const struct decimal *decimal, double number)
{
	char text[48];

	snprintf(text, sizeof(text), "%.*se%d", decimal->count, decimal->digits,
		 decimal->point - decimal->count);
	return strtod(text, NULL) == number;
}

/* The next decimal of as many digits, up or down. */
static void step(struct decimal *decimal, bool up)
{
	char wrap = up ? '9' : '0';
	int i = decimal->count - 1;

	while (i > 0 && decimal->digits[i] == wrap)
		decimal->digits[i--] = up ? '0' : '9';
	if (up && decimal->digits[i] == '9') {	/* 99 to 100 */
		decimal->digits[i] = '1';
		decimal->point++;
	} else {
		decimal->digits[i] = (char)(decimal->digits[i] + (up ? 1 : -1));
	}
}

/*
 * Is there a decimal of @count digits that reads back as @number? Nearly always the nearest one
 * tells; but below a power of two doubles lie closer than above, so there a farther one above can
 * read back when the nearest, below, does not.
 */
static bool find_decimal(double number, int count, struct decimal *decimal)
{
	struct decimal nearest;

	round_to_digits(number, count, &nearest);
	*decimal = nearest;
	if (reads_back(decimal, number))
		return true;
	step(decimal, true);
	if (reads_back(decimal, number))
		return true;
	*decimal = nearest;
	step(decimal, false);
	return decimal->digits[0] != '0' && reads_back(decimal, number);
}

/* The decimal of fewest digits that reads back as @number, of those the nearest to it. */
static void shortest_decimal(double number, struct decimal *decimal)
{
	/* What 15 digits can tell is told by them with zeros at the end; subnormals know fewer. */
	int count = isnormal(number) ? 15 : 1;

	while (count < 17 && !find_decimal(number, count, decimal))
		count++;
	if (count == 17)
		round_to_digits(number, count, decimal);
	while (decimal->count > 1 && decimal->digits[decimal->count - 1] == '0')
		decimal->count--;
}

static void add_zeros(struct buf *buf, int count)
{
	for (int i = 0; i < count; i++)
		buf_addc(buf, '0');
}

static void write_plain(struct buf *buf, const struct decimal *d)
{
	int whole = d->point < 0 ? 0 : d->point < d->count ? d->point : d->count;

	buf_add(buf, d->digits, (size_t)whole);
	add_zeros(buf, whole == 0 ? 1 : d->point - whole);
	buf_addc(buf, '.');
	if (d->point < 0)
		add_zeros(buf, -d->point);
	buf_add(buf, d->digits + whole, (size_t)(d->count - whole));
	if (whole == d->count)
		buf_addc(buf, '0');
}

static void write_scientific(struct buf *buf, const struct decimal *d)
{
	buf_addc(buf, d->digits[0]);
	if (d->count > 1) {
		buf_addc(buf, '.');
		buf_add(buf, d->digits + 1, (size_t)(d->count - 1));
	}
	buf_addf(buf, "e%+d", d->point - 1);
}

/*
 * The form of zmij 1.0.21, which serde_json 1.0.149 prints with: plain from 1e-5 to below 1e16,
 * always with a decimal point; outside of that 1e+16 or 1.5e-7.
 */
void json_write_f64(struct buf *buf, double number)
{
	struct decimal decimal;

	if (signbit(number))
		buf_addc(buf, '-');
	if (number == 0) {
		buf_adds(buf, "0.0");
		return;
	}
	shortest_decimal(fabs(number), &decimal);
	if (decimal.point > -5 && decimal.point <= 16)
		write_plain(buf, &decimal);
	else
		write_scientific(buf, &decimal);
}

static void write_array(struct buf *buf, const struct json_value *value)
{
	buf_addc(buf, '[');
	for (size_t i = 0; i < value->array.count; i++) {
		if (i > 0)
			buf_addc(buf, ',');
		json_value_write(buf, &value->array.items[i]);
	}
	buf_addc(buf, ']');
}

static void write_object(struct buf *buf, const struct json_value *value)
{
	buf_addc(buf, '{');
	for (size_t i = 0; i < value->object.count; i++) {
		const struct json_member *member = &value->object.members[i];

		if (i > 0)
			buf_addc(buf, ',');
		buf_add_json_string(buf, member->key, member->key_len);
		buf_addc(buf, ':');
		json_value_write(buf, &member->value);
	}
	buf_addc(buf, '}');
}

void json_value_write(struct buf *buf, const struct json_value *value)
{
	switch (value->type) {
	case JSON_NULL:
		buf_adds(buf, "null");
		break;
	case JSON_BOOL:
		buf_adds(buf, value->boolean ? "true" : "false");
		break;
	case JSON_U64:
		json_write_u64(buf, value->u64);
		break;
	case JSON_I64:
		json_write_i64(buf, value->i64);
		break;
	case JSON_F64:
		json_write_f64(buf, value->f64);
		break;
	case JSON_STRING:
		buf_add_json_string(buf, value->string.data, value->string.len);
		break;
	case JSON_ARRAY:
		write_array(buf, value);
		break;
	case JSON_OBJECT:
		write_object(buf, value);
		break;
	}
}
