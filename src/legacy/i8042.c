/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller (commands at port 0x64) has a reply of one byte. The keyboard behind it has two
 * queues: answers to commands, and what was typed. The guest reads the reply first, then answers,
 * then what was typed, so nothing that was typed gets in between a command and its answer, and no
 * command throws it away but those that say so.
 *
 * Every command of the controller or the keyboard that a driver waits an answer for gets one at once:
 * Linux waits half a second for each that is missing. There is no mouse: the test of its line fails.
 *
 * The interrupt, edge-triggered, says that the keyboard has a byte: one edge for each that comes to
 * the front. Replies of the controller are polled for.
 */
#include "legacy/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"

/* The status register */
#define STATUS_OUTPUT_FULL	0x01
#define STATUS_SYSTEM		0x04	/* as in the control register */
#define STATUS_COMMAND		0x08	/* the last write was to port 0x64 */
#define STATUS_UNLOCKED		0x10

/* The control register */
#define CONTROL_KBD_INTERRUPT	0x01
#define CONTROL_SYSTEM		0x04
#define CONTROL_KBD_DISABLED	0x10
#define CONTROL_AUX_DISABLED	0x20
#define CONTROL_TRANSLATE	0x40	/* scan codes of set 2 become set 1 */

/* Commands of the controller */
#define COMMAND_READ_CONTROL	0x20
#define COMMAND_WRITE_CONTROL	0x60	/* takes a byte */
#define COMMAND_AUX_DISABLE	0xa7
#define COMMAND_AUX_ENABLE	0xa8
#define COMMAND_AUX_TEST	0xa9
#define COMMAND_SELF_TEST	0xaa
#define COMMAND_KBD_TEST	0xab
#define COMMAND_KBD_DISABLE	0xad
#define COMMAND_KBD_ENABLE	0xae
#define COMMAND_READ_INPUT	0xc0
#define COMMAND_READ_OUTPUT	0xd0
#define COMMAND_WRITE_OUTPUT	0xd1	/* takes a byte, as all to 0xd4 */
#define COMMAND_KBD_LOOP	0xd2
#define COMMAND_AUX_LOOP	0xd3
#define COMMAND_AUX_SEND	0xd4
#define COMMAND_RESET		0xfe

#define SELF_TEST_PASSED	0x55
#define KBD_TEST_PASSED		0x00
#define AUX_TEST_CLOCK_LOW	0x01	/* as of a connector that is not there */
#define INPUT_PORT		0x80	/* keyboard not locked */
#define OUTPUT_PORT		0x03	/* not in reset, address line 20 on */

/* Commands of the keyboard, and its answers */
#define KBD_SET_LEDS		0xed	/* takes a byte */
#define KBD_ECHO		0xee
#define KBD_SCAN_CODE_SET	0xf0	/* takes a byte; 0 asks */
#define KBD_IDENTIFY		0xf2
#define KBD_SET_RATE		0xf3	/* takes a byte */
#define KBD_ENABLE		0xf4
#define KBD_DISABLE		0xf5
#define KBD_DEFAULTS		0xf6
#define KBD_RESEND		0xfe
#define KBD_RESET		0xff
#define KBD_ACK			0xfa
#define KBD_SELF_TEST_PASSED	0xaa

struct byte_queue {
	uint8_t bytes[16];	/* Linux takes a controller that has more in store for broken */
	unsigned int start, len;
};

struct i8042 {
	struct metrics *metrics;
	pthread_mutex_t lock;	/* over all below */
	int irq_fd;

	uint8_t control;
	uint8_t output_port;
	uint8_t command;	/* of the controller, which waits for its byte; 0: none */
	bool last_was_command;
	bool has_reply;
	uint8_t reply;

	uint8_t kbd_command;	/* of the keyboard, which waits for its byte; 0: none */
	uint8_t kbd_last;	/* last byte it sent */
	struct byte_queue answers;
	struct byte_queue typed;
	bool signalled;		/* the edge for the byte in front was sent */
};

static unsigned int queue_room(const struct byte_queue *queue)
{
	return sizeof(queue->bytes) - queue->len;
}

static void queue_clear(struct byte_queue *queue)
{
	queue->len = 0;
}

/* A full queue loses the byte: it is the guest that does not read. */
static void queue_put(struct byte_queue *queue, uint8_t byte)
{
	if (queue_room(queue) == 0)
		return;
	queue->bytes[(queue->start + queue->len) % sizeof(queue->bytes)] = byte;
	queue->len++;
}

static uint8_t queue_take(struct byte_queue *queue)
{
	uint8_t byte = queue->bytes[queue->start];

	queue->start = (queue->start + 1) % sizeof(queue->bytes);
	queue->len--;
	return byte;
}

static bool kbd_is_off(const struct i8042 *i8042)
{
	return (i8042->control & CONTROL_KBD_DISABLED) != 0;
}

static bool kbd_has_byte(const struct i8042 *i8042)
{
	return !kbd_is_off(i8042) && (i8042->answers.len > 0 || i8042->typed.len > 0);
}

/* After every change. */
static void update_line(struct i8042 *i8042)
{
	if (!kbd_has_byte(i8042) || !(i8042->control & CONTROL_KBD_INTERRUPT)) {
		i8042->signalled = false;
	} else if (!i8042->signalled) {
		i8042->signalled = true;
		if (eventfd_write(i8042->irq_fd, 1) < 0 && errno != EAGAIN)
			metrics_inc(&i8042->metrics->i8042.error_count);
	}
}

/* The keyboard */

/* Of the bytes it sends beside scan codes, these are others in set 1. */
static void kbd_answer(struct i8042 *i8042, uint8_t byte)
{
	if (i8042->control & CONTROL_TRANSLATE) {
		if (byte == 0x83 || byte == 0x02)
			byte = 0x41;
	}
	queue_put(&i8042->answers, byte);
}

static void kbd_argument(struct i8042 *i8042, uint8_t byte)
{
	kbd_answer(i8042, KBD_ACK);
	if (i8042->kbd_command == KBD_SCAN_CODE_SET && byte == 0)
		kbd_answer(i8042, 0x02);
	i8042->kbd_command = 0;
}

/* As upstream it agrees to whatever it does not know. */
static void kbd_write(struct i8042 *i8042, uint8_t byte)
{
	i8042->signalled = false;	/* another byte will be in front */
	if (i8042->kbd_command != 0 && byte < KBD_SET_LEDS) {
		kbd_argument(i8042, byte);
		return;
	}
	i8042->kbd_command = 0;
	queue_clear(&i8042->answers);	/* a new command ends the one before */
	switch (byte) {
	case KBD_ECHO:
		kbd_answer(i8042, KBD_ECHO);
		break;
	case KBD_RESEND:
		kbd_answer(i8042, i8042->kbd_last);
		break;
	case KBD_IDENTIFY:
		kbd_answer(i8042, KBD_ACK);
		kbd_answer(i8042, 0xab);
		kbd_answer(i8042, 0x83);
		break;
	case KBD_RESET:
		queue_clear(&i8042->typed);
		kbd_answer(i8042, KBD_ACK);
		kbd_answer(i8042, KBD_SELF_TEST_PASSED);
		break;
	case KBD_ENABLE:
	case KBD_DISABLE:
	case KBD_DEFAULTS:
		queue_clear(&i8042->typed);
		kbd_answer(i8042, KBD_ACK);
		break;
	case KBD_SET_LEDS:
	case KBD_SET_RATE:
	case KBD_SCAN_CODE_SET:
		i8042->kbd_command = byte;
		kbd_answer(i8042, KBD_ACK);
		break;
	default:
		kbd_answer(i8042, KBD_ACK);
		break;
	}
}

/* The controller */

static void reply(struct i8042 *i8042, uint8_t byte)
{
	i8042->reply = byte;
	i8042->has_reply = true;
}

/* A command that takes no byte. false: there is none like this */
static bool run_command(struct i8042 *i8042, uint8_t command)
{
	switch (command) {
	case COMMAND_READ_CONTROL:
		reply(i8042, i8042->control);
		break;
	case COMMAND_AUX_DISABLE:
		i8042->control |= CONTROL_AUX_DISABLED;
		break;
	case COMMAND_AUX_ENABLE:
		i8042->control &= (uint8_t)~CONTROL_AUX_DISABLED;
		break;
	case COMMAND_AUX_TEST:
		reply(i8042, AUX_TEST_CLOCK_LOW);
		break;
	case COMMAND_SELF_TEST:
		i8042->control |= CONTROL_SYSTEM;
		reply(i8042, SELF_TEST_PASSED);
		break;
	case COMMAND_KBD_TEST:
		reply(i8042, KBD_TEST_PASSED);
		break;
	case COMMAND_KBD_DISABLE:
		i8042->control |= CONTROL_KBD_DISABLED;
		break;
	case COMMAND_KBD_ENABLE:
		i8042->control &= (uint8_t)~CONTROL_KBD_DISABLED;
		break;
	case COMMAND_READ_INPUT:
		reply(i8042, INPUT_PORT);
		break;
	case COMMAND_READ_OUTPUT:
		reply(i8042, i8042->output_port);
		break;
	case COMMAND_RESET:
		metrics_inc(&i8042->metrics->i8042.reset_count);
		break;
	default:
		return false;
	}
	return true;
}

static bool write_command(struct i8042 *i8042, uint8_t command)
{
	i8042->last_was_command = true;
	i8042->command = 0;
	i8042->has_reply = false;
	switch (command) {
	case COMMAND_WRITE_CONTROL:
	case COMMAND_WRITE_OUTPUT:
	case COMMAND_KBD_LOOP:
	case COMMAND_AUX_LOOP:
	case COMMAND_AUX_SEND:
		i8042->command = command;
		return true;
	default:
		return run_command(i8042, command);
	}
}

static void write_data(struct i8042 *i8042, uint8_t byte)
{
	uint8_t command = i8042->command;

	i8042->last_was_command = false;
	i8042->command = 0;
	switch (command) {
	case COMMAND_WRITE_CONTROL:
		i8042->control = byte;
		break;
	case COMMAND_WRITE_OUTPUT:
		i8042->output_port = byte;
		break;
	case COMMAND_KBD_LOOP:
		queue_put(&i8042->typed, byte);
		break;
	case COMMAND_AUX_LOOP:
		/* not marked as the mouse's: Linux sees at once that there is none */
		reply(i8042, byte);
		break;
	case COMMAND_AUX_SEND:
		break;
	default:
		i8042->control &= (uint8_t)~CONTROL_KBD_DISABLED;	/* it has to answer */
		kbd_write(i8042, byte);
		break;
	}
}

static uint8_t read_status(const struct i8042 *i8042)
{
	uint8_t status = STATUS_UNLOCKED | (i8042->control & STATUS_SYSTEM);

	if (i8042->has_reply || kbd_has_byte(i8042))
		status |= STATUS_OUTPUT_FULL;
	if (i8042->last_was_command)
		status |= STATUS_COMMAND;
	return status;
}

static uint8_t read_data(struct i8042 *i8042)
{
	if (i8042->has_reply) {
		i8042->has_reply = false;
		return i8042->reply;
	}
	if (!kbd_has_byte(i8042))
		return 0;
	i8042->signalled = false;
	i8042->kbd_last = queue_take(i8042->answers.len > 0 ? &i8042->answers : &i8042->typed);
	return i8042->kbd_last;
}

uint8_t i8042_read(struct i8042 *i8042, uint16_t port)
{
	struct metrics_i8042 *metrics = &i8042->metrics->i8042;
	uint8_t value = 0xff;

	pthread_mutex_lock(&i8042->lock);
	metrics_inc(port == I8042_DATA || port == I8042_COMMAND ? &metrics->read_count :
								  &metrics->missed_read_count);
	if (port == I8042_COMMAND) {
		value = read_status(i8042);
	} else if (port == I8042_DATA) {
		value = read_data(i8042);
		update_line(i8042);
	}
	pthread_mutex_unlock(&i8042->lock);
	return value;
}

bool i8042_write(struct i8042 *i8042, uint16_t port, uint8_t value)
{
	struct metrics_i8042 *metrics = &i8042->metrics->i8042;
	bool known = true;

	pthread_mutex_lock(&i8042->lock);
	if (port == I8042_COMMAND)
		known = write_command(i8042, value);
	else if (port == I8042_DATA)
		write_data(i8042, value);
	else
		known = false;
	metrics_inc(known ? &metrics->write_count : &metrics->missed_write_count);
	update_line(i8042);
	pthread_mutex_unlock(&i8042->lock);
	return port == I8042_COMMAND && value == COMMAND_RESET;
}

/* Pressed and, other than upstream, let go: keys that stay down repeat, and spoil what is typed after. */
static const uint8_t ctrl_alt_del_set1[] = {
	0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d,
};
static const uint8_t ctrl_alt_del_set2[] = {
	0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14,
};

static int type(struct i8042 *i8042, const uint8_t *codes, size_t len, struct fault *fault)
{
	if (queue_room(&i8042->typed) < len)
		return fault_set(fault, -ENOBUFS, "I8042 error: i8042 internal buffer full.");
	if (kbd_is_off(i8042) || !(i8042->control & CONTROL_KBD_INTERRUPT))
		return fault_set(fault, -EIO,
				 "I8042 error: Keyboard interrupt disabled by guest driver.");
	for (size_t i = 0; i < len; i++)
		queue_put(&i8042->typed, codes[i]);
	update_line(i8042);
	return 0;
}

int i8042_ctrl_alt_del(struct i8042 *i8042, struct fault *fault)
{
	int r;

	pthread_mutex_lock(&i8042->lock);
	if (i8042->control & CONTROL_TRANSLATE)
		r = type(i8042, ctrl_alt_del_set1, sizeof(ctrl_alt_del_set1), fault);
	else
		r = type(i8042, ctrl_alt_del_set2, sizeof(ctrl_alt_del_set2), fault);
	pthread_mutex_unlock(&i8042->lock);
	return r;
}

int i8042_irq_fd(const struct i8042 *i8042)
{
	return i8042->irq_fd;
}

int i8042_new(struct metrics *metrics, struct i8042 **ret_i8042)
{
	struct i8042 *i8042 = calloc(1, sizeof(*i8042));

	if (i8042 == NULL)
		return -ENOMEM;
	i8042->metrics = metrics;
	pthread_mutex_init(&i8042->lock, NULL);
	i8042->control = CONTROL_SYSTEM | CONTROL_KBD_INTERRUPT;
	i8042->output_port = OUTPUT_PORT;
	i8042->irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (i8042->irq_fd < 0) {
		int r = -errno;

		i8042_free(i8042);
		return r;
	}
	*ret_i8042 = i8042;
	return 0;
}

void i8042_free(struct i8042 *i8042)
{
	if (i8042 == NULL)
		return;
	fd_close(i8042->irq_fd);
	pthread_mutex_destroy(&i8042->lock);
	free(i8042);
}
