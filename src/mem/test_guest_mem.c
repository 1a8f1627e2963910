/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "mem/guest_mem.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct guest_region two_regions[] = { { 0, 4 * MIB }, { 4 * GIB, 2 * MIB } };

static struct guest_mem *make(bool track_dirty)
{
	struct guest_mem_params params = { .regions = two_regions, .region_count = 2,
					   .track_dirty = track_dirty };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct guest_mem *mem = NULL;

	assert_int_equal(guest_mem_new(&params, &mem, &fault), 0);
	return mem;
}

static void slice_accepts_only_what_lies_inside_one_region(void **state)
{
	CLEANUP(guest_mem_free) struct guest_mem *mem = make(false);
	static const struct { const char *name; gpa_t gpa; size_t len; int want; } cases[] = {
		{ "the first byte",		   0,		      1,	   0 },
		{ "all of the first region",	   0,		      4 * MIB,	   0 },
		{ "ends exactly at the end",	   4 * MIB - 16,      16,	   0 },
		{ "one byte past the end",	   4 * MIB - 16,      17,	   -EFAULT },
		{ "starts at the end",		   4 * MIB,	      1,	   -EFAULT },
		{ "in the hole",		   3 * GIB,	      8,	   -EFAULT },
		{ "from the hole into a region",   4 * GIB - 4,	      8,	   -EFAULT },
		{ "the first byte of the second",  4 * GIB,	      1,	   0 },
		{ "all of the second region",	   4 * GIB,	      2 * MIB,	   0 },
		{ "the last byte",		   4 * GIB + 2 * MIB - 1, 1,	   0 },
		{ "behind everything",		   4 * GIB + 2 * MIB, 1,	   -EFAULT },
		{ "over both regions",		   0,		      5 * GIB,	   -EFAULT },
		{ "address plus length wraps",	   UINT64_MAX - 7,    0x10,	   -EFAULT },
		{ "length is the largest",	   4096,	      SIZE_MAX,	   -EFAULT },
		{ "empty",			   0,		      0,	   -EINVAL },
		{ "empty, outside",		   3 * GIB,	      0,	   -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		void *p = NULL;
		int r = guest_mem_slice(mem, cases[i].gpa, cases[i].len, &p);

		if (r != cases[i].want)
			fail_msg("%s: got %d, want %d", cases[i].name, r, cases[i].want);
		assert_true((r == 0) == (p != NULL));	/* output on success only */
		assert_true(guest_mem_contains(mem, cases[i].gpa, cases[i].len) == (r == 0));
	}
}

static void memory_is_zero_apart_and_aligned(void **state)
{
	CLEANUP(guest_mem_free) struct guest_mem *mem = make(false);
	uint8_t *low, *high;

	(void)state;
	assert_int_equal(guest_mem_region_count(mem), 2);
	assert_int_equal(guest_mem_size(mem), 6 * MIB);
	assert_int_equal(guest_mem_region(mem, 1)->start, 4 * GIB);
	assert_int_equal((uintptr_t)guest_mem_region_data(mem, 0) % (2 * MIB), 0);
	assert_int_equal(guest_mem_slice(mem, 4 * MIB - 1, 1, (void **)&low), 0);
	assert_int_equal(guest_mem_slice(mem, 4 * GIB, 1, (void **)&high), 0);
	assert_ptr_equal(high, guest_mem_region_data(mem, 1));
	assert_int_equal(*low | *high, 0);
	*low = 1;
	*high = 2;
	assert_int_equal(*low, 1);
	assert_int_equal(*high, 2);
}

static void nothing_is_reserved_before_it_is_touched(void **state)
{
	static const struct guest_region huge = { 0, 256 * GIB };

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		struct guest_mem_params params = { .regions = &huge, .region_count = 1,
						   .shared = shared };
		CLEANUP(guest_mem_free) struct guest_mem *mem = NULL;
		void *last;

		assert_int_equal(guest_mem_new(&params, &mem, NULL), 0);
		assert_int_equal(guest_mem_slice(mem, 256 * GIB - 1, 1, &last), 0);
		*(uint8_t *)last = 1;
	}
}

static void what_the_host_cannot_give_is_a_fault(void **state)
{
	static const struct { const char *name; struct guest_region region; } cases[] = {
		{ "more than an address space", { 0, UINT64_C(1) << 60 } },
		{ "as much as there can be",	{ 0, UINT64_MAX - 4095 } },
		{ "an end that wraps",		{ UINT64_MAX - 4095, 8192 } },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const struct guest_region *region = &cases[i / 2].region;
		struct guest_mem_params params = { .regions = region, .region_count = 1,
						   .shared = i % 2 };
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct guest_mem *mem = NULL;

		if (guest_mem_new(&params, &mem, &fault) != -ENOMEM)
			fail_msg("%s: not refused", cases[i / 2].name);
		assert_null(mem);
		assert_string_equal(fault_text(&fault),
				    "Cannot create mmap region: Out of memory (os error 12)");
	}
}

static void huge_pages_that_the_pool_lacks_are_a_fault(void **state)
{
	static const struct guest_region region = { 0, 1024 * GIB };

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		struct guest_mem_params params = { .regions = &region, .region_count = 1,
						   .huge_pages = SQUIB_HUGE_PAGES_2M,
						   .shared = shared };
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct guest_mem *mem = NULL;

		assert_int_equal(guest_mem_new(&params, &mem, &fault), -ENOMEM);
		assert_string_equal(fault_text(&fault),
				    "Cannot create mmap region: Out of memory (os error 12)");
	}
}

static void our_writes_are_told_once_and_page_by_page(void **state)
{
	CLEANUP(guest_mem_free) struct guest_mem *mem = make(true);
	uint8_t *low = guest_mem_region_data(mem, 0), *high = guest_mem_region_data(mem, 1);
	uint64_t bitmap[16] = { 0 };

	(void)state;
	guest_mem_mark_dirty(mem, low + 4095, 2);		/* pages 0 and 1 */
	guest_mem_mark_dirty(mem, low + 64 * 4096, 1);		/* the second word */
	guest_mem_mark_dirty(mem, low + 4 * MIB - 1, 1);	/* the last page */
	guest_mem_mark_dirty(mem, high, 3 * 4096);		/* of the other region */
	guest_mem_mark_dirty(mem, low + 8192, 0);
	guest_mem_take_dirty(mem, 0, bitmap);
	assert_int_equal(bitmap[0], 3);
	assert_int_equal(bitmap[1], 1);
	assert_int_equal(bitmap[15], UINT64_C(1) << 63);
	memset(bitmap, 0, sizeof(bitmap));
	guest_mem_take_dirty(mem, 0, bitmap);
	for (size_t i = 0; i < ARRAY_SIZE(bitmap); i++)
		assert_int_equal(bitmap[i], 0);
	bitmap[0] = 8;						/* is kept */
	guest_mem_take_dirty(mem, 1, bitmap);
	assert_int_equal(bitmap[0], 15);
}

static void without_tracking_nothing_is_told(void **state)
{
	CLEANUP(guest_mem_free) struct guest_mem *mem = make(false);
	uint64_t bitmap[16] = { 0 };

	(void)state;
	guest_mem_mark_dirty(mem, guest_mem_region_data(mem, 0), 4096);
	guest_mem_take_dirty(mem, 0, bitmap);
	assert_int_equal(bitmap[0], 0);
}

static void shared_memory_is_a_file_too(void **state)
{
	struct guest_mem_params params = { .regions = two_regions, .region_count = 2, .shared = true,
					   .track_dirty = true };
	CLEANUP(guest_mem_free) struct guest_mem *mem = NULL;
	uint64_t bitmap[16] = { 0 };
	uint8_t *high, byte;

	(void)state;
	assert_int_equal(guest_mem_new(&params, &mem, NULL), 0);
	high = guest_mem_region_data(mem, 1);
	assert_int_equal((uintptr_t)high % (2 * MIB), 0);
	assert_int_equal(guest_mem_region_offset(mem, 1), 4 * MIB);
	assert_int_equal(lseek(guest_mem_fd(mem), 0, SEEK_END), 6 * MIB);
	assert_int_equal(high[7], 0);
	high[7] = 3;
	guest_mem_mark_dirty(mem, high, 8);
	guest_mem_take_dirty(mem, 1, bitmap);
	assert_int_equal(bitmap[0], 1);
	assert_int_equal(pread(guest_mem_fd(mem), &byte, 1, 4 * MIB + 7), 1);
	assert_int_equal(byte, 3);
	assert_int_equal(ftruncate(guest_mem_fd(mem), 0), -1);
	assert_int_equal(fcntl(guest_mem_fd(mem), F_GETFD), FD_CLOEXEC);
}

static void memory_that_is_not_shared_is_no_file(void **state)
{
	CLEANUP(guest_mem_free) struct guest_mem *mem = make(false);

	(void)state;
	assert_int_equal(guest_mem_fd(mem), -1);
}

static int make_file(uint64_t size_bytes, int seals)
{
	int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void files_of_another_are_guest_memory(void **state)
{
	CLEANUP(fd_close) int fd = make_file(8 * MIB, F_SEAL_SHRINK);
	CLEANUP(guest_mem_free) struct guest_mem *mem = NULL;
	struct guest_file files[] = {
		{ { 4 * GIB, 4 * MIB }, fd, 4 * MIB },
		{ { 0, 0xc0000 }, fd, 0 },
		{ { MIB, 3 * MIB }, fd, MIB },
	};
	uint8_t *data;
	uint8_t byte = 7;

	(void)state;
	assert_int_equal(guest_mem_map(files, ARRAY_SIZE(files), &mem), 0);
	assert_int_equal(guest_mem_region_count(mem), 3);
	assert_int_equal(guest_mem_size(mem), 7 * MIB + 0xc0000);
	assert_int_equal(pwrite(fd, &byte, 1, 4 * MIB), 1);
	assert_int_equal(guest_mem_slice(mem, 4 * GIB, 4 * MIB, (void **)&data), 0);
	assert_int_equal(data[0], 7);
	assert_int_equal(guest_mem_slice(mem, 4 * MIB - 1, 1, (void **)&data), 0);
	*data = 9;
	guest_mem_mark_dirty(mem, data, 1);
	assert_int_equal(pread(fd, &byte, 1, 4 * MIB - 1), 1);
	assert_int_equal(byte, 9);
	/* What a huge page is in the file is one here. */
	assert_int_equal((uintptr_t)guest_mem_region_data(mem, 2) % (2 * MIB), MIB);
	assert_false(guest_mem_contains(mem, 0xbffff, 2));
	assert_false(guest_mem_contains(mem, 0xc0000, 1));
}

static void regions_that_cannot_be_are_refused(void **state)
{
	CLEANUP(fd_close) int sealed = make_file(MIB, F_SEAL_SHRINK);
	CLEANUP(fd_close) int open_end = make_file(MIB, F_SEAL_GROW);
	const struct { const char *name; struct guest_file files[2]; int want; } cases[] = {
		{ "empty",			  { { { 0, 0 }, sealed, 0 } }, -EINVAL },
		{ "no whole pages",		  { { { 0, 4095 }, sealed, 0 } }, -EINVAL },
		{ "begins within a page",	  { { { 1, 4096 }, sealed, 0 } }, -EINVAL },
		{ "an offset within a page",	  { { { 0, 4096 }, sealed, 512 } }, -EINVAL },
		{ "an end that wraps",		  { { { UINT64_MAX - 4095, 8192 }, sealed, 0 } },
		  -EINVAL },
		{ "longer than the file",	  { { { 0, MIB + 4096 }, sealed, 0 } }, -EINVAL },
		{ "ends behind the file",	  { { { 0, MIB }, sealed, 4096 } }, -EINVAL },
		{ "an offset that wraps",	  { { { 0, 8192 }, sealed, UINT64_MAX - 4095 } },
		  -EINVAL },
		{ "all there is",		  { { { 0, UINT64_MAX - 4095 }, sealed, 0 } }, -EINVAL },
		{ "a file that can shrink",	  { { { 0, MIB }, open_end, 0 } }, -EPERM },
		{ "no file of memory",		  { { { 0, MIB }, STDIN_FILENO, 0 } }, -EPERM },
		{ "no file",			  { { { 0, MIB }, -1, 0 } }, -EPERM },
		{ "twice the same",		  { { { 0, MIB }, sealed, 0 }, { { 0, MIB }, sealed, 0 } },
		  -EINVAL },
		{ "a page in two",
		  { { { 4096, 8192 }, sealed, 0 }, { { 8192, 4096 }, sealed, 0 } }, -EINVAL },
		{ "one behind the other",
		  { { { 4096, 4096 }, sealed, 0 }, { { 8192, 4096 }, sealed, 0 } }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(guest_mem_free) struct guest_mem *mem = NULL;
		size_t count = cases[i].files[1].fd != 0 ? 2 : 1;
		int r = guest_mem_map(cases[i].files, count, &mem);

		if (r != cases[i].want)
			fail_msg("%s: got %d, want %d", cases[i].name, r, cases[i].want);
		assert_true((r == 0) == (mem != NULL));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(slice_accepts_only_what_lies_inside_one_region),
		cmocka_unit_test(memory_is_zero_apart_and_aligned),
		cmocka_unit_test(nothing_is_reserved_before_it_is_touched),
		cmocka_unit_test(what_the_host_cannot_give_is_a_fault),
		cmocka_unit_test(huge_pages_that_the_pool_lacks_are_a_fault),
		cmocka_unit_test(our_writes_are_told_once_and_page_by_page),
		cmocka_unit_test(without_tracking_nothing_is_told),
		cmocka_unit_test(shared_memory_is_a_file_too),
		cmocka_unit_test(memory_that_is_not_shared_is_no_file),
		cmocka_unit_test(files_of_another_are_guest_memory),
		cmocka_unit_test(regions_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
