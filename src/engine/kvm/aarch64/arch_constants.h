/* SPDX-License-Identifier: Apache-2.0 */
/* The places of devices, as upstream has them: see boot/aarch64.h for the whole map. */
#ifndef SQUIB_ENGINE_KVM_AARCH64_ARCH_CONSTANTS_H
#define SQUIB_ENGINE_KVM_AARCH64_ARCH_CONSTANTS_H

#define ARCH_BOOT_TIMER_ADDRESS	0x40000000u
#define ARCH_DEVICES_ADDRESS	0x40003000u
#define ARCH_SERIAL_GSI		0u	/* upstream: behind the devices' */
#define ARCH_DEVICES_GSI	1u
#define ARCH_DEVICES_MAX	92u	/* of 96; upstream's machine needs three for itself */
#define ARCH_EARLYCON		"uart,mmio,0x40002000"	/* for cmdline_params */

#endif
