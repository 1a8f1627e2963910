/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOSTILE_ARCH_H
#define HOSTILE_ARCH_H

#include <stdint.h>

#define MEMORY_START	UINT64_C(0)
/*
 * Memory that devices may write to. Ours ends before it, and nothing we need lies behind it up to
 * the end of memory.
 */
#define ARENA		UINT64_C(0x400000)
#define ARENA_BYTES	UINT64_C(0x400000)

#define MMIO_START	0xc0000000u
#define MMIO_BYTES	0x3e000000u	/* up to the I/O APIC, where a message could stop a CPU */
#define PLATFORM_BYTES	0x2000u		/* from its start: the boot timer's page, a device's */
#define BOOT_TIMER	UINT64_C(0xc0000000)
#define DEVICES_START	UINT64_C(0xc0001000)

#define INTERRUPT_CONTROLLER 0xfee00000u	/* the local APIC */

#define SERIAL_PORT	0x3f8

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint8_t serial_read(unsigned int reg)
{
	return in8((uint16_t)(SERIAL_PORT + reg));
}

static inline void serial_write(unsigned int reg, uint8_t value)
{
	out8((uint16_t)(SERIAL_PORT + reg), value);
}

static inline uint64_t cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause");
}

static inline void memory_barrier(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

/* Plain moves, whatever the compiler thinks: an MMIO exit has to decode them. */
#define MMIO_ACCESS(bits, suffix) \
	static inline uint##bits##_t mmio_read##bits(uint64_t address) \
	{ \
		uint##bits##_t value; \
		__asm__ volatile("mov" suffix " (%1), %0" : "=r"(value) : "r"(address) : "memory"); \
		return value; \
	} \
	static inline void mmio_write##bits(uint64_t address, uint##bits##_t value) \
	{ \
		__asm__ volatile("mov" suffix " %0, (%1)" : : "r"(value), "r"(address) : "memory"); \
	}
MMIO_ACCESS(8, "b")
MMIO_ACCESS(16, "w")
MMIO_ACCESS(32, "l")
MMIO_ACCESS(64, "q")

static inline void mmio_locked(uint64_t address, uint64_t value)
{
	__asm__ volatile("lock orl %0, (%1)" : : "r"((uint32_t)value), "r"(address) : "memory");
	__asm__ volatile("xchgw %0, (%1)" : : "r"((uint16_t)value), "r"(address) : "memory");
}

#endif
