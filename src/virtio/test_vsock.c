/* SPDX-License-Identifier: Apache-2.0 */
/* Connections, from both sides: how they begin, which packets are answered how, how they end. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "virtio/test_vsock_guest.h"
#include "virtio/vsock_unix.h"

#define FIRST_PORT UINT32_C(0x40000000)

static struct guest_packet packet;	/* what was taken last; too large for a stack */

static uint64_t count_of(const struct metric_count *count)
{
	return count->value;
}

static void start(struct guest *guest)
{
	guest_init(guest);
	guest_start(guest, 3, 64);
}

static uint64_t features_of(struct driver *driver)
{
	uint64_t low;

	driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES);
	driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void the_device_shows_its_cid(void **state)
{
	struct guest guest;
	uint64_t cid;
	uint32_t half;

	(void)state;
	guest_init(&guest);
	assert_int_equal(driver_read(&guest.driver, VIRTIO_MMIO_DEVICE_ID), 19);
	assert_int_equal(features_of(&guest.driver),
			 UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_F_IN_ORDER |
			 1u << VIRTIO_RING_F_EVENT_IDX | 1u << VIRTIO_RING_F_INDIRECT_DESC);
	guest_start(&guest, 3, 1);
	virtio_mmio_read(guest.driver.mmio, VIRTIO_MMIO_CONFIG, &cid, sizeof(cid));
	assert_int_equal(le64toh(cid), GUEST_CID);
	virtio_mmio_read(guest.driver.mmio, VIRTIO_MMIO_CONFIG + 4, &half, sizeof(half));
	assert_int_equal(half, 0);
	virtio_mmio_write(guest.driver.mmio, VIRTIO_MMIO_CONFIG, &half, sizeof(half));
	assert_int_equal(count_of(&guest.counters->cfg_fails), 1);
	guest_done(&guest);
}

/* --- how connections begin */

static void the_host_connects_to_the_guest(void **state)
{
	struct guest guest;
	uint32_t ports[3];
	char text[8];

	(void)state;
	start(&guest);
	for (uint32_t i = 0; i < 3; i++) {
		int fd = open_from_host(&guest, 1024, &ports[i]);

		assert_int_equal(ports[i], FIRST_PORT + i);
		host_write(fd, "hello", 5);
		guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
		assert_int_equal(packet.header.len, 5);
		assert_int_equal(packet.header.buf_alloc, 65536);
		assert_memory_equal(packet.data, "hello", 5);
		guest_send(&guest, 1024, ports[i], VIRTIO_VSOCK_OP_RW, 0, 5, "world!", 6);
		host_read(fd, text, 6);
		assert_memory_equal(text, "world!", 6);
		guest_expect_nothing(&guest);
		fd_close(fd);
		guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
		assert_int_equal(packet.header.flags, VSOCK_SHUTDOWN_BOTH);
		assert_int_equal(packet.header.fwd_cnt, 6);
		guest_send(&guest, 1024, ports[i], VIRTIO_VSOCK_OP_RST, 0, 5, NULL, 0);
		guest_expect_nothing(&guest);
	}
	assert_int_equal(count_of(&guest.counters->conns_added), 3);
	assert_int_equal(count_of(&guest.counters->conns_removed), 3);
	assert_int_equal(count_of(&guest.counters->conns_killed), 0);
	assert_int_equal(count_of(&guest.counters->rx_bytes_count), 15);
	assert_int_equal(count_of(&guest.counters->tx_bytes_count), 18);
	assert_int_equal(count_of(&guest.counters->rx_packets_count), 9);
	assert_int_equal(count_of(&guest.counters->tx_packets_count), 6);
	assert_int_equal(count_of(&guest.counters->tx_queue_event_count), 9);
	guest_done(&guest);
}

static void the_guest_connects_to_the_host(void **state)
{
	struct guest guest;
	int listen_fd, fd;
	char text[8];

	(void)state;
	start(&guest);
	listen_fd = host_listen(&guest, 5000, 8);
	fd = open_from_guest(&guest, listen_fd, 777, 5000);
	assert_int_equal(packet.header.buf_alloc, 65536);
	guest_send(&guest, 777, 5000, VIRTIO_VSOCK_OP_RW, 0, 0, "ping", 4);
	host_read(fd, text, 4);
	assert_memory_equal(text, "ping", 4);
	host_write(fd, "pong", 4);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
	assert_memory_equal(packet.data, "pong", 4);
	assert_int_equal(packet.header.fwd_cnt, 4);
	guest_send(&guest, 777, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH, 4, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	assert_true(host_is_closed(fd));
	assert_int_equal(count_of(&guest.counters->conns_removed), 1);
	fd_close(fd);
	fd_close(listen_fd);
	guest_done(&guest);
}

/* 0xffffffff: refused. What is behind the line belongs to the guest. */
static void connect_lines_are_as_the_contract_has_them(void **state)
{
	static const struct { const char *text; uint32_t port; const char *rest; } cases[] = {
		{ "CONNECT 52\n", 52, "" },
		{ "connect 0\n", 0, "" },
		{ "CoNnEcT 4294967295\n", 4294967295, "" },
		{ "connect 4294967296\n", UINT32_MAX, NULL },
		{ "CONNECT\t52  \n", 52, "" },
		{ "CONNECT +52\n", 52, "" },
		{ "CONNECT 00052\n", 52, "" },
		{ "  CONNECT 52 and more\n", 52, "" },
		{ "CONNECT 1024\nhello\n", 1024, "hello\n" },
		{ "CONNECT 1\nCONNECT 2\n", 1, "CONNECT 2\n" },
		{ "CONNECT 52                      ", 52, "" },		/* 32 bytes, no newline */
		{ "CONNECT 52                      \n", 52, "\n" },
		{ "CONNECT 00000000000000000000052\n", 52, "" },	/* the 32nd */
		{ "CONNECT 0000000000000000000000052\n", 5, "2\n" },	/* as upstream: cut off */
		{ "CONNECT 52", UINT32_MAX, NULL },
		{ "CONNECT\n", UINT32_MAX, NULL },
		{ "CONNECT  \n", UINT32_MAX, NULL },
		{ "CONNECT 5", UINT32_MAX, NULL },
		{ "C", UINT32_MAX, NULL },
		{ "CONNECT -1\n", UINT32_MAX, NULL },
		{ "CONNECT 0x10\n", UINT32_MAX, NULL },
		{ "CONNECT 5 2", UINT32_MAX, NULL },
		{ "CONNECTS 52\n", UINT32_MAX, NULL },
		{ "CONNEC 522\n", UINT32_MAX, NULL },
		{ "GET / HTTP/1.1\r\n\r\n", UINT32_MAX, NULL },
	};
	struct guest guest;

	(void)state;
	start(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = host_connect(&guest);
		char ok[16];
		bool good = cases[i].rest != NULL;

		host_write(fd, cases[i].text, strlen(cases[i].text));
		driver_run(&guest.driver);
		if (guest_take(&guest, &packet) != good)
			fail_msg("\"%s\": wrong", cases[i].text);
		if (!good) {
			assert_true(host_is_closed(fd));
			fd_close(fd);
			continue;
		}
		assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_REQUEST);
		assert_int_equal(packet.header.dst_port, cases[i].port);
		assert_true(host_has_nothing(fd));
		guest_send(&guest, cases[i].port, packet.header.src_port,
			   VIRTIO_VSOCK_OP_RESPONSE, 0, 0, NULL, 0);
		host_read(fd, ok, strlen("OK 1073741824\n"));
		if (cases[i].rest[0] != '\0') {
			guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
			assert_int_equal(packet.header.len, strlen(cases[i].rest));
			assert_memory_equal(packet.data, cases[i].rest, packet.header.len);
		}
		fd_close(fd);
		guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
		guest_send(&guest, cases[i].port, packet.header.src_port, VIRTIO_VSOCK_OP_RST, 0,
			   0, NULL, 0);
	}
	assert_int_equal(count_of(&guest.counters->conns_added),
			 count_of(&guest.counters->conns_removed));
	guest_done(&guest);
}

static void whoever_connects_may_take_his_time(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	start(&guest);
	fd = host_connect(&guest);
	driver_run(&guest.driver);
	assert_true(host_has_nothing(fd));
	host_write(fd, "CONNECT 9\n", 10);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	fd_close(fd);
	guest_done(&guest);
}

static void a_split_line_is_none(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	start(&guest);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 10", 10);
	driver_run(&guest.driver);
	assert_true(host_is_closed(fd));
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_done(&guest);
}

static void a_refused_port_closes_without_a_word(void **state)
{
	struct guest guest;
	int fd = -1;

	(void)state;
	start(&guest);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 11\n", 11);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	guest_send(&guest, 11, packet.header.src_port, VIRTIO_VSOCK_OP_RST, 0, 0, NULL, 0);
	assert_true(host_is_closed(fd));
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_done(&guest);
}

static void nobody_listens_and_the_guest_gets_a_reset(void **state)
{
	struct guest guest;
	int listen_fd, fd;

	(void)state;
	start(&guest);
	guest_send(&guest, 1, 5000, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	assert_int_equal(packet.header.src_port, 5000);
	assert_int_equal(packet.header.dst_port, 1);
	listen_fd = host_listen(&guest, 5000, 8);
	fd = open_from_guest(&guest, listen_fd, 1, 5000);
	fd_close(fd);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	fd_close(listen_fd);		/* the file is there still */
	guest_send(&guest, 2, 5000, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	listen_fd = host_listen(&guest, 5000, 8);
	fd = open_from_guest(&guest, listen_fd, 3, 5000);
	fd_close(fd);
	fd_close(listen_fd);
	guest_done(&guest);
}

static void a_path_may_be_too_long(void **state)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int fd = vsock_unix_socket();

	(void)state;
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 2] = '\0';		/* "_1" still fits, without its NUL */
	assert_int_equal(vsock_unix_connect(fd, path, 1), -ENAMETOOLONG);
	path[sizeof(path) - 3] = '\0';
	assert_int_equal(vsock_unix_connect(fd, path, 1), -ENOENT);
	fd_close(fd);
}

static void a_full_backlog_is_waited_for(void **state)
{
	struct guest guest;
	int listen_fd, fds[4];

	(void)state;
	start(&guest);
	listen_fd = host_listen(&guest, 5000, 0);	/* one fits */
	for (uint32_t i = 0; i < 4; i++)
		guest_send(&guest, 1 + i, 5000, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RESPONSE, &packet);
	guest_expect_nothing(&guest);
	for (uint32_t i = 0; i < 4; i++) {
		fds[i] = host_accept(listen_fd);
		assert_true(fds[i] >= 0);
		if (i < 3) {
			guest_wait(&guest, &packet);
			assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RESPONSE);
		}
	}
	for (uint32_t i = 0; i < 4; i++)
		fd_close(fds[i]);
	fd_close(listen_fd);
	guest_done(&guest);
}

/* --- which packets are answered how */

static void put_and_run(struct guest *guest, struct vsock_header header, uint32_t bytes)
{
	static const uint8_t data[VSOCK_DATA_BYTES_MAX + 1];

	guest_put(guest, &header, data, bytes);
	guest_kick(guest, 1);
	driver_run(&guest->driver);
}

static void what_is_for_nobody_is_answered_or_dropped(void **state)
{
	static const struct { const char *name; struct vsock_header header; uint32_t bytes;
			      bool answered; } cases[] = {
		{ "data", { .dst_cid = 2, .type = 1, .op = VIRTIO_VSOCK_OP_RW, .len = 4 }, 4, true },
		{ "a response", { .dst_cid = 2, .type = 1, .op = VIRTIO_VSOCK_OP_RESPONSE }, 0, true },
		{ "a shutdown", { .dst_cid = 2, .type = 1, .op = VIRTIO_VSOCK_OP_SHUTDOWN }, 0, true },
		{ "an unknown op", { .dst_cid = 2, .type = 1, .op = 99 }, 0, true },
		{ "a reset", { .dst_cid = 2, .type = 1, .op = VIRTIO_VSOCK_OP_RST }, 0, false },
		{ "another type", { .dst_cid = 2, .type = 2, .op = VIRTIO_VSOCK_OP_REQUEST }, 0, true },
		{ "another CID", { .dst_cid = 3, .type = 1, .op = VIRTIO_VSOCK_OP_REQUEST }, 0, false },
		{ "CID 2 + 2^32", { .dst_cid = UINT64_C(0x100000002), .type = 1,
				    .op = VIRTIO_VSOCK_OP_REQUEST }, 0, false },
		{ "longer than it is", { .dst_cid = 2, .type = 1, .op = VIRTIO_VSOCK_OP_RW,
					 .len = 5 }, 4, false },
		{ "too long", { .dst_cid = 2, .type = 1, .op = VIRTIO_VSOCK_OP_RW,
				.len = VSOCK_DATA_BYTES_MAX + 1 }, VSOCK_DATA_BYTES_MAX + 1, false },
	};
	struct guest guest;

	(void)state;
	start(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vsock_header header = cases[i].header;

		header.src_cid = GUEST_CID;
		header.src_port = 70 + (uint32_t)i;
		header.dst_port = 80;
		put_and_run(&guest, header, cases[i].bytes);
		if (guest_take(&guest, &packet) != cases[i].answered)
			fail_msg("%s: wrong", cases[i].name);
		if (!cases[i].answered)
			continue;
		assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
		assert_int_equal(packet.header.src_port, 80);
		assert_int_equal(packet.header.dst_port, header.src_port);
		assert_int_equal(packet.header.buf_alloc, 0);
	}
	guest_done(&guest);
}

static void credit_is_told_when_asked_for(void **state)
{
	struct guest guest;
	uint32_t port;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "abc", 3);
	guest_expect_nothing(&guest);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &packet);
	assert_int_equal(packet.header.fwd_cnt, 3);
	assert_int_equal(packet.header.buf_alloc, 65536);
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_done(&guest);
}

static void a_request_twice_is_one(void **state)
{
	struct guest guest;
	int listen_fd, fd;

	(void)state;
	start(&guest);
	listen_fd = host_listen(&guest, 5000, 8);
	fd = open_from_guest(&guest, listen_fd, 7, 5000);
	guest_send(&guest, 7, 5000, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_send(&guest, 7, 5000, VIRTIO_VSOCK_OP_RESPONSE, 0, 0, NULL, 0);
	guest_expect_nothing(&guest);
	assert_true(host_accept(listen_fd) < 0);
	assert_true(host_has_nothing(fd));
	assert_int_equal(count_of(&guest.counters->conns_added), 1);
	fd_close(fd);
	fd_close(listen_fd);
	guest_done(&guest);
}

static void a_response_to_no_request_is_none(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 3, 0);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 11\n", 11);
	driver_run(&guest.driver);
	guest_send(&guest, 11, FIRST_PORT, VIRTIO_VSOCK_OP_RESPONSE, 0, 0, NULL, 0);
	assert_true(host_has_nothing(fd));
	guest_add_buffers(&guest, 1);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	fd_close(fd);
	guest_done(&guest);
}

static unsigned int take_resets(struct guest *guest, unsigned int taken)
{
	driver_run(&guest->driver);
	for (; guest_take(guest, &packet); taken++) {
		assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
		assert_int_equal(packet.header.dst_port, taken);
	}
	return taken;
}

static void resets_are_bounded_and_none_is_lost(void **state)
{
	const uint32_t count = 256 + GUEST_TX_SLOTS;	/* the device keeps 256, the ring has the rest */
	struct guest guest;

	(void)state;
	guest_init(&guest);
	guest_start(&guest, 3, 0);
	guest.refill = false;
	for (uint32_t i = 0; i < count; i++) {
		struct vsock_header header = { .dst_cid = 2, .src_port = i, .type = 1,
					       .op = VIRTIO_VSOCK_OP_RW };

		put_and_run(&guest, header, 0);
	}
	assert_int_equal(guest_used(&guest, 1), 256);
	guest_add_buffers(&guest, 3);
	assert_int_equal(take_resets(&guest, 0), 3);
	assert_int_equal(guest_used(&guest, 1), 259);
	guest_add_buffers(&guest, 252);
	assert_int_equal(take_resets(&guest, 3), 255);
	guest_add_buffers(&guest, 252);
	assert_int_equal(take_resets(&guest, 255), count);
	assert_int_equal(guest_used(&guest, 1), count);
	guest_done(&guest);
}

/* --- how they end */

static void the_guest_is_done_sending(void **state)
{
	struct guest guest;
	uint32_t port;
	char text[8];
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "last", 4);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, 0, NULL, 0);
	guest_expect_nothing(&guest);
	host_read(fd, text, 4);
	assert_true(host_is_closed(fd));	/* that half */
	host_write(fd, "answer", 6);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
	assert_memory_equal(packet.data, "answer", 6);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 6, "not any more", 12);
	assert_true(host_is_closed(fd));
	fd_close(fd);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	assert_int_equal(packet.header.flags, VSOCK_SHUTDOWN_BOTH);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH, 6, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	guest_done(&guest);
}

static void the_guest_is_done_receiving(void **state)
{
	struct guest guest;
	uint32_t port;
	char text[8];
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV, 0, NULL, 0);
	assert_true(send(fd, "lost", 4, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "more", 4);
	host_read(fd, text, 4);
	guest_expect_nothing(&guest);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, 0, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	assert_true(host_is_closed(fd));
	fd_close(fd);
	guest_done(&guest);
}

static void the_host_is_done_sending(void **state)
{
	struct guest guest;
	uint32_t port;
	char text[8];
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	host_write(fd, "last", 4);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	assert_int_equal(packet.header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 4, "answer", 6);
	host_read(fd, text, 6);
	assert_memory_equal(text, "answer", 6);
	guest_expect_nothing(&guest);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH, 4, NULL, 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	assert_true(host_is_closed(fd));
	fd_close(fd);
	guest_done(&guest);
}

static void the_host_is_done_receiving(void **state)
{
	struct guest guest;
	uint32_t port;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RW, 0, 0, "nobody", 6);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	assert_int_equal(packet.header.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	assert_int_equal(count_of(&guest.counters->tx_write_fails), 1);
	host_write(fd, "but me", 6);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RW, &packet);
	fd_close(fd);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	assert_int_equal(packet.header.flags, VSOCK_SHUTDOWN_BOTH);
	guest_done(&guest);
}

static void both_are_done_sending_one_after_the_other(void **state)
{
	struct guest guest;
	uint32_t port;
	int fd;

	(void)state;
	start(&guest);
	fd = open_from_host(&guest, 1, &port);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, 0, NULL, 0);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	assert_int_equal(packet.header.flags, VSOCK_SHUTDOWN_BOTH);
	guest_send(&guest, 1, port, VIRTIO_VSOCK_OP_RST, 0, 0, NULL, 0);
	guest_expect_nothing(&guest);
	fd_close(fd);
	guest_done(&guest);
}

static void a_host_that_gives_up_early_is_not_accepted(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	start(&guest);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 9\n", 10);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	fd_close(fd);
	guest_expect(&guest, VIRTIO_VSOCK_OP_RST, &packet);
	guest_expect_nothing(&guest);
	fd = host_connect(&guest);	/* before a line */
	driver_run(&guest.driver);
	fd_close(fd);
	guest_expect_nothing(&guest);
	guest_done(&guest);
}

static uint64_t ms_since(uint64_t begin_ns)
{
	return (clock_ns() - begin_ns) / 1000000;
}

/* Waits for a packet, which has to come after two seconds. */
static void expect_late(struct guest *guest, uint16_t op)
{
	uint64_t begin_ns = clock_ns(), ms;

	guest_wait(guest, &packet);
	ms = ms_since(begin_ns);
	assert_int_equal(packet.header.op, op);
	if (ms < 1900 || ms > 10000)
		fail_msg("after %llu ms", (unsigned long long)ms);
}

/* The two at once, for time. */
static void who_does_not_answer_is_killed(void **state)
{
	struct guest guest;
	uint32_t port;
	int fds[2];

	(void)state;
	start(&guest);
	fds[0] = open_from_host(&guest, 1, &port);
	fd_close(fds[0]);
	guest_expect(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	fds[1] = host_connect(&guest);
	host_write(fds[1], "CONNECT 9\n", 10);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	expect_late(&guest, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(packet.header.src_port, port);
	guest_wait(&guest, &packet);
	assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
	assert_true(host_is_closed(fds[1]));
	assert_int_equal(count_of(&guest.counters->conns_killed), 2);
	assert_int_equal(count_of(&guest.counters->conns_removed), 2);
	fd_close(fds[1]);
	guest_done(&guest);
}

static void a_pause_does_not_count(void **state)
{
	struct guest guest;
	uint64_t begin_ns;
	int fd;

	(void)state;
	start(&guest);
	fd = host_connect(&guest);
	host_write(fd, "CONNECT 9\n", 10);
	guest_expect(&guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	virtio_mmio_pause(guest.driver.mmio);
	begin_ns = clock_ns();
	while (ms_since(begin_ns) < 500)
		assert_int_equal(loop_run_once(guest.driver.loop, 500), 0);
	virtio_mmio_resume(guest.driver.mmio);
	expect_late(&guest, VIRTIO_VSOCK_OP_RST);
	fd_close(fd);
	guest_done(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_device_shows_its_cid),
		cmocka_unit_test(the_host_connects_to_the_guest),
		cmocka_unit_test(the_guest_connects_to_the_host),
		cmocka_unit_test(connect_lines_are_as_the_contract_has_them),
		cmocka_unit_test(whoever_connects_may_take_his_time),
		cmocka_unit_test(a_split_line_is_none),
		cmocka_unit_test(a_refused_port_closes_without_a_word),
		cmocka_unit_test(nobody_listens_and_the_guest_gets_a_reset),
		cmocka_unit_test(a_path_may_be_too_long),
		cmocka_unit_test(a_full_backlog_is_waited_for),
		cmocka_unit_test(what_is_for_nobody_is_answered_or_dropped),
		cmocka_unit_test(credit_is_told_when_asked_for),
		cmocka_unit_test(a_request_twice_is_one),
		cmocka_unit_test(a_response_to_no_request_is_none),
		cmocka_unit_test(resets_are_bounded_and_none_is_lost),
		cmocka_unit_test(the_guest_is_done_sending),
		cmocka_unit_test(the_guest_is_done_receiving),
		cmocka_unit_test(the_host_is_done_sending),
		cmocka_unit_test(the_host_is_done_receiving),
		cmocka_unit_test(both_are_done_sending_one_after_the_other),
		cmocka_unit_test(a_host_that_gives_up_early_is_not_accepted),
		cmocka_unit_test(who_does_not_answer_is_killed),
		cmocka_unit_test(a_pause_does_not_count),
	};

	return cmocka_run_group_tests_name("vsock", tests, NULL, NULL);
}
