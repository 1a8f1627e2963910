/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#define SPINS_MAX	200000u	/* a console that nobody reads does not hold us for ever */

/* Registers of the serial port, a 16550, and their bits */
#define SERIAL_DATA		0
#define SERIAL_INTERRUPTS	1
#define SERIAL_FIFO		2
#define SERIAL_LINE		3
#define SERIAL_MODEM		4
#define SERIAL_STATUS		5
#define LINE_8_BITS		0x03
#define FIFO_ENABLED		0x01
#define MODEM_READY		0x03
#define STATUS_HAS_INPUT	0x01
#define STATUS_TAKES_OUTPUT	0x20

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
		{ "own", &options->own },	{ "string", &options->string },
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

bool machine_read(struct machine *machine, uint64_t start_info)
{
	const char *cmdline = NULL;

	*machine = (struct machine){
		.options = { .seed = 1, .rounds = 20000, .base = DEVICES_START, .stride = 0x1000,
			     .devices = 8, .smp = 1, .own = 1, .string = 1 },
	};
	if (!arch_read(start_info, &cmdline, &machine->memory_end))
		return false;
	if (cmdline != NULL)
		read_cmdline(&machine->options, cmdline);
	if (machine->options.seed == 0)
		machine->options.seed = 1;	/* xorshift stays at 0 */
	return machine->memory_end >= ARENA + ARENA_BYTES;
}

/* The serial port */

void serial_reset(void)
{
	serial_write(SERIAL_LINE, LINE_8_BITS);
	serial_write(SERIAL_INTERRUPTS, 0);
	serial_write(SERIAL_MODEM, MODEM_READY);
	serial_write(SERIAL_FIFO, FIFO_ENABLED);
}

void serial_put(char c)
{
	for (unsigned int i = 0; i < SPINS_MAX; i++) {
		if (serial_read(SERIAL_STATUS) & STATUS_TAKES_OUTPUT)
			break;
		cpu_relax();
	}
	serial_write(SERIAL_DATA, (uint8_t)c);
}

char serial_get(void)
{
	while (!(serial_read(SERIAL_STATUS) & STATUS_HAS_INPUT))
		cpu_relax();
	return (char)serial_read(SERIAL_DATA);
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
