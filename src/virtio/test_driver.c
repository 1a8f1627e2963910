/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/test_driver.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

void driver_init(struct driver *driver)
{
	static const struct guest_region region = { 0, DRIVER_MEM_BYTES };
	struct guest_mem_params params = { .regions = &region, .region_count = 1,
					   .track_dirty = true };

	*driver = (struct driver){ 0 };
	assert_int_equal(guest_mem_new(&params, &driver->mem, NULL), 0);
	driver->ram = guest_mem_region_data(driver->mem, 0);
	assert_int_equal(loop_new(&driver->loop), 0);
	assert_int_equal(metrics_new(&driver->metrics), 0);
}

void driver_done(struct driver *driver)
{
	virtio_mmio_free(driver->mmio);
	loop_free(driver->loop);
	metrics_free(driver->metrics);
	guest_mem_free(driver->mem);
}

void driver_attach(struct driver *driver, struct virtio_device *device)
{
	struct virtio_mmio_params params = { .device = device, .mem = driver->mem,
					     .loop = driver->loop, .metrics = driver->metrics };

	assert_int_equal(virtio_mmio_new(&params, &driver->mmio), 0);
}

uint32_t driver_read(struct driver *driver, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_read(driver->mmio, offset, &value, sizeof(value));
	return le32toh(value);
}

void driver_write(struct driver *driver, uint64_t offset, uint32_t value)
{
	value = htole32(value);
	virtio_mmio_write(driver->mmio, offset, &value, sizeof(value));
}

static uint64_t offered(struct driver *driver)
{
	uint64_t low;

	driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES);
	driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

void driver_negotiate(struct driver *driver, uint64_t features)
{
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	features &= offered(driver);
	driver_write(driver, VIRTIO_MMIO_STATUS, status);
	driver_write(driver, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_DRIVER);
	driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	driver_write(driver, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), status);
}

void driver_place_queue(struct driver *driver, uint16_t size)
{
	memset(driver->ram + DRIVER_DESC, 0, DRIVER_DATA - DRIVER_DESC);
	driver->size = size;
	driver->next_desc = driver->next_avail = driver->next_used = 0;
	driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, 0);
	driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, size);
	driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, DRIVER_DESC);
	driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
	driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, DRIVER_AVAIL);
	driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
	driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, DRIVER_USED);
	driver_write(driver, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
}

void driver_start(struct driver *driver)
{
	uint32_t status;

	driver_negotiate(driver, UINT64_MAX);
	driver_place_queue(driver, 64);
	status = driver_read(driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK;
	driver_write(driver, VIRTIO_MMIO_STATUS, status);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), status);
}

void driver_reset(struct driver *driver)
{
	driver_write(driver, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 0);
}

uint16_t driver_add(struct driver *driver, const struct driver_buf *bufs, size_t count)
{
	struct virtq_desc *table = (struct virtq_desc *)(driver->ram + DRIVER_DESC);
	uint16_t *avail = (uint16_t *)(driver->ram + DRIVER_AVAIL), head = driver->next_desc;

	for (size_t i = 0; i < count; i++) {
		struct virtq_desc *desc = &table[driver->next_desc];

		driver->next_desc = (uint16_t)((driver->next_desc + 1) % driver->size);
		desc->addr = htole64(bufs[i].gpa);
		desc->len = htole32(bufs[i].len);
		desc->flags = htole16((bufs[i].write ? VIRTQ_DESC_F_WRITE : 0) |
				      (i + 1 < count ? VIRTQ_DESC_F_NEXT : 0));
		desc->next = htole16(driver->next_desc);
	}
	avail[2 + driver->next_avail % driver->size] = htole16(head);
	driver->next_avail++;
	/* Sequentially consistent for who looks at avail_event next, as at used_event below. */
	__atomic_store_n(&avail[1], htole16(driver->next_avail), __ATOMIC_SEQ_CST);
	return head;
}

void driver_kick(struct driver *driver)
{
	driver_write(driver, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

void driver_run(struct driver *driver)
{
	struct pollfd poll_loop = { .fd = loop_fd(driver->loop), .events = POLLIN };

	while (poll(&poll_loop, 1, 0) > 0)
		assert_int_equal(loop_run_once(driver->loop, 0), 0);
}

bool driver_take(struct driver *driver, uint32_t *ret_head, uint32_t *ret_len)
{
	const uint16_t *used = (const uint16_t *)(driver->ram + DRIVER_USED);
	const struct virtq_used_elem *elem = (const struct virtq_used_elem *)(used + 2) +
					     driver->next_used % driver->size;

	if (le16toh(__atomic_load_n(&used[1], __ATOMIC_SEQ_CST)) == driver->next_used)
		return false;
	*ret_head = le32toh(elem->id);
	*ret_len = le32toh(elem->len);
	driver->next_used++;
	return true;
}

bool driver_interrupted(struct driver *driver)
{
	uint64_t count;

	return read(virtio_mmio_irq_fd(driver->mmio), &count, sizeof(count)) == sizeof(count);
}
