/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void vsock_buffer_done(struct vsock_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct vsock_buffer){ 0 };
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

int vsock_buffer_append(struct vsock_buffer *buffer, const struct vq_chain *chain, uint32_t offset,
			uint32_t len)
{
	uint32_t end, before_wrap;

	if (len > VSOCK_BUFFER_BYTES - buffer->len)
		return -ENOBUFS;
	if (buffer->data == NULL)
		buffer->data = malloc(VSOCK_BUFFER_BYTES);
	if (buffer->data == NULL)
		return -ENOMEM;
	end = (buffer->first + buffer->len) % VSOCK_BUFFER_BYTES;
	before_wrap = smaller(len, VSOCK_BUFFER_BYTES - end);
	vq_chain_read(chain, offset, buffer->data + end, before_wrap);
	vq_chain_read(chain, offset + before_wrap, buffer->data, len - before_wrap);
	buffer->len += len;
	return 0;
}

ssize_t vsock_buffer_send(struct vsock_buffer *buffer, int fd)
{
	uint32_t before_wrap = smaller(buffer->len, VSOCK_BUFFER_BYTES - buffer->first);
	struct iovec parts[2] = {
		{ .iov_base = buffer->data + buffer->first, .iov_len = before_wrap },
		{ .iov_base = buffer->data, .iov_len = buffer->len - before_wrap },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = parts[1].iov_len > 0 ? 2 : 1 };
	ssize_t n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	buffer->first = (buffer->first + (uint32_t)n) % VSOCK_BUFFER_BYTES;
	buffer->len -= (uint32_t)n;
	if (buffer->len == 0)
		vsock_buffer_done(buffer);
	return n;
}
