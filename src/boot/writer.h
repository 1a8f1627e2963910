/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a table into memory of a fixed size, byte for byte. What does not fit is left out, and
 * overflow says so at the end, so that a table's maker checks once.
 */
#ifndef SQUIB_BOOT_WRITER_H
#define SQUIB_BOOT_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer {
	uint8_t *data;
	size_t size;
	size_t len;	/* written so far */
	bool overflow;
};

#define WRITER_INIT(data_, size_) { .data = (data_), .size = (size_) }

void writer_add(struct writer *writer, const void *data, size_t len);
void writer_zero(struct writer *writer, size_t len);
void writer_u8(struct writer *writer, uint8_t value);
void writer_u16(struct writer *writer, uint16_t value);	/* little-endian, as the next two */
void writer_u32(struct writer *writer, uint32_t value);
void writer_u64(struct writer *writer, uint64_t value);

/** writer_set() - overwrite @len bytes at @at; nothing when they were not written before */
void writer_set(struct writer *writer, size_t at, const void *data, size_t len);
void writer_set_u8(struct writer *writer, size_t at, uint8_t value);
void writer_set_u16(struct writer *writer, size_t at, uint16_t value);
void writer_set_u32(struct writer *writer, size_t at, uint32_t value);

/** writer_set_checksum() - set the byte at @at so that those of [start, end) add up to 0 */
void writer_set_checksum(struct writer *writer, size_t at, size_t start, size_t end);

#endif
