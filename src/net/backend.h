/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of a network interface: a tap, or a process that plays the network. What moves are
 * Ethernet frames, each behind a struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6) of NET_HEADER_BYTES.
 *
 * Threads: the loop's, but for set_features(), which comes from any, when receive() and send() do not.
 */
#ifndef SQUIB_NET_BACKEND_H
#define SQUIB_NET_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_HEADER_BYTES 12u

/*
 * No frame is longer, header included: Ethernet with two VLAN tags around the largest IPv6 packet, of
 * which segmentation may be left to the other side.
 */
#define NET_FRAME_BYTES (NET_HEADER_BYTES + 14u + 2u * 4u + 40u + 65535u)

struct net_backend;

struct net_backend_ops {
	/*
	 * Receive the next frame, header first, into @count segments, below IOV_MAX of them; they hold
	 * NET_FRAME_BYTES or more. The last two bytes of the header, num_buffers, are the caller's.
	 *
	 * Return: bytes; -EAGAIN: there is none, and fd polls readable when there is; -ENOBUFS: it was
	 * longer than the segments, and is lost; -EIO or another errno: the host's end is gone or
	 * broken (a tap that was taken down or removed, a process that died), and what is sent is lost
	 * until it is back. fd does not poll readable for long with nothing but errors to receive: it
	 * is -1 then.
	 *
	 * To be called until -EAGAIN: a back end may have read ahead, and fd need not poll readable for
	 * what it has read. Who stops before, for want of a guest's buffers or of tokens, calls again
	 * when there are some, without polling.
	 */
	ssize_t (*receive)(struct net_backend *backend, const struct iovec *segments, int count);
	/*
	 * Send a frame, header first. Never waits: what the host cannot take now is lost, as on a wire,
	 * and then -EAGAIN is returned. Other errors as receive().
	 */
	ssize_t (*send)(struct net_backend *backend, const struct iovec *segments, int count);
	/*
	 * The driver chose its features (bits 1 << VIRTIO_NET_F_*): which offloads may frames have that
	 * are received from now on? 0 or -errno.
	 */
	int (*set_features)(struct net_backend *backend, uint64_t features);
	/* Bring the host's end back if it is gone; nothing if it is there. NULL: nobody can. 0 or -errno */
	int (*revive)(struct net_backend *backend);
	void (*free)(struct net_backend *backend);
};

/* What all back ends begin with. */
struct net_backend {
	const struct net_backend_ops *ops;
	int fd;			/* to poll, level-triggered, for what receive() takes; -1: the host's end is gone */
	/*
	 * The owner's; may be NULL. fd is another, or -1, from now on; the one before is still open. May
	 * be called from within receive(), send() and revive(), and from the loop.
	 */
	void (*changed)(struct net_backend *backend);
	void *owner;		/* the same, for changed() */
	uint64_t features;	/* offloads it can do: bits of VIRTIO_NET_F_CSUM, GUEST_CSUM, HOST_*, GUEST_* */
};

static inline void net_backend_free(struct net_backend *backend)
{
	if (backend != NULL)
		backend->ops->free(backend);
}

#endif
