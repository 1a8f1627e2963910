/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host end of the guest's serial port: input from standard input, output to standard output or
 * to a file. Nothing here blocks, and nothing grows: output that is not taken is held back in a
 * bounded buffer, and then by console_output() taking less than it is given.
 *
 * SIGPIPE must be ignored or handled by the program.
 */
#ifndef SQUIB_LEGACY_CONSOLE_H
#define SQUIB_LEGACY_CONSOLE_H

#include <stddef.h>
#include <squib/config.h>
#include <squib/controller.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

#define CONSOLE_BUFFER_BYTES 65536	/* output that the host has not taken yet */

struct console;

/* Embedded in the owner's struct. Called from the loop, and input() from console_input_ready(). */
struct console_listener {
	/*
	 * Input for the guest; returns how many bytes it took. After fewer than @len the rest is
	 * kept until console_input_ready().
	 */
	size_t (*input)(struct console_listener *listener, const void *data, size_t len);
	/* console_output() can take bytes again after it took fewer than offered. */
	void (*output_ready)(struct console_listener *listener);
};

struct console_params {
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct console_listener *listener;
	/* All above must outlive the console. */
	enum squib_arch arch;			/* decides upstream's wording of faults */
	const struct squib_serial *serial;	/* read during the call only; NULL: all defaults */
	int input_fd;				/* standard input; -1: none. Not closed */
	int output_fd;				/* standard output. Not closed */
};

/**
 * console_new() - open the output, start reading input
 *
 * With a serial_out_path output goes there and input is not read at all, as upstream. A terminal as
 * input is set to raw mode until console_free(), while we are its foreground process group; in the
 * background it is left alone. The flags of input_fd and output_fd, which other processes may
 * share, are not changed. End of input is no error.
 *
 * Return: 0, or a negative errno with @fault, a whole text behind "Start microvm error: ".
 */
int console_new(const struct console_params *params, struct console **ret_console,
		struct fault *fault);

/** console_free() - terminal as it was; what was not written yet is lost. Accepts NULL */
void console_free(struct console *console);

/**
 * console_output() - bytes from the guest
 *
 * What the rate limiter drops, and what goes to an output that is gone, counts as taken.
 *
 * Return: how many bytes were taken.
 */
size_t console_output(struct console *console, const void *data, size_t len);

/** console_input_ready() - the guest can take input again */
void console_input_ready(struct console *console);

/** console_flush() - before the program ends: wait up to @timeout_ms for the output to be taken */
void console_flush(struct console *console, int timeout_ms);

/**
 * console_restore_terminal() - terminal as it was, for handlers of fatal signals
 *
 * Async-signal-safe. Accepts NULL.
 */
void console_restore_terminal(const struct console *console);

#endif
