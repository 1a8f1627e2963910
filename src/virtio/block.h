/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio block device (virtio 1.2, 5.2) over a file or block device of the host. */
#ifndef SQUIB_VIRTIO_BLOCK_H
#define SQUIB_VIRTIO_BLOCK_H

#include <squib/config.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

struct virtio_device;

struct block_params {
	const struct squib_drive *config;	/* of a virtio drive; read during the call only */
	int file_fd;				/* opened as the drive needs it; duplicated */
	struct loop *loop;			/* for the rate limiter's timer */
	struct log *log;
	struct metrics *metrics;
	/* The last three must outlive the device. */
};

/** block_new() - 0, or -errno with @fault */
int block_new(const struct block_params *params, struct virtio_device **ret_device,
	      struct fault *fault);

/**
 * block_update() - another file, other limits, or both, while a guest runs
 * @device: from block_new()
 * @file_fd: the new file, duplicated; -1: the file stays
 *
 * What was asked of the old file is done. The guest is told of the new size. The loop's thread.
 *
 * Return: 0, or -errno with @fault, and then nothing has changed.
 */
int block_update(struct virtio_device *device, const struct squib_drive_update *update,
		 int file_fd, struct fault *fault);

#endif
