/* SPDX-License-Identifier: Apache-2.0 */
/* With folders that look like /sys. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "engine/kvm/aarch64/caches.h"

static char root[64];		/* of the tree that a test has */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int remove_tree(void **state)
{
	(void)state;
	nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static int make_tree(void **state)
{
	static const char *const folders[] = { "", "/devices", "/devices/system", "/devices/system/cpu",
					       "/devices/system/cpu/cpu0",
					       "/devices/system/cpu/cpu0/cache" };
	const char *tmp = getenv("TMPDIR");
	char path[256];

	(void)state;
	snprintf(root, sizeof(root), "%s/squib-caches-XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp
											       : "/tmp");
	if (mkdtemp(root) == NULL)
		return -1;
	for (size_t i = 1; i < ARRAY_SIZE(folders); i++) {
		snprintf(path, sizeof(path), "%s%s", root, folders[i]);
		if (mkdir(path, 0755) < 0)
			return -1;
	}
	return 0;
}

static void put_bytes(unsigned int index, const char *name, const void *data, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu0/cache/index%u", root, index);
	assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu0/cache/index%u/%s", root, index, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void put(unsigned int index, const char *name, const char *text)
{
	put_bytes(index, name, text, strlen(text));
}

static void put_cache(unsigned int index, const char *level, const char *type, const char *size,
		      const char *map)
{
	put(index, "level", level);
	put(index, "type", type);
	put(index, "size", size);
	put(index, "shared_cpu_map", map);
	put(index, "coherency_line_size", "64\n");
	put(index, "number_of_sets", "256\n");
}

static void a_usual_host_is_read(void **state)
{
	static const struct aarch64_cache want[] = {
		{ 1, AARCH64_CACHE_DATA, 65536, 64, 256, 1 },
		{ 1, AARCH64_CACHE_INSTRUCTION, 65536, 64, 256, 1 },
		{ 2, AARCH64_CACHE_UNIFIED, 1048576, 64, 256, 2 },
		{ 3, AARCH64_CACHE_UNIFIED, 33554432, 64, 256, 64 },
	};
	struct aarch64_cache caches[AARCH64_CACHES_MAX];

	(void)state;
	put_cache(0, "1\n", "Data\n", "64K\n", "00000000,00000001\n");
	put_cache(1, "1\n", "Instruction\n", "64K\n", "1\n");
	put_cache(2, "2\n", "Unified\n", "1024K\n", "00000000,00000003\n");
	put_cache(3, "3\n", "Unified\n", "32M\n", "ffffffff,FFFFFFFF\n");
	assert_int_equal(caches_read(root, caches), ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		if (memcmp(&caches[i], &want[i], sizeof(want[i])) != 0)
			fail_msg("cache %zu: level %u type %d size %u line %u sets %u cpus %u", i,
				 caches[i].level, caches[i].type, caches[i].size_bytes,
				 caches[i].line_bytes, caches[i].sets, caches[i].cpus_per_unit);
}

static void a_host_that_tells_nothing_has_none(void **state)
{
	struct aarch64_cache caches[AARCH64_CACHES_MAX];
	char *longer = calloc(1, 5001);

	(void)state;
	assert_non_null(longer);
	assert_int_equal(caches_read(root, caches), 0);
	assert_int_equal(caches_read("/nonexistent", caches), 0);
	assert_int_equal(caches_read("", caches), caches_read("/", caches));
	memset(longer, 'x', 5000);
	assert_int_equal(caches_read(longer, caches), 0);
	free(longer);
}

static void what_is_missing_is_not_known(void **state)
{
	struct aarch64_cache caches[AARCH64_CACHES_MAX];

	(void)state;
	put(0, "level", "1\n");
	put(0, "type", "Unified\n");
	assert_int_equal(caches_read(root, caches), 1);
	assert_int_equal(caches[0].level, 1);
	assert_int_equal(caches[0].size_bytes, 0);
	assert_int_equal(caches[0].line_bytes, 0);
	assert_int_equal(caches[0].sets, 0);
	assert_int_equal(caches[0].cpus_per_unit, 1);
}

static void levels_come_in_order_and_no_more_than_there_is_room_for(void **state)
{
	static const char *const levels[] = { "3", "1", "2", "1", "7", "4", "6", "5", "1", "1" };
	static const unsigned int want[AARCH64_CACHES_MAX] = { 1, 1, 2, 3, 4, 5, 6, 7 };
	struct aarch64_cache caches[AARCH64_CACHES_MAX + 1];

	(void)state;
	memset(caches, 0xee, sizeof(caches));
	for (unsigned int i = 0; i < ARRAY_SIZE(levels); i++)
		put_cache(i, levels[i], i == 1 ? "Data" : "Unified", "1K", "1");
	assert_int_equal(caches_read(root, caches), AARCH64_CACHES_MAX);
	for (size_t i = 0; i < AARCH64_CACHES_MAX; i++)
		assert_int_equal(caches[i].level, want[i]);
	assert_int_equal(caches[0].type, AARCH64_CACHE_DATA);
	assert_int_equal(caches[AARCH64_CACHES_MAX].level, 0xeeeeeeee);
}

static void a_cache_that_cannot_be_is_left_out(void **state)
{
	static const struct { const char *level, *type; } cases[] = {
		{ "0\n", "Data\n" },   { "8\n", "Data\n" },	 { "-1\n", "Data\n" },
		{ "", "Data\n" },      { "\n", "Data\n" },	 { "one\n", "Data\n" },
		{ "1x\n", "Data\n" },  { "1 2\n", "Data\n" },	 { "99999999999999999999\n", "Data\n" },
		{ "1\n", "" },	       { "1\n", "Separate\n" },	 { "1\n", "data\n" },
		{ "1\n", "Data2\n" },  { "+1\n", "Data\n" },
	};
	struct aarch64_cache caches[AARCH64_CACHES_MAX];

	(void)state;
	put_cache(1, "2\n", "Unified\n", "1M\n", "1\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_cache(0, cases[i].level, cases[i].type, "64K\n", "1\n");
		if (caches_read(root, caches) != 1 || caches[0].level != 2)
			fail_msg("level \"%s\", type \"%s\"", cases[i].level, cases[i].type);
	}
}

static void facts_that_cannot_be_are_not_known(void **state)
{
	static const struct {
		const char *size, *map;
		uint32_t size_bytes;
		unsigned int cpus;
	} cases[] = {
		{ "4095M\n", "1\n", 0xfff00000, 1 },
		{ "4096M\n", "1\n", 0, 1 },
		{ "4194303K\n", "1\n", 0xfffffc00, 1 },
		{ "4194304K\n", "1\n", 0, 1 },
		{ "18446744073709551616K\n", "1\n", 0, 1 },
		{ "64\n", "1\n", 0, 1 },
		{ "64G\n", "1\n", 0, 1 },
		{ "64KB\n", "1\n", 0, 1 },
		{ "K\n", "1\n", 0, 1 },
		{ "-1K\n", "1\n", 0, 1 },
		{ "\n", "1\n", 0, 1 },
		{ "1K\n", "0\n", 1024, 1 },
		{ "1K\n", "\n", 1024, 1 },
		{ "1K\n", ",,,\n", 1024, 1 },
		{ "1K\n", "f,0000000f\n", 1024, 8 },
		{ "1K\n", "0-3\n", 1024, 1 },
		{ "1K\n", "0x3\n", 1024, 1 },
		{ "1K\n", "zzzz\n", 1024, 1 },
	};
	struct aarch64_cache caches[AARCH64_CACHES_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_cache(0, "1\n", "Data\n", cases[i].size, cases[i].map);
		assert_int_equal(caches_read(root, caches), 1);
		if (caches[0].size_bytes != cases[i].size_bytes ||
		    caches[0].cpus_per_unit != cases[i].cpus)
			fail_msg("size \"%s\", map \"%s\": %u, %u", cases[i].size, cases[i].map,
				 caches[0].size_bytes, caches[0].cpus_per_unit);
	}
}

static void files_of_any_size_and_content_do_no_harm(void **state)
{
	struct aarch64_cache caches[AARCH64_CACHES_MAX];
	char map[1025];

	(void)state;
	put_cache(0, "1\n", "Data\n", "64K\n", "1\n");
	put_bytes(0, "size", "64\0K", 4);
	put_bytes(0, "number_of_sets", "\xff\xfe\x80", 3);
	memset(map, 'f', sizeof(map));
	put_bytes(0, "shared_cpu_map", map, 1023);
	assert_int_equal(caches_read(root, caches), 1);
	assert_int_equal(caches[0].size_bytes, 0);
	assert_int_equal(caches[0].sets, 0);
	assert_int_equal(caches[0].cpus_per_unit, 4092);
	put_bytes(0, "shared_cpu_map", map, 1024);	/* one that does not fit */
	assert_int_equal(caches_read(root, caches), 1);
	assert_int_equal(caches[0].cpus_per_unit, 1);
	put_bytes(0, "shared_cpu_map", map, 1025);
	assert_int_equal(caches_read(root, caches), 1);
	assert_int_equal(caches[0].cpus_per_unit, 1);
}

static void clidr_tells_of_the_caches(void **state)
{
#define D(level) { level, AARCH64_CACHE_DATA, 0, 0, 0, 1 }
#define I(level) { level, AARCH64_CACHE_INSTRUCTION, 0, 0, 0, 1 }
#define U(level) { level, AARCH64_CACHE_UNIFIED, 0, 0, 0, 1 }
	static const struct {
		const char *name;
		struct aarch64_cache caches[AARCH64_CACHES_MAX];
		size_t count;
		uint64_t clidr, want;
	} cases[] = {
		{ "no caches", { D(1) }, 0, 0x0a200023, 0x0a200023 },
		{ "none of level 1", { U(2), U(3) }, 2, 0x0a200023, 0x0a200023 },
		{ "three levels", { D(1), I(1), U(2), U(3) }, 4, 0, 0x03000123 },
		{ "the same as before", { D(1), I(1), U(2) }, 3, 0x0a200023, 0x0a200023 },
		{ "other fields stay", { D(1), I(1), U(2), U(3) }, 4, 0xfffffffff8e00000,
		  0xfffffffffbe00123 },
		{ "fewer than KVM says", { U(1) }, 1, 0x0a200923, 0x09200004 },
		{ "data alone", { D(1) }, 1, 0, 0x01000002 },
		{ "instructions alone", { I(1) }, 1, 0, 0x01000001 },
		{ "unified goes before others", { D(1), I(1), U(1) }, 3, 0, 0x01000004 },
		{ "up to a gap", { D(1), I(1), U(3) }, 3, 0, 0x01000003 },
		{ "all levels", { U(1), U(2), U(3), U(4), U(5), U(6), U(7) }, 7, 0, 0x07124924 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t got = caches_clidr(cases[i].caches, cases[i].count, cases[i].clidr);

		if (got != cases[i].want)
			fail_msg("%s: 0x%llx", cases[i].name, (unsigned long long)got);
	}
}

static void a_kvm_without_the_register_is_told(void **state)
{
	struct aarch64_cache cache = U(1);
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(caches_apply(&cache, 1, fds[0]), -ENOTTY);
	fd_close(fds[0]);
	fd_close(fds[1]);
}

#define WITH_TREE(test) cmocka_unit_test_setup_teardown(test, make_tree, remove_tree)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_TREE(a_usual_host_is_read),
		WITH_TREE(a_host_that_tells_nothing_has_none),
		WITH_TREE(what_is_missing_is_not_known),
		WITH_TREE(levels_come_in_order_and_no_more_than_there_is_room_for),
		WITH_TREE(a_cache_that_cannot_be_is_left_out),
		WITH_TREE(facts_that_cannot_be_are_not_known),
		WITH_TREE(files_of_any_size_and_content_do_no_harm),
		cmocka_unit_test(clidr_tells_of_the_caches),
		cmocka_unit_test(a_kvm_without_the_register_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
