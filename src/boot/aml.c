/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The length of a package stands in front of it and counts its own bytes, of which there are one to
 * four. It is put in when the package is closed and the rest is moved for it.
 */
#include "boot/aml.h"

#include <string.h>

#define OP_ZERO		0x00
#define OP_ONE		0x01
#define OP_NAME		0x08
#define OP_BYTE		0x0a
#define OP_WORD		0x0b
#define OP_DWORD	0x0c
#define OP_STRING	0x0d
#define OP_QWORD	0x0e
#define OP_SCOPE	0x10
#define OP_BUFFER	0x11
#define OP_PACKAGE	0x12
#define OP_EXTENDED	0x5b
#define EXTENDED_DEVICE	0x82

#define NAME_LEN	4

/* ACPI 6.4, 20.2.4 */
static size_t encode_length(size_t content, uint8_t *bytes)
{
	size_t count = content + 1 < 0x40 ? 1 : content + 2 < 0x1000 ? 2 : content + 3 < 0x100000 ? 3 : 4;
	size_t length = content + count;

	if (count == 1) {
		bytes[0] = (uint8_t)length;
		return 1;
	}
	bytes[0] = (uint8_t)((count - 1) << 6 | (length & 0xf));
	for (size_t i = 1; i < count; i++)
		bytes[i] = (uint8_t)(length >> (8 * i - 4));
	return count;
}

void aml_end(struct writer *writer, size_t start)
{
	size_t content, count;
	uint8_t bytes[4];

	if (writer->overflow)
		return;
	content = writer->len - start;
	count = encode_length(content, bytes);
	writer_zero(writer, count);
	if (writer->overflow)
		return;
	memmove(writer->data + start + count, writer->data + start, content);
	memcpy(writer->data + start, bytes, count);
}

static void add_name(struct writer *writer, const char *name)
{
	writer_u8(writer, OP_NAME);
	writer_add(writer, name, NAME_LEN);
}

static void add_integer(struct writer *writer, uint64_t value)
{
	if (value <= 1) {
		writer_u8(writer, value == 0 ? OP_ZERO : OP_ONE);
	} else if (value <= UINT8_MAX) {
		writer_u8(writer, OP_BYTE);
		writer_u8(writer, (uint8_t)value);
	} else if (value <= UINT16_MAX) {
		writer_u8(writer, OP_WORD);
		writer_u16(writer, (uint16_t)value);
	} else if (value <= UINT32_MAX) {
		writer_u8(writer, OP_DWORD);
		writer_u32(writer, (uint32_t)value);
	} else {
		writer_u8(writer, OP_QWORD);
		writer_u64(writer, value);
	}
}

size_t aml_scope(struct writer *writer, const char *name)
{
	size_t start;

	writer_u8(writer, OP_SCOPE);
	start = writer->len;
	writer_add(writer, name, NAME_LEN);
	return start;
}

size_t aml_device(struct writer *writer, const char *name)
{
	size_t start;

	writer_u8(writer, OP_EXTENDED);
	writer_u8(writer, EXTENDED_DEVICE);
	start = writer->len;
	writer_add(writer, name, NAME_LEN);
	return start;
}

void aml_name_integer(struct writer *writer, const char *name, uint64_t value)
{
	add_name(writer, name);
	add_integer(writer, value);
}

void aml_name_string(struct writer *writer, const char *name, const char *value)
{
	add_name(writer, name);
	writer_u8(writer, OP_STRING);
	writer_add(writer, value, strlen(value) + 1);
}

static uint32_t hex_digit(char c)
{
	return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* ACPI 6.4, 19.3.4: three letters of 5 bits, four digits of 4, the highest byte first. */
static uint32_t eisa_id(const char *id)
{
	uint32_t value = 0;

	for (size_t i = 0; i < 3; i++)
		value = value << 5 | (uint32_t)(id[i] - 'A' + 1);
	for (size_t i = 3; i < 7; i++)
		value = value << 4 | hex_digit(id[i]);
	return __builtin_bswap32(value);
}

void aml_name_eisa_id(struct writer *writer, const char *name, const char *id)
{
	aml_name_integer(writer, name, eisa_id(id));
}

void aml_name_package(struct writer *writer, const char *name, const uint64_t *values, uint8_t count)
{
	size_t start;

	add_name(writer, name);
	writer_u8(writer, OP_PACKAGE);
	start = writer->len;
	writer_u8(writer, count);
	for (size_t i = 0; i < count; i++)
		add_integer(writer, values[i]);
	aml_end(writer, start);
}

/* Resource descriptors: ACPI 6.4, 6.4. In front of them, the size of the buffer in one byte. */

#define BUFFER_SIZE_BYTES 2	/* OP_BYTE and the byte */

size_t aml_resources(struct writer *writer, const char *name)
{
	size_t start;

	add_name(writer, name);
	writer_u8(writer, OP_BUFFER);
	start = writer->len;
	writer_u8(writer, OP_BYTE);
	writer_u8(writer, 0);
	return start;
}

void aml_io(struct writer *writer, uint16_t port, uint8_t count)
{
	writer_u8(writer, 0x47);
	writer_u8(writer, 1);		/* 16 address bits are decoded */
	writer_u16(writer, port);
	writer_u16(writer, port);
	writer_u8(writer, 1);		/* alignment */
	writer_u8(writer, count);
}

void aml_memory32_fixed(struct writer *writer, uint32_t address, uint32_t size_bytes)
{
	writer_u8(writer, 0x86);
	writer_u16(writer, 9);
	writer_u8(writer, 1);		/* writable */
	writer_u32(writer, address);
	writer_u32(writer, size_bytes);
}

void aml_interrupt(struct writer *writer, uint32_t gsi)
{
	writer_u8(writer, 0x89);
	writer_u16(writer, 6);
	writer_u8(writer, 3);		/* consumer, edge */
	writer_u8(writer, 1);		/* one number */
	writer_u32(writer, gsi);
}

void aml_resources_end(struct writer *writer, size_t start)
{
	writer_u8(writer, 0x79);
	writer_u8(writer, 0);		/* no checksum */
	if (writer->overflow)
		return;
	if (writer->len - start - BUFFER_SIZE_BYTES > UINT8_MAX)
		writer->overflow = true;
	writer_set_u8(writer, start + 1, (uint8_t)(writer->len - start - BUFFER_SIZE_BYTES));
	aml_end(writer, start);
}
