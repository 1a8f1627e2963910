/* SPDX-License-Identifier: Apache-2.0 */
#include "pokes.h"

#define PAGE		0x1000u
#define HOLE_START	0xc0000000u
#define HOLE_BYTES	0x3e000000u	/* up to the I/O APIC, where a message could stop a CPU */
#define STRING_BYTES	256u

/* Device pages, what lies around them, and nowhere. Any alignment, so accesses cross pages. */
static uint64_t mmio_address(const struct machine *machine, struct rng *rng)
{
	const struct options *options = &machine->options;
	uint64_t page = options->base + options->stride * rng_below(rng, (uint32_t)options->devices);

	switch (rng_below(rng, 8)) {
	case 0:
		return HOLE_START + rng_below(rng, HOLE_BYTES);
	case 1:
		return HOLE_START + rng_below(rng, 2 * PAGE);	/* the boot timer's, in squib */
	case 2:
		return page + rng_below(rng, PAGE);
	case 3:
		return page + 0x100 + rng_below(rng, 0x60);	/* the device's configuration */
	default:
		return page + rng_below(rng, 0x100 / 4) * 4;	/* a register */
	}
}

static void locked_operation(uint64_t address, uint64_t value)
{
	__asm__ volatile("lock orl %0, (%1)" : : "r"((uint32_t)value), "r"(address) : "memory");
	__asm__ volatile("xchgw %0, (%1)" : : "r"((uint16_t)value), "r"(address) : "memory");
}

void poke_mmio(const struct machine *machine, struct rng *rng)
{
	uint64_t address = mmio_address(machine, rng);
	uint64_t value = rng_one_in(rng, 2) ? rng_next(rng) : rng_below(rng, 16);

	if (machine->options.rmw && rng_one_in(rng, 32)) {
		locked_operation(address, value);
		return;
	}
	switch (rng_below(rng, 8)) {
	case 0: mmio_read8(address); break;
	case 1: mmio_read16(address); break;
	case 2: mmio_read32(address); break;
	case 3: mmio_read64(address); break;
	case 4: mmio_write8(address, (uint8_t)value); break;
	case 5: mmio_write16(address, (uint16_t)value); break;
	case 6: mmio_write32(address, (uint32_t)value); break;
	case 7: mmio_write64(address, value); break;
	}
}

static uint16_t port_number(struct rng *rng)
{
	static const uint16_t assigned[] = {
		0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x80, 0xcf8, 0xcfc,
		I8042_DATA, I8042_COMMAND, I8042_DATA, I8042_COMMAND, SLEEP_CONTROL, SLEEP_STATUS,
	};

	switch (rng_below(rng, 4)) {
	case 0:
		return (uint16_t)rng_next(rng);
	case 1:
		return (uint16_t)(SERIAL_PORT + rng_below(rng, 8));
	default:
		return assigned[rng_below(rng, sizeof(assigned) / sizeof(assigned[0]))];
	}
}

static bool covers(uint16_t port, unsigned int size, uint16_t other)
{
	return other - port >= 0 && other - port < (int)size;
}

static uint8_t byte_for(uint16_t port, uint32_t value, uint16_t other)
{
	return (uint8_t)(value >> 8 * (other - port));
}

/* Would it end the machine, or turn it into another? */
static bool is_end(uint16_t port, unsigned int size, uint32_t value)
{
	if (covers(port, size, I8042_COMMAND) && byte_for(port, value, I8042_COMMAND) == I8042_RESET)
		return true;
	return covers(port, size, SLEEP_CONTROL) &&
	       (byte_for(port, value, SLEEP_CONTROL) & SLEEP_ENABLE);
}

static void poke_out(struct rng *rng, uint16_t port, unsigned int size)
{
	uint32_t value = (uint32_t)rng_next(rng);

	if (is_end(port, size, value))
		return;
	if (size == 1)
		out8(port, (uint8_t)value);
	else if (size == 2)
		out16(port, (uint16_t)value);
	else
		out32(port, value);
}

static void poke_in(uint16_t port, unsigned int size)
{
	if (size == 1)
		in8(port);
	else if (size == 2)
		in16(port);
	else
		in32(port);
}

/* One exit for many accesses. */
static void poke_string(struct rng *rng, uint16_t port, unsigned int size)
{
	static uint8_t data[STRING_BYTES];
	uint64_t count = rng_below(rng, STRING_BYTES / size) + 1;
	uint8_t *p = data;

	if (rng_one_in(rng, 2)) {
		if (size == 1)
			__asm__ volatile("rep insb" : "+D"(p), "+c"(count) : "d"(port) : "memory");
		else if (size == 2)
			__asm__ volatile("rep insw" : "+D"(p), "+c"(count) : "d"(port) : "memory");
		else
			__asm__ volatile("rep insl" : "+D"(p), "+c"(count) : "d"(port) : "memory");
		return;
	}
	if (covers(port, size, I8042_COMMAND) || covers(port, size, SLEEP_CONTROL))
		return;
	if (size == 1)
		__asm__ volatile("rep outsb" : "+S"(p), "+c"(count) : "d"(port) : "memory");
	else if (size == 2)
		__asm__ volatile("rep outsw" : "+S"(p), "+c"(count) : "d"(port) : "memory");
	else
		__asm__ volatile("rep outsl" : "+S"(p), "+c"(count) : "d"(port) : "memory");
}

void poke_port(const struct machine *machine, struct rng *rng)
{
	uint16_t port = port_number(rng);
	unsigned int size = 1u << (rng_one_in(rng, 2) ? 0 : rng_below(rng, 3));

	if (machine->options.string && rng_one_in(rng, 16))
		poke_string(rng, port, size);
	else if (rng_one_in(rng, 2))
		poke_out(rng, port, size);
	else
		poke_in(port, size);
}
