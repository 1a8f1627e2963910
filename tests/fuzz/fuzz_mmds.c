/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the value tree: what is written can be read again and is the same, the reader's three ways
 * to pass over a document agree, and a patch applied twice is a patch applied once. A byte 0x1e,
 * which JSON has no use for, parts a document from a patch.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_mmds \
 *		tests/fuzz/fuzz_mmds.c src/json/{debug_text,reader,value}.c src/base/{buf,fault}.c
 *	mkdir -p found && ./fuzz_mmds -max_len=4096 found tests/fuzz/corpus/mmds
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/reader.h"
#include "json/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static int pass(int (*read)(struct json_reader *reader), const char *json, size_t len,
		struct fault *fault)
{
	struct json_reader reader;
	int r;

	json_reader_init(&reader, json, len, fault);
	r = read(&reader);
	if (r == 0)
		r = json_reader_end(&reader);
	json_reader_done(&reader);
	return r;
}

/* Parses as the others pass. False: refused. */
static bool parse(const char *json, size_t len, struct json_value *ret_value)
{
	struct fault fault = FAULT_INIT, other = FAULT_INIT;
	int r = json_value_parse(json, len, ret_value, &fault);

	require(r == 0 || r == -EINVAL, "accepted or refused");
	require(pass(json_check, json, len, &other) == r, "json_check() agrees");
	require(strcmp(fault_text(&fault), fault_text(&other)) == 0, "in words, too");
	if (r == 0)
		require(pass(json_skip, json, len, NULL) == 0, "what is good can be skipped");
	fault_done(&fault);
	fault_done(&other);
	return r == 0;
}

/* A double may change when it is read again: upstream's reader rounds twice. */
static bool has_double(const struct json_value *value)
{
	if (value->type == JSON_ARRAY) {
		for (size_t i = 0; i < value->array.count; i++)
			if (has_double(&value->array.items[i]))
				return true;
	} else if (value->type == JSON_OBJECT) {
		for (size_t i = 0; i < value->object.count; i++)
			if (has_double(&value->object.members[i].value))
				return true;
	}
	return value->type == JSON_F64;
}

static void write_and_read(const struct json_value *value)
{
	struct json_value again;
	struct buf buf = BUF_INIT;

	json_value_write(&buf, value);
	require(parse(buf.data, buf.len, &again), "what is written can be read");
	require(has_double(value) || json_value_equal(value, &again), "and is the same");
	json_value_done(&again);
	buf_done(&buf);
}

static void merge_twice(struct json_value *value, const struct json_value *patch)
{
	struct json_value once;

	require(json_value_merge(value, patch) == 0, "merged");
	require(json_value_copy(value, &once) == 0, "copied");
	require(json_value_merge(value, patch) == 0, "merged again");
	/* A patch that is no object may bring nulls, but then it replaces all both times. */
	require(json_value_equal(value, &once), "a second time changes nothing");
	json_value_done(&once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *cut = memchr(data, 0x1e, size);
	size_t len = cut != NULL ? (size_t)(cut - data) : size;
	struct json_value value, patch;

	if (!parse((const char *)data, len, &value))
		return 0;
	write_and_read(&value);
	if (cut != NULL && parse((const char *)cut + 1, size - len - 1, &patch)) {
		merge_twice(&value, &patch);
		write_and_read(&value);
		json_value_done(&patch);
	}
	json_value_done(&value);
	return 0;
}
