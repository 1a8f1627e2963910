/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In memory: RSDP, DSDT, FADT, MADT, XSDT, each at a multiple of 16.
 *
 * The machine is hardware-reduced (ACPI 6.4, 4.1): no fixed hardware, no SCI, no ACPI mode to switch
 * to, no FACS. Linux then leaves PIC and PIT alone, which saves thousands of exits. It also has no
 * fixed ISA interrupts, so the serial port and the keyboard controller are described by the DSDT
 * like the rest. No interrupt source override: every pin of the I/O APIC is the GSI, and in the DSDT
 * stands how it is triggered.
 */
#include "boot/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot/aml.h"
#include "boot/writer.h"

#define ALIGNMENT	16
#define HEADER_LENGTH	4
#define HEADER_CHECKSUM	9

#define RSDP_BYTES	36
#define RSDP_V1_BYTES	20
#define RSDP_CHECKSUM	8
#define RSDP_V2_CHECKSUM 32

struct tables {
	struct writer writer;
	gpa_t address;		/* of the writer's first byte */
};

/* ACPI 6.4, 5.2.6. Return: where the table begins, for end_table(). */
static size_t begin_table(struct tables *tables, const char *signature, uint8_t revision)
{
	struct writer *writer = &tables->writer;
	size_t start;

	writer_zero(writer, -writer->len % ALIGNMENT);
	start = writer->len;
	writer_add(writer, signature, 4);
	writer_u32(writer, 0);			/* length */
	writer_u8(writer, revision);
	writer_u8(writer, 0);			/* checksum */
	writer_add(writer, "SQUIB ", 6);
	writer_add(writer, "MICROVM ", 8);
	writer_u32(writer, 1);			/* OEM revision */
	writer_add(writer, "SQUB", 4);		/* creator */
	writer_u32(writer, 1);
	return start;
}

/* Return: the table's address. */
static gpa_t end_table(struct tables *tables, size_t start)
{
	struct writer *writer = &tables->writer;

	writer_set_u32(writer, start + HEADER_LENGTH, (uint32_t)(writer->len - start));
	writer_set_checksum(writer, start + HEADER_CHECKSUM, start, writer->len);
	return tables->address + start;
}

/* DSDT */

static void add_serial(struct writer *writer)
{
	size_t device = aml_device(writer, "COM1"), resources;

	aml_name_eisa_id(writer, "_HID", "PNP0501");	/* 16550A */
	aml_name_integer(writer, "_UID", 0);
	resources = aml_resources(writer, "_CRS");
	aml_io(writer, X86_64_SERIAL_PORT, 8);
	aml_interrupt(writer, X86_64_SERIAL_GSI);
	aml_resources_end(writer, resources);
	aml_end(writer, device);
}

static void add_keyboard(struct writer *writer)
{
	size_t device = aml_device(writer, "PS2K"), resources;

	aml_name_eisa_id(writer, "_HID", "PNP0303");	/* PS/2 keyboard */
	resources = aml_resources(writer, "_CRS");
	aml_io(writer, 0x60, 1);
	aml_io(writer, 0x64, 1);
	aml_interrupt(writer, X86_64_I8042_GSI);
	aml_resources_end(writer, resources);
	aml_end(writer, device);
}

/* virtio 1.2 leaves ACPI out; LNRO0005 is what Linux's and QEMU's virtio-mmio agree on. */
static void add_virtio(struct writer *writer, const struct x86_64_virtio *virtio, size_t index)
{
	size_t device, resources;
	char name[8];

	snprintf(name, sizeof(name), "V%03u", (unsigned int)index % 1000);
	device = aml_device(writer, name);
	aml_name_string(writer, "_HID", "LNRO0005");
	aml_name_integer(writer, "_UID", index);
	aml_name_integer(writer, "_CCA", 1);		/* DMA is coherent */
	resources = aml_resources(writer, "_CRS");
	aml_memory32_fixed(writer, virtio->address, GUEST_PAGE_BYTES);
	aml_interrupt(writer, virtio->gsi);
	aml_resources_end(writer, resources);
	aml_end(writer, device);
}

/* Sleeping is power-off only (ACPI 6.4, 7.4.2.6). The first value goes into the sleep control register. */
static void add_power_off(struct writer *writer)
{
	static const uint64_t values[] = { X86_64_SLEEP_TYPE_S5, 0, 0, 0 };

	aml_name_package(writer, "_S5_", values, sizeof(values) / sizeof(values[0]));
}

static gpa_t add_dsdt(struct tables *tables, const struct acpi_params *params)
{
	size_t start = begin_table(tables, "DSDT", 2);	/* 2: integers have 64 bits */
	size_t scope = aml_scope(&tables->writer, "_SB_");

	add_serial(&tables->writer);
	add_keyboard(&tables->writer);
	for (size_t i = 0; i < params->device_count; i++)
		add_virtio(&tables->writer, &params->devices[i], i);
	aml_end(&tables->writer, scope);
	add_power_off(&tables->writer);
	return end_table(tables, start);
}

/* FADT (ACPI 6.4, 5.2.9) */

#define FADT_REVISION		6
#define FADT_MINOR_REVISION	4
#define FADT_BYTES		276

/* Offsets of what is not 0 */
#define FADT_PROFILE		45
#define FADT_BOOT_ARCH		109
#define FADT_FLAGS		112
#define FADT_RESET_REGISTER	116
#define FADT_RESET_VALUE	128
#define FADT_MINOR		131
#define FADT_X_DSDT		140
#define FADT_SLEEP_CONTROL	244
#define FADT_SLEEP_STATUS	256
#define FADT_HYPERVISOR		268

#define PROFILE_ENTERPRISE_SERVER 4

#define BOOT_ARCH_8042		(1u << 1)
#define BOOT_ARCH_NO_VGA	(1u << 2)
#define BOOT_ARCH_NO_RTC	(1u << 5)	/* else Linux waits two seconds for one */

#define FLAG_WBINVD		(1u << 0)
#define FLAG_NO_POWER_BUTTON	(1u << 4)	/* no fixed one */
#define FLAG_NO_SLEEP_BUTTON	(1u << 5)
#define FLAG_RESET_REGISTER	(1u << 10)
#define FLAG_HW_REDUCED		(1u << 20)

#define I8042_RESET_PORT	0x64
#define I8042_RESET_VALUE	0xfe

/* ACPI 6.4, 5.2.3.2: a register of one byte in I/O space */
static void set_port(struct writer *writer, size_t at, uint16_t port)
{
	const uint8_t address[] = { 1, 8, 0, 1, (uint8_t)port, (uint8_t)(port >> 8) };

	writer_set(writer, at, address, sizeof(address));
}

static gpa_t add_fadt(struct tables *tables, gpa_t dsdt)
{
	struct writer *writer = &tables->writer;
	size_t start = begin_table(tables, "FACP", FADT_REVISION);

	writer_zero(writer, start + FADT_BYTES - writer->len);
	writer_set_u8(writer, start + FADT_PROFILE, PROFILE_ENTERPRISE_SERVER);
	writer_set_u16(writer, start + FADT_BOOT_ARCH,
		       BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_RTC);
	writer_set_u32(writer, start + FADT_FLAGS,
		       FLAG_WBINVD | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON |
		       FLAG_RESET_REGISTER | FLAG_HW_REDUCED);
	set_port(writer, start + FADT_RESET_REGISTER, I8042_RESET_PORT);
	writer_set_u8(writer, start + FADT_RESET_VALUE, I8042_RESET_VALUE);
	writer_set_u8(writer, start + FADT_MINOR, FADT_MINOR_REVISION);
	writer_set_u32(writer, start + FADT_X_DSDT, (uint32_t)dsdt);
	set_port(writer, start + FADT_SLEEP_CONTROL, X86_64_SLEEP_CONTROL_PORT);
	set_port(writer, start + FADT_SLEEP_STATUS, X86_64_SLEEP_STATUS_PORT);
	writer_set(writer, start + FADT_HYPERVISOR, "SQUIB", 5);
	return end_table(tables, start);
}

/* MADT (ACPI 6.4, 5.2.12) */

#define MADT_REVISION		5
#define MADT_LOCAL_APIC		0
#define MADT_IO_APIC		1
#define MADT_ENABLED		1

static gpa_t add_madt(struct tables *tables, unsigned int vcpu_count)
{
	struct writer *writer = &tables->writer;
	size_t start = begin_table(tables, "APIC", MADT_REVISION);

	writer_u32(writer, X86_64_LAPIC_ADDRESS);
	writer_u32(writer, 0);			/* flags: no pair of 8259s that would need silencing */
	for (unsigned int id = 0; id < vcpu_count; id++) {
		writer_u8(writer, MADT_LOCAL_APIC);
		writer_u8(writer, 8);
		writer_u8(writer, (uint8_t)id);	/* of the processor */
		writer_u8(writer, (uint8_t)id);	/* of its local APIC */
		writer_u32(writer, MADT_ENABLED);
	}
	writer_u8(writer, MADT_IO_APIC);
	writer_u8(writer, 12);
	writer_u8(writer, (uint8_t)vcpu_count);	/* id, as in the MP table */
	writer_u8(writer, 0);
	writer_u32(writer, X86_64_IOAPIC_ADDRESS);
	writer_u32(writer, 0);			/* its first GSI */
	return end_table(tables, start);
}

/* XSDT (ACPI 6.4, 5.2.8) and RSDP (5.2.5.3) */

static gpa_t add_xsdt(struct tables *tables, gpa_t fadt, gpa_t madt)
{
	size_t start = begin_table(tables, "XSDT", 1);

	writer_u64(&tables->writer, fadt);
	writer_u64(&tables->writer, madt);
	return end_table(tables, start);
}

static void add_rsdp(struct writer *writer)
{
	writer_add(writer, "RSD PTR ", 8);
	writer_u8(writer, 0);			/* checksum */
	writer_add(writer, "SQUIB ", 6);
	writer_u8(writer, 2);			/* revision */
	writer_u32(writer, 0);			/* no RSDT */
	writer_u32(writer, RSDP_BYTES);
	writer_u64(writer, 0);			/* XSDT */
	writer_zero(writer, 4);			/* checksum, reserved */
}

static void set_xsdt(struct writer *writer, gpa_t xsdt)
{
	writer_set_u32(writer, RSDP_BYTES - 12, (uint32_t)xsdt);
	writer_set_checksum(writer, RSDP_CHECKSUM, 0, RSDP_V1_BYTES);
	writer_set_checksum(writer, RSDP_V2_CHECKSUM, 0, RSDP_BYTES);
}

int acpi_write(const struct acpi_params *params)
{
	struct tables tables = {
		.writer = WRITER_INIT(params->data, params->size),
		.address = params->address,
	};
	gpa_t fadt, madt;

	add_rsdp(&tables.writer);
	fadt = add_fadt(&tables, add_dsdt(&tables, params));
	madt = add_madt(&tables, params->vcpu_count);
	set_xsdt(&tables.writer, add_xsdt(&tables, fadt, madt));
	return tables.writer.overflow ? -EOVERFLOW : (int)tables.writer.len;
}
