/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A serial port as the guest sees it. Its other end, where bytes come from and go to, is
 * the thread of the loop.
 *
 * Nothing is lost: what the guest sends goes to a bounded ring; while that is full the port says
 * that its transmitter is busy, and the guest waits. Input is taken up to the size of the receive
 * FIFO, and more is asked for when the guest has read it.
 *
 * Threads: uart_read() and uart_write() any; the others the loop's.
 */
#ifndef SQUIB_LEGACY_UART_H
#define SQUIB_LEGACY_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"

#define UART_REGISTERS 8

struct uart;

/** uart_new() - 0 or -errno */
int uart_new(struct metrics *metrics, struct uart **ret_uart);
void uart_free(struct uart *uart);	/* accepts NULL */

/** uart_read() / uart_write() - the guest accesses register @offset, below UART_REGISTERS */
uint8_t uart_read(struct uart *uart, uint16_t offset);
void uart_write(struct uart *uart, uint16_t offset, uint8_t value);

/** uart_irq_fd() - an eventfd, signalled for each edge of the interrupt line. Stays the port's */
int uart_irq_fd(const struct uart *uart);

/**
 * uart_wake_fd() - an eventfd that polls readable when there is something to do: output to take, or
 * room for input that was refused. Read it, then call uart_peek() and
 * uart_take_input_wanted(). Stays the port's
 */
int uart_wake_fd(const struct uart *uart);

/** uart_peek() - the guest's output so far: a run of bytes that lies together, 0 if there is none */
size_t uart_peek(struct uart *uart, const uint8_t **ret_data);
/** uart_consume() - the first @len bytes of it have been taken; the guest can send more */
void uart_consume(struct uart *uart, size_t len);

/** uart_input() - offer bytes to the guest; how many were taken */
size_t uart_input(struct uart *uart, const void *data, size_t len);
/** uart_take_input_wanted() - true once after the guest made room for what uart_input() refused */
bool uart_take_input_wanted(struct uart *uart);

#endif
