/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio network device (virtio 1.2, 5.1): queue 0 receives, queue 1 sends. */
#ifndef SQUIB_VIRTIO_NET_H
#define SQUIB_VIRTIO_NET_H

#include <squib/config.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

struct mmds_stack;
struct net_backend;
struct virtio_device;

struct net_params {
	const struct squib_network_interface *config;	/* read during the call only */
	struct net_backend *backend;	/* the device's on success, and freed with it */
	struct mmds_stack *mmds;	/* NULL: none here; the device's on success too */
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	/* The last three must outlive the device. */
};

/** net_new() - 0 or -errno. The loop's thread */
int net_new(const struct net_params *params, struct virtio_device **ret_device);

/** net_update() - other limits (PATCH /network-interfaces), while a guest runs. The loop's thread */
void net_update(struct virtio_device *device, const struct squib_network_interface_update *update);

#endif
