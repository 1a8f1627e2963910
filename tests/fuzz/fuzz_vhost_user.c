/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz what another monitor, and the guest in it, can do to a drive served over vhost-user: messages
 * with descriptors, bytes that are none, rings and requests in memory that it shares. Nothing may
 * crash, wait, or leave a descriptor behind, and the disk stays as large as it is.
 *
 * The input is operations: a byte and its arguments, as read in step(). What is missing at the end
 * is 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "vhost_user/channel.h"
#include "vhost_user/device.h"
#include "virtio/block.h"
#include "virtio/device.h"
#include "input.h"

#define MEM_BYTES  0x10000u
#define USER	   UINT64_C(0x7f0000000000)
#define DESC	   0x1000u
#define AVAIL	   0x2000u
#define USED	   0x3000u
#define DISK_BYTES (16u * 512u)
#define STEPS_MAX  256u
#define ROUNDS_MAX 4u	/* of the loop in a step; a device may kick itself for ever */

struct machine {
	struct loop *loop;
	struct metrics *metrics;
	struct virtio_device *block;
	struct vhost_user_device *transport;
	int fd;			/* the other monitor's side */
	int mem_fd, disk_fd, kick_fd, call_fd, plain_fd;
	uint8_t *ram;
	uint16_t avail_idx;
};

static void take_bytes(struct input *input, void *data, size_t len)
{
	memset(data, 0, len);
	if (len > input->len)
		len = input->len;
	memcpy(data, input->data, len);
	input->data += len;
	input->len -= len;
}

/* The lowest number that is free: the same as before when nothing is left. */
static int free_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void machine_init(struct machine *machine)
{
	struct squib_drive drive = { .drive_id = "d", .cache_type = SQUIB_CACHE_WRITEBACK };
	int fds[2];

	require(loop_new(&machine->loop) == 0 && metrics_new(&machine->metrics) == 0, "a loop");
	machine->mem_fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	require(ftruncate(machine->mem_fd, MEM_BYTES) == 0 &&
		fcntl(machine->mem_fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0, "memory");
	machine->ram = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, machine->mem_fd, 0);
	require(machine->ram != MAP_FAILED, "memory is mapped");
	machine->disk_fd = memfd_create("disk", MFD_CLOEXEC);
	machine->plain_fd = memfd_create("plain", MFD_CLOEXEC);
	require(ftruncate(machine->disk_fd, DISK_BYTES) == 0, "a disk");
	machine->kick_fd = eventfd(0, EFD_CLOEXEC);
	machine->call_fd = eventfd(0, EFD_CLOEXEC);
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "a channel");
	machine->fd = fds[0];
	struct block_params params = { .config = &drive, .file_fd = machine->disk_fd,
				       .loop = machine->loop, .metrics = machine->metrics };

	require(block_new(&params, &machine->block, NULL) == 0, "a drive");
	struct vhost_user_params transport_params = { .device = machine->block, .fd = fds[1],
						      .loop = machine->loop,
						      .metrics = machine->metrics };

	require(vhost_user_device_new(&transport_params, &machine->transport) == 0, "a transport");
}

static void machine_done(struct machine *machine)
{
	vhost_user_device_free(machine->transport);
	require(lseek(machine->disk_fd, 0, SEEK_END) == DISK_BYTES, "the disk has its size");
	munmap(machine->ram, MEM_BYTES);
	fd_close(machine->fd);
	fd_close(machine->mem_fd);
	fd_close(machine->disk_fd);
	fd_close(machine->plain_fd);
	fd_close(machine->kick_fd);
	fd_close(machine->call_fd);
	loop_free(machine->loop);
	metrics_free(machine->metrics);
}

static void run_loop(struct machine *machine)
{
	for (unsigned int i = 0; i < ROUNDS_MAX; i++)
		require(loop_run_once(machine->loop, 0) == 0, "the loop runs");
}

static void send_message(struct machine *machine, uint32_t request, const void *payload,
			 size_t size, int fd, size_t fd_count)
{
	struct vu_header header = { request, VU_FLAGS_VERSION, (uint32_t)size };
	int fds[VU_FDS_MAX];

	for (size_t i = 0; i < VU_FDS_MAX; i++)
		fds[i] = fd;
	vu_send(machine->fd, &header, payload, fds, fd_count);
	run_loop(machine);
}

static void set_state(struct machine *machine, uint32_t request, unsigned int num)
{
	struct vhost_vring_state state = { 0, num };

	send_message(machine, request, &state, sizeof(state), -1, 0);
}

static void give_mem(struct machine *machine)
{
	struct vu_mem_table table = { .region_count = 1 };

	table.regions[0] = (struct vu_region){ 0, MEM_BYTES, USER, 0 };
	send_message(machine, VU_SET_MEM_TABLE, &table, 40, machine->mem_fd, 1);
}

/* As a front end does it that means well, so that inputs get deep. */
static void start(struct machine *machine, struct input *input)
{
	struct vhost_vring_addr addr = { .desc_user_addr = USER + DESC, .avail_user_addr = USER + AVAIL,
					 .used_user_addr = USER + USED };
	uint64_t features = VU_F_PROTOCOL_FEATURES | UINT64_C(1) << VIRTIO_F_VERSION_1 | take(input, 4);
	uint64_t index = 0;

	features &= machine->block->features | VU_F_PROTOCOL_FEATURES;
	set_state(machine, VU_GET_VRING_BASE, 0);
	send_message(machine, VU_SET_FEATURES, &features, 8, -1, 0);
	give_mem(machine);
	set_state(machine, VU_SET_VRING_NUM, 1u << take(input, 1) % 11);
	set_state(machine, VU_SET_VRING_BASE, (unsigned int)take(input, 1));
	send_message(machine, VU_SET_VRING_ADDR, &addr, sizeof(addr), -1, 0);
	send_message(machine, VU_SET_VRING_CALL, &index, 8, machine->call_fd, 1);
	send_message(machine, VU_SET_VRING_KICK, &index, 8, machine->kick_fd, 1);
	set_state(machine, VU_SET_VRING_ENABLE, 1);
}

static void send_any(struct machine *machine, struct input *input)
{
	const int kinds[] = { machine->kick_fd, machine->mem_fd, machine->plain_fd, machine->fd };
	uint32_t request = (uint32_t)take(input, 1) % 48;
	size_t size = take(input, 2) % (sizeof(union vu_payload) + 1);
	unsigned int what = (unsigned int)take(input, 1);
	union vu_payload payload;

	take_bytes(input, &payload, size);
	send_message(machine, request, &payload, size, kinds[what & 3], (what >> 2) % 9);
}

static void send_bytes(struct machine *machine, struct input *input)
{
	uint8_t bytes[64];
	size_t len = take(input, 1) % sizeof(bytes);

	take_bytes(input, bytes, len);
	if (len > 0 && send(machine->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		require(errno == EPIPE || errno == EAGAIN || errno == ECONNRESET, "it can be sent");
	run_loop(machine);
}

static void read_replies(struct machine *machine)
{
	uint8_t bytes[1024];

	while (recv(machine->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void put_descriptor(struct machine *machine, struct input *input)
{
	uint32_t at = DESC + 16 * (uint32_t)take(input, 1);
	struct virtq_desc desc = { .addr = take(input, 2), .len = (uint32_t)take(input, 2) };

	desc.flags = (uint16_t)take(input, 1);
	desc.next = (uint16_t)take(input, 1);
	memcpy(machine->ram + at, &desc, sizeof(desc));
}

static void make_available(struct machine *machine, struct input *input)
{
	uint16_t *avail = (uint16_t *)(machine->ram + AVAIL);
	uint16_t head = (uint16_t)take(input, 1);
	unsigned int mask = (1u << take(input, 1) % 11) - 1;

	avail[2 + (machine->avail_idx & mask)] = head;
	avail[1] = ++machine->avail_idx;
}

static void put_header(struct machine *machine, struct input *input)
{
	uint32_t at = (uint32_t)take(input, 2) % (MEM_BYTES - 16);
	struct virtio_blk_outhdr header = { .type = (uint32_t)take(input, 1),
					    .sector = take(input, 1) };

	memcpy(machine->ram + at, &header, sizeof(header));
}

static void write_memory(struct machine *machine, struct input *input)
{
	uint32_t at = (uint32_t)take(input, 2) % (MEM_BYTES - 256);

	take_bytes(input, machine->ram + at, take(input, 1));
}

static void kick(struct machine *machine)
{
	uint64_t one = 1;

	require(write(machine->kick_fd, &one, sizeof(one)) == sizeof(one), "a kick");
	run_loop(machine);
}

static void update_drive(struct machine *machine)
{
	struct squib_drive_update update = { .drive_id = "d" };

	require(block_update(machine->block, &update, machine->disk_fd, NULL) == 0,
		"a drive can be changed");
}

static void step(struct machine *machine, struct input *input)
{
	switch (take(input, 1) % 14) {
	case 0:
		start(machine, input);
		break;
	case 1:
		send_any(machine, input);
		break;
	case 2:
		send_bytes(machine, input);
		break;
	case 3:
		read_replies(machine);
		break;
	case 4:
		put_descriptor(machine, input);
		break;
	case 5:
		make_available(machine, input);
		break;
	case 6:
		put_header(machine, input);
		break;
	case 7:
		write_memory(machine, input);
		break;
	case 8:
		kick(machine);
		break;
	case 9:
		vhost_user_device_pause(machine->transport);
		break;
	case 10:
		vhost_user_device_resume(machine->transport);
		break;
	case 11:
		update_drive(machine);
		break;
	case 12:
		set_state(machine, VU_GET_VRING_BASE, 0);
		break;
	default:
		give_mem(machine);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct machine machine = { 0 };
	int before = free_fd();

	signal(SIGPIPE, SIG_IGN);
	machine_init(&machine);
	for (unsigned int i = 0; i < STEPS_MAX && input.len > 0; i++)
		step(&machine, &input);
	machine_done(&machine);
	require(free_fd() == before, "no descriptor is left");
	return 0;
}
