/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot/acpi.h"
#include "boot/aml.h"
#include "boot/bytes.h"
#include "boot/test_files.h"

#define ADDRESS 0xe0000u

struct area {
	uint8_t *data;		/* of just the right size, so that ASan sees what is read beyond */
	size_t len;
};

static struct x86_64_virtio devices[X86_64_DEVICES_MAX];

static int write_tables(void *data, size_t size, unsigned int vcpu_count, size_t device_count)
{
	for (uint32_t i = 0; i < X86_64_DEVICES_MAX; i++)
		devices[i] = (struct x86_64_virtio){ 0xc0001000 + i * 0x1000, 5 + i };
	return acpi_write(&(struct acpi_params){
		.data = data, .size = size, .address = ADDRESS, .vcpu_count = vcpu_count,
		.devices = devices, .device_count = device_count,
	});
}

static struct area make_tables(unsigned int vcpu_count, size_t device_count)
{
	static uint8_t room[65536];
	int len = write_tables(room, sizeof(room), vcpu_count, device_count);
	struct area area = { .len = (size_t)len };

	assert_true(len > 0);
	area.data = malloc(area.len);
	assert_non_null(area.data);
	memcpy(area.data, room, area.len);
	return area;
}

static void area_done_p(struct area *area)
{
	free(area->data);
}

static uint8_t sum(const uint8_t *data, size_t len)
{
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *data++);
	return total;
}

/* As a guest finds them: from the RSDP on, and nothing taken for granted. */

static const uint8_t *table_at(const struct area *area, uint64_t address, const char *signature,
			       uint32_t *ret_len)
{
	const uint8_t *table;

	assert_true(address >= ADDRESS && address - ADDRESS + 36 <= area->len);
	assert_int_equal(address % 16, 0);
	table = area->data + (address - ADDRESS);
	*ret_len = get_le32(table + 4);
	assert_true(*ret_len >= 36 && *ret_len <= area->len - (address - ADDRESS));
	assert_memory_equal(table, signature, 4);
	assert_int_equal(sum(table, *ret_len), 0);
	assert_memory_equal(table + 10, "SQUIB ", 6);
	return table;
}

static const uint8_t *find_table(const struct area *area, const char *signature, uint32_t *ret_len)
{
	const uint8_t *rsdp = area->data, *xsdt;
	uint32_t len;

	assert_true(area->len >= 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(get_le32(rsdp + 20), 36);
	assert_int_equal(sum(rsdp, 36), 0);
	xsdt = table_at(area, get_le64(rsdp + 24), "XSDT", &len);
	assert_int_equal((len - 36) % 8, 0);
	for (const uint8_t *entry = xsdt + 36; entry < xsdt + len; entry += 8) {
		uint64_t at = get_le64(entry);

		assert_true(at >= ADDRESS && at - ADDRESS + 4 <= area->len);
		if (memcmp(area->data + (at - ADDRESS), signature, 4) == 0)
			return table_at(area, at, signature, ret_len);
	}
	fail_msg("no %s", signature);
	return NULL;
}

static void check_port(const uint8_t *gas, uint16_t port)
{
	static const uint8_t want[] = { 1, 8, 0, 1 };	/* I/O space, 8 bits, byte access */

	assert_memory_equal(gas, want, sizeof(want));
	assert_int_equal(get_le64(gas + 4), port);
}

static const uint8_t *check_fadt(const struct area *area)
{
	uint32_t len;
	const uint8_t *fadt = find_table(area, "FACP", &len);

	assert_int_equal(len, 276);
	assert_int_equal(fadt[8], 6);
	assert_int_equal(get_le32(fadt + 36), 0);	/* no FACS */
	assert_int_equal(get_le32(fadt + 40), 0);	/* the 64-bit pointer counts */
	assert_int_equal(get_le16(fadt + 109), 0x26);	/* 8042; no VGA, no RTC */
	assert_int_equal(get_le32(fadt + 112), 1u << 20 | 1u << 10 | 1u << 5 | 1u << 4 | 1);
	check_port(fadt + 116, 0x64);
	assert_int_equal(fadt[128], 0xfe);
	check_port(fadt + 244, X86_64_SLEEP_CONTROL_PORT);
	check_port(fadt + 256, X86_64_SLEEP_STATUS_PORT);
	return fadt;
}

static void check_madt(const struct area *area, unsigned int vcpu_count)
{
	uint32_t len;
	const uint8_t *madt = find_table(area, "APIC", &len), *entry;
	unsigned int cpus = 0, io_apics = 0;

	assert_int_equal(get_le32(madt + 36), 0xfee00000);
	assert_int_equal(get_le32(madt + 40), 0);
	for (entry = madt + 44; entry < madt + len; entry += entry[1]) {
		assert_true(entry + 2 <= madt + len && entry[1] >= 2);
		assert_true(entry + entry[1] <= madt + len);
		if (entry[0] == 0) {
			assert_int_equal(entry[1], 8);
			assert_int_equal(entry[2], cpus);
			assert_int_equal(entry[3], cpus);
			assert_int_equal(get_le32(entry + 4), 1);
			cpus++;
		} else {
			assert_int_equal(entry[0], 1);
			assert_int_equal(entry[1], 12);
			assert_int_equal(entry[2], vcpu_count);	/* an id of its own */
			assert_int_equal(get_le32(entry + 4), 0xfec00000);
			assert_int_equal(get_le32(entry + 8), 0);
			io_apics++;
		}
	}
	assert_ptr_equal(entry, madt + len);
	assert_int_equal(cpus, vcpu_count);
	assert_int_equal(io_apics, 1);
}

/* The DSDT's AML, as much of it as there is. */

struct aml_reader {
	const uint8_t *at, *end;
};

static uint8_t next(struct aml_reader *reader)
{
	assert_true(reader->at < reader->end);
	return *reader->at++;
}

static void expect(struct aml_reader *reader, const void *data, size_t len)
{
	assert_true(len <= (size_t)(reader->end - reader->at));
	assert_memory_equal(reader->at, data, len);
	reader->at += len;
}

/* A package: what is in it is @ret_inner, and @reader goes on behind it. */
static void open_package(struct aml_reader *reader, struct aml_reader *ret_inner)
{
	const uint8_t *start = reader->at;
	uint8_t lead = next(reader);
	size_t len = lead >> 6 == 0 ? lead & 0x3f : lead & 0xf;

	for (unsigned int i = 0; i < lead >> 6; i++)
		len |= (size_t)next(reader) << (4 + 8 * i);
	assert_true(len <= (size_t)(reader->end - start));
	*ret_inner = (struct aml_reader){ reader->at, start + len };
	reader->at = start + len;
}

static uint64_t read_integer(struct aml_reader *reader)
{
	uint8_t op = next(reader);
	size_t len = op == 0x0a ? 1 : op == 0x0b ? 2 : op == 0x0c ? 4 : op == 0x0e ? 8 : 0;
	uint64_t value = op;

	if (len == 0) {
		assert_true(op <= 1);
		return value;
	}
	value = 0;
	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)next(reader) << (8 * i);
	return value;
}

static void expect_resources(struct aml_reader *reader, const void *data, size_t len)
{
	struct aml_reader buffer;

	expect(reader, "\x08_CRS\x11", 6);
	open_package(reader, &buffer);
	assert_int_equal(read_integer(&buffer), len);
	expect(&buffer, data, len);
	assert_ptr_equal(buffer.at, buffer.end);
}

static void check_virtio(struct aml_reader *scope, size_t index)
{
	uint8_t resources[] = { 0x86, 9, 0, 1, 0, 0, 0, 0, 0, 0x10, 0, 0,
				0x89, 6, 0, 3, 1, 0, 0, 0, 0, 0x79, 0 };
	struct aml_reader device;
	char name[16];

	put_le32(resources + 4, devices[index].address);
	put_le32(resources + 17, devices[index].gsi);
	expect(scope, "\x5b\x82", 2);
	open_package(scope, &device);
	snprintf(name, sizeof(name), "V%03zu", index);
	expect(&device, name, 4);
	expect(&device, "\x08_HID\x0dLNRO0005", 15);
	expect(&device, "\x08_UID", 5);
	assert_int_equal(read_integer(&device), index);
	expect(&device, "\x08_CCA\x01", 6);
	expect_resources(&device, resources, sizeof(resources));
	assert_ptr_equal(device.at, device.end);
}

static void check_legacy(struct aml_reader *scope)
{
	static const uint8_t com1[] = { 0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8,
					0x89, 6, 0, 3, 1, 4, 0, 0, 0, 0x79, 0 };
	static const uint8_t ps2[] = { 0x47, 1, 0x60, 0, 0x60, 0, 1, 1,
				       0x47, 1, 0x64, 0, 0x64, 0, 1, 1,
				       0x89, 6, 0, 3, 1, 1, 0, 0, 0, 0x79, 0 };
	struct aml_reader device;

	expect(scope, "\x5b\x82", 2);
	open_package(scope, &device);
	expect(&device, "COM1\x08_HID\x0c\x41\xd0\x05\x01\x08_UID\x00", 20);
	expect_resources(&device, com1, sizeof(com1));
	assert_ptr_equal(device.at, device.end);
	expect(scope, "\x5b\x82", 2);
	open_package(scope, &device);
	expect(&device, "PS2K\x08_HID\x0c\x41\xd0\x03\x03", 14);
	expect_resources(&device, ps2, sizeof(ps2));
	assert_ptr_equal(device.at, device.end);
}

static void check_dsdt(const struct area *area, uint64_t address, size_t device_count)
{
	struct aml_reader reader, scope, package;
	uint32_t len;
	const uint8_t *dsdt = table_at(area, address, "DSDT", &len);

	reader = (struct aml_reader){ dsdt + 36, dsdt + len };
	expect(&reader, "\x10", 1);
	open_package(&reader, &scope);
	expect(&scope, "_SB_", 4);
	check_legacy(&scope);
	for (size_t i = 0; i < device_count; i++)
		check_virtio(&scope, i);
	assert_ptr_equal(scope.at, scope.end);
	expect(&reader, "\x08_S5_\x12", 6);
	open_package(&reader, &package);
	assert_int_equal(next(&package), 4);
	assert_int_equal(read_integer(&package), X86_64_SLEEP_TYPE_S5);
	assert_ptr_equal(reader.at, reader.end);
}

static void a_guest_finds_its_machine_whatever_its_size(void **state)
{
	(void)state;
	for (unsigned int vcpus = 1; vcpus <= X86_64_VCPUS_MAX; vcpus++) {
		for (size_t count = 0; count <= X86_64_DEVICES_MAX; count++) {
			CLEANUP(area_done) struct area area = make_tables(vcpus, count);
			const uint8_t *fadt = check_fadt(&area);

			check_madt(&area, vcpus);
			check_dsdt(&area, get_le64(fadt + 140), count);
			assert_true(area.len <= 0x20000);
		}
	}
}

static void what_does_not_fit_is_refused(void **state)
{
	CLEANUP(area_done) struct area whole = make_tables(32, 19);

	(void)state;
	for (size_t size = 0; size <= whole.len; size++) {
		uint8_t *data = malloc(size > 0 ? size : 1);
		int r;

		assert_non_null(data);
		r = write_tables(data, size, 32, 19);
		assert_int_equal(r, size < whole.len ? -EOVERFLOW : (int)whole.len);
		if (r > 0)
			assert_memory_equal(data, whole.data, whole.len);
		free(data);
	}
}

/* Encodings of AML that today's tables do not have */

static void lengths_of_packages_are_the_shortest(void **state)
{
	static const struct { size_t content; size_t bytes; uint8_t want[4]; } cases[] = {
		{ 0, 1, { 1 } },
		{ 62, 1, { 63 } },
		{ 63, 2, { 0x41, 4 } },		/* 65 */
		{ 4093, 2, { 0x4f, 0xff } },	/* 4095 */
		{ 4094, 3, { 0x81, 0, 1 } },	/* 4097 */
		{ 0xffffc, 3, { 0x8f, 0xff, 0xff } },
		{ 0xffffd, 4, { 0xc1, 0, 0, 1 } },
	};
	static uint8_t room[0x100010];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct writer writer = WRITER_INIT(room, cases[i].content + cases[i].bytes);

		writer_zero(&writer, cases[i].content);
		aml_end(&writer, 0);
		assert_false(writer.overflow);
		assert_int_equal(writer.len, writer.size);
		assert_memory_equal(room, cases[i].want, cases[i].bytes);
	}
}

static void integers_are_the_shortest(void **state)
{
	static const struct { uint64_t value; size_t len; const char *want; } cases[] = {
		{ 0, 1, "\x00" },
		{ 1, 1, "\x01" },
		{ 2, 2, "\x0a\x02" },
		{ 0xff, 2, "\x0a\xff" },
		{ 0x100, 3, "\x0b\x00\x01" },
		{ 0x10000, 5, "\x0c\x00\x00\x01\x00" },
		{ 0x123456789, 9, "\x0e\x89\x67\x45\x23\x01\x00\x00\x00" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[16];
		struct writer writer = WRITER_INIT(room, sizeof(room));

		aml_name_integer(&writer, "NAME", cases[i].value);
		assert_int_equal(writer.len, 5 + cases[i].len);
		assert_memory_equal(room + 5, cases[i].want, cases[i].len);
	}
}

static void too_many_resources_are_refused(void **state)
{
	uint8_t room[1024];
	struct writer writer = WRITER_INIT(room, sizeof(room));
	size_t resources = aml_resources(&writer, "_CRS");

	(void)state;
	for (int i = 0; i < 40; i++)
		aml_io(&writer, 0x60, 1);
	aml_resources_end(&writer, resources);
	assert_true(writer.overflow);
}

/* iasl */

static void read_file(const char *path, uint8_t *data, size_t len)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_int_equal(fread(data, 1, len, file), len);
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
}

/* Disassembled and compiled again it is the same, but for the compiler's signature and the checksum. */
static void compile_again(const char *dir, const char *name, const uint8_t *table, uint32_t len)
{
	uint8_t *again = malloc(len);
	char path[4096];

	assert_non_null(again);
	snprintf(path, sizeof(path), "%s.dat", name);
	write_file(dir, path, table, len);
	if (run_in(dir, "iasl -d $1.dat >$1.log 2>&1", name) != 0 ||
	    run_in(dir, "! grep -iE \"warning|error|invalid\" $1.log", name) != 0 ||
	    run_in(dir, "iasl -we $1.dsl >$1.log 2>&1", name) != 0 ||
	    run_in(dir, "grep -q \"0 Errors, 0 Warnings, 0 Remarks\" $1.log", name) != 0)
		fail_msg("iasl finds fault with %s, see %s", name, dir);
	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	read_file(path, again, len);
	again[9] = table[9];
	memcpy(again + 28, table + 28, 8);
	assert_memory_equal(again, table, len);
	free(again);
}

static void iasl_has_nothing_to_remark(void **state)
{
	static const struct { unsigned int vcpus; size_t devices; } cases[] = {
		{ 1, 0 }, { 2, 1 }, { 32, 19 },
	};
	char dir[] = "/tmp/squib-acpi-XXXXXX";

	(void)state;
	skip_without("iasl");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(area_done) struct area area = make_tables(cases[i].vcpus, cases[i].devices);
		uint32_t len;
		const uint8_t *table = find_table(&area, "FACP", &len);
		uint64_t dsdt = get_le64(table + 140);

		compile_again(dir, "FACP", table, len);
		table = find_table(&area, "APIC", &len);
		compile_again(dir, "APIC", table, len);
		table = table_at(&area, get_le64(area.data + 24), "XSDT", &len);
		compile_again(dir, "XSDT", table, len);
		table = table_at(&area, dsdt, "DSDT", &len);
		compile_again(dir, "DSDT", table, len);
	}
	run_in(dir, "rm -r $0", "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_finds_its_machine_whatever_its_size),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(lengths_of_packages_are_the_shortest),
		cmocka_unit_test(integers_are_the_shortest),
		cmocka_unit_test(too_many_resources_are_refused),
		cmocka_unit_test(iasl_has_nothing_to_remark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
