/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the decoder of bodies: whatever the bytes, a body is accepted with a config or refused with
 * a text, the same each time, and whether anyone wants the text changes nothing. The lower six
 * bits of the first byte choose the request, the highest the architecture; the rest is the body.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_config \
 *		tests/fuzz/fuzz_config.c src/config/{bodies,decode,file,schema,text}.c \
 *		src/json/{debug_text,reader,value}.c src/base/{arena,buf,fault}.c
 *	mkdir -p found && ./fuzz_config -max_len=4096 found tests/fuzz/corpus/config
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static bool has_body(unsigned int type)
{
	return type < SQUIB_ACTION_TYPE_COUNT && type != SQUIB_GET_BALLOON_STATISTICS &&
	       type != SQUIB_BALLOON_HINTING_STOP && type != SQUIB_BALLOON_HINTING_STATUS_PATCH &&
	       type != SQUIB_GET_BALLOON_HINTING_STATUS && type != SQUIB_DELETE_DRIVE &&
	       type != SQUIB_DELETE_NETWORK_INTERFACE && type != SQUIB_DELETE_PMEM;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault fault = FAULT_INIT;
	const void *config = NULL, *again = NULL;
	struct arena *arena = arena_new();
	enum squib_arch arch;
	unsigned int type;
	int r;

	if (size == 0 || arena == NULL || !has_body(data[0] & 0x3f)) {
		arena_unref(arena);
		return 0;
	}
	type = data[0] & 0x3f;
	arch = data[0] & 0x80 ? SQUIB_ARCH_AARCH64 : SQUIB_ARCH_X86_64;
	r = config_decode(type, arch, (const char *)data + 1, size - 1, arena, &config, &fault);
	require(r == 0 || r == -EINVAL, "accepted or refused");
	require((r == 0) == (config != NULL), "a config when accepted");
	require((r == 0) == (fault_text(&fault)[0] == '\0'), "a text when refused");
	if (r == 0)
		config_deprecation(type, config);
	require(config_decode(type, arch, (const char *)data + 1, size - 1, arena, &again, NULL) == r,
		"the same without a fault");
	fault_done(&fault);
	arena_unref(arena);
	return 0;
}
