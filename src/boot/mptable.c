/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors are numbered as their local APICs, from 0; the I/O APIC has the number behind theirs.
 * ISA interrupt n is at pin n of the I/O APIC, for all 24 pins: an ISA bus has 16 only, but so a
 * kernel knows each pin as the interrupt of the same number, edge-triggered, and that is how the
 * virtio-mmio devices on its command line are described.
 */
#include "boot/mptable.h"

#include <errno.h>

#include "boot/writer.h"
#include "boot/x86_64.h"

#define FLOATING_BYTES	16
#define FLOATING_CHECKSUM 10
#define HEADER_BYTES	44
#define HEADER_LENGTH	4
#define HEADER_CHECKSUM	7
#define HEADER_COUNT	34
#define REVISION	4		/* of the specification: 1.4 */

enum entry_type { PROCESSOR, BUS, IO_APIC, IO_INTERRUPT, LOCAL_INTERRUPT };	/* table 4-3 */
enum interrupt_type { INT, NMI, SMI, EXT_INT };	/* table 4-10 */

#define ENABLED		1
#define BOOT_PROCESSOR	2
#define APIC_VERSION	0x14		/* integrated; KVM's */
#define CPU_SIGNATURE	0x600		/* family 6: nobody looks, CPUID knows better */
#define CPU_FEATURES	0x201		/* FPU, APIC */
#define ISA_BUS		0
#define CONFORMS	0		/* polarity and trigger as the bus has it: high, edge */
#define PINS		24
#define ALL_APICS	0xff

static void add_floating_pointer(struct writer *writer, gpa_t address)
{
	writer_add(writer, "_MP_", 4);
	writer_u32(writer, (uint32_t)address + FLOATING_BYTES);
	writer_u8(writer, FLOATING_BYTES / 16);
	writer_u8(writer, REVISION);
	writer_u8(writer, 0);		/* checksum */
	writer_zero(writer, 5);		/* a table is present; virtual wire mode */
	writer_set_checksum(writer, FLOATING_CHECKSUM, 0, FLOATING_BYTES);
}

static void add_header(struct writer *writer)
{
	writer_add(writer, "PCMP", 4);
	writer_u16(writer, 0);		/* length */
	writer_u8(writer, REVISION);
	writer_u8(writer, 0);		/* checksum */
	writer_add(writer, "SQUIB   MICROVM     ", 20);
	writer_zero(writer, 6);		/* no OEM table */
	writer_u16(writer, 0);		/* entries */
	writer_u32(writer, X86_64_LAPIC_ADDRESS);
	writer_zero(writer, 4);
}

static void add_processor(struct writer *writer, uint8_t id)
{
	writer_u8(writer, PROCESSOR);
	writer_u8(writer, id);
	writer_u8(writer, APIC_VERSION);
	writer_u8(writer, id == 0 ? ENABLED | BOOT_PROCESSOR : ENABLED);
	writer_u32(writer, CPU_SIGNATURE);
	writer_u32(writer, CPU_FEATURES);
	writer_zero(writer, 8);
}

static void add_bus(struct writer *writer)
{
	writer_u8(writer, BUS);
	writer_u8(writer, ISA_BUS);
	writer_add(writer, "ISA   ", 6);
}

static void add_io_apic(struct writer *writer, uint8_t id)
{
	writer_u8(writer, IO_APIC);
	writer_u8(writer, id);
	writer_u8(writer, APIC_VERSION);
	writer_u8(writer, ENABLED);
	writer_u32(writer, X86_64_IOAPIC_ADDRESS);
}

static void add_interrupt(struct writer *writer, enum entry_type entry, enum interrupt_type type,
			  uint8_t irq, uint8_t apic, uint8_t pin)
{
	writer_u8(writer, (uint8_t)entry);
	writer_u8(writer, (uint8_t)type);
	writer_u16(writer, CONFORMS);
	writer_u8(writer, ISA_BUS);
	writer_u8(writer, irq);
	writer_u8(writer, apic);
	writer_u8(writer, pin);
}

/* Ascending by type, as the specification demands. Return: how many. */
static uint16_t add_entries(struct writer *writer, uint8_t vcpu_count)
{
	uint8_t io_apic = vcpu_count;

	for (uint8_t id = 0; id < vcpu_count; id++)
		add_processor(writer, id);
	add_bus(writer);
	add_io_apic(writer, io_apic);
	for (uint8_t pin = 0; pin < PINS; pin++)
		add_interrupt(writer, IO_INTERRUPT, INT, pin, io_apic, pin);
	add_interrupt(writer, LOCAL_INTERRUPT, EXT_INT, 0, 0, 0);
	add_interrupt(writer, LOCAL_INTERRUPT, NMI, 0, ALL_APICS, 1);
	return (uint16_t)(vcpu_count + 1 + 1 + PINS + 2);
}

int mptable_write(void *data, size_t size, gpa_t address, unsigned int vcpu_count)
{
	struct writer writer = WRITER_INIT(data, size);
	uint16_t count;

	add_floating_pointer(&writer, address);
	add_header(&writer);
	count = add_entries(&writer, (uint8_t)vcpu_count);
	if (writer.overflow)
		return -EOVERFLOW;
	writer_set_u16(&writer, FLOATING_BYTES + HEADER_LENGTH,
		       (uint16_t)(writer.len - FLOATING_BYTES));
	writer_set_u16(&writer, FLOATING_BYTES + HEADER_COUNT, count);
	writer_set_checksum(&writer, FLOATING_BYTES + HEADER_CHECKSUM, FLOATING_BYTES, writer.len);
	return (int)writer.len;
}
