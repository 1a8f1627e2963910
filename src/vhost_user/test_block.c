/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive behind virtio-mmio whose requests another thread carries out: with our own side of a
 * device, and with a back end that does what each test has it do.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>

#include "base/fd.h"
#include "vhost_user/block.h"
#include "vhost_user/channel.h"
#include "vhost_user/device.h"
#include "virtio/block.h"
#include "virtio/test_driver.h"

#define HEADER DRIVER_DATA
#define STATUS (DRIVER_DATA + 0x100u)
#define DATA   (DRIVER_DATA + 0x1000u)
#define DISK_SECTORS 64u
#define WAIT_MS 10000

#define VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define ALL_PROTOCOL (VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_REPLY_ACK)

/* What a back end that is no device does. 0 in a request: none. */
struct script {
	uint64_t features, protocol_features;
	uint32_t dies_at, silent_at, refuses, garbles;
	bool closes_at_once;
	bool without_config;	/* an empty reply */
	uint32_t seg_max;
};

struct backend {
	char dir[32];
	char path[64];
	int listen_fd;
	int stop_fd;
	pthread_t thread;
	const struct script *script;	/* NULL: a device of ours */
	/* A device of ours: */
	int disk_fd;
};

struct front {
	struct driver driver;
	struct backend backend;
	struct virtio_device *device;
	struct metrics_vhost_user_block *counters;
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

/* --- back ends; no assertions of cmocka here, this is another thread */

static void require(bool condition)
{
	if (!condition)
		abort();
}

struct stopper {
	struct loop_source source;
	bool stopped;
};

static void stop_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	container_of(source, struct stopper, source)->stopped = true;
}

static void serve_device(struct backend *backend, int fd)
{
	struct squib_drive drive = { .drive_id = "disk", .cache_type = SQUIB_CACHE_WRITEBACK };
	struct block_params params = { .config = &drive, .file_fd = backend->disk_fd };
	struct stopper stopper = { .source = { .fd = backend->stop_fd, .events = EPOLLIN,
					       .ready = stop_ready } };
	struct vhost_user_params transport_params = { .fd = fd };
	struct vhost_user_device *transport;

	require(loop_new(&params.loop) == 0 && metrics_new(&params.metrics) == 0);
	require(block_new(&params, &transport_params.device, NULL) == 0);
	transport_params.loop = params.loop;
	transport_params.metrics = params.metrics;
	require(vhost_user_device_new(&transport_params, &transport) == 0);
	require(loop_add(params.loop, &stopper.source) == 0);
	while (!stopper.stopped)
		require(loop_run_once(params.loop, -1) == 0);
	vhost_user_device_free(transport);
	loop_free(params.loop);
	metrics_free(params.metrics);
}

/* false: stopped, or the other side is gone. */
static bool next_message(struct backend *backend, struct vu_channel *channel)
{
	for (;;) {
		struct pollfd pfds[] = { { .fd = channel->fd, .events = POLLIN },
					 { .fd = backend->stop_fd, .events = POLLIN } };
		int r = vu_channel_receive(channel);

		if (r != 0)
			return r > 0;
		require(poll(pfds, 2, -1) > 0);
		if (pfds[1].revents != 0)
			return false;
	}
}

static void reply(int fd, uint32_t request, const void *payload, uint32_t size)
{
	struct vu_header header = { request, VU_FLAGS_VERSION | VU_FLAG_REPLY, size };

	vu_send(fd, &header, payload, NULL, 0);
}

static void reply_u64(int fd, uint32_t request, uint64_t value)
{
	reply(fd, request, &value, sizeof(value));
}

static void reply_config(const struct script *script, const struct vu_channel *channel)
{
	struct vu_config config = channel->message.payload.config;
	struct virtio_blk_config *blk = (struct virtio_blk_config *)config.data;

	blk->capacity = htole64(1234);
	blk->seg_max = htole32(script->seg_max);
	if (script->without_config)
		config.size = 0;
	reply(channel->fd, VU_GET_CONFIG, &config, script->without_config ? 12 :
	      channel->message.header.size);
}

static void answer(const struct script *script, const struct vu_channel *channel)
{
	const struct vu_header *header = &channel->message.header;

	switch (header->request) {
	case VU_GET_FEATURES:
		reply_u64(channel->fd, header->request, script->features);
		break;
	case VU_GET_PROTOCOL_FEATURES:
		reply_u64(channel->fd, header->request, script->protocol_features);
		break;
	case VU_GET_CONFIG:
		reply_config(script, channel);
		break;
	case VU_GET_VRING_BASE:
		reply(channel->fd, header->request, &channel->message.payload, 8);
		break;
	default:
		if ((header->flags & VU_FLAG_NEED_REPLY) != 0)
			reply_u64(channel->fd, header->request, header->request == script->refuses);
		break;
	}
}

static void play(struct backend *backend, int fd)
{
	const struct script *script = backend->script;
	struct vu_channel channel;

	vu_channel_init(&channel, fd);
	while (!script->closes_at_once && next_message(backend, &channel)) {
		uint32_t request = channel.message.header.request;

		if (request == script->dies_at)
			break;
		if (request == script->garbles)
			reply_u64(fd, 77, 0);
		else if (request != script->silent_at)
			answer(script, &channel);
		vu_channel_next(&channel);
	}
	vu_channel_done(&channel);
}

static void *backend_main(void *arg)
{
	struct backend *backend = arg;
	struct pollfd pfds[] = { { .fd = backend->listen_fd, .events = POLLIN },
				 { .fd = backend->stop_fd, .events = POLLIN } };
	int fd;

	require(poll(pfds, 2, -1) > 0);
	if (pfds[1].revents != 0)
		return NULL;
	fd = accept4(backend->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	require(fd >= 0);
	if (backend->script != NULL)
		play(backend, fd);
	else
		serve_device(backend, fd);
	return NULL;
}

static void make_disk(struct backend *backend)
{
	uint8_t sector[512];

	backend->disk_fd = memfd_create("disk", MFD_CLOEXEC);
	for (unsigned int i = 0; i < DISK_SECTORS; i++) {
		memset(sector, (int)i, sizeof(sector));
		assert_int_equal(pwrite(backend->disk_fd, sector, 512, 512 * (off_t)i), 512);
	}
}

static void backend_start(struct backend *backend, const struct script *script)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*backend = (struct backend){ .dir = "/tmp/squib-test-XXXXXX", .script = script, .disk_fd = -1 };
	assert_non_null(mkdtemp(backend->dir));
	snprintf(backend->path, sizeof(backend->path), "%s/socket", backend->dir);
	strcpy(addr.sun_path, backend->path);
	backend->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(backend->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(backend->listen_fd, 1), 0);
	backend->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (script == NULL)
		make_disk(backend);
	assert_int_equal(pthread_create(&backend->thread, NULL, backend_main, backend), 0);
}

static void backend_stop(struct backend *backend)
{
	uint64_t one = 1;

	assert_int_equal(write(backend->stop_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(pthread_join(backend->thread, NULL), 0);
	fd_close(fd_take(&backend->listen_fd));
	fd_close(fd_take(&backend->stop_fd));
	fd_close(fd_take(&backend->disk_fd));
	unlink(backend->path);
	rmdir(backend->dir);
}

/* --- the machine */

static void machine_init(struct front *front, bool shared)
{
	static const struct guest_region region = { 0, DRIVER_MEM_BYTES };
	struct guest_mem_params params = { .regions = &region, .region_count = 1, .shared = shared };

	*front = (struct front){ .fds_before = count_fds() };
	assert_int_equal(guest_mem_new(&params, &front->driver.mem, NULL), 0);
	front->driver.ram = guest_mem_region_data(front->driver.mem, 0);
	assert_int_equal(loop_new(&front->driver.loop), 0);
	assert_int_equal(metrics_new(&front->driver.metrics), 0);
}

static int connect_drive(struct front *front, const char *path, enum squib_cache_type cache,
			 struct fault *fault)
{
	struct squib_drive drive = { .drive_id = "disk", .socket = path, .cache_type = cache };
	struct vhost_user_block_params params = { .config = &drive, .loop = front->driver.loop,
						  .metrics = front->driver.metrics };
	int r;

	params.fd = vhost_user_block_connect(path, fault);
	if (params.fd < 0)
		return params.fd;
	r = vhost_user_block_new(&params, &front->device, fault);
	fd_close(params.fd);
	return r;
}

static void attach(struct front *front)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (connect_drive(front, front->backend.path, SQUIB_CACHE_WRITEBACK, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	front->counters = metrics_vhost_user_block_register(front->driver.metrics, "disk");
	driver_attach(&front->driver, front->device);
}

static void set_up(struct front *front, const struct script *script)
{
	machine_init(front, true);
	backend_start(&front->backend, script);
	attach(front);
}

static void tear_down(struct front *front)
{
	driver_done(&front->driver);
	backend_stop(&front->backend);
	assert_int_equal(count_fds(), front->fds_before);
}

static bool wait_for_used(struct front *front, uint32_t *ret_len)
{
	struct pollfd pfd = { .fd = loop_fd(front->driver.loop), .events = POLLIN };
	uint32_t head;

	for (;;) {
		if (driver_take(&front->driver, &head, ret_len))
			return true;
		if (poll(&pfd, 1, WAIT_MS) <= 0)
			return false;
		assert_int_equal(loop_run_once(front->driver.loop, 0), 0);
	}
}

static bool wait_for_interrupt(struct front *front)
{
	struct pollfd pfd = { .fd = loop_fd(front->driver.loop), .events = POLLIN };

	while (!driver_interrupted(&front->driver)) {
		if (poll(&pfd, 1, WAIT_MS) <= 0)
			return false;
		assert_int_equal(loop_run_once(front->driver.loop, 0), 0);
	}
	return true;
}

static void put_request(struct front *front, uint32_t type, uint64_t sector, uint32_t len)
{
	struct driver_buf bufs[] = { { HEADER, 16, false },
				     { DATA, len, type != VIRTIO_BLK_T_OUT },
				     { STATUS, 1, true } };
	struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };

	uint16_t *avail = (uint16_t *)(front->driver.ram + DRIVER_AVAIL);

	memcpy(front->driver.ram + HEADER, &header, sizeof(header));
	front->driver.ram[STATUS] = 0xaa;
	avail[2 + front->driver.size] = htole16(front->driver.next_used);	/* used_event: the next */
	driver_add(&front->driver, bufs, 3);
	driver_kick(&front->driver);
}

static unsigned int request(struct front *front, uint32_t type, uint64_t sector, uint32_t len)
{
	uint32_t used_len;

	put_request(front, type, sector, len);
	return wait_for_used(front, &used_len) ? front->driver.ram[STATUS] : 0xff;
}

static uint64_t capacity(struct front *front)
{
	return driver_read(&front->driver, VIRTIO_MMIO_CONFIG) |
	       (uint64_t)driver_read(&front->driver, VIRTIO_MMIO_CONFIG + 4) << 32;
}

/* --- with a device of ours */

static void requests_go_to_the_back_end_and_come_back(void **state)
{
	struct front front;
	uint8_t want[1024], got[512];

	(void)state;
	set_up(&front, NULL);
	assert_int_equal(capacity(&front), DISK_SECTORS);
	assert_true((front.device->features & UINT64_C(1) << VIRTIO_BLK_F_FLUSH) != 0);
	assert_true((front.device->features & VU_F_PROTOCOL_FEATURES) == 0);
	driver_start(&front.driver);
	assert_int_equal(request(&front, VIRTIO_BLK_T_IN, 3, 1024), VIRTIO_BLK_S_OK);
	memset(want, 3, 512);
	memset(want + 512, 4, 512);
	assert_memory_equal(front.driver.ram + DATA, want, 1024);
	assert_true(wait_for_interrupt(&front));
	assert_int_equal(driver_read(&front.driver, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_VRING);
	memset(front.driver.ram + DATA, 0x77, 512);
	assert_int_equal(request(&front, VIRTIO_BLK_T_OUT, 9, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(front.backend.disk_fd, got, 512, 512 * 9), 512);
	assert_memory_equal(got, front.driver.ram + DATA, 512);
	assert_int_equal(front.counters->activate_fails.value, 0);
	tear_down(&front);
}

static void a_driver_may_begin_anew(void **state)
{
	struct front front;

	(void)state;
	set_up(&front, NULL);
	for (unsigned int i = 0; i < 20; i++) {
		driver_start(&front.driver);
		for (unsigned int j = 0; j < 5; j++)
			assert_int_equal(request(&front, VIRTIO_BLK_T_IN, i + j, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(front.driver.ram[DATA], i + 4);
		driver_reset(&front.driver);
		driver_run(&front.driver);
	}
	driver_reset(&front.driver);
	tear_down(&front);
}

static void kicks_from_before_the_start_are_not_lost(void **state)
{
	struct front front;
	uint32_t len;

	(void)state;
	set_up(&front, NULL);
	driver_negotiate(&front.driver, UINT64_MAX);
	driver_place_queue(&front.driver, 64);
	put_request(&front, VIRTIO_BLK_T_IN, 7, 512);
	driver_run(&front.driver);
	driver_write(&front.driver, VIRTIO_MMIO_STATUS, 15);
	assert_true(wait_for_used(&front, &len));
	assert_int_equal(front.driver.ram[DATA], 7);
	tear_down(&front);
}

static void the_configuration_can_be_read_again(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct front front;

	(void)state;
	set_up(&front, NULL);
	assert_int_equal(vhost_user_block_update_config(front.device, &fault), 0);
	assert_false(driver_interrupted(&front.driver));	/* the driver is not there yet */
	driver_start(&front.driver);
	assert_int_equal(vhost_user_block_update_config(front.device, &fault), 0);
	assert_true(driver_interrupted(&front.driver));
	assert_int_equal(driver_read(&front.driver, VIRTIO_MMIO_INTERRUPT_STATUS) &
				 VIRTIO_MMIO_INT_CONFIG,
			 VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(capacity(&front), DISK_SECTORS);
	tear_down(&front);
}

static void memory_has_to_be_shared(void **state)
{
	struct front front;

	(void)state;
	machine_init(&front, false);
	backend_start(&front.backend, NULL);
	attach(&front);
	driver_negotiate(&front.driver, UINT64_MAX);
	driver_place_queue(&front.driver, 64);
	driver_write(&front.driver, VIRTIO_MMIO_STATUS, 15);
	assert_true((driver_read(&front.driver, VIRTIO_MMIO_STATUS) &
		     VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	assert_int_equal(front.counters->activate_fails.value, 1);
	tear_down(&front);
}

/* --- with others */

static const struct script good = { .features = VERSION_1 | VU_F_PROTOCOL_FEATURES,
				    .protocol_features = ALL_PROTOCOL, .seg_max = 254 };

static void back_ends_that_do_not_answer_well_are_refused(void **state)
{
	static const struct { struct script script; const char *want; } cases[] = {
		{ { .closes_at_once = true }, NULL },	/* depends on when */
		{ { .features = VERSION_1, .dies_at = VU_GET_FEATURES },
		  "Vhost-user error: Get features failed: vhost-user: partial message" },
		{ { .features = VERSION_1, .garbles = VU_GET_FEATURES },
		  "Vhost-user error: Get features failed: vhost-user: invalid message" },
		{ { .features = VERSION_1, .silent_at = VU_GET_FEATURES },
		  "Vhost-user error: Get features failed: vhost-user: socket error: "
		  "Operation timed out (os error 110)" },
		{ { .features = 0 }, "Vhost-user error: Get features failed: vhost-user: "
				     "virtio/protocol features mismatch" },
		{ { .features = VERSION_1 | VU_F_PROTOCOL_FEATURES, .dies_at = VU_GET_PROTOCOL_FEATURES },
		  "Vhost-user error: Get protocol features failed: vhost-user: partial message" },
		{ { .features = VERSION_1 | VU_F_PROTOCOL_FEATURES,
		    .protocol_features = ALL_PROTOCOL, .without_config = true },
		  "Vhost error: vhost-user: invalid message" },
		{ { .features = VERSION_1 | VU_F_PROTOCOL_FEATURES,
		    .protocol_features = ALL_PROTOCOL, .dies_at = VU_GET_CONFIG },
		  "Vhost error: vhost-user: partial message" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct front front;
		char want[256];

		machine_init(&front, true);
		backend_start(&front.backend, &cases[i].script);
		assert_true(connect_drive(&front, front.backend.path, SQUIB_CACHE_UNSAFE, &fault) < 0);
		assert_null(front.device);
		snprintf(want, sizeof(want), "Vhost user backend error: %s", cases[i].want);
		if (cases[i].want != NULL)
			assert_string_equal(fault_text(&fault), want);
		tear_down(&front);
	}
}

static void nobody_listens(void **state)
{
	static const struct { const char *path, *want; } cases[] = {
		{ "/nonexistent/socket", "No such file or directory (os error 2)" },
		{ "", "Invalid argument (os error 22)" },
		{ "/dev/null", "Connection refused (os error 111)" },
		{ "/tmp/0123456789012345678901234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123456789",
		  "path must be shorter than SUN_LEN" },
	};
	struct front front;

	(void)state;
	machine_init(&front, true);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		char want[256];

		assert_true(connect_drive(&front, cases[i].path, SQUIB_CACHE_UNSAFE, &fault) < 0);
		snprintf(want, sizeof(want), "Vhost user backend error: Vhost-user error: "
			 "Failed to connect to UDS Unix stream: %s", cases[i].want);
		assert_string_equal(fault_text(&fault), want);
	}
	driver_done(&front.driver);
	assert_int_equal(count_fds(), front.fds_before);
}

static void features_are_those_of_both(void **state)
{
	const uint64_t ro = UINT64_C(1) << VIRTIO_BLK_F_RO, flush = UINT64_C(1) << VIRTIO_BLK_F_FLUSH,
		       seg_max = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX,
		       event_idx = UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
	const struct { struct script script; enum squib_cache_type cache; uint64_t want; } cases[] = {
		{ { .features = UINT64_MAX, .protocol_features = 0 }, SQUIB_CACHE_UNSAFE,
		  VERSION_1 | event_idx | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC | ro },
		{ { .features = VERSION_1 | flush }, SQUIB_CACHE_WRITEBACK, VERSION_1 | flush },
		{ { .features = VERSION_1 | flush }, SQUIB_CACHE_UNSAFE, VERSION_1 },
		{ { .features = VERSION_1 | seg_max | VU_F_PROTOCOL_FEATURES,
		    .protocol_features = VU_PROTOCOL_F_CONFIG }, SQUIB_CACHE_UNSAFE,
		  VERSION_1 | seg_max },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct front front;

		machine_init(&front, true);
		backend_start(&front.backend, &cases[i].script);
		assert_int_equal(connect_drive(&front, front.backend.path, cases[i].cache, NULL), 0);
		assert_int_equal(front.device->features, cases[i].want);
		driver_attach(&front.driver, front.device);
		assert_int_equal(capacity(&front), i == 3 ? 1234 : 0);
		tear_down(&front);
	}
}

static void requests_are_no_longer_than_the_ring(void **state)
{
	struct script script = good;
	struct front front;

	(void)state;
	script.seg_max = 100000;
	set_up(&front, &script);
	assert_int_equal(driver_read(&front.driver, VIRTIO_MMIO_CONFIG + 12), 254);
	tear_down(&front);
	script.seg_max = 126;
	set_up(&front, &script);
	assert_int_equal(driver_read(&front.driver, VIRTIO_MMIO_CONFIG + 12), 126);
	tear_down(&front);
}

static void without_a_configuration_there_is_none_to_read_again(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct script script = { .features = VERSION_1 };
	struct front front;

	(void)state;
	set_up(&front, &script);
	assert_int_equal(vhost_user_block_update_config(front.device, &fault), -EOPNOTSUPP);
	assert_string_equal(fault_text(&fault), "Vhost user backend error: Vhost error: vhost-user: "
						"inactive protocol operation: 512");
	driver_start(&front.driver);	/* replies are not waited for */
	driver_reset(&front.driver);
	tear_down(&front);
}

static void start_badly(struct front *front)
{
	driver_negotiate(&front->driver, UINT64_MAX);
	driver_place_queue(&front->driver, 64);
	driver_write(&front->driver, VIRTIO_MMIO_STATUS, 15);
	assert_true((driver_read(&front->driver, VIRTIO_MMIO_STATUS) &
		     VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	assert_int_equal(front->counters->activate_fails.value, 1);
}

static void a_back_end_that_fails_at_the_start_leaves_a_device_that_needs_reset(void **state)
{
	const struct script scripts[] = {
		{ .refuses = VU_SET_MEM_TABLE }, { .dies_at = VU_SET_VRING_KICK },
		{ .garbles = VU_SET_FEATURES }, { .silent_at = VU_SET_VRING_ADDR },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		struct script script = scripts[i];
		struct front front;

		script.features = good.features;
		script.protocol_features = good.protocol_features;
		set_up(&front, &script);
		start_badly(&front);
		driver_reset(&front.driver);
		driver_run(&front.driver);	/* the channel hangs up */
		assert_int_equal(vhost_user_block_update_config(front.device, NULL), -ESHUTDOWN);
		tear_down(&front);
	}
}

static void a_back_end_that_is_gone_later_leaves_the_monitor_alone(void **state)
{
	struct pollfd pfd = { .events = POLLIN };
	struct front front;

	(void)state;
	set_up(&front, NULL);
	driver_start(&front.driver);
	assert_int_equal(request(&front, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK);
	driver_run(&front.driver);
	backend_stop(&front.backend);
	pfd.fd = loop_fd(front.driver.loop);
	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	driver_run(&front.driver);		/* once, and not again and again */
	put_request(&front, VIRTIO_BLK_T_IN, 4, 512);
	driver_run(&front.driver);
	assert_int_equal(front.driver.ram[STATUS], 0xaa);
	assert_int_equal(vhost_user_block_update_config(front.device, NULL), -ESHUTDOWN);
	driver_reset(&front.driver);
	driver_done(&front.driver);
	assert_int_equal(count_fds(), front.fds_before);
}

static void a_back_end_that_does_not_stop_is_left(void **state)
{
	struct script script = good;
	struct front front;

	(void)state;
	script.silent_at = VU_GET_VRING_BASE;
	set_up(&front, &script);
	driver_start(&front.driver);
	driver_reset(&front.driver);
	driver_run(&front.driver);
	start_badly(&front);
	tear_down(&front);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_go_to_the_back_end_and_come_back),
		cmocka_unit_test(a_driver_may_begin_anew),
		cmocka_unit_test(kicks_from_before_the_start_are_not_lost),
		cmocka_unit_test(the_configuration_can_be_read_again),
		cmocka_unit_test(memory_has_to_be_shared),
		cmocka_unit_test(back_ends_that_do_not_answer_well_are_refused),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(features_are_those_of_both),
		cmocka_unit_test(requests_are_no_longer_than_the_ring),
		cmocka_unit_test(without_a_configuration_there_is_none_to_read_again),
		cmocka_unit_test(a_back_end_that_fails_at_the_start_leaves_a_device_that_needs_reset),
		cmocka_unit_test(a_back_end_that_is_gone_later_leaves_the_monitor_alone),
		cmocka_unit_test(a_back_end_that_does_not_stop_is_left),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
