/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/writer.h"

#include <string.h>

#include "boot/bytes.h"

/* Room for @len bytes, or NULL; after that nothing fits any more, however small. */
static uint8_t *reserve(struct writer *writer, size_t len)
{
	uint8_t *room = writer->data + writer->len;

	if (writer->overflow || len > writer->size - writer->len) {
		writer->overflow = true;
		return NULL;
	}
	writer->len += len;
	return room;
}

void writer_add(struct writer *writer, const void *data, size_t len)
{
	uint8_t *room = reserve(writer, len);

	if (room != NULL && len > 0)
		memcpy(room, data, len);
}

void writer_zero(struct writer *writer, size_t len)
{
	uint8_t *room = reserve(writer, len);

	if (room != NULL)
		memset(room, 0, len);
}

void writer_u8(struct writer *writer, uint8_t value)
{
	writer_add(writer, &value, 1);
}

void writer_u16(struct writer *writer, uint16_t value)
{
	uint8_t *room = reserve(writer, 2);

	if (room != NULL)
		put_le16(room, value);
}

void writer_u32(struct writer *writer, uint32_t value)
{
	uint8_t *room = reserve(writer, 4);

	if (room != NULL)
		put_le32(room, value);
}

void writer_u64(struct writer *writer, uint64_t value)
{
	uint8_t *room = reserve(writer, 8);

	if (room != NULL)
		put_le64(room, value);
}

void writer_set(struct writer *writer, size_t at, const void *data, size_t len)
{
	if (at <= writer->len && len <= writer->len - at)
		memcpy(writer->data + at, data, len);
}

void writer_set_u8(struct writer *writer, size_t at, uint8_t value)
{
	writer_set(writer, at, &value, 1);
}

void writer_set_u16(struct writer *writer, size_t at, uint16_t value)
{
	uint8_t bytes[2];

	put_le16(bytes, value);
	writer_set(writer, at, bytes, sizeof(bytes));
}

void writer_set_u32(struct writer *writer, size_t at, uint32_t value)
{
	uint8_t bytes[4];

	put_le32(bytes, value);
	writer_set(writer, at, bytes, sizeof(bytes));
}

void writer_set_checksum(struct writer *writer, size_t at, size_t start, size_t end)
{
	uint8_t sum = 0;

	if (writer->overflow || start > at || at >= end || end > writer->len)
		return;
	writer->data[at] = 0;
	for (size_t i = start; i < end; i++)
		sum = (uint8_t)(sum + writer->data[i]);
	writer->data[at] = (uint8_t)-sum;
}
