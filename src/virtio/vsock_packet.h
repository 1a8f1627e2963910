/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet of virtio-vsock (virtio 1.2, 5.10.6): a header, and data behind it; how they are spread
 * over descriptors is the driver's choice.
 */
#ifndef SQUIB_VIRTIO_VSOCK_PACKET_H
#define SQUIB_VIRTIO_VSOCK_PACKET_H

#include <linux/virtio_vsock.h>
#include <stdint.h>

#include "virtio/queue.h"

#define VSOCK_HEADER_BYTES	44u
#define VSOCK_DATA_BYTES_MAX	65536u	/* of a packet; as upstream */

#define VSOCK_SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

struct vsock_header {
	uint64_t src_cid;
	uint64_t dst_cid;
	uint32_t src_port;
	uint32_t dst_port;
	uint32_t len;		/* of the data */
	uint16_t type;		/* VIRTIO_VSOCK_TYPE_* */
	uint16_t op;		/* VIRTIO_VSOCK_OP_* */
	uint32_t flags;
	uint32_t buf_alloc;
	uint32_t fwd_cnt;
};

/**
 * vsock_packet_read() - the header of what the guest sends
 *
 * Return: 0, and then header->len bytes of data are in @chain behind the header, at most
 * VSOCK_DATA_BYTES_MAX; -EPROTO when they, or part of the header, are not.
 */
int vsock_packet_read(const struct vq_chain *chain, struct vsock_header *header);

/** vsock_packet_write() - the header of what the guest is sent, to writable buffers that it fits in */
void vsock_packet_write(const struct vq_chain *chain, const struct vsock_header *header);

#endif
