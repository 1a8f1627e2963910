/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests under way at once can do to each other, to resets, pauses and other files. The file
 * that the ring is given is one end of a socket pair, so that the test has in its hands when a request is
 * done, and how much of it; what the device thinks it has is a memfd. What cannot be provoked is
 * wrapped.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "virtio/block.h"
#include "virtio/block_uring.h"
#include "virtio/test_driver.h"

#define DISK_BYTES (UINT64_C(1) << 30)
#define QUEUE_SIZE 256u

#define HEADER(i) (DRIVER_DATA + (i) * 32u)
#define STATUS(i) (HEADER(i) + 16u)
#define DATA(i)	  (0x100000u + (i) * 0x1000u)
#define LARGE	  0x200000u	/* 2 MiB */

#define NOT_WRITTEN 0xaau	/* in the status byte */

/* --- what is wrapped */

static struct {
	int file_fd;		/* instead of the one that is given, unless -1 */
	bool socket;		/* it has no offsets */
	int submit_error;	/* -errno, of the next submit_fails calls */
	unsigned int submit_fails;
	unsigned int submits;	/* that reached the kernel */
	const char *failing;	/* a function that fails with -EMFILE */
} wrapped = { .file_fd = -1 };

static bool fails(const char *name)
{
	return wrapped.failing != NULL && strcmp(wrapped.failing, name) == 0;
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (wrapped.submit_fails > 0) {
		wrapped.submit_fails--;
		return wrapped.submit_error;
	}
	wrapped.submits++;
	if (wrapped.socket)
		for (unsigned int i = *ring->sq.khead; i != ring->sq.sqe_tail; i++)
			ring->sq.sqes[i & ring->sq.ring_mask].off = 0;
	return __real_io_uring_submit(ring);
}

int __real_io_uring_register_files(struct io_uring *ring, const int *files, unsigned int count);
int __wrap_io_uring_register_files(struct io_uring *ring, const int *files, unsigned int count);
int __wrap_io_uring_register_files(struct io_uring *ring, const int *files, unsigned int count)
{
	if (fails("register_files"))
		return -EMFILE;
	return __real_io_uring_register_files(ring, wrapped.file_fd >= 0 ? &wrapped.file_fd : files,
					      count);
}

int __real_io_uring_register_files_update(struct io_uring *ring, unsigned int offset, int *files,
					  unsigned int count);
int __wrap_io_uring_register_files_update(struct io_uring *ring, unsigned int offset, int *files,
					  unsigned int count);
int __wrap_io_uring_register_files_update(struct io_uring *ring, unsigned int offset, int *files,
					  unsigned int count)
{
	return fails("update") ? -EMFILE :
				 __real_io_uring_register_files_update(ring, offset, files, count);
}

int __real_io_uring_register_eventfd(struct io_uring *ring, int fd);
int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd);
int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd)
{
	return fails("register_eventfd") ? -EMFILE : __real_io_uring_register_eventfd(ring, fd);
}

int __real_io_uring_enable_rings(struct io_uring *ring);
int __wrap_io_uring_enable_rings(struct io_uring *ring);
int __wrap_io_uring_enable_rings(struct io_uring *ring)
{
	return fails("enable_rings") ? -EMFILE : __real_io_uring_enable_rings(ring);
}

/* --- the machine */

struct rig {
	struct driver driver;
	struct virtio_device *device;
	struct metrics_block *counters;
	int disk_fd;
	int peer;		/* of the socket that the ring has */
};

static int make_disk(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)DISK_BYTES), 0);
	return fd;
}

static void start(struct rig *rig)
{
	/* every request that is given back is told of */
	driver_negotiate(&rig->driver, ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX));
	driver_place_queue(&rig->driver, QUEUE_SIZE);
	driver_write(&rig->driver, VIRTIO_MMIO_STATUS,
		     driver_read(&rig->driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void open_rig(struct rig *rig, const struct squib_rate_limiter *limiter)
{
	struct squib_drive drive = { .drive_id = "disk", .io_engine = SQUIB_IO_ENGINE_ASYNC,
				     .rate_limiter = limiter };
	struct block_params params = { .config = &drive };
	int fds[2], small = 8192;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	*rig = (struct rig){ .peer = fds[1], .disk_fd = make_disk() };
	driver_init(&rig->driver);
	params.file_fd = rig->disk_fd;
	params.loop = rig->driver.loop;
	params.metrics = rig->driver.metrics;
	wrapped.file_fd = fds[0];
	wrapped.socket = true;
	assert_int_equal(block_new(&params, &rig->device, NULL), 0);
	wrapped.file_fd = -1;
	wrapped.submits = 0;
	fd_close(fds[0]);
	rig->counters = metrics_block_register(rig->driver.metrics, "disk");
	driver_attach(&rig->driver, rig->device);
	start(rig);
}

static void close_rig(struct rig *rig)
{
	driver_done(&rig->driver);
	fd_close(rig->disk_fd);
	fd_close(rig->peer);
}

/* Request number @i: its header, data in @count pieces, its status. Returns the head. */
static uint32_t add_pieces(struct rig *rig, unsigned int i, uint32_t type,
			   const struct driver_buf *pieces, size_t count)
{
	struct virtio_blk_outhdr header = { .type = htole32(type) };
	struct driver_buf bufs[QUEUE_SIZE] = { { HEADER(i), 16, false } };

	memcpy(rig->driver.ram + HEADER(i), &header, sizeof(header));
	rig->driver.ram[STATUS(i)] = NOT_WRITTEN;
	for (size_t k = 0; k < count; k++) {
		bufs[1 + k] = pieces[k];
		bufs[1 + k].write = type == VIRTIO_BLK_T_IN;
	}
	bufs[1 + count] = (struct driver_buf){ STATUS(i), 1, true };
	return driver_add(&rig->driver, bufs, count + 2);
}

static uint32_t add(struct rig *rig, unsigned int i, uint32_t type, uint32_t len)
{
	struct driver_buf piece = { len > 0x1000 ? LARGE : DATA(i), len, false };

	return add_pieces(rig, i, type, &piece, len > 0);
}

static void kick(struct rig *rig)
{
	driver_kick(&rig->driver);
	driver_run(&rig->driver);
}

/* Runs the loop until something has happened. */
static void await_event(struct rig *rig)
{
	struct pollfd poll_loop = { .fd = loop_fd(rig->driver.loop), .events = POLLIN };

	assert_int_equal(poll(&poll_loop, 1, 10000), 1);
	driver_run(&rig->driver);
}

/* The next request that is given back is number @i. Its length in the used ring. */
static uint32_t expect(struct rig *rig, unsigned int i, uint32_t head, unsigned int status)
{
	uint32_t used, len;

	while (!driver_take(&rig->driver, &used, &len))
		await_event(rig);
	assert_int_equal(used, head);
	assert_int_equal(rig->driver.ram[STATUS(i)], status);
	return len;
}

static void expect_none(struct rig *rig)
{
	uint32_t head, len;

	driver_run(&rig->driver);
	assert_false(driver_take(&rig->driver, &head, &len));
}

static void feed(struct rig *rig, char byte, size_t len)
{
	char data[4096];

	memset(data, byte, sizeof(data));
	for (size_t n; len > 0; len -= n) {
		n = len < sizeof(data) ? len : sizeof(data);
		assert_int_equal(write(rig->peer, data, n), n);
	}
}

/* @count requests are given back, in any order, and all is well. */
static void expect_all(struct rig *rig, unsigned int count)
{
	uint32_t head, len;

	for (unsigned int i = 0; i < count; i++)
		while (!driver_take(&rig->driver, &head, &len))
			await_event(rig);
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(rig->driver.ram[STATUS(i)], VIRTIO_BLK_S_OK);
}

/* Takes what is written, while the loop asks to write the rest. */
static void drain(struct rig *rig, size_t len)
{
	char data[4096];

	while (len > 0) {
		ssize_t n = recv(rig->peer, data, len < sizeof(data) ? len : sizeof(data),
				 MSG_DONTWAIT);

		assert_true(n > 0 || errno == EAGAIN);
		if (n > 0)
			len -= (size_t)n;
		else
			await_event(rig);
	}
}

/* The same without the loop. */
static void drain_alone(struct rig *rig, size_t len)
{
	char data[4096];

	for (ssize_t n; len > 0; len -= (size_t)n) {
		n = read(rig->peer, data, len < sizeof(data) ? len : sizeof(data));
		assert_true(n > 0);
	}
}

static bool all_are(const uint8_t *data, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != byte)
			return false;
	return true;
}

/* --- many under way */

static void requests_are_done_in_any_order(void **state)
{
	struct rig rig;
	uint32_t r, w;

	(void)state;
	open_rig(&rig, NULL);
	r = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	w = add(&rig, 1, VIRTIO_BLK_T_OUT, 512);
	kick(&rig);
	assert_int_equal(expect(&rig, 1, w, VIRTIO_BLK_S_OK), 1);
	assert_true(driver_interrupted(&rig.driver));
	expect_none(&rig);
	feed(&rig, 'a', 512);
	assert_int_equal(expect(&rig, 0, r, VIRTIO_BLK_S_OK), 513);
	assert_true(driver_interrupted(&rig.driver));
	assert_true(all_are(rig.driver.ram + DATA(0), 'a', 512));
	close_rig(&rig);
}

static void a_round_is_submitted_at_once(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig, NULL);
	for (unsigned int i = 0; i < 20; i++)
		add(&rig, i, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	assert_int_equal(wrapped.submits, 1);
	feed(&rig, 'a', 20 * 512);
	expect_all(&rig, 20);
	assert_int_equal(rig.counters->read_count.value, 20);
	assert_int_equal(rig.counters->queue_event_count.value, 1);
	close_rig(&rig);
}

/* A socket is no file to flush, so the flush fails when its time has come. */
static void a_flush_waits_for_writes_before_it_alone(void **state)
{
	const uint32_t large = 1u << 19;
	struct rig rig;
	uint32_t r, w, f;

	(void)state;
	open_rig(&rig, NULL);
	r = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	f = add(&rig, 1, VIRTIO_BLK_T_FLUSH, 0);
	kick(&rig);
	expect(&rig, 1, f, VIRTIO_BLK_S_IOERR);		/* the read is none of its business */
	w = add(&rig, 2, VIRTIO_BLK_T_OUT, large);
	f = add(&rig, 3, VIRTIO_BLK_T_FLUSH, 0);
	kick(&rig);
	expect_none(&rig);
	drain(&rig, large);
	expect(&rig, 2, w, VIRTIO_BLK_S_OK);
	expect(&rig, 3, f, VIRTIO_BLK_S_IOERR);

	/* neither is a write after it */
	f = add(&rig, 4, VIRTIO_BLK_T_FLUSH, 0);
	w = add(&rig, 5, VIRTIO_BLK_T_OUT, large);
	kick(&rig);
	expect(&rig, 4, f, VIRTIO_BLK_S_IOERR);
	expect_none(&rig);
	drain(&rig, large);
	expect(&rig, 5, w, VIRTIO_BLK_S_OK);
	feed(&rig, 'a', 512);
	expect(&rig, 0, r, VIRTIO_BLK_S_OK);
	close_rig(&rig);
}

static void several_flushes_wait_for_several_writes(void **state)
{
	const uint32_t large = 1u << 19;
	struct rig rig;
	uint32_t w[3], f[2];

	(void)state;
	open_rig(&rig, NULL);
	w[0] = add(&rig, 0, VIRTIO_BLK_T_OUT, large);
	w[1] = add(&rig, 1, VIRTIO_BLK_T_OUT, large);
	f[0] = add(&rig, 2, VIRTIO_BLK_T_FLUSH, 0);
	f[1] = add(&rig, 3, VIRTIO_BLK_T_FLUSH, 0);
	w[2] = add(&rig, 4, VIRTIO_BLK_T_OUT, large);
	kick(&rig);
	expect_none(&rig);
	drain(&rig, 3 * large);
	for (unsigned int done = 0, writes = 0; done < 5; done++) {
		uint32_t head, len;

		while (!driver_take(&rig.driver, &head, &len))
			await_event(&rig);
		writes += head == w[0] || head == w[1];
		if (head == f[0] || head == f[1])
			assert_int_equal(writes, 2);
	}
	assert_int_equal(rig.driver.ram[STATUS(4)], VIRTIO_BLK_S_OK);
	assert_int_equal(rig.counters->write_bytes.value, 3 * large);
	close_rig(&rig);
}

static void what_was_done_in_part_goes_on(void **state)
{
	static const struct driver_buf pieces[] = { { DATA(0), 100, true }, { DATA(1), 300, true },
						    { DATA(2), 112, true } };
	/* within the first, at its end, over two, to the last byte, and that */
	static const size_t parts[] = { 50, 50, 310, 101, 1 };
	struct rig rig;
	uint32_t head;
	size_t sum = 0;

	(void)state;
	open_rig(&rig, NULL);
	memset(rig.driver.ram + DATA(0), 0, 0x3000);
	head = add_pieces(&rig, 0, VIRTIO_BLK_T_IN, pieces, ARRAY_SIZE(pieces));
	kick(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		expect_none(&rig);
		feed(&rig, (char)('a' + i), parts[i]);
		await_event(&rig);
		sum += parts[i];
	}
	assert_int_equal(sum, 512);
	assert_int_equal(expect(&rig, 0, head, VIRTIO_BLK_S_OK), 513);
	assert_true(all_are(rig.driver.ram + DATA(0), 'a', 50));
	assert_true(all_are(rig.driver.ram + DATA(0) + 50, 'b', 50));
	assert_true(all_are(rig.driver.ram + DATA(1), 'c', 300));
	assert_true(all_are(rig.driver.ram + DATA(2), 'c', 10));
	assert_true(all_are(rig.driver.ram + DATA(2) + 10, 'd', 101));
	assert_true(all_are(rig.driver.ram + DATA(2) + 111, 'e', 1));
	assert_true(all_are(rig.driver.ram + DATA(2) + 112, 0, 100));
	assert_int_equal(rig.counters->read_bytes.value, 512);
	close_rig(&rig);
}

static void the_end_of_a_file_is_an_error_of_the_disk(void **state)
{
	struct rig rig;
	uint32_t head;

	(void)state;
	open_rig(&rig, NULL);
	head = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	feed(&rig, 'a', 100);
	assert_int_equal(shutdown(rig.peer, SHUT_WR), 0);
	assert_int_equal(expect(&rig, 0, head, VIRTIO_BLK_S_IOERR), 101);
	assert_int_equal(rig.counters->invalid_reqs_count.value, 1);
	assert_int_equal(rig.counters->read_count.value, 0);
	close_rig(&rig);
}

static void what_was_read_is_dirty(void **state)
{
	static const struct driver_buf pieces[] = { { DATA(1), 256, true }, { DATA(3), 256, true } };
	uint64_t bitmap[DRIVER_MEM_BYTES / 4096 / 64] = { 0 };
	const size_t page = DATA(0) / 4096;
	struct rig rig;
	uint32_t head;

	(void)state;
	open_rig(&rig, NULL);
	head = add_pieces(&rig, 0, VIRTIO_BLK_T_IN, pieces, ARRAY_SIZE(pieces));
	kick(&rig);
	guest_mem_take_dirty(rig.driver.mem, 0, bitmap);
	memset(bitmap, 0, sizeof(bitmap));
	feed(&rig, 'a', 512);
	expect(&rig, 0, head, VIRTIO_BLK_S_OK);
	guest_mem_take_dirty(rig.driver.mem, 0, bitmap);
	assert_int_equal(bitmap[page / 64] >> (page % 64) & 0xf, 0xa);
	assert_int_equal(bitmap[0] >> (STATUS(0) / 4096) & 1, 1);
	assert_int_equal(bitmap[0] >> (DRIVER_USED / 4096) & 1, 1);
	close_rig(&rig);
}

/* --- no room */

/* Limits of exactly so many requests show that one that found no room did not pay. */
static void requests_wait_for_slots(void **state)
{
	static const struct squib_token_bucket ops = { BLOCK_URING_SLOTS + 5, 0, 100000000 };
	static const struct squib_rate_limiter limits = { .ops = &ops };
	const unsigned int count = BLOCK_URING_SLOTS + 5;
	struct rig rig;

	(void)state;
	open_rig(&rig, &limits);
	for (unsigned int i = 0; i < count; i++) {
		add(&rig, i, VIRTIO_BLK_T_IN, 512);
		if (i % 32 == 31)	/* the descriptors of those that were taken are used again */
			kick(&rig);
	}
	kick(&rig);
	assert_int_equal(rig.counters->io_engine_throttled_events.value, 1);
	kick(&rig);
	assert_int_equal(rig.counters->io_engine_throttled_events.value, 2);
	expect_none(&rig);
	feed(&rig, 'a', count * 512);
	expect_all(&rig, count);
	assert_int_equal(rig.counters->rate_limiter_throttled_events.value, 0);
	add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	assert_int_equal(rig.counters->rate_limiter_throttled_events.value, 1);
	close_rig(&rig);
}

/* @fit requests of @pieces, which are all @len bytes of the same memory, are under way at once. */
static void fill(size_t pieces, uint32_t len, unsigned int fit)
{
	struct driver_buf bufs[QUEUE_SIZE];
	struct rig rig;

	for (size_t i = 0; i < pieces; i++)
		bufs[i] = (struct driver_buf){ LARGE, len, true };
	open_rig(&rig, NULL);
	for (unsigned int i = 0; i <= fit; i++) {
		assert_int_equal(rig.counters->io_engine_throttled_events.value, 0);
		add_pieces(&rig, i, VIRTIO_BLK_T_IN, bufs, pieces);
		kick(&rig);
	}
	assert_int_equal(rig.counters->io_engine_throttled_events.value, 1);
	assert_int_equal(shutdown(rig.peer, SHUT_WR), 0);
	for (unsigned int i = 0; i <= fit; i++) {
		uint32_t head, length;

		while (!driver_take(&rig.driver, &head, &length))
			await_event(&rig);
	}
	assert_int_equal(rig.counters->invalid_reqs_count.value, fit + 1);
	close_rig(&rig);
}

static void requests_wait_for_room_for_their_segments(void **state)
{
	(void)state;
	fill(254, 512, 8);
	fill(65, 512, 21);	/* 3 of 64 blocks each */
}

static void bytes_under_way_are_bounded(void **state)
{
	(void)state;
	fill(1, 2u << 20, 32);	/* 64 MiB */
	fill(250, 1u << 20, 1);	/* one request alone may be larger */
}

/* --- reset, pause, another file, the end */

static void *reset_device(void *arg)
{
	struct rig *rig = arg;

	driver_write(&rig->driver, VIRTIO_MMIO_STATUS, 0);
	return NULL;
}

static void *feed_sector(void *arg)
{
	feed(arg, 'a', 512);
	return NULL;
}

static pthread_t in_other_thread(void *(*fn)(void *arg), struct rig *rig)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, fn, rig), 0);
	return thread;
}

/* By a vCPU, while this thread, which submitted it, is in other hands. */
static void a_reset_ends_what_is_under_way(void **state)
{
	struct rig rig;
	pthread_t thread;
	uint32_t head;

	(void)state;
	open_rig(&rig, NULL);
	add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	add(&rig, 1, VIRTIO_BLK_T_OUT, 1u << 19);
	add(&rig, 2, VIRTIO_BLK_T_FLUSH, 0);
	kick(&rig);
	thread = in_other_thread(reset_device, &rig);
	feed(&rig, 'a', 512);
	drain_alone(&rig, 1u << 19);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(all_are(rig.driver.ram + DATA(0), 'a', 512));
	memset(rig.driver.ram, 0, DRIVER_MEM_BYTES);
	feed(&rig, 'b', 512);
	driver_run(&rig.driver);
	assert_true(all_are(rig.driver.ram, 0, DRIVER_MEM_BYTES));

	start(&rig);
	head = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	expect(&rig, 0, head, VIRTIO_BLK_S_OK);
	assert_true(all_are(rig.driver.ram + DATA(0), 'b', 512));
	close_rig(&rig);
}

static void a_reset_forgets_who_waits_for_room(void **state)
{
	struct rig rig;
	uint32_t head;

	(void)state;
	open_rig(&rig, NULL);
	for (unsigned int i = 0; i < BLOCK_URING_SLOTS + 1; i++) {
		add(&rig, i, VIRTIO_BLK_T_IN, 512);
		if (i % 32 == 31)
			kick(&rig);
	}
	kick(&rig);
	assert_int_equal(rig.counters->io_engine_throttled_events.value, 1);
	feed(&rig, 'a', BLOCK_URING_SLOTS * 512);
	driver_reset(&rig.driver);
	start(&rig);
	head = add(&rig, 0, VIRTIO_BLK_T_OUT, 512);
	kick(&rig);
	expect(&rig, 0, head, VIRTIO_BLK_S_OK);
	close_rig(&rig);
}

static void a_pause_finishes_what_is_under_way(void **state)
{
	struct rig rig;
	pthread_t thread;
	uint32_t head, used, len;

	(void)state;
	open_rig(&rig, NULL);
	head = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	expect_none(&rig);
	thread = in_other_thread(feed_sector, &rig);
	virtio_mmio_pause(rig.driver.mmio);
	assert_true(driver_take(&rig.driver, &used, &len));
	assert_true(used == head && len == 513);
	assert_true(driver_interrupted(&rig.driver));
	assert_int_equal(pthread_join(thread, NULL), 0);
	head = add(&rig, 1, VIRTIO_BLK_T_OUT, 512);
	kick(&rig);
	expect_none(&rig);
	virtio_mmio_resume(rig.driver.mmio);
	expect(&rig, 1, head, VIRTIO_BLK_S_OK);
	close_rig(&rig);
}

static void who_waits_for_room_goes_on_after_a_pause(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig, NULL);
	for (unsigned int i = 0; i < BLOCK_URING_SLOTS + 1; i++) {
		add(&rig, i, VIRTIO_BLK_T_IN, 512);
		if (i % 32 == 31)
			kick(&rig);
	}
	kick(&rig);
	feed(&rig, 'a', BLOCK_URING_SLOTS * 512);
	virtio_mmio_pause(rig.driver.mmio);
	for (unsigned int i = 0; i < BLOCK_URING_SLOTS; i++) {
		uint32_t head, len;

		assert_true(driver_take(&rig.driver, &head, &len));
	}
	feed(&rig, 'b', 512);
	expect_none(&rig);
	virtio_mmio_resume(rig.driver.mmio);
	for (uint32_t head, len; !driver_take(&rig.driver, &head, &len);)
		await_event(&rig);
	assert_true(all_are(rig.driver.ram + DATA(BLOCK_URING_SLOTS), 'b', 512));
	close_rig(&rig);
}

static void another_file_waits_for_what_is_under_way(void **state)
{
	static const struct squib_drive_update update = { .drive_id = "disk" };
	struct rig rig;
	pthread_t thread;
	uint32_t head, used, len;
	CLEANUP(fd_close) int fd = make_disk();

	(void)state;
	assert_int_equal(ftruncate(fd, 1024), 0);
	assert_int_equal(pwrite(fd, "new", 3, 0), 3);
	open_rig(&rig, NULL);
	head = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	thread = in_other_thread(feed_sector, &rig);
	assert_int_equal(block_update(rig.device, &update, fd, NULL), 0);
	assert_true(driver_take(&rig.driver, &used, &len));
	assert_true(used == head && len == 513);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(all_are(rig.driver.ram + DATA(0), 'a', 512));
	wrapped.socket = false;
	head = add(&rig, 1, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	expect(&rig, 1, head, VIRTIO_BLK_S_OK);
	assert_memory_equal(rig.driver.ram + DATA(1), "new", 4);
	head = add(&rig, 2, VIRTIO_BLK_T_IN, 1536);
	kick(&rig);
	expect(&rig, 2, head, VIRTIO_BLK_S_IOERR);
	close_rig(&rig);
}

static void a_file_that_the_ring_refuses_changes_nothing(void **state)
{
	static const struct squib_drive_update update = { .drive_id = "disk" };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(fd_close) int fd = make_disk();
	struct rig rig;
	uint32_t head;

	(void)state;
	open_rig(&rig, NULL);
	wrapped.failing = "update";
	assert_int_equal(block_update(rig.device, &update, fd, &fault), -EMFILE);
	wrapped.failing = NULL;
	assert_string_equal(fault_text(&fault), "Virtio backend error: Error coming from the IO engine: "
			    "Async error: IoUring: Could not register file: No file descriptors "
			    "available (os error 24)");
	assert_false(driver_interrupted(&rig.driver));
	assert_int_equal(rig.counters->update_fails.value, 1);
	assert_int_equal(rig.counters->update_count.value, 0);
	head = add(&rig, 0, VIRTIO_BLK_T_OUT, 512);
	kick(&rig);
	expect(&rig, 0, head, VIRTIO_BLK_S_OK);
	drain(&rig, 512);
	close_rig(&rig);
}

static void the_end_waits_for_what_is_under_way(void **state)
{
	struct rig rig;
	pthread_t thread;

	(void)state;
	open_rig(&rig, NULL);
	add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	thread = in_other_thread(feed_sector, &rig);
	virtio_mmio_free(rig.driver.mmio);
	rig.driver.mmio = NULL;
	assert_true(all_are(rig.driver.ram + DATA(0), 'a', 512));
	assert_int_equal(pthread_join(thread, NULL), 0);
	close_rig(&rig);
}

/* --- what the kernel refuses */

static void what_the_kernel_has_no_memory_for_is_tried_again(void **state)
{
	struct rig rig;
	uint32_t head, other;

	(void)state;
	open_rig(&rig, NULL);
	head = add(&rig, 0, VIRTIO_BLK_T_OUT, 512);
	wrapped.submit_error = -EAGAIN;
	wrapped.submit_fails = 3;
	kick(&rig);
	expect(&rig, 0, head, VIRTIO_BLK_S_OK);
	assert_int_equal(wrapped.submit_fails, 0);

	/* when something is under way, its end is waited for */
	head = add(&rig, 1, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	other = add(&rig, 2, VIRTIO_BLK_T_OUT, 512);
	wrapped.submit_error = -EBUSY;
	wrapped.submit_fails = 1;
	kick(&rig);
	expect_none(&rig);
	feed(&rig, 'a', 512);
	expect(&rig, 1, head, VIRTIO_BLK_S_OK);
	expect(&rig, 2, other, VIRTIO_BLK_S_OK);
	assert_int_equal(rig.counters->queue_event_count.value, 3);
	close_rig(&rig);
}

static void a_ring_that_broke_fails_requests_and_no_more(void **state)
{
	struct rig rig;
	uint32_t r, w[3];

	(void)state;
	open_rig(&rig, NULL);
	r = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	for (unsigned int i = 0; i < 3; i++)
		w[i] = add(&rig, 1 + i, i == 2 ? VIRTIO_BLK_T_FLUSH : VIRTIO_BLK_T_OUT,
			   i == 2 ? 0 : 512);
	wrapped.submit_error = -EPERM;
	wrapped.submit_fails = 1;
	kick(&rig);
	for (unsigned int i = 0; i < 3; i++) {
		uint32_t head, len;

		assert_true(driver_take(&rig.driver, &head, &len));
		assert_int_equal(len, 1);
		assert_true(head == w[0] || head == w[1] || head == w[2]);
		assert_int_equal(rig.driver.ram[STATUS(1 + i)], VIRTIO_BLK_S_IOERR);
	}
	feed(&rig, 'a', 512);
	expect(&rig, 0, r, VIRTIO_BLK_S_OK);	/* it was under way */
	r = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	expect(&rig, 0, r, VIRTIO_BLK_S_IOERR);
	driver_reset(&rig.driver);
	start(&rig);
	r = add(&rig, 0, VIRTIO_BLK_T_IN, 512);
	kick(&rig);
	expect(&rig, 0, r, VIRTIO_BLK_S_IOERR);
	virtio_mmio_pause(rig.driver.mmio);
	close_rig(&rig);
}

static int try_ring(struct fault *fault)
{
	static const struct squib_drive drive = { .drive_id = "disk", .path_on_host = "/p",
						  .io_engine = SQUIB_IO_ENGINE_ASYNC };
	struct block_params params = { .config = &drive };
	struct virtio_device *device;
	struct driver driver;
	int r;

	driver_init(&driver);
	params.loop = driver.loop;
	params.metrics = driver.metrics;
	params.file_fd = make_disk();
	r = block_new(&params, &device, fault);
	if (r == 0)
		virtio_device_free(device);
	fd_close(params.file_fd);
	driver_done(&driver);
	return r;
}

static void what_the_host_cannot_do_is_refused(void **state)
{
	static const struct { const char *failing, *text; } cases[] = {
		{ "register_eventfd", "IoUring: Could not register eventfd" },
		{ "register_files", "IoUring: Could not register file" },
		{ "enable_rings", "IoUring: Could not enable the ring" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		int before = dup(STDERR_FILENO), after, r;

		close(before);
		wrapped.failing = cases[i].failing;
		r = try_ring(&fault);
		wrapped.failing = NULL;
		assert_int_equal(r, -EMFILE);
		assert_non_null(strstr(fault_text(&fault), cases[i].text));
		after = dup(STDERR_FILENO);
		close(after);
		assert_int_equal(after, before);
	}
}

/* Forbids io_uring_setup() to this process, as containers do. */
static void forbid_io_uring(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void where_io_uring_is_forbidden_the_drive_is_refused(void **state)
{
	static const struct { int error; const char *text; } cases[] = {
		{ EPERM, "Operation not permitted (os error 1)" },
		{ ENOSYS, "Function not implemented (os error 38)" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int status;
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			CLEANUP(fault_done) struct fault fault = FAULT_INIT;
			char want[256];

			forbid_io_uring(cases[i].error);
			snprintf(want, sizeof(want), "Virtio backend error: Error coming from the IO "
				 "engine: Async error: IoUring: Error calling io_uring_setup: %s",
				 cases[i].text);
			_exit(try_ring(&fault) == -cases[i].error &&
			      strcmp(fault_text(&fault), want) == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

static bool has_io_uring(void)
{
	struct io_uring_params params = { 0 };
	long fd = syscall(SYS_io_uring_setup, 1, &params);

	fd_close((int)fd);
	return fd >= 0;
}

int main(void)
{
	static const struct CMUnitTest refusals[] = {
		cmocka_unit_test(where_io_uring_is_forbidden_the_drive_is_refused),
	};
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_done_in_any_order),
		cmocka_unit_test(a_round_is_submitted_at_once),
		cmocka_unit_test(a_flush_waits_for_writes_before_it_alone),
		cmocka_unit_test(several_flushes_wait_for_several_writes),
		cmocka_unit_test(what_was_done_in_part_goes_on),
		cmocka_unit_test(the_end_of_a_file_is_an_error_of_the_disk),
		cmocka_unit_test(what_was_read_is_dirty),
		cmocka_unit_test(requests_wait_for_slots),
		cmocka_unit_test(requests_wait_for_room_for_their_segments),
		cmocka_unit_test(bytes_under_way_are_bounded),
		cmocka_unit_test(a_reset_ends_what_is_under_way),
		cmocka_unit_test(a_reset_forgets_who_waits_for_room),
		cmocka_unit_test(a_pause_finishes_what_is_under_way),
		cmocka_unit_test(who_waits_for_room_goes_on_after_a_pause),
		cmocka_unit_test(another_file_waits_for_what_is_under_way),
		cmocka_unit_test(a_file_that_the_ring_refuses_changes_nothing),
		cmocka_unit_test(the_end_waits_for_what_is_under_way),
		cmocka_unit_test(what_the_kernel_has_no_memory_for_is_tried_again),
		cmocka_unit_test(a_ring_that_broke_fails_requests_and_no_more),
		cmocka_unit_test(what_the_host_cannot_do_is_refused),
	};
	int failed = cmocka_run_group_tests(refusals, NULL, NULL);

	if (!has_io_uring()) {
		print_message("the others are skipped: this host has no io_uring\n");
		return failed;
	}
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
