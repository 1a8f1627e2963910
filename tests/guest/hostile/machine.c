/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#define START_INFO_MAGIC	0x336ec578u
#define MEMORY_TYPE_RAM		1
#define MMIO_START		UINT64_C(0xc0000000)
#define SPINS_MAX		200000u	/* a console that nobody reads does not hold us for ever */

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

void *memset(void *to, int byte, size_t len)
{
	volatile uint8_t *p = to;

	while (len-- > 0)
		*p++ = (uint8_t)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t len)
{
	volatile uint8_t *p = to;
	const uint8_t *q = from;

	while (len-- > 0)
		*p++ = *q++;
	return to;
}

/* Options */

/* The text behind "key=" if @word begins with that; NULL if not */
static const char *value_of(const char *word, const char *key)
{
	while (*key != '\0')
		if (*word++ != *key++)
			return NULL;
	return *word == '=' ? word + 1 : NULL;
}

static uint64_t number(const char *text)
{
	uint64_t n = 0;
	unsigned int base = 10;

	if (text[0] == '0' && text[1] == 'x') {
		base = 16;
		text += 2;
	}
	for (;; text++) {
		unsigned int digit;

		if (*text >= '0' && *text <= '9')
			digit = (unsigned int)(*text - '0');
		else if (base == 16 && (*text | 0x20) >= 'a' && (*text | 0x20) <= 'f')
			digit = (unsigned int)((*text | 0x20) - 'a') + 10;
		else
			return n;
		n = n * base + digit;
	}
}

static void read_word(struct options *options, const char *word)
{
	const struct {
		const char *key;
		uint64_t *value;
	} numbers[] = {
		{ "seed", &options->seed },	{ "rounds", &options->rounds },
		{ "base", &options->base },	{ "stride", &options->stride },
		{ "devices", &options->devices }, { "smp", &options->smp },
		{ "ports", &options->ports },	{ "string", &options->string },
		{ "rmw", &options->rmw },
	};
	const char *value;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		value = value_of(word, numbers[i].key);
		if (value != NULL)
			*numbers[i].value = number(value);
	}
	value = value_of(word, "mode");
	if (value == NULL)
		return;
	for (size_t i = 0; i + 1 < sizeof(options->mode); i++) {
		bool ends = value[i] == ' ' || value[i] == '\0';

		options->mode[i] = ends ? '\0' : value[i];
		if (ends)
			break;
	}
}

static void read_cmdline(struct options *options, const char *cmdline)
{
	while (*cmdline != '\0') {
		read_word(options, cmdline);
		while (*cmdline != '\0' && *cmdline != ' ')
			cmdline++;
		while (*cmdline == ' ')
			cmdline++;
	}
}

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

bool machine_read(struct machine *machine, uint64_t start_info)
{
	const struct start_info *info = (const void *)start_info;

	*machine = (struct machine){
		.options = { .seed = 1, .rounds = 20000, .base = 0xc0001000, .stride = 0x1000,
			     .devices = 8, .smp = 1, .ports = 1, .string = 1 },
	};
	if (info->magic != START_INFO_MAGIC)
		return false;
	machine->memory_end = find_memory_end(info);
	if (info->cmdline != 0)
		read_cmdline(&machine->options, (const char *)info->cmdline);
	if (machine->options.seed == 0)
		machine->options.seed = 1;	/* xorshift stays at 0 */
	return machine->memory_end >= ARENA + ARENA_BYTES;
}

/* The serial port */

void serial_reset(void)
{
	out8(SERIAL_PORT + 3, 0x03);
	out8(SERIAL_PORT + 1, 0);
	out8(SERIAL_PORT + 4, 0x03);
	out8(SERIAL_PORT + 2, 0x01);
}

void serial_put(char c)
{
	for (unsigned int i = 0; i < SPINS_MAX && !(in8(SERIAL_PORT + 5) & 0x20); i++)
		__asm__ volatile("pause");
	out8(SERIAL_PORT, (uint8_t)c);
}

void serial_print(const char *text)
{
	while (*text != '\0')
		serial_put(*text++);
}

void serial_print_number(uint64_t n)
{
	char digits[21];
	unsigned int i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	serial_print(digits + i);
}

/* The end */

void machine_triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_idt = { 0, 0 };

	for (;;)
		__asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
}

void machine_reset(void)
{
	out8(I8042_COMMAND, I8042_RESET);
	for (int i = 0; i < 1000; i++)
		in8(DELAY_PORT);
	machine_triple_fault();		/* there is no keyboard controller (QEMU's microvm) */
}
