/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PC without most of its devices. The monitor hands over a struct hvm_start_info (PVH); other CPUs
 * wait for interrupts of ours; ports are what only machines like this have.
 */
#include "machine.h"

#define START_INFO_MAGIC	0x336ec578u
#define MEMORY_TYPE_RAM		1

#define I8042_DATA	0x60
#define I8042_COMMAND	0x64
#define I8042_RESET	0xfe
#define SLEEP_CONTROL	0x600
#define SLEEP_STATUS	0x601
#define SLEEP_ENABLE	0x20
#define SLEEP_TYPE_S5	(5 << 2)
#define DELAY_PORT	0x80		/* nobody is there: an access is an exit */

#define TRAMPOLINE	0x10000u	/* for a second CPU; free in squib's map of low memory */
#define STRING_BYTES	256u

extern const uint8_t trampoline[], trampoline_end[];	/* start.S */

/* Xen's public/arch-x86/hvm/start_info.h */
struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, cmdline, rsdp, memory_map;
	uint32_t memory_map_count, reserved;
};

struct memory_map_entry {
	uint64_t address, size;
	uint32_t type, reserved;
};

static uint64_t find_memory_end(const struct start_info *info)
{
	const struct memory_map_entry *map = (const void *)(uintptr_t)info->memory_map;
	uint64_t end = 0;

	for (uint32_t i = 0; info->version >= 1 && i < info->memory_map_count; i++) {
		uint64_t entry_end = map[i].address + map[i].size;

		if (map[i].type == MEMORY_TYPE_RAM && entry_end <= MMIO_START && entry_end > end)
			end = entry_end;
	}
	return end;
}

bool arch_read(uint64_t start_info, const char **ret_cmdline, uint64_t *ret_memory_end)
{
	const struct start_info *info = (const void *)start_info;

	if (info->magic != START_INFO_MAGIC)
		return false;
	*ret_memory_end = find_memory_end(info);
	if (info->cmdline != 0)
		*ret_cmdline = (const char *)info->cmdline;
	return true;
}

/* INIT, then start-up, to all but ourselves (Intel SDM 3, 11.6.1). More than one: the others wait. */
bool arch_start_second_cpu(void)
{
	memcpy((void *)(uintptr_t)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	mmio_write32(INTERRUPT_CONTROLLER + 0x0f0,
		     mmio_read32(INTERRUPT_CONTROLLER + 0x0f0) | 0x100);	/* enabled */
	mmio_write32(INTERRUPT_CONTROLLER + 0x300, 0x000c4500);
	arch_delay(200);
	for (int i = 0; i < 2; i++) {
		mmio_write32(INTERRUPT_CONTROLLER + 0x300, 0x000c4600 | TRAMPOLINE >> 12);
		arch_delay(200);
	}
	return true;
}

/* Ports */

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

void arch_poke(const struct machine *machine, struct rng *rng)
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

/* The end */

void arch_delay(unsigned int exits)
{
	while (exits-- > 0)
		in8(DELAY_PORT);
}

void arch_call(uint64_t address)
{
	((void (*)(void))address)();
}

void arch_bad_access(uint64_t address)
{
	__asm__ volatile("lock cmpxchg16b (%0)" : : "r"(address), "a"(0), "b"(0), "c"(0), "d"(0) :
			 "memory", "cc");
}

static _Noreturn void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_idt = { 0, 0 };

	for (;;)
		__asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
}

void arch_crash(void)
{
	triple_fault();
}

void arch_reset(void)
{
	out8(I8042_COMMAND, I8042_RESET);
	arch_delay(1000);
	triple_fault();		/* there is no keyboard controller (QEMU's microvm) */
}

void arch_power_off(void)
{
	out8(SLEEP_CONTROL, SLEEP_TYPE_S5 | SLEEP_ENABLE);
	arch_delay(1000);
	serial_print("hostile: no power-off\r\n");
	arch_reset();
}

void arch_halt(void)
{
	for (;;)
		__asm__ volatile("hlt");
}
