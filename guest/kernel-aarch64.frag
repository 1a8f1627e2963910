# SPDX-License-Identifier: Apache-2.0
#
# What guests of this architecture need beyond kernel.frag. All devices are found by the device
# tree, so there is no ACPI.

# 4 KiB pages, as every CPU has them. 48 bits of addresses, so that memory beyond 256 GiB, where
# monitors plug memory, can be used.
CONFIG_ARM64_4K_PAGES=y
CONFIG_ARM64_VA_BITS_48=y
CONFIG_ARM64_USE_LSE_ATOMICS=y

# Console and clock: a 16550 and a PL031 as microVMs have them, a PL011 for QEMU's machine.
CONFIG_SERIAL_OF_PLATFORM=y
CONFIG_SERIAL_AMBA_PL011=y
CONFIG_SERIAL_AMBA_PL011_CONSOLE=y
# Of the 16550 there is the plain one: to try which of its makes it is takes many exits.
CONFIG_SERIAL_8250_16550A_VARIANTS=n
CONFIG_RTC_DRV_PL031=y

CONFIG_PCI_HOST_GENERIC=y
