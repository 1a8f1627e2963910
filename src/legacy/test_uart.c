/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/serial_reg.h>

#include "legacy/uart.h"

#define RING_BYTES	4096
#define FIFO_BYTES	64
#define MANY_BYTES	(1u << 20)
#define HANG_MS		60000	/* ends what hangs */

#define LSR_IDLE	(UART_LSR_THRE | UART_LSR_TEMT)

struct fixture {
	struct metrics *metrics;
	struct uart *uart;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(metrics_new(&f->metrics), 0);
	assert_int_equal(uart_new(f->metrics, &f->uart), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	uart_free(f->uart);
	metrics_free(f->metrics);
	free(f);
	return 0;
}

/* How often an eventfd was signalled since it was last asked. */
static uint64_t edges(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) == 0 ? n : 0;
}

static void take_all(struct uart *uart)
{
	const uint8_t *data;
	size_t n;

	while ((n = uart_peek(uart, &data)) > 0)
		uart_consume(uart, n);
}

/* Sequences at the registers */

enum op {
	END,
	W,		/* the guest writes value to a register */
	R,		/* it reads value from one */
	IRQ,		/* so many edges since the last time */
	WAKE,		/* so many wake-ups */
	IN,		/* the host offers as many bytes 'a', 'b', ...; value: how many are taken */
	OUT,		/* the host finds the byte value next in the output, and takes it */
	WANTED,		/* uart_take_input_wanted() */
	FILL,		/* the guest writes as many bytes 'x' */
	TAKE,		/* the host takes as many bytes */
};

struct step {
	enum op op;
	unsigned int arg;	/* register, or count offered */
	unsigned int value;
};

struct sequence {
	const char *name;
	struct step steps[24];
};

static const struct sequence sequences[] = {
	{ "after reset it is idle, has no interrupt, and a divisor that is not 0", {
		{ R, UART_LSR, LSR_IDLE }, { R, UART_IIR, UART_IIR_NO_INT }, { R, UART_IER, 0 },
		{ R, UART_MSR, 0xb0 }, { R, UART_MCR, 0 }, { R, UART_RX, 0 },
		{ W, UART_LCR, 0x83 }, { R, UART_DLL, 12 }, { R, UART_DLM, 0 },
		{ IRQ, 0, 0 }, { WAKE, 0, 0 } } },
	{ "Linux: IER has four bits", {
		{ W, UART_IER, 0 }, { R, UART_IER, 0 }, { W, UART_IER, 0x0f },
		{ R, UART_IER, 0x0f }, { W, UART_IER, 0xff }, { R, UART_IER, 0x0f } } },
	{ "Linux: in loopback, MSR shows DTR, RTS, OUT1 and OUT2", {
		{ W, UART_MCR, 0x1a }, { R, UART_MSR, 0x90 | 0x02 }, { R, UART_MSR, 0x90 },
		{ W, UART_MCR, 0x15 }, { R, UART_MSR, 0x60 | 0x0b }, { W, UART_MCR, 0x10 },
		{ R, UART_MSR, 0x00 | 0x06 }, { W, UART_MCR, 0 }, { R, UART_MSR, 0xb0 | 0x0b },
		{ R, UART_MSR, 0xb0 } } },
	{ "Linux: the FIFO works, and is no 16650, 16750 or XScale", {
		{ W, UART_FCR, 0x01 }, { R, UART_IIR, 0xc1 }, { W, UART_LCR, 0x80 },
		{ R, UART_IIR, 0xc1 }, { W, UART_LCR, 0xbf }, { R, UART_IIR, 0xc1 },
		{ W, UART_LCR, 0 }, { W, UART_FCR, 0x21 }, { R, UART_IIR, 0xc1 },
		{ W, UART_LCR, 0x80 }, { W, UART_FCR, 0x21 }, { R, UART_IIR, 0xc1 },
		{ W, UART_LCR, 0 }, { W, UART_IER, 0x40 }, { R, UART_IER, 0 },
		{ W, UART_FCR, 0x00 }, { R, UART_IIR, 0x01 }, { IRQ, 0, 0 } } },
	{ "Linux: enabling the THRE interrupt tells of it each time", {
		{ W, UART_IER, UART_IER_THRI }, { IRQ, 0, 1 }, { R, UART_IIR, UART_IIR_THRI },
		{ R, UART_IIR, UART_IIR_NO_INT }, { W, UART_IER, 0 },
		{ W, UART_IER, UART_IER_THRI }, { IRQ, 0, 1 }, { R, UART_IIR, UART_IIR_THRI },
		{ W, UART_IER, UART_IER_THRI }, { IRQ, 0, 0 }, { R, UART_IIR, UART_IIR_NO_INT } } },
	{ "with DLAB, the first two registers are the divisor, and nothing is sent", {
		{ W, UART_LCR, 0x9b }, { W, UART_DLL, 0x41 }, { W, UART_DLM, 0x42 },
		{ R, UART_DLL, 0x41 }, { R, UART_DLM, 0x42 }, { W, UART_LCR, 0x1b },
		{ R, UART_IER, 0 }, { R, UART_RX, 0 }, { WAKE, 0, 0 }, { R, UART_LCR, 0x1b } } },
	{ "the scratch register keeps what is written", {
		{ W, UART_SCR, 0xa5 }, { R, UART_SCR, 0xa5 }, { W, UART_SCR, 0x5a },
		{ R, UART_SCR, 0x5a } } },
	{ "a burst of output is one wake-up, and the THRE interrupt comes once for it", {
		{ W, UART_IER, UART_IER_THRI }, { R, UART_IIR, UART_IIR_THRI }, { IRQ, 0, 1 },
		{ W, UART_TX, 'o' }, { W, UART_TX, 'k' }, { WAKE, 0, 1 }, { IRQ, 0, 1 },
		{ R, UART_IIR, UART_IIR_THRI }, { R, UART_IIR, UART_IIR_NO_INT },
		{ OUT, 0, 'o' }, { OUT, 0, 'k' }, { IRQ, 0, 0 }, { W, UART_TX, '!' },
		{ WAKE, 0, 1 }, { IRQ, 0, 1 } } },
	{ "a driver that looks at LSR alone gets its THRE interrupts, too", {
		{ W, UART_IER, UART_IER_THRI }, { IRQ, 0, 1 }, { R, UART_LSR, LSR_IDLE },
		{ W, UART_TX, 'a' }, { W, UART_TX, 'b' }, { IRQ, 0, 1 }, { R, UART_LSR, LSR_IDLE },
		{ W, UART_TX, 'c' }, { IRQ, 0, 1 } } },
	{ "THRE is told while a whole FIFO fits, and not with a byte less", {
		{ W, UART_IER, UART_IER_THRI }, { FILL, 0, RING_BYTES - 16 },
		{ R, UART_LSR, LSR_IDLE }, { R, UART_IIR, UART_IIR_THRI }, { IRQ, 0, 1 },
		{ W, UART_TX, 'x' }, { R, UART_LSR, 0 }, { R, UART_IIR, UART_IIR_NO_INT },
		{ FILL, 0, 15 }, { IRQ, 0, 0 }, { TAKE, 0, 15 }, { R, UART_LSR, 0 }, { IRQ, 0, 0 },
		{ TAKE, 0, 1 }, { IRQ, 0, 1 }, { R, UART_LSR, LSR_IDLE },
		{ R, UART_IIR, UART_IIR_THRI }, { TAKE, 0, 4080 }, { IRQ, 0, 0 } } },
	{ "input below the trigger level is a timeout, at the level it is data", {
		{ W, UART_FCR, 0x81 }, { W, UART_IER, UART_IER_RDI }, { IN, 7, 7 }, { IRQ, 0, 1 },
		{ R, UART_IIR, 0xc0 | UART_IIR_RX_TIMEOUT }, { IN, 1, 1 }, { IRQ, 0, 0 },
		{ R, UART_IIR, 0xc0 | UART_IIR_RDI }, { R, UART_LSR, LSR_IDLE | UART_LSR_DR },
		{ R, UART_RX, 'a' }, { R, UART_IIR, 0xc0 | UART_IIR_RX_TIMEOUT },
		{ R, UART_RX, 'b' } } },
	{ "without FIFO each byte is data", {
		{ W, UART_IER, UART_IER_RDI }, { IN, 2, 2 }, { R, UART_IIR, UART_IIR_RDI },
		{ R, UART_RX, 'a' }, { R, UART_IIR, UART_IIR_RDI }, { R, UART_RX, 'b' },
		{ R, UART_IIR, UART_IIR_NO_INT }, { IRQ, 0, 1 }, { IN, 1, 1 }, { IRQ, 0, 1 } } },
	{ "enabling the interrupt for data that is there already is an edge", {
		{ IN, 1, 1 }, { IRQ, 0, 0 }, { W, UART_IER, UART_IER_RDI }, { IRQ, 0, 1 },
		{ W, UART_IER, 0 }, { W, UART_IER, UART_IER_RDI }, { IRQ, 0, 1 } } },
	{ "a cause that appears while another is pending is an edge, and has its turn", {
		{ W, UART_IER, UART_IER_RDI | UART_IER_THRI }, { IRQ, 0, 1 }, { IN, 1, 1 },
		{ IRQ, 0, 1 }, { R, UART_IIR, UART_IIR_RDI }, { R, UART_IIR, UART_IIR_RDI },
		{ R, UART_RX, 'a' }, { R, UART_IIR, UART_IIR_THRI },
		{ R, UART_IIR, UART_IIR_NO_INT } } },
	{ "input that does not fit is refused, and asked for when half of the FIFO is read", {
		{ IN, FIFO_BYTES + 1, FIFO_BYTES }, { WANTED, 0, 0 }, { R, UART_RX, 'a' },
		{ WAKE, 0, 0 }, { W, UART_FCR, 0x03 }, { WAKE, 0, 1 }, { WANTED, 0, 1 },
		{ WANTED, 0, 0 }, { R, UART_LSR, LSR_IDLE }, { IN, 1, 1 }, { W, UART_FCR, 0x03 },
		{ WAKE, 0, 0 } } },
	{ "a FIFO just full refuses nothing and asks for nothing", {
		{ IN, FIFO_BYTES, FIFO_BYTES }, { W, UART_FCR, 0x01 }, { WAKE, 0, 0 },
		{ WANTED, 0, 0 } } },
	{ "turning the FIFO on or off empties it; a trigger level alone does not", {
		{ IN, 1, 1 }, { W, UART_FCR, 0x01 }, { R, UART_LSR, LSR_IDLE }, { IN, 1, 1 },
		{ W, UART_FCR, 0xc1 }, { R, UART_LSR, LSR_IDLE | UART_LSR_DR },
		{ W, UART_FCR, 0x00 }, { R, UART_LSR, LSR_IDLE }, { IN, 1, 1 },
		{ W, UART_FCR, 0x02 }, { R, UART_LSR, LSR_IDLE | UART_LSR_DR } } },
	{ "loopback receives what it sends, the host sees nothing of it", {
		{ W, UART_MCR, UART_MCR_LOOP }, { R, UART_MSR, 0x0b }, { W, UART_IER, 0x0f },
		{ R, UART_IIR, UART_IIR_THRI }, { IRQ, 0, 1 }, { W, UART_TX, 'q' }, { WAKE, 0, 0 },
		{ IRQ, 0, 1 }, { R, UART_IIR, UART_IIR_RDI }, { R, UART_RX, 'q' },
		{ R, UART_IIR, UART_IIR_THRI }, { IN, 3, 0 }, { R, UART_LSR, LSR_IDLE },
		{ W, UART_MCR, 0 }, { WAKE, 0, 1 }, { WANTED, 0, 1 }, { IN, 3, 3 } } },
	{ "only loopback overruns, after the 16 bytes that Linux expects of a 16550A", {
		{ W, UART_MCR, UART_MCR_LOOP }, { R, UART_MSR, 0x0b }, { W, UART_IER, UART_IER_RLSI },
		{ FILL, 0, 16 }, { IRQ, 0, 0 }, { FILL, 0, 1 }, { IRQ, 0, 1 },
		{ R, UART_IIR, UART_IIR_RLSI },
		{ R, UART_LSR, LSR_IDLE | UART_LSR_DR | UART_LSR_OE },
		{ R, UART_LSR, LSR_IDLE | UART_LSR_DR }, { R, UART_IIR, UART_IIR_NO_INT },
		{ FILL, 0, 1 }, { IRQ, 0, 1 } } },
	{ "a modem line that changes is an interrupt, which reading MSR ends", {
		{ W, UART_IER, UART_IER_MSI }, { W, UART_MCR, UART_MCR_LOOP }, { IRQ, 0, 1 },
		{ R, UART_IIR, UART_IIR_MSI }, { R, UART_MSR, 0x0b },
		{ R, UART_IIR, UART_IIR_NO_INT }, { W, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 },
		{ IRQ, 0, 0 }, { R, UART_MSR, UART_MSR_RI }, { W, UART_MCR, UART_MCR_LOOP },
		{ IRQ, 0, 1 }, { R, UART_MSR, UART_MSR_TERI } } },
};

static unsigned int offer(struct uart *uart, unsigned int len)
{
	char text[256];

	for (unsigned int i = 0; i < len; i++)
		text[i] = (char)('a' + i % 26);
	return (unsigned int)uart_input(uart, text, len);
}

static unsigned int next_output(struct uart *uart)
{
	const uint8_t *data;
	unsigned int byte;

	if (uart_peek(uart, &data) == 0)
		return 0x100;
	byte = data[0];
	uart_consume(uart, 1);
	return byte;
}

static unsigned int do_step(struct uart *uart, const struct step *step)
{
	switch (step->op) {
	case W:
		uart_write(uart, (uint16_t)step->arg, (uint8_t)step->value);
		return step->value;
	case R:
		return uart_read(uart, (uint16_t)step->arg);
	case IRQ:
		return (unsigned int)edges(uart_irq_fd(uart));
	case WAKE:
		return (unsigned int)edges(uart_wake_fd(uart));
	case IN:
		return offer(uart, step->arg);
	case OUT:
		return next_output(uart);
	case WANTED:
		return uart_take_input_wanted(uart);
	case FILL:
		for (unsigned int i = 0; i < step->value; i++)
			uart_write(uart, UART_TX, 'x');
		return step->value;
	case TAKE:
		uart_consume(uart, step->value);
		return step->value;
	case END:
		break;
	}
	return 0;
}

static void sequences_at_the_registers(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sequences); i++) {
		const struct step *steps = sequences[i].steps;

		uart_free(f->uart);
		f->uart = NULL;
		assert_int_equal(uart_new(f->metrics, &f->uart), 0);
		for (size_t j = 0; j < ARRAY_SIZE(sequences[i].steps) && steps[j].op; j++) {
			unsigned int got = do_step(f->uart, &steps[j]);

			if (got != steps[j].value)
				fail_msg("%s: step %zu: got 0x%x, want 0x%x", sequences[i].name, j,
					 got, steps[j].value);
		}
	}
	assert_int_equal(f->metrics->uart.missed_read_count.value, 0);
	assert_int_equal(f->metrics->uart.missed_write_count.value, 0);
}

static void what_is_written_into_a_full_ring_is_counted(void **state)
{
	struct fixture *f = *state;
	const uint8_t *data;

	for (int i = 0; i < RING_BYTES + 3; i++)
		uart_write(f->uart, UART_TX, (uint8_t)i);
	assert_int_equal(f->metrics->uart.missed_write_count.value, 3);
	assert_int_equal(uart_peek(f->uart, &data), RING_BYTES);
	for (int i = 0; i < RING_BYTES; i++)
		assert_int_equal(data[i], i & 0xff);
	/* the console counts these */
	assert_int_equal(f->metrics->uart.write_count.value, 0);
}

static void output_across_the_end_of_the_ring_is_two_runs(void **state)
{
	struct fixture *f = *state;
	const uint8_t *data;

	for (int i = 0; i < RING_BYTES; i++)
		uart_write(f->uart, UART_TX, 'a');
	uart_consume(f->uart, RING_BYTES - 5);
	for (int i = 0; i < 10; i++)
		uart_write(f->uart, UART_TX, 'b');
	assert_int_equal(uart_peek(f->uart, &data), 5);
	assert_memory_equal(data, "aaaaa", 5);
	uart_consume(f->uart, 5);
	assert_int_equal(uart_peek(f->uart, &data), 10);
	assert_memory_equal(data, "bbbbbbbbbb", 10);
	uart_consume(f->uart, 10);
	assert_int_equal(uart_peek(f->uart, &data), 0);
}

static void every_register_with_every_value(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 4; round++) {
		for (uint16_t offset = 0; offset < 2 * UART_REGISTERS; offset++) {
			for (int value = 0; value < 256; value++) {
				uart_write(f->uart, offset, (uint8_t)value);
				for (uint16_t i = 0; i < 2 * UART_REGISTERS; i++)
					uart_read(f->uart, i);
				offer(f->uart, (unsigned int)value);
			}
			if (round & 1)
				take_all(f->uart);
		}
	}
	assert_true(f->metrics->uart.missed_read_count.value > 0);
}

/* A driver in a thread of its own, made like Linux's, and a host that is slow */

struct driver {
	struct uart *uart;
	unsigned int to_send, to_receive;
	unsigned int sent, received;
	bool ok;
	_Atomic bool done;
	unsigned int interrupts;
};

static uint8_t pattern(unsigned int i)
{
	return (uint8_t)(i % 251);
}

static void driver_receive(struct driver *driver)
{
	for (int i = 0; i < 256 && (uart_read(driver->uart, UART_LSR) & UART_LSR_DR); i++)
		if (uart_read(driver->uart, UART_RX) != pattern(driver->received++))
			driver->ok = false;
}

static void driver_transmit(struct driver *driver)
{
	for (int i = 0; i < 16 && driver->sent < driver->to_send; i++)
		uart_write(driver->uart, UART_TX, pattern(driver->sent++));
	if (driver->sent == driver->to_send)
		uart_write(driver->uart, UART_IER, UART_IER_RDI | UART_IER_RLSI);
}

static void driver_handle_interrupt(struct driver *driver)
{
	struct uart *uart = driver->uart;

	while (!(uart_read(uart, UART_IIR) & UART_IIR_NO_INT)) {
		uint8_t status = uart_read(uart, UART_LSR);

		if (status & UART_LSR_DR)
			driver_receive(driver);
		uart_read(uart, UART_MSR);
		if ((status & UART_LSR_THRE) && (uart_read(uart, UART_IER) & UART_IER_THRI))
			driver_transmit(driver);
	}
}

static void *driver_run(void *arg)
{
	struct driver *driver = arg;
	struct pollfd p = { .fd = uart_irq_fd(driver->uart), .events = POLLIN };

	driver->ok = true;
	uart_write(driver->uart, UART_IER, UART_IER_RDI | UART_IER_RLSI | UART_IER_THRI);
	while (driver->sent < driver->to_send || driver->received < driver->to_receive) {
		if (poll(&p, 1, HANG_MS) != 1) {
			driver->ok = false;	/* an interrupt is lost */
			break;
		}
		driver->interrupts += (unsigned int)edges(p.fd);
		driver_handle_interrupt(driver);
	}
	driver->done = true;
	eventfd_write(uart_wake_fd(driver->uart), 1);
	return NULL;
}

struct host {
	unsigned int seed;
	unsigned int received, sent;
	bool refused;
};

static unsigned int host_random(struct host *host, unsigned int bound)
{
	host->seed = host->seed * 1103515245 + 12345;
	return (host->seed >> 16) % bound;
}

/* Some of the output, so that the ring is full now and then. */
static bool host_take(struct host *host, struct uart *uart)
{
	const uint8_t *data;
	size_t n = uart_peek(uart, &data);

	if (n == 0)
		return false;
	if (n > 1)
		n = 1 + host_random(host, (unsigned int)n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(data[i], pattern(host->received++));
	uart_consume(uart, n);
	if (host_random(host, 16) == 0)
		usleep(100);
	return true;
}

static void host_offer(struct host *host, struct uart *uart, unsigned int to_send)
{
	uint8_t block[200];
	unsigned int len = 1 + host_random(host, sizeof(block));

	if (len > to_send - host->sent)
		len = to_send - host->sent;
	for (unsigned int i = 0; i < len; i++)
		block[i] = pattern(host->sent + i);
	if (len > 0) {
		unsigned int taken = (unsigned int)uart_input(uart, block, len);

		host->sent += taken;
		host->refused = taken < len;
	}
}

static void run_driver(struct fixture *f, unsigned int out, unsigned int in)
{
	struct driver driver = { .uart = f->uart, .to_send = out, .to_receive = in };
	struct pollfd p = { .fd = uart_wake_fd(f->uart), .events = POLLIN };
	struct host host = { .seed = 1 };
	pthread_t thread;

	/* before there is input, which it would throw away */
	uart_write(f->uart, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14);
	assert_int_equal(pthread_create(&thread, NULL, driver_run, &driver), 0);
	while (!driver.done) {
		bool more = !host.refused && host.sent < in;

		assert_true(poll(&p, 1, more ? 0 : HANG_MS) >= (more ? 0 : 1));
		edges(p.fd);
		if (uart_take_input_wanted(f->uart))
			host.refused = false;
		while (host_take(&host, f->uart))
			;
		if (!host.refused)
			host_offer(&host, f->uart, in);
	}
	pthread_join(thread, NULL);
	while (host_take(&host, f->uart))
		;
	assert_true(driver.ok);
	assert_int_equal(host.received, out);
	assert_int_equal(driver.received, in);
	assert_int_equal(f->metrics->uart.missed_write_count.value, 0);
}

static void a_megabyte_of_output_is_not_lost(void **state)
{
	run_driver(*state, MANY_BYTES, 0);
}

static void a_megabyte_of_input_is_not_lost(void **state)
{
	run_driver(*state, 0, MANY_BYTES);
}

static void both_at_once(void **state)
{
	run_driver(*state, MANY_BYTES, MANY_BYTES);
}

/* As the kernel's printk() */
static void *polling_run(void *arg)
{
	struct driver *driver = arg;

	for (; driver->sent < driver->to_send; driver->sent++) {
		while ((uart_read(driver->uart, UART_LSR) & LSR_IDLE) != LSR_IDLE)
			usleep(10);
		uart_write(driver->uart, UART_TX, pattern(driver->sent));
	}
	driver->done = true;
	eventfd_write(uart_wake_fd(driver->uart), 1);
	return NULL;
}

static void output_by_polling_is_not_lost(void **state)
{
	struct fixture *f = *state;
	struct driver driver = { .uart = f->uart, .to_send = MANY_BYTES };
	struct pollfd p = { .fd = uart_wake_fd(f->uart), .events = POLLIN };
	struct host host = { .seed = 2 };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, polling_run, &driver), 0);
	while (!driver.done) {
		assert_int_equal(poll(&p, 1, HANG_MS), 1);
		edges(p.fd);
		while (host_take(&host, f->uart))
			;
	}
	pthread_join(thread, NULL);
	while (host_take(&host, f->uart))
		;
	assert_int_equal(host.received, MANY_BYTES);
	assert_int_equal(f->metrics->uart.missed_write_count.value, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(sequences_at_the_registers),
		CASE(what_is_written_into_a_full_ring_is_counted),
		CASE(output_across_the_end_of_the_ring_is_two_runs),
		CASE(every_register_with_every_value),
		CASE(a_megabyte_of_output_is_not_lost),
		CASE(a_megabyte_of_input_is_not_lost),
		CASE(both_at_once),
		CASE(output_by_polling_is_not_lost),
	};

	uart_free(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
