/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register layout and bits are those of <linux/serial_reg.h>, which drivers agree on.
 *
 * Transmitter. A byte written goes to the ring and counts as sent, so the transmitter is empty again
 * at once. A driver that sees THRE may write a whole FIFO (16 bytes) without looking again; so THRE
 * is told only while the ring has room for as many, and nothing is lost.
 *
 * Interrupt. The line is edge-triggered: an edge for each cause that appears, also while another one
 * is pending. That is at least what the hardware's line does, so a handler that loops until IIR names
 * no cause (Linux) loses nothing, and one that serves a single cause per interrupt loses little.
 * There are no timers: what is in the receive FIFO below its trigger level is the character timeout
 * at once. OUT2 does not gate the line (nor does it in other monitors).
 */
#include "legacy/uart.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <linux/serial_reg.h>

#include "base/fd.h"

#define TX_BYTES	4096u
#define TX_FIFO_BYTES	16u	/* what a driver writes for one THRE */
#define RX_BYTES	64u	/* from the host; more than a 16550A's saves wake-ups */
#define LOOP_BYTES	16u	/* Linux counts these, and takes a chip with 64 for another one */

#define IER_BITS	(UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI)
#define IIR_FIFO	0xc0	/* both bits: a FIFO that works */
#define MCR_BITS	(UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP)
#define DIVISOR_9600	12	/* never 0: earlycon divides by it */

struct uart {
	struct metrics *metrics;
	pthread_mutex_t lock;	/* over all below */
	int irq_fd;
	int wake_fd;

	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t msr_deltas;
	bool overrun;		/* in loopback only */
	bool thr_due;		/* THRE has not been told by IIR since the transmitter got empty */
	uint8_t causes;		/* IER bits of the causes that the line has signalled */

	bool input_refused;	/* uart_input() took too little, and there was no room since */
	bool input_wanted;
	uint8_t rx[RX_BYTES];	/* a ring, as tx */
	unsigned int rx_start, rx_len;
	uint8_t tx[TX_BYTES];
	unsigned int tx_start, tx_len;
};

/* Fails only when the counter is full, and then the reader has been told often enough. */
static void signal_fd(int fd)
{
	(void)!eventfd_write(fd, 1);
}

/* The interrupt */

/* Each cause under the bit of IER that enables it. */
static uint8_t pending_causes(const struct uart *uart)
{
	uint8_t causes = 0;

	if (uart->overrun)
		causes |= UART_IER_RLSI;
	if (uart->rx_len > 0)
		causes |= UART_IER_RDI;
	if (uart->thr_due)
		causes |= UART_IER_THRI;
	if (uart->msr_deltas != 0)
		causes |= UART_IER_MSI;
	return causes & uart->ier;
}

/* After every change of what pending_causes() looks at. */
static void update_line(struct uart *uart)
{
	uint8_t causes = pending_causes(uart);

	if (causes & ~uart->causes)
		signal_fd(uart->irq_fd);
	uart->causes = causes;
}

static unsigned int rx_trigger(const struct uart *uart)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return uart->fcr & UART_FCR_ENABLE_FIFO ? levels[uart->fcr >> 6] : 1;
}

/* The cause of the highest priority. THRE is told once. */
static uint8_t read_iir(struct uart *uart)
{
	uint8_t fifo = uart->fcr & UART_FCR_ENABLE_FIFO ? IIR_FIFO : 0;
	uint8_t causes = pending_causes(uart);

	if (causes & UART_IER_RLSI)
		return fifo | UART_IIR_RLSI;
	if (causes & UART_IER_RDI)
		return fifo | (uart->rx_len >= rx_trigger(uart) ? UART_IIR_RDI :
							      UART_IIR_RX_TIMEOUT);
	if (causes & UART_IER_THRI) {
		uart->thr_due = false;
		return fifo | UART_IIR_THRI;
	}
	return fifo | (causes & UART_IER_MSI ? UART_IIR_MSI : UART_IIR_NO_INT);
}

/* The receiver */

static void rx_put(struct uart *uart, uint8_t byte)
{
	uart->rx[(uart->rx_start + uart->rx_len) % RX_BYTES] = byte;
	uart->rx_len++;
}

/*
 * Is it time to ask for what was refused? Half of the FIFO at once, so that a stream does not cost a
 * wake-up for every byte. In loopback the receiver is not connected to the host.
 */
static void rx_made_room(struct uart *uart)
{
	if (!uart->input_refused || uart->rx_len > RX_BYTES / 2 || (uart->mcr & UART_MCR_LOOP))
		return;
	uart->input_refused = false;
	uart->input_wanted = true;
	signal_fd(uart->wake_fd);
}

static uint8_t read_rbr(struct uart *uart)
{
	uint8_t byte;

	if (uart->rx_len == 0)
		return 0;
	byte = uart->rx[uart->rx_start];
	uart->rx_start = (uart->rx_start + 1) % RX_BYTES;
	uart->rx_len--;
	rx_made_room(uart);
	return byte;
}

static void rx_clear(struct uart *uart)
{
	uart->rx_len = 0;
	uart->overrun = false;
	rx_made_room(uart);
}

/* The transmitter */

static bool thr_is_empty(const struct uart *uart)
{
	return TX_BYTES - uart->tx_len >= TX_FIFO_BYTES;
}

static void tx_put(struct uart *uart, uint8_t byte)
{
	if (uart->tx_len == TX_BYTES) {
		metrics_inc(&uart->metrics->uart.missed_write_count);
		return;
	}
	uart->tx[(uart->tx_start + uart->tx_len) % TX_BYTES] = byte;
	if (uart->tx_len++ == 0)
		signal_fd(uart->wake_fd);
}

static void write_thr(struct uart *uart, uint8_t byte)
{
	if (!(uart->mcr & UART_MCR_LOOP))
		tx_put(uart, byte);
	else if (uart->rx_len < LOOP_BYTES)
		rx_put(uart, byte);
	else
		uart->overrun = true;
	uart->thr_due = thr_is_empty(uart);
}

/* Line and modem status */

/*
 * A driver that looks here instead of at IIR, and then fills the transmitter, waits for another edge
 * of THRE although this one was never told by IIR: so it may come again.
 */
static uint8_t read_lsr(struct uart *uart)
{
	uint8_t lsr = 0;

	if (uart->rx_len > 0)
		lsr |= UART_LSR_DR;
	if (uart->overrun)
		lsr |= UART_LSR_OE;
	if (thr_is_empty(uart))
		lsr |= UART_LSR_THRE | UART_LSR_TEMT;
	uart->overrun = false;
	uart->causes &= (uint8_t)~(UART_IER_RLSI | UART_IER_THRI);
	return lsr;
}

/* Outside of loopback: a carrier, and a peer that is ready. */
static uint8_t msr_lines(const struct uart *uart)
{
	uint8_t lines = 0;

	if (!(uart->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (uart->mcr & UART_MCR_DTR)
		lines |= UART_MSR_DSR;
	if (uart->mcr & UART_MCR_RTS)
		lines |= UART_MSR_CTS;
	if (uart->mcr & UART_MCR_OUT1)
		lines |= UART_MSR_RI;
	if (uart->mcr & UART_MCR_OUT2)
		lines |= UART_MSR_DCD;
	return lines;
}

static uint8_t read_msr(struct uart *uart)
{
	uint8_t msr = msr_lines(uart) | uart->msr_deltas;

	uart->msr_deltas = 0;
	return msr;
}

static void write_mcr(struct uart *uart, uint8_t value)
{
	uint8_t before = msr_lines(uart), after;

	uart->mcr = value & MCR_BITS;
	after = msr_lines(uart);
	/* each line's delta is four bits below it; that of RI tells its end only */
	uart->msr_deltas |= ((before ^ after) & (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)) >> 4;
	if (before & ~after & UART_MSR_RI)
		uart->msr_deltas |= UART_MSR_TERI;
	rx_made_room(uart);
}

/* The other registers */

static void write_ier(struct uart *uart, uint8_t value)
{
	/* enabling it tells of an empty transmitter anew; drivers start sending that way */
	if ((value & ~uart->ier & UART_IER_THRI) && thr_is_empty(uart))
		uart->thr_due = true;
	uart->ier = value & IER_BITS;
}

static void write_fcr(struct uart *uart, uint8_t value)
{
	bool toggled = ((value ^ uart->fcr) & UART_FCR_ENABLE_FIFO) != 0;

	if (!(value & UART_FCR_ENABLE_FIFO))
		value = 0;	/* the other bits are not written then */
	uart->fcr = value & (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK);
	if (toggled || (value & UART_FCR_CLEAR_RCVR))
		rx_clear(uart);
	if (toggled || (value & UART_FCR_CLEAR_XMIT))
		uart->thr_due = thr_is_empty(uart);	/* what is in the ring has been sent */
}

static uint8_t read_register(struct uart *uart, uint16_t offset)
{
	bool dlab = (uart->lcr & UART_LCR_DLAB) != 0;

	switch (offset) {
	case UART_RX:
		return dlab ? uart->dll : read_rbr(uart);
	case UART_IER:
		return dlab ? uart->dlm : uart->ier;
	case UART_IIR:
		return read_iir(uart);
	case UART_LCR:
		return uart->lcr;
	case UART_MCR:
		return uart->mcr;
	case UART_LSR:
		return read_lsr(uart);
	case UART_MSR:
		return read_msr(uart);
	case UART_SCR:
		return uart->scr;
	default:
		metrics_inc(&uart->metrics->uart.missed_read_count);
		return 0xff;
	}
}

static void write_register(struct uart *uart, uint16_t offset, uint8_t value)
{
	bool dlab = (uart->lcr & UART_LCR_DLAB) != 0;

	switch (offset) {
	case UART_TX:
		if (dlab)
			uart->dll = value;
		else
			write_thr(uart, value);
		break;
	case UART_IER:
		if (dlab)
			uart->dlm = value;
		else
			write_ier(uart, value);
		break;
	case UART_FCR:
		write_fcr(uart, value);
		break;
	case UART_LCR:
		uart->lcr = value;
		break;
	case UART_MCR:
		write_mcr(uart, value);
		break;
	case UART_LSR:		/* read only; writing is for tests in the factory */
	case UART_MSR:
		break;
	case UART_SCR:
		uart->scr = value;
		break;
	default:
		metrics_inc(&uart->metrics->uart.missed_write_count);
		break;
	}
}

uint8_t uart_read(struct uart *uart, uint16_t offset)
{
	uint8_t value;

	pthread_mutex_lock(&uart->lock);
	value = read_register(uart, offset);
	if (offset != UART_LSR)		/* which takes causes away only, and has told the line */
		update_line(uart);
	pthread_mutex_unlock(&uart->lock);
	return value;
}

void uart_write(struct uart *uart, uint16_t offset, uint8_t value)
{
	pthread_mutex_lock(&uart->lock);
	write_register(uart, offset, value);
	update_line(uart);
	pthread_mutex_unlock(&uart->lock);
}

/* The host's end */

size_t uart_peek(struct uart *uart, const uint8_t **ret_data)
{
	size_t run;

	pthread_mutex_lock(&uart->lock);
	run = TX_BYTES - uart->tx_start;
	if (run > uart->tx_len)
		run = uart->tx_len;
	*ret_data = uart->tx + uart->tx_start;
	pthread_mutex_unlock(&uart->lock);
	return run;
}

void uart_consume(struct uart *uart, size_t len)
{
	bool was_empty;

	pthread_mutex_lock(&uart->lock);
	assert(len <= uart->tx_len);
	was_empty = thr_is_empty(uart);
	uart->tx_start = (uart->tx_start + (unsigned int)len) % TX_BYTES;
	uart->tx_len -= (unsigned int)len;
	if (uart->tx_len == 0)
		uart->tx_start = 0;	/* so that the next run is long */
	if (!was_empty && thr_is_empty(uart))
		uart->thr_due = true;
	update_line(uart);
	pthread_mutex_unlock(&uart->lock);
}

size_t uart_input(struct uart *uart, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t taken = 0;

	pthread_mutex_lock(&uart->lock);
	if (!(uart->mcr & UART_MCR_LOOP))
		while (taken < len && uart->rx_len < RX_BYTES)
			rx_put(uart, bytes[taken++]);
	uart->input_refused = taken < len;
	uart->input_wanted = false;
	update_line(uart);
	pthread_mutex_unlock(&uart->lock);
	return taken;
}

bool uart_take_input_wanted(struct uart *uart)
{
	bool wanted;

	pthread_mutex_lock(&uart->lock);
	wanted = uart->input_wanted;
	uart->input_wanted = false;
	pthread_mutex_unlock(&uart->lock);
	return wanted;
}

int uart_irq_fd(const struct uart *uart)
{
	return uart->irq_fd;
}

int uart_wake_fd(const struct uart *uart)
{
	return uart->wake_fd;
}

int uart_new(struct metrics *metrics, struct uart **ret_uart)
{
	struct uart *uart = calloc(1, sizeof(*uart));

	if (uart == NULL)
		return -ENOMEM;
	uart->metrics = metrics;
	pthread_mutex_init(&uart->lock, NULL);
	uart->dll = DIVISOR_9600;
	uart->irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uart->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (uart->irq_fd < 0 || uart->wake_fd < 0) {
		int r = -errno;

		uart_free(uart);
		return r;
	}
	*ret_uart = uart;
	return 0;
}

void uart_free(struct uart *uart)
{
	if (uart == NULL)
		return;
	fd_close(uart->wake_fd);
	fd_close(uart->irq_fd);
	pthread_mutex_destroy(&uart->lock);
	free(uart);
}
