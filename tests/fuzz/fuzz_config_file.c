/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the configuration file: accepted with all it needs, or refused with a text. Every file is
 * decoded for both architectures.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_config_file \
 *		tests/fuzz/fuzz_config_file.c src/config/{bodies,decode,file,schema,text}.c \
 *		src/json/{debug_text,reader,value}.c src/base/{arena,buf,fault}.c
 *	mkdir -p found && ./fuzz_config_file -max_len=8192 found tests/fuzz/corpus/config_file
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/decode.h"
#include "json/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

/* Metadata is handed on as text, to be parsed again. */
static void check_metadata(const struct config_file *file)
{
	struct json_value value;

	if (file->mmds == NULL)
		return;
	require(json_value_parse(file->mmds, file->mmds_len, &value, NULL) == 0, "metadata is JSON");
	json_value_done(&value);
}

static void decode(const char *json, size_t len, enum squib_arch arch)
{
	struct fault fault = FAULT_INIT;
	struct config_file file = { 0 };
	struct arena *arena = arena_new();
	int r;

	if (arena == NULL)
		return;
	r = config_file_decode(json, len, arch, arena, &file, &fault);
	require(r == 0 || r == -EINVAL, "accepted or refused");
	require((r == 0) == (file.boot_source != NULL), "a boot source when accepted");
	require((r == 0) == (fault_text(&fault)[0] == '\0'), "a text when refused");
	require(file.cpu_config == NULL || file.cpu_config_path == NULL, "one template");
	if (r == 0)
		check_metadata(&file);
	fault_done(&fault);
	arena_unref(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	decode((const char *)data, size, SQUIB_ARCH_X86_64);
	decode((const char *)data, size, SQUIB_ARCH_AARCH64);
	return 0;
}
