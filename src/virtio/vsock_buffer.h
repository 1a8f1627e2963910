/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest has sent and a host's socket has not taken yet. It has memory only while there is
 * something in it: most sockets take all at once.
 */
#ifndef SQUIB_VIRTIO_VSOCK_BUFFER_H
#define SQUIB_VIRTIO_VSOCK_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "virtio/queue.h"

#define VSOCK_BUFFER_BYTES 65536u	/* contract, section 10: what the guest is told it may send */

struct vsock_buffer {	/* empty: all zero */
	uint8_t *data;	/* a ring */
	uint32_t first;
	uint32_t len;
};

void vsock_buffer_done(struct vsock_buffer *buffer);	/* empties it */

/**
 * vsock_buffer_append() - copy @len bytes at @offset of the readable buffers of @chain
 *
 * Return: 0; -ENOBUFS when there is no room for all; -ENOMEM. Then nothing is appended.
 */
int vsock_buffer_append(struct vsock_buffer *buffer, const struct vq_chain *chain, uint32_t offset,
			uint32_t len);

/** vsock_buffer_send() - to a socket, as much as it takes: bytes or -errno */
ssize_t vsock_buffer_send(struct vsock_buffer *buffer, int fd);

#endif
