/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a driver that reaches a device as a guest does, over the registers of virtio-mmio, rings in
 * guest memory, and eventfds. Around it is a machine: memory, a loop, metrics, no log.
 */
#ifndef SQUIB_VIRTIO_TEST_DRIVER_H
#define SQUIB_VIRTIO_TEST_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/metrics.h"
#include "mem/guest_mem.h"
#include "virtio/device.h"
#include "virtio/mmio.h"

#define DRIVER_MEM_BYTES 0x400000u
#define DRIVER_DESC	 0x1000u
#define DRIVER_AVAIL	 0x3000u
#define DRIVER_USED	 0x4000u
#define DRIVER_TABLE	 0x6000u
#define DRIVER_DATA	 0x10000u	/* from here on memory is the test's */

struct driver {
	struct guest_mem *mem;
	uint8_t *ram;			/* guest memory from 0 */
	struct loop *loop;
	struct metrics *metrics;
	struct virtio_mmio *mmio;	/* NULL before driver_attach() */
	uint16_t size;			/* of queue 0 */
	uint16_t next_desc;
	uint16_t next_avail;
	uint16_t next_used;
};

struct driver_buf {
	gpa_t gpa;
	uint32_t len;
	bool write;	/* the device writes to it */
};

void driver_init(struct driver *driver);
void driver_done(struct driver *driver);	/* the transport and its device too */
void driver_attach(struct driver *driver, struct virtio_device *device);

uint32_t driver_read(struct driver *driver, uint64_t offset);
void driver_write(struct driver *driver, uint64_t offset, uint32_t value);

/** driver_negotiate() - up to FEATURES_OK, with as many of @features as are offered */
void driver_negotiate(struct driver *driver, uint64_t features);
/** driver_place_queue() - queue 0 with @size descriptors, ready */
void driver_place_queue(struct driver *driver, uint16_t size);
/** driver_start() - all steps, with a queue of 64 and all features offered */
void driver_start(struct driver *driver);
void driver_reset(struct driver *driver);

/** driver_add() - make a chain available; its head */
uint16_t driver_add(struct driver *driver, const struct driver_buf *bufs, size_t count);
void driver_kick(struct driver *driver);
/** driver_run() - run the loop until nothing is ready */
void driver_run(struct driver *driver);
/** driver_take() - the next used entry: false when there is none */
bool driver_take(struct driver *driver, uint32_t *ret_head, uint32_t *ret_len);
/** driver_interrupted() - was the line signalled since the last call? */
bool driver_interrupted(struct driver *driver);

#endif
