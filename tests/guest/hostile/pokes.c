/* SPDX-License-Identifier: Apache-2.0 */
#include "pokes.h"

#define PAGE 0x1000u

/* Device pages, what lies around them, and nowhere. Any alignment, so accesses cross pages. */
static uint64_t mmio_address(const struct machine *machine, struct rng *rng)
{
	const struct options *options = &machine->options;
	uint64_t page = options->base + options->stride * rng_below(rng, (uint32_t)options->devices);

	switch (rng_below(rng, 8)) {
	case 0:
		return MMIO_START + rng_below(rng, MMIO_BYTES);
	case 1:
		return MMIO_START + rng_below(rng, PLATFORM_BYTES);
	case 2:
		return page + rng_below(rng, PAGE);
	case 3:
		return page + 0x100 + rng_below(rng, 0x60);	/* the device's configuration */
	default:
		return page + rng_below(rng, 0x100 / 4) * 4;	/* a register */
	}
}

void poke_access(struct rng *rng, uint64_t address, uint64_t value)
{
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

void poke_mmio(const struct machine *machine, struct rng *rng)
{
	uint64_t address = mmio_address(machine, rng);
	uint64_t value = rng_one_in(rng, 2) ? rng_next(rng) : rng_below(rng, 16);

	if (machine->options.rmw && rng_one_in(rng, 32)) {
		mmio_locked(address, value);
		return;
	}
	poke_access(rng, address, value);
}
