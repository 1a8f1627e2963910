/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "net/tap.h"
#include "net/test_link.h"
#include "virtio/net.h"
#include "virtio/test_driver.h"
#include "virtio/test_mmds_stack.h"

#define RX 0u
#define TX 1u

#define RX_DATA DRIVER_DATA
#define TX_DATA (DRIVER_DATA + 0x100000u)

#define BIT(n) (UINT64_C(1) << (n))
#define OFFLOADS (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | \
		  BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
		  BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_HOST_TSO4) | \
		  BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_UFO))

/* --- a back end over a socket pair */

struct wire {
	struct net_backend backend;
	int peer;		/* the network: the test's end */
	int fd;
	uint64_t features;	/* as last set */
	int fail;		/* what send() and set_features() give; 0: they work */
	unsigned int revived;
	unsigned int received;	/* calls of receive() */
	int segments;		/* with the last that received something */
};

static struct wire *wire_of(struct net_backend *backend)
{
	return container_of(backend, struct wire, backend);
}

static void wire_is_now(struct wire *wire, int fd)
{
	wire->backend.fd = fd;
	if (wire->backend.changed != NULL)
		wire->backend.changed(&wire->backend);
}

static ssize_t wire_receive(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)segments, .msg_iovlen = (size_t)count };
	struct wire *wire = wire_of(backend);
	ssize_t n = recvmsg(wire->fd, &message, MSG_DONTWAIT);

	wire->received++;
	if (n < 0)
		return -errno;
	wire->segments = count;
	if (n == 0) {	/* the other end is closed */
		wire_is_now(wire, -1);
		return -EIO;
	}
	return (message.msg_flags & MSG_TRUNC) != 0 ? -ENOBUFS : n;
}

static ssize_t wire_send(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)segments, .msg_iovlen = (size_t)count };
	struct wire *wire = wire_of(backend);
	ssize_t n;

	if (wire->fail < 0)
		return wire->fail;
	n = sendmsg(wire->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static int wire_set_features(struct net_backend *backend, uint64_t features)
{
	wire_of(backend)->features = features;
	return wire_of(backend)->fail;
}

static int wire_revive(struct net_backend *backend)
{
	struct wire *wire = wire_of(backend);

	wire->revived++;
	if (backend->fd < 0)
		wire_is_now(wire, wire->fd);
	return 0;
}

static void wire_free(struct net_backend *backend)
{
	struct wire *wire = wire_of(backend);

	fd_close(wire->fd);
	fd_close(wire->peer);
	free(wire);
}

static const struct net_backend_ops wire_ops = {
	.receive = wire_receive,
	.send = wire_send,
	.set_features = wire_set_features,
	.revive = wire_revive,
	.free = wire_free,
};

static struct wire *wire_new(uint64_t features)
{
	struct wire *wire = calloc(1, sizeof(*wire));
	int fds[2];

	assert_non_null(wire);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	wire->backend = (struct net_backend){ .ops = &wire_ops, .fd = fds[0],
					      .features = features };
	wire->fd = fds[0];
	wire->peer = fds[1];
	return wire;
}

/* A frame to the guest: @len bytes with the header, after which each byte is @fill. */
static void wire_put(const struct wire *wire, size_t len, int fill)
{
	uint8_t *frame = malloc(len);

	assert_non_null(frame);
	memset(frame, fill, len);
	memset(frame, 0, len < NET_HEADER_BYTES ? len : NET_HEADER_BYTES);
	assert_int_equal(write(wire->peer, frame, len), len);
	free(frame);
}

/* How long the next frame from the guest is; -1: there is none. */
static ssize_t wire_take(const struct wire *wire, uint8_t *frame, size_t size)
{
	return recv(wire->peer, frame, size, MSG_TRUNC);
}

/* --- the driver's side of a queue; struct driver knows one only */

struct ring {
	struct driver *driver;
	unsigned int index;
	uint32_t base;		/* of the descriptors; behind them the rings */
	uint16_t size, next_desc, next_avail, next_used;
};

static void place_ring(struct ring *ring, struct driver *driver, unsigned int index, uint16_t size)
{
	*ring = (struct ring){ .driver = driver, .index = index, .base = 0x1000 + 0x5000 * index,
			       .size = size };
	memset(driver->ram + ring->base, 0, 0x4000);
	driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, index);
	driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, size);
	driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, ring->base);
	driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring->base + 0x2000);
	driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, ring->base + 0x3000);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
}

static uint16_t ring_add(struct ring *ring, const struct driver_buf *bufs, size_t count)
{
	uint8_t *ram = ring->driver->ram + ring->base;
	struct virtq_desc *table = (struct virtq_desc *)ram;
	uint16_t *avail = (uint16_t *)(ram + 0x2000), head = ring->next_desc;

	for (size_t i = 0; i < count; i++) {
		struct virtq_desc *desc = &table[ring->next_desc];

		ring->next_desc = (uint16_t)((ring->next_desc + 1) % ring->size);
		desc->addr = htole64(bufs[i].gpa);
		desc->len = htole32(bufs[i].len);
		desc->flags = htole16((bufs[i].write ? VIRTQ_DESC_F_WRITE : 0) |
				      (i + 1 < count ? VIRTQ_DESC_F_NEXT : 0));
		desc->next = htole16(ring->next_desc);
	}
	avail[2 + ring->next_avail % ring->size] = htole16(head);
	ring->next_avail++;
	__atomic_store_n(&avail[1], htole16(ring->next_avail), __ATOMIC_SEQ_CST);
	return head;
}

static void ring_kick(struct ring *ring)
{
	driver_write(ring->driver, VIRTIO_MMIO_QUEUE_NOTIFY, ring->index);
}

static bool ring_take(struct ring *ring, uint32_t *ret_head, uint32_t *ret_len)
{
	const uint16_t *used = (const uint16_t *)(ring->driver->ram + ring->base + 0x3000);
	const struct virtq_used_elem *elem = (const struct virtq_used_elem *)(used + 2) +
					     ring->next_used % ring->size;

	if (le16toh(__atomic_load_n(&used[1], __ATOMIC_SEQ_CST)) == ring->next_used)
		return false;
	*ret_head = le32toh(elem->id);
	*ret_len = le32toh(elem->len);
	ring->next_used++;
	return true;
}

/* The length of the next used entry, -1: none. */
static int64_t ring_take_len(struct ring *ring)
{
	uint32_t head, len;

	return ring_take(ring, &head, &len) ? (int64_t)len : -1;
}

/* --- an interface */

struct interface {
	struct driver driver;
	struct virtio_device *device;
	struct wire *wire;
	struct mmds_stack *mmds;
	struct metrics_net *counters;
	struct ring rx, tx;
	uint32_t rx_place;	/* where the next buffer to receive into is */
};

struct setup {
	struct squib_network_interface config;
	uint64_t without;	/* features the driver does not take */
	uint64_t backend_without;
	struct net_backend *backend;	/* NULL: a wire */
	uint16_t size;		/* of the rings; 0: 64 */
	bool mmds;
	bool no_rx, no_tx;	/* the driver does not enable that queue */
};

static void open_interface(struct interface *interface, const struct setup *setup)
{
	struct squib_network_interface config = setup->config;
	struct net_params params = { .config = &config };

	*interface = (struct interface){ .rx_place = RX_DATA };
	config.iface_id = "eth0";
	driver_init(&interface->driver);
	if (setup->backend == NULL)
		interface->wire = wire_new(OFFLOADS & ~setup->backend_without);
	if (setup->mmds)
		assert_int_equal(mmds_stack_new(NULL, &interface->mmds), 0);
	params.backend = setup->backend != NULL ? setup->backend : &interface->wire->backend;
	params.mmds = interface->mmds;
	params.loop = interface->driver.loop;
	params.metrics = interface->driver.metrics;
	assert_int_equal(net_new(&params, &interface->device), 0);
	interface->counters = metrics_net_register(interface->driver.metrics, "eth0");
	driver_attach(&interface->driver, interface->device);
}

static void start_driver(struct interface *interface, const struct setup *setup)
{
	struct driver *driver = &interface->driver;
	uint16_t size = setup->size != 0 ? setup->size : 64;
	uint32_t status;

	driver_negotiate(driver, ~setup->without);
	if (!setup->no_rx)
		place_ring(&interface->rx, driver, RX, size);
	if (!setup->no_tx)
		place_ring(&interface->tx, driver, TX, size);
	status = driver_read(driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK;
	driver_write(driver, VIRTIO_MMIO_STATUS, status);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), status);
	driver_run(driver);
}

static void start_interface(struct interface *interface, const struct setup *setup)
{
	open_interface(interface, setup);
	start_driver(interface, setup);
}

static void close_interface(struct interface *interface)
{
	driver_done(&interface->driver);
}

static uint64_t count_of(const struct metric_count *count)
{
	return count->value;
}

/* Buffers to receive into, of @len bytes each, one behind the other. */
static void bring_buffers(struct interface *interface, unsigned int count, uint32_t len)
{
	for (unsigned int i = 0; i < count; i++) {
		struct driver_buf buf = { interface->rx_place, len, true };

		ring_add(&interface->rx, &buf, 1);
		interface->rx_place += len;
	}
	ring_kick(&interface->rx);
	driver_run(&interface->driver);
}

static uint8_t *sent_frame(struct interface *interface)
{
	return interface->driver.ram + TX_DATA;
}

/* Send @len bytes at TX_DATA, header included, in segments of @part. */
static void send_frame(struct interface *interface, uint32_t len, uint32_t part)
{
	struct driver_buf bufs[64];
	size_t count = 0;

	for (uint32_t done = 0; done < len; done += part)
		bufs[count++] = (struct driver_buf){ TX_DATA + done,
						     len - done < part ? len - done : part, false };
	ring_add(&interface->tx, bufs, count);
	ring_kick(&interface->tx);
	driver_run(&interface->driver);
}

static const struct setup plain;
static const uint8_t mac[6] = { 0x06, 0, 0xac, 0x10, 0, 2 };

static uint64_t offered(struct interface *interface)
{
	return interface->device->features & ~(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |
					       BIT(VIRTIO_RING_F_INDIRECT_DESC));
}

static void what_is_offered_is_what_is_configured_and_can_be_done(void **state)
{
	static const struct setup full = { .config = { .has_guest_mac = true, .has_mtu = true,
						       .guest_mac = { 6, 0, 0xac, 16, 0, 2 },
						       .mtu = 1400 } };
	static const struct setup poor = { .backend_without = OFFLOADS };
	uint8_t config[12], want[12] = { 6, 0, 0xac, 16, 0, 2, 0, 0, 0, 0, 0x78, 0x05 };
	struct interface interface;

	(void)state;
	open_interface(&interface, &plain);
	assert_int_equal(driver_read(&interface.driver, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_NET);
	assert_int_equal(offered(&interface), OFFLOADS | BIT(VIRTIO_NET_F_MRG_RXBUF));
	close_interface(&interface);
	open_interface(&interface, &full);
	assert_int_equal(offered(&interface), OFFLOADS | BIT(VIRTIO_NET_F_MRG_RXBUF) |
			 BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU));
	virtio_mmio_read(interface.driver.mmio, VIRTIO_MMIO_CONFIG, config, sizeof(config));
	assert_memory_equal(config, want, sizeof(want));
	close_interface(&interface);
	open_interface(&interface, &poor);
	assert_int_equal(offered(&interface), BIT(VIRTIO_NET_F_MRG_RXBUF));
	close_interface(&interface);
}

static void the_backend_learns_of_the_features(void **state)
{
	static const struct setup some = { .without = BIT(VIRTIO_NET_F_GUEST_TSO6) };
	struct interface interface;

	(void)state;
	start_interface(&interface, &some);
	assert_int_equal(interface.wire->features & OFFLOADS,
			 OFFLOADS & ~BIT(VIRTIO_NET_F_GUEST_TSO6));
	close_interface(&interface);
}

static void a_backend_that_refuses_the_features_fails_the_driver(void **state)
{
	struct interface interface;
	uint32_t status;

	(void)state;
	open_interface(&interface, &plain);
	interface.wire->fail = -EINVAL;
	driver_negotiate(&interface.driver, UINT64_MAX);
	status = driver_read(&interface.driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK;
	driver_write(&interface.driver, VIRTIO_MMIO_STATUS, status);
	assert_int_equal(driver_read(&interface.driver, VIRTIO_MMIO_STATUS),
			 status | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(count_of(&interface.counters->activate_fails), 1);
	close_interface(&interface);
}

/* --- sending */

static void frames_are_sent_as_they_are(void **state)
{
	static const uint32_t parts[] = { 2000, 12, 1, 13, 26, 54, 55, 100 };
	uint8_t got[2000];
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	for (uint32_t i = 0; i < 60; i++)
		sent_frame(&interface)[i] = i < NET_HEADER_BYTES ? 0 : (uint8_t)(i + 1);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		send_frame(&interface, 60, parts[i]);
		assert_int_equal(ring_take_len(&interface.tx), 0);
		assert_int_equal(wire_take(interface.wire, got, sizeof(got)), 60);
		assert_memory_equal(got, sent_frame(&interface), 60);
		assert_int_equal(wire_take(interface.wire, got, sizeof(got)), -1);
	}
	assert_int_equal(count_of(&interface.counters->tx_count), ARRAY_SIZE(parts));
	assert_int_equal(count_of(&interface.counters->tx_packets_count), ARRAY_SIZE(parts));
	assert_int_equal(count_of(&interface.counters->tx_bytes_count), 60 * ARRAY_SIZE(parts));
	assert_int_equal(count_of(&interface.counters->tx_queue_event_count), ARRAY_SIZE(parts));
	assert_int_equal(count_of(&interface.counters->tx_spoofed_mac_count), 0);
	assert_int_equal(count_of(&interface.counters->tx_malformed_frames), 0);
	close_interface(&interface);
}

static void several_frames_make_one_interrupt(void **state)
{
	struct driver_buf buf = { TX_DATA, 100, false };
	uint64_t triggers;
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	for (unsigned int i = 0; i < 8; i++)
		ring_add(&interface.tx, &buf, 1);
	ring_kick(&interface.tx);
	driver_run(&interface.driver);
	assert_int_equal(count_of(&interface.counters->tx_count), 8);
	assert_int_equal(count_of(&interface.counters->tx_remaining_reqs_count), 7 * 8 / 2);
	triggers = count_of(&interface.driver.metrics->interrupts.triggers);
	assert_int_equal(triggers, 1);
	for (unsigned int i = 0; i < 5; i++)
		wire_put(interface.wire, 100, 1);
	bring_buffers(&interface, 10, 2000);
	assert_int_equal(count_of(&interface.counters->rx_count), 5);
	assert_int_equal(count_of(&interface.driver.metrics->interrupts.triggers), triggers + 1);
	close_interface(&interface);
}

static void malformed_frames_are_dropped(void **state)
{
	static const struct setup no_offloads = { .without = OFFLOADS };
	static const struct {
		const char *name;
		uint32_t len;
		struct virtio_net_hdr_v1 header;
		bool poor;	/* the driver took no offloads */
		bool want;	/* it is sent */
	} cases[] = {
		{ "half a header", 6, { 0 }, false, false },
		{ "a header alone", 12, { 0 }, false, false },
		{ "a byte less than addresses and type", 25, { 0 }, false, false },
		{ "addresses and type alone", 26, { 0 }, false, true },
		{ "the longest", NET_FRAME_BYTES, { 0 }, false, true },
		{ "a byte longer", NET_FRAME_BYTES + 1, { 0 }, false, false },
		{ "a checksum to make", 60, { .flags = 1 }, false, true },
		{ "the same, not negotiated", 60, { .flags = 1 }, true, false },
		{ "segments of TCP to make", 60, { .gso_type = 1, .gso_size = 100 }, false, true },
		{ "of no bytes", 60, { .gso_type = 1 }, false, false },
		{ "not negotiated", 60, { .gso_type = 1, .gso_size = 100 }, true, false },
		{ "of IPv6", 60, { .gso_type = 4, .gso_size = 100 }, false, true },
		{ "of UDP", 60, { .gso_type = 3, .gso_size = 100 }, false, true },
		{ "of what there is not", 60, { .gso_type = 5, .gso_size = 100 }, false, false },
		{ "of no known kind", 60, { .gso_type = 2, .gso_size = 100 }, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct interface interface;
		bool sent;

		start_interface(&interface, cases[i].poor ? &no_offloads : &plain);
		memcpy(sent_frame(&interface), &cases[i].header, sizeof(cases[i].header));
		send_frame(&interface, cases[i].len, 4000);
		assert_int_equal(ring_take_len(&interface.tx), 0);
		sent = wire_take(interface.wire, NULL, 0) == (ssize_t)cases[i].len;
		if (sent != cases[i].want ||
		    count_of(&interface.counters->tx_malformed_frames) != !cases[i].want)
			fail_msg("%s: sent is %d", cases[i].name, sent);
		close_interface(&interface);
	}
}

static void a_frame_has_nothing_to_write_to(void **state)
{
	struct driver_buf bufs[] = { { TX_DATA, 100, false }, { TX_DATA + 100, 100, true } };
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	ring_add(&interface.tx, bufs, 2);
	ring_kick(&interface.tx);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.tx), 0);
	assert_int_equal(wire_take(interface.wire, NULL, 0), -1);
	assert_int_equal(count_of(&interface.counters->tx_fails), 1);
	close_interface(&interface);
}

static void another_source_is_counted_and_sent(void **state)
{
	static const struct setup with_mac = { .config = { .has_guest_mac = true,
							   .guest_mac = { 6, 0, 0xac, 16, 0, 2 } } };
	struct interface interface;

	(void)state;
	start_interface(&interface, &with_mac);
	memcpy(sent_frame(&interface) + 18, mac, 6);
	send_frame(&interface, 60, 60);
	assert_int_equal(count_of(&interface.counters->tx_spoofed_mac_count), 0);
	sent_frame(&interface)[23]++;
	send_frame(&interface, 60, 60);
	assert_int_equal(count_of(&interface.counters->tx_spoofed_mac_count), 1);
	assert_int_equal(count_of(&interface.counters->tx_count), 2);
	/* the driver takes that for its address */
	virtio_mmio_write(interface.driver.mmio, VIRTIO_MMIO_CONFIG + 5,
			  sent_frame(&interface) + 23, 1);
	assert_int_equal(count_of(&interface.counters->mac_address_updates), 1);
	send_frame(&interface, 60, 60);
	assert_int_equal(count_of(&interface.counters->tx_spoofed_mac_count), 1);
	/* what is no address is not written, and a reset forgets it */
	virtio_mmio_write(interface.driver.mmio, VIRTIO_MMIO_CONFIG + 4, sent_frame(&interface), 4);
	virtio_mmio_write(interface.driver.mmio, VIRTIO_MMIO_CONFIG + 10, sent_frame(&interface), 2);
	assert_int_equal(count_of(&interface.counters->cfg_fails), 2);
	assert_int_equal(driver_read(&interface.driver, VIRTIO_MMIO_CONFIG + 4), 0x0300);
	driver_reset(&interface.driver);
	assert_int_equal(driver_read(&interface.driver, VIRTIO_MMIO_CONFIG + 4), 0x0200);
	close_interface(&interface);
}

static void what_the_backend_does_not_take_is_lost(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	interface.wire->fail = -EAGAIN;
	send_frame(&interface, 60, 60);
	assert_int_equal(ring_take_len(&interface.tx), 0);
	interface.wire->fail = -EIO;
	send_frame(&interface, 60, 60);
	assert_int_equal(ring_take_len(&interface.tx), 0);
	assert_int_equal(count_of(&interface.counters->tap_write_fails), 2);
	assert_int_equal(count_of(&interface.counters->tx_count), 0);
	close_interface(&interface);
}

static const struct squib_token_bucket two_ops = { .size = 2, .refill_time_ms = 1000000 };
static const struct squib_token_bucket no_limit = { .size = 0, .refill_time_ms = 0 };
static const struct squib_rate_limiter limited = { NULL, &two_ops }, unlimited = { NULL, &no_limit };

static void frames_to_send_keep_to_the_limits(void **state)
{
	static const struct setup slow = { .config = { .tx_rate_limiter = &limited } };
	static const struct squib_network_interface_update update = {
		.iface_id = "eth0", .tx_rate_limiter = &unlimited };
	struct interface interface;

	(void)state;
	start_interface(&interface, &slow);
	for (unsigned int i = 0; i < 4; i++)
		send_frame(&interface, 60, 60);
	assert_int_equal(count_of(&interface.counters->tx_count), 2);
	assert_int_equal(count_of(&interface.counters->tx_rate_limiter_throttled), 2);
	net_update(interface.device, &update);
	driver_run(&interface.driver);
	assert_int_equal(count_of(&interface.counters->tx_count), 4);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(ring_take_len(&interface.tx), 0);
	close_interface(&interface);
}

/* --- receiving */

static void a_frame_is_received_into_a_buffer(void **state)
{
	struct virtio_net_hdr_v1 header;
	struct interface interface;
	uint8_t want[100];

	(void)state;
	start_interface(&interface, &plain);
	memset(interface.driver.ram + RX_DATA, 0xee, 4000);
	bring_buffers(&interface, 2, 2000);
	wire_put(interface.wire, NET_HEADER_BYTES + 100, 7);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), NET_HEADER_BYTES + 100);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	memcpy(&header, interface.driver.ram + RX_DATA, sizeof(header));
	assert_int_equal(le16toh(header.num_buffers), 1);
	assert_int_equal(header.flags, 0);
	memset(want, 7, sizeof(want));
	assert_memory_equal(interface.driver.ram + RX_DATA + NET_HEADER_BYTES, want, sizeof(want));
	assert_int_equal(interface.driver.ram[RX_DATA + NET_HEADER_BYTES + 100], 0xee);
	assert_int_equal(count_of(&interface.counters->rx_count), 1);
	assert_int_equal(count_of(&interface.counters->rx_packets_count), 1);
	assert_int_equal(count_of(&interface.counters->rx_bytes_count), NET_HEADER_BYTES + 100);
	assert_int_equal(count_of(&interface.counters->rx_tap_event_count), 1);
	assert_int_equal(count_of(&interface.counters->rx_queue_event_count), 1);
	close_interface(&interface);
}

/* Buffers of @len: the lengths of used entries, and the frame's content. */
static void expect_merged(struct interface *interface, uint32_t place, uint32_t buffer_bytes,
			  uint32_t len, int fill)
{
	const uint8_t *frame = interface->driver.ram + place;
	uint16_t count = (uint16_t)((len + buffer_bytes - 1) / buffer_bytes), num_buffers;

	memcpy(&num_buffers, frame + 10, sizeof(num_buffers));
	assert_int_equal(le16toh(num_buffers), count);
	for (uint32_t rest = len; rest > 0;) {
		uint32_t want = rest < buffer_bytes ? rest : buffer_bytes;

		assert_int_equal(ring_take_len(&interface->rx), want);
		rest -= want;
	}
	for (uint32_t i = NET_HEADER_BYTES; i < len; i++)
		if (frame[i] != fill)
			fail_msg("byte %u of the frame is %u", i, frame[i]);
}

static void a_frame_is_spread_over_buffers(void **state)
{
	static const uint32_t lengths[] = { 100, 1526, 1527, 3052, 9000, 60000, 65562 };
	uint32_t place = RX_DATA;
	struct interface interface;
	uint64_t waits;

	(void)state;
	start_interface(&interface, &(struct setup){ .size = 256 });
	bring_buffers(&interface, 256, 1526);
	waits = count_of(&interface.counters->no_rx_avail_buffer);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		wire_put(interface.wire, lengths[i], (int)i + 1);
		driver_run(&interface.driver);
		expect_merged(&interface, place, 1526, lengths[i], (int)i + 1);
		place += 1526 * ((lengths[i] + 1525) / 1526);
	}
	assert_int_equal(ring_take_len(&interface.rx), -1);
	assert_int_equal(count_of(&interface.counters->no_rx_avail_buffer), waits);
	close_interface(&interface);
}

static void no_more_buffers_are_taken_than_frames_of_late_need(void **state)
{
	uint32_t place = RX_DATA;
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .size = 256 });
	bring_buffers(&interface, 256, 1526);
	for (int i = 0; i < 60; i++) {
		wire_put(interface.wire, 1500, i);
		driver_run(&interface.driver);
		expect_merged(&interface, place, 1526, 1500, i);
		place += 1526;
	}
	assert_true(interface.wire->segments < 8);
	wire_put(interface.wire, 60000, 1);
	wire_put(interface.wire, 50000, 2);
	driver_run(&interface.driver);
	expect_merged(&interface, place, 1526, 60000, 1);
	expect_merged(&interface, place + 40 * 1526, 1526, 50000, 2);
	assert_true(interface.wire->segments > 40);
	close_interface(&interface);
}

static void frames_of_a_batch_follow_each_other(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	for (int i = 0; i < 8; i++)
		wire_put(interface.wire, 1000, i + 1);
	bring_buffers(&interface, 40, 300);
	for (uint32_t i = 0; i < 8; i++)
		expect_merged(&interface, RX_DATA + 1200 * i, 300, 1000, (int)i + 1);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	close_interface(&interface);
}

static void a_frame_is_not_spread_where_that_is_not_agreed(void **state)
{
	static const struct setup old = { .without = BIT(VIRTIO_NET_F_MRG_RXBUF) };
	uint16_t num_buffers;
	struct interface interface;

	(void)state;
	start_interface(&interface, &old);
	bring_buffers(&interface, 4, 1000);
	wire_put(interface.wire, 1001, 1);
	wire_put(interface.wire, 1000, 2);
	wire_put(interface.wire, 11, 3);
	wire_put(interface.wire, 60, 4);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), 1000);
	assert_int_equal(ring_take_len(&interface.rx), 60);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	memcpy(&num_buffers, interface.driver.ram + RX_DATA + 10, sizeof(num_buffers));
	assert_int_equal(le16toh(num_buffers), 1);
	assert_int_equal(interface.driver.ram[RX_DATA + 999], 2);
	assert_int_equal(count_of(&interface.counters->rx_fails), 2);
	close_interface(&interface);
}

static void without_buffers_nothing_is_received_or_watched(void **state)
{
	struct interface interface;
	unsigned int calls;

	(void)state;
	start_interface(&interface, &plain);
	for (int i = 0; i < 3; i++)
		wire_put(interface.wire, 100, i + 1);
	driver_run(&interface.driver);		/* would not end if it were watched */
	assert_int_equal(interface.wire->received, 0);
	bring_buffers(&interface, 2, 2000);
	assert_int_equal(count_of(&interface.counters->rx_count), 2);
	assert_true(count_of(&interface.counters->no_rx_avail_buffer) > 0);
	calls = interface.wire->received;
	driver_run(&interface.driver);
	assert_int_equal(interface.wire->received, calls);
	bring_buffers(&interface, 2, 2000);
	assert_int_equal(count_of(&interface.counters->rx_count), 3);
	assert_int_equal(interface.driver.ram[RX_DATA + 4000 + 50], 3);
	close_interface(&interface);
}

static void a_frame_for_which_there_is_too_little_waits(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	bring_buffers(&interface, 2, 500);
	wire_put(interface.wire, 1800, 1);
	wire_put(interface.wire, 100, 2);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	bring_buffers(&interface, 1, 500);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	bring_buffers(&interface, 3, 500);
	expect_merged(&interface, RX_DATA, 500, 1800, 1);
	expect_merged(&interface, RX_DATA + 2000, 500, 100, 2);
	close_interface(&interface);
}

static void a_frame_that_never_fits_is_lost(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .size = 4 });
	bring_buffers(&interface, 4, 100);
	wire_put(interface.wire, 1000, 1);
	wire_put(interface.wire, 300, 2);
	driver_run(&interface.driver);
	expect_merged(&interface, RX_DATA, 100, 300, 2);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	assert_int_equal(count_of(&interface.counters->rx_fails), 1);
	close_interface(&interface);
	start_interface(&interface, &(struct setup){ .size = 256 });
	bring_buffers(&interface, 256, 100);
	wire_put(interface.wire, 25601, 1);
	wire_put(interface.wire, 25600, 2);
	driver_run(&interface.driver);
	expect_merged(&interface, RX_DATA, 100, 25600, 2);
	assert_int_equal(count_of(&interface.counters->rx_fails), 1);
	close_interface(&interface);
}

/* A buffer of @count segments of 20 bytes, by a table at @table. */
static void add_indirect(struct ring *ring, gpa_t table, uint32_t count)
{
	uint8_t *ram = ring->driver->ram;
	struct virtq_desc *desc = (struct virtq_desc *)(ram + ring->base) + ring->next_desc;
	uint16_t *avail = (uint16_t *)(ram + ring->base + 0x2000);

	for (uint32_t i = 0; i < count; i++) {
		struct virtq_desc segment = { .addr = htole64(RX_DATA + 20 * i), .len = htole32(20),
					      .flags = VIRTQ_DESC_F_WRITE, .next = (uint16_t)(i + 1) };

		if (i + 1 < count)
			segment.flags |= VIRTQ_DESC_F_NEXT;
		segment.flags = htole16(segment.flags);
		memcpy(ram + table + 16 * i, &segment, sizeof(segment));
	}
	*desc = (struct virtq_desc){ .addr = htole64(table), .len = htole32(16 * count),
				     .flags = htole16(VIRTQ_DESC_F_INDIRECT) };
	avail[2 + ring->next_avail++ % ring->size] = htole16(ring->next_desc++);
	__atomic_store_n(&avail[1], htole16(ring->next_avail), __ATOMIC_SEQ_CST);
}

static void a_frame_in_too_many_segments_is_lost(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .size = 256 });
	for (unsigned int i = 0; i < 4; i++)
		add_indirect(&interface.rx, RX_DATA + 0x10000, 250);
	wire_put(interface.wire, 15000, 1);	/* 750 */
	wire_put(interface.wire, 10000, 2);	/* 500 */
	wire_put(interface.wire, 100, 3);
	ring_kick(&interface.rx);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), 5000);
	assert_int_equal(ring_take_len(&interface.rx), 5000);
	assert_int_equal(ring_take_len(&interface.rx), 100);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	assert_int_equal(count_of(&interface.counters->rx_fails), 1);
	close_interface(&interface);
}

static void a_buffer_of_no_use_is_given_back(void **state)
{
	struct driver_buf tiny = { RX_DATA, 11, true }, readable = { RX_DATA, 100, false };
	struct driver_buf good = { RX_DATA, 2000, true };
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	ring_add(&interface.rx, &tiny, 1);
	ring_add(&interface.rx, &readable, 1);
	ring_add(&interface.rx, &good, 1);
	ring_add(&interface.rx, &tiny, 1);
	ring_add(&interface.rx, &good, 1);
	ring_kick(&interface.rx);
	wire_put(interface.wire, 100, 1);
	wire_put(interface.wire, 200, 2);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), 0);
	assert_int_equal(ring_take_len(&interface.rx), 0);
	assert_int_equal(ring_take_len(&interface.rx), 100);
	assert_int_equal(ring_take_len(&interface.rx), 0);
	assert_int_equal(ring_take_len(&interface.rx), 200);
	assert_int_equal(count_of(&interface.counters->rx_fails), 3);
	close_interface(&interface);
}

static void received_frames_keep_to_the_limits(void **state)
{
	static const struct setup slow = { .config = { .rx_rate_limiter = &limited } };
	static const struct squib_network_interface_update update = {
		.iface_id = "eth0", .rx_rate_limiter = &unlimited };
	struct interface interface;
	unsigned int calls;

	(void)state;
	start_interface(&interface, &slow);
	bring_buffers(&interface, 8, 2000);
	calls = interface.wire->received;
	for (int i = 0; i < 5; i++)
		wire_put(interface.wire, 100, i + 1);
	driver_run(&interface.driver);
	assert_int_equal(count_of(&interface.counters->rx_count), 2);
	assert_int_equal(count_of(&interface.counters->rx_rate_limiter_throttled), 1);
	assert_int_equal(interface.wire->received, calls + 3);
	net_update(interface.device, &update);
	driver_run(&interface.driver);
	assert_int_equal(count_of(&interface.counters->rx_count), 5);
	for (uint32_t i = 0; i < 5; i++)
		expect_merged(&interface, RX_DATA + 2000 * i, 2000, 100, (int)i + 1);
	close_interface(&interface);
}

static void the_limit_runs_out(void **state)
{
	static const struct squib_token_bucket quick = { .size = 150, .refill_time_ms = 20 };
	static const struct squib_rate_limiter bytes = { &quick, NULL };
	static const struct setup slow = { .config = { .rx_rate_limiter = &bytes } };
	struct interface interface;

	(void)state;
	start_interface(&interface, &slow);
	for (int i = 0; i < 4; i++)
		wire_put(interface.wire, 100, i + 1);
	bring_buffers(&interface, 8, 2000);
	while (count_of(&interface.counters->rx_count) < 4)
		assert_int_equal(loop_run_once(interface.driver.loop, 1000), 0);
	assert_true(count_of(&interface.counters->rx_event_rate_limiter_count) > 0);
	close_interface(&interface);
}

/* --- a back end that goes */

static void a_backend_that_is_gone_is_not_watched(void **state)
{
	static const struct squib_network_interface_update update = { .iface_id = "eth0" };
	struct interface interface;
	unsigned int calls;
	int fds[2];

	(void)state;
	start_interface(&interface, &plain);
	bring_buffers(&interface, 8, 2000);
	fd_close(fd_take(&interface.wire->peer));
	driver_run(&interface.driver);
	assert_int_equal(count_of(&interface.counters->tap_read_fails), 1);
	assert_int_equal(count_of(&interface.counters->event_fails), 1);
	calls = interface.wire->received;
	bring_buffers(&interface, 1, 2000);
	assert_int_equal(interface.wire->received, calls);
	/* it comes back, with the next PATCH */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	fd_close(interface.wire->fd);
	interface.wire->fd = fds[0];
	interface.wire->peer = fds[1];
	net_update(interface.device, &update);
	assert_int_equal(interface.wire->revived, 1);
	wire_put(interface.wire, 100, 9);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), 100);
	close_interface(&interface);
}

static void a_backend_that_goes_while_there_are_no_buffers_does_no_harm(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	fd_close(fd_take(&interface.wire->peer));
	driver_run(&interface.driver);	/* would not end */
	assert_int_equal(interface.wire->received, 0);
	close_interface(&interface);
}

/* --- life */

static void while_paused_frames_wait(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	bring_buffers(&interface, 8, 2000);
	virtio_mmio_pause(interface.driver.mmio);
	wire_put(interface.wire, 100, 1);
	send_frame(&interface, 60, 60);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	assert_int_equal(ring_take_len(&interface.tx), -1);
	virtio_mmio_resume(interface.driver.mmio);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), 100);
	assert_int_equal(ring_take_len(&interface.tx), 0);
	close_interface(&interface);
}

static void a_reset_leaves_nothing(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &plain);
	bring_buffers(&interface, 1, 500);
	wire_put(interface.wire, 1000, 1);	/* held */
	driver_run(&interface.driver);
	driver_reset(&interface.driver);
	wire_put(interface.wire, 100, 2);
	driver_run(&interface.driver);
	start_driver(&interface, &plain);
	interface.rx_place = RX_DATA;
	bring_buffers(&interface, 4, 500);
	expect_merged(&interface, RX_DATA, 500, 100, 2);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	close_interface(&interface);
}

static void one_queue_is_enough(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .no_rx = true, .mmds = true });
	wire_put(interface.wire, 100, 1);
	interface.mmds->to_send = 1;
	interface.mmds->send_bytes = 60;
	sent_frame(&interface)[12] = MMDS_TEST_TARGET;
	send_frame(&interface, 60, 60);
	assert_int_equal(ring_take_len(&interface.tx), 0);
	assert_int_equal(interface.wire->received, 0);
	close_interface(&interface);
	start_interface(&interface, &(struct setup){ .no_tx = true });
	wire_put(interface.wire, 100, 1);
	bring_buffers(&interface, 4, 500);
	expect_merged(&interface, RX_DATA, 500, 100, 1);
	close_interface(&interface);
}

static void a_broken_ring_needs_a_reset(void **state)
{
	struct interface interface;
	struct driver_buf nowhere = { DRIVER_MEM_BYTES, 100, true };

	(void)state;
	start_interface(&interface, &plain);
	ring_add(&interface.rx, &nowhere, 1);
	ring_kick(&interface.rx);
	wire_put(interface.wire, 100, 1);
	driver_run(&interface.driver);
	assert_true((driver_read(&interface.driver, VIRTIO_MMIO_STATUS) &
		     VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	driver_reset(&interface.driver);
	start_driver(&interface, &plain);
	bring_buffers(&interface, 4, 500);
	assert_int_equal(ring_take_len(&interface.rx), 100);
	close_interface(&interface);
}

/* It is found broken where the round ends for another reason. */
static void behind_a_broken_ring_nothing_is_watched(void **state)
{
	struct interface interface;
	struct driver_buf buf = { RX_DATA, 500, true }, nowhere = { DRIVER_MEM_BYTES, 500, true };

	(void)state;
	start_interface(&interface, &(struct setup){ .size = 2 });
	ring_add(&interface.rx, &buf, 1);
	ring_add(&interface.rx, &nowhere, 1);
	wire_put(interface.wire, 5, 0);
	wire_put(interface.wire, 100, 1);
	wire_put(interface.wire, 200, 1);
	ring_kick(&interface.rx);
	driver_run(&interface.driver);		/* would not end if it were watched */
	assert_true((driver_read(&interface.driver, VIRTIO_MMIO_STATUS) &
		     VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	assert_int_equal(ring_take_len(&interface.rx), 100);
	driver_reset(&interface.driver);
	start_driver(&interface, &plain);
	bring_buffers(&interface, 4, 500);
	assert_int_equal(ring_take_len(&interface.rx), 200);
	close_interface(&interface);
}

/* What it has is the network's until the driver resets the device. */
static void a_broken_queue_stops_the_other_one(void **state)
{
	struct interface interface;
	struct driver_buf nowhere = { DRIVER_MEM_BYTES, 100, false };

	(void)state;
	start_interface(&interface, &plain);
	bring_buffers(&interface, 4, 500);
	ring_add(&interface.tx, &nowhere, 1);
	ring_kick(&interface.tx);
	driver_run(&interface.driver);
	assert_true((driver_read(&interface.driver, VIRTIO_MMIO_STATUS) &
		     VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	wire_put(interface.wire, 100, 1);
	driver_run(&interface.driver);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	close_interface(&interface);
}

static void a_round_has_an_end(void **state)
{
	struct interface interface;
	unsigned int rounds = 0;

	(void)state;
	start_interface(&interface, &(struct setup){ .size = 256 });
	for (unsigned int i = 0; i < 100; i++) {
		struct driver_buf buf = { TX_DATA, 65000, false };

		ring_add(&interface.tx, &buf, 1);
	}
	ring_kick(&interface.tx);
	while (count_of(&interface.counters->tap_write_fails) +
	       count_of(&interface.counters->tx_count) < 100) {
		assert_int_equal(loop_run_once(interface.driver.loop, 0), 0);
		rounds++;
	}
	assert_true(rounds > 1);
	assert_int_equal(count_of(&interface.counters->tx_queue_event_count), 1);
	close_interface(&interface);
}

/* --- the metadata service */

static void frames_for_the_metadata_service_go_nowhere_else(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .mmds = true,
						     .config = { .tx_rate_limiter = &limited } });
	sent_frame(&interface)[12] = MMDS_TEST_TARGET;
	for (unsigned int i = 0; i < 5; i++)	/* and cost nothing */
		send_frame(&interface, 60 + i, 20);
	assert_int_equal(interface.mmds->received, 5);
	assert_int_equal(interface.mmds->received_bytes, 64 - NET_HEADER_BYTES);
	send_frame(&interface, NET_FRAME_BYTES, 4000);
	assert_int_equal(interface.mmds->received_bytes, NET_FRAME_BYTES - NET_HEADER_BYTES);
	assert_int_equal(wire_take(interface.wire, NULL, 0), -1);
	assert_int_equal(count_of(&interface.counters->tx_count), 0);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(ring_take_len(&interface.tx), 0);
	close_interface(&interface);
}

static void its_frames_come_before_others(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .mmds = true });
	interface.mmds->to_send = 3;
	interface.mmds->send_bytes = 600;
	wire_put(interface.wire, 100, 9);
	sent_frame(&interface)[12] = MMDS_TEST_TARGET;
	send_frame(&interface, 60, 60);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	bring_buffers(&interface, 10, 500);
	for (uint32_t i = 0; i < 3; i++)
		expect_merged(&interface, RX_DATA + 1000 * i, 500, 612, (int)i + 1);
	expect_merged(&interface, RX_DATA + 3000, 500, 100, 9);
	close_interface(&interface);
}

static void its_frames_come_when_they_are_due(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .mmds = true });
	bring_buffers(&interface, 10, 500);
	interface.mmds->to_send = 1;
	interface.mmds->send_bytes = 60;
	interface.mmds->due_ns = clock_ns() + 20000000;
	sent_frame(&interface)[12] = MMDS_TEST_TARGET;
	send_frame(&interface, 60, 60);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	while (interface.mmds->sent == 0)
		assert_int_equal(loop_run_once(interface.driver.loop, 1000), 0);
	assert_int_equal(ring_take_len(&interface.rx), 72);
	close_interface(&interface);
}

static void a_reset_ends_its_connections(void **state)
{
	struct interface interface;

	(void)state;
	start_interface(&interface, &(struct setup){ .mmds = true });
	driver_reset(&interface.driver);
	assert_int_equal(interface.mmds->resets, 0);	/* not by the thread of a vCPU */
	interface.mmds->to_send = 1;
	interface.mmds->send_bytes = 60;
	start_driver(&interface, &plain);
	bring_buffers(&interface, 10, 500);
	assert_int_equal(interface.mmds->resets, 1);
	assert_int_equal(ring_take_len(&interface.rx), -1);
	close_interface(&interface);
}

/* --- a tap */

static const char *no_taps;	/* why, or NULL; set once, by main() */

struct tapped {
	struct interface interface;
	int packets;		/* the host's side */
};

static void start_tapped(struct tapped *tapped, uint64_t without)
{
	struct setup setup = { .without = without };
	int fd;

	if (no_taps != NULL) {
		print_message("skipped: %s\n", no_taps);
		skip();
	}
	fd = tap_open("sq0", NULL);
	assert_true(fd >= 0);
	assert_int_equal(tap_backend_new(fd, &setup.backend), 0);
	fd_close(fd);
	link_set("sq0", true);
	tapped->packets = link_socket("sq0");
	start_interface(&tapped->interface, &setup);
}

static void stop_tapped(struct tapped *tapped)
{
	close_interface(&tapped->interface);
	fd_close(tapped->packets);
}

/* To everybody, of the type that the socket takes, and after that of @fill. */
static void make_frame(uint8_t *frame, size_t len, int fill)
{
	memset(frame, fill, len);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	frame[12] = TEST_ETHERTYPE >> 8;
	frame[13] = TEST_ETHERTYPE & 0xff;
}

static void frames_go_through_a_tap(void **state)
{
	static const uint64_t without[] = { 0, BIT(VIRTIO_NET_F_MRG_RXBUF), OFFLOADS };
	uint8_t sent[1514], got[2000];
	struct tapped tapped;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct driver *driver = &tapped.interface.driver;

		start_tapped(&tapped, without[i]);
		bring_buffers(&tapped.interface, 8, 1526);
		for (int j = 0; j < 4; j++) {
			make_frame(sent, sizeof(sent), j);
			assert_int_equal(write(tapped.packets, sent, sizeof(sent)), sizeof(sent));
		}
		driver_run(driver);
		for (uint32_t j = 0; j < 4; j++) {
			make_frame(sent, sizeof(sent), (int)j);
			assert_int_equal(ring_take_len(&tapped.interface.rx), 1526);
			assert_memory_equal(driver->ram + RX_DATA + 1526 * j + NET_HEADER_BYTES,
					    sent, sizeof(sent));
		}
		make_frame(sent_frame(&tapped.interface) + NET_HEADER_BYTES, 1514, 0x77);
		send_frame(&tapped.interface, NET_HEADER_BYTES + 1514, 700);
		make_frame(sent, sizeof(sent), 0x77);
		assert_int_equal(recv(tapped.packets, got, sizeof(got), 0), sizeof(sent));
		assert_memory_equal(got, sent, sizeof(sent));
		assert_int_equal(count_of(&tapped.interface.counters->tx_count), 1);
		stop_tapped(&tapped);
	}
}

static void a_tap_may_go_down_and_away(void **state)
{
	uint8_t frame[100];
	struct tapped tapped;

	(void)state;
	start_tapped(&tapped, 0);
	bring_buffers(&tapped.interface, 8, 1526);
	make_frame(frame, sizeof(frame), 1);
	make_frame(sent_frame(&tapped.interface) + NET_HEADER_BYTES, 100, 1);
	link_set("sq0", false);
	send_frame(&tapped.interface, 112, 112);
	assert_int_equal(count_of(&tapped.interface.counters->tap_write_fails), 1);
	link_set("sq0", true);
	send_frame(&tapped.interface, 112, 112);
	assert_int_equal(count_of(&tapped.interface.counters->tx_count), 1);
	fd_close(tapped.packets);	/* it still tells of the link that was down */
	tapped.packets = link_socket("sq0");
	assert_int_equal(write(tapped.packets, frame, sizeof(frame)), sizeof(frame));
	link_delete("sq0");
	driver_run(&tapped.interface.driver);	/* would not end if it were still watched */
	assert_int_equal(count_of(&tapped.interface.counters->tap_read_fails), 1);
	send_frame(&tapped.interface, 112, 112);
	assert_int_equal(count_of(&tapped.interface.counters->tap_write_fails), 2);
	driver_reset(&tapped.interface.driver);
	start_driver(&tapped.interface, &plain);
	bring_buffers(&tapped.interface, 8, 1526);
	stop_tapped(&tapped);
}

/* --- threads */

#define TURNS 200u

/* What a guest does: all of it while the loop serves the device. */
static void *be_a_guest(void *data)
{
	struct interface *interface = data;
	uint32_t head, len;

	for (unsigned int i = 0; i < TURNS; i++) {
		struct driver_buf to_send = { TX_DATA, 60, false };
		struct driver *driver = &interface->driver;

		driver_reset(driver);
		driver_negotiate(driver, UINT64_MAX);
		place_ring(&interface->rx, driver, RX, 64);
		place_ring(&interface->tx, driver, TX, 64);
		driver_write(driver, VIRTIO_MMIO_STATUS, 15);
		for (unsigned int j = 0; j < 4; j++) {
			struct driver_buf buf = { RX_DATA + 2000 * j, 2000, true };

			ring_add(&interface->rx, &buf, 1);
			ring_add(&interface->tx, &to_send, 1);
		}
		ring_kick(&interface->rx);
		ring_kick(&interface->tx);
		virtio_mmio_write(driver->mmio, VIRTIO_MMIO_CONFIG, mac, 6);
		while (i % 2 == 0 && !ring_take(&interface->rx, &head, &len))
			poll(NULL, 0, 0);
	}
	return NULL;
}

static void a_guest_may_do_anything_at_any_time(void **state)
{
	struct interface interface;
	pthread_t guest;

	(void)state;
	open_interface(&interface, &(struct setup){ .mmds = true });
	assert_int_equal(pthread_create(&guest, NULL, be_a_guest, &interface), 0);
	while (pthread_tryjoin_np(guest, NULL) != 0) {
		if (write(interface.wire->peer, "a frame of more than twelve bytes", 33) < 0)
			assert_true(errno == EAGAIN);
		while (wire_take(interface.wire, NULL, 0) > 0)
			;
		assert_int_equal(loop_run_once(interface.driver.loop, 1), 0);
	}
	assert_true(count_of(&interface.counters->rx_count) > 0);
	close_interface(&interface);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_offered_is_what_is_configured_and_can_be_done),
		cmocka_unit_test(the_backend_learns_of_the_features),
		cmocka_unit_test(a_backend_that_refuses_the_features_fails_the_driver),
		cmocka_unit_test(frames_are_sent_as_they_are),
		cmocka_unit_test(several_frames_make_one_interrupt),
		cmocka_unit_test(malformed_frames_are_dropped),
		cmocka_unit_test(a_frame_has_nothing_to_write_to),
		cmocka_unit_test(another_source_is_counted_and_sent),
		cmocka_unit_test(what_the_backend_does_not_take_is_lost),
		cmocka_unit_test(frames_to_send_keep_to_the_limits),
		cmocka_unit_test(a_frame_is_received_into_a_buffer),
		cmocka_unit_test(a_frame_is_spread_over_buffers),
		cmocka_unit_test(no_more_buffers_are_taken_than_frames_of_late_need),
		cmocka_unit_test(frames_of_a_batch_follow_each_other),
		cmocka_unit_test(a_frame_is_not_spread_where_that_is_not_agreed),
		cmocka_unit_test(without_buffers_nothing_is_received_or_watched),
		cmocka_unit_test(a_frame_for_which_there_is_too_little_waits),
		cmocka_unit_test(a_frame_that_never_fits_is_lost),
		cmocka_unit_test(a_frame_in_too_many_segments_is_lost),
		cmocka_unit_test(a_buffer_of_no_use_is_given_back),
		cmocka_unit_test(received_frames_keep_to_the_limits),
		cmocka_unit_test(the_limit_runs_out),
		cmocka_unit_test(a_backend_that_is_gone_is_not_watched),
		cmocka_unit_test(a_backend_that_goes_while_there_are_no_buffers_does_no_harm),
		cmocka_unit_test(while_paused_frames_wait),
		cmocka_unit_test(a_reset_leaves_nothing),
		cmocka_unit_test(one_queue_is_enough),
		cmocka_unit_test(a_broken_ring_needs_a_reset),
		cmocka_unit_test(behind_a_broken_ring_nothing_is_watched),
		cmocka_unit_test(a_broken_queue_stops_the_other_one),
		cmocka_unit_test(a_round_has_an_end),
		cmocka_unit_test(frames_for_the_metadata_service_go_nowhere_else),
		cmocka_unit_test(its_frames_come_before_others),
		cmocka_unit_test(its_frames_come_when_they_are_due),
		cmocka_unit_test(a_reset_ends_its_connections),
		cmocka_unit_test(frames_go_through_a_tap),
		cmocka_unit_test(a_tap_may_go_down_and_away),
		cmocka_unit_test(a_guest_may_do_anything_at_any_time),
	};

	no_taps = link_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
