/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_BOOT_AARCH64_INTERNAL_H
#define SQUIB_BOOT_AARCH64_INTERNAL_H

#include "boot/aarch64.h"
#include "boot/load.h"

/**
 * aarch64_write_fdt() - write the device tree to @address, where AARCH64_FDT_BYTES_MAX are free
 *
 * Return: 0, or -errno with @fault, a whole text as that of aarch64_boot().
 */
int aarch64_write_fdt(const struct aarch64_boot_params *params, const struct load_initrd *initrd,
		      gpa_t address, struct fault *fault);

#endif
