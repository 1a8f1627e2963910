/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "virtio/test_driver.h"

#define ACK	 VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRV	 VIRTIO_CONFIG_S_DRIVER
#define FEAT	 VIRTIO_CONFIG_S_FEATURES_OK
#define OK	 VIRTIO_CONFIG_S_DRIVER_OK
#define FAILED	 VIRTIO_CONFIG_S_FAILED
#define NEEDS	 VIRTIO_CONFIG_S_NEEDS_RESET
#define RUNNING	 (ACK | DRV | FEAT | OK)

#define TOY_FEATURE 5u
#define TOY_CONFIG  10u
#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)

/* A device that gives every request back, and counts what it is asked. */
struct toy {
	struct virtio_device device;
	unsigned int activated, kicked[2], resets;
	int activate_result;
	bool hold;	/* requests stay in the queue */
	uint8_t config[TOY_CONFIG];
	bool *freed;
};

static struct toy *of_device(struct virtio_device *device)
{
	return container_of(device, struct toy, device);
}

static int toy_activate(struct virtio_device *device)
{
	of_device(device)->activated++;
	return of_device(device)->activate_result;
}

static void toy_queue_kicked(struct virtio_device *device, uint16_t queue)
{
	struct toy *toy = of_device(device);
	struct vq_chain chain;

	toy->kicked[queue]++;
	while (!toy->hold && virtio_queue_pop(device, queue, &chain) > 0)
		vq_push(&device->queues[queue], &chain, 0);
	virtio_queue_notify(device, queue);
}

static void toy_reset(struct virtio_device *device)
{
	of_device(device)->resets++;
}

static void toy_config_read(struct virtio_device *device, uint32_t offset, void *data, size_t len)
{
	assert_true(offset + len <= TOY_CONFIG);
	memcpy(data, of_device(device)->config + offset, len);
}

static void toy_config_write(struct virtio_device *device, uint32_t offset, const void *data,
			     size_t len)
{
	assert_true(offset + len <= TOY_CONFIG);
	memcpy(of_device(device)->config + offset, data, len);
}

static void toy_free(struct virtio_device *device)
{
	struct toy *toy = of_device(device);

	*toy->freed = true;
	virtio_device_done(device);
	free(toy);
}

static const struct virtio_ops toy_ops = {
	.device_id = 42,
	.queue_count = 2,
	.activate = toy_activate,
	.queue_kicked = toy_queue_kicked,
	.reset = toy_reset,
	.config_read = toy_config_read,
	.config_write = toy_config_write,
	.free = toy_free,
};

struct bench {
	struct driver driver;
	struct toy *toy;
	bool freed;
};

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	bench->toy = calloc(1, sizeof(*bench->toy));
	virtio_device_init(&bench->toy->device, &toy_ops);
	bench->toy->device.features |= UINT64_C(1) << TOY_FEATURE | UINT64_C(1) << 63;
	bench->toy->device.config_len = TOY_CONFIG;
	bench->toy->freed = &bench->freed;
	for (unsigned int i = 0; i < TOY_CONFIG; i++)
		bench->toy->config[i] = (uint8_t)(0x10 + i);
	driver_init(&bench->driver);
	driver_attach(&bench->driver, &bench->toy->device);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	driver_done(&bench->driver);
	assert_true(bench->freed);
	free(bench);
	return 0;
}

static uint32_t status_of(struct driver *driver)
{
	return driver_read(driver, VIRTIO_MMIO_STATUS);
}

static void registers_read_as_the_standard_says(void **state)
{
	static const struct { const char *name; uint64_t offset; uint32_t want; } cases[] = {
		{ "MagicValue", 0x000, 0x74726976 }, { "Version", 0x004, 2 },
		{ "DeviceID", 0x008, 42 }, { "VendorID", 0x00c, 0 },
		{ "DeviceFeatures", 0x010, 1u << TOY_FEATURE | 1u << VIRTIO_RING_F_EVENT_IDX |
					   1u << VIRTIO_RING_F_INDIRECT_DESC },
		{ "DeviceFeaturesSel", 0x014, 0 }, { "DriverFeatures", 0x020, 0 },
		{ "QueueSel", 0x030, 0 }, { "QueueNumMax", 0x034, 256 }, { "QueueNum", 0x038, 0 },
		{ "QueueReady", 0x044, 0 }, { "QueueNotify", 0x050, 0 },
		{ "InterruptStatus", 0x060, 0 }, { "InterruptACK", 0x064, 0 },
		{ "Status", 0x070, 0 }, { "QueueDescLow", 0x080, 0 },
		{ "SHMLenLow", 0x0b0, UINT32_MAX }, { "SHMLenHigh", 0x0b4, UINT32_MAX },
		{ "SHMBaseLow", 0x0b8, UINT32_MAX }, { "SHMBaseHigh", 0x0bc, UINT32_MAX },
		{ "ConfigGeneration", 0x0fc, 0 }, { "between registers", 0x002, 0 },
		{ "the last of the page", 0xffc, 0 }, { "past the page", 0x1000, 0 },
		{ "far past the page", UINT64_MAX - 3, 0 },
	};
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t got = driver_read(&bench->driver, cases[i].offset);

		if (got != cases[i].want)
			fail_msg("%s: %#x", cases[i].name, got);
		driver_write(&bench->driver, cases[i].offset & ~UINT64_C(0x70), 0x5a5a5a5a);
	}
}

static void features_are_shown_in_words(void **state)
{
	static const struct { uint32_t sel, want; } cases[] = {
		{ 0, 1u << TOY_FEATURE | 1u << VIRTIO_RING_F_EVENT_IDX |
		     1u << VIRTIO_RING_F_INDIRECT_DESC },
		{ 1, 1u << (VIRTIO_F_VERSION_1 - 32) | 1u << 31 },
		{ 2, 0 }, { 32, 0 }, { UINT32_MAX, 0 },
	};
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		driver_write(&bench->driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, cases[i].sel);
		assert_int_equal(driver_read(&bench->driver, VIRTIO_MMIO_DEVICE_FEATURES),
				 cases[i].want);
	}
}

/* Everything but the word is no access to a register: reads are 0, writes do nothing. */
static void registers_are_words(void **state)
{
	struct bench *bench = *state;
	uint8_t data[8];

	for (size_t len = 1; len <= 8; len++) {
		uint8_t status = ACK;

		memset(data, 0xff, sizeof(data));
		virtio_mmio_read(bench->driver.mmio, VIRTIO_MMIO_MAGIC_VALUE, data, len);
		assert_int_equal(data[0], len == 4 ? 'v' : 0);
		assert_int_equal(data[len - 1], len == 4 ? 't' : 0);
		memset(data, 0, sizeof(data));
		memcpy(data, &status, 1);
		virtio_mmio_write(bench->driver.mmio, VIRTIO_MMIO_STATUS, data, len);
		assert_int_equal(status_of(&bench->driver), len == 4 ? ACK : 0);
		driver_reset(&bench->driver);
	}
}

static void configuration_is_accessed_in_any_size(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;
	static const uint8_t zeros[8];

	for (uint64_t offset = 0; offset < 16; offset++) {
		for (size_t len = 1; len <= 8; len++) {
			bool inside = offset + len <= TOY_CONFIG;
			uint8_t data[8];

			memset(data, 0xff, sizeof(data));
			virtio_mmio_read(driver->mmio, VIRTIO_MMIO_CONFIG + offset, data, len);
			assert_memory_equal(data, inside ? bench->toy->config + offset : zeros, len);
		}
	}
	virtio_mmio_write(driver->mmio, VIRTIO_MMIO_CONFIG + 2, "ab", 2);	/* too early */
	assert_int_equal(bench->toy->config[2], 0x12);
	driver_negotiate(driver, UINT64_MAX);
	virtio_mmio_write(driver->mmio, VIRTIO_MMIO_CONFIG + 2, "ab", 2);
	virtio_mmio_write(driver->mmio, VIRTIO_MMIO_CONFIG + 9, "xy", 2);	/* over the end */
	virtio_mmio_write(driver->mmio, VIRTIO_MMIO_CONFIG + TOY_CONFIG, "z", 1);
	assert_memory_equal(bench->toy->config + 1, "\x11" "ab\x14\x15\x16\x17\x18\x19", 9);
}

/* What each write of the status makes of it. */
static void the_status_goes_up_step_by_step(void **state)
{
	static const struct { const char *name; uint32_t writes[6]; uint32_t want; } cases[] = {
		{ "acknowledged", { ACK }, ACK },
		{ "driver", { ACK, ACK | DRV }, ACK | DRV },
		{ "the same again", { ACK, ACK, ACK | DRV, ACK | DRV }, ACK | DRV },
		{ "driver without acknowledging", { DRV }, 0 },
		{ "two steps at once", { ACK | DRV }, 0 },
		{ "a bit is left out", { ACK, DRV }, ACK },
		{ "a bit is taken back", { ACK, ACK | DRV, ACK }, ACK | DRV },
		{ "features without the version", { ACK, ACK | DRV, ACK | DRV | FEAT }, ACK | DRV },
		{ "all at once", { RUNNING }, 0 },
		{ "running without features", { ACK, ACK | DRV, ACK | DRV | OK }, ACK | DRV },
		{ "failed at once", { FAILED }, FAILED },
		{ "failed later", { ACK, ACK | DRV, ACK | DRV | FAILED }, ACK | DRV | FAILED },
		{ "nothing goes on after that", { ACK, FAILED, ACK | DRV, ACK | DRV | FAILED },
		  ACK | FAILED },
		{ "unknown bits", { 0x20, ACK, ACK | 0x100 }, ACK },
		{ "needs reset is the device's", { ACK, ACK | NEEDS }, ACK },
		{ "the largest", { 0xffffff3f & ~FAILED }, 0 },
	};
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		driver_reset(&bench->driver);
		for (size_t j = 0; j < ARRAY_SIZE(cases[i].writes) && cases[i].writes[j] != 0; j++)
			driver_write(&bench->driver, VIRTIO_MMIO_STATUS, cases[i].writes[j]);
		if (status_of(&bench->driver) != cases[i].want)
			fail_msg("%s: %#x", cases[i].name, status_of(&bench->driver));
	}
	assert_int_equal(bench->toy->activated, 0);
}

static void write_features(struct driver *driver, uint32_t sel, uint32_t value)
{
	driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, sel);
	driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, value);
}

static void features_are_accepted_or_the_bit_does_not_stick(void **state)
{
	static const struct { const char *name; uint32_t word[3]; bool fine; } cases[] = {
		{ "the version alone", { 0, 1, 0 }, true },
		{ "all", { 1u << TOY_FEATURE | 3u << 28, 1 | 1u << 31, 0 }, true },
		{ "without the version", { 1u << TOY_FEATURE, 0, 0 }, false },
		{ "one that is not offered", { 2, 1, 0 }, false },
		{ "one high up that is not offered", { 0, 3, 0 }, false },
		{ "one past 64", { 0, 1, 1 }, false },
	};
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t want = cases[i].word[0] | (uint64_t)cases[i].word[1] << 32;

		driver_reset(driver);
		write_features(driver, 0, 2);	/* too early: of no effect */
		driver_write(driver, VIRTIO_MMIO_STATUS, ACK);
		driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV);
		for (unsigned int j = 0; j < 3; j++)
			write_features(driver, j, cases[i].word[j]);
		driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV | FEAT);
		if (status_of(driver) != (ACK | DRV | (cases[i].fine ? FEAT : 0)))
			fail_msg("%s: %#x", cases[i].name, status_of(driver));
		write_features(driver, 0, 1u << TOY_FEATURE);	/* too late */
		assert_int_equal(bench->toy->device.acked_features, cases[i].fine ? want : 0);
	}
}

static void a_driver_may_ask_for_less_after_a_refusal(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	driver_write(driver, VIRTIO_MMIO_STATUS, ACK);
	driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV);
	write_features(driver, 0, 1);
	write_features(driver, 1, 1);
	driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV | FEAT);
	assert_int_equal(status_of(driver), ACK | DRV);
	write_features(driver, 0, 0);
	driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV | FEAT);
	assert_int_equal(status_of(driver), ACK | DRV | FEAT);
}

static void queues_are_set_up_between_features_and_running(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;
	const struct vq *vq = &bench->toy->device.queues[0];

	driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, 64);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_negotiate(driver, UINT64_MAX);
	driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_HIGH, 1);
	driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 2);
	driver_write(driver, VIRTIO_MMIO_QUEUE_USED_HIGH, 3);
	driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, 4);
	driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 5);
	driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, 6);
	assert_true(vq->desc_gpa == 0x100000004 && vq->avail_gpa == 0x200000005 &&
		    vq->used_gpa == 0x300000006);
	driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, 0x10040);	/* is not 64 */
	assert_int_equal(vq->size, 0);
	for (uint32_t sel = 2; sel != 0; sel *= 2) {
		driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, sel);
		assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, 64);
		driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	driver_place_queue(driver, 64);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 1);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
	driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING);
	assert_int_equal(status_of(driver), RUNNING);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 0);	/* too late */
	driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, 8);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(vq->size, 64);
}

static void a_device_may_run_with_some_of_its_queues(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	driver_start(driver);
	driver_write(driver, VIRTIO_MMIO_QUEUE_NOTIFY, 1);	/* not enabled */
	driver_write(driver, VIRTIO_MMIO_QUEUE_NOTIFY, 2);	/* there is none */
	driver_write(driver, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0] + bench->toy->kicked[1], 0);
	driver_kick(driver);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 1);
}

static void a_device_that_cannot_be_activated_needs_a_reset(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	for (unsigned int i = 0; i < 2; i++) {
		driver_negotiate(driver, UINT64_MAX);
		driver_place_queue(driver, 64);
		if (i == 0)	/* the device says no; then the queue is nowhere */
			bench->toy->activate_result = -EIO;
		else
			driver_write(driver, VIRTIO_MMIO_QUEUE_USED_HIGH, 1);
		driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING);
		assert_int_equal(status_of(driver), RUNNING | NEEDS);
		assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS),
				 VIRTIO_MMIO_INT_CONFIG);
		assert_true(driver_interrupted(driver));
		driver_kick(driver);
		driver_run(driver);
		assert_int_equal(bench->toy->kicked[0], 0);
		bench->toy->activate_result = 0;
		driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING);	/* no way back */
		driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING | NEEDS);
		assert_int_equal(status_of(driver), RUNNING | NEEDS);
		driver_reset(driver);
	}
	assert_int_equal(bench->toy->activated, 1);
	driver_start(driver);
	driver_kick(driver);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 1);
}

/* A driver gets this far, resets, and then all is as in the beginning. */
static void a_reset_works_in_every_state(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	for (unsigned int step = 0; step < 7; step++) {
		unsigned int resets = bench->toy->resets;

		if (step >= 1)
			driver_write(driver, VIRTIO_MMIO_STATUS, ACK);
		if (step >= 2)
			driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV);
		if (step >= 3) {
			write_features(driver, 1, 1);
			driver_write(driver, VIRTIO_MMIO_STATUS, ACK | DRV | FEAT);
			driver_place_queue(driver, 8);
		}
		if (step >= 4)
			driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING);
		if (step >= 5) {
			driver->ram[DRIVER_AVAIL + 2] = 99;	/* breaks the ring */
			driver_kick(driver);
			driver_run(driver);
			assert_int_equal(status_of(driver), RUNNING | NEEDS);
		}
		if (step >= 6)
			driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING | FAILED);
		driver_reset(driver);
		assert_int_equal(bench->toy->resets, resets + 1);
		assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_int_equal(bench->toy->device.acked_features, 0);
		assert_false(bench->toy->device.active);
		assert_false(bench->toy->device.queues[0].enabled);
		driver_kick(driver);		/* by a driver that does not know */
		driver_run(driver);
		driver_reset(driver);
		driver_interrupted(driver);
		bench->toy->kicked[0] = 0;
		driver_start(driver);
		driver_run(driver);
		assert_int_equal(bench->toy->kicked[0], 0);
		driver_kick(driver);
		driver_run(driver);
		assert_int_equal(bench->toy->kicked[0], 1);
		driver_reset(driver);
	}
}

static void a_kick_ahead_of_activation_is_not_lost(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	driver_negotiate(driver, UINT64_MAX);
	driver_place_queue(driver, 64);
	driver_kick(driver);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 0);
	driver_write(driver, VIRTIO_MMIO_STATUS, RUNNING);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 1);
}

static void a_pause_keeps_kicks(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;

	driver_start(driver);
	virtio_mmio_pause(driver->mmio);
	virtio_mmio_pause(driver->mmio);
	driver_run(driver);
	virtio_mmio_resume(driver->mmio);
	virtio_mmio_resume(driver->mmio);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 0);	/* there were none */

	driver_kick(driver);			/* before the pause, but not served */
	virtio_mmio_pause(driver->mmio);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 0);
	virtio_mmio_resume(driver->mmio);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 1);

	virtio_mmio_pause(driver->mmio);
	driver_kick(driver);			/* during it, and the loop sees it */
	driver_run(driver);
	driver_kick(driver);			/* during it, and the loop does not */
	virtio_mmio_resume(driver->mmio);
	driver_run(driver);
	assert_true(bench->toy->kicked[0] >= 2);

	virtio_mmio_pause(driver->mmio);	/* a start while paused, with a kick ahead of it */
	driver_reset(driver);
	driver_kick(driver);
	driver_run(driver);
	driver_start(driver);
	driver_run(driver);
	bench->toy->kicked[0] = 0;
	virtio_mmio_resume(driver->mmio);
	driver_run(driver);
	assert_int_equal(bench->toy->kicked[0], 1);
}

static void every_kick_is_seen_without_reading_the_eventfd(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;
	int kick_fd = virtio_mmio_kick_fd(driver->mmio, 0);
	uint64_t nearly_full = UINT64_MAX - 1 - 5, one = 1;

	driver_start(driver);
	for (unsigned int i = 1; i <= 100; i++) {
		assert_int_equal(write(kick_fd, &one, 8), 8);	/* as KVM would signal it */
		driver_run(driver);
		assert_int_equal(bench->toy->kicked[0], i);
	}
	assert_int_equal(write(kick_fd, &nearly_full, 8), -1);	/* nobody reads */
	assert_int_equal(errno, EAGAIN);
}

static const struct driver_buf buf = { DRIVER_DATA, 16, true };

static void the_line_is_signalled_whenever_the_driver_is_to_look(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;
	struct virtio_device *device = &bench->toy->device;
	uint16_t *used_event = (uint16_t *)(driver->ram + DRIVER_AVAIL + 4 + 2 * 64);

	device->transport->interrupt_config(device->transport);	/* nobody to tell yet */
	assert_false(driver_interrupted(driver));
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION), 1);

	driver_start(driver);
	driver_add(driver, &buf, 1);
	driver_kick(driver);
	driver_run(driver);
	assert_true(driver_interrupted(driver));
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	*used_event = htole16(1);
	driver_add(driver, &buf, 1);
	driver_kick(driver);
	driver_run(driver);
	assert_true(driver_interrupted(driver));	/* the first was not acknowledged, maybe lost */
	device->transport->interrupt_config(device->transport);
	assert_true(driver_interrupted(driver));
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	driver_write(driver, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	*used_event = htole16(2);
	driver_add(driver, &buf, 1);
	driver_kick(driver);
	driver_run(driver);
	assert_true(driver_interrupted(driver));
	driver_write(driver, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	*used_event = htole16(99);			/* not yet, says the driver */
	driver_add(driver, &buf, 1);
	driver_kick(driver);
	driver_run(driver);
	assert_false(driver_interrupted(driver));
	assert_int_equal(driver->metrics->interrupts.triggers.value, 4);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION), 2);
}

static void a_transport_that_cannot_be_made_leaves_the_device(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;
	bool freed = false;
	struct toy *toy = calloc(1, sizeof(*toy));
	struct virtio_mmio_params params = { .device = &toy->device, .mem = driver->mem,
					     .loop = driver->loop, .metrics = driver->metrics };
	struct virtio_mmio *mmio = NULL;
	struct rlimit old, tight;
	int free_fd = dup(0);

	virtio_device_init(&toy->device, &toy_ops);
	toy->freed = &freed;
	close(free_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	for (rlim_t more = 0; more <= 2; more++) {	/* it needs three */
		tight.rlim_cur = (rlim_t)free_fd + more;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
		assert_int_equal(virtio_mmio_new(&params, &mmio), -EMFILE);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_null(mmio);
		assert_false(freed);
		assert_null(toy->device.transport);
	}
	virtio_device_free(&toy->device);
	virtio_device_free(NULL);
	virtio_mmio_free(NULL);
	assert_true(freed);
}

/*
 * --- a vCPU beside the loop
 *
 * Its driver is as thrifty as event indexes allow: it kicks only when asked to, and sleeps until the
 * line is signalled. So a kick or an interrupt that is left out wrongly makes it sleep for ever.
 */

struct vcpu {
	struct driver *driver;
	atomic_bool done;
};

#define VCPU_ROUNDS   2000u
#define VCPU_SPINS    2000u	/* looks before it sleeps: it offers while the device goes to sleep */
#define VCPU_SLEEP_MS 20000	/* for what is lost, not for a slow machine */

static void vcpu_offer(struct driver *driver)
{
	const uint16_t *avail_event = (uint16_t *)(driver->ram + DRIVER_USED + 4 + 8 * 64);
	uint16_t index = driver->next_avail;

	driver_add(driver, &buf, 1);
	if (le16toh(__atomic_load_n(avail_event, __ATOMIC_SEQ_CST)) == index)
		driver_kick(driver);
}

static void vcpu_sleep(struct driver *driver)
{
	struct pollfd line = { .fd = virtio_mmio_irq_fd(driver->mmio), .events = POLLIN };

	assert_int_equal(poll(&line, 1, VCPU_SLEEP_MS), 1);
	driver_interrupted(driver);
	driver_write(driver, VIRTIO_MMIO_INTERRUPT_ACK,
		     driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS));
}

static void vcpu_take(struct driver *driver)
{
	uint16_t *used_event = (uint16_t *)(driver->ram + DRIVER_AVAIL + 4 + 2 * 64);
	uint32_t head, len;

	for (;;) {
		__atomic_store_n(used_event, htole16(driver->next_used), __ATOMIC_SEQ_CST);
		for (unsigned int i = 0; i < VCPU_SPINS; i++)
			if (driver_take(driver, &head, &len))
				return;
		vcpu_sleep(driver);
	}
}

static void *vcpu_main(void *data)
{
	struct vcpu *vcpu = data;
	struct driver *driver = vcpu->driver;

	for (unsigned int i = 0; i < VCPU_ROUNDS; i++) {
		if (i % 50 == 0) {
			driver_write(driver, VIRTIO_MMIO_STATUS, 0);
			driver_start(driver);
		}
		for (unsigned int j = 0; j <= i % 4; j++) {
			vcpu_offer(driver);
			/* so that the next is offered at any moment of serving this one */
			for (volatile unsigned int k = 0; k < i * 7919 % 30000; k++)
				;
		}
		driver_read(driver, VIRTIO_MMIO_QUEUE_READY);
		driver_read(driver, VIRTIO_MMIO_CONFIG);
		for (unsigned int j = 0; j <= i % 4; j++)
			vcpu_take(driver);
	}
	atomic_store(&vcpu->done, true);
	driver_kick(driver);	/* wakes the loop */
	return NULL;
}

static void vcpus_and_the_loop_work_side_by_side(void **state)
{
	struct bench *bench = *state;
	struct driver *driver = &bench->driver;
	struct vcpu vcpu = { .driver = driver };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, vcpu_main, &vcpu), 0);
	for (unsigned int i = 0; !atomic_load(&vcpu.done); i++) {
		assert_int_equal(loop_run_once(driver->loop, 1), 0);
		if (i % 7 == 0)
			virtio_mmio_pause(driver->mmio);
		if (i % 7 == 1)
			virtio_mmio_resume(driver->mmio);
	}
	pthread_join(thread, NULL);
	virtio_mmio_resume(driver->mmio);
	assert_int_equal(status_of(driver), RUNNING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(registers_read_as_the_standard_says),
		TEST(features_are_shown_in_words),
		TEST(registers_are_words),
		TEST(configuration_is_accessed_in_any_size),
		TEST(the_status_goes_up_step_by_step),
		TEST(features_are_accepted_or_the_bit_does_not_stick),
		TEST(a_driver_may_ask_for_less_after_a_refusal),
		TEST(queues_are_set_up_between_features_and_running),
		TEST(a_device_may_run_with_some_of_its_queues),
		TEST(a_device_that_cannot_be_activated_needs_a_reset),
		TEST(a_reset_works_in_every_state),
		TEST(a_kick_ahead_of_activation_is_not_lost),
		TEST(a_pause_keeps_kicks),
		TEST(every_kick_is_seen_without_reading_the_eventfd),
		TEST(the_line_is_signalled_whenever_the_driver_is_to_look),
		TEST(a_transport_that_cannot_be_made_leaves_the_device),
		TEST(vcpus_and_the_loop_work_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
