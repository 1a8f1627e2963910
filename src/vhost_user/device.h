/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serves a virtio device to another monitor over vhost-user (QEMU's docs/interop/vhost-user.rst): the
 * transport that is in front of our devices when the guest is QEMU's.
 *
 * The device is the very same that virtio-mmio serves. All of it runs in the loop: the channel's
 * messages, the kicks of the queues. The other side may send anything; what breaks the protocol ends
 * the channel, and nothing else.
 */
#ifndef SQUIB_VHOST_USER_DEVICE_H
#define SQUIB_VHOST_USER_DEVICE_H

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

struct virtio_device;
struct vhost_user_device;

struct vhost_user_params {
	struct virtio_device *device;
	int fd;			/* a connected stream socket; taken over on success */
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	/* The last three must outlive the transport. */
};

/**
 * vhost_user_device_new() - serve @device on @fd
 *
 * On success the device is the transport's, and freed with it; on failure it and the descriptor stay
 * the caller's. The loop's thread. Return: 0 or -errno.
 */
int vhost_user_device_new(const struct vhost_user_params *params,
			  struct vhost_user_device **ret_transport);
void vhost_user_device_free(struct vhost_user_device *transport);	/* accepts NULL */

/**
 * vhost_user_device_pause() / vhost_user_device_resume() - tell that the other monitor is about to
 * stop the guest, or to let it go on
 *
 * Between them rings that are stopped and started again, from where they were, go on as if nothing
 * had been: the device is paused, not reset. At other times stopping the rings is the driver's
 * reset of the device. Idempotent. The loop's thread.
 */
void vhost_user_device_pause(struct vhost_user_device *transport);
void vhost_user_device_resume(struct vhost_user_device *transport);

#endif
