/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: one read takes as much as there is, up to IN_BYTES; frames are copied out of that. A
 * frame that is not whole is moved to the beginning before the next read, so there is always room for
 * the longest. Once a length is wrong nothing that follows has a meaning.
 *
 * Sending: a frame leaves in one call, its length with it. passt reads in a way that loses its place
 * when a length is not together with the first byte of its frame, and takes a frame in two pieces at
 * most: so frames are not gathered, and what the socket did not take is sent in one call again.
 */
#include "net/frame_stream.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/virtio_net.h>

#include "net/backend.h"

#define LENGTH_BYTES 4u
#define IN_BYTES     (128u << 10)
#define OUT_BYTES    (LENGTH_BYTES + FRAME_BYTES_MAX)

_Static_assert(IN_BYTES >= LENGTH_BYTES + FRAME_BYTES_MAX, "the longest frame has room");
_Static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER_BYTES, "the header of a modern device");

int frame_stream_init(struct frame_stream *stream)
{
	*stream = (struct frame_stream){ .fd = -1, .in = malloc(IN_BYTES), .out = malloc(OUT_BYTES) };
	return stream->in != NULL && stream->out != NULL ? 0 : -ENOMEM;
}

void frame_stream_done(struct frame_stream *stream)
{
	free(stream->in);
	free(stream->out);
	stream->in = stream->out = NULL;
	frame_stream_use(stream, -1);
}

void frame_stream_use(struct frame_stream *stream, int fd)
{
	stream->fd = fd;
	stream->in_start = stream->in_end = 0;
	stream->in_dry = false;
	stream->out_start = stream->out_end = 0;
}

/* ---- receiving ---- */

/* The length of the frame that is whole; 0: none is; -EPROTO */
static ssize_t whole_frame(const struct frame_stream *stream)
{
	size_t have = stream->in_end - stream->in_start;
	uint32_t len;

	if (have < LENGTH_BYTES)
		return 0;
	memcpy(&len, stream->in + stream->in_start, sizeof(len));
	len = be32toh(len);
	if (len < FRAME_BYTES_MIN || len > FRAME_BYTES_MAX)
		return -EPROTO;
	return have - LENGTH_BYTES >= len ? (ssize_t)len : 0;
}

static int read_more(struct frame_stream *stream)
{
	size_t have = stream->in_end - stream->in_start;
	ssize_t n;

	memmove(stream->in, stream->in + stream->in_start, have);
	stream->in_start = 0;
	stream->in_end = have;
	do {
		n = recv(stream->fd, stream->in + have, IN_BYTES - have, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -ECONNRESET : -errno;
	stream->in_end += (size_t)n;
	stream->in_dry = (size_t)n < IN_BYTES - have;
	return 0;
}

static size_t segments_bytes(const struct iovec *segments, int count)
{
	size_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += segments[i].iov_len;
	return sum;
}

/* Copy to the segments, from @offset of them on; they have the room. */
static void scatter(const struct iovec *segments, size_t offset, const void *data, size_t len)
{
	const uint8_t *from = data;

	for (; len > 0; segments++) {
		size_t room = segments->iov_len;
		size_t part;

		if (offset >= room) {
			offset -= room;
			continue;
		}
		part = len < room - offset ? len : room - offset;
		memcpy((uint8_t *)segments->iov_base + offset, from, part);
		from += part;
		len -= part;
		offset = 0;
	}
}

static ssize_t take_frame(struct frame_stream *stream, size_t len, const struct iovec *segments,
			  int count)
{
	/* of features that ask for a header's contents none is offered; the buffers are the device's */
	static const struct virtio_net_hdr_v1 header = { 0 };
	const uint8_t *frame = stream->in + stream->in_start + LENGTH_BYTES;

	stream->in_start += LENGTH_BYTES + len;
	if (segments_bytes(segments, count) < NET_HEADER_BYTES + len)
		return -ENOBUFS;
	scatter(segments, 0, &header, NET_HEADER_BYTES);
	scatter(segments, NET_HEADER_BYTES, frame, len);
	return (ssize_t)(NET_HEADER_BYTES + len);
}

ssize_t frame_stream_receive(struct frame_stream *stream, const struct iovec *segments, int count)
{
	for (;;) {
		ssize_t len = whole_frame(stream);
		int r;

		if (len < 0)
			return len;
		if (len > 0)
			return take_frame(stream, (size_t)len, segments, count);
		if (stream->in_dry) {	/* what came since makes the socket poll readable */
			stream->in_dry = false;
			return -EAGAIN;
		}
		r = read_more(stream);
		if (r < 0)
			return r;
	}
}

/* ---- sending ---- */

/* Copy all of the segments but the header. */
static void gather(uint8_t *to, const struct iovec *segments, int count)
{
	size_t skip = NET_HEADER_BYTES;

	for (int i = 0; i < count; i++) {
		size_t len = segments[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		memcpy(to, (const uint8_t *)segments[i].iov_base + skip, len - skip);
		to += len - skip;
		skip = 0;
	}
}

int frame_stream_flush(struct frame_stream *stream)
{
	while (frame_stream_is_sending(stream)) {
		ssize_t n = send(stream->fd, stream->out + stream->out_start,
				 stream->out_end - stream->out_start, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			stream->out_start += (size_t)n;
	}
	return 0;
}

ssize_t frame_stream_send(struct frame_stream *stream, const struct iovec *segments, int count)
{
	size_t all = segments_bytes(segments, count);
	uint32_t length;
	int r;

	if (all < NET_HEADER_BYTES + FRAME_BYTES_MIN || all > NET_HEADER_BYTES + FRAME_BYTES_MAX)
		return -EMSGSIZE;
	r = frame_stream_flush(stream);
	if (r < 0)
		return r;
	length = htobe32((uint32_t)(all - NET_HEADER_BYTES));
	memcpy(stream->out, &length, LENGTH_BYTES);
	gather(stream->out + LENGTH_BYTES, segments, count);
	stream->out_start = 0;
	stream->out_end = LENGTH_BYTES + all - NET_HEADER_BYTES;
	r = frame_stream_flush(stream);
	if (r == -EAGAIN && stream->out_start > 0)
		return (ssize_t)all;	/* on its way, and the rest follows */
	if (r < 0)
		stream->out_end = 0;	/* nothing of it has left, or nothing will */
	return r < 0 ? r : (ssize_t)all;
}
