/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's command line, as contract 4.4.
 */
#ifndef SQUIB_BOOT_CMDLINE_H
#define SQUIB_BOOT_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <squib/config.h>
#include <squib/controller.h>

#include "base/buf.h"
#include "base/fault.h"

#define CMDLINE_MAX 2048	/* bytes, NUL included */

#define CMDLINE_DEFAULT \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd " \
	"swiotlb=noforce"

/* A virtio-mmio device. */
struct cmdline_device {
	uint64_t address;
	uint32_t gsi;
	/* What it is, when it is one of these: it may be the root. */
	const struct squib_drive *drive;
	const struct squib_pmem *pmem;
};

struct cmdline_params {
	enum squib_arch arch;
	const struct squib_machine *machine;
	/*
	 * aarch64: where the serial port is, added where cmdline_has_console(); and its name, where
	 * that is not ttyS0 and somebody wishes for that. NULL: nothing.
	 */
	const char *earlycon;		/* "pl011,mmio32,0x09000000" */
	const char *console;		/* "ttyAMA0" */
	uint32_t tsc_early_khz;		/* 0: not told */
	/*
	 * The devices the command line tells of, in attach order, all drives among them; on aarch64,
	 * where the device tree tells of them, only of what makes one of them the root. NULL: none
	 * are told, and the root drive is the machine's.
	 */
	const struct cmdline_device *devices;
	size_t device_count;
};

/**
 * cmdline_build() - the user's or the default command line, with what the machine adds
 * @ret_line: empty at the call; a string (buf_str()) on success
 *
 * Additions go in front of " -- ", behind which the kernel passes everything to init.
 *
 * Return: 0, or a negative errno with @fault "Invalid kernel command line: ‹e›".
 */
int cmdline_build(const struct cmdline_params *params, struct buf *ret_line, struct fault *fault);

/** cmdline_has_console() - does anything in it ask for a console? As upstream looks for it */
bool cmdline_has_console(const char *line);

#endif
