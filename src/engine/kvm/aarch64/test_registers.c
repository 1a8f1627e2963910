/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "engine/kvm/aarch64/registers.h"
#include "engine/kvm/aarch64/templates.h"

#define R32	UINT64_C(0x6020000000000000)
#define R64	UINT64_C(0x6030000000000000)
#define R128	UINT64_C(0x6040000000000000)

/* As Linux gives them: Documentation/virt/kvm/api.rst, and what KVM_GET_REG_LIST says */
static void numbers_are_kvms(void **state)
{
	static const struct { uint64_t id, want; } cases[] = {
		{ REGISTER_X(0), 0x6030000000100000 },
		{ REGISTER_X(30), 0x603000000010003c },
		{ REGISTER_PC, 0x6030000000100040 },
		{ REGISTER_PSTATE, 0x6030000000100042 },
		{ REGISTER_MIDR_EL1, 0x603000000013c000 },
		{ REGISTER_MPIDR_EL1, 0x603000000013c005 },
		{ REGISTER_ID_AA64PFR0_EL1, 0x603000000013c020 },
		{ REGISTER_ID_AA64ISAR0_EL1, 0x603000000013c030 },
		{ REGISTER_ID_AA64ISAR1_EL1, 0x603000000013c031 },
		{ REGISTER_ID_AA64MMFR0_EL1, 0x603000000013c038 },
		{ REGISTER_ID_AA64MMFR2_EL1, 0x603000000013c03a },
		{ REGISTER_CLIDR_EL1, 0x603000000013c801 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (cases[i].id != cases[i].want)
			fail_msg("0x%llx, want 0x%llx", (unsigned long long)cases[i].id,
				 (unsigned long long)cases[i].want);
}

static void widths_are_in_the_number(void **state)
{
	(void)state;
	assert_int_equal(register_bits(0x6000000000000000), 8);
	assert_int_equal(register_bits(R32), 32);
	assert_int_equal(register_bits(R64), 64);
	assert_int_equal(register_bits(R128), 128);
	assert_int_equal(register_bits(0x6080000000000000), 2048);
	assert_int_equal(register_bits(UINT64_MAX), 8 << 15);
}

static void bitmaps_change_what_they_name(void **state)
{
	static const struct {
		const char *name;
		uint64_t id;
		struct register_value value;
		struct squib_bitmap bitmap;
		struct register_value want;
	} cases[] = {
		{ "nothing", R64, { { 0x1234 } }, { { 0 }, { 0 } }, { { 0x1234 } } },
		{ "some bits set, some cleared", R64, { { 0xff00 } },
		  { { 0xf0f0 }, { 0x00a0 } }, { { 0x0fa0 } } },
		{ "all of 64 bits", R64, { { 0x1234 } },
		  { { UINT64_MAX }, { 0x8000000000000001 } }, { { 0x8000000000000001 } } },
		{ "all of 32 bits", R32, { { 0xffffffff } }, { { 0xffffffff }, { 0x80000001 } },
		  { { 0x80000001 } } },
		{ "32 bits are not left", R32, { { 1 } },
		  { { UINT64_MAX, UINT64_MAX }, { UINT64_MAX, UINT64_MAX } }, { { 0xffffffff } } },
		{ "64 bits are not left", R64, { { 1 } },
		  { { UINT64_MAX, UINT64_MAX }, { UINT64_MAX, UINT64_MAX } }, { { UINT64_MAX } } },
		{ "the highest of 128 bits", R128, { { 5, 0x7fffffffffffffff } },
		  { { 0, UINT64_C(1) << 63 }, { 0, UINT64_C(1) << 63 } }, { { 5, UINT64_MAX } } },
		{ "both halves", R128, { { UINT64_MAX, UINT64_MAX } },
		  { { 0xff, 0xff00 }, { 0x0f, 0x5500 } },
		  { { 0xffffffffffffff0f, 0xffffffffffff55ff } } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct register_value got = register_change(cases[i].id, cases[i].value,
							    &cases[i].bitmap);

		if (got.half[0] != cases[i].want.half[0] || got.half[1] != cases[i].want.half[1])
			fail_msg("%s: 0x%llx %llx", cases[i].name, (unsigned long long)got.half[1],
				 (unsigned long long)got.half[0]);
	}
}

static void values_are_as_wide_as_their_register(void **state)
{
	struct register_value value = { { 0xab, 0xcd } };
	char text[REGISTER_TEXT_MAX];

	(void)state;
	assert_string_equal(register_text(R32, value, text), "0x000000ab");
	assert_string_equal(register_text(R64, value, text), "0x00000000000000ab");
	assert_string_equal(register_text(R128, value, text),
			    "0x00000000000000cd00000000000000ab");
}

static void granules_are_found(void **state)
{
	static const struct {
		const char *name;
		uint64_t mmfr0;
		bool has_4k, has_16k, has_64k;
	} cases[] = {
		{ "Cortex-A53, A57", 0x00001122, true, false, true },
		{ "Neoverse N1", 0x0000000000101125, true, true, true },
		{ "an Apple CPU: no 64K", 0x0f100003, true, true, false },
		{ "no 4K, 16K", 0xf0000000, false, false, true },
		{ "52-bit addresses", 0x10200000, true, true, true },
		{ "neighbours are not looked at", 0xffffffff0f0fffff, true, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (register_has_pages(cases[i].mmfr0, 4096) != cases[i].has_4k ||
		    register_has_pages(cases[i].mmfr0, 16384) != cases[i].has_16k ||
		    register_has_pages(cases[i].mmfr0, 65536) != cases[i].has_64k)
			fail_msg("%s", cases[i].name);
	assert_false(register_has_pages(0x0000000000101125, 8192));
}

/* No vCPU at all */
static void what_fails_leaves_the_value(void **state)
{
	struct register_value value = { { 1, 2 } };
	uint64_t number = 3;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(register_read(fds[0], R64, &value), -ENOTTY);
	assert_int_equal(register_write(fds[0], R64, &value), -ENOTTY);
	assert_int_equal(register_get(fds[0], R64, &number), -ENOTTY);
	assert_int_equal(register_set(fds[0], R64, number), -ENOTTY);
	/* a SVE register: 2048 bits would not fit */
	assert_int_equal(register_read(fds[0], 0x6080000000150000, &value), -EINVAL);
	assert_int_equal(register_write(fds[0], 0x6080000000150000, &value), -EINVAL);
	assert_true(value.half[0] == 1 && value.half[1] == 2 && number == 3);
	fd_close(fds[0]);
	fd_close(fds[1]);
}

/* A Neoverse V1 becomes a Neoverse N1, where its fields are meant to be the same. */
static void v1n1_hides_what_an_n1_has_not(void **state)
{
	static const struct { uint64_t id, v1, want; } cases[] = {
		{ REGISTER_ID_AA64PFR0_EL1, 0x0101010121111111, 0x0100010021111111 },
		{ REGISTER_ID_AA64ISAR0_EL1, 0x1011111110212120, 0x0000100010211120 },
		{ REGISTER_ID_AA64ISAR1_EL1, 0x0011100001211002, 0x0000000001100001 },
		{ REGISTER_ID_AA64MMFR2_EL1, 0x0220011102101011, 0x0220011002101011 },
	};
	const struct cpu_template *template;

	(void)state;
	assert_int_equal(cpu_template_get(SQUIB_CPU_TEMPLATE_V1N1, &template, NULL), 0);
	assert_int_equal(template->count, ARRAY_SIZE(cases));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct register_value got = register_change(template->modifiers[i].addr,
							    (struct register_value){ { cases[i].v1 } },
							    &template->modifiers[i].bitmap);

		assert_true(template->modifiers[i].addr == cases[i].id);
		if (got.half[0] != cases[i].want || got.half[1] != 0)
			fail_msg("register 0x%llx: 0x%llx, want 0x%llx",
				 (unsigned long long)cases[i].id, (unsigned long long)got.half[0],
				 (unsigned long long)cases[i].want);
	}
}

static void other_templates_are_refused(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	const struct cpu_template *template = NULL;

	(void)state;
	for (int t = SQUIB_CPU_TEMPLATE_C3; t < SQUIB_CPU_TEMPLATE_V1N1; t++)
		assert_int_equal(cpu_template_get((enum squib_cpu_template)t, &template, &fault),
				 -ENOTSUP);
	assert_null(template);
	assert_int_equal(cpu_template_get(SQUIB_CPU_TEMPLATE_T2A, &template, &fault), -ENOTSUP);
	assert_string_equal(fault_text(&fault),
			    "Failed to get CPU template: Invalid static CPU template: T2A");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_kvms),
		cmocka_unit_test(widths_are_in_the_number),
		cmocka_unit_test(bitmaps_change_what_they_name),
		cmocka_unit_test(values_are_as_wide_as_their_register),
		cmocka_unit_test(granules_are_found),
		cmocka_unit_test(what_fails_leaves_the_value),
		cmocka_unit_test(v1n1_hides_what_an_n1_has_not),
		cmocka_unit_test(other_templates_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
