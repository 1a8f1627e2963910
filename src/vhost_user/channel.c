/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/fd.h"

void vu_channel_init(struct vu_channel *channel, int fd)
{
	*channel = (struct vu_channel){ .fd = fd };
}

void vu_channel_done(struct vu_channel *channel)
{
	vu_channel_next(channel);
	fd_close(fd_take(&channel->fd));
}

void vu_channel_next(struct vu_channel *channel)
{
	for (size_t i = 0; i < channel->message.fd_count; i++)
		fd_close(channel->message.fds[i]);
	memset(&channel->message, 0, sizeof(channel->message));
	channel->received = 0;
}

/* All are ours now, whether they can be used or not. */
static int take_fds(struct vu_message *message, struct msghdr *msg)
{
	int r = (msg->msg_flags & MSG_CTRUNC) != 0 ? -EPROTO : 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t count;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (message->fd_count < VU_FDS_MAX) {
				message->fds[message->fd_count++] = fd;
			} else {
				fd_close(fd);
				r = -EPROTO;
			}
		}
	}
	return r;
}

/* Up to @len bytes to @data: how many, 0 when there are none yet, or -errno. */
static int receive(struct vu_channel *channel, void *data, size_t len)
{
	union {
		char data[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.data,
			      .msg_controllen = sizeof(control.data) };
	ssize_t n = recvmsg(channel->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int r;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	r = take_fds(&channel->message, &msg);
	if (r < 0)
		return r;
	return n > 0 ? (int)n : -ESHUTDOWN;
}

static int check_header(const struct vu_header *header)
{
	return (header->flags & VU_FLAGS_VERSION_MASK) == VU_FLAGS_VERSION &&
	       header->size <= sizeof(union vu_payload) ? 0 : -EPROTO;
}

int vu_channel_receive(struct vu_channel *channel)
{
	struct vu_message *message = &channel->message;
	const size_t header_bytes = sizeof(message->header);

	for (;;) {
		bool in_header = channel->received < header_bytes;
		size_t want = in_header ? header_bytes : header_bytes + message->header.size;
		uint8_t *part = in_header ? (uint8_t *)&message->header + channel->received :
			(uint8_t *)&message->payload + (channel->received - header_bytes);
		int r;

		if (channel->received == want)
			return 1;
		r = receive(channel, part, want - channel->received);
		if (r <= 0)
			return r;
		channel->received += (size_t)r;
		if (channel->received == header_bytes && check_header(&message->header) < 0)
			return -EPROTO;
	}
}

static void put_fds(struct msghdr *msg, const int *fds, size_t count)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
}

int vu_send(int fd, const struct vu_header *header, const void *payload, const int *fds,
	    size_t fd_count)
{
	union {
		char data[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov[] = { { (void *)header, sizeof(*header) },
			       { (void *)payload, header->size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	assert(fd_count <= VU_FDS_MAX);
	if (fd_count > 0) {
		msg.msg_control = control.data;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		put_fds(&msg, fds, fd_count);
	}
	n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	/* So short a message goes at once or not at all. */
	return (size_t)n == sizeof(*header) + header->size ? 0 : -EAGAIN;
}
