/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet frames over a stream socket, each behind its length in four bytes, the highest first: the
 * protocol of passt. The peer may send what it likes, as slowly as it likes; nothing here waits for it.
 */
#ifndef SQUIB_NET_FRAME_STREAM_H
#define SQUIB_NET_FRAME_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FRAME_BYTES_MIN 14u	/* an Ethernet header */
#define FRAME_BYTES_MAX 65535u

struct frame_stream {
	int fd;			/* connected; not owned; -1: none */
	uint8_t *in;		/* what was received and not yet taken: [in_start, in_end) */
	size_t in_start, in_end;
	bool in_dry;		/* the last read emptied the socket: the next one can be saved */
	uint8_t *out;		/* the rest of the frame that is being sent: [out_start, out_end) */
	size_t out_start, out_end;
};

/** frame_stream_init() - without a socket; 0 or -ENOMEM, and then it is still to be emptied */
int frame_stream_init(struct frame_stream *stream);
void frame_stream_done(struct frame_stream *stream);

/** frame_stream_use() - another socket, or -1, from now on; what was of the one before is forgotten */
void frame_stream_use(struct frame_stream *stream, int fd);

/**
 * frame_stream_receive() - the next frame, behind a struct virtio_net_hdr_v1 that asks for nothing
 *
 * Return: bytes with the header; -EAGAIN: there is no whole frame, and the socket polls readable when
 * more of it comes; -ENOBUFS: longer than the segments, and lost; -EPROTO: what came is no frame;
 * -ECONNRESET: the peer is gone; another errno of the socket. After the last three the socket is of
 * no more use.
 */
ssize_t frame_stream_receive(struct frame_stream *stream, const struct iovec *segments, int count);

/**
 * frame_stream_send() - send a frame, without the header it stands behind
 *
 * Return: bytes with the header; -EAGAIN: there is no room, and the frame is lost; -EMSGSIZE: it is no
 * frame; another errno of the socket, which is of no more use then.
 */
ssize_t frame_stream_send(struct frame_stream *stream, const struct iovec *segments, int count);

/** frame_stream_is_sending() - was a frame taken that has not left whole? */
static inline bool frame_stream_is_sending(const struct frame_stream *stream)
{
	return stream->out_start < stream->out_end;
}

/** frame_stream_flush() - go on with that frame. 0; -EAGAIN: more is left; another errno as above */
int frame_stream_flush(struct frame_stream *stream);

#endif
