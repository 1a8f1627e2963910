/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz what a hostile guest can do to a network device behind virtio-mmio, with registers and guest
 * memory written as the input says, while frames come and the back end fails. Nothing may crash or
 * loop for ever; what is sent is a frame, and one for the metadata service goes there only.
 *
 * The first byte chooses the interface: bit 0 an address, bit 1 an MTU, bit 2 limits, bit 3 a metadata
 * service, bit 4 a back end without offloads. Then there are operations: a byte of which the highest
 * bit chooses the queue and the others the operation, and its arguments, as read in step(). What is
 * missing at the end is 0.
 */
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "mmds/stack.h"
#include "net/backend.h"
#include "virtio/device.h"
#include "virtio/mmio.h"
#include "virtio/net.h"
#include "input.h"

#define REGION_BYTES 0x10000u
#define HIGH	     UINT64_C(0x100000000)
#define STEPS_MAX    256u
#define ROUNDS_MAX   32u	/* of the loop in a step; a device may kick itself for ever */
#define IDLE_MAX     16u	/* of them in which nothing happens */
#define FRAMES_MAX   16u
#define TARGET	     0x4du	/* the first byte of a frame for the metadata service */

#define BIT(n) (UINT64_C(1) << (n))
#define OFFLOADS (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | \
		  BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
		  BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_HOST_TSO4) | \
		  BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_UFO))

struct mmds_stack {
	unsigned int to_send;
	size_t send_bytes;
	uint64_t due_ns;
};

/* Frames are lengths; there is one when the eventfd can be read. */
struct wire {
	struct net_backend backend;
	int fd;
	bool has_mmds;
	int fail;	/* what receive() and send() give; 0: they work */
	uint32_t lengths[FRAMES_MAX];
	unsigned int put, taken;
	unsigned int sum;	/* of all bytes sent: they can be read */
};

struct machine {
	struct guest_mem *mem;
	uint8_t *ram;
	struct loop *loop;
	struct metrics *metrics;
	struct virtio_mmio *mmio;
	struct virtio_device *net;
	struct wire wire;
	struct mmds_stack *stack;
	uint16_t avail_idx[2];
};

/* --- the metadata service's stack, in place of the real one */

void mmds_stack_free(struct mmds_stack *stack)
{
	free(stack);
}

void mmds_stack_reset(struct mmds_stack *stack)
{
	stack->to_send = 0;
}

bool mmds_stack_wants(const struct mmds_stack *stack, const uint8_t *frame, size_t len)
{
	(void)stack;
	require(len >= 14 && len <= MMDS_HEAD_BYTES, "a frame's head has addresses and a type");
	return frame[0] == TARGET;
}

void mmds_stack_receive(struct mmds_stack *stack, const uint8_t *frame, size_t len, uint64_t now_ns)
{
	unsigned int sum = 0;

	(void)now_ns;
	require(frame[0] == TARGET && len <= NET_FRAME_BYTES - NET_HEADER_BYTES,
		"the service gets its frames");
	for (size_t i = 0; i < len; i++)
		sum += frame[i];
	stack->to_send += sum & 1;
}

size_t mmds_stack_send(struct mmds_stack *stack, uint8_t *frame, uint64_t now_ns)
{
	if (stack->to_send == 0 || stack->due_ns > now_ns)
		return 0;
	stack->to_send--;
	memset(frame, 0x33, stack->send_bytes);
	return stack->send_bytes;
}

uint64_t mmds_stack_due_ns(const struct mmds_stack *stack)
{
	return stack->to_send > 0 ? stack->due_ns : UINT64_MAX;
}

/* --- the back end */

static struct wire *wire_of(struct net_backend *backend)
{
	return container_of(backend, struct wire, backend);
}

static size_t bytes_of(const struct iovec *segments, int count)
{
	size_t bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += segments[i].iov_len;
	return bytes;
}

static ssize_t failure(struct wire *wire)
{
	if (wire->fail == -EBADFD && wire->backend.fd >= 0) {
		wire->backend.fd = -1;
		wire->backend.changed(&wire->backend);
	}
	return wire->fail;
}

static ssize_t wire_receive(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct wire *wire = wire_of(backend);
	uint32_t len, rest;
	uint64_t one;

	require(count > 0 && count < 1024 && bytes_of(segments, count) >= NET_FRAME_BYTES,
		"there is room for any frame");
	if (wire->fail == -EBADFD)
		return failure(wire);
	if (read(wire->fd, &one, sizeof(one)) < 0)
		return -EAGAIN;
	len = rest = wire->lengths[wire->taken++ % FRAMES_MAX];
	if (wire->fail < 0)
		return failure(wire);
	for (int i = 0; i < count && rest > 0; i++) {
		size_t part = segments[i].iov_len < rest ? segments[i].iov_len : rest;

		memset(segments[i].iov_base, 0x44, part);
		rest -= (uint32_t)part;
	}
	return len;
}

static ssize_t wire_send(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct wire *wire = wire_of(backend);
	size_t bytes = bytes_of(segments, count);

	require(count > 0 && count < 1024 && bytes >= NET_HEADER_BYTES + 14 &&
		bytes <= NET_FRAME_BYTES, "what is sent is a frame");
	require(segments[0].iov_len >= NET_HEADER_BYTES + 14, "its head is in one place");
	require(!wire->has_mmds || ((uint8_t *)segments[0].iov_base)[NET_HEADER_BYTES] != TARGET,
		"the service's frames are not sent");
	for (int i = 0; i < count; i++)
		for (size_t j = 0; j < segments[i].iov_len; j++)
			wire->sum += ((uint8_t *)segments[i].iov_base)[j];
	return wire->fail < 0 ? failure(wire) : (ssize_t)bytes;
}

static int wire_set_features(struct net_backend *backend, uint64_t features)
{
	(void)features;
	return wire_of(backend)->fail == -EINVAL ? -EINVAL : 0;
}

static int wire_revive(struct net_backend *backend)
{
	struct wire *wire = wire_of(backend);

	wire->fail = 0;
	if (backend->fd < 0) {
		backend->fd = wire->fd;
		backend->changed(backend);
	}
	return 0;
}

static void wire_free(struct net_backend *backend)
{
	fd_close(wire_of(backend)->fd);
}

static const struct net_backend_ops wire_ops = {
	.receive = wire_receive,
	.send = wire_send,
	.set_features = wire_set_features,
	.revive = wire_revive,
	.free = wire_free,
};

static void put_frame(struct wire *wire, uint32_t len)
{
	uint64_t one = 1;

	if (wire->put - wire->taken == FRAMES_MAX)
		return;
	wire->lengths[wire->put++ % FRAMES_MAX] = len;
	require(write(wire->fd, &one, sizeof(one)) == sizeof(one), "an eventfd");
}

/* --- the machine */

static void machine_init(struct machine *machine, unsigned int choice)
{
	static const struct guest_region regions[] = { { 0, REGION_BYTES }, { HIGH, REGION_BYTES } };
	static const struct squib_token_bucket bytes = { 1000, 100, 1 }, ops = { 3, 0, 1 };
	static const struct squib_rate_limiter limits = { &bytes, &ops };
	struct guest_mem_params mem_params = { .regions = regions, .region_count = 2,
					       .track_dirty = true };
	const struct squib_rate_limiter *limiter = choice & 4 ? &limits : NULL;
	struct squib_network_interface config = { .iface_id = "e", .has_guest_mac = choice & 1,
						  .has_mtu = choice & 2, .mtu = 1400,
						  .rx_rate_limiter = limiter,
						  .tx_rate_limiter = limiter };

	require(guest_mem_new(&mem_params, &machine->mem, NULL) == 0, "memory");
	machine->ram = guest_mem_region_data(machine->mem, 0);
	require(loop_new(&machine->loop) == 0 && metrics_new(&machine->metrics) == 0, "a loop");
	machine->wire.fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
	require(machine->wire.fd >= 0, "an eventfd");
	machine->wire.backend = (struct net_backend){ .ops = &wire_ops, .fd = machine->wire.fd,
						      .features = choice & 16 ? 0 : OFFLOADS };
	if (choice & 8) {
		machine->stack = calloc(1, sizeof(*machine->stack));
		require(machine->stack != NULL, "memory");
		machine->wire.has_mmds = true;
	}
	struct net_params net_params = { .config = &config, .backend = &machine->wire.backend,
					 .mmds = machine->stack, .loop = machine->loop,
					 .metrics = machine->metrics };

	require(net_new(&net_params, &machine->net) == 0, "an interface");
	struct virtio_mmio_params params = { .device = machine->net, .mem = machine->mem,
					     .loop = machine->loop, .metrics = machine->metrics };

	require(virtio_mmio_new(&params, &machine->mmio) == 0, "a transport");
}

static void machine_done(struct machine *machine)
{
	virtio_mmio_free(machine->mmio);
	loop_free(machine->loop);
	metrics_free(machine->metrics);
	guest_mem_free(machine->mem);
}

/* Changes with every request that is taken or done, and with every frame. */
static unsigned int progress(const struct machine *machine)
{
	unsigned int sum = machine->wire.taken;

	for (unsigned int i = 0; i < 2; i++)
		sum += machine->net->queues[i].next_avail + machine->net->queues[i].next_used;
	return sum;
}

static void run_loop(struct machine *machine)
{
	struct pollfd poll_loop = { .fd = loop_fd(machine->loop), .events = POLLIN };
	unsigned int idle = 0;

	for (unsigned int i = 0; i < ROUNDS_MAX && poll(&poll_loop, 1, 0) > 0; i++) {
		unsigned int before = progress(machine);

		require(loop_run_once(machine->loop, 0) == 0, "the loop runs");
		idle = progress(machine) == before ? idle + 1 : 0;
		require(idle < IDLE_MAX, "the loop is not awake for nothing");
	}
}

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

/* Where start() has the rings of a queue. */
static uint32_t rings_of(unsigned int queue)
{
	return 0x1000 + 0x4000 * queue;
}

static void place_queue(struct machine *machine, unsigned int queue, uint32_t size)
{
	static const uint32_t registers[] = { VIRTIO_MMIO_QUEUE_DESC_LOW,
					      VIRTIO_MMIO_QUEUE_AVAIL_LOW,
					      VIRTIO_MMIO_QUEUE_USED_LOW };
	uint32_t rings = rings_of(queue);

	write_register(machine, VIRTIO_MMIO_QUEUE_SEL, queue);
	write_register(machine, VIRTIO_MMIO_QUEUE_NUM, size);
	for (uint32_t i = 0; i < 3; i++)
		write_register(machine, registers[i], rings + 0x1000 * i);
	write_register(machine, VIRTIO_MMIO_QUEUE_READY, 1);
	memset(machine->ram + rings, 0, 0x3000);
	machine->avail_idx[queue] = 0;
}

/* As a driver does it that means well, so that inputs get deep. */
static void start(struct machine *machine, struct input *input)
{
	uint32_t features = (uint32_t)take(input, 4);
	unsigned int choice = (unsigned int)take(input, 1);

	write_register(machine, VIRTIO_MMIO_STATUS, 0);
	require(read_register(machine, VIRTIO_MMIO_STATUS) == 0, "a reset works");
	write_register(machine, VIRTIO_MMIO_STATUS, 1);
	write_register(machine, VIRTIO_MMIO_STATUS, 3);
	write_register(machine, VIRTIO_MMIO_DRIVER_FEATURES,
		       features & read_register(machine, VIRTIO_MMIO_DEVICE_FEATURES));
	write_register(machine, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(machine, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_register(machine, VIRTIO_MMIO_STATUS, 11);
	for (unsigned int queue = 0; queue < 2; queue++)
		if ((choice >> (6 + queue) & 1) == 0)
			place_queue(machine, queue, 1u << choice % 9);
	write_register(machine, VIRTIO_MMIO_STATUS, 15);
	require(machine->wire.fail == -EINVAL || read_register(machine, VIRTIO_MMIO_STATUS) == 15,
		"a good start works");
}

static void write_memory(struct machine *machine, struct input *input)
{
	uint64_t gpa = take(input, 2);
	size_t len = take(input, 1);
	void *data;

	if (len > input->len)
		len = input->len;
	if (guest_mem_slice(machine->mem, gpa, len, &data) == 0)
		memcpy(data, input->data, len);
	input->data += len;
	input->len -= len;
}

/* In the table, or anywhere, for an indirect one. */
static void put_descriptor(struct machine *machine, unsigned int queue, struct input *input,
			   bool anywhere)
{
	uint64_t gpa = anywhere ? take(input, 2) : rings_of(queue) + 16 * take(input, 1);
	uint64_t addr = take(input, 2);
	struct virtq_desc desc = { .addr = addr, .len = (uint32_t)take(input, 2) };
	void *data;

	desc.flags = (uint16_t)take(input, 1);
	desc.next = (uint16_t)take(input, 1);
	if (desc.flags & 8)
		desc.addr += HIGH;
	if (guest_mem_slice(machine->mem, gpa, sizeof(desc), &data) == 0)
		memcpy(data, &desc, sizeof(desc));
}

static void make_available(struct machine *machine, unsigned int queue, struct input *input)
{
	uint16_t *avail = (uint16_t *)(machine->ram + rings_of(queue) + 0x1000);
	uint16_t head = (uint16_t)take(input, 1);
	unsigned int mask = (1u << take(input, 1) % 9) - 1;

	avail[2 + (machine->avail_idx[queue] & mask)] = head;
	avail[1] = ++machine->avail_idx[queue];
}

/* The head of a frame to be sent. */
static void put_head(struct machine *machine, struct input *input)
{
	uint64_t gpa = take(input, 2);
	struct { struct virtio_net_hdr_v1 header; uint8_t target; } head = { 0 };
	void *data;

	head.header.flags = (uint8_t)take(input, 1);
	head.header.gso_type = (uint8_t)take(input, 1);
	head.header.gso_size = (uint16_t)take(input, 1);
	head.target = take(input, 1) & 1 ? TARGET : 0;
	if (guest_mem_slice(machine->mem, gpa, 13, &data) == 0)
		memcpy(data, &head, 13);
}

static void update_interface(struct machine *machine, struct input *input)
{
	struct squib_token_bucket bytes = { take(input, 1), take(input, 1), 1 }, ops = bytes;
	struct squib_rate_limiter limiter = { take(input, 1) & 1 ? &bytes : NULL, &ops };
	unsigned int choice = (unsigned int)take(input, 1);
	struct squib_network_interface_update update = {
		.iface_id = "e",
		.rx_rate_limiter = choice & 1 ? &limiter : NULL,
		.tx_rate_limiter = choice & 2 ? &limiter : NULL,
	};

	net_update(machine->net, &update);
}

static void fail_wire(struct machine *machine, struct input *input)
{
	static const int failures[] = { 0, -EIO, -EBADFD, -ENOBUFS, -EAGAIN, -EINVAL };

	machine->wire.fail = failures[take(input, 1) % ARRAY_SIZE(failures)];
}

static void give_mmds_frames(struct machine *machine, struct input *input)
{
	if (machine->stack == NULL)
		return;
	machine->stack->to_send = (unsigned int)take(input, 1) % 8;
	machine->stack->send_bytes = 14 + take(input, 2) % (MMDS_FRAME_BYTES - 13);
	machine->stack->due_ns = take(input, 1) & 1 ? clock_ns() : 0;
}

static void access_registers(struct machine *machine, struct input *input, bool write)
{
	uint64_t offset = take(input, 2);
	size_t len = 1 + take(input, 1) % 8;
	uint64_t value = write ? take(input, len) : 0;

	if (write)
		virtio_mmio_write(machine->mmio, offset, &value, len);
	else
		virtio_mmio_read(machine->mmio, offset, &value, len);
}

static void step(struct machine *machine, struct input *input)
{
	unsigned int op = (unsigned int)take(input, 1), queue = op >> 7;
	uint32_t offset;

	switch (op & 0x7f) {
	case 0:
		start(machine, input);
		break;
	case 1:
		put_descriptor(machine, queue, input, false);
		break;
	case 2:
		put_descriptor(machine, queue, input, true);
		break;
	case 3:
		make_available(machine, queue, input);
		break;
	case 4:
		write_register(machine, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
		run_loop(machine);
		break;
	case 5:
		put_head(machine, input);
		break;
	case 6:
		write_memory(machine, input);
		break;
	case 7:
		offset = (uint32_t)take(input, 1);
		write_register(machine, offset, (uint32_t)take(input, 4));
		break;
	case 8:
		access_registers(machine, input, true);
		break;
	case 9:
		access_registers(machine, input, false);
		break;
	case 10:
		virtio_mmio_pause(machine->mmio);
		break;
	case 11:
		virtio_mmio_resume(machine->mmio);
		break;
	case 12:
		update_interface(machine, input);
		break;
	case 13:
		put_frame(&machine->wire, (uint32_t)(take(input, 3) % (NET_FRAME_BYTES + 1)));
		break;
	case 14:
		fail_wire(machine, input);
		break;
	case 15:
		give_mmds_frames(machine, input);
		break;
	default:
		run_loop(machine);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct machine machine = { 0 };

	machine_init(&machine, (unsigned int)take(&input, 1));
	for (unsigned int i = 0; i < STEPS_MAX && input.len > 0; i++) {
		step(&machine, &input);
		require((read_register(&machine, VIRTIO_MMIO_STATUS) & ~0xcfu) == 0,
			"the status has known bits");
	}
	machine_done(&machine);
	return 0;
}
