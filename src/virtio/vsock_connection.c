/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data of the guest goes from its buffers into the socket, and what the socket does not take is
 * copied into ours, of which the guest knows how much is free; so there is always room, or the guest
 * broke the rules. Data of the host goes from the socket into the guest's buffers, as much as the
 * guest has said it has room for; the rest stays in the socket, and the host's side waits.
 *
 * Each direction can be shut down by its end alone. The host shuts down its sending: we read an end
 * of file and tell the guest SHUTDOWN_SEND. It closes the socket, or its receiving: what we write
 * fails, and the guest is told SHUTDOWN_RCV. The guest shuts down its sending or receiving: so do we
 * with the socket, once what it sent before has been written. When the guest is done with both, an
 * RST ends it, and when the host is, the guest answers with one (5.10.6.5); a deadline does where
 * this takes long.
 */
#include "virtio/vsock_connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"

#define TIMEOUT_NS UINT64_C(2000000000)	/* of requests and of shutdowns (contract, section 10) */

/* The guest learns of room before it has none left, so that it need not stand still. */
#define CREDIT_UPDATE_BYTES (VSOCK_BUFFER_BYTES / 2)

#define PENDING_REQUEST	      1u
#define PENDING_RESPONSE      2u
#define PENDING_SHUTDOWN      4u
#define PENDING_CREDIT_UPDATE 8u

void vsock_connection_init(struct vsock_connection *connection, int fd,
			   struct metrics_vsock *counters, struct log *log)
{
	*connection = (struct vsock_connection){
		.state = VSOCK_GREETING, .fd = fd, .counters = counters, .log = log,
	};
}

void vsock_connection_close_socket(struct vsock_connection *connection)
{
	fd_close(fd_take(&connection->fd));
	vsock_buffer_done(&connection->buffer);
}

void vsock_connection_done(struct vsock_connection *connection)
{
	vsock_connection_close_socket(connection);
}

void vsock_connection_request(struct vsock_connection *connection, struct vsock_ports ports,
			      uint64_t now_ns)
{
	connection->state = VSOCK_REQUESTED;
	connection->ports = ports;
	connection->pending = PENDING_REQUEST;
	connection->deadline_ns = now_ns + TIMEOUT_NS;
}

void vsock_connection_dial(struct vsock_connection *connection, struct vsock_ports ports,
			   const struct vsock_header *request, uint64_t now_ns)
{
	connection->state = VSOCK_DIALING;
	connection->ports = ports;
	connection->peer_buf_alloc = request->buf_alloc;
	connection->deadline_ns = now_ns + TIMEOUT_NS;
}

void vsock_connection_dialed(struct vsock_connection *connection)
{
	connection->state = VSOCK_ACCEPTED;
	connection->pending = PENDING_RESPONSE;
	connection->deadline_ns = 0;
}

void vsock_connection_kill(struct vsock_connection *connection)
{
	bool unknown = connection->state == VSOCK_GREETING || connection->state == VSOCK_GONE ||
		       (connection->pending & PENDING_REQUEST) != 0;

	connection->state = unknown ? VSOCK_GONE : VSOCK_DEAD;
	connection->pending = 0;
	connection->deadline_ns = 0;
}

/* --- what may flow */

static bool guest_sends(const struct vsock_connection *connection)
{
	return connection->state == VSOCK_ESTABLISHED &&
	       (connection->peer_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0 &&
	       (connection->local_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) == 0;
}

static bool host_sends(const struct vsock_connection *connection)
{
	return connection->state == VSOCK_ESTABLISHED &&
	       (connection->peer_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) == 0 &&
	       (connection->local_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0;
}

/* What the guest has room for, if what it says makes sense. */
static uint32_t credit_of(const struct vsock_connection *connection)
{
	uint32_t on_the_way = connection->rx_cnt - connection->peer_fwd_cnt;

	return on_the_way < connection->peer_buf_alloc ? connection->peer_buf_alloc - on_the_way :
							 0;
}

static void shut_down_locally(struct vsock_connection *connection, uint8_t flags, uint64_t now_ns)
{
	if ((connection->local_shutdown | flags) == connection->local_shutdown)
		return;
	connection->local_shutdown |= flags;
	connection->pending |= PENDING_SHUTDOWN;
	if (connection->local_shutdown == VSOCK_SHUTDOWN_BOTH)
		connection->deadline_ns = now_ns + TIMEOUT_NS;
}

/* --- from the guest to the socket */

static void count_forwarded(struct vsock_connection *connection, size_t bytes)
{
	connection->fwd_cnt += (uint32_t)bytes;
	metrics_add(&connection->counters->tx_bytes_count, bytes);
	if (connection->fwd_cnt - connection->told_fwd_cnt >= CREDIT_UPDATE_BYTES)
		connection->pending |= PENDING_CREDIT_UPDATE;
}

/* All that the guest sent is in the socket: do what had to wait for that. */
static void finish_sending(struct vsock_connection *connection)
{
	if (connection->peer_shutdown == VSOCK_SHUTDOWN_BOTH)
		vsock_connection_kill(connection);
	else if ((connection->peer_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0)
		shutdown(connection->fd, SHUT_WR);
}

/* The host does not receive any more. By @flags it may still send, or not. */
static void stop_receiving(struct vsock_connection *connection, uint8_t flags, uint64_t now_ns)
{
	vsock_buffer_done(&connection->buffer);
	if (connection->peer_shutdown == VSOCK_SHUTDOWN_BOTH)
		vsock_connection_kill(connection);
	else
		shut_down_locally(connection, flags, now_ns);
}

static void write_failed(struct vsock_connection *connection, int error, uint64_t now_ns)
{
	char text[OS_ERROR_MAX];

	log_limited_warn(connection->log, "vsock: cannot write to the host's socket of port %u: %s",
			 connection->ports.local, os_error(error, text));
	if (error == -EPIPE || error == -ECONNRESET)
		stop_receiving(connection, VIRTIO_VSOCK_SHUTDOWN_RCV, now_ns);
	else
		vsock_connection_kill(connection);
}

static void keep(struct vsock_connection *connection, const struct vq_chain *chain, uint32_t offset,
		 uint32_t len)
{
	int r = vsock_buffer_append(&connection->buffer, chain, offset, len);
	char text[OS_ERROR_MAX];

	if (r == 0)
		return;
	log_limited_warn(connection->log, "vsock: port %u of the guest sent more than it may: %s",
			 connection->ports.peer, os_error(r, text));
	vsock_connection_kill(connection);
}

static void receive_data(struct vsock_connection *connection, const struct vsock_header *header,
			 const struct vq_chain *chain, struct iovec *scratch, uint64_t now_ns)
{
	struct msghdr message = { .msg_iov = scratch };
	ssize_t n = 0;

	if (connection->buffer.len == 0) {
		message.msg_iovlen = vq_segments_slice(vq_chain_readable(chain),
						       chain->readable_count, VSOCK_HEADER_BYTES,
						       header->len, scratch);
		n = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			metrics_inc(&connection->counters->tx_write_fails);
			write_failed(connection, -errno, now_ns);
			return;
		}
		if (n < 0)
			n = 0;
		count_forwarded(connection, (size_t)n);
	}
	if ((uint32_t)n < header->len)
		keep(connection, chain, VSOCK_HEADER_BYTES + (uint32_t)n,
		     header->len - (uint32_t)n);
}

static void flush(struct vsock_connection *connection, uint64_t now_ns)
{
	ssize_t n;

	if (connection->buffer.len == 0) {
		metrics_inc(&connection->counters->conn_event_fails);
		return;
	}
	n = vsock_buffer_send(&connection->buffer, connection->fd);
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		metrics_inc(&connection->counters->tx_flush_fails);
		write_failed(connection, (int)n, now_ns);
		return;
	}
	count_forwarded(connection, (size_t)n);
	if (connection->buffer.len == 0)
		finish_sending(connection);
}

static void receive_shutdown(struct vsock_connection *connection, uint32_t flags, uint64_t now_ns)
{
	uint8_t before = connection->peer_shutdown, added;

	connection->peer_shutdown |= flags & VSOCK_SHUTDOWN_BOTH;
	added = connection->peer_shutdown & (uint8_t)~before;
	if (added == 0)
		return;
	if ((added & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0) {
		connection->readable = false;
		shutdown(connection->fd, SHUT_RD);
	}
	if (connection->buffer.len == 0)
		finish_sending(connection);
	else if (connection->peer_shutdown == VSOCK_SHUTDOWN_BOTH)
		connection->deadline_ns = now_ns + TIMEOUT_NS;
}

static void receive_response(struct vsock_connection *connection)
{
	char text[sizeof("OK 4294967295\n")];
	int len = snprintf(text, sizeof(text), "OK %u\n", connection->ports.local);

	connection->state = VSOCK_ESTABLISHED;
	connection->deadline_ns = 0;
	if (send(connection->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
		vsock_connection_kill(connection);
}

void vsock_connection_receive(struct vsock_connection *connection,
			      const struct vsock_header *header, const struct vq_chain *chain,
			      struct iovec scratch[VQ_SIZE_MAX], uint64_t now_ns)
{
	metrics_inc(&connection->counters->tx_packets_count);
	connection->peer_buf_alloc = header->buf_alloc;
	connection->peer_fwd_cnt = header->fwd_cnt;
	if (credit_of(connection) > 0)
		connection->credit_requested = false;
	switch (header->op) {
	case VIRTIO_VSOCK_OP_RW:
		if (guest_sends(connection) && header->len > 0)
			receive_data(connection, header, chain, scratch, now_ns);
		break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (connection->state == VSOCK_REQUESTED && connection->pending == 0)
			receive_response(connection);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		if (connection->state == VSOCK_ESTABLISHED)
			receive_shutdown(connection, header->flags, now_ns);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (connection->state == VSOCK_ESTABLISHED)
			connection->pending |= PENDING_CREDIT_UPDATE;
		break;
	default:	/* a credit update has said all it has to; others are not for this state */
		break;
	}
}

/* --- from the socket to the guest */

/* Is there a use in looking at the socket now? The guest is asked for credit once. */
static bool may_send_data(const struct vsock_connection *connection)
{
	return connection->readable && host_sends(connection) &&
	       (credit_of(connection) > 0 || !connection->credit_requested);
}

bool vsock_connection_has_packet(const struct vsock_connection *connection)
{
	return connection->state == VSOCK_DEAD || connection->pending != 0 ||
	       may_send_data(connection);
}

static uint32_t bytes_in(const struct iovec *segments, size_t count)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < count && bytes < VSOCK_DATA_BYTES_MAX; i++)
		bytes += segments[i].iov_len;
	return bytes < VSOCK_DATA_BYTES_MAX ? (uint32_t)bytes : VSOCK_DATA_BYTES_MAX;
}

/* As much as @room and the guest's credit allow: bytes, or -errno. */
static ssize_t read_socket(struct vsock_connection *connection, const struct iovec *room,
			   size_t count)
{
	struct iovec parts[VQ_SIZE_MAX];
	uint32_t want = bytes_in(room, count), credit = credit_of(connection);
	ssize_t n;

	if (want > credit)
		want = credit;
	n = readv(connection->fd, parts, (int)vq_segments_slice(room, count, 0, want, parts));
	if (n < 0)
		return -errno;
	/* A hang-up is not told twice, so from then on it is read until there is an end of file. */
	connection->readable = (uint32_t)n == want || connection->hung_up;
	return n;
}

static void read_failed(struct vsock_connection *connection, int error)
{
	char text[OS_ERROR_MAX];

	metrics_inc(&connection->counters->rx_read_fails);
	log_limited_warn(connection->log, "vsock: cannot read the host's socket of port %u: %s",
			 connection->ports.local, os_error(error, text));
	vsock_connection_kill(connection);
}

static bool is_hung_up(int fd)
{
	struct pollfd poll_socket = { .fd = fd };

	return poll(&poll_socket, 1, 0) > 0;
}

static void reach_end_of_file(struct vsock_connection *connection, uint64_t now_ns)
{
	connection->readable = false;
	/* One packet instead of two where the host closed its socket and the event is yet to come. */
	connection->hung_up = connection->hung_up || is_hung_up(connection->fd);
	if (connection->hung_up)
		stop_receiving(connection, VSOCK_SHUTDOWN_BOTH, now_ns);
	else
		shut_down_locally(connection, VIRTIO_VSOCK_SHUTDOWN_SEND, now_ns);
}

/* A packet with data, or one that asks for credit; false: neither, for whatever reason. */
static bool send_data(struct vsock_connection *connection, struct vsock_header *header,
		      const struct iovec *room, size_t count, uint64_t now_ns)
{
	ssize_t n;

	if (credit_of(connection) == 0) {
		connection->credit_requested = true;
		header->op = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
		return true;
	}
	n = read_socket(connection, room, count);
	if (n > 0) {
		header->op = VIRTIO_VSOCK_OP_RW;
		header->len = (uint32_t)n;
		connection->rx_cnt += (uint32_t)n;
		metrics_add(&connection->counters->rx_bytes_count, (uint64_t)n);
		return true;
	}
	if (n == 0)
		reach_end_of_file(connection, now_ns);
	else if (n == -EAGAIN)
		connection->readable = false;
	else
		read_failed(connection, (int)n);
	return false;
}

static bool take_pending(struct vsock_connection *connection, uint8_t packet)
{
	bool was = (connection->pending & packet) != 0;

	connection->pending &= (uint8_t)~packet;
	return was;
}

static bool choose_packet(struct vsock_connection *connection, struct vsock_header *header,
			  const struct iovec *room, size_t count, uint64_t now_ns)
{
	if (take_pending(connection, PENDING_REQUEST)) {
		header->op = VIRTIO_VSOCK_OP_REQUEST;
		return true;
	}
	if (take_pending(connection, PENDING_RESPONSE)) {
		header->op = VIRTIO_VSOCK_OP_RESPONSE;
		connection->state = VSOCK_ESTABLISHED;
		return true;
	}
	/* Data comes ahead of an end of data. */
	if (may_send_data(connection) && send_data(connection, header, room, count, now_ns))
		return true;
	if (connection->state == VSOCK_DEAD) {
		header->op = VIRTIO_VSOCK_OP_RST;
		connection->state = VSOCK_GONE;
		return true;
	}
	if (take_pending(connection, PENDING_SHUTDOWN)) {
		header->op = VIRTIO_VSOCK_OP_SHUTDOWN;
		header->flags = connection->local_shutdown;
		return true;
	}
	header->op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	return take_pending(connection, PENDING_CREDIT_UPDATE);
}

bool vsock_connection_send(struct vsock_connection *connection, struct vsock_header *header,
			   const struct iovec *room, size_t count, uint64_t now_ns)
{
	*header = (struct vsock_header){ .type = VIRTIO_VSOCK_TYPE_STREAM };
	if (!choose_packet(connection, header, room, count, now_ns))
		return false;
	header->src_port = connection->ports.local;
	header->dst_port = connection->ports.peer;
	header->buf_alloc = VSOCK_BUFFER_BYTES;
	header->fwd_cnt = connection->told_fwd_cnt = connection->fwd_cnt;
	take_pending(connection, PENDING_CREDIT_UPDATE);	/* every packet is one */
	metrics_inc(&connection->counters->rx_packets_count);
	return true;
}

/* --- the socket's events */

bool vsock_connection_wants(const struct vsock_connection *connection, uint32_t *ret_events)
{
	*ret_events = 0;
	switch (connection->state) {
	case VSOCK_GREETING:
		*ret_events = EPOLLIN;
		return true;
	case VSOCK_REQUESTED:
	case VSOCK_ACCEPTED:
		return true;
	case VSOCK_ESTABLISHED:
		if (host_sends(connection) && !connection->readable)
			*ret_events |= EPOLLIN;
		if (connection->buffer.len > 0)
			*ret_events |= EPOLLOUT;
		return !connection->hung_up;	/* what else there is to know, reading tells */
	default:
		return false;
	}
}

static void hang_up(struct vsock_connection *connection, uint64_t now_ns)
{
	if (connection->state != VSOCK_ESTABLISHED) {
		vsock_connection_kill(connection);
		return;
	}
	connection->hung_up = true;
	connection->readable = host_sends(connection);	/* until an end of file */
	stop_receiving(connection, connection->readable ? VIRTIO_VSOCK_SHUTDOWN_RCV :
							  VSOCK_SHUTDOWN_BOTH, now_ns);
}

void vsock_connection_ready(struct vsock_connection *connection, uint32_t events, uint64_t now_ns)
{
	if ((events & EPOLLIN) != 0 && host_sends(connection))
		connection->readable = true;
	if ((events & EPOLLOUT) != 0)
		flush(connection, now_ns);
	if ((events & (EPOLLHUP | EPOLLERR)) != 0)
		hang_up(connection, now_ns);
}
