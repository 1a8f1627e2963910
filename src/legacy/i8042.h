/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyboard controller, as far as a guest without a keyboard needs one: it resets the machine, and
 * has a keyboard on which Ctrl-Alt-Del can be typed.
 *
 * Threads: i8042_read() and i8042_write() any; i8042_ctrl_alt_del() the loop's.
 */
#ifndef SQUIB_LEGACY_I8042_H
#define SQUIB_LEGACY_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/metrics.h"

#define I8042_DATA	0x60
#define I8042_COMMAND	0x64

struct i8042;

/** i8042_new() - 0 or -errno */
int i8042_new(struct metrics *metrics, struct i8042 **ret_i8042);
void i8042_free(struct i8042 *i8042);	/* accepts NULL */

/** i8042_read() / i8042_write() - the guest accesses @port: I8042_DATA or I8042_COMMAND */
uint8_t i8042_read(struct i8042 *i8042, uint16_t port);
/** Return: true when the guest asked for a reset of the machine */
bool i8042_write(struct i8042 *i8042, uint16_t port, uint8_t value);

/** i8042_irq_fd() - an eventfd, signalled when the keyboard has a byte. Stays the controller's */
int i8042_irq_fd(const struct i8042 *i8042);

/**
 * i8042_ctrl_alt_del() - type it
 *
 * Return: 0, or -errno with @fault "I8042 error: ‹e›" (contract 2.2).
 */
int i8042_ctrl_alt_del(struct i8042 *i8042, struct fault *fault);

#endif
