/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vsock device: vsock.c is the side of the guest (queues, what the transport calls), vsock_host.c
 * the side of the host (sockets, timers, which stream has something to say).
 *
 * Threads: the loop's, with the device's lock held, but for vsock_host_drop_all() and
 * vsock_host_wake(), which any thread that holds the lock may call.
 */
#ifndef SQUIB_VIRTIO_VSOCK_INTERNAL_H
#define SQUIB_VIRTIO_VSOCK_INTERNAL_H

#include "base/list.h"
#include "base/loop.h"
#include "virtio/device.h"
#include "virtio/vsock.h"
#include "virtio/vsock_connection.h"
#include "virtio/vsock_table.h"

#define VSOCK_STREAMS_MAX 1023u		/* contract, section 10; those that have yet to CONNECT too */
#define VSOCK_RSTS_MAX	  256u

struct vsock_stream {
	struct vsock_connection connection;
	struct vsock_entry entry;	/* in the table unless the state is VSOCK_GREETING */
	struct vsock *vsock;
	struct loop_source source;
	bool watched;
	bool dropped;
	uint64_t listed_deadline_ns;	/* by which it is in the list; 0: it is not */
	struct list in_all;		/* streams, or dropped */
	struct list in_ready;
	struct list in_deadlines;
	struct list in_dialing;
};

/* Packets that belong to no stream. */
struct vsock_rsts {
	struct vsock_ports ports[VSOCK_RSTS_MAX];
	unsigned int first;
	unsigned int count;
};

struct vsock {
	struct virtio_device device;
	struct loop *loop;
	struct log *log;
	struct metrics_vsock *counters;
	uint64_t guest_cid;

	/* vsock.c: */
	struct vsock_rsts rsts;
	bool tx_stalled;		/* until there is room for RSTs again */
	bool kicked_itself[2];		/* the next kick of that queue is not the driver's */
	struct vq_chain chain;		/* too large for the stack of a round */
	struct iovec scratch[VQ_SIZE_MAX];

	/* vsock_host.c: */
	bool paused;
	uint64_t paused_ns;		/* since when */
	char *uds_path;
	struct loop_source listener;
	bool listening;			/* the listener is watched */
	uint64_t listen_ns;		/* not before; there were no descriptors left */
	uint64_t dial_ns;		/* when to try those that are dialing again */
	struct loop_timer timer;
	uint64_t timer_ns;		/* what it is set to; 0: not */
	uint32_t last_port;
	unsigned int stream_count;
	struct vsock_table table;
	struct list streams;		/* all that count */
	struct list ready;		/* those with a packet, in the order of their turns */
	struct list deadlines;		/* the next one first: all have the same time-out */
	struct list dialing;
	struct list dropped;		/* to be closed and freed, in the loop */
};

/* --- vsock.c */

/** vsock_serve_rx() - give the guest what packets there are, as far as it has room */
void vsock_serve_rx(struct vsock *vsock);

/* --- vsock_host.c */

int vsock_host_init(struct vsock *vsock, const struct vsock_params *params);
void vsock_host_done(struct vsock *vsock);

/** vsock_host_wake() - have the loop look at what there is to do, soon */
void vsock_host_wake(struct vsock *vsock);
/** vsock_host_drop_all() - no streams any more; their sockets are closed in the loop, soon */
void vsock_host_drop_all(struct vsock *vsock);
/** vsock_host_pause() / vsock_host_resume() - watch nothing, and go on */
void vsock_host_pause(struct vsock *vsock);
void vsock_host_resume(struct vsock *vsock);

struct vsock_stream *vsock_host_find(const struct vsock *vsock, struct vsock_ports ports);
/** vsock_host_dial() - the guest asks for a port of the host; false: it cannot have it */
bool vsock_host_dial(struct vsock *vsock, const struct vsock_header *request);
/** vsock_host_settle() - after anything has happened to a stream. It may drop it, not free it yet */
void vsock_host_settle(struct vsock_stream *stream);
/** vsock_host_remove() - drop it without a word to the guest */
void vsock_host_remove(struct vsock_stream *stream);
/** vsock_host_leave() - the last thing before the lock is given up in the loop */
void vsock_host_leave(struct vsock *vsock);

#endif
