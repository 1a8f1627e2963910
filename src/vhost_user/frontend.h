/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The side of vhost-user that has the guest. Requests wait for their replies, all in all for no longer
 * than vu_frontend_begin() allows. After a failure nothing is known of what the back end will
 * say next, so the channel is shut down and all further requests fail.
 *
 * Threads: none here; who owns it locks. Descriptors that are sent are not taken over.
 */
#ifndef SQUIB_VHOST_USER_FRONTEND_H
#define SQUIB_VHOST_USER_FRONTEND_H

#include <stdbool.h>

#include "vhost_user/channel.h"

struct vu_frontend {
	struct vu_channel channel;
	uint64_t protocol_features;	/* negotiated */
	uint64_t deadline_ns;
	bool broken;
};

/** vu_connect() - a socket, non-blocking, that is connected to who listens at @path; or -errno */
int vu_connect(const char *path);

/** vu_frontend_init() - @fd: from vu_connect(), taken over */
void vu_frontend_init(struct vu_frontend *frontend, int fd);
void vu_frontend_done(struct vu_frontend *frontend);

/** vu_frontend_begin() - from now on there are @timeout_ms for what is asked and told */
void vu_frontend_begin(struct vu_frontend *frontend, unsigned int timeout_ms);

/**
 * vu_frontend_tell() - a request without a reply of its own; waits until it is done where the back end
 * can tell
 *
 * Return: 0; -ETIMEDOUT; -EREMOTEIO when the back end says no; -EPROTO when it says what it may not;
 * -ESHUTDOWN, -EPIPE, -ECONNRESET when it is gone; another -errno.
 */
int vu_frontend_tell(struct vu_frontend *frontend, enum vu_request request, const void *payload,
		     uint32_t size, const int *fds, size_t fd_count);

/**
 * vu_frontend_ask() - a request with a reply of as many bytes as @size, to @payload
 *
 * Return: as vu_frontend_tell(). -EREMOTEIO also when the reply is empty.
 */
int vu_frontend_ask(struct vu_frontend *frontend, enum vu_request request, void *payload,
		    uint32_t size);
int vu_frontend_ask_u64(struct vu_frontend *frontend, enum vu_request request, uint64_t *ret_value);

#endif
