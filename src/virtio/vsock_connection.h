/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream between a socket of the guest and a Unix socket of the host: what state it is in, what
 * each side may still send, and which packets the guest is to get. It watches nothing and lists
 * nothing: its owner tells it of events, and asks after each what it wants now.
 *
 * Threads: none here; the device's lock is held.
 */
#ifndef SQUIB_VIRTIO_VSOCK_CONNECTION_H
#define SQUIB_VIRTIO_VSOCK_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/log.h"
#include "base/metrics.h"
#include "virtio/queue.h"
#include "virtio/vsock_buffer.h"
#include "virtio/vsock_packet.h"
#include "virtio/vsock_table.h"

enum vsock_state {
	VSOCK_GREETING,		/* of the host; which port it wants is to be read from the socket */
	VSOCK_REQUESTED,	/* of the host: the guest is being asked for that port */
	VSOCK_DIALING,		/* of the guest; the host's listener has no room for it yet */
	VSOCK_ACCEPTED,		/* of the guest, and connected: it is to be told so */
	VSOCK_ESTABLISHED,	/* data flows, in the directions that nobody has shut down */
	VSOCK_DEAD,		/* the socket is of no use any more, the guest is to get an RST */
	VSOCK_GONE,		/* nobody has to be told anything: the owner removes it */
};

struct vsock_connection {
	enum vsock_state state;
	int fd;
	struct vsock_ports ports;	/* known from VSOCK_GREETING's end on */
	uint64_t deadline_ns;		/* when it is killed, unless the guest answers; 0: never */

	uint8_t pending;	/* packets for the guest */
	uint8_t local_shutdown;	/* VIRTIO_VSOCK_SHUTDOWN_* that the guest was, or is to be, told */
	uint8_t peer_shutdown;	/* that the guest told */
	bool readable;		/* the socket was not seen empty since it was ready */
	bool hung_up;		/* the host's side is closed; there may be data left to read */
	bool credit_requested;	/* and not got yet */

	/* Counts of bytes, modulo 2^32 (5.10.6.3). */
	uint32_t fwd_cnt;	/* the socket took of the guest's */
	uint32_t told_fwd_cnt;	/* what the guest was told of it */
	uint32_t rx_cnt;	/* the guest was sent */
	uint32_t peer_fwd_cnt;	/* what the guest told of that */
	uint32_t peer_buf_alloc;

	struct vsock_buffer buffer;	/* the guest's data, that the socket did not take */
	struct metrics_vsock *counters;
	struct log *log;
};

/** vsock_connection_init() - in VSOCK_GREETING; takes @fd */
void vsock_connection_init(struct vsock_connection *connection, int fd,
			   struct metrics_vsock *counters, struct log *log);
void vsock_connection_done(struct vsock_connection *connection);

/** vsock_connection_close_socket() - nobody may watch it any more; can be repeated */
void vsock_connection_close_socket(struct vsock_connection *connection);

/** vsock_connection_request() - out of VSOCK_GREETING: ask the guest */
void vsock_connection_request(struct vsock_connection *connection, struct vsock_ports ports,
			      uint64_t now_ns);
/** vsock_connection_dial() - out of VSOCK_GREETING too: @request is the guest's, for these ports */
void vsock_connection_dial(struct vsock_connection *connection, struct vsock_ports ports,
			   const struct vsock_header *request, uint64_t now_ns);
/** vsock_connection_dialed() - it is connected, out of VSOCK_DIALING */
void vsock_connection_dialed(struct vsock_connection *connection);

/** vsock_connection_kill() - give up, and have the guest told if it knows of it */
void vsock_connection_kill(struct vsock_connection *connection);

/** vsock_connection_receive() - a packet of the guest for these ports, any but RST */
void vsock_connection_receive(struct vsock_connection *connection,
			      const struct vsock_header *header, const struct vq_chain *chain,
			      struct iovec scratch[VQ_SIZE_MAX], uint64_t now_ns);

/** vsock_connection_has_packet() - would vsock_connection_send() make a packet? It may still be none */
bool vsock_connection_has_packet(const struct vsock_connection *connection);

/**
 * vsock_connection_send() - make a packet for the guest
 * @header: all but CIDs is filled when true is returned
 * @room: @count buffers for data, together at least 1 byte
 */
bool vsock_connection_send(struct vsock_connection *connection, struct vsock_header *header,
			   const struct iovec *room, size_t count, uint64_t now_ns);

/** vsock_connection_wants() - watch the socket, and for what (@ret_events, may be 0: hang-up)? */
bool vsock_connection_wants(const struct vsock_connection *connection, uint32_t *ret_events);
/** vsock_connection_ready() - EPOLL* @events of the socket */
void vsock_connection_ready(struct vsock_connection *connection, uint32_t events, uint64_t now_ns);

#endif
