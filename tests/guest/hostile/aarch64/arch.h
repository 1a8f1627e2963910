/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOSTILE_ARCH_H
#define HOSTILE_ARCH_H

#include <stdint.h>

#define MEMORY_START	UINT64_C(0x80000000)
/*
 * Memory that devices may write to. Ours ends before it, and nothing we need lies behind it up to
 * the end of memory, when the device tree there has been read.
 */
#define ARENA		UINT64_C(0x80400000)
#define ARENA_BYTES	UINT64_C(0x400000)

#define MMIO_START	0x40000000u
#define MMIO_BYTES	0x40000000u
#define PLATFORM_BYTES	0x4000u		/* boot timer, clock, serial port, a device's page */
#define BOOT_TIMER	UINT64_C(0x40000000)
#define CLOCK		UINT64_C(0x40001000)
#define SERIAL		UINT64_C(0x40002000)
#define DEVICES_START	UINT64_C(0x40003000)

#define INTERRUPT_CONTROLLER 0x3fff0000u	/* distributor; the other parts lie below it */

/* Plain loads and stores of one register: an exit for others does not say what they are. */
#define MMIO_ACCESS(bits, suffix, width) \
	static inline uint##bits##_t mmio_read##bits(uint64_t address) \
	{ \
		uint##bits##_t value; \
		__asm__ volatile("ldr" suffix " %" width "0, [%1]" : "=r"(value) : "r"(address) : \
				 "memory"); \
		return value; \
	} \
	static inline void mmio_write##bits(uint64_t address, uint##bits##_t value) \
	{ \
		__asm__ volatile("str" suffix " %" width "0, [%1]" : : "r"(value), "r"(address) : \
				 "memory"); \
	}
MMIO_ACCESS(8, "b", "w")
MMIO_ACCESS(16, "h", "w")
MMIO_ACCESS(32, "", "w")
MMIO_ACCESS(64, "", "x")

static inline void mmio_locked(uint64_t address, uint64_t value)
{
	uint32_t old, failed;

	__asm__ volatile("ldaxr %w0, [%3]; stlxr %w1, %w2, [%3]" : "=&r"(old), "=&r"(failed) :
			 "r"(value), "r"(address) : "memory");
}

static inline uint8_t serial_read(unsigned int reg)
{
	return mmio_read8(SERIAL + reg);
}

static inline void serial_write(unsigned int reg, uint8_t value)
{
	mmio_write8(SERIAL + reg, value);
}

static inline uint64_t cycles(void)
{
	uint64_t value;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value));
	return value;
}

static inline void cpu_relax(void)
{
	__asm__ volatile("yield");
}

static inline void memory_barrier(void)
{
	__asm__ volatile("dmb ish" : : : "memory");
}

#endif
