/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AML, the byte code of ACPI (ACPI 6.4, chapter 20), as far as a machine without methods needs it:
 * scopes, devices, names with constant values, resource templates. Every encoding is the shortest,
 * since the guest interprets it while it boots, and so is the same as a compiler's.
 *
 *	size_t device = aml_device(writer, "COM1");
 *
 *	aml_name_eisa_id(writer, "_HID", "PNP0501");
 *	aml_end(writer, device);
 *
 * What is opened is closed, the inner first. Names have four characters.
 */
#ifndef SQUIB_BOOT_AML_H
#define SQUIB_BOOT_AML_H

#include "boot/writer.h"

size_t aml_scope(struct writer *writer, const char *name);
size_t aml_device(struct writer *writer, const char *name);
void aml_end(struct writer *writer, size_t start);

void aml_name_integer(struct writer *writer, const char *name, uint64_t value);
void aml_name_string(struct writer *writer, const char *name, const char *value);
void aml_name_eisa_id(struct writer *writer, const char *name, const char *id);	/* "PNP0501" */
void aml_name_package(struct writer *writer, const char *name, const uint64_t *values,
		      uint8_t count);

/** aml_resources() - begin Name(@name, ResourceTemplate(...)), of up to 255 bytes */
size_t aml_resources(struct writer *writer, const char *name);
void aml_io(struct writer *writer, uint16_t port, uint8_t count);
void aml_memory32_fixed(struct writer *writer, uint32_t address, uint32_t size_bytes);
void aml_interrupt(struct writer *writer, uint32_t gsi);	/* edge, active high, exclusive */
void aml_resources_end(struct writer *writer, size_t start);

#endif
