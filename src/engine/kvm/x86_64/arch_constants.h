/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places of devices, as upstream has them (its docs and guests know the boot timer's):
 *
 *	0xc0000000	boot timer
 *	0xc0001000	virtio-mmio devices, a page each, GSI 5 and on
 */
#ifndef SQUIB_ENGINE_KVM_X86_64_ARCH_CONSTANTS_H
#define SQUIB_ENGINE_KVM_X86_64_ARCH_CONSTANTS_H

#define ARCH_BOOT_TIMER_ADDRESS	0xc0000000u
#define ARCH_DEVICES_ADDRESS	0xc0001000u
#define ARCH_DEVICES_GSI	5u
#define ARCH_DEVICES_MAX	19u	/* GSI 5 to 23: the pins of the I/O APIC that are left */
#define ARCH_SERIAL_GSI		4u
#define ARCH_EARLYCON		NULL	/* for cmdline_params */

#endif
