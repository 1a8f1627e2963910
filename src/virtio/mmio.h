/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over MMIO, version 2 (virtio 1.2, 4.2): a device as a page of registers, a doorbell for each
 * queue and one interrupt line.
 *
 * Doorbells and the line are eventfds, so that a hypervisor can connect them without us: a write of
 * the queue's number to VIRTIO_MMIO_QUEUE_NOTIFY signals kick_fd, and what signals irq_fd raises the
 * (edge-triggered) line. A write to the register that comes here all the same does the same.
 */
#ifndef SQUIB_VIRTIO_MMIO_H
#define SQUIB_VIRTIO_MMIO_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "mem/guest_mem.h"

#define VIRTIO_MMIO_BYTES		0x1000u
#define VIRTIO_MMIO_NOTIFY_OFFSET	0x50u

struct virtio_device;
struct virtio_mmio;

struct virtio_mmio_params {
	struct virtio_device *device;
	const struct guest_mem *mem;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	/* All but the device must outlive the transport. */
};

/**
 * virtio_mmio_new() - put a transport in front of a device and serve its queues in the loop
 *
 * On success the device is the transport's, and freed with it; on failure it stays the caller's.
 * The loop's thread. Return: 0 or -errno.
 */
int virtio_mmio_new(const struct virtio_mmio_params *params, struct virtio_mmio **ret_mmio);
/** virtio_mmio_free() - accepts NULL. The loop's thread, when no vCPU runs any more */
void virtio_mmio_free(struct virtio_mmio *mmio);

/**
 * virtio_mmio_read() / virtio_mmio_write() - the guest accesses a register. Any thread
 * @offset: from the beginning of the page; @len: 1 to 8; any combination, it is the guest's
 */
void virtio_mmio_read(struct virtio_mmio *mmio, uint64_t offset, void *data, size_t len);
void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t offset, const void *data, size_t len);

uint16_t virtio_mmio_queue_count(const struct virtio_mmio *mmio);
int virtio_mmio_kick_fd(const struct virtio_mmio *mmio, uint16_t queue);
int virtio_mmio_irq_fd(const struct virtio_mmio *mmio);

/**
 * virtio_mmio_pause() / virtio_mmio_resume() - stop serving queues, and go on
 *
 * Between them no kick is served and guest memory is not touched by the device; kicks are not lost.
 * Idempotent. The loop's thread.
 */
void virtio_mmio_pause(struct virtio_mmio *mmio);
void virtio_mmio_resume(struct virtio_mmio *mmio);

#endif
