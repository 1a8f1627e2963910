/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio block device whose requests another process carries out, over vhost-user: a drive with a
 * "socket" (contract 2.7). Guest memory has to be shared (guest_mem_params.shared).
 */
#ifndef SQUIB_VHOST_USER_BLOCK_H
#define SQUIB_VHOST_USER_BLOCK_H

#include <squib/config.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"

struct virtio_device;

/**
 * vhost_user_block_connect() - to the back end that listens at @path
 *
 * Return: a connected socket, non-blocking, or -errno with @fault.
 */
int vhost_user_block_connect(const char *path, struct fault *fault);

struct vhost_user_block_params {
	const struct squib_drive *config;	/* has a socket; read during the call only */
	int fd;					/* vhost_user_block_connect()ed to it; duplicated */
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	/* The last three must outlive the device. */
};

/**
 * vhost_user_block_new() - ask the back end what it has
 *
 * Waits for it for up to two seconds. If it is gone later, which is logged, requests of the guest are
 * not completed any more. The loop's thread.
 *
 * Return: 0, or -errno with @fault.
 */
int vhost_user_block_new(const struct vhost_user_block_params *params,
			 struct virtio_device **ret_device, struct fault *fault);

/**
 * vhost_user_block_update_config() - the back end's disk may have changed: look, and tell the guest
 * @device: from vhost_user_block_new()
 *
 * Waits as above. The loop's thread. Return: 0, or -errno with @fault.
 */
int vhost_user_block_update_config(struct virtio_device *device, struct fault *fault);

#endif
