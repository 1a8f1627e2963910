/* SPDX-License-Identifier: Apache-2.0 */
/* What the hostile guest knows of the machine it is in: ports, memory, the serial port, its options. */
#ifndef HOSTILE_MACHINE_H
#define HOSTILE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_PORT	0x3f8
#define I8042_DATA	0x60
#define I8042_COMMAND	0x64
#define I8042_RESET	0xfe
#define SLEEP_CONTROL	0x600
#define SLEEP_STATUS	0x601
#define SLEEP_ENABLE	0x20
#define SLEEP_TYPE_S5	(5 << 2)
#define DELAY_PORT	0x80		/* nobody is there: an access is an exit */
#define LAPIC		0xfee00000u

/*
 * Memory that devices may write to. Ours ends before it, and nothing we need lies behind it up to
 * the end of memory.
 */
#define ARENA		UINT64_C(0x400000)
#define ARENA_BYTES	UINT64_C(0x400000)
#define TRAMPOLINE	0x10000u	/* for a second CPU; free in squib's map of low memory */

struct options {
	char mode[16];		/* "": fuzzing */
	uint64_t seed;
	uint64_t rounds;
	uint64_t base;		/* first virtio-mmio device */
	uint64_t stride;
	uint64_t devices;	/* pages to look at */
	uint64_t smp;		/* 0: leave other CPUs alone */
	uint64_t ports;		/* 0: no accesses to random ports */
	uint64_t string;	/* 0: no rep ins and outs */
	uint64_t rmw;		/* 1: also locked operations at MMIO */
};

struct machine {
	struct options options;
	uint64_t memory_end;	/* of the memory below 3 GiB */
};

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t x = rng->state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	rng->state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Below @bound, which is not 0 */
static inline uint32_t rng_below(struct rng *rng, uint32_t bound)
{
	return (uint32_t)((rng_next(rng) >> 32) * bound >> 32);
}

/* One time in @n */
static inline bool rng_one_in(struct rng *rng, uint32_t n)
{
	return rng_below(rng, n) == 0;
}

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

static inline uint64_t cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
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

void *memset(void *to, int byte, size_t len);
void *memcpy(void *to, const void *from, size_t len);

/** machine_read() - options and memory of a struct hvm_start_info; true when it is one */
bool machine_read(struct machine *machine, uint64_t start_info);

/** serial_reset() - as a firmware leaves it: whatever was written to its registers */
void serial_reset(void);
void serial_put(char c);
void serial_print(const char *text);
void serial_print_number(uint64_t n);

_Noreturn void machine_reset(void);
_Noreturn void machine_triple_fault(void);

#endif
