/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read or write of a tap is one frame. It goes right from and to the segments, so that the kernel's
 * copy is the only one.
 *
 * A tap that is down loses what is sent (EIO) and has nothing to receive, until it is up. One that was
 * removed polls as an error and gives EBADFD from then on, for ever: its descriptor is attached to
 * nothing.
 */
#include "net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"

struct tap {
	struct net_backend backend;
	int fd;			/* open also when backend.fd is -1 */
};

static struct tap *of_backend(struct net_backend *backend)
{
	return container_of(backend, struct tap, backend);
}

/* --- opening */

int tap_check_name(const char *name, struct fault *fault)
{
	if (strlen(name) < IFNAMSIZ)
		return 0;
	return fault_set(fault, -EINVAL, "Open tap device failed: Invalid interface name");
}

static int attach(int fd, const char *name, struct fault *fault)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	char error[OS_ERROR_MAX];
	int r;

	strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
	if (ioctl(fd, TUNSETIFF, &request) == 0)
		return 0;
	r = -errno;
	return fault_set(fault, r, "Open tap device failed: Error while creating ifreq structure: %s. "
			 "Invalid TUN/TAP Backend provided by %s. Check our documentation on setting "
			 "up the network devices.", os_error(r, error), name);
}

static int set_header_bytes(int fd, struct fault *fault)
{
	int bytes = NET_HEADER_BYTES, r;
	char error[OS_ERROR_MAX];

	if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) == 0)
		return 0;
	r = -errno;
	return fault_set(fault, r, "Setting vnet header size failed: Error while setting size of the "
			 "vnet header: %s", os_error(r, error));
}

int tap_open(const char *name, struct fault *fault)
{
	CLEANUP(fd_close) int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	char error[OS_ERROR_MAX];
	int r;

	if (fd < 0) {
		r = -errno;
		return fault_set(fault, r, "Open tap device failed: Couldn't open /dev/net/tun: %s",
				 os_error(r, error));
	}
	r = tap_check_name(name, fault);
	if (r == 0)
		r = attach(fd, name, fault);
	if (r == 0)
		r = set_header_bytes(fd, fault);
	return r < 0 ? r : fd_take(&fd);
}

/* --- frames */

/* @r: what a system call gave. Finds out whether the tap was removed. */
static ssize_t result(struct tap *tap, ssize_t r)
{
	if (r >= 0)
		return r;
	r = -errno;
	if (r == -EBADFD && tap->backend.fd >= 0) {
		tap->backend.fd = -1;
		if (tap->backend.changed != NULL)
			tap->backend.changed(&tap->backend);
	}
	return r;
}

static ssize_t tap_receive(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct tap *tap = of_backend(backend);

	return result(tap, readv(tap->fd, segments, count));
}

static ssize_t tap_send(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct tap *tap = of_backend(backend);

	return result(tap, writev(tap->fd, segments, count));
}

static int tap_set_features(struct net_backend *backend, uint64_t features)
{
	static const struct { unsigned int feature, offload; } offloads[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
		{ VIRTIO_NET_F_GUEST_UFO, TUN_F_UFO },
	};
	unsigned long wanted = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
		if ((features >> offloads[i].feature & 1) != 0)
			wanted |= offloads[i].offload;
	/* EBADFD: it was removed, and who receives or sends next finds that out. */
	if (ioctl(of_backend(backend)->fd, TUNSETOFFLOAD, wanted) < 0 && errno != EBADFD)
		return -errno;
	return 0;
}

static void tap_free(struct net_backend *backend)
{
	struct tap *tap = of_backend(backend);

	fd_close(tap->fd);
	free(tap);
}

/* There is no revive(): a descriptor is attached once, and a new tap of the name may be anybody's. */
static const struct net_backend_ops tap_ops = {
	.receive = tap_receive,
	.send = tap_send,
	.set_features = tap_set_features,
	.free = tap_free,
};

int tap_backend_new(int fd, struct net_backend **ret_backend)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	int r;

	if (tap == NULL)
		return -ENOMEM;
	tap->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (tap->fd < 0) {
		r = -errno;
		free(tap);
		return r;
	}
	tap->backend = (struct net_backend){
		.ops = &tap_ops,
		.fd = tap->fd,
		.features = UINT64_C(1) << VIRTIO_NET_F_CSUM |
			    UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM |
			    UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |
			    UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 |
			    UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO |
			    UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 |
			    UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 |
			    UINT64_C(1) << VIRTIO_NET_F_HOST_UFO,
	};
	*ret_backend = &tap->backend;
	return 0;
}
