/* SPDX-License-Identifier: Apache-2.0 */
/* What fuzz targets have in common: the fuzzer's bytes, taken from the front, and what must hold. */
#ifndef SQUIB_TESTS_FUZZ_INPUT_H
#define SQUIB_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *data;
	size_t len;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

/* A number of up to 8 bytes; where there are no more, they are 0. */
static inline uint64_t take(struct input *input, size_t len)
{
	uint64_t value = 0;

	if (len > input->len)
		len = input->len;
	memcpy(&value, input->data, len);
	input->data += len;
	input->len -= len;
	return value;
}

#endif
