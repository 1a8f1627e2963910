/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/device.h"

#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

void virtio_device_init(struct virtio_device *device, const struct virtio_ops *ops)
{
	assert(ops->queue_count <= VIRTIO_QUEUES_MAX);
	*device = (struct virtio_device){
		.ops = ops,
		.features = UINT64_C(1) << VIRTIO_F_VERSION_1 |
			    UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
			    UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC,
	};
	pthread_mutex_init(&device->lock, NULL);
}

void virtio_device_done(struct virtio_device *device)
{
	pthread_mutex_destroy(&device->lock);
}

void virtio_device_free(struct virtio_device *device)
{
	if (device != NULL)
		device->ops->free(device);
}

int virtio_queue_pop(struct virtio_device *device, uint16_t queue, struct vq_chain *chain)
{
	int r;

	if (!device->queues[queue].enabled)
		return 0;
	r = vq_pop(&device->queues[queue], chain);
	if (r >= 0)
		return r;
	device->transport->needs_reset(device->transport);
	return 0;
}

bool virtio_device_is_broken(const struct virtio_device *device)
{
	for (uint16_t i = 0; i < device->ops->queue_count; i++)
		if (device->queues[i].broken)
			return true;
	return false;
}

void virtio_queue_notify(struct virtio_device *device, uint16_t queue)
{
	if (vq_interrupt_wanted(&device->queues[queue]))
		device->transport->interrupt_queue(device->transport, queue);
}
