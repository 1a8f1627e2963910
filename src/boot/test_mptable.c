/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "boot/bytes.h"
#include "boot/mptable.h"
#include "boot/x86_64.h"
#include "boot/x86_64_internal.h"

static uint8_t sum(const uint8_t *data, size_t len)
{
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *data++);
	return total;
}

/* As Linux does: at each multiple of 16 in the last KiB of base memory. Return: the table. */
static const uint8_t *find_table(const uint8_t *area)
{
	for (size_t at = 0; at < X86_64_MPTABLE_BYTES; at += 16) {
		const uint8_t *pointer = area + at;
		uint32_t table;

		if (memcmp(pointer, "_MP_", 4) != 0)
			continue;
		assert_int_equal(pointer[8], 1);	/* 16 bytes */
		assert_int_equal(sum(pointer, 16), 0);
		assert_int_equal(pointer[9], 4);
		assert_int_equal(pointer[11], 0);	/* no default configuration: a table */
		assert_int_equal(pointer[12], 0);	/* virtual wire mode */
		table = get_le32(pointer + 4);
		assert_true(table >= X86_64_MPTABLE && table < X86_64_MPTABLE + X86_64_MPTABLE_BYTES);
		return area + (table - X86_64_MPTABLE);
	}
	fail_msg("no MP table");
	return NULL;
}

struct seen {
	unsigned int cpus, boot_cpus, buses, io_apics, interrupts, locals;
	uint32_t pins;		/* with an interrupt of the same number */
};

static size_t check_processor(const uint8_t *entry, struct seen *seen)
{
	assert_int_equal(entry[1], seen->cpus);
	assert_true((entry[3] & 1) != 0);
	seen->boot_cpus += entry[3] >> 1 & 1;
	assert_true((entry[3] & 2) == 0 || seen->cpus == 0);
	seen->cpus++;
	return 20;
}

static size_t check_entry(const uint8_t *entry, unsigned int vcpu_count, struct seen *seen)
{
	switch (entry[0]) {
	case 0:
		return check_processor(entry, seen);
	case 1:
		assert_int_equal(entry[1], 0);
		assert_memory_equal(entry + 2, "ISA   ", 6);
		seen->buses++;
		return 8;
	case 2:
		assert_int_equal(entry[1], vcpu_count);
		assert_int_equal(entry[3], 1);
		assert_int_equal(get_le32(entry + 4), 0xfec00000);
		seen->io_apics++;
		return 8;
	case 3:
		assert_int_equal(entry[1], 0);
		assert_int_equal(get_le16(entry + 2), 0);
		assert_int_equal(entry[4], 0);
		assert_int_equal(entry[6], vcpu_count);
		assert_int_equal(entry[5], entry[7]);
		seen->pins |= UINT32_C(1) << entry[7];
		seen->interrupts++;
		return 8;
	case 4:
		assert_int_equal(entry[1], entry[7] == 0 ? 3 : 1);	/* ExtINT at 0, NMI at 1 */
		seen->locals++;
		return 8;
	default:
		fail_msg("an entry of type %u", entry[0]);
		return 1;
	}
}

static void check_table(const uint8_t *area, size_t len, unsigned int vcpu_count)
{
	const uint8_t *table = find_table(area), *entry = table + 44, *end;
	struct seen seen = { 0 };
	uint8_t last = 0;

	assert_memory_equal(table, "PCMP", 4);
	end = table + get_le16(table + 4);
	assert_ptr_equal(end, area + len);
	assert_int_equal(table[6], 4);
	assert_int_equal(sum(table, (size_t)(end - table)), 0);
	assert_memory_equal(table + 8, "SQUIB   MICROVM     ", 20);
	assert_int_equal(get_le32(table + 36), 0xfee00000);
	for (unsigned int i = 0; i < get_le16(table + 34); i++) {
		assert_true(entry < end && entry[0] >= last);
		last = entry[0];
		entry += check_entry(entry, vcpu_count, &seen);
	}
	assert_ptr_equal(entry, end);
	assert_int_equal(seen.cpus, vcpu_count);
	assert_int_equal(seen.boot_cpus, 1);
	assert_int_equal(seen.buses, 1);
	assert_int_equal(seen.io_apics, 1);
	assert_int_equal(seen.interrupts, 24);
	assert_int_equal(seen.pins, 0xffffff);
	assert_int_equal(seen.locals, 2);
}

static void every_number_of_vcpus_fits(void **state)
{
	(void)state;
	for (unsigned int vcpus = 1; vcpus <= X86_64_VCPUS_MAX; vcpus++) {
		uint8_t area[X86_64_MPTABLE_BYTES] = { 0 };
		int len = mptable_write(area, sizeof(area), X86_64_MPTABLE, vcpus);

		assert_true(len > 0);
		check_table(area, (size_t)len, vcpus);
	}
}

static void what_does_not_fit_is_refused(void **state)
{
	uint8_t whole[X86_64_MPTABLE_BYTES];
	int len = mptable_write(whole, sizeof(whole), X86_64_MPTABLE, 32);

	(void)state;
	assert_int_equal(len, 924);
	for (int size = 0; size <= len; size++) {
		uint8_t *data = malloc(size > 0 ? (size_t)size : 1);

		assert_non_null(data);
		assert_int_equal(mptable_write(data, (size_t)size, X86_64_MPTABLE, 32),
				 size < len ? -EOVERFLOW : len);
		free(data);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_number_of_vcpus_fits),
		cmocka_unit_test(what_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
