/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio entropy device (virtio 1.2, 5.4): bytes of getrandom(). */
#ifndef SQUIB_VIRTIO_RNG_H
#define SQUIB_VIRTIO_RNG_H

#include <squib/config.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

struct virtio_device;

struct rng_params {
	const struct squib_entropy *config;	/* read during the call only */
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	/* The last three must outlive the device. */
};

/** rng_new() - 0 or -errno */
int rng_new(const struct rng_params *params, struct virtio_device **ret_device);

#endif
