/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio socket device (virtio 1.2, 5.10) whose host side are Unix sockets (contract, section 10):
 * whoever connects to uds_path reaches a port of the guest, and the guest reaches whoever listens at
 * uds_path_‹port›.
 */
#ifndef SQUIB_VIRTIO_VSOCK_H
#define SQUIB_VIRTIO_VSOCK_H

#include <squib/config.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

struct virtio_device;

struct vsock_params {
	const struct squib_vsock *config;	/* read during the call only */
	int listen_fd;				/* listens at config->uds_path; duplicated */
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	/* The last three must outlive the device. */
};

/** vsock_new() - 0 or -errno. The loop's thread */
int vsock_new(const struct vsock_params *params, struct virtio_device **ret_device);

#endif
