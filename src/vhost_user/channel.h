/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages over a stream socket. Nothing here waits: what has not come yet is asked for again when
 * the socket is readable, and what does not fit the socket's buffer is refused.
 */
#ifndef SQUIB_VHOST_USER_CHANNEL_H
#define SQUIB_VHOST_USER_CHANNEL_H

#include <stddef.h>

#include "vhost_user/protocol.h"

struct vu_message {
	struct vu_header header;
	union vu_payload payload;	/* zero behind header.size */
	/* Closed with the message, but for those that are taken: -1. */
	int fds[VU_FDS_MAX];
	size_t fd_count;
};

struct vu_channel {
	int fd;			/* -1: none; any mode */
	size_t received;	/* bytes of the message that is on its way */
	struct vu_message message;
};

void vu_channel_init(struct vu_channel *channel, int fd);
/** vu_channel_done() - closes it, and the descriptors of its message */
void vu_channel_done(struct vu_channel *channel);

/**
 * vu_channel_receive() - go on with the message that is on its way
 *
 * Return: 1 when channel->message is whole, and then vu_channel_next() is called before the next;
 * 0 when more has to come; -ESHUTDOWN when the peer has closed the socket; -EPROTO when that is no
 * message, also when it has more descriptors than any has; another -errno of the socket.
 */
int vu_channel_receive(struct vu_channel *channel);
/** vu_channel_next() - done with the message; closes its descriptors */
void vu_channel_next(struct vu_channel *channel);

/**
 * vu_send() - send a message whole
 * @payload: @header->size bytes
 *
 * Return: 0; -EAGAIN when the peer has left too much unread; another -errno.
 */
int vu_send(int fd, const struct vu_header *header, const void *payload, const int *fds,
	    size_t fd_count);

#endif
