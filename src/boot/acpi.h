/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of an x86_64 machine (ACPI 6.4, chapter 5): a hardware-reduced one, with power-off
 * by a port, reset by the keyboard controller, and everything on virtio-mmio.
 */
#ifndef SQUIB_BOOT_ACPI_H
#define SQUIB_BOOT_ACPI_H

#include <stddef.h>

#include "boot/x86_64.h"

struct acpi_params {
	void *data;		/* size bytes, which the guest sees at address */
	size_t size;
	gpa_t address;		/* a multiple of 16; the RSDP is there */
	unsigned int vcpu_count;
	const struct x86_64_virtio *devices;
	size_t device_count;
};

/** acpi_write() - how many bytes were written, or -EOVERFLOW when they do not fit */
int acpi_write(const struct acpi_params *params);

#endif
