/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device, apart from the transport that shows it to the guest (virtio 1.2, chapter 2). It
 * sees descriptor chains in guest memory and has a way to raise interrupts, and does not know
 * whether virtio-mmio or something else is in front of it.
 *
 * Threads: the transport's registers are read and written by vCPU threads, queues are served by the
 * thread of the loop. Each device has a lock; every function of struct virtio_ops is called with
 * it held, so a device needs no other. Interrupts may be raised with it held.
 */
#ifndef SQUIB_VIRTIO_DEVICE_H
#define SQUIB_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/queue.h"

#define VIRTIO_QUEUES_MAX 3

struct virtio_device;
struct virtio_transport;

struct virtio_ops {
	uint32_t device_id;	/* VIRTIO_ID_* */
	uint16_t queue_count;	/* up to VIRTIO_QUEUES_MAX */
	/*
	 * Another process serves the queues: activate() gives it the memory, the rings and the kicks,
	 * and the transport does not look for any. queue_kicked() is never called, and may be NULL.
	 */
	bool served_elsewhere;
	/*
	 * The driver set DRIVER_OK; the queues it enabled are checked and mapped. 0, or -errno and then
	 * the device needs reset. Required.
	 */
	int (*activate)(struct virtio_device *device);
	/*
	 * The driver kicked @queue, which is below queue_count and enabled, or a queue may have
	 * something to do for another reason. Required. Never blocks for long.
	 */
	void (*queue_kicked)(struct virtio_device *device, uint16_t queue);
	/*
	 * The driver reset the device: after it returns, guest memory and the rings are not touched.
	 * May come at any time, to a device that is not active too. Required.
	 */
	void (*reset)(struct virtio_device *device);
	/*
	 * The machine stands still: when pause() returns, what was under way is finished, and guest
	 * memory and the rings are left alone until resume(). Kicks do not come meanwhile; other
	 * sources of the device (a tap, connections, timers) must wait. reset() may come in between,
	 * and then resume() does too. May be NULL in a device that acts on kicks alone and finishes
	 * what it begins.
	 */
	void (*pause)(struct virtio_device *device);
	void (*resume)(struct virtio_device *device);
	/*
	 * The device-specific configuration; the transport has checked that [offset, offset + len) lies
	 * in config_len bytes; may be NULL when that is 0. Bytes as the guest sees them: little-endian.
	 */
	void (*config_read)(struct virtio_device *device, uint32_t offset, void *data, size_t len);
	/* NULL: nothing can be written. */
	void (*config_write)(struct virtio_device *device, uint32_t offset, const void *data,
			     size_t len);
	void (*free)(struct virtio_device *device);	/* required; the lock is not held */
};

/*
 * Embedded in the device's own struct, filled by virtio_device_init() and the device's x_new(). A
 * driver need not enable all queues, and vhost-user starts them one by one, after activate().
 */
struct virtio_device {
	const struct virtio_ops *ops;
	pthread_mutex_t lock;
	const struct virtio_transport *transport;	/* NULL before one is in front of it */
	uint64_t features;		/* offered: bits 1 << VIRTIO_*_F_* */
	uint64_t acked_features;	/* a subset of them */
	uint32_t config_len;		/* bytes */
	bool active;			/* between activate() and reset() */
	struct vq queues[VIRTIO_QUEUES_MAX];
};

/*
 * What is in front of a device. Any thread; the device's lock is held, which kick_queue() does not need
 * in the loop's thread.
 */
struct virtio_transport {
	/* Buffers of @queue were used: interrupt the driver. */
	void (*interrupt_queue)(const struct virtio_transport *transport, uint16_t queue);
	/* The configuration changed: a new generation, and an interrupt. */
	void (*interrupt_config)(const struct virtio_transport *transport);
	/*
	 * The driver broke the rules: DEVICE_NEEDS_RESET (virtio 1.2, 2.1.2). No queue is served until
	 * it resets the device.
	 */
	void (*needs_reset)(const struct virtio_transport *transport);
	/*
	 * Serve @queue again, after other sources of the loop had their turn: as if the driver had
	 * kicked. How a device goes on that stopped in the middle, and not past a pause.
	 */
	void (*kick_queue)(const struct virtio_transport *transport, uint16_t queue);
	/*
	 * For a device that is served elsewhere: the eventfd that the driver's kicks of @queue signal,
	 * which stays the transport's, and guest memory. NULL where no such device can be.
	 */
	int (*kick_fd)(const struct virtio_transport *transport, uint16_t queue);
	const struct guest_mem *(*memory)(const struct virtio_transport *transport);
};

/** virtio_device_init() - offers what transport and queues can do; the device adds its own features */
void virtio_device_init(struct virtio_device *device, const struct virtio_ops *ops);
void virtio_device_done(struct virtio_device *device);

static inline bool virtio_has_feature(const struct virtio_device *device, unsigned int bit)
{
	return (device->acked_features >> bit & 1) != 0;
}

/** virtio_device_free() - free it as its ops say; accepts NULL */
void virtio_device_free(struct virtio_device *device);

/* For devices; the lock is held, the device is active. */

/** virtio_queue_pop() - as vq_pop(), but a broken ring has been dealt with: 1, or 0 also when the
 * queue is not enabled */
int virtio_queue_pop(struct virtio_device *device, uint16_t queue, struct vq_chain *chain);
/** virtio_device_is_broken() - has the driver broken a queue? No queue is served until it resets the
 * device; where a device has other sources than kicks, they have to ask */
bool virtio_device_is_broken(const struct virtio_device *device);
/** virtio_queue_notify() - interrupt the driver if it wants to hear of what was pushed */
void virtio_queue_notify(struct virtio_device *device, uint16_t queue);

#endif
