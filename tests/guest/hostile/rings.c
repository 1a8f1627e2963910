/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that is told to a device as writable lies in the arena, near the end of memory, in the
 * first page or where there is no memory. So devices that do as they are told do us no harm, and one
 * that harms us has a bug.
 *
 * The arena: for each queue the three parts of its ring, then tables of indirect descriptors, then
 * data.
 */
#include "rings.h"

#include "packets.h"

#define RING_BYTES	0x10000u	/* descriptors at 0, available at 0x4000, used at 0x8000 */
#define AVAILABLE	0x4000u
#define USED		0x8000u
#define SIZE_MAX_OURS	256u
#define INDIRECT	(ARENA + 0x80000)
#define INDIRECT_BYTES	0x20000u
#define DATA		(ARENA + 0x100000)
#define DATA_BYTES	0x200000u
#define END_BYTES	0x10000u	/* of memory, for rings that end with it */

#define MAGIC		0x74726976u
#define ID_NET		1
#define ID_BLOCK	2
#define ID_BALLOON	5	/* it would be asked to take away the memory we are in */
#define ID_VSOCK	19

#define TRANSMIT	1	/* the queue, of network and vsock devices; the others are written to */

#define REG_MAGIC	0x00
#define REG_VERSION	0x04
#define REG_DEVICE_ID	0x08
#define REG_FEATURES	0x10
#define REG_FEATURES_SEL 0x14
#define REG_DRIVER_FEATURES 0x20
#define REG_DRIVER_FEATURES_SEL 0x24
#define REG_QUEUE_SEL	0x30
#define REG_QUEUE_MAX	0x34
#define REG_QUEUE_SIZE	0x38
#define REG_QUEUE_READY	0x44
#define REG_NOTIFY	0x50
#define REG_INTERRUPT	0x60
#define REG_INTERRUPT_ACK 0x64
#define REG_STATUS	0x70
#define REG_QUEUE_DESC	0x80
#define REG_QUEUE_AVAIL	0x90
#define REG_QUEUE_USED	0xa0
#define REG_CONFIG	0x100

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER	2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8
#define STATUS_NEEDS_RESET 64

#define DESC_NEXT	1
#define DESC_WRITE	2
#define DESC_INDIRECT	4

struct descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

struct block_header {
	uint32_t type, reserved;
	uint64_t sector;
};

static uint64_t pick(struct rng *rng, const uint64_t *from, size_t count)
{
	return from[rng_below(rng, (uint32_t)count)];
}

#define PICK(rng, array) pick(rng, array, sizeof(array) / sizeof((array)[0]))

/* Numbers */

static uint64_t wild_address(const struct machine *machine, struct rng *rng)
{
	uint64_t end = machine->memory_end;
	const uint64_t places[] = {
		0, MEMORY_START, end, end - 1, end - 16, end - rng_below(rng, END_BYTES), end + 0x1000,
		machine->options.base, INTERRUPT_CONTROLLER, 0xffffffff, 0x100000000, UINT64_MAX, UINT64_MAX - 7,
		UINT64_MAX - 0xfff, UINT64_C(1) << 63, ARENA + 1 + rng_below(rng, 64),
	};

	return rng_one_in(rng, 4) ? rng_next(rng) | UINT64_C(1) << 40 : PICK(rng, places);
}

static uint64_t data_address(const struct machine *machine, struct rng *rng)
{
	if (rng_one_in(rng, 4))
		return wild_address(machine, rng);
	return DATA + rng_below(rng, DATA_BYTES);
}

static uint32_t some_len(struct rng *rng)
{
	static const uint64_t lens[] = {
		0, 1, 15, 16, 17, 511, 512, 513, 1024, 4096, 65536, 1 << 20, 1 << 30,
		0x7fffffff, 0x80000000, 0xfffffe00, 0xffffffff,
	};

	return rng_one_in(rng, 8) ? (uint32_t)rng_next(rng) : (uint32_t)PICK(rng, lens);
}

static uint64_t some_sector(struct rng *rng)
{
	static const uint64_t sectors[] = {
		0, 1, 7, 2047, 2048, 0x7fffff, UINT64_C(1) << 31, UINT64_C(1) << 54,
		(UINT64_C(1) << 55) - 1, UINT64_C(1) << 55, UINT64_C(1) << 63, UINT64_MAX,
	};

	return rng_one_in(rng, 2) ? rng_below(rng, 4096) : PICK(rng, sectors);
}

static uint32_t some_request_type(struct rng *rng)
{
	static const uint64_t types[] = { 0, 0, 0, 1, 1, 4, 8, 11, 13, 2, 3, 0x80000000, UINT32_MAX };

	return (uint32_t)PICK(rng, types);
}

/* Descriptors and requests */

static void write_descriptor(uint64_t table, uint32_t i, struct descriptor d)
{
	volatile struct descriptor *to = (volatile struct descriptor *)table + i;

	to->address = d.address;
	to->len = d.len;
	to->flags = d.flags;
	to->next = d.next;
}

/* An indirect table that is nonsense itself, nested and looped now and then. */
static uint64_t fill_indirect(const struct machine *machine, struct rng *rng)
{
	uint64_t table = INDIRECT + rng_below(rng, INDIRECT_BYTES / 0x1000) * 0x1000;

	for (uint32_t i = 0; i < 4; i++) {
		struct descriptor d = {
			.address = data_address(machine, rng),
			.len = some_len(rng),
			.flags = (uint16_t)(i < 3 ? DESC_NEXT : 0) | (rng_one_in(rng, 2) ? DESC_WRITE : 0),
			.next = (uint16_t)(rng_one_in(rng, 8) ? rng_below(rng, 300) : i + 1),
		};

		if (rng_one_in(rng, 16))
			d.flags |= DESC_INDIRECT;
		write_descriptor(table, i, d);
	}
	return table;
}

static struct descriptor some_descriptor(const struct machine *machine, struct rng *rng,
					 uint32_t size)
{
	struct descriptor d = {
		.address = data_address(machine, rng),
		.len = some_len(rng),
		.flags = (uint16_t)rng_below(rng, 4),
		.next = (uint16_t)(rng_one_in(rng, 8) ? rng_next(rng) : rng_below(rng, size)),
	};
	static const uint64_t lens[] = { 0, 1, 15, 16, 32, 48, 64, 64, 64, 4096, 1 << 20, 0xfffffff0 };

	if (rng_one_in(rng, 16))
		d.flags = (uint16_t)rng_next(rng);
	if (rng_one_in(rng, 8)) {
		d.address = fill_indirect(machine, rng);
		d.len = (uint32_t)PICK(rng, lens);
		d.flags = DESC_INDIRECT | (rng_one_in(rng, 8) ? (uint16_t)rng_below(rng, 4) : 0);
	}
	return d;
}

static void make_available(struct ring *ring, uint32_t head)
{
	volatile uint16_t *available = (volatile uint16_t *)ring->available;

	available[2 + ring->index % ring->size] = (uint16_t)head;
	ring->index++;
	memory_barrier();
	available[1] = ring->index;
}

/* Sound but for its type and its sector: header, data, status. Returns the head */
static uint32_t put_block_request(struct ring *ring, struct rng *rng)
{
	uint32_t head = rng_below(rng, ring->size);
	uint64_t data = DATA + rng_below(rng, DATA_BYTES / 0x2000 - 1) * 0x2000;
	volatile struct block_header *header = (volatile struct block_header *)data;
	volatile uint8_t *status = (volatile uint8_t *)(data + 16);
	struct descriptor d = { .address = data, .len = 16, .flags = DESC_NEXT };
	uint32_t i = head;

	header->type = some_request_type(rng);
	header->reserved = 0;
	header->sector = some_sector(rng);
	*status = 0xff;
	d.next = (uint16_t)((i + 1) % ring->size);
	write_descriptor(ring->descriptors, i, d);
	i = d.next;
	d = (struct descriptor){
		.address = data + 512, .len = 512u * rng_below(rng, 9), .flags = DESC_NEXT,
		.next = (uint16_t)((i + 1) % ring->size),
	};
	if (header->type != 1 && header->type != 11 && header->type != 13)
		d.flags |= DESC_WRITE;
	if (rng_one_in(rng, 16))
		d.len++;
	write_descriptor(ring->descriptors, i, d);
	write_descriptor(ring->descriptors, d.next,
			 (struct descriptor){ .address = data + 16, .len = 1, .flags = DESC_WRITE });
	return head;
}

static uint32_t put_garbage(const struct machine *machine, struct ring *ring, struct rng *rng)
{
	uint32_t head = rng_below(rng, ring->size);
	uint32_t count = 1 + rng_below(rng, 6);

	for (uint32_t i = 0; i < count; i++)
		write_descriptor(ring->descriptors, (head + i) % ring->size,
				 some_descriptor(machine, rng, ring->size));
	return rng_one_in(rng, 16) ? (uint32_t)rng_next(rng) : head;
}

/* One buffer that the device may fill: what an entropy device expects */
static uint32_t put_buffer(struct ring *ring, struct rng *rng)
{
	uint32_t head = rng_below(rng, ring->size);
	struct descriptor d = { .address = DATA + rng_below(rng, DATA_BYTES - 4096),
				.len = rng_below(rng, 4096), .flags = DESC_WRITE };

	write_descriptor(ring->descriptors, head, d);
	return head;
}

/* A few buffers that the device may fill: what is received. */
static uint32_t put_buffers(struct ring *ring, struct rng *rng)
{
	static const uint64_t lens[] = { 1, 11, 12, 43, 44, 45, 64, 1526, 4096, 65562 };
	uint32_t head = rng_below(rng, ring->size), i = head;

	for (uint32_t n = rng_below(rng, 3); ; n--) {
		struct descriptor d = {
			.address = DATA + rng_below(rng, DATA_BYTES / 2),
			.len = (uint32_t)PICK(rng, lens),
			.flags = DESC_WRITE | (n > 0 ? DESC_NEXT : 0),
			.next = (uint16_t)((i + 1) % ring->size),
		};

		write_descriptor(ring->descriptors, i, d);
		if (n == 0)
			return head;
		i = d.next;
	}
}

/* @len bytes at @data for the device to send, in up to four pieces; an empty one breaks the ring. */
static uint32_t put_pieces(struct ring *ring, struct rng *rng, uint64_t data, uint32_t len)
{
	uint32_t head = rng_below(rng, ring->size), i = head;

	for (uint32_t n = rng_below(rng, 4); ; n--) {
		uint32_t piece = n > 0 && len > 1 ? 1 + rng_below(rng, len - 1) : len;
		struct descriptor d = {
			.address = data, .len = piece, .flags = piece < len ? DESC_NEXT : 0,
			.next = (uint16_t)((i + 1) % ring->size),
		};

		if (rng_one_in(rng, 64))
			d.len = some_len(rng);
		if (rng_one_in(rng, 64))
			d.flags |= DESC_WRITE;
		write_descriptor(ring->descriptors, i, d);
		if (piece == len)
			return head;
		data += piece;
		len -= piece;
		i = d.next;
	}
}

static uint64_t packet_place(struct rng *rng)
{
	return DATA + rng_below(rng, DATA_BYTES / 0x2000 - 1) * 0x2000;
}

static uint32_t put_frame(struct ring *ring, struct rng *rng)
{
	uint64_t data = packet_place(rng);

	return put_pieces(ring, rng, data, packet_frame((uint8_t *)data, rng));
}

static uint32_t put_vsock_packet(struct ring *ring, struct rng *rng, uint64_t cid)
{
	uint64_t data = packet_place(rng);

	return put_pieces(ring, rng, data, packet_vsock((uint8_t *)data, cid, rng));
}

/* The device */

static void reg_write(const struct driver *driver, uint32_t reg, uint32_t value)
{
	mmio_write32(driver->page + reg, value);
}

static uint32_t reg_read(const struct driver *driver, uint32_t reg)
{
	return mmio_read32(driver->page + reg);
}

static void reg_write64(const struct driver *driver, uint32_t reg, uint64_t value)
{
	reg_write(driver, reg, (uint32_t)value);
	reg_write(driver, reg + 4, (uint32_t)(value >> 32));
}

static bool find_device(struct driver *driver, struct rng *rng)
{
	const struct options *options = &driver->machine->options;
	uint32_t first = rng_below(rng, (uint32_t)options->devices);

	for (uint32_t i = 0; i < options->devices; i++) {
		driver->page = options->base + options->stride * ((first + i) % options->devices);
		driver->device_id = reg_read(driver, REG_DEVICE_ID);
		if (reg_read(driver, REG_MAGIC) == MAGIC && reg_read(driver, REG_VERSION) == 2 &&
		    driver->device_id != 0 && driver->device_id != ID_BALLOON)
			return true;
	}
	driver->page = 0;
	return false;
}

/* All that is offered, mostly. VERSION_1 is bit 32. */
static void negotiate(const struct driver *driver, struct rng *rng)
{
	bool all = !rng_one_in(rng, 4);

	for (uint32_t half = 0; half < 2; half++) {
		uint32_t features;

		reg_write(driver, REG_FEATURES_SEL, half);
		features = reg_read(driver, REG_FEATURES);
		if (!all)
			features &= (uint32_t)rng_next(rng) | half;
		if (rng_one_in(rng, 32))
			features = (uint32_t)rng_next(rng);
		reg_write(driver, REG_DRIVER_FEATURES_SEL, half);
		reg_write(driver, REG_DRIVER_FEATURES, features);
	}
}

static bool is_safe_to_write(const struct machine *machine, uint64_t address, uint64_t len)
{
	return address >= ARENA && address < machine->memory_end &&
	       len <= machine->memory_end - address && address % 2 == 0;
}

/* Where one part of a ring is to be; *ours gets it too if we can write there. */
static uint64_t place(const struct machine *machine, struct rng *rng, uint64_t *ours, uint64_t len)
{
	uint64_t address = *ours;

	if (rng_one_in(rng, 32))
		address = machine->memory_end - len;		/* just fits */
	else if (rng_one_in(rng, 64))
		address = machine->memory_end - len + 2;
	else if (rng_one_in(rng, 32))
		address = wild_address(machine, rng);
	if (is_safe_to_write(machine, address, len))
		*ours = address;
	return address;
}

static void setup_queue(struct driver *driver, struct rng *rng, uint32_t queue)
{
	struct ring *ring = &driver->rings[queue];
	uint64_t base = ARENA + queue * RING_BYTES;
	uint32_t max;

	*ring = (struct ring){ .descriptors = base, .available = base + AVAILABLE,
			       .used = base + USED };
	reg_write(driver, REG_QUEUE_SEL, queue);
	max = reg_read(driver, REG_QUEUE_MAX);
	if (max == 0)
		return;
	if (max > SIZE_MAX_OURS)
		max = SIZE_MAX_OURS;
	ring->size = rng_one_in(rng, 2) ? max : max >> rng_below(rng, 8);
	if (ring->size == 0)
		ring->size = 1;
	reg_write(driver, REG_QUEUE_SIZE,
		  rng_one_in(rng, 32) ? (uint32_t)rng_next(rng) & 0xffff : ring->size);
	reg_write64(driver, REG_QUEUE_DESC,
		    place(driver->machine, rng, &ring->descriptors, 16u * ring->size));
	reg_write64(driver, REG_QUEUE_AVAIL,
		    place(driver->machine, rng, &ring->available, 6 + 2u * ring->size));
	reg_write64(driver, REG_QUEUE_USED,
		    place(driver->machine, rng, &ring->used, 6 + 8u * ring->size));
	*(volatile uint32_t *)ring->available = 0;	/* flags, index */
	*(volatile uint32_t *)ring->used = 0;
	if (!rng_one_in(rng, 64))
		reg_write(driver, REG_QUEUE_READY, 1);
}

void driver_setup(struct driver *driver, struct rng *rng)
{
	static const uint64_t tameness[] = { 1, 2, 8, 64, 512 };
	uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

	driver->garbage_one_in = (uint32_t)PICK(rng, tameness);
	if (driver->page != 0 && rng_one_in(rng, 2))
		reg_write(driver, REG_STATUS, 0);	/* the one before: in the middle of something */
	if (!find_device(driver, rng))
		return;
	reg_write(driver, REG_STATUS, 0);
	reg_write(driver, REG_STATUS, STATUS_ACKNOWLEDGE);
	reg_write(driver, REG_STATUS, status);
	negotiate(driver, rng);
	status |= STATUS_FEATURES_OK;
	reg_write(driver, REG_STATUS, status);
	for (uint32_t queue = 0; queue < QUEUES_MAX; queue++)
		setup_queue(driver, rng, queue);
	if (driver->device_id == ID_VSOCK)
		driver->cid = reg_read(driver, REG_CONFIG);
	reg_write(driver, REG_STATUS, status | STATUS_DRIVER_OK);
}

/* What the device expects of @ring, more or less. */
static uint32_t put_request(const struct driver *driver, struct rng *rng, struct ring *ring)
{
	bool transmits = ring == &driver->rings[TRANSMIT];

	switch (ring->size >= 4 ? driver->device_id : 0) {
	case ID_BLOCK:
		return put_block_request(ring, rng);
	case ID_NET:
		return transmits ? put_frame(ring, rng) : put_buffers(ring, rng);
	case ID_VSOCK:
		return transmits ? put_vsock_packet(ring, rng, driver->cid) : put_buffers(ring, rng);
	default:
		return put_buffer(ring, rng);
	}
}

static void put_something(struct driver *driver, struct rng *rng, struct ring *ring)
{
	uint32_t head;

	if (rng_one_in(rng, driver->garbage_one_in))
		head = put_garbage(driver->machine, ring, rng);
	else
		head = put_request(driver, rng, ring);
	if (rng_one_in(rng, 32 * driver->garbage_one_in))
		ring->index = (uint16_t)rng_next(rng);
	make_available(ring, head);
}

static bool has_given_up(const struct driver *driver)
{
	uint32_t status = reg_read(driver, REG_STATUS);

	return (status & STATUS_NEEDS_RESET) || !(status & STATUS_DRIVER_OK);
}

void driver_kick(struct driver *driver, struct rng *rng)
{
	uint32_t queue = rng_below(rng, QUEUES_MAX);
	struct ring *ring = &driver->rings[queue];

	if (driver->page != 0 && rng_one_in(rng, 8) && has_given_up(driver))
		driver_setup(driver, rng);
	if (driver->page == 0)
		return;
	if (ring->size == 0) {
		queue = 0;
		ring = &driver->rings[0];
	}
	if (ring->size != 0)
		for (uint32_t n = 1 + rng_below(rng, 4); n > 0; n--)
			put_something(driver, rng, ring);
	reg_write(driver, REG_NOTIFY, rng_one_in(rng, 32) ? (uint32_t)rng_next(rng) : queue);
	if (rng_one_in(rng, 8))
		reg_write(driver, REG_INTERRUPT_ACK, reg_read(driver, REG_INTERRUPT));
	if (rng_one_in(rng, 64))
		reg_write(driver, REG_STATUS, 0);
}

void driver_scribble(const struct machine *machine, struct rng *rng)
{
	uint64_t ring = ARENA + rng_below(rng, QUEUES_MAX) * RING_BYTES;
	volatile struct descriptor *d =
		(volatile struct descriptor *)ring + rng_below(rng, SIZE_MAX_OURS);
	volatile struct block_header *header = (volatile struct block_header *)
		(DATA + rng_below(rng, DATA_BYTES / 0x2000) * 0x2000);

	switch (rng_below(rng, 8)) {
	case 0: d->address = data_address(machine, rng); break;
	case 1: d->len = some_len(rng); break;
	case 2: d->flags = (uint16_t)rng_below(rng, 8); break;
	case 3: d->next = (uint16_t)rng_below(rng, 2 * SIZE_MAX_OURS); break;
	case 4: header->type = some_request_type(rng); break;
	case 5: header->sector = some_sector(rng); break;
	case 6:
		write_descriptor(INDIRECT, rng_below(rng, INDIRECT_BYTES / 16),
				 some_descriptor(machine, rng, SIZE_MAX_OURS));
		break;
	case 7:		/* rarely: after it the ring is as good as lost */
		if (rng_one_in(rng, 4096))
			*(volatile uint16_t *)(ring + AVAILABLE + 2) = (uint16_t)rng_next(rng);
		break;
	}
}
