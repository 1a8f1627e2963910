/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2, 2.7), with event indexes and indirect
 * descriptors.
 *
 * The rings lie in guest memory, and the driver on the other side may be hostile: it may write
 * anything into them at any time. A request that vq_pop() hands out is checked, and what the driver
 * writes into the rings from then on does not change it. The content of its buffers may still change
 * while it is looked at.
 *
 * Threads: none here; the lock of the device that a queue belongs to is held.
 */
#ifndef SQUIB_VIRTIO_QUEUE_H
#define SQUIB_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "mem/guest_mem.h"

#define VQ_SIZE_MAX 256		/* descriptors in a ring, and segments in a request */
/* In a ring of QEMU's virtio-mmio, which offers so many whatever the device is like. */
#define VQ_SIZE_QEMU_MAX 1024

#define VIRTQ_DESC_F_NEXT     1u
#define VIRTQ_DESC_F_WRITE    2u
#define VIRTQ_DESC_F_INDIRECT 4u

#define VIRTQ_AVAIL_F_NO_INTERRUPT 1u

/* As they lie in guest memory, little-endian. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct virtq_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vq {
	/* Set by the transport as the driver asks, before vq_enable(); not checked before that. */
	uint16_t size;
	bool ready;		/* the driver wants it enabled */
	gpa_t desc_gpa;
	gpa_t avail_gpa;	/* "driver area" */
	gpa_t used_gpa;		/* "device area" */

	/* The rest is of queue.c; zero while not enabled. */
	bool enabled;
	bool broken;		/* the driver broke the ring: nothing is taken until a reset */
	bool event_idx;
	bool indirect;
	uint16_t next_avail;	/* index of the next request to take */
	uint16_t avail_seen;	/* the driver's index when it was last read */
	uint16_t next_used;
	uint16_t signalled;	/* next_used when an interrupt was last thought of */
	const struct guest_mem *mem;
	uint8_t *desc;		/* the rings, in host memory */
	uint8_t *avail;
	uint8_t *used;
};

/* A request: its buffers, those that the device reads first, then those that it writes. */
struct vq_chain {
	uint16_t head;			/* what the driver knows it by */
	uint16_t readable_count;
	uint16_t writable_count;
	uint32_t readable_bytes;	/* their sum is below 4 GiB */
	uint32_t writable_bytes;
	struct iovec segments[VQ_SIZE_MAX];	/* none empty */
};

/** vq_reset() - not set up, not enabled */
void vq_reset(struct vq *vq);

/**
 * vq_enable() - check the rings as the driver placed them, and use them from now on
 * @mem: must outlive the queue, or its reset
 * @features: that were negotiated; those of rings are heeded
 *
 * Return: 0; -EINVAL when the size is no power of two up to VQ_SIZE_MAX or a ring is not aligned
 * (virtio 1.2, 2.7); -EFAULT when a ring is not in guest memory. On failure nothing has changed.
 */
int vq_enable(struct vq *vq, const struct guest_mem *mem, uint64_t features);

/**
 * vq_enable_at() - as vq_enable(), for a queue of another monitor, that may have been in use before
 * @next_avail: the index that it stopped at
 *
 * Its size may be up to VQ_SIZE_QEMU_MAX; a request has no more segments for that. Where the used
 * ring goes on is read from it; when that cannot be, no request counts as being under way.
 */
int vq_enable_at(struct vq *vq, const struct guest_mem *mem, uint64_t features,
		 uint16_t next_avail);

/**
 * vq_pop() - take the next request the driver has made available
 * @vq: an enabled queue
 * @chain: filled when 1 is returned. Its buffers point into guest memory, and stay valid as long as
 *	   the memory
 *
 * Descriptors are copied once and the copy is checked: index, length, loop, direction, and that each
 * buffer lies in guest memory. The caller need not check again.
 *
 * When it returns 0, the driver will kick for the next request; before, it need not.
 *
 * A driver can make requests available as fast as they are taken, so a caller bounds how many it
 * takes in one go.
 *
 * Return: 1 with a request in @chain; 0 when the queue is empty; -EPROTO when the driver broke the
 * ring, and then the caller marks the device as needing reset. Nothing is allocated.
 */
int vq_pop(struct vq *vq, struct vq_chain *chain);

/** vq_unpop() - put the request that was popped last, and not pushed, back; vq_pop() gives it again */
void vq_unpop(struct vq *vq);

/** vq_unpop_many() - the @count requests popped last, none of them pushed: all back */
void vq_unpop_many(struct vq *vq, uint16_t count);

/**
 * vq_push() - give a request back to the driver
 * @written: bytes that were written into its writable buffers, from the first on
 *
 * The writable buffers are marked dirty, all of them. Once for each popped chain, in any order.
 */
void vq_push(struct vq *vq, const struct vq_chain *chain, uint32_t written);

/**
 * vq_add_used() / vq_publish_used() - vq_push() in two steps, for requests that the driver has to find
 * done at the same time, and without a struct vq_chain
 * @head: of the chain
 * @writable: its writable buffers
 */
void vq_add_used(struct vq *vq, uint16_t head, const struct iovec *writable, size_t count,
		 uint32_t written);
void vq_publish_used(struct vq *vq);

/** vq_interrupt_wanted() - does the driver want to hear of what was pushed since the last call? */
bool vq_interrupt_wanted(struct vq *vq);

/** vq_waiting() - how many more requests there were when the driver's index was last read */
static inline uint16_t vq_waiting(const struct vq *vq)
{
	return (uint16_t)(vq->avail_seen - vq->next_avail);
}

static inline const struct iovec *vq_chain_readable(const struct vq_chain *chain)
{
	return chain->segments;
}

static inline const struct iovec *vq_chain_writable(const struct vq_chain *chain)
{
	return chain->segments + chain->readable_count;
}

/**
 * vq_segments_slice() - bytes [@offset, @offset + @len) of @count segments, as segments
 * @slice: room for @count; shares no memory with @segments
 *
 * Return: how many segments that is. What is behind the end of @segments is left out.
 */
size_t vq_segments_slice(const struct iovec *segments, size_t count, uint64_t offset, uint64_t len,
			 struct iovec *slice);

/**
 * vq_segments_read() / vq_segments_write() - copy @len bytes at @offset, however they are split
 *
 * Return: how many bytes there were.
 */
size_t vq_segments_read(const struct iovec *segments, size_t count, uint64_t offset, void *data,
			size_t len);
size_t vq_segments_write(const struct iovec *segments, size_t count, uint64_t offset,
			 const void *data, size_t len);

/** vq_chain_read() / vq_chain_write() - the same of a chain's readable, and writable, buffers */
size_t vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *data, size_t len);
size_t vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *data, size_t len);

#endif
