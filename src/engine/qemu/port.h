/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our end of the guest's serial port: a socket whose other end QEMU holds. QEMU takes a byte when
 * the guest's receiver has room, and holds the guest's transmitter back while the socket is full, so
 * the socket's two buffers are the flow control, and nothing is lost.
 */
#ifndef SQUIB_ENGINE_QEMU_PORT_H
#define SQUIB_ENGINE_QEMU_PORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "engine/engine.h"

#define PORT_BUFFER_BYTES 16384

struct port {
	struct loop *loop;
	struct engine_listener *listener;
	/*
	 * The stream has ended and the listener took everything. May be called from within
	 * port_output_ready().
	 */
	void (*drained)(struct port *port);
	struct loop_source source;	/* its fd is owned; -1: closed */
	bool watched;
	bool ended;			/* end of stream seen */
	bool input_full;		/* owes the listener a serial_input_ready() */
	size_t start, len;		/* output that the listener did not take yet */
	char data[PORT_BUFFER_BYTES];
};

/** port_open() - @ret_peer_fd is QEMU's end, to be closed by the caller; 0 or -errno */
int port_open(struct port *port, struct loop *loop, struct engine_listener *listener,
	      void (*drained)(struct port *port), int *ret_peer_fd);
/** port_watch() - begin to move bytes; 0 or -errno */
int port_watch(struct port *port);
void port_close(struct port *port);	/* also when it was never opened, if its fd is -1 */

size_t port_input(struct port *port, const void *data, size_t len);
void port_output_ready(struct port *port);

#endif
