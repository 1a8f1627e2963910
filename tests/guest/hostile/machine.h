/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the hostile guest knows of the machine it is in, and what it can do to it. Each architecture
 * has a folder, with the same files:
 *
 *	arch.h		the memory map, as constants; accesses to registers
 *	arch.c		the functions arch_...() below
 *	start.S		from the start of a CPU to hostile_main() and second_cpu_main()
 *	link.ld
 */
#ifndef HOSTILE_MACHINE_H
#define HOSTILE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch.h"

struct options {
	char mode[16];		/* "": fuzzing */
	uint64_t seed;
	uint64_t rounds;
	uint64_t base;		/* first virtio-mmio device */
	uint64_t stride;
	uint64_t devices;	/* pages to look at */
	uint64_t smp;		/* 0: leave other CPUs alone */
	uint64_t own;		/* 0: no arch_poke() */
	uint64_t string;	/* x86_64; 0: no rep ins and outs */
	uint64_t rmw;		/* 1: also locked operations at MMIO */
};

struct machine {
	struct options options;
	uint64_t memory_end;	/* of the memory that we are in */
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

void *memset(void *to, int byte, size_t len);
void *memcpy(void *to, const void *from, size_t len);

/** machine_read() - options and memory, from what the CPU was started with; true when it is known */
bool machine_read(struct machine *machine, uint64_t start_info);

/** serial_reset() - as a firmware leaves it: whatever was written to its registers */
void serial_reset(void);
void serial_put(char c);
char serial_get(void);		/* waits */
void serial_print(const char *text);
void serial_print_number(uint64_t n);

/**
 * arch_read() - what the monitor says in what it starts us with
 * @ret_cmdline: NULL when there is none
 *
 * Return: true when it is what it should be.
 */
bool arch_read(uint64_t start_info, const char **ret_cmdline, uint64_t *ret_memory_end);

/** arch_start_second_cpu() - ask for it, once; it comes to second_cpu_main(). false: there is none */
bool arch_start_second_cpu(void);
_Noreturn void second_cpu_main(void);

/** arch_poke() - something random that only machines of this architecture have */
void arch_poke(const struct machine *machine, struct rng *rng);

void arch_delay(unsigned int exits);
/** arch_call() - the code at @address, where there may be none: then it returns, or the CPU stops */
void arch_call(uint64_t address);
/** arch_bad_access() - a kind of access to the device register at @address that KVM cannot emulate */
void arch_bad_access(uint64_t address);
_Noreturn void arch_reset(void);
_Noreturn void arch_power_off(void);
_Noreturn void arch_halt(void);
/** arch_crash() - the worst that a CPU can do to itself; returns where it cannot end like this */
void arch_crash(void);

#endif
