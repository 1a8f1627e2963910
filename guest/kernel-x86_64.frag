# SPDX-License-Identifier: Apache-2.0
#
# What guests of this architecture need beyond kernel.frag.

# Debian's cloud kernel has LZ4 too: fast to unpack, and the time is part of every boot.
CONFIG_KERNEL_LZ4=y
CONFIG_KERNEL_XZ=n

# CPU and hypervisor. PVH puts the note into the ELF kernel that tells its 32-bit entry.
CONFIG_64BIT=y
CONFIG_HYPERVISOR_GUEST=y
CONFIG_PARAVIRT_SPINLOCKS=y
CONFIG_KVM_GUEST=y
CONFIG_PVH=y
CONFIG_X86_X2APIC=y
CONFIG_RELOCATABLE=y

# Console, clock, and the keyboard controller as it is used for Ctrl-Alt-Del: it is the
# keyboard driver of the virtual terminals that knows those keys. VT_CONSOLE stays off, or
# the virtual terminal would be the console of a guest that names none.
CONFIG_SERIAL_8250_PNP=y
CONFIG_EARLY_PRINTK=y
CONFIG_RTC_DRV_CMOS=y
CONFIG_INPUT=y
CONFIG_INPUT_KEYBOARD=y
CONFIG_INPUT_MOUSE=n
CONFIG_KEYBOARD_ATKBD=y
CONFIG_SERIO=y
CONFIG_SERIO_I8042=y
CONFIG_VT=y
CONFIG_VT_CONSOLE=n

# How devices are found. Without PCI the ACPI code of 6.1 gives up ("AE_BAD_PARAMETER, During
# Region initialization"), and with it every device that is described there: the guest runs
# mute. So PCI is also for machines that have none.
CONFIG_ACPI=y
CONFIG_PNP=y
CONFIG_PNPACPI=y
CONFIG_ACPI_HOTPLUG_CPU=y
CONFIG_ACPI_PROCESSOR=y
CONFIG_PCI_MMCONFIG=y
CONFIG_HOTPLUG_PCI_ACPI=y

# The guest learns that it was copied (snapshots).
CONFIG_VIRT_DRIVERS=y
CONFIG_VMGENID=y

# For tests: what the CPU shows (/dev/cpu/N/cpuid and msr).
CONFIG_X86_CPUID=y
CONFIG_X86_MSR=y
