/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz what a hostile guest can do to the devices that are not virtio's: serial port, keyboard
 * controller and clock, while the host takes the output, has input and types Ctrl-Alt-Del. Nothing may
 * crash, or go on otherwise than the registers say.
 *
 * The input is operations: a byte, and its arguments, as read in step(). What is missing at the end
 * is 0.
 */
#include <errno.h>
#include <time.h>

#include "base/metrics.h"
#include "legacy/i8042.h"
#include "legacy/pl031.h"
#include "legacy/uart.h"
#include "input.h"

#define STEPS_MAX	1024u
#define OUTPUT_MAX	4096u	/* that the port holds back */
#define I8042_RESET	0xfe

struct machine {
	struct metrics *metrics;
	struct uart *uart;
	struct i8042 *i8042;
	struct pl031 *rtc;
	uint64_t sent;		/* bytes that the guest wrote to the serial port */
	uint64_t consumed;	/* bytes of it that the host took */
};

/* In place of the C library's, so that a run can be repeated. */
static time_t now_s;

time_t time(time_t *ret_time)
{
	if (ret_time != NULL)
		*ret_time = now_s;
	return now_s;
}

static void rtc_access(struct machine *m, struct input *in, bool write)
{
	static const uint32_t lens[] = { 4, 4, 4, 4, 1, 2, 8, 3 };
	uint64_t offset = take(in, 2);
	uint32_t len = lens[take(in, 1) % 8];
	uint64_t value = take(in, len), was = value;
	uint64_t errors = m->metrics->rtc.error_count.value;

	if (write)
		pl031_write(m->rtc, offset, (uint8_t *)&value, len);
	else
		pl031_read(m->rtc, offset, (uint8_t *)&value, len);
	errors = m->metrics->rtc.error_count.value - errors;
	require(errors <= 1, "an access to the clock is one error at most");
	require(!write || value == was, "the clock writes nothing when it is written");
	require(errors == 0 || value == was, "an access that is an error reads nothing");
	require(len == 4 || errors == 1, "registers of the clock are 32 bits wide");
	require(value >> 32 == was >> 32, "the clock reads no more than a register");
}

/* Whatever happened: a time that is loaded is there. */
static void rtc_load(struct machine *m, struct input *in)
{
	uint32_t value = (uint32_t)take(in, 4), got = ~value;

	pl031_write(m->rtc, 0x008, (uint8_t *)&value, 4);
	pl031_read(m->rtc, 0x000, (uint8_t *)&got, 4);
	require(got == value, "the clock goes on from the time that was loaded");
}

static void uart_access(struct machine *m, struct input *in, bool write)
{
	uint16_t offset = (uint16_t)(take(in, 1) % UART_REGISTERS);

	if (write) {
		m->sent += offset == 0;
		uart_write(m->uart, offset, (uint8_t)take(in, 1));
	} else {
		uart_read(m->uart, offset);
	}
}

static void uart_take_output(struct machine *m, struct input *in)
{
	const uint8_t *data;
	size_t len = uart_peek(m->uart, &data), taken;
	uint8_t sum = 0;

	require(len <= OUTPUT_MAX, "the serial port holds so much back");
	for (size_t i = 0; i < len; i++)
		sum ^= data[i];
	taken = len > 0 ? take(in, 2) % (len + 1) : 0;
	uart_consume(m->uart, taken);
	m->consumed += taken;
	require(m->consumed <= m->sent, "the serial port makes no bytes up");
	now_s += sum & 1;	/* it is read */
}

static void uart_give_input(struct machine *m, struct input *in)
{
	uint8_t data[256];
	size_t len = take(in, 1);

	memset(data, (int)take(in, 1), len);
	require(uart_input(m->uart, data, len) <= len, "no more is taken than there is");
	uart_take_input_wanted(m->uart);
}

static void i8042_access(struct machine *m, struct input *in, bool write)
{
	uint16_t port = take(in, 1) % 2 == 0 ? I8042_COMMAND : I8042_DATA;
	uint8_t value = (uint8_t)take(in, 1);

	if (write)
		require(i8042_write(m->i8042, port, value) ==
			(port == I8042_COMMAND && value == I8042_RESET), "one command resets");
	else
		i8042_read(m->i8042, port);
}

static void step(struct machine *m, struct input *in)
{
	uint64_t operation = take(in, 1);
	int r;

	switch (operation % 12) {
	case 0: rtc_access(m, in, false); break;
	case 1: rtc_access(m, in, true); break;
	case 2: rtc_load(m, in); break;
	case 3: now_s = (time_t)take(in, 5); break;
	case 4: uart_access(m, in, false); break;
	case 5: case 6: uart_access(m, in, true); break;
	case 7: uart_take_output(m, in); break;
	case 8: uart_give_input(m, in); break;
	case 9: i8042_access(m, in, false); break;
	case 10: i8042_access(m, in, true); break;
	case 11:
		r = i8042_ctrl_alt_del(m->i8042, NULL);
		require(r == 0 || r == -ENOBUFS || r == -EIO, "it is typed, or refused");
		break;
	}
}

static uint8_t keyboard_says(struct machine *m)
{
	require(i8042_read(m->i8042, I8042_COMMAND) & 1, "the keyboard has an answer");
	return i8042_read(m->i8042, I8042_DATA);
}

/* Whatever happened: a driver that sets the keyboard up anew finds it as it should be. */
static void check_keyboard(struct machine *m)
{
	i8042_write(m->i8042, I8042_COMMAND, 0x60);
	i8042_write(m->i8042, I8042_DATA, 0x05);
	i8042_write(m->i8042, I8042_DATA, 0xff);
	require(keyboard_says(m) == 0xfa && keyboard_says(m) == 0xaa, "the keyboard is reset");
	require(!(i8042_read(m->i8042, I8042_COMMAND) & 1), "it says no more than that");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct machine m = { 0 };

	now_s = 1700000000;
	require(metrics_new(&m.metrics) == 0 && uart_new(m.metrics, &m.uart) == 0 &&
		i8042_new(m.metrics, &m.i8042) == 0 && pl031_new(m.metrics, &m.rtc) == 0, "devices");
	for (unsigned int i = 0; i < STEPS_MAX && in.len > 0; i++)
		step(&m, &in);
	check_keyboard(&m);
	pl031_free(m.rtc);
	i8042_free(m.i8042);
	uart_free(m.uart);
	metrics_free(m.metrics);
	return 0;
}
