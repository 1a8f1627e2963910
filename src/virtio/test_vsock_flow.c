/* SPDX-License-Identifier: Apache-2.0 */
/* How data flows when either side is slow, and what happens at the limits. */
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "virtio/test_vsock_guest.h"

#define STREAMS_MAX 1023u

static struct guest_packet packet;	/* what was taken last; too large for a stack */
static uint8_t block[VSOCK_DATA_BYTES_MAX];

static uint64_t count_of(const struct metric_count *count)
{
	return count->value;
}

static void start(struct guest *guest)
{
	guest_init(guest);
	guest_start(guest, 3, 64);
}

/* What byte @at of stream @id is. */
static uint8_t byte_of(uint32_t id, uint64_t at)
{
	return (uint8_t)(at * 167 + (at >> 8) * 13 + (at >> 16) + id * 7);
}

static void fill(uint8_t *data, size_t len, uint32_t id, uint64_t at)
{
	for (size_t i = 0; i < len; i++)
		data[i] = byte_of(id, at + i);
}

static void check(const uint8_t *data, size_t len, uint32_t id, uint64_t at)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != byte_of(id, at + i))
			fail_msg("stream %u, byte %llu", id, (unsigned long long)(at + i));
}

/* --- a slow host */

/* Sends data of stream 1 until the socket takes no more; how much it took. */
static uint32_t fill_socket(struct guest *guest, uint32_t port)
{
	uint64_t before;
	uint32_t sent = 0;

	do {
		before = count_of(&guest->counters->tx_bytes_count);
		fill(block, 1024, 1, sent);
		guest_send(guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, block, 1024);
		sent += 1024;
	} while (count_of(&guest->counters->tx_bytes_count) == before + 1024);
	assert_true(sent < 4u << 20);
	return sent;
}

static void the_host_reads_late_and_all_of_it(void **state)
{
	struct guest guest;
	uint32_t port, sent, taken, got = 0, fwd_cnt = 0;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	sent = fill_socket(&guest, port);
	taken = (uint32_t)count_of(&guest.counters->tx_bytes_count);
	while (sent - taken < 65536) {	/* up to the last byte of the credit */
		uint32_t len = 65536 - (sent - taken) < 1000 ? 65536 - (sent - taken) : 1000;

		fill(block, len, 1, sent);
		guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, block, len);
		sent += len;
	}
	assert_int_equal(count_of(&guest.counters->tx_bytes_count), taken);
	while (guest_take(&guest, &packet)) {
		assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		assert_true(packet.header.fwd_cnt > fwd_cnt);
		fwd_cnt = packet.header.fwd_cnt;
	}
	assert_true(taken - fwd_cnt < 32768);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH, 0, NULL, 0);
	guest_expect_nothing(&guest);
	while (got < sent) {
		ssize_t n = read(fd, block, sizeof(block));

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			driver_run(&guest.driver);
			continue;
		}
		assert_true(n > 0);
		check(block, (size_t)n, 1, got);
		got += (uint32_t)n;
	}
	driver_run(&guest.driver);
	assert_true(host_is_closed(fd));
	while (guest_take(&guest, &packet) && packet.header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
		;
	assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(count_of(&guest.counters->tx_bytes_count), sent);
	assert_int_equal(count_of(&guest.counters->conns_killed), 0);
	fd_close(fd);
	guest_done(&guest);
}

static void one_byte_too_many_is_a_reset(void **state)
{
	struct guest guest;
	uint32_t port, sent;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	sent = fill_socket(&guest, port);
	sent -= (uint32_t)count_of(&guest.counters->tx_bytes_count);	/* in the device's buffer */
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, block, 65536 - sent);
	while (guest_take(&guest, &packet))
		assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, block, 1);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	assert_int_equal(count_of(&guest.counters->conns_removed), 1);
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_done(&guest);
}

static void a_host_that_goes_away_with_data_to_come_is_told(void **state)
{
	struct guest guest;
	uint32_t port;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	fill_socket(&guest, port);
	while (guest_take(&guest, &packet))
		assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	fd_close(fd);	/* with unread data: a reset */
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	guest_expect_nothing(&guest);
	guest_done(&guest);
}

static void a_shutdown_that_cannot_be_written_out_is_cut_off(void **state)
{
	struct guest guest;
	uint32_t port;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	fill_socket(&guest, port);
	while (guest_take(&guest, &packet))
		;
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH, 0, NULL, 0);
	guest_wait(&guest, &packet);
	assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(count_of(&guest.counters->conns_killed), 1);
	fd_close(fd);
	guest_done(&guest);
}

/* --- a slow guest */

static void the_guest_is_sent_what_it_has_room_for(void **state)
{
	struct guest guest;
	uint32_t port, got;
	int fd;

	(void)state;
	start(&guest);
	guest.buf_alloc = 10000;
	fd = open_from_host(&guest, 1, &port);
	fill(block, 30000, 1, 0);
	host_write(fd, block, 30000);
	driver_run(&guest.driver);
	for (got = 0; got < 10000; got += packet.header.len) {
		guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
		check(packet.data, packet.header.len, 1, got);
	}
	assert_int_equal(got, 10000);
	guest_expect(&guest, VIRTIO_VSOCK_OP_CREDIT_REQUEST, &packet);
	guest_expect_nothing(&guest);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0, NULL, 0);
	guest_expect_nothing(&guest);	/* no news */
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 1, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
	assert_int_equal(packet.header.len, 1);
	guest_expect(&guest, VIRTIO_VSOCK_OP_CREDIT_REQUEST, &packet);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 20000, NULL, 0);
	guest_expect_nothing(&guest);	/* it has not had so many */
	guest.buf_alloc = 5;		/* less than is on the way */
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 9000, NULL, 0);
	guest_expect_nothing(&guest);
	guest.buf_alloc = UINT32_MAX;
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 10001, NULL, 0);
	for (got = 10001; got < 30000; got += packet.header.len) {
		guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
		check(packet.data, packet.header.len, 1, got);
	}
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_done(&guest);
}

/* driver_run() does not end while a socket is ready that is watched. */
static void a_guest_without_buffers_costs_nothing(void **state)
{
	struct guest guest;
	uint32_t port, got = 0;
	int fds[3];

	(void)state;
	start(&guest);
	fds[0] = open_from_host(&guest, 1, &port);
	guest.refill = false;
	while (guest_take(&guest, &packet))
		;
	fill(block, 50000, 1, 0);
	for (unsigned int i = 0; i < 6; i++) {
		host_write(fds[0], block, 50000);
		driver_run(&guest.driver);
	}
	fds[1] = host_connect(&guest);
	host_write(fds[1], "CONNECT 77\n", 11);
	fds[2] = host_connect(&guest);
	driver_run(&guest.driver);
	fd_close(fds[0]);
	driver_run(&guest.driver);
	while (guest_take(&guest, &packet)) {
		if (packet.header.op != VIRTIO_VSOCK_OP_RW)
			continue;
		check(packet.data, packet.header.len, 1, got % 50000);
		got += packet.header.len;
	}
	assert_true(got > 0 && got < 300000);
	guest.refill = true;
	guest.buf_alloc = UINT32_MAX;
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, got, NULL, 0);
	guest_add_buffers(&guest, 10);
	do {
		guest_wait(&guest, &packet);
		if (packet.header.op != VIRTIO_VSOCK_OP_RW)
			continue;
		got += packet.header.len;
	} while (packet.header.op != VIRTIO_VSOCK_OP_SHUTDOWN ||
		 packet.header.flags != VSOCK_SHUTDOWN_BOTH);
	assert_int_equal(got, 300000);
	fd_close(fds[1]);
	fd_close(fds[2]);
	guest_done(&guest);
}

static void put_buffer(struct guest *guest, uint32_t len)
{
	struct guest_ring *ring = &guest->rings[0];
	struct virtq_desc *desc = (struct virtq_desc *)(guest->driver.ram + ring->gpa) +
				  ring->next_desc;

	guest_add_buffers(guest, 1);
	desc->len = len;
}

static void buffers_without_room_for_data_are_given_back(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 3, 0);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 77\n", 11);
	driver_run(&guest.driver);
	put_buffer(&guest, 43);
	put_buffer(&guest, 44);
	put_buffer(&guest, 45);
	driver_run(&guest.driver);
	assert_int_equal(guest_used(&guest, 0), 3);
	guest.rings[0].next_used = 2;
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	fd_close(fd);
	guest_done(&guest);
}

static void one_interrupt_tells_of_a_batch(void **state)
{
	struct guest guest;
	uint32_t port;
	uint64_t before;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	before = guest.driver.metrics->interrupts.triggers.value;
	host_write(fd, block, 60000);
	assert_int_equal(loop_run_once(guest.driver.loop, 0), 0);
	assert_int_equal(guest.driver.metrics->interrupts.triggers.value, before + 1);
	for (unsigned int i = 0; i < 15; i++)
		guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
	fd_close(fd);
	guest_done(&guest);
}

static void streams_take_turns(void **state)
{
	struct guest guest;
	uint32_t ports[3], order[9];
	int fds[3];

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 3, 3);
	for (uint32_t i = 0; i < 3; i++)
		fds[i] = open_from_host(&guest, 1 + i, &ports[i]);
	guest.refill = false;
	for (uint32_t i = 0; i < 3; i++)
		host_write(fds[i], block, 60000);
	driver_run(&guest.driver);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(guest_take(&guest, &packet));
	guest_add_buffers(&guest, 9);
	driver_run(&guest.driver);
	for (unsigned int i = 0; i < 9; i++) {
		assert_true(guest_take(&guest, &packet));
		order[i] = packet.header.src_port;
		assert_true(i < 3 || order[i] == order[i - 3]);
	}
	assert_true(order[0] != order[1] && order[1] != order[2] && order[2] != order[0]);
	for (uint32_t i = 0; i < 3; i++)
		fd_close(fds[i]);
	guest_done(&guest);
}

static void a_round_leaves_the_loop_to_others(void **state)
{
	struct vsock_header header = { .src_cid = GUEST_CID, .dst_cid = 2, .type = 1,
				       .op = VIRTIO_VSOCK_OP_RW, .len = VSOCK_DATA_BYTES_MAX };
	struct guest guest;
	uint32_t port;
	int fds[6];

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 3, 6);
	for (uint32_t i = 0; i < 6; i++)
		fds[i] = open_from_host(&guest, 1 + i, &port);
	guest.refill = false;
	for (uint32_t i = 0; i < 6; i++) {
		for (unsigned int j = 0; j < 4; j++)
			host_write(fds[i], block, 50000);
		driver_run(&guest.driver);
	}
	while (guest_take(&guest, &packet))
		;
	guest_add_buffers(&guest, GUEST_RING);
	assert_int_equal(loop_run_once(guest.driver.loop, 0), 0);
	for (unsigned int i = 0; i < GUEST_RING; i++)
		assert_true(guest_take(&guest, &packet));
	guest_add_buffers(&guest, GUEST_RING);
	driver_run(&guest.driver);
	assert_int_equal(count_of(&guest.counters->rx_queue_event_count), 1);	/* the second in one with its own */
	for (unsigned int i = 0; i < GUEST_TX_SLOTS; i++)	/* 1 MiB, for nobody */
		guest_put(&guest, &header, block, sizeof(block));
	guest_kick(&guest, 1);
	assert_int_equal(loop_run_once(guest.driver.loop, 0), 0);
	assert_int_equal(guest_used(&guest, 1) - 6, GUEST_TX_SLOTS);
	header.len = 0;
	guest_put(&guest, &header, NULL, 0);	/* without a kick: the device has kicked itself */
	driver_run(&guest.driver);
	assert_int_equal(guest_used(&guest, 1) - 6, GUEST_TX_SLOTS + 1);
	assert_int_equal(count_of(&guest.counters->tx_queue_event_count), 7);
	for (uint32_t i = 0; i < 6; i++)
		fd_close(fds[i]);
	guest_done(&guest);
}

/* --- much data, both ways, by many */

#define ECHO_STREAMS 24u
#define ECHO_BYTES   (1500000u)
#define ECHO_ROOM    65536u	/* what the guest says it has room for */

/* The guest's end of a stream, which sends back what it is sent. */
struct echo {
	int fd;
	uint32_t port;
	uint64_t written, read;		/* of the host's side */
	uint8_t data[ECHO_ROOM];	/* of the guest: received, not sent back */
	uint32_t first, len;
	uint32_t tx_cnt, peer_fwd_cnt, fwd_cnt;
};

static struct echo echoes[ECHO_STREAMS];

static void echo_receive(struct echo *echo)
{
	echo->peer_fwd_cnt = packet.header.fwd_cnt;
	if (packet.header.op != VIRTIO_VSOCK_OP_RW)
		return;
	assert_true(packet.header.len <= ECHO_ROOM - echo->len);
	for (uint32_t i = 0; i < packet.header.len; i++)
		echo->data[(echo->first + echo->len++) % ECHO_ROOM] = packet.data[i];
}

static void echo_send(struct guest *guest, struct echo *echo, uint32_t id)
{
	uint32_t credit = 65536 - (echo->tx_cnt - echo->peer_fwd_cnt);
	uint32_t len = echo->len < credit ? echo->len : credit;
	struct vsock_header header = { .src_cid = GUEST_CID, .dst_cid = 2, .src_port = id,
				       .dst_port = echo->port, .type = 1,
				       .op = VIRTIO_VSOCK_OP_RW, .buf_alloc = ECHO_ROOM };

	if (len == 0 ||
	    (uint16_t)(guest->rings[1].next_avail - guest_used(guest, 1)) >= GUEST_TX_SLOTS)
		return;
	for (uint32_t i = 0; i < len; i++)
		block[i] = echo->data[(echo->first + i) % ECHO_ROOM];
	echo->first = (echo->first + len) % ECHO_ROOM;
	echo->len -= len;
	echo->tx_cnt += len;
	echo->fwd_cnt += len;
	header.len = len;
	header.fwd_cnt = echo->fwd_cnt;
	guest_put(guest, &header, block, len);
	guest_kick(guest, 1);
}

static void host_write_some(struct echo *echo, uint32_t id, unsigned int turn)
{
	static uint8_t data[20000];
	size_t len = 1 + (turn * 7919u + id * 104729u) % sizeof(data);
	ssize_t n;

	if (len > ECHO_BYTES - echo->written)
		len = ECHO_BYTES - echo->written;
	if (len == 0)
		return;
	fill(data, len, id, echo->written);
	n = write(echo->fd, data, len);
	assert_true(n > 0 || errno == EAGAIN);
	echo->written += n > 0 ? (uint64_t)n : 0;
}

static void host_read_some(struct echo *echo, uint32_t id, unsigned int turn)
{
	static uint8_t data[65536];
	ssize_t n;

	if ((turn + id) % 5 == 0)	/* slower than it writes, for a while */
		return;
	n = read(echo->fd, data, 1 + (turn * 15485863u + id) % sizeof(data));
	assert_true(n > 0 || errno == EAGAIN);
	if (n > 0)
		check(data, (size_t)n, id, echo->read);
	echo->read += n > 0 ? (uint64_t)n : 0;
}

static struct echo *echo_of_port(uint32_t guest_port)
{
	assert_true(guest_port < ECHO_STREAMS);
	return &echoes[guest_port];
}

static void much_data_arrives_as_it_was_sent(void **state)
{
	struct guest guest;
	unsigned int done = 0;

	(void)state;
	start(&guest);
	guest.buf_alloc = ECHO_ROOM;
	for (uint32_t i = 0; i < ECHO_STREAMS; i++) {
		echoes[i] = (struct echo){ 0 };
		echoes[i].fd = open_from_host(&guest, i, &echoes[i].port);
	}
	for (unsigned int turn = 0; done < ECHO_STREAMS; turn++) {
		done = 0;
		for (uint32_t i = 0; i < ECHO_STREAMS; i++) {
			host_write_some(&echoes[i], i, turn);
			host_read_some(&echoes[i], i, turn);
			done += echoes[i].read == ECHO_BYTES;
		}
		assert_int_equal(loop_run_once(guest.driver.loop, 0), 0);
		while (guest_take(&guest, &packet))
			echo_receive(echo_of_port(packet.header.dst_port));
		for (uint32_t i = 0; i < ECHO_STREAMS; i++)
			echo_send(&guest, &echoes[(i + turn) % ECHO_STREAMS],
				  (i + turn) % ECHO_STREAMS);
	}
	driver_run(&guest.driver);
	assert_int_equal(count_of(&guest.counters->rx_bytes_count), ECHO_STREAMS * ECHO_BYTES);
	assert_int_equal(count_of(&guest.counters->tx_bytes_count), ECHO_STREAMS * ECHO_BYTES);
	for (uint32_t i = 0; i < ECHO_STREAMS; i++)
		fd_close(echoes[i].fd);
	guest_done(&guest);
}

/* --- many connections */

static void raise_fd_limit(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur >= 4096)
		return;
	limit.rlim_cur = 4096;
	if (limit.rlim_max < 4096 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		skip();
}

static void the_1024th_is_dropped(void **state)
{
	static int fds[STREAMS_MAX + 20];
	struct guest guest;
	uint32_t port, last;
	unsigned int before;
	int listen_fd;

	(void)state;
	raise_fd_limit();
	start(&guest);
	before = count_fds();
	fds[0] = open_from_host(&guest, 1, &last);
	for (uint32_t i = 1; i < STREAMS_MAX; i++) {
		fds[i] = open_from_host(&guest, 1 + i % 7, &port);
		assert_int_equal(port, ++last);
	}
	for (unsigned int i = STREAMS_MAX; i < ARRAY_SIZE(fds); i++)
		fds[i] = host_connect(&guest);
	driver_run(&guest.driver);
	for (unsigned int i = STREAMS_MAX; i < ARRAY_SIZE(fds); i++)
		assert_true(host_is_closed(fds[i]));
	guest_expect_nothing(&guest);
	listen_fd = host_listen(&guest, 5000, 5);
	guest_send(&guest, 9999, 5000, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	/* All of them work. */
	for (unsigned int i = 0; i < STREAMS_MAX; i++) {
		host_write(fds[i], &i, sizeof(i));
		guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
		assert_memory_equal(packet.data, &i, sizeof(i));
	}
	guest_send(&guest, 1, last - STREAMS_MAX + 1, VIRTIO_VSOCK_OP_RST, 0, 0, NULL, 0);
	fd_close(open_from_guest(&guest, listen_fd, 9999, 5000));
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	driver_reset(&guest.driver);
	driver_run(&guest.driver);
	for (unsigned int i = 0; i < STREAMS_MAX; i++)
		assert_true(host_is_closed(fds[i]));
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		fd_close(fds[i]);
	fd_close(listen_fd);
	assert_int_equal(count_fds(), before);
	assert_int_equal(count_of(&guest.counters->conns_added), STREAMS_MAX + 1);
	assert_int_equal(count_of(&guest.counters->conns_removed), STREAMS_MAX + 1);
	guest_start(&guest, 3, 64);	/* the listener has stayed */
	fds[0] = open_from_host(&guest, 1, &port);
	assert_int_equal(port, last + 1);
	fd_close(fds[0]);
	guest_done(&guest);
}

static void descriptors_run_out_and_come_back(void **state)
{
	struct rlimit limit, low;
	struct guest guest;
	uint32_t port;
	int fds[2];

	(void)state;
	start(&guest);
	fds[0] = open_from_host(&guest, 1, &port);
	fds[1] = host_connect(&guest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	driver_run(&guest.driver);	/* does not spin */
	assert_int_equal(loop_run_once(guest.driver.loop, 1000), 0);	/* its timer tries again */
	driver_run(&guest.driver);
	guest_send(&guest, 3, 5000, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "still", 5);
	host_read(fds[0], block, 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	host_write(fds[1], "CONNECT 12\n", 11);
	guest_wait(&guest, &packet);
	assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_REQUEST);
	fd_close(fds[0]);
	fd_close(fds[1]);
	guest_done(&guest);
}

static void who_never_says_where_to_takes_a_place_only(void **state)
{
	static int fds[STREAMS_MAX + 1];
	struct guest guest;
	unsigned int before;

	(void)state;
	raise_fd_limit();
	start(&guest);
	before = count_fds();
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = host_connect(&guest);
		driver_run(&guest.driver);
	}
	assert_true(host_is_closed(fds[STREAMS_MAX]));
	assert_true(host_has_nothing(fds[STREAMS_MAX - 1]));
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		fd_close(fds[i]);
	driver_run(&guest.driver);
	assert_int_equal(count_fds(), before);
	guest_expect_nothing(&guest);
	guest_done(&guest);
}

/* --- pause, reset, rings */

static void nothing_moves_while_paused(void **state)
{
	struct guest guest;
	uint32_t port;
	int fds[2];

	(void)state;
	start(&guest);
	fds[0] = open_from_host(&guest, 1, &port);
	virtio_mmio_pause(guest.driver.mmio);
	host_write(fds[0], "wait", 4);
	fds[1] = host_connect(&guest);
	host_write(fds[1], "CONNECT 12\n", 11);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "too", 3);
	guest_expect_nothing(&guest);
	assert_true(host_has_nothing(fds[0]));
	virtio_mmio_resume(guest.driver.mmio);
	driver_run(&guest.driver);
	host_read(fds[0], block, 3);
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(guest_take(&guest, &packet));
		assert_true(packet.header.op == VIRTIO_VSOCK_OP_RW ||
			    packet.header.op == VIRTIO_VSOCK_OP_REQUEST);
	}
	virtio_mmio_pause(guest.driver.mmio);
	fd_close(fds[0]);
	driver_reset(&guest.driver);
	driver_run(&guest.driver);
	assert_true(host_is_closed(fds[1]));
	virtio_mmio_resume(guest.driver.mmio);
	guest_start(&guest, 3, 64);
	guest_expect_nothing(&guest);
	fd_close(fds[1]);
	fds[0] = open_from_host(&guest, 1, &port);
	fd_close(fds[0]);
	guest_done(&guest);
}

static void who_connects_before_the_driver_waits(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	guest_init(&guest);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 12\n", 11);
	driver_run(&guest.driver);
	assert_true(host_has_nothing(fd));
	guest_start(&guest, 3, 64);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	fd_close(fd);
	guest_done(&guest);
}

static void two_queues_are_enough(void **state)
{
	struct guest guest;
	uint32_t port;
	int fd;

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 2, 64);
	fd = open_from_host(&guest, 1, &port);
	guest_kick(&guest, 2);
	driver_run(&guest.driver);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "too", 3);
	host_read(fd, block, 3);
	fd_close(fd);
	guest_done(&guest);
}

/* As vhost-user has it: queues are enabled after activate(), with the lock held. */
static void rings_start_one_by_one(void **state)
{
	struct guest guest;
	struct vq late;
	int fd;

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 3, 0);
	pthread_mutex_lock(&guest.device->lock);
	late = guest.device->queues[0];
	guest.device->queues[0].enabled = false;
	pthread_mutex_unlock(&guest.device->lock);
	guest_send(&guest, 1, 2, VIRTIO_VSOCK_OP_RW, 0, 0, NULL, 0);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 12\n", 11);
	driver_run(&guest.driver);
	guest_add_buffers(&guest, 10);
	guest_expect_nothing(&guest);
	pthread_mutex_lock(&guest.device->lock);
	guest.device->queues[0] = late;
	pthread_mutex_unlock(&guest.device->lock);
	guest_kick(&guest, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	fd_close(fd);
	guest_done(&guest);
}

static void a_broken_ring_stops_all_until_a_reset(void **state)
{
	struct guest guest;
	uint32_t port;
	uint16_t *avail;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	avail = (uint16_t *)(guest.driver.ram + guest.rings[1].gpa + 0x2000);
	avail[1] = 1000;
	guest_kick(&guest, 1);
	driver_run(&guest.driver);
	assert_true((driver_read(&guest.driver, VIRTIO_MMIO_STATUS) & 0x40) != 0);
	host_write(fd, "lost", 4);
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_expect_nothing(&guest);
	driver_reset(&guest.driver);
	guest_start(&guest, 3, 64);
	fd = open_from_host(&guest, 1, &port);
	fd_close(fd);
	guest_done(&guest);
}

struct resetter {
	struct guest *guest;
	_Atomic bool stop;
};

/* A vCPU: resets and starts the device while the loop serves it. */
static void *reset_again_and_again(void *data)
{
	struct resetter *resetter = data;

	for (unsigned int i = 0; i < 200; i++) {
		struct driver *driver = &resetter->guest->driver;
		uint32_t status = 1;

		driver_write(driver, VIRTIO_MMIO_STATUS, 0);
		driver_write(driver, VIRTIO_MMIO_STATUS, status);
		driver_write(driver, VIRTIO_MMIO_STATUS, status |= 2);
		driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
		driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, 1);
		driver_write(driver, VIRTIO_MMIO_STATUS, status |= 8);
		guest_set_up_queue(resetter->guest, 0);
		guest_set_up_queue(resetter->guest, 1);
		driver_write(driver, VIRTIO_MMIO_STATUS, status | 4);
		guest_add_buffers(resetter->guest, 64);
	}
	resetter->stop = true;
	return NULL;
}

static void a_driver_may_reset_in_its_own_thread(void **state)
{
	struct guest guest;
	struct resetter resetter = { .guest = &guest };
	unsigned int before;
	pthread_t thread;

	(void)state;
	start(&guest);
	before = count_fds();
	assert_int_equal(pthread_create(&thread, NULL, reset_again_and_again, &resetter), 0);
	while (!resetter.stop) {
		int fd = host_connect(&guest);

		host_write(fd, "CONNECT 12\n", 11);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(loop_run_once(guest.driver.loop, 0), 0);
		fd_close(fd);
	}
	pthread_join(thread, NULL);
	driver_reset(&guest.driver);
	driver_run(&guest.driver);
	assert_int_equal(count_fds(), before);
	guest_start(&guest, 3, 64);
	guest_done(&guest);
}

static void no_descriptor_is_left_behind(void **state)
{
	struct guest guest;
	unsigned int before = count_fds();
	uint32_t port;
	int fds[3], listen_fd;

	(void)state;
	start(&guest);
	listen_fd = host_listen(&guest, 5000, 5);
	fds[0] = open_from_host(&guest, 1, &port);
	fds[1] = open_from_guest(&guest, listen_fd, 1, 5000);
	fds[2] = host_connect(&guest);
	driver_run(&guest.driver);
	guest_done(&guest);	/* with all of them open */
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(host_is_closed(fds[i]));
		fd_close(fds[i]);
	}
	fd_close(listen_fd);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_host_reads_late_and_all_of_it),
		cmocka_unit_test(one_byte_too_many_is_a_reset),
		cmocka_unit_test(a_host_that_goes_away_with_data_to_come_is_told),
		cmocka_unit_test(a_shutdown_that_cannot_be_written_out_is_cut_off),
		cmocka_unit_test(the_guest_is_sent_what_it_has_room_for),
		cmocka_unit_test(a_guest_without_buffers_costs_nothing),
		cmocka_unit_test(buffers_without_room_for_data_are_given_back),
		cmocka_unit_test(one_interrupt_tells_of_a_batch),
		cmocka_unit_test(streams_take_turns),
		cmocka_unit_test(a_round_leaves_the_loop_to_others),
		cmocka_unit_test(much_data_arrives_as_it_was_sent),
		cmocka_unit_test(the_1024th_is_dropped),
		cmocka_unit_test(descriptors_run_out_and_come_back),
		cmocka_unit_test(who_never_says_where_to_takes_a_place_only),
		cmocka_unit_test(nothing_moves_while_paused),
		cmocka_unit_test(who_connects_before_the_driver_waits),
		cmocka_unit_test(two_queues_are_enough),
		cmocka_unit_test(rings_start_one_by_one),
		cmocka_unit_test(a_broken_ring_stops_all_until_a_reset),
		cmocka_unit_test(a_driver_may_reset_in_its_own_thread),
		cmocka_unit_test(no_descriptor_is_left_behind),
	};

	return cmocka_run_group_tests_name("vsock_flow", tests, NULL, NULL);
}
