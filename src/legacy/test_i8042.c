/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "legacy/i8042.h"

#define HANG_MS 60000		/* ends what hangs */

#define SET2 0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14

struct fixture {
	struct metrics *metrics;
	struct i8042 *i8042;
	struct fault fault;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(metrics_new(&f->metrics), 0);
	assert_int_equal(i8042_new(f->metrics, &f->i8042), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	i8042_free(f->i8042);
	metrics_free(f->metrics);
	fault_done(&f->fault);
	free(f);
	return 0;
}

static unsigned int edges(struct i8042 *i8042)
{
	eventfd_t n;

	return eventfd_read(i8042_irq_fd(i8042), &n) == 0 ? (unsigned int)n : 0;
}

/* Sequences at the ports */

enum op {
	END,
	CMD,		/* the guest writes a command of the controller */
	DATA,		/* it writes data */
	GET,		/* it finds the output buffer full, and reads data */
	EMPTY,		/* it finds the output buffer empty */
	STATUS,		/* it reads the status */
	IRQ,		/* so many edges since the last time */
	TYPE,		/* the host types Ctrl-Alt-Del: the result, negated */
};

struct step {
	enum op op;
	int value;
};

struct sequence {
	const char *name;
	struct step steps[40];
};

#define GET_SET2 \
	{ GET, 0x14 }, { GET, 0x11 }, { GET, 0xe0 }, { GET, 0x71 }, { GET, 0xe0 }, { GET, 0xf0 }, \
	{ GET, 0x71 }, { GET, 0xf0 }, { GET, 0x11 }, { GET, 0xf0 }, { GET, 0x14 }

static const struct sequence sequences[] = {
	{ "after reset it is unlocked, has passed its self test, and has nothing to say", {
		{ STATUS, 0x14 }, { EMPTY }, { IRQ, 0 } } },
	{ "the status tells a command from data, and mirrors the system flag", {
		{ CMD, 0x60 }, { STATUS, 0x1c }, { DATA, 0x01 }, { STATUS, 0x10 },
		{ CMD, 0xaa }, { STATUS, 0x1d }, { GET, 0x55 }, { STATUS, 0x1c } } },
	{ "the control register is read back as it was written, without an interrupt", {
		{ CMD, 0x20 }, { IRQ, 0 }, { GET, 0x05 }, { EMPTY }, { CMD, 0x60 }, { DATA, 0x52 },
		{ CMD, 0x20 }, { GET, 0x52 }, { EMPTY }, { CMD, 0x20 }, { GET, 0x52 }, { IRQ, 0 } } },
	{ "so is the output port", {
		{ CMD, 0xd0 }, { GET, 0x03 }, { CMD, 0xd1 }, { DATA, 0x52 }, { CMD, 0xd0 },
		{ GET, 0x52 }, { EMPTY } } },
	{ "a command takes back one that waits for its byte, and a reply that was not read", {
		{ CMD, 0x60 }, { CMD, 0x20 }, { CMD, 0xaa }, { GET, 0x55 }, { EMPTY },
		{ CMD, 0x20 }, { GET, 0x05 } } },
	{ "self tests pass", {
		{ CMD, 0xaa }, { GET, 0x55 }, { CMD, 0xab }, { GET, 0x00 }, { EMPTY },
		{ CMD, 0xc0 }, { GET, 0x80 }, { EMPTY }, { IRQ, 0 } } },
	{ "Linux sees at once that there is no mouse", {
		{ CMD, 0xd3 }, { DATA, 0x5a }, { STATUS, 0x15 }, { CMD, 0xa9 }, { GET, 0x01 },
		{ CMD, 0xd4 }, { DATA, 0xf2 }, { EMPTY }, { CMD, 0xa7 }, { CMD, 0x20 },
		{ GET, 0x25 }, { CMD, 0xa8 }, { CMD, 0x20 }, { GET, 0x05 }, { IRQ, 0 } } },
	{ "Linux's probe of the keyboard has all its answers, each with an interrupt", {
		{ DATA, 0xf2 }, { IRQ, 1 }, { GET, 0xfa }, { IRQ, 1 }, { GET, 0xab }, { IRQ, 1 },
		{ GET, 0x83 }, { EMPTY }, { IRQ, 0 }, { DATA, 0xf5 }, { IRQ, 1 }, { GET, 0xfa },
		{ EMPTY }, { DATA, 0xed }, { GET, 0xfa }, { DATA, 0x00 }, { GET, 0xfa }, { EMPTY },
		{ DATA, 0xf3 }, { GET, 0xfa }, { DATA, 0x00 }, { GET, 0xfa }, { EMPTY },
		{ DATA, 0xf4 }, { GET, 0xfa }, { EMPTY }, { IRQ, 5 } } },
	{ "reset, echo, resend, and which set of scan codes", {
		{ DATA, 0xff }, { GET, 0xfa }, { GET, 0xaa }, { EMPTY }, { DATA, 0xee },
		{ GET, 0xee }, { EMPTY }, { DATA, 0xfe }, { GET, 0xee }, { EMPTY }, { DATA, 0xf0 },
		{ GET, 0xfa }, { DATA, 0x00 }, { GET, 0xfa }, { GET, 0x02 }, { EMPTY },
		{ DATA, 0xf0 }, { GET, 0xfa }, { DATA, 0x02 }, { GET, 0xfa }, { EMPTY } } },
	{ "a command of the keyboard ends one that waits for its byte", {
		{ DATA, 0xed }, { DATA, 0xf2 }, { GET, 0xfa }, { GET, 0xab }, { GET, 0x83 },
		{ EMPTY }, { DATA, 0x00 }, { GET, 0xfa }, { EMPTY } } },
	{ "Ctrl-Alt-Del is pressed and let go, with an interrupt for each byte", {
		{ TYPE, 0 }, { IRQ, 1 }, { GET, 0x14 }, { IRQ, 1 }, { GET, 0x11 }, { GET, 0xe0 },
		{ GET, 0x71 }, { IRQ, 3 }, { GET, 0xe0 }, { GET, 0xf0 }, { GET, 0x71 },
		{ GET, 0xf0 }, { GET, 0x11 }, { GET, 0xf0 }, { IRQ, 6 }, { GET, 0x14 }, { EMPTY },
		{ IRQ, 0 } } },
	{ "a guest that wants set 1 gets set 1", {
		{ CMD, 0x60 }, { DATA, 0x45 }, { TYPE, 0 }, { GET, 0x1d }, { GET, 0x38 },
		{ GET, 0xe0 }, { GET, 0x53 }, { GET, 0xe0 }, { GET, 0xd3 }, { GET, 0xb8 },
		{ GET, 0x9d }, { EMPTY }, { DATA, 0xf2 }, { GET, 0xfa }, { GET, 0xab },
		{ GET, 0x41 }, { EMPTY } } },
	{ "what was not read yet leaves no room for more", {
		{ TYPE, 0 }, { TYPE, ENOBUFS }, { GET, 0x14 }, { GET, 0x11 }, { GET, 0xe0 },
		{ GET, 0x71 }, { GET, 0xe0 }, { TYPE, ENOBUFS }, { GET, 0xf0 }, { TYPE, 0 },
		{ GET, 0x71 }, { GET, 0xf0 }, { GET, 0x11 }, { GET, 0xf0 }, { GET, 0x14 },
		GET_SET2, { EMPTY } } },
	{ "with its interrupt or the keyboard disabled, nothing can be typed", {
		{ CMD, 0x60 }, { DATA, 0x04 }, { TYPE, EIO }, { EMPTY }, { CMD, 0x60 },
		{ DATA, 0x05 }, { CMD, 0xad }, { TYPE, EIO }, { EMPTY }, { CMD, 0xae }, { TYPE, 0 },
		GET_SET2, { EMPTY } } },
	{ "what was typed waits for a driver that sets the controller up", {
		{ TYPE, 0 }, { IRQ, 1 }, { CMD, 0x20 }, { GET, 0x05 }, { CMD, 0x60 },
		{ DATA, 0x14 }, { EMPTY }, { IRQ, 0 }, { CMD, 0x60 }, { DATA, 0x05 }, { IRQ, 1 },
		GET_SET2, { EMPTY } } },
	{ "an answer comes before what was typed", {
		{ TYPE, 0 }, { IRQ, 1 }, { DATA, 0xed }, { IRQ, 1 }, { GET, 0xfa }, { DATA, 0x02 },
		{ GET, 0xfa }, GET_SET2, { EMPTY } } },
	{ "a reset of the keyboard forgets what was typed", {
		{ TYPE, 0 }, { DATA, 0xff }, { GET, 0xfa }, { GET, 0xaa }, { EMPTY } } },
	{ "a byte looped through the controller is the keyboard's", {
		{ CMD, 0xd2 }, { DATA, 0x1c }, { IRQ, 1 }, { GET, 0x1c }, { EMPTY } } },
	{ "a driver that polls with the interrupt disabled gets answers, but no edges", {
		{ CMD, 0x60 }, { DATA, 0x04 }, { DATA, 0xf2 }, { GET, 0xfa }, { GET, 0xab },
		{ GET, 0x83 }, { EMPTY }, { IRQ, 0 } } },
};

static int get(struct i8042 *i8042)
{
	if (!(i8042_read(i8042, I8042_COMMAND) & 0x01))
		return -1;
	return i8042_read(i8042, I8042_DATA);
}

static int do_step(struct i8042 *i8042, const struct step *step)
{
	switch (step->op) {
	case CMD:
	case DATA:
		i8042_write(i8042, step->op == CMD ? I8042_COMMAND : I8042_DATA,
			    (uint8_t)step->value);
		return step->value;
	case GET:
		return get(i8042);
	case EMPTY:
		return i8042_read(i8042, I8042_COMMAND) & 0x01;
	case STATUS:
		return i8042_read(i8042, I8042_COMMAND);
	case IRQ:
		return (int)edges(i8042);
	case TYPE:
		return -i8042_ctrl_alt_del(i8042, NULL);
	case END:
		break;
	}
	return 0;
}

static void sequences_at_the_ports(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sequences); i++) {
		const struct step *steps = sequences[i].steps;

		i8042_free(f->i8042);
		f->i8042 = NULL;
		assert_int_equal(i8042_new(f->metrics, &f->i8042), 0);
		for (size_t j = 0; j < ARRAY_SIZE(sequences[i].steps) && steps[j].op; j++) {
			int got = do_step(f->i8042, &steps[j]);

			if (got != steps[j].value)
				fail_msg("%s: step %zu: got 0x%x, want 0x%x", sequences[i].name, j,
					 (unsigned int)got, (unsigned int)steps[j].value);
		}
	}
}

static void faults_have_upstreams_words(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(i8042_ctrl_alt_del(f->i8042, &f->fault), 0);
	assert_string_equal(fault_text(&f->fault), "");
	assert_int_equal(i8042_ctrl_alt_del(f->i8042, &f->fault), -ENOBUFS);
	assert_string_equal(fault_text(&f->fault), "I8042 error: i8042 internal buffer full.");
	i8042_write(f->i8042, I8042_DATA, 0xff);
	i8042_write(f->i8042, I8042_COMMAND, 0x60);
	i8042_write(f->i8042, I8042_DATA, 0x04);
	assert_int_equal(i8042_ctrl_alt_del(f->i8042, &f->fault), -EIO);
	assert_string_equal(fault_text(&f->fault),
			    "I8042 error: Keyboard interrupt disabled by guest driver.");
}

static void only_one_byte_at_one_port_resets(void **state)
{
	struct fixture *f = *state;

	for (int value = 0; value < 256; value++) {
		assert_int_equal(i8042_write(f->i8042, I8042_COMMAND, (uint8_t)value),
				 value == 0xfe);
		assert_false(i8042_write(f->i8042, I8042_DATA, (uint8_t)value));
		assert_false(i8042_write(f->i8042, 0x61, (uint8_t)value));
	}
	assert_int_equal(f->metrics->i8042.reset_count.value, 1);
}

static void metrics_count_what_was_understood(void **state)
{
	struct fixture *f = *state;

	i8042_write(f->i8042, I8042_COMMAND, 0x20);
	i8042_read(f->i8042, I8042_COMMAND);
	i8042_read(f->i8042, I8042_DATA);
	i8042_write(f->i8042, I8042_DATA, 0x12);
	i8042_write(f->i8042, I8042_COMMAND, 0x99);
	assert_int_equal(i8042_read(f->i8042, 0x61), 0xff);
	assert_int_equal(f->metrics->i8042.read_count.value, 2);
	assert_int_equal(f->metrics->i8042.write_count.value, 2);
	assert_int_equal(f->metrics->i8042.missed_read_count.value, 1);
	assert_int_equal(f->metrics->i8042.missed_write_count.value, 1);
}

static void every_command_with_every_byte(void **state)
{
	struct fixture *f = *state;

	for (int command = 0; command < 256; command++) {
		for (int value = 0; value < 256; value++) {
			i8042_write(f->i8042, I8042_COMMAND, (uint8_t)command);
			i8042_write(f->i8042, I8042_DATA, (uint8_t)value);
			if (value % 7 == 0)
				i8042_ctrl_alt_del(f->i8042, NULL);
			for (int i = 0; i < value % 5; i++)
				i8042_read(f->i8042, I8042_DATA);
		}
	}
	/* Linux gives a controller up that has more than 16 bytes in store */
	i8042_write(f->i8042, I8042_COMMAND, 0x60);
	i8042_write(f->i8042, I8042_DATA, 0x05);
	i8042_write(f->i8042, I8042_DATA, 0xff);
	assert_int_equal(get(f->i8042), 0xfa);
	assert_int_equal(get(f->i8042), 0xaa);
	assert_int_equal(get(f->i8042), -1);
}

/* As Linux's: an interrupt takes one byte */

struct driver {
	struct i8042 *i8042;
	unsigned int to_receive;
	_Atomic unsigned int received;
	bool ok;
};

static void *driver_run(void *arg)
{
	static const uint8_t codes[] = { SET2 };
	struct driver *driver = arg;
	struct pollfd p = { .fd = i8042_irq_fd(driver->i8042), .events = POLLIN };

	driver->ok = true;
	while (driver->received < driver->to_receive) {
		int byte;

		if (poll(&p, 1, HANG_MS) != 1) {
			driver->ok = false;	/* an interrupt is lost */
			break;
		}
		edges(driver->i8042);
		byte = get(driver->i8042);
		if (byte < 0)
			continue;
		if (byte != codes[driver->received % sizeof(codes)])
			driver->ok = false;
		driver->received++;
	}
	return NULL;
}

static void keys_reach_an_interrupt_handler(void **state)
{
	struct fixture *f = *state;
	struct driver driver = { .i8042 = f->i8042, .to_receive = 2000 * 11 };
	pthread_t thread;
	int typed = 0;

	assert_int_equal(pthread_create(&thread, NULL, driver_run, &driver), 0);
	while (typed < 2000) {
		int r = i8042_ctrl_alt_del(f->i8042, NULL);

		assert_true(r == 0 || r == -ENOBUFS);
		typed += r == 0;
		if (r < 0)
			sched_yield();
	}
	pthread_join(thread, NULL);
	assert_true(driver.ok);
	assert_int_equal(driver.received, driver.to_receive);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(sequences_at_the_ports),
		CASE(faults_have_upstreams_words),
		CASE(only_one_byte_at_one_port_resets),
		CASE(metrics_count_what_was_understood),
		CASE(every_command_with_every_byte),
		CASE(keys_reach_an_interrupt_handler),
	};

	i8042_free(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
