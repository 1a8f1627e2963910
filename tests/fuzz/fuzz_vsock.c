/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz a vsock device from both sides: the guest's packets, queues and registers, and what peers on the
 * host do with their sockets, in any order. Nothing may crash, no socket may keep the loop busy for
 * nothing, what the device knows of its streams must be consistent, and packets for a guest that means
 * well must be sound.
 *
 * Bit 0 of the first byte says: small buffers in the sockets of the host. Then there are the arguments
 * of a first start(), and operations, a byte each, with their arguments, as read in step(). What is
 * missing at the end is 0.
 */
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "virtio/mmio.h"
#include "virtio/vsock_internal.h"
#include "input.h"

#define RAM_BYTES     0x100000u
#define GUEST_CID     52u
#define RINGS	      0x1000u	/* a ring of each queue: table, available, used */
#define RING_BYTES    0x3000u
#define RX_BUFFERS    0x10000u
#define RX_BYTES      2048u
#define TX_BUFFERS    0x90000u
#define TX_BYTES      0x1000u
#define LISTEN_PORT   1000u
#define PEERS	      12u
#define LISTENERS     2u
#define STEPS_MAX     200u
#define ROUNDS_MAX    2000u	/* of the loop, until nothing is left to do */

struct machine {
	struct guest_mem *mem;
	uint8_t *ram;
	struct loop *loop;
	struct metrics *metrics;
	struct virtio_mmio *mmio;
	struct vsock *vsock;
	char path[64];
	int listen_fd;
	int listeners[LISTENERS];
	int peers[PEERS];
	bool small;
	bool tidy;		/* the rings are as start() made them */
	uint16_t size;
	uint16_t avail_idx[3];
	uint16_t rx_seen;
};

/* In place of the C library's, so that a run can be repeated. */
ssize_t getrandom(void *buf, size_t len, unsigned int flags)
{
	(void)flags;
	memset(buf, 0x5a, len);
	return (ssize_t)len;
}

/* --- the host's sockets */

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static struct sockaddr_un address_of(const struct machine *machine, const char *suffix)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", machine->path, suffix);
	return address;
}

static int listen_at(const struct machine *machine, const char *suffix, int backlog)
{
	struct sockaddr_un address = address_of(machine, suffix);
	int fd = new_socket();

	unlink(address.sun_path);
	require(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
		listen(fd, backlog) == 0, "a listener");
	return fd;
}

static void make_small(const struct machine *machine, int fd)
{
	int bytes = 4096;

	if (machine->small)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void connect_peer(struct machine *machine, struct input *input)
{
	int *peer = &machine->peers[take(input, 1) % PEERS];
	struct sockaddr_un address = address_of(machine, "");

	fd_close(fd_take(peer));
	*peer = new_socket();
	make_small(machine, *peer);
	if (connect(*peer, (struct sockaddr *)&address, sizeof(address)) < 0)
		fd_close(fd_take(peer));
}

static void accept_peer(struct machine *machine, struct input *input)
{
	int *peer = &machine->peers[take(input, 1) % PEERS];
	int listener = machine->listeners[take(input, 1) % LISTENERS];

	fd_close(fd_take(peer));
	if (listener >= 0)
		*peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (*peer >= 0)
		make_small(machine, *peer);
}

static void write_peer(struct machine *machine, struct input *input, bool line)
{
	int peer = machine->peers[take(input, 1) % PEERS];
	static char data[0x10000];
	size_t len;

	if (line) {
		len = (size_t)snprintf(data, sizeof(data), "CONNECT %u\n",
				       (unsigned int)take(input, 1) % 8);
	} else {
		len = take(input, 2);
		memset(data, (int)len, len);
		memcpy(data, input->data, len < 40 && len < input->len ? len : 0);
	}
	if (peer >= 0)
		(void)!send(peer, data, len, MSG_NOSIGNAL);
}

static void use_peer(struct machine *machine, struct input *input)
{
	int *peer = &machine->peers[take(input, 1) % PEERS];
	static char data[0x10000];

	if (*peer < 0)
		return;
	switch (take(input, 1) % 5) {
	case 0:
		fd_close(fd_take(peer));
		break;
	case 1:
		shutdown(*peer, SHUT_WR);
		break;
	case 2:
		shutdown(*peer, SHUT_RD);
		break;
	default:
		(void)!read(*peer, data, take(input, 2));
		break;
	}
}

static void toggle_listener(struct machine *machine, struct input *input)
{
	unsigned int which = (unsigned int)take(input, 1) % LISTENERS;
	int *listener = &machine->listeners[which];
	char suffix[16];

	snprintf(suffix, sizeof(suffix), "_%u", LISTEN_PORT + which);
	if (*listener >= 0)
		fd_close(fd_take(listener));
	else
		*listener = listen_at(machine, suffix, (int)which);
}

/* --- the guest */

static void write_register(struct machine *machine, uint64_t offset, uint32_t value)
{
	virtio_mmio_write(machine->mmio, offset, &value, sizeof(value));
}

static uint32_t read_register(struct machine *machine, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_read(machine->mmio, offset, &value, sizeof(value));
	return value;
}

static void start(struct machine *machine, struct input *input)
{
	uint32_t queues = 2 + (uint32_t)take(input, 1) % 2;

	machine->size = (uint16_t)(1u << take(input, 1) % 9);
	write_register(machine, VIRTIO_MMIO_STATUS, 0);
	write_register(machine, VIRTIO_MMIO_STATUS, 1);
	write_register(machine, VIRTIO_MMIO_STATUS, 3);
	write_register(machine, VIRTIO_MMIO_DRIVER_FEATURES,
		       (uint32_t)take(input, 4) & read_register(machine,
								VIRTIO_MMIO_DEVICE_FEATURES));
	write_register(machine, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(machine, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_register(machine, VIRTIO_MMIO_STATUS, 11);
	for (uint32_t i = 0; i < queues; i++) {
		write_register(machine, VIRTIO_MMIO_QUEUE_SEL, i);
		write_register(machine, VIRTIO_MMIO_QUEUE_NUM, machine->size);
		write_register(machine, VIRTIO_MMIO_QUEUE_DESC_LOW, RINGS + RING_BYTES * i);
		write_register(machine, VIRTIO_MMIO_QUEUE_AVAIL_LOW, RINGS + RING_BYTES * i + 0x1000);
		write_register(machine, VIRTIO_MMIO_QUEUE_USED_LOW, RINGS + RING_BYTES * i + 0x2000);
		write_register(machine, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	memset(machine->ram + RINGS, 0, RING_BYTES * 3);
	memset(machine->avail_idx, 0, sizeof(machine->avail_idx));
	machine->rx_seen = 0;
	machine->tidy = true;
	write_register(machine, VIRTIO_MMIO_STATUS, 15);
	require(read_register(machine, VIRTIO_MMIO_STATUS) == 15, "a good start works");
	require(machine->vsock->stream_count == 0, "without streams");
}

static uint16_t used_idx(const struct machine *machine, unsigned int queue)
{
	return ((const uint16_t *)(machine->ram + RINGS + RING_BYTES * queue + 0x2000))[1];
}

static bool has_room(const struct machine *machine, unsigned int queue)
{
	return (uint16_t)(machine->avail_idx[queue] - used_idx(machine, queue)) < machine->size;
}

static void make_available(struct machine *machine, unsigned int queue, uint32_t gpa, uint32_t len,
			   uint16_t flags)
{
	uint8_t *ring = machine->ram + RINGS + RING_BYTES * queue;
	uint16_t *avail = (uint16_t *)(ring + 0x1000), idx = machine->avail_idx[queue]++;
	struct virtq_desc desc = { .addr = gpa, .len = len, .flags = flags };

	memcpy(ring + 16 * (idx % machine->size), &desc, sizeof(desc));
	avail[2 + idx % machine->size] = idx % machine->size;
	avail[1] = machine->avail_idx[queue];
}

static void add_buffers(struct machine *machine, struct input *input)
{
	unsigned int count = (unsigned int)take(input, 1) % 64;
	uint32_t len = (uint32_t)take(input, 1) % 4 == 0 ? 40 + (uint32_t)take(input, 1) : RX_BYTES;

	for (; count > 0 && has_room(machine, 0) && machine->size > 0; count--)
		make_available(machine, 0, RX_BUFFERS +
			       RX_BYTES * (machine->avail_idx[0] % machine->size), len,
			       VIRTQ_DESC_F_WRITE);
}

static uint32_t choose_port(const struct machine *machine, struct input *input)
{
	uint32_t choice = (uint32_t)take(input, 1);

	if (choice < 128)
		return LISTEN_PORT + choice % (LISTENERS + 1);
	return machine->vsock->last_port - choice % 8;
}

static void put_packet(struct machine *machine, struct input *input)
{
	struct virtio_vsock_hdr header = { .src_cid = GUEST_CID, .dst_cid = 2, .type = 1 };
	uint32_t room = TX_BYTES - (uint32_t)sizeof(header), gpa;

	if (!has_room(machine, 1) || machine->size == 0)
		return;
	header.src_port = (uint32_t)take(input, 1) % 8;
	header.dst_port = choose_port(machine, input);
	header.op = (uint16_t)take(input, 1) % 9;
	header.flags = (uint32_t)take(input, 1) % 5;
	header.buf_alloc = (uint32_t)take(input, 3);
	header.fwd_cnt = (uint32_t)take(input, 3);
	header.len = header.op == VIRTIO_VSOCK_OP_RW ? (uint32_t)take(input, 2) : 0;
	if (take(input, 1) == 1)
		header.dst_cid = take(input, 1);
	/* What is longer than its place overlaps the next ones. */
	gpa = TX_BUFFERS + TX_BYTES * (machine->avail_idx[1] % 64);
	memcpy(machine->ram + gpa, &header, sizeof(header));
	make_available(machine, 1, gpa, (uint32_t)sizeof(header) +
		       (header.len <= room * 16 ? header.len : room), 0);
}

static void write_memory(struct machine *machine, struct input *input)
{
	uint64_t gpa = RINGS + take(input, 2) % (3 * RING_BYTES);
	size_t len = take(input, 1) % 32;

	if (len > input->len)
		len = input->len;
	memcpy(machine->ram + gpa, input->data, len);
	input->data += len;
	input->len -= len;
	machine->tidy = false;
}

/* --- what must be true */

static void check_packet(const struct machine *machine, const struct virtq_used_elem *elem)
{
	struct virtio_vsock_hdr header;

	require(elem->id == machine->rx_seen % machine->size, "buffers are used in order");
	if (elem->len == 0)	/* without room */
		return;
	require(elem->len <= RX_BYTES, "what is written is not more than there is room for");
	memcpy(&header, machine->ram + RX_BUFFERS + RX_BYTES * elem->id, sizeof(header));
	require(header.len == elem->len - sizeof(header), "the length of a packet");
	require(header.src_cid == 2 && header.dst_cid == GUEST_CID && header.type == 1,
		"the addresses of a packet");
	require(header.op >= VIRTIO_VSOCK_OP_REQUEST && header.op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		"the operation of a packet");
	require(header.len == 0 || header.op == VIRTIO_VSOCK_OP_RW, "data where there is some");
	require((header.flags != 0) == (header.op == VIRTIO_VSOCK_OP_SHUTDOWN), "flags");
}

static void check_packets(struct machine *machine)
{
	const struct virtq_used_elem *elems = (const struct virtq_used_elem *)
		(machine->ram + RINGS + 0x2000 + 4);

	if (!machine->tidy)
		return;
	for (; machine->rx_seen != used_idx(machine, 0); machine->rx_seen++)
		check_packet(machine, &elems[machine->rx_seen % machine->size]);
}

static void check_stream(const struct vsock *vsock, const struct vsock_stream *stream)
{
	const struct vsock_connection *connection = &stream->connection;
	bool listed = !list_is_empty(&stream->in_ready);
	uint32_t events;

	require(!stream->dropped && connection->state != VSOCK_GONE, "a stream that is there");
	require((connection->state == VSOCK_GREETING) !=
		(vsock_table_find(&vsock->table, stream->entry.ports) == &stream->entry),
		"streams with ports, and no others, are found");
	require(connection->buffer.len <= VSOCK_BUFFER_BYTES &&
		(connection->buffer.len > 0) == (connection->buffer.data != NULL),
		"a buffer has memory when there is something in it");
	require(listed == vsock_connection_has_packet(connection), "what is ready is listed");
	require((connection->fd < 0) == (connection->state == VSOCK_DEAD), "dead ones have no socket");
	require((connection->deadline_ns != 0) == !list_is_empty(&stream->in_deadlines),
		"deadlines are listed");
	require((connection->state == VSOCK_DIALING) == !list_is_empty(&stream->in_dialing),
		"who is dialing is listed");
	if (!stream->watched)
		return;
	require(vsock_connection_wants(connection, &events) && events == stream->source.events,
		"what is watched is what is wanted");
}

static void check_streams(const struct vsock *vsock)
{
	unsigned int count = 0;

	for (const struct list *node = vsock->streams.next; node != &vsock->streams;
	     node = node->next, count++)
		check_stream(vsock, container_of(node, struct vsock_stream, in_all));
	require(count == vsock->stream_count && count <= VSOCK_STREAMS_MAX, "streams are counted");
	require(vsock->rsts.count <= VSOCK_RSTS_MAX, "answers are bounded");
}

static void run_loop(struct machine *machine)
{
	struct pollfd poll_loop = { .fd = loop_fd(machine->loop), .events = POLLIN };
	unsigned int rounds = 0;

	for (; poll(&poll_loop, 1, 0) > 0; rounds++) {
		require(rounds < ROUNDS_MAX, "the loop comes to rest");
		require(loop_run_once(machine->loop, 0) == 0, "the loop runs");
	}
	require(list_is_empty(&machine->vsock->dropped), "what is dropped is freed");
	check_streams(machine->vsock);
	check_packets(machine);
}

/* --- */

static void step(struct machine *machine, struct input *input)
{
	switch (take(input, 1) % 18) {
	case 0:
		start(machine, input);
		break;
	case 1:
		connect_peer(machine, input);
		break;
	case 2:
		write_peer(machine, input, true);
		break;
	case 3:
		write_peer(machine, input, false);
		break;
	case 4:
		use_peer(machine, input);
		break;
	case 5:
		toggle_listener(machine, input);
		break;
	case 6:
		accept_peer(machine, input);
		break;
	case 7:
	case 8:
		put_packet(machine, input);
		break;
	case 9:
		add_buffers(machine, input);
		break;
	case 10:
		write_register(machine, VIRTIO_MMIO_QUEUE_NOTIFY, (uint32_t)take(input, 1) % 4);
		break;
	case 11:
		write_memory(machine, input);
		break;
	case 12:
		write_register(machine, take(input, 1), (uint32_t)take(input, 2));
		machine->tidy = false;
		break;
	case 13:
		virtio_mmio_pause(machine->mmio);
		break;
	case 14:
		virtio_mmio_resume(machine->mmio);
		break;
	case 15:
		write_register(machine, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		write_register(machine, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
		run_loop(machine);
		break;
	default:
		run_loop(machine);
		break;
	}
}

static void machine_init(struct machine *machine, unsigned int choice)
{
	static const struct guest_region region = { 0, RAM_BYTES };
	struct guest_mem_params mem_params = { .regions = &region, .region_count = 1 };
	struct squib_vsock config = { .guest_cid = GUEST_CID, .uds_path = machine->path };
	struct vsock_params params = { .config = &config };
	struct virtio_mmio_params mmio_params = { 0 };
	struct virtio_device *device;

	snprintf(machine->path, sizeof(machine->path), "/tmp/fuzz-vsock-%d", (int)getpid());
	for (unsigned int i = 0; i < LISTENERS; i++)
		machine->listeners[i] = -1;
	for (unsigned int i = 0; i < PEERS; i++)
		machine->peers[i] = -1;
	machine->small = (choice & 1) != 0;
	require(guest_mem_new(&mem_params, &machine->mem, NULL) == 0, "memory");
	machine->ram = guest_mem_region_data(machine->mem, 0);
	require(loop_new(&machine->loop) == 0 && metrics_new(&machine->metrics) == 0, "a loop");
	machine->listen_fd = listen_at(machine, "", 4);
	params.listen_fd = machine->listen_fd;
	params.loop = mmio_params.loop = machine->loop;
	params.metrics = mmio_params.metrics = machine->metrics;
	require(vsock_new(&params, &device) == 0, "a device");
	machine->vsock = container_of(device, struct vsock, device);
	mmio_params.device = device;
	mmio_params.mem = machine->mem;
	require(virtio_mmio_new(&mmio_params, &machine->mmio) == 0, "a transport");
}

static void machine_done(struct machine *machine)
{
	virtio_mmio_free(machine->mmio);
	loop_free(machine->loop);
	metrics_free(machine->metrics);
	guest_mem_free(machine->mem);
	fd_close(machine->listen_fd);
	unlink(machine->path);
	for (unsigned int i = 0; i < PEERS; i++)
		fd_close(machine->peers[i]);
	for (unsigned int i = 0; i < LISTENERS; i++) {
		char path[96];

		fd_close(machine->listeners[i]);
		snprintf(path, sizeof(path), "%s_%u", machine->path, LISTEN_PORT + i);
		unlink(path);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct machine machine = { 0 };
	int first_fd = dup(0), last_fd;

	fd_close(first_fd);
	machine_init(&machine, (unsigned int)take(&input, 1));
	start(&machine, &input);
	for (unsigned int i = 0; i < STEPS_MAX && input.len > 0; i++)
		step(&machine, &input);
	run_loop(&machine);
	machine_done(&machine);
	last_fd = dup(0);
	fd_close(last_fd);
	require(first_fd == last_fd, "no descriptor is left behind");
	return 0;
}
