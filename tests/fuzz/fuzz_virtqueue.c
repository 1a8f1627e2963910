/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz what a hostile guest can do to devices: a block device and an entropy device behind virtio-mmio,
 * with registers and guest memory written as the input says. Nothing may crash, loop for ever, or
 * write to the disk what a disk of its size and kind does not have.
 *
 * The first byte chooses the drive: bit 0 read only, bit 1 Writeback, bit 2 limits, bit 3 a disk
 * that shrinks, bit 4 io_engine Async, where the host has it. Then there are operations: a byte of
 * which the highest bit chooses the device and the others the operation, and its arguments, as read
 * in step(). What is missing at the end is 0.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "virtio/block.h"
#include "virtio/device.h"
#include "virtio/mmio.h"
#include "virtio/rng.h"
#include "input.h"

#define REGION_BYTES 0x10000u
#define HIGH	     UINT64_C(0x100000000)
#define DISK_BYTES   (16u * 512u + 100u)	/* the last 100 are not the guest's */
#define STEPS_MAX    256u
#define ROUNDS_MAX   4u	/* of the loop in a step; a device may kick itself for ever */

struct machine {
	struct guest_mem *mem;
	uint8_t *ram;
	struct loop *loop;
	struct metrics *metrics;
	struct virtio_mmio *devices[2];
	struct virtio_device *block;
	int disk_fd;
	uint16_t avail_idx[2];
};

/* In place of the C library's, so that a run can be repeated. */
ssize_t getrandom(void *buf, size_t len, unsigned int flags)
{
	(void)flags;
	memset(buf, 0x5a, len);
	return (ssize_t)len;
}

static int make_disk(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	uint8_t content[DISK_BYTES];

	memset(content, 0x11, sizeof(content));
	require(fd >= 0 && pwrite(fd, content, sizeof(content), 0) == sizeof(content), "a disk");
	return fd;
}

static void machine_init(struct machine *machine, unsigned int choice)
{
	static const struct guest_region regions[] = { { 0, REGION_BYTES }, { HIGH, REGION_BYTES } };
	static const struct squib_token_bucket bytes = { 1000, 100, 1 }, ops = { 3, 0, 1 };
	static const struct squib_rate_limiter limits = { &bytes, &ops };
	struct guest_mem_params mem_params = { .regions = regions, .region_count = 2,
					       .track_dirty = true };
	const struct squib_rate_limiter *limiter = choice & 4 ? &limits : NULL;
	struct squib_drive drive = { .drive_id = "d", .is_read_only = choice & 1,
				     .cache_type = choice & 2 ? SQUIB_CACHE_WRITEBACK :
								SQUIB_CACHE_UNSAFE,
				     .io_engine = choice & 16 ? SQUIB_IO_ENGINE_ASYNC :
								SQUIB_IO_ENGINE_SYNC,
				     .rate_limiter = limiter };
	struct squib_entropy entropy = { limiter };
	struct virtio_device *rng;

	require(guest_mem_new(&mem_params, &machine->mem, NULL) == 0, "memory");
	machine->ram = guest_mem_region_data(machine->mem, 0);
	require(loop_new(&machine->loop) == 0 && metrics_new(&machine->metrics) == 0, "a loop");
	machine->disk_fd = make_disk();
	struct block_params block_params = { .config = &drive, .file_fd = machine->disk_fd,
					     .loop = machine->loop, .metrics = machine->metrics };
	struct rng_params rng_params = { .config = &entropy, .loop = machine->loop,
					 .metrics = machine->metrics };

	if (block_new(&block_params, &machine->block, NULL) < 0) {
		drive.io_engine = SQUIB_IO_ENGINE_SYNC;
		require(block_new(&block_params, &machine->block, NULL) == 0, "a drive");
	}
	require(rng_new(&rng_params, &rng) == 0, "an entropy device");
	for (unsigned int i = 0; i < 2; i++) {
		struct virtio_mmio_params params = { .device = i == 0 ? machine->block : rng,
						     .mem = machine->mem, .loop = machine->loop,
						     .metrics = machine->metrics };

		require(virtio_mmio_new(&params, &machine->devices[i]) == 0, "a transport");
	}
	if (choice & 8)
		require(ftruncate(machine->disk_fd, 5 * 512 + 7) == 0, "a smaller disk");
}

static void machine_done(struct machine *machine)
{
	virtio_mmio_free(machine->devices[0]);
	virtio_mmio_free(machine->devices[1]);
	loop_free(machine->loop);
	metrics_free(machine->metrics);
	guest_mem_free(machine->mem);
	fd_close(machine->disk_fd);
}

static void run_loop(struct machine *machine)
{
	for (unsigned int i = 0; i < ROUNDS_MAX; i++)
		require(loop_run_once(machine->loop, 0) == 0, "the loop runs");
}

static void write_register(struct machine *machine, unsigned int index, uint64_t offset,
			   uint32_t value)
{
	virtio_mmio_write(machine->devices[index], offset, &value, sizeof(value));
}

static uint32_t read_register(struct machine *machine, unsigned int index, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_read(machine->devices[index], offset, &value, sizeof(value));
	return value;
}

/* Where start() has the rings of a device. */
static uint32_t rings_of(unsigned int index)
{
	return 0x1000 + 0x4000 * index;
}

/* As a driver does it that means well, so that inputs get deep. */
static void start(struct machine *machine, unsigned int index, struct input *input)
{
	uint32_t features = (uint32_t)take(input, 4), rings = rings_of(index);
	uint32_t size = 1u << take(input, 1) % 9;
	static const uint32_t registers[] = { VIRTIO_MMIO_QUEUE_DESC_LOW,
					      VIRTIO_MMIO_QUEUE_AVAIL_LOW,
					      VIRTIO_MMIO_QUEUE_USED_LOW };

	write_register(machine, index, VIRTIO_MMIO_STATUS, 0);
	require(read_register(machine, index, VIRTIO_MMIO_STATUS) == 0, "a reset works");
	require(read_register(machine, index, VIRTIO_MMIO_INTERRUPT_STATUS) == 0, "and is whole");
	write_register(machine, index, VIRTIO_MMIO_STATUS, 1);
	write_register(machine, index, VIRTIO_MMIO_STATUS, 3);
	write_register(machine, index, VIRTIO_MMIO_DRIVER_FEATURES,
		       features & read_register(machine, index, VIRTIO_MMIO_DEVICE_FEATURES));
	write_register(machine, index, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(machine, index, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_register(machine, index, VIRTIO_MMIO_STATUS, 11);
	write_register(machine, index, VIRTIO_MMIO_QUEUE_NUM, size);
	for (uint32_t i = 0; i < 3; i++)
		write_register(machine, index, registers[i], rings + 0x1000 * i);
	write_register(machine, index, VIRTIO_MMIO_QUEUE_READY, 1);
	memset(machine->ram + rings, 0, 0x3000);
	machine->avail_idx[index] = 0;
	write_register(machine, index, VIRTIO_MMIO_STATUS, 15);
	require(read_register(machine, index, VIRTIO_MMIO_STATUS) == 15, "a good start works");
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
static void put_descriptor(struct machine *machine, unsigned int index, struct input *input,
			   bool anywhere)
{
	uint64_t gpa = anywhere ? take(input, 2) : rings_of(index) + 16 * take(input, 1);
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

static void make_available(struct machine *machine, unsigned int index, struct input *input)
{
	uint16_t *avail = (uint16_t *)(machine->ram + rings_of(index) + 0x1000);
	uint16_t head = (uint16_t)take(input, 1);
	unsigned int mask = (1u << take(input, 1) % 9) - 1;

	avail[2 + (machine->avail_idx[index] & mask)] = head;
	avail[1] = ++machine->avail_idx[index];
}

static void put_header(struct machine *machine, struct input *input)
{
	uint64_t gpa = take(input, 2);
	struct virtio_blk_outhdr header = { .type = (uint32_t)take(input, 1),
					    .sector = take(input, 1) };
	void *data;

	if (guest_mem_slice(machine->mem, gpa, sizeof(header), &data) == 0)
		memcpy(data, &header, sizeof(header));
}

static void update_drive(struct machine *machine, struct input *input)
{
	struct squib_token_bucket bytes = { take(input, 1), take(input, 1), 1 }, ops = bytes;
	struct squib_rate_limiter limiter = { take(input, 1) & 1 ? &bytes : NULL, &ops };
	struct squib_drive_update update = { .drive_id = "d", .rate_limiter = &limiter };

	require(block_update(machine->block, &update, take(input, 1) & 1 ? machine->disk_fd : -1,
			     NULL) == 0, "a drive can be changed");
}

static void access_registers(struct machine *machine, unsigned int index, struct input *input,
			     bool write)
{
	uint64_t offset = take(input, 2);
	size_t len = 1 + take(input, 1) % 8;
	uint64_t value = write ? take(input, len) : 0;

	if (write)
		virtio_mmio_write(machine->devices[index], offset, &value, len);
	else
		virtio_mmio_read(machine->devices[index], offset, &value, len);
}

static void step(struct machine *machine, struct input *input)
{
	unsigned int op = (unsigned int)take(input, 1), index = op >> 7;
	uint32_t offset;

	switch (op & 0x7f) {
	case 0:
		start(machine, index, input);
		break;
	case 1:
		put_descriptor(machine, index, input, false);
		break;
	case 2:
		put_descriptor(machine, index, input, true);
		break;
	case 3:
		make_available(machine, index, input);
		break;
	case 4:
		write_register(machine, index, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		run_loop(machine);
		break;
	case 5:
		put_header(machine, input);
		break;
	case 6:
		write_memory(machine, input);
		break;
	case 7:
		offset = (uint32_t)take(input, 1);
		write_register(machine, index, offset, (uint32_t)take(input, 4));
		break;
	case 8:
		access_registers(machine, index, input, true);
		break;
	case 9:
		access_registers(machine, index, input, false);
		break;
	case 10:
		virtio_mmio_pause(machine->devices[index]);
		break;
	case 11:
		virtio_mmio_resume(machine->devices[index]);
		break;
	case 12:
		update_drive(machine, input);
		break;
	default:
		run_loop(machine);
		break;
	}
}

static void check_disk(const struct machine *machine, unsigned int choice)
{
	uint8_t content[DISK_BYTES];
	off_t size = lseek(machine->disk_fd, 0, SEEK_END);

	require(size <= (off_t)DISK_BYTES, "the disk does not grow");
	if ((choice & 8) == 0)
		require(size == (off_t)DISK_BYTES, "nor does it shrink");
	if ((choice & 8) == 0 && pread(machine->disk_fd, content, sizeof(content), 0) == size)
		for (size_t i = choice & 1 ? 0 : 16 * 512; i < sizeof(content); i++)
			require(content[i] == 0x11, "what is not the guest's is not written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct machine machine = { 0 };
	unsigned int choice = (unsigned int)take(&input, 1);

	machine_init(&machine, choice);
	for (unsigned int i = 0; i < STEPS_MAX && input.len > 0; i++) {
		step(&machine, &input);
		for (unsigned int j = 0; j < 2; j++)
			require((read_register(&machine, j, VIRTIO_MMIO_STATUS) & ~0xcfu) == 0,
				"the status has known bits");
	}
	virtio_mmio_pause(machine.devices[0]);	/* what is under way is done */
	check_disk(&machine, choice);
	machine_done(&machine);
	return 0;
}
