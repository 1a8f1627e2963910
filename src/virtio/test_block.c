/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "virtio/block.h"
#include "virtio/test_driver.h"

#define HEADER DRIVER_DATA
#define STATUS (DRIVER_DATA + 0x100u)
#define DATA   (DRIVER_DATA + 0x1000u)

#define SECTORS 64u
#define DISK_BYTES (SECTORS * 512u)

#define NOT_WRITTEN 0xaau	/* in the status byte */

struct disk {
	struct driver driver;
	struct virtio_device *device;
	struct metrics_block *counters;
	bool async;
	int fd;
};

/* What a test is given as its state: data paths are tested with each. */
static enum squib_io_engine sync_engine = SQUIB_IO_ENGINE_SYNC, async_engine = SQUIB_IO_ENGINE_ASYNC;

/* Each sector is full of its number. */
static int make_file(uint64_t size_bytes)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	uint8_t sector[512];

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	for (uint64_t i = 0; i < size_bytes / 512 && i < SECTORS; i++) {
		memset(sector, (int)i, sizeof(sector));
		assert_int_equal(pwrite(fd, sector, 512, (off_t)(512 * i)), 512);
	}
	return fd;
}

static void open_disk(struct disk *disk, const enum squib_io_engine *engine,
		      const struct squib_drive *config, int fd)
{
	struct squib_drive drive = *config;
	struct block_params params = { .config = &drive, .file_fd = fd };
	int r;

	drive.drive_id = "disk";
	drive.io_engine = *engine;
	driver_init(&disk->driver);
	params.loop = disk->driver.loop;
	params.metrics = disk->driver.metrics;
	r = block_new(&params, &disk->device, NULL);
	disk->async = *engine == SQUIB_IO_ENGINE_ASYNC;
	if (disk->async && (r == -ENOSYS || r == -EPERM)) {	/* this host has no io_uring */
		driver_done(&disk->driver);
		fd_close(fd);
		skip();
	}
	assert_int_equal(r, 0);
	disk->counters = metrics_block_register(disk->driver.metrics, "disk");
	disk->fd = fd;
	driver_attach(&disk->driver, disk->device);
}

static void start_disk(struct disk *disk, const enum squib_io_engine *engine,
		       const struct squib_drive *config)
{
	open_disk(disk, engine, config, make_file(DISK_BYTES));
	driver_start(&disk->driver);
}

static void close_disk(struct disk *disk)
{
	driver_done(&disk->driver);
	fd_close(disk->fd);
}

static uint64_t count_of(const struct metric_count *count)
{
	return count->value;
}

static void put_header(struct driver *driver, gpa_t gpa, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };

	memcpy(driver->ram + gpa, &header, sizeof(header));
}

/* Runs the loop until a request is given back. */
static void await(struct disk *disk, uint32_t *ret_head, uint32_t *ret_len)
{
	struct pollfd poll_loop = { .fd = loop_fd(disk->driver.loop), .events = POLLIN };

	driver_run(&disk->driver);
	while (!driver_take(&disk->driver, ret_head, ret_len)) {
		assert_true(disk->async);
		assert_int_equal(poll(&poll_loop, 1, 10000), 1);
		driver_run(&disk->driver);
	}
}

static bool needs_reset(struct disk *disk)
{
	return (driver_read(&disk->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

/* As Linux makes it. Returns the status byte, 0xff if it is held back; @ret_len as in the used ring. */
static unsigned int request(struct disk *disk, uint32_t type, uint64_t sector, uint32_t len,
			    uint32_t *ret_len)
{
	struct driver *driver = &disk->driver;
	struct driver_buf bufs[3] = { { HEADER, 16, false } };
	uint64_t throttled = count_of(&disk->counters->rate_limiter_throttled_events);
	size_t count = 1;
	uint32_t head, used, got;

	put_header(driver, HEADER, type, sector);
	driver->ram[STATUS] = NOT_WRITTEN;
	if (len > 0)
		bufs[count++] = (struct driver_buf){ DATA, len, type != VIRTIO_BLK_T_OUT };
	bufs[count++] = (struct driver_buf){ STATUS, 1, true };
	head = driver_add(driver, bufs, count);
	driver_kick(driver);
	driver_run(driver);
	if (count_of(&disk->counters->rate_limiter_throttled_events) > throttled || needs_reset(disk))
		return 0xff;
	await(disk, &used, &got);
	assert_int_equal(used, head);
	if (ret_len != NULL)
		*ret_len = got;
	return driver->ram[STATUS];
}

static const struct squib_drive plain;

static void sectors_are_read_and_written(void **state)
{
	struct disk disk;
	uint8_t want[1024], got[1024];
	uint32_t len;

	start_disk(&disk, *state, &plain);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 3, 1024, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1025);
	memset(want, 3, 512);
	memset(want + 512, 4, 512);
	assert_memory_equal(disk.driver.ram + DATA, want, 1024);
	memset(disk.driver.ram + DATA, 0x77, 1024);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, SECTORS - 2, 1024, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1);
	assert_int_equal(pread(disk.fd, got, 1024, DISK_BYTES - 1024), 1024);
	assert_memory_equal(got, disk.driver.ram + DATA, 1024);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 0, DISK_BYTES, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, DISK_BYTES + 1);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_FLUSH, 0, 0, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1);
	assert_int_equal(count_of(&disk.counters->read_count), 2);
	assert_int_equal(count_of(&disk.counters->read_bytes), 1024 + DISK_BYTES);
	assert_int_equal(count_of(&disk.counters->write_count), 1);
	assert_int_equal(count_of(&disk.counters->write_bytes), 1024);
	assert_int_equal(count_of(&disk.counters->flush_count), 1);
	assert_int_equal(count_of(&disk.counters->queue_event_count), 4);
	assert_int_equal(count_of(&disk.counters->execute_fails), 0);
	assert_int_equal(count_of(&disk.counters->invalid_reqs_count), 0);
	close_disk(&disk);
}

static void the_id_is_made_of_the_file(void **state)
{
	struct disk disk;
	struct stat st;
	char want[64] = "";
	uint32_t len;

	start_disk(&disk, *state, &plain);
	assert_int_equal(fstat(disk.fd, &st), 0);
	snprintf(want, sizeof(want), "%llu%llu%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_rdev, (unsigned long long)st.st_ino);
	memset(disk.driver.ram + DATA, 0x55, 32);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_GET_ID, 0, 20, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 21);
	assert_memory_equal(disk.driver.ram + DATA, want, 20);
	assert_int_equal(disk.driver.ram[DATA + 20], 0x55);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_GET_ID, 0, 19, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(len, 1);
	close_disk(&disk);
}

static uint64_t features_of(struct driver *driver)
{
	uint64_t low;

	driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES);
	driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static uint64_t capacity_of(struct driver *driver)
{
	uint64_t capacity;

	virtio_mmio_read(driver->mmio, VIRTIO_MMIO_CONFIG, &capacity, sizeof(capacity));
	return le64toh(capacity);
}

static void what_a_drive_is_shows_in_its_features(void **state)
{
	static const uint64_t always = UINT64_C(1) << VIRTIO_F_VERSION_1 |
		1u << VIRTIO_RING_F_EVENT_IDX | 1u << VIRTIO_RING_F_INDIRECT_DESC |
		1u << VIRTIO_BLK_F_SIZE_MAX | 1u << VIRTIO_BLK_F_SEG_MAX;
	static const struct { struct squib_drive config; uint64_t more; } cases[] = {
		{ { .is_read_only = false }, 0 },
		{ { .is_read_only = true }, 1u << VIRTIO_BLK_F_RO },
		{ { .cache_type = SQUIB_CACHE_WRITEBACK }, 1u << VIRTIO_BLK_F_FLUSH },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct disk disk;

		open_disk(&disk, *state, &cases[i].config, make_file(512));
		assert_int_equal(features_of(&disk.driver), always | cases[i].more);
		assert_int_equal(driver_read(&disk.driver, VIRTIO_MMIO_DEVICE_ID), 2);
		assert_int_equal(driver_read(&disk.driver, VIRTIO_MMIO_CONFIG + 8), 1u << 20);
		assert_int_equal(driver_read(&disk.driver, VIRTIO_MMIO_CONFIG + 12), 254);
		close_disk(&disk);
	}
}

static void the_capacity_is_in_whole_sectors(void **state)
{
	static const struct { uint64_t size_bytes, capacity; } cases[] = {
		{ 0, 0 }, { 1, 0 }, { 511, 0 }, { 512, 1 }, { 1023, 1 }, { 1024, 2 },
		{ UINT64_C(5) << 40, UINT64_C(5) << 31 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct disk disk;

		open_disk(&disk, *state, &plain, make_file(cases[i].size_bytes));
		assert_int_equal(capacity_of(&disk.driver), cases[i].capacity);
		driver_start(&disk.driver);
		/* the last sector, and one past it */
		if (cases[i].capacity > 0)
			assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, cases[i].capacity - 1, 512,
						 NULL), VIRTIO_BLK_S_OK);
		assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, cases[i].capacity, 512, NULL),
				 VIRTIO_BLK_S_IOERR);
		close_disk(&disk);
	}
}

static void requests_that_make_no_sense_fail(void **state)
{
	static const struct { const char *name; uint32_t type; uint64_t sector; uint32_t len;
			      unsigned int status; } cases[] = {
		{ "read past the end", VIRTIO_BLK_T_IN, SECTORS, 512, VIRTIO_BLK_S_IOERR },
		{ "read over the end", VIRTIO_BLK_T_IN, SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR },
		{ "write past the end", VIRTIO_BLK_T_OUT, SECTORS, 512, VIRTIO_BLK_S_IOERR },
		{ "write over the end", VIRTIO_BLK_T_OUT, SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR },
		{ "the largest sector", VIRTIO_BLK_T_IN, UINT64_MAX, 512, VIRTIO_BLK_S_IOERR },
		{ "a sector whose offset wraps", VIRTIO_BLK_T_OUT, UINT64_C(1) << 55, 512,
		  VIRTIO_BLK_S_IOERR },
		{ "a sector whose end wraps", VIRTIO_BLK_T_OUT, UINT64_MAX - 1, 1024,
		  VIRTIO_BLK_S_IOERR },
		{ "read of half a sector", VIRTIO_BLK_T_IN, 0, 256, VIRTIO_BLK_S_IOERR },
		{ "read of a sector and a byte", VIRTIO_BLK_T_IN, 0, 513, VIRTIO_BLK_S_IOERR },
		{ "write of a sector less a byte", VIRTIO_BLK_T_OUT, 0, 511, VIRTIO_BLK_S_IOERR },
		{ "read of nothing", VIRTIO_BLK_T_IN, 0, 0, VIRTIO_BLK_S_IOERR },
		{ "write of nothing", VIRTIO_BLK_T_OUT, 0, 0, VIRTIO_BLK_S_IOERR },
		{ "id into nothing", VIRTIO_BLK_T_GET_ID, 0, 0, VIRTIO_BLK_S_IOERR },
		{ "discard", VIRTIO_BLK_T_DISCARD, 0, 16, VIRTIO_BLK_S_UNSUPP },
		{ "write zeroes", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, VIRTIO_BLK_S_UNSUPP },
		{ "the lifetime", 10, 0, 16, VIRTIO_BLK_S_UNSUPP },
		{ "the largest type", UINT32_MAX, 0, 0, VIRTIO_BLK_S_UNSUPP },
	};
	struct disk disk;

	start_disk(&disk, *state, &plain);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t len = 0;
		unsigned int status = request(&disk, cases[i].type, cases[i].sector, cases[i].len,
					      &len);

		if (status != cases[i].status || len != 1)
			fail_msg("%s: status %#x, length %u", cases[i].name, status, len);
	}
	assert_int_equal(count_of(&disk.counters->execute_fails), 13);
	assert_int_equal(count_of(&disk.counters->invalid_reqs_count), 4);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 1, 512, NULL), VIRTIO_BLK_S_OK);
	close_disk(&disk);
}

struct layout {
	const char *name;
	struct driver_buf bufs[8];
	size_t count;
	unsigned int status;	/* NOT_WRITTEN: there is no status byte */
	uint32_t len;
};

static void a_request_may_be_split_in_any_way(void **state)
{
	static const struct layout cases[] = {
		{ "header in pieces", { { HEADER, 1, false }, { HEADER + 1, 7, false },
		  { HEADER + 8, 8, false }, { DATA, 512, true }, { STATUS, 1, true } }, 5, 0, 513 },
		{ "data in pieces", { { HEADER, 16, false }, { DATA, 1, true },
		  { DATA + 1, 510, true }, { DATA + 511, 1, true }, { STATUS, 1, true } }, 5, 0, 513 },
		{ "status behind the data", { { HEADER, 16, false }, { STATUS - 512, 513, true } }, 2,
		  0, 513 },
		{ "status behind some of the data", { { HEADER, 16, false }, { DATA, 500, true },
		  { STATUS - 12, 13, true } }, 3, 0, 513 },
		{ "sectors over pages", { { HEADER, 16, false }, { DATA + 0xffd, 1024, true },
		  { STATUS, 1, true } }, 3, 0, 1025 },
		{ "a status of two bytes makes half a byte of data",
		  { { HEADER, 16, false }, { DATA, 512, true }, { STATUS - 1, 2, true } }, 3,
		  VIRTIO_BLK_S_IOERR, 1 },
		{ "more to read than the header", { { HEADER, 16, false }, { DATA + 0x1000, 9, false },
		  { DATA, 512, true }, { STATUS, 1, true } }, 4, 0, 513 },
		{ "a header that is too short", { { HEADER, 15, false }, { DATA, 512, true },
		  { STATUS, 1, true } }, 3, VIRTIO_BLK_S_IOERR, 1 },
		{ "no header", { { DATA, 512, true }, { STATUS, 1, true } }, 2, VIRTIO_BLK_S_IOERR, 1 },
		{ "a status alone", { { STATUS, 1, true } }, 1, VIRTIO_BLK_S_IOERR, 1 },
		{ "a header alone", { { HEADER, 16, false } }, 1, NOT_WRITTEN, 0 },
		{ "no status", { { HEADER, 16, false }, { DATA, 512, false } }, 2, NOT_WRITTEN, 0 },
	};
	struct disk disk;

	start_disk(&disk, *state, &plain);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct driver *driver = &disk.driver;
		uint32_t head, len = UINT32_MAX;

		put_header(driver, HEADER, VIRTIO_BLK_T_IN, 5);
		memset(driver->ram + DATA, 0, 0x1000);
		driver->ram[STATUS] = NOT_WRITTEN;
		driver_add(driver, cases[i].bufs, cases[i].count);
		driver_kick(driver);
		await(&disk, &head, &len);
		if (len != cases[i].len || driver->ram[STATUS] != cases[i].status)
			fail_msg("%s: status %#x, length %u", cases[i].name, driver->ram[STATUS], len);
	}
	close_disk(&disk);
}

static void a_write_may_be_split_in_any_way(void **state)
{
	static const struct driver_buf bufs[] = {
		{ HEADER, 10, false }, { HEADER + 10, 6 + 100, false }, { DATA, 412, false },
		{ STATUS, 1, true } };
	struct disk disk;
	uint8_t got[512];
	uint32_t head, len;

	start_disk(&disk, *state, &plain);
	put_header(&disk.driver, HEADER, VIRTIO_BLK_T_OUT, 7);
	memset(disk.driver.ram + HEADER + 16, 'a', 100);
	memset(disk.driver.ram + DATA, 'b', 412);
	driver_add(&disk.driver, bufs, ARRAY_SIZE(bufs));
	driver_kick(&disk.driver);
	await(&disk, &head, &len);
	assert_int_equal(disk.driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_int_equal(pread(disk.fd, got, 512, 7 * 512), 512);
	assert_true(got[0] == 'a' && got[99] == 'a' && got[100] == 'b' && got[511] == 'b');
	close_disk(&disk);
}

/* As large as size_max and seg_max allow, and a sector more; the buffers are all the same memory. */
static void a_request_has_a_largest_size(void **state)
{
	static const struct { uint32_t last_bytes; uint8_t status; } cases[] = {
		{ 1u << 20, VIRTIO_BLK_S_OK }, { (1u << 20) + 512, VIRTIO_BLK_S_IOERR } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct driver_buf bufs[256] = { { HEADER, 16, false } };
		struct disk disk;
		uint32_t head, len;

		open_disk(&disk, *state, &plain, make_file(UINT64_C(1) << 30));
		driver_negotiate(&disk.driver, UINT64_MAX);
		driver_place_queue(&disk.driver, ARRAY_SIZE(bufs));
		driver_write(&disk.driver, VIRTIO_MMIO_STATUS, 
			     driver_read(&disk.driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
		put_header(&disk.driver, HEADER, VIRTIO_BLK_T_IN, 0);
		for (size_t k = 1; k <= 254; k++)
			bufs[k] = (struct driver_buf){ 2u << 20, 1u << 20, true };
		bufs[254].len = cases[i].last_bytes;
		bufs[255] = (struct driver_buf){ STATUS, 1, true };
		driver_add(&disk.driver, bufs, ARRAY_SIZE(bufs));
		driver_kick(&disk.driver);
		await(&disk, &head, &len);
		assert_int_equal(disk.driver.ram[STATUS], cases[i].status);
		close_disk(&disk);
	}
}

static void a_drive_to_read_is_not_written(void **state)
{
	static const struct squib_drive config = { .is_read_only = true };
	struct disk disk;
	uint8_t got;

	start_disk(&disk, *state, &config);	/* the file itself could be written */
	disk.driver.ram[DATA] = 0x77;
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 2, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(pread(disk.fd, &got, 1, 2 * 512), 1);
	assert_int_equal(got, 2);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 2, 512, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	close_disk(&disk);
}

static void a_file_that_shrinks_is_an_error_of_the_disk(void **state)
{
	struct disk disk;
	uint32_t len;

	start_disk(&disk, *state, &plain);
	assert_int_equal(ftruncate(disk.fd, 512 + 100), 0);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 0, 512, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 0, 1024, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(len, 613);	/* what is there, and the status */
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 9, 512, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(len, 1);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 9, 512, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 9, 512, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(count_of(&disk.counters->invalid_reqs_count), 2);
	assert_int_equal(count_of(&disk.counters->read_count), 2);
	close_disk(&disk);
}

/* /dev/full says ENOSPC to every write, but has no size. So: a limit, which a memfd heeds (EFBIG). */
static void a_write_that_the_host_refuses_is_an_error_of_the_disk(void **state)
{
	struct rlimit old, tight;
	struct disk disk;
	uint32_t len;

	start_disk(&disk, *state, &plain);
	assert_int_equal(ftruncate(disk.fd, 0), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = 4096 + 256;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 0, 4096, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 8, 512, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(len, 1);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 16, 512, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 16, 512, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(count_of(&disk.counters->invalid_reqs_count), 2);
	assert_int_equal(count_of(&disk.counters->write_bytes), 4096 + 256 + 512);
	close_disk(&disk);
}

static void what_cannot_be_a_disk_is_refused(void **state)
{
	static const struct squib_drive config = { .drive_id = "disk", .path_on_host = "/p",
						   .io_engine = SQUIB_IO_ENGINE_SYNC };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct block_params params = { .config = &config, .file_fd = -1 };
	struct virtio_device *device = NULL;
	struct driver driver;
	int fds[2];

	(void)state;
	driver_init(&driver);
	params.loop = driver.loop;
	params.metrics = driver.metrics;
	assert_int_equal(block_new(&params, &device, &fault), -EBADF);
	assert_string_equal(fault_text(&fault), "Virtio backend error: Error manipulating the backing "
			    "file: Bad file descriptor (os error 9) /p");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	params.file_fd = fds[0];
	assert_int_equal(block_new(&params, &device, &fault), -ESPIPE);
	assert_null(device);
	fd_close(fds[0]);
	fd_close(fds[1]);
	driver_done(&driver);
}

/* --- changes while a guest runs */

static void another_file_is_taken_with_a_new_size(void **state)
{
	static const struct squib_drive_update update = { .drive_id = "disk" };
	struct disk disk;
	uint32_t generation;
	CLEANUP(fd_close) int fd = -1;

	start_disk(&disk, *state, &plain);
	fd = make_file(1024);
	generation = driver_read(&disk.driver, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(block_update(disk.device, &update, fd, NULL), 0);
	assert_true(driver_interrupted(&disk.driver));
	assert_int_equal(driver_read(&disk.driver, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(driver_read(&disk.driver, VIRTIO_MMIO_CONFIG_GENERATION), generation + 1);
	assert_int_equal(capacity_of(&disk.driver), 2);
	disk.driver.ram[DATA] = 0x77;
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 1, 512, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 2, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(pread(fd, disk.driver.ram + DATA + 1, 1, 512), 1);
	assert_int_equal(disk.driver.ram[DATA + 1], 0x77);
	assert_int_equal(count_of(&disk.counters->update_count), 1);
	close_disk(&disk);
}

static void a_file_that_cannot_be_taken_changes_nothing(void **state)
{
	static const struct squib_token_bucket one = { 1, 0, 1000000 };
	static const struct squib_rate_limiter limits = { .ops = &one };
	static const struct squib_drive_update update = { .drive_id = "disk", .path_on_host = "/new",
							  .rate_limiter = &limits };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct disk disk;
	int fds[2];

	start_disk(&disk, *state, &plain);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(block_update(disk.device, &update, fds[0], &fault), -ESPIPE);
	assert_non_null(strstr(fault_text(&fault), " (os error 29) /new"));
	assert_false(driver_interrupted(&disk.driver));
	for (unsigned int i = 0; i < 3; i++)	/* no limit either */
		assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, i, 512, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(count_of(&disk.counters->update_fails), 1);
	fd_close(fds[0]);
	fd_close(fds[1]);
	close_disk(&disk);
}

static void a_limit_holds_requests_back_and_its_end_lets_them_through(void **state)
{
	static const struct squib_token_bucket two = { 2, 1, 100000000 }, none = { 0, 0, 0 };
	static const struct squib_rate_limiter limits = { .ops = &two }, no_limits = { .ops = &none };
	static const struct squib_drive config = { .rate_limiter = &limits };
	static const struct squib_drive_update nothing = { .drive_id = "disk" },
		update = { .drive_id = "disk", .rate_limiter = &no_limits };
	struct disk disk;
	uint32_t head, len;

	start_disk(&disk, *state, &config);
	for (unsigned int i = 0; i < 3; i++)	/* a burst of one, and two */
		assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, i, 512, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 9, 512, NULL), 0xff);
	assert_int_equal(count_of(&disk.counters->rate_limiter_throttled_events), 1);
	driver_kick(&disk.driver);
	driver_run(&disk.driver);
	assert_int_equal(count_of(&disk.counters->rate_limiter_throttled_events), 2);
	driver_reset(&disk.driver);		/* is no way out */
	driver_start(&disk.driver);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 9, 512, NULL), 0xff);
	assert_int_equal(block_update(disk.device, &nothing, -1, NULL), 0);
	driver_run(&disk.driver);
	assert_false(driver_take(&disk.driver, &head, &len));
	assert_int_equal(block_update(disk.device, &update, -1, NULL), 0);
	await(&disk, &head, &len);
	assert_int_equal(disk.driver.ram[DATA], 9);
	close_disk(&disk);
}

static void the_timer_lets_requests_through(void **state)
{
	static const struct squib_token_bucket bytes = { 512, 0, 5 };	/* a sector in 5 ms */
	static const struct squib_rate_limiter limits = { .bandwidth = &bytes };
	static const struct squib_drive config = { .rate_limiter = &limits };
	struct disk disk;
	uint32_t head, len;

	start_disk(&disk, *state, &config);
	for (unsigned int i = 0; i < 4; i++) {
		/* the last ones are larger than the bucket */
		unsigned int status = request(&disk, VIRTIO_BLK_T_IN, i, i < 2 ? 512 : 2048, &len);

		if (status == 0xff) {
			while (!driver_take(&disk.driver, &head, &len))
				assert_int_equal(loop_run_once(disk.driver.loop, 10000), 0);
		}
		assert_int_equal(disk.driver.ram[DATA], i);
		assert_int_equal(disk.driver.ram[STATUS], VIRTIO_BLK_S_OK);
	}
	close_disk(&disk);
}

static void a_limit_is_not_served_past_a_pause(void **state)
{
	static const struct squib_token_bucket one = { 1, 0, 2 };
	static const struct squib_rate_limiter limits = { .ops = &one };
	static const struct squib_drive config = { .rate_limiter = &limits };
	struct disk disk;
	uint32_t head, len;
	uint64_t before;

	start_disk(&disk, *state, &config);
	request(&disk, VIRTIO_BLK_T_IN, 1, 512, NULL);
	while (request(&disk, VIRTIO_BLK_T_IN, 2, 512, NULL) != 0xff)
		;	/* until one is held back */
	before = count_of(&disk.counters->rate_limiter_event_count);
	virtio_mmio_pause(disk.driver.mmio);
	while (count_of(&disk.counters->rate_limiter_event_count) == before)
		assert_int_equal(loop_run_once(disk.driver.loop, 10000), 0);
	driver_run(&disk.driver);
	assert_false(driver_take(&disk.driver, &head, &len));
	virtio_mmio_resume(disk.driver.mmio);
	await(&disk, &head, &len);
	close_disk(&disk);
}

/* --- rounds */

static void a_round_leaves_the_loop_to_others(void **state)
{
	struct disk disk;
	struct driver *driver = &disk.driver;
	static const struct driver_buf bufs[] = { { HEADER, 16, false }, { DATA, 0x200000, true },
						  { STATUS, 1, true } };
	unsigned int taken = 0;
	uint32_t head, len;

	open_disk(&disk, *state, &plain, make_file(0x200000));
	driver_start(driver);
	put_header(driver, HEADER, VIRTIO_BLK_T_IN, 0);
	for (unsigned int i = 0; i < 10; i++)
		driver_add(driver, bufs, ARRAY_SIZE(bufs));
	driver_kick(driver);
	assert_int_equal(loop_run_once(driver->loop, 0), 0);
	while (driver_take(driver, &head, &len))
		taken++;
	if (!disk.async)
		assert_int_equal(taken, 4);	/* 8 MiB */
	for (; taken < 10; taken++)
		await(&disk, &head, &len);
	assert_int_equal(count_of(&disk.counters->queue_event_count), 1);
	close_disk(&disk);
}

static void a_broken_ring_needs_a_reset_and_then_all_is_well(void **state)
{
	struct disk disk;
	struct driver *driver = &disk.driver;
	uint16_t *avail;

	start_disk(&disk, *state, &plain);
	avail = (uint16_t *)(driver->ram + DRIVER_AVAIL);
	avail[1] = htole16(1000);
	driver_kick(driver);
	driver_run(driver);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 0x4f);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	assert_true(driver_interrupted(driver));
	avail[1] = 0;
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 1, 512, NULL), 0xff);
	driver_reset(driver);
	driver_start(driver);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 1, 512, NULL), VIRTIO_BLK_S_OK);
	close_disk(&disk);
}

static void writeback_is_flushed_at_the_end(void **state)
{
	static const struct squib_drive config = { .cache_type = SQUIB_CACHE_WRITEBACK };
	struct disk disk;

	start_disk(&disk, *state, &config);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(count_of(&disk.counters->flush_count), 1);
	close_disk(&disk);
}

#define WITH(test, engine) { #test ", " #engine, test, NULL, NULL, &engine }
#define BOTH(test)	   WITH(test, sync_engine), WITH(test, async_engine)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		BOTH(sectors_are_read_and_written),
		BOTH(the_id_is_made_of_the_file),
		BOTH(what_a_drive_is_shows_in_its_features),
		BOTH(the_capacity_is_in_whole_sectors),
		BOTH(requests_that_make_no_sense_fail),
		BOTH(a_request_may_be_split_in_any_way),
		BOTH(a_write_may_be_split_in_any_way),
		BOTH(a_request_has_a_largest_size),
		BOTH(a_drive_to_read_is_not_written),
		BOTH(a_file_that_shrinks_is_an_error_of_the_disk),
		BOTH(a_write_that_the_host_refuses_is_an_error_of_the_disk),
		cmocka_unit_test(what_cannot_be_a_disk_is_refused),
		BOTH(another_file_is_taken_with_a_new_size),
		BOTH(a_file_that_cannot_be_taken_changes_nothing),
		BOTH(a_limit_holds_requests_back_and_its_end_lets_them_through),
		BOTH(the_timer_lets_requests_through),
		BOTH(a_limit_is_not_served_past_a_pause),
		BOTH(a_round_leaves_the_loop_to_others),
		BOTH(a_broken_ring_needs_a_reset_and_then_all_is_well),
		BOTH(writeback_is_flushed_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
