/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between device.c, which understands messages, and rings.c, which lets the device serve the rings
 * that they describe. Indexes are below the device's queue_count. The loop's thread; the device's
 * lock is not held.
 */
#ifndef SQUIB_VHOST_USER_RINGS_H
#define SQUIB_VHOST_USER_RINGS_H

#include "mem/guest_mem.h"
#include "vhost_user/channel.h"
#include "vhost_user/device.h"
#include "virtio/device.h"

/* Where a ring is, and how far. */
struct ring_place {
	uint16_t size;
	uint16_t next_avail;
	gpa_t desc, avail, used;
};

struct ring {
	struct loop_source kick;	/* fd -1: the front end has not started it */
	struct vhost_user_device *transport;
	int call_fd;			/* -1: the front end wants no interrupts */
	bool enabled;
	bool refused;			/* the driver put it where it cannot be served */
	/* As the front end says; not checked before the ring is to run. */
	uint32_t size;
	uint16_t base;
	struct vhost_vring_addr addr;	/* in the front end's address space */
	/* It ran when it was stopped for a pause, and has not run since. */
	bool has_left;
	struct ring_place left;
};

struct vhost_user_device {
	struct virtio_transport transport;
	struct virtio_device *device;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;

	/* device.c's: */
	struct loop_source source;	/* the channel's */
	struct vu_channel channel;
	int backend_fd;			/* for requests of ours; -1: none */
	uint64_t protocol_features;

	/* rings.c's; under the device's lock what a device's call can reach: */
	uint64_t features;
	struct guest_mem *mem;		/* NULL before the front end's table */
	struct vu_mem_table mem_table;
	struct ring rings[VIRTIO_QUEUES_MAX];
	struct loop_source again;	/* an eventfd: serve the queues of again_mask */
	uint32_t again_mask;
	bool paused;
	bool config_changed;		/* and it has not been told, as nothing runs */
	bool broken;			/* nothing is served until the driver resets the device */
};

int rings_init(struct vhost_user_device *transport);
/** rings_done() - nothing is left of what the front end gave, and the device is reset */
void rings_done(struct vhost_user_device *transport);

/* What virtio_transport has of them. */
void rings_interrupt_queue(const struct virtio_transport *transport, uint16_t queue);
void rings_kick_queue(const struct virtio_transport *transport, uint16_t queue);
void rings_needs_reset(const struct virtio_transport *transport);

/** rings_set_features() - -EBUSY when rings run with others */
int rings_set_features(struct vhost_user_device *transport, uint64_t features);

/** rings_set_mem() - other memory from now on, for running rings too. @mem is taken over */
void rings_set_mem(struct vhost_user_device *transport, struct guest_mem *mem,
		   const struct vu_mem_table *table);

/** rings_start() - @kick_fd is taken over, also on failure. 0 or -errno */
int rings_start(struct vhost_user_device *transport, uint16_t index, int kick_fd);
void rings_enable(struct vhost_user_device *transport, uint16_t index, bool enable);
/** rings_set_call() - @call_fd, or -1, is taken over */
void rings_set_call(struct vhost_user_device *transport, uint16_t index, int call_fd);
/** rings_stop() - neither the ring nor its buffers are touched from now on; the next index to take */
uint16_t rings_stop(struct vhost_user_device *transport, uint16_t index);
/** rings_stop_all() - and the device is reset */
void rings_stop_all(struct vhost_user_device *transport);

static inline bool ring_is_started(const struct ring *ring)
{
	return ring->kick.fd >= 0;
}

#endif
