/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front end that says what each test has it say, over a socket pair, with a drive of ours or a
 * device that writes down what is done with it.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/fd.h"
#include "vhost_user/channel.h"
#include "vhost_user/device.h"
#include "virtio/block.h"
#include "virtio/test_driver.h"

#define MEM_BYTES DRIVER_MEM_BYTES
#define USER	  UINT64_C(0x7f0000000000)	/* where the front end has its memory */
#define LOW_BYTES 0x8000u			/* of the first region: the rings */
#define HIGH	  UINT64_C(0x100000000)		/* of the second, which begins where the first ends */

#define HEADER DRIVER_DATA
#define STATUS (DRIVER_DATA + 0x100u)
#define DATA   (DRIVER_DATA + 0x1000u)
#define DISK_SECTORS 64u

#define VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)

#define RING_SIZE 64u

/* Writes down what is done with it, and keeps requests until it is kicked or paused. */
struct probe {
	struct virtio_device device;
	char done[512];
	int activate_result;
	bool keeps;		/* requests are finished by pause() only */
	struct vq_chain chain;
	bool has_chain;
	uint8_t config[8];
};

struct front {
	struct driver driver;		/* without its transport: ring 0, memory, loop, metrics */
	struct vhost_user_device *transport;
	struct virtio_device *device;
	struct probe *probe;		/* NULL: a drive */
	int fd;				/* our side of the channel */
	int mem_fd;
	int disk_fd;
	int kick_fd, call_fd;		/* of ring 0 */
	size_t fds_before;
};

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* --- the probe */

static struct probe *of_device(struct virtio_device *device)
{
	return container_of(device, struct probe, device);
}

static void note(struct probe *probe, const char *what)
{
	assert_true(strlen(probe->done) + strlen(what) + 2 < sizeof(probe->done));
	if (probe->done[0] != 0)
		strcat(probe->done, " ");
	strcat(probe->done, what);
}

static void finish_chain(struct probe *probe)
{
	if (!probe->has_chain)
		return;
	vq_push(&probe->device.queues[0], &probe->chain, 0);
	virtio_queue_notify(&probe->device, 0);
	probe->has_chain = false;
}

static int probe_activate(struct virtio_device *device)
{
	note(of_device(device), "activate");
	return of_device(device)->activate_result;
}

static void probe_queue_kicked(struct virtio_device *device, uint16_t queue)
{
	static const char *const names[] = { "kick0", "kick1", "kick2" };
	struct probe *probe = of_device(device);

	note(probe, names[queue]);
	if (probe->has_chain || queue != 0)
		return;
	probe->has_chain = virtio_queue_pop(device, 0, &probe->chain) > 0;
	if (!probe->keeps)
		finish_chain(probe);
}

static void probe_reset(struct virtio_device *device)
{
	note(of_device(device), "reset");
	of_device(device)->has_chain = false;
}

static void probe_pause(struct virtio_device *device)
{
	note(of_device(device), "pause");
	finish_chain(of_device(device));
}

static void probe_resume(struct virtio_device *device)
{
	note(of_device(device), "resume");
}

static void probe_config_read(struct virtio_device *device, uint32_t offset, void *data, size_t len)
{
	memcpy(data, of_device(device)->config + offset, len);
}

static void probe_config_write(struct virtio_device *device, uint32_t offset, const void *data,
			       size_t len)
{
	memcpy(of_device(device)->config + offset, data, len);
}

static void probe_free(struct virtio_device *device)
{
	virtio_device_done(device);
	free(of_device(device));
}

static const struct virtio_ops probe_ops = {
	.device_id = VIRTIO_ID_VSOCK,
	.queue_count = 3,
	.activate = probe_activate,
	.queue_kicked = probe_queue_kicked,
	.reset = probe_reset,
	.pause = probe_pause,
	.resume = probe_resume,
	.config_read = probe_config_read,
	.config_write = probe_config_write,
	.free = probe_free,
};

static struct virtio_device *make_probe(struct front *front)
{
	struct probe *probe = calloc(1, sizeof(*probe));

	assert_non_null(probe);
	virtio_device_init(&probe->device, &probe_ops);
	probe->device.config_len = sizeof(probe->config);
	memcpy(probe->config, "12345678", sizeof(probe->config));
	front->probe = probe;
	return &probe->device;
}

static struct virtio_device *make_drive(struct front *front)
{
	struct squib_drive drive = { .drive_id = "disk", .io_engine = SQUIB_IO_ENGINE_SYNC };
	struct block_params params = { .config = &drive, .loop = front->driver.loop,
				       .metrics = front->driver.metrics };
	struct virtio_device *device;
	uint8_t sector[512];

	front->disk_fd = params.file_fd = memfd_create("disk", MFD_CLOEXEC);
	for (unsigned int i = 0; i < DISK_SECTORS; i++) {
		memset(sector, (int)i, sizeof(sector));
		assert_int_equal(pwrite(front->disk_fd, sector, 512, 512 * (off_t)i), 512);
	}
	assert_int_equal(block_new(&params, &device, NULL), 0);
	return device;
}

/* --- the front end */

static int make_mem(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEM_BYTES), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static int make_event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);	/* blocks, as a careless front end's may */

	assert_true(fd >= 0);
	return fd;
}

static void set_up(struct front *front, bool drive)
{
	struct vhost_user_params params;
	int fds[2];

	*front = (struct front){ .fds_before = count_fds(), .disk_fd = -1 };
	assert_int_equal(loop_new(&front->driver.loop), 0);
	assert_int_equal(metrics_new(&front->driver.metrics), 0);
	front->driver.size = RING_SIZE;
	front->mem_fd = make_mem();
	front->driver.ram = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, front->mem_fd, 0);
	assert_ptr_not_equal(front->driver.ram, MAP_FAILED);
	front->kick_fd = make_event();
	front->call_fd = make_event();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	front->fd = fds[0];
	front->device = drive ? make_drive(front) : make_probe(front);
	params = (struct vhost_user_params){ .device = front->device, .fd = fds[1],
					     .loop = front->driver.loop,
					     .metrics = front->driver.metrics };
	assert_int_equal(vhost_user_device_new(&params, &front->transport), 0);
}

static void tear_down(struct front *front)
{
	vhost_user_device_free(front->transport);
	fd_close(front->fd);
	fd_close(front->kick_fd);
	fd_close(front->call_fd);
	munmap(front->driver.ram, MEM_BYTES);
	fd_close(front->mem_fd);
	fd_close(front->disk_fd);
	loop_free(front->driver.loop);
	metrics_free(front->driver.metrics);
	assert_int_equal(count_fds(), front->fds_before);
}

static void run(struct front *front)
{
	driver_run(&front->driver);
}

static void send_message(struct front *front, uint32_t request, uint32_t flags,
			 const void *payload, size_t size, const int *fds, size_t fd_count)
{
	struct vu_header header = { request, VU_FLAGS_VERSION | flags, (uint32_t)size };

	assert_int_equal(vu_send(front->fd, &header, payload, fds, fd_count), 0);
	run(front);
}

static void say(struct front *front, uint32_t request, const void *payload, size_t size)
{
	send_message(front, request, 0, payload, size, NULL, 0);
}

static void say_u64(struct front *front, uint32_t request, uint64_t value)
{
	say(front, request, &value, sizeof(value));
}

static void say_state(struct front *front, uint32_t request, unsigned int index, unsigned int num)
{
	struct vhost_vring_state state = { index, num };

	say(front, request, &state, sizeof(state));
}

static void say_fd(struct front *front, uint32_t request, uint64_t value, int fd)
{
	send_message(front, request, 0, &value, sizeof(value), &fd, 1);
}

/* The reply that is there; its payload. */
static union vu_payload hear(int fd, uint32_t request, uint32_t flags)
{
	struct vu_channel channel;
	union vu_payload payload;

	vu_channel_init(&channel, fd);
	assert_int_equal(vu_channel_receive(&channel), 1);
	assert_int_equal(channel.message.header.request, request);
	assert_int_equal(channel.message.header.flags, VU_FLAGS_VERSION | flags);
	assert_int_equal(channel.message.fd_count, 0);
	payload = channel.message.payload;
	vu_channel_next(&channel);
	return payload;
}

static union vu_payload ask(struct front *front, uint32_t request, const void *payload, size_t size)
{
	say(front, request, payload, size);
	return hear(front->fd, request, VU_FLAG_REPLY);
}

static unsigned int stop_ring(struct front *front, unsigned int index)
{
	struct vhost_vring_state state = { index, 0 };

	state = ask(front, VU_GET_VRING_BASE, &state, sizeof(state)).state;
	assert_int_equal(state.index, index);
	return state.num;
}

static bool is_open(const struct front *front)
{
	char byte;
	ssize_t n = recv(front->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	return n > 0 || (n < 0 && errno == EAGAIN);
}

static struct vu_mem_table mem_table(void)
{
	struct vu_mem_table table = { .region_count = 2 };

	table.regions[0] = (struct vu_region){ 0, LOW_BYTES, USER, 0 };
	table.regions[1] = (struct vu_region){ LOW_BYTES, MEM_BYTES - LOW_BYTES, USER + LOW_BYTES,
					       LOW_BYTES };
	return table;
}

static void give_mem(struct front *front, const struct vu_mem_table *table, int fd)
{
	int fds[] = { fd, fd };

	send_message(front, VU_SET_MEM_TABLE, 0, table,
		     offsetof(struct vu_mem_table, regions) +
			     table->region_count * sizeof(table->regions[0]),
		     fds, table->region_count);
}

static void place_ring_at(struct front *front, unsigned int index, unsigned int size, uint64_t desc)
{
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = USER + desc,
		.avail_user_addr = USER + DRIVER_AVAIL,
		.used_user_addr = USER + DRIVER_USED,
	};

	say_state(front, VU_SET_VRING_NUM, index, size);
	say(front, VU_SET_VRING_ADDR, &addr, sizeof(addr));
}

static void place_ring(struct front *front, unsigned int index, unsigned int base)
{
	place_ring_at(front, index, RING_SIZE, DRIVER_DESC);
	say_state(front, VU_SET_VRING_BASE, index, base);
}

static void start_ring(struct front *front, unsigned int index)
{
	say_fd(front, VU_SET_VRING_KICK, index, front->kick_fd);
	say_state(front, VU_SET_VRING_ENABLE, index, 1);
}

static void prepare_with(struct front *front, uint64_t features)
{
	struct vu_mem_table table = mem_table();

	say_u64(front, VU_SET_PROTOCOL_FEATURES, VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_CONFIG |
						 VU_PROTOCOL_F_BACKEND_REQ);
	say(front, VU_SET_OWNER, NULL, 0);
	say_u64(front, VU_SET_FEATURES, features);
	give_mem(front, &table, front->mem_fd);
	say_fd(front, VU_SET_VRING_CALL, 0, front->call_fd);
}

static void prepare(struct front *front)
{
	prepare_with(front, VU_F_PROTOCOL_FEATURES | VERSION_1 | EVENT_IDX);
}

static void start(struct front *front)
{
	prepare(front);
	place_ring(front, 0, 0);
	start_ring(front, 0);
}

static void kick(struct front *front)
{
	uint64_t one = 1;

	assert_int_equal(write(front->kick_fd, &one, sizeof(one)), sizeof(one));
	run(front);
}

static bool is_signalled(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t count;

	return poll(&pfd, 1, 0) > 0 && read(fd, &count, sizeof(count)) == sizeof(count);
}

static bool did(struct front *front, const char *what)
{
	bool same = strcmp(front->probe->done, what) == 0;

	if (!same)
		print_error("did \"%s\", not \"%s\"\n", front->probe->done, what);
	front->probe->done[0] = 0;
	return same;
}

/* A buffer for the probe. */
static void offer(struct front *front)
{
	static const struct driver_buf buf = { DATA, 8, true };

	driver_add(&front->driver, &buf, 1);
	kick(front);
}

static bool took_back(struct front *front)
{
	uint32_t head, len;

	return driver_take(&front->driver, &head, &len);
}

/* --- a drive */

static unsigned int transfer(struct front *front, uint32_t type, uint64_t sector, uint32_t len)
{
	struct driver_buf bufs[] = { { HEADER, 16, false },
				     { DATA, len, type != VIRTIO_BLK_T_OUT },
				     { STATUS, 1, true } };
	struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };

	memcpy(front->driver.ram + HEADER, &header, sizeof(header));
	front->driver.ram[STATUS] = 0xaa;
	driver_add(&front->driver, bufs, 3);
	kick(front);
	return took_back(front) ? front->driver.ram[STATUS] : 0xff;
}

static void a_drive_is_served(void **state)
{
	struct front front;
	uint64_t offered;
	uint8_t want[1024];

	(void)state;
	set_up(&front, true);
	offered = ask(&front, VU_GET_FEATURES, NULL, 0).u64;
	assert_int_equal(offered, front.device->features | VU_F_PROTOCOL_FEATURES);
	assert_true((offered & VERSION_1) != 0);
	assert_int_equal(ask(&front, VU_GET_PROTOCOL_FEATURES, NULL, 0).u64,
			 VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_BACKEND_REQ |
			 VU_PROTOCOL_F_CONFIG);
	assert_int_equal(ask(&front, VU_GET_QUEUE_NUM, NULL, 0).u64, 1);
	start(&front);
	assert_true(front.device->active);
	assert_int_equal(front.device->acked_features, VERSION_1 | EVENT_IDX);
	assert_int_equal(transfer(&front, VIRTIO_BLK_T_IN, 3, 1024), VIRTIO_BLK_S_OK);
	memset(want, 3, 512);
	memset(want + 512, 4, 512);
	assert_memory_equal(front.driver.ram + DATA, want, 1024);
	assert_true(is_signalled(front.call_fd));
	memset(front.driver.ram + DATA, 0x77, 512);
	assert_int_equal(transfer(&front, VIRTIO_BLK_T_OUT, 5, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(front.disk_fd, want, 512, 512 * 5), 512);
	assert_memory_equal(want, front.driver.ram + DATA, 512);
	assert_int_equal(front.driver.metrics->interrupts.triggers.value, 1);
	assert_int_equal(stop_ring(&front, 0), 2);
	assert_false(front.device->active);
	assert_int_equal(transfer(&front, VIRTIO_BLK_T_IN, 3, 512), 0xff);
	assert_true(is_open(&front));
	tear_down(&front);
}

static void many_requests_are_served_around_every_wrap(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, true);
	start(&front);
	for (unsigned int i = 0; i < 70000; i++) {
		if (i % 5000 == 1) {	/* stopped and started where it was */
			assert_int_equal(stop_ring(&front, 0), i & 0xffff);
			place_ring(&front, 0, i & 0xffff);
			start_ring(&front, 0);
		}
		assert_int_equal(transfer(&front, VIRTIO_BLK_T_IN, i % DISK_SECTORS, 512),
				 VIRTIO_BLK_S_OK);
		assert_int_equal(front.driver.ram[DATA], i % DISK_SECTORS);
	}
	tear_down(&front);
}

/* --- the configuration */

static const uint8_t *read_config(struct front *front, unsigned int offset, unsigned int size)
{
	static struct vu_config config;

	config = (struct vu_config){ .offset = offset, .size = size, .flags = 1 };
	memset(config.data, 0xee, sizeof(config.data));
	config = ask(front, VU_GET_CONFIG, &config, offsetof(struct vu_config, data) + size).config;
	assert_int_equal(config.offset, offset);
	assert_int_equal(config.size, size);
	assert_int_equal(config.flags, 1);
	return config.data;
}

static void write_config(struct front *front, unsigned int offset, const char *text)
{
	struct vu_config config = { .offset = offset, .size = (uint32_t)strlen(text) };

	memcpy(config.data, text, strlen(text));
	say(front, VU_SET_CONFIG, &config, offsetof(struct vu_config, data) + config.size);
}

static void the_configuration_is_read_and_written(void **state)
{
	static const uint8_t zero[VU_CONFIG_BYTES_MAX];
	struct front front;

	(void)state;
	set_up(&front, false);
	assert_memory_equal(read_config(&front, 0, 8), "12345678", 8);
	assert_memory_equal(read_config(&front, 2, 3), "345", 3);
	assert_memory_equal(read_config(&front, 6, 100), "78", 2);
	assert_memory_equal(read_config(&front, 6, 100) + 2, zero, 98);
	assert_memory_equal(read_config(&front, 8, 8), zero, 8);
	assert_memory_equal(read_config(&front, 0, 256) + 8, zero, 248);
	assert_memory_equal(read_config(&front, 255, 1), zero, 1);
	read_config(&front, 256, 0);
	write_config(&front, 1, "abc");
	write_config(&front, 6, "xyz");		/* not all of it is there */
	write_config(&front, 8, "x");
	write_config(&front, 0, "");
	assert_memory_equal(read_config(&front, 0, 8), "1abc5678", 8);
	assert_true(is_open(&front));
	tear_down(&front);
}

static bool is_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

static void a_change_of_the_configuration_is_told(void **state)
{
	struct squib_drive_update update = { .drive_id = "disk" };
	struct front front;
	uint64_t capacity;
	int fds[2];

	(void)state;
	set_up(&front, true);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(ftruncate(front.disk_fd, 100 * 512), 0);
	assert_int_equal(block_update(front.device, &update, front.disk_fd, NULL), 0);
	send_message(&front, VU_SET_BACKEND_REQ_FD, VU_FLAG_NEED_REPLY, NULL, 0, &fds[1], 1);
	assert_int_equal(block_update(front.device, &update, front.disk_fd, NULL), 0);
	assert_false(is_readable(fds[0]));		/* nothing runs, QEMU would not listen */
	start(&front);
	hear(fds[0], VU_BACKEND_CONFIG_CHANGE, 0);
	vhost_user_device_pause(front.transport);
	assert_int_equal(block_update(front.device, &update, front.disk_fd, NULL), 0);
	assert_false(is_readable(fds[0]));
	vhost_user_device_resume(front.transport);
	hear(fds[0], VU_BACKEND_CONFIG_CHANGE, 0);
	assert_int_equal(block_update(front.device, &update, front.disk_fd, NULL), 0);
	hear(fds[0], VU_BACKEND_CONFIG_CHANGE, 0);
	memcpy(&capacity, read_config(&front, 0, 8), 8);
	assert_int_equal(le64toh(capacity), 100);
	for (unsigned int i = 0; i < 5000; i++)		/* nobody reads: nothing waits */
		assert_int_equal(block_update(front.device, &update, front.disk_fd, NULL), 0);
	fd_close(fds[0]);
	fd_close(fds[1]);
	assert_int_equal(block_update(front.device, &update, front.disk_fd, NULL), 0);
	tear_down(&front);
}

/* --- rings */

static void the_first_ring_activates_the_device(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, false);
	prepare(&front);
	say_state(&front, VU_SET_VRING_ENABLE, 0, 1);	/* as for a network device */
	say_state(&front, VU_SET_VRING_ENABLE, 1, 1);
	place_ring(&front, 0, 0);
	place_ring(&front, 1, 0);
	assert_true(did(&front, ""));
	say_fd(&front, VU_SET_VRING_KICK, 1, front.kick_fd);
	assert_true(did(&front, "activate kick1"));
	assert_false(front.device->queues[0].enabled);
	say_fd(&front, VU_SET_VRING_KICK, 0, front.kick_fd);
	assert_true(did(&front, "kick0"));
	kick(&front);	/* one eventfd for both, here */
	assert_non_null(strstr(front.probe->done, "kick0"));
	assert_non_null(strstr(front.probe->done, "kick1"));
	front.probe->done[0] = 0;
	say_state(&front, VU_SET_VRING_ENABLE, 1, 0);
	assert_true(did(&front, "pause resume"));
	kick(&front);
	assert_true(did(&front, "kick0"));
	say_state(&front, VU_SET_VRING_ENABLE, 1, 1);
	assert_true(did(&front, "kick1"));
	assert_int_equal(stop_ring(&front, 0), 0);
	assert_true(did(&front, "pause resume"));
	assert_int_equal(stop_ring(&front, 1), 0);
	assert_true(did(&front, "reset"));
	kick(&front);
	assert_true(did(&front, ""));
	place_ring(&front, 1, 0);
	assert_true(is_signalled(front.kick_fd));	/* and not any more */
	say_fd(&front, VU_SET_VRING_KICK, 1, front.kick_fd);	/* enabled as before */
	assert_true(did(&front, "activate kick1"));
	tear_down(&front);
}

static void without_protocol_features_rings_start_enabled(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, false);
	prepare_with(&front, VERSION_1);
	place_ring(&front, 0, 0);
	say_fd(&front, VU_SET_VRING_KICK, 0, front.kick_fd);
	assert_true(did(&front, "activate kick0"));
	tear_down(&front);
}

static void a_request_under_way_is_finished_before_its_ring_stops(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, false);
	start(&front);
	front.probe->keeps = true;
	offer(&front);
	assert_false(took_back(&front));
	say_state(&front, VU_SET_VRING_ENABLE, 0, 0);
	assert_true(took_back(&front));
	assert_int_equal(stop_ring(&front, 0), 1);
	tear_down(&front);
}

static void memory_changes_under_running_rings(void **state)
{
	struct vu_mem_table table = mem_table();
	struct front front;
	uint8_t *ram;
	int other;

	(void)state;
	set_up(&front, false);
	other = make_mem();
	start(&front);
	offer(&front);
	assert_true(took_back(&front));
	front.probe->keeps = true;
	offer(&front);
	assert_true(did(&front, "activate kick0 kick0 kick0"));
	assert_false(took_back(&front));
	ram = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	assert_ptr_not_equal(ram, MAP_FAILED);
	memcpy(ram, front.driver.ram, MEM_BYTES);
	((uint16_t *)(ram + DRIVER_USED))[1] = 2;	/* as the old will be */
	give_mem(&front, &table, other);
	assert_true(did(&front, "pause resume kick0"));
	assert_true(took_back(&front));
	munmap(front.driver.ram, MEM_BYTES);
	front.driver.ram = ram;
	front.probe->keeps = false;
	offer(&front);
	assert_true(took_back(&front));
	/* A table without the rings: the ring does not run, and that is all. */
	table.region_count = 1;
	table.regions[0].user_addr += MEM_BYTES;
	give_mem(&front, &table, other);
	assert_false(front.device->queues[0].enabled);
	assert_int_equal(stop_ring(&front, 0), 3);
	assert_true(is_open(&front));
	fd_close(other);
	tear_down(&front);
}

static void guest_addresses_are_not_the_front_ends(void **state)
{
	struct vu_mem_table table = mem_table();
	struct driver_buf buf = { HIGH + DATA - LOW_BYTES, 8, true };
	struct front front;

	(void)state;
	set_up(&front, false);
	prepare(&front);
	table.regions[1].gpa = HIGH;
	give_mem(&front, &table, front.mem_fd);
	place_ring(&front, 0, 0);
	start_ring(&front, 0);
	driver_add(&front.driver, &buf, 1);
	kick(&front);
	assert_true(took_back(&front));
	assert_false(front.device->queues[0].broken);
	offer(&front);		/* at an address that is not there any more */
	assert_false(took_back(&front));
	assert_true(front.device->queues[0].broken);
	tear_down(&front);
}

static void a_broken_ring_is_left_alone_until_a_reset(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, false);
	start(&front);
	((uint16_t *)(front.driver.ram + DRIVER_AVAIL))[1] = 1000;
	kick(&front);
	assert_true(did(&front, "activate kick0 kick0"));
	kick(&front);
	assert_true(did(&front, ""));
	assert_int_equal(stop_ring(&front, 0), 0);
	assert_true(did(&front, "reset"));
	((uint16_t *)(front.driver.ram + DRIVER_AVAIL))[1] = 0;
	place_ring(&front, 0, 0);
	start_ring(&front, 0);
	offer(&front);
	assert_true(took_back(&front));
	tear_down(&front);
}

static void rings_that_a_driver_misplaces_do_not_run(void **state)
{
	static const struct { const char *name; unsigned int size; uint64_t desc; } cases[] = {
		{ "no size", 0, DRIVER_DESC },
		{ "no power of two", 63, DRIVER_DESC },
		{ "larger than QEMU's", 2048, DRIVER_DESC },
		{ "larger than 16 bits", 65536 + 64, DRIVER_DESC },
		{ "not aligned", 64, DRIVER_DESC + 8 },
		{ "past its region", 64, LOW_BYTES - 16 },
		{ "in no memory", 64, MEM_BYTES },
		{ "below all memory", 64, 0 - USER },
	};
	struct front front;

	(void)state;
	set_up(&front, false);
	prepare(&front);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		place_ring_at(&front, 0, cases[i].size, cases[i].desc);
		start_ring(&front, 0);
		if (front.device->queues[0].enabled || !is_open(&front))
			fail_msg("%s", cases[i].name);
		stop_ring(&front, 0);
	}
	/* Nor without the features of a modern driver. */
	say_u64(&front, VU_SET_FEATURES, VU_F_PROTOCOL_FEATURES | EVENT_IDX);
	place_ring(&front, 0, 0);
	start_ring(&front, 0);
	assert_false(front.device->queues[0].enabled);
	stop_ring(&front, 0);
	say_u64(&front, VU_SET_FEATURES, VU_F_PROTOCOL_FEATURES | VERSION_1);
	front.probe->done[0] = 0;
	start_ring(&front, 0);
	assert_true(did(&front, "activate kick0"));
	tear_down(&front);
}

static void a_device_that_does_not_start_can_be_tried_again(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, false);
	front.probe->activate_result = -EIO;
	start(&front);
	assert_true(did(&front, "activate reset"));
	assert_false(front.device->active);
	kick(&front);
	assert_true(did(&front, ""));
	stop_ring(&front, 0);
	front.probe->activate_result = 0;
	front.probe->done[0] = 0;
	assert_true(is_signalled(front.kick_fd));	/* and not any more */
	start_ring(&front, 0);
	assert_true(did(&front, "activate kick0"));
	tear_down(&front);
}

/* What was signalled to the one before may have been lost. */
static void a_new_call_descriptor_is_signalled(void **state)
{
	struct front front;
	int other;

	(void)state;
	set_up(&front, false);
	other = make_event();
	start(&front);
	say_fd(&front, VU_SET_VRING_CALL, 0, other);
	assert_true(is_signalled(other));
	offer(&front);
	assert_true(took_back(&front));
	assert_true(is_signalled(other));
	assert_false(is_signalled(front.call_fd));
	say_u64(&front, VU_SET_VRING_CALL, VU_RING_NO_FD);
	offer(&front);
	assert_true(took_back(&front));
	assert_false(is_signalled(other));
	say_fd(&front, VU_SET_VRING_ERR, 0, other);
	say_u64(&front, VU_SET_VRING_ERR, VU_RING_NO_FD);
	stop_ring(&front, 0);
	say_fd(&front, VU_SET_VRING_CALL, 0, other);
	assert_false(is_signalled(other));
	assert_true(is_open(&front));
	fd_close(other);
	tear_down(&front);
}

/* The message and the kick are there at once, and the message is first. */
static void a_kick_of_a_descriptor_that_is_replaced_counts(void **state)
{
	static const struct driver_buf buf = { DATA, 8, true };
	struct vu_header header = { VU_SET_VRING_KICK, VU_FLAGS_VERSION, sizeof(uint64_t) };
	uint64_t index = 0, one = 1;
	struct front front;
	int other;

	(void)state;
	set_up(&front, false);
	start(&front);
	other = make_event();
	driver_add(&front.driver, &buf, 1);
	assert_int_equal(vu_send(front.fd, &header, &index, &other, 1), 0);
	assert_int_equal(write(front.kick_fd, &one, sizeof(one)), sizeof(one));
	run(&front);
	assert_true(took_back(&front));
	assert_true(did(&front, "activate kick0 kick0"));
	fd_close(other);
	tear_down(&front);
}

/* Its counter is as high as it gets, and it blocks: a signal must not wait. */
static void a_full_call_descriptor_keeps_nobody(void **state)
{
	struct front front;
	uint64_t most = UINT64_MAX - 1;

	(void)state;
	set_up(&front, false);
	assert_int_equal(write(front.call_fd, &most, sizeof(most)), sizeof(most));
	start(&front);
	offer(&front);
	assert_true(took_back(&front));
	tear_down(&front);
}

static void stop_both(struct front *front, unsigned int want0, unsigned int want1)
{
	say_state(front, VU_SET_VRING_ENABLE, 0, 0);
	say_state(front, VU_SET_VRING_ENABLE, 1, 0);
	assert_int_equal(stop_ring(front, 0), want0);
	assert_int_equal(stop_ring(front, 1), want1);
}

static void start_two(struct front *front)
{
	prepare(front);
	place_ring(front, 0, 0);
	place_ring_at(front, 1, RING_SIZE, DRIVER_DESC);
	start_ring(front, 0);
	offer(front);
	assert_true(took_back(front));
	/* Another ring: nothing in it. */
	say_fd(front, VU_SET_VRING_KICK, 1, front->kick_fd);
	say_state(front, VU_SET_VRING_ENABLE, 1, 1);
	front->probe->done[0] = 0;
}

static void start_again(struct front *front, uint64_t features, unsigned int base0,
			unsigned int base1)
{
	say_u64(front, VU_SET_FEATURES, VU_F_PROTOCOL_FEATURES | VERSION_1 | features);
	place_ring(front, 0, base0);
	place_ring(front, 1, base1);
	say_fd(front, VU_SET_VRING_KICK, 0, front->kick_fd);
	say_fd(front, VU_SET_VRING_KICK, 1, front->kick_fd);
	say_state(front, VU_SET_VRING_ENABLE, 0, 1);
	say_state(front, VU_SET_VRING_ENABLE, 1, 1);
}

static void a_pause_is_no_reset(void **state)
{
	struct front front;

	(void)state;
	for (unsigned int resume_first = 0; resume_first < 2; resume_first++) {
		set_up(&front, false);
		start_two(&front);
		front.probe->keeps = true;
		offer(&front);
		front.probe->done[0] = 0;
		assert_false(took_back(&front));
		vhost_user_device_pause(front.transport);
		vhost_user_device_pause(front.transport);
		assert_true(took_back(&front));
		kick(&front);
		assert_true(did(&front, "pause"));
		stop_both(&front, 2, 0);
		assert_true(did(&front, ""));
		assert_true(front.device->active);
		if (resume_first) {
			vhost_user_device_resume(front.transport);
			assert_true(did(&front, "resume"));
		}
		start_again(&front, EVENT_IDX, 2, 0);
		assert_true(did(&front, resume_first ? "kick0 kick1" : ""));
		vhost_user_device_resume(front.transport);
		vhost_user_device_resume(front.transport);
		run(&front);
		assert_true(did(&front, resume_first ? "" : "resume kick0 kick1"));
		front.probe->keeps = false;
		offer(&front);
		assert_true(took_back(&front));
		front.probe->done[0] = 0;
		stop_both(&front, 3, 0);
		assert_true(did(&front, "pause resume pause resume reset"));
		tear_down(&front);
	}
}

static void rings_that_run_through_a_pause_are_kicked_after_it(void **state)
{
	struct front front;
	struct driver_buf buf = { DATA, 8, true };

	(void)state;
	set_up(&front, false);
	start(&front);
	vhost_user_device_pause(front.transport);
	driver_add(&front.driver, &buf, 1);
	kick(&front);
	assert_false(took_back(&front));
	vhost_user_device_resume(front.transport);
	run(&front);
	assert_true(took_back(&front));
	tear_down(&front);
}

static void a_guest_that_was_reset_before_the_pause_begins_anew(void **state)
{
	static const struct {
		const char *name;
		uint64_t features;
		unsigned int base0, base1;
		bool resume_first;
		const char *want;
	} cases[] = {
		{ "another base", EVENT_IDX, 0, 0, false, "resume reset activate kick0 kick1" },
		{ "another base of the second", EVENT_IDX, 1, 5, false,
		  "resume reset activate kick0 kick1" },
		{ "other features", 0, 1, 0, false, "resume reset activate kick0 kick1" },
		{ "another base, resumed", EVENT_IDX, 0, 0, true,
		  "resume reset activate kick0 kick1" },
		{ "another base of the second, resumed", EVENT_IDX, 1, 5, true,
		  "resume kick0 reset activate kick0 kick1" },
	};
	struct front front;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set_up(&front, false);
		start_two(&front);
		vhost_user_device_pause(front.transport);
		stop_both(&front, 1, 0);
		front.probe->done[0] = 0;
		if (cases[i].resume_first)
			vhost_user_device_resume(front.transport);
		start_again(&front, cases[i].features, cases[i].base0, cases[i].base1);
		vhost_user_device_resume(front.transport);
		run(&front);
		if (!did(&front, cases[i].want))
			fail_msg("%s", cases[i].name);
		assert_int_equal(front.device->acked_features, VERSION_1 | cases[i].features);
		tear_down(&front);
	}
}

static void the_owner_may_end_it_all(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, false);
	start(&front);
	front.probe->done[0] = 0;
	say(&front, VU_RESET_OWNER, NULL, 0);
	assert_true(did(&front, "reset"));
	assert_false(front.device->queues[0].enabled);
	place_ring(&front, 0, 0);
	start_ring(&front, 0);
	assert_true(did(&front, "activate kick0"));
	tear_down(&front);
}

/* --- the channel */

static void replies_are_given_when_asked_for(void **state)
{
	uint64_t features = VU_F_PROTOCOL_FEATURES | VERSION_1;
	struct front front;

	(void)state;
	set_up(&front, false);
	send_message(&front, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &features, 8, NULL, 0);
	say_u64(&front, VU_SET_PROTOCOL_FEATURES, VU_PROTOCOL_F_REPLY_ACK);
	send_message(&front, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &features, 8, NULL, 0);
	assert_int_equal(hear(front.fd, VU_SET_FEATURES, VU_FLAG_REPLY).u64, 0);
	/* One reply, where there is one anyway. */
	send_message(&front, VU_GET_FEATURES, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(hear(front.fd, VU_GET_FEATURES, VU_FLAG_REPLY).u64 & features, features);
	assert_int_equal(ask(&front, VU_GET_QUEUE_NUM, NULL, 0).u64, 3);
	tear_down(&front);
}

static void messages_may_come_byte_by_byte(void **state)
{
	struct __attribute__((packed)) { struct vu_header header; uint64_t value; } message = {
		{ VU_SET_FEATURES, VU_FLAGS_VERSION, 8 }, VU_F_PROTOCOL_FEATURES | VERSION_1 };
	struct front front;

	(void)state;
	set_up(&front, false);
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(send(front.fd, (char *)&message + i, 1, 0), 1);
		run(&front);
	}
	/* Two in one go. */
	message.header = (struct vu_header){ VU_GET_FEATURES, VU_FLAGS_VERSION, 0 };
	assert_int_equal(send(front.fd, &message, 12, MSG_DONTWAIT), 12);
	assert_int_equal(send(front.fd, &message, 12, MSG_DONTWAIT), 12);
	run(&front);
	hear(front.fd, VU_GET_FEATURES, VU_FLAG_REPLY);
	hear(front.fd, VU_GET_FEATURES, VU_FLAG_REPLY);
	tear_down(&front);
}

static void a_front_end_that_reads_nothing_is_left(void **state)
{
	struct vu_header header = { VU_GET_FEATURES, VU_FLAGS_VERSION, 0 };
	struct front front;

	(void)state;
	set_up(&front, false);
	start(&front);
	for (unsigned int i = 0; i < 100000 && front.device->active; i++) {
		send(front.fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);
		run(&front);
	}
	assert_false(front.device->active);
	tear_down(&front);
}

static void a_front_end_that_dies_leaves_nothing(void **state)
{
	struct vu_header header = { VU_SET_VRING_KICK, VU_FLAGS_VERSION, 8 };
	struct iovec iov = { &header, sizeof(header) };
	union { char data[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.data,
			      .msg_controllen = sizeof(control.data) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	struct front front;

	(void)state;
	for (unsigned int paused = 0; paused < 2; paused++) {
		set_up(&front, false);
		start(&front);
		front.probe->done[0] = 0;
		if (paused)
			vhost_user_device_pause(front.transport);
		/* In the middle of a message, with a descriptor of it. */
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &front.kick_fd, sizeof(int));
		assert_int_equal(sendmsg(front.fd, &msg, 0), sizeof(header));
		run(&front);
		fd_close(fd_take(&front.fd));
		run(&front);
		assert_true(did(&front, paused ? "pause reset" : "reset"));
		assert_false(front.device->active);
		vhost_user_device_resume(front.transport);
		kick(&front);
		assert_true(did(&front, paused ? "resume" : ""));
		tear_down(&front);
	}
}

#define U64(value)	 .payload.u64 = (value), .size = 8
#define STATE(index, num) .payload.state = { index, num }, .size = 8
#define TABLE(...)	 .payload.mem_table = { __VA_ARGS__ }
#define CONFIG(...)	 .payload.config = { __VA_ARGS__ }

/* What fds are. */
enum fd_kind { EVENT, MEM, PIPE, SOCKET, REGULAR };

struct bad_message {
	const char *name;
	uint32_t request;
	uint32_t flags;		/* without the version */
	uint32_t size;
	union vu_payload payload;
	size_t fd_count;
	enum fd_kind fd_kind;
	bool bad_version;
};

static const struct bad_message bad_messages[] = {
	{ "no request", 0 },
	{ "an unknown one", 99 },
	{ "the largest number", UINT32_MAX },
	{ "SET_LOG_BASE, which is not offered", 6, U64(0) },
	{ "GET_INFLIGHT_FD, neither", 31, .size = 24 },
	{ "another version", VU_GET_FEATURES, .bad_version = true },
	{ "a reply", VU_GET_FEATURES, VU_FLAG_REPLY },
	{ "longer than any", VU_SET_FEATURES, .size = sizeof(union vu_payload) + 1 },
	{ "as long as can be", VU_SET_FEATURES, .size = UINT32_MAX },
	{ "GET_FEATURES with a payload", VU_GET_FEATURES, U64(0) },
	{ "SET_FEATURES too short", VU_SET_FEATURES, .size = 7 },
	{ "SET_FEATURES too long", VU_SET_FEATURES, .size = 9 },
	{ "features that were not offered", VU_SET_FEATURES, U64(UINT64_C(1) << 26) },
	{ "other features under running rings", VU_SET_FEATURES, U64(VERSION_1) },
	{ "protocol features that were not offered", VU_SET_PROTOCOL_FEATURES, U64(1u << 12) },
	{ "a descriptor where none is due", VU_SET_FEATURES, U64(VERSION_1), .fd_count = 1 },
	{ "SET_OWNER with a payload", VU_SET_OWNER, U64(0) },
	{ "no channel for requests", VU_SET_BACKEND_REQ_FD },
	{ "two of them", VU_SET_BACKEND_REQ_FD, .fd_count = 2, .fd_kind = SOCKET },

	{ "a table of nothing", VU_SET_MEM_TABLE },
	{ "a table without regions", VU_SET_MEM_TABLE, .size = 8 },
	{ "a table shorter than its regions", VU_SET_MEM_TABLE, .size = 39, TABLE(1, 0, { { 0, 4096 } }),
	  .fd_count = 1, .fd_kind = MEM },
	{ "a table longer than its regions", VU_SET_MEM_TABLE, .size = 72, TABLE(1, 0, { { 0, 4096 } }),
	  .fd_count = 1, .fd_kind = MEM },
	{ "more regions than there can be", VU_SET_MEM_TABLE, .size = 264, TABLE(9), .fd_count = 8,
	  .fd_kind = MEM },
	{ "4 G regions", VU_SET_MEM_TABLE, .size = 264, TABLE(UINT32_MAX), .fd_count = 8,
	  .fd_kind = MEM },
	{ "a region without a file", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, 4096 } }) },
	{ "more files than regions", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, 4096 } }),
	  .fd_count = 2, .fd_kind = MEM },
	{ "an empty region", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, 0 } }), .fd_count = 1,
	  .fd_kind = MEM },
	{ "larger than its file", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, MEM_BYTES + 4096 } }),
	  .fd_count = 1, .fd_kind = MEM },
	{ "an offset that wraps", VU_SET_MEM_TABLE, .size = 40,
	  TABLE(1, 0, { { 0, 8192, 0, UINT64_MAX - 4095 } }), .fd_count = 1, .fd_kind = MEM },
	{ "guest addresses that wrap", VU_SET_MEM_TABLE, .size = 40,
	  TABLE(1, 0, { { UINT64_MAX - 4095, 8192 } }), .fd_count = 1, .fd_kind = MEM },
	{ "the front end's addresses wrap", VU_SET_MEM_TABLE, .size = 40,
	  TABLE(1, 0, { { 0, 8192, UINT64_MAX - 4095 } }), .fd_count = 1, .fd_kind = MEM },
	{ "or are no pages'", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, 8192, 1 } }),
	  .fd_count = 1, .fd_kind = MEM },
	{ "overlapping regions", VU_SET_MEM_TABLE, .size = 72,
	  TABLE(2, 0, { { 0, 8192 }, { 4096, 4096, 8192 } }), .fd_count = 2, .fd_kind = MEM },
	{ "an eventfd for a file", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, 4096 } }),
	  .fd_count = 1, .fd_kind = EVENT },
	{ "a file that can shrink", VU_SET_MEM_TABLE, .size = 40, TABLE(1, 0, { { 0, 4096 } }),
	  .fd_count = 1, .fd_kind = REGULAR },
	{ "more descriptors than any message has", VU_SET_MEM_TABLE, .size = 264, TABLE(8),
	  .fd_count = 9, .fd_kind = MEM },
	{ "very many descriptors", VU_GET_FEATURES, .fd_count = 250 },

	{ "NUM of no ring", VU_SET_VRING_NUM, STATE(3, 64) },
	{ "NUM of a running ring", VU_SET_VRING_NUM, STATE(0, 64) },
	{ "BASE of no ring", VU_SET_VRING_BASE, STATE(UINT32_MAX, 0) },
	{ "BASE of a running ring", VU_SET_VRING_BASE, STATE(0, 0) },
	{ "a base of more than 16 bits", VU_SET_VRING_BASE, STATE(1, 65536) },
	{ "ADDR of no ring", VU_SET_VRING_ADDR, .size = 40, .payload.addr.index = 3 },
	{ "ADDR of a running ring", VU_SET_VRING_ADDR, .size = 40, .payload.addr.index = 0 },
	{ "ADDR with a log", VU_SET_VRING_ADDR, .size = 40, .payload.addr = { 1, 1 } },
	{ "GET_VRING_BASE of no ring", VU_GET_VRING_BASE, STATE(3, 0) },
	{ "ENABLE of no ring", VU_SET_VRING_ENABLE, STATE(3, 1) },
	{ "neither enabled nor not", VU_SET_VRING_ENABLE, STATE(0, 2) },
	{ "KICK of no ring", VU_SET_VRING_KICK, U64(3), .fd_count = 1 },
	{ "KICK with unknown bits", VU_SET_VRING_KICK, U64(0x200), .fd_count = 1 },
	{ "KICK with none", VU_SET_VRING_KICK, U64(VU_RING_NO_FD) },
	{ "KICK without its descriptor", VU_SET_VRING_KICK, U64(0) },
	{ "KICK with two", VU_SET_VRING_KICK, U64(0), .fd_count = 2 },
	{ "KICK with none and one", VU_SET_VRING_KICK, U64(VU_RING_NO_FD), .fd_count = 1 },
	{ "KICK by a pipe", VU_SET_VRING_KICK, U64(0), .fd_count = 1, .fd_kind = PIPE },
	{ "KICK by a socket", VU_SET_VRING_KICK, U64(0), .fd_count = 1, .fd_kind = SOCKET },
	{ "KICK by a file", VU_SET_VRING_KICK, U64(0), .fd_count = 1, .fd_kind = REGULAR },
	{ "CALL of no ring", VU_SET_VRING_CALL, U64(255), .fd_count = 1 },
	{ "CALL by a pipe", VU_SET_VRING_CALL, U64(0), .fd_count = 1, .fd_kind = PIPE },
	{ "CALL by a file", VU_SET_VRING_CALL, U64(0), .fd_count = 1, .fd_kind = REGULAR },
	{ "ERR of no ring", VU_SET_VRING_ERR, U64(3), .fd_count = 1 },

	{ "GET_CONFIG of nothing", VU_GET_CONFIG },
	{ "GET_CONFIG shorter than it says", VU_GET_CONFIG, .size = 19, CONFIG(0, 8) },
	{ "GET_CONFIG longer than it says", VU_GET_CONFIG, .size = 21, CONFIG(0, 8) },
	{ "GET_CONFIG whose size wraps", VU_GET_CONFIG, .size = 11, CONFIG(0, UINT32_MAX) },
	{ "GET_CONFIG past the most", VU_GET_CONFIG, .size = 13, CONFIG(256, 1) },
	{ "GET_CONFIG at the largest offset", VU_GET_CONFIG, .size = 13, CONFIG(UINT32_MAX, 1) },
	{ "GET_CONFIG of more than the most", VU_GET_CONFIG, .size = 269, CONFIG(0, 257) },
	{ "SET_CONFIG shorter than it says", VU_SET_CONFIG, .size = 12, CONFIG(0, 8) },
};

static int make_fd(enum fd_kind kind)
{
	int fds[2];

	switch (kind) {
	case EVENT:
		return make_event();
	case MEM:
		return make_mem();
	case PIPE:
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		fd_close(fds[0]);
		return fds[1];
	case SOCKET:
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		fd_close(fds[0]);
		return fds[1];
	default:
		fds[0] = memfd_create("file", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fds[0], MEM_BYTES), 0);
		return fds[0];
	}
}

static void send_bad(struct front *front, const struct bad_message *bad)
{
	struct vu_header header = { bad->request, bad->flags | (bad->bad_version ? 2 : 1), bad->size };
	struct iovec iov[] = { { &header, sizeof(header) },
			       { (void *)&bad->payload, bad->size } };
	union { char data[CMSG_SPACE(250 * sizeof(int))]; struct cmsghdr align; } control = { { 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	int fd = make_fd(bad->fd_kind);

	if (iov[1].iov_len > sizeof(bad->payload))
		iov[1].iov_len = sizeof(bad->payload);
	if (bad->fd_count > 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.data;
		msg.msg_controllen = CMSG_SPACE(bad->fd_count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(bad->fd_count * sizeof(int));
		for (size_t i = 0; i < bad->fd_count; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
	}
	assert_int_equal(sendmsg(front->fd, &msg, 0),
			 sizeof(header) + iov[1].iov_len);
	fd_close(fd);
	run(front);
}

static void bad_messages_end_the_channel_and_nothing_else(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_messages); i++) {
		struct front front;

		set_up(&front, false);
		start(&front);
		assert_true(is_open(&front));
		front.probe->done[0] = 0;
		send_bad(&front, &bad_messages[i]);
		if (is_open(&front))
			fail_msg("%s: the channel is open", bad_messages[i].name);
		if (!did(&front, "reset"))
			fail_msg("%s", bad_messages[i].name);
		kick(&front);
		assert_true(did(&front, ""));
		tear_down(&front);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_drive_is_served),
		cmocka_unit_test(many_requests_are_served_around_every_wrap),
		cmocka_unit_test(the_configuration_is_read_and_written),
		cmocka_unit_test(a_change_of_the_configuration_is_told),
		cmocka_unit_test(the_first_ring_activates_the_device),
		cmocka_unit_test(without_protocol_features_rings_start_enabled),
		cmocka_unit_test(a_request_under_way_is_finished_before_its_ring_stops),
		cmocka_unit_test(memory_changes_under_running_rings),
		cmocka_unit_test(guest_addresses_are_not_the_front_ends),
		cmocka_unit_test(a_broken_ring_is_left_alone_until_a_reset),
		cmocka_unit_test(rings_that_a_driver_misplaces_do_not_run),
		cmocka_unit_test(a_device_that_does_not_start_can_be_tried_again),
		cmocka_unit_test(a_new_call_descriptor_is_signalled),
		cmocka_unit_test(a_kick_of_a_descriptor_that_is_replaced_counts),
		cmocka_unit_test(a_full_call_descriptor_keeps_nobody),
		cmocka_unit_test(a_pause_is_no_reset),
		cmocka_unit_test(rings_that_run_through_a_pause_are_kicked_after_it),
		cmocka_unit_test(a_guest_that_was_reset_before_the_pause_begins_anew),
		cmocka_unit_test(the_owner_may_end_it_all),
		cmocka_unit_test(replies_are_given_when_asked_for),
		cmocka_unit_test(messages_may_come_byte_by_byte),
		cmocka_unit_test(a_front_end_that_reads_nothing_is_left),
		cmocka_unit_test(a_front_end_that_dies_leaves_nothing),
		cmocka_unit_test(bad_messages_end_the_channel_and_nothing_else),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
