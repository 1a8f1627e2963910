/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP table (Intel MultiProcessor Specification 1.4): what a kernel knows processors and
 * interrupts by that was told not to look at ACPI (acpi=off).
 */
#ifndef SQUIB_BOOT_MPTABLE_H
#define SQUIB_BOOT_MPTABLE_H

#include <stddef.h>

#include "mem/guest_mem.h"

/**
 * mptable_write() - write the table with its floating pointer in front
 * @data: @size bytes, which the guest sees at @address, a multiple of 16 below 4 GiB
 *
 * Return: how many bytes it takes, or -EOVERFLOW when it does not fit: 1 KiB is enough for 32 vCPUs.
 */
int mptable_write(void *data, size_t size, gpa_t address, unsigned int vcpu_count);

#endif
