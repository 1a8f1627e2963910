/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the stream of frames against a model: the input is a script of what the peer says, as bytes in
 * pieces of any size, of buffers to receive into, of frames to send and of what the peer reads.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_frame_stream \
 *		tests/fuzz/fuzz_frame_stream.c src/net/frame_stream.c
 *	mkdir -p found && ./fuzz_frame_stream -max_len=4096 found
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/backend.h"
#include "net/frame_stream.h"

#define BYTES_MAX    (1u << 20)
#define DRAIN_ROUNDS 100u	/* of 64 KiB; the socket holds less */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
};

/* Bytes in one direction: all that were sent, and how many of them have arrived. */
struct way {
	uint8_t *bytes;
	size_t sent, arrived;
};

struct world {
	struct frame_stream stream;
	int peer;
	struct way in, out;
	bool broken;		/* the peer's end: no frame comes after this */
};

static void require(bool condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static size_t take(struct input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

static size_t take_size(struct input *input)
{
	size_t high = take(input);

	return high << 8 | take(input);
}

/* Lengths, so that frames of all sizes are made without as much input */
static void peer_says_frame(struct world *world, size_t len, uint8_t seed)
{
	uint8_t *at = world->in.bytes + world->in.sent;

	if (world->in.sent + 4 + len > BYTES_MAX)
		return;
	memcpy(at, (uint8_t[]){ 0, 0, (uint8_t)(len >> 8), (uint8_t)len }, 4);
	memset(at + 4, seed, len);
	if (send(world->peer, at, 4 + len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)(4 + len))
		world->in.sent += 4 + len;
	else
		world->broken = true;	/* what arrived of it stays a beginning */
}

static void peer_says_bytes(struct world *world, struct input *input, size_t len)
{
	if (len > input->size)
		len = input->size;
	if (len == 0 || world->broken || world->in.sent + len > BYTES_MAX ||
	    send(world->peer, input->data, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
		return;
	memcpy(world->in.bytes + world->in.sent, input->data, len);
	world->in.sent += len;
	input->data += len;
	input->size -= len;
}

/* The model: what receive() has to return, -EAGAIN where there is nothing yet */
static ssize_t next_in(const struct world *world)
{
	const uint8_t *at = world->in.bytes + world->in.arrived;
	size_t have = world->in.sent - world->in.arrived;
	size_t len;

	if (have < 4)
		return -EAGAIN;
	len = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
	if (len < FRAME_BYTES_MIN || len > FRAME_BYTES_MAX)
		return -EPROTO;
	return have - 4 < len ? -EAGAIN : (ssize_t)len;
}

static void receive(struct world *world, size_t first, size_t second)
{
	uint8_t *buffer = malloc(first + second + 1);
	struct iovec segments[] = { { buffer, first }, { buffer + first, second } };
	ssize_t want = next_in(world);
	ssize_t r = frame_stream_receive(&world->stream, segments, 2);

	if (r == -EAGAIN)	/* once it may have been asked too early, but not twice */
		r = frame_stream_receive(&world->stream, segments, 2);
	if (want < 0) {
		require(r == want || (world->broken && r == -EAGAIN), "no frame where there is none");
	} else {
		const uint8_t *frame = world->in.bytes + world->in.arrived + 4;

		if (NET_HEADER_BYTES + (size_t)want > first + second) {
			require(r == -ENOBUFS, "a frame without room is lost");
		} else {
			require(r == (ssize_t)NET_HEADER_BYTES + want, "a frame is received");
			require(memcmp(buffer + NET_HEADER_BYTES, frame, (size_t)want) == 0,
				"it is the peer's");
		}
		world->in.arrived += 4 + (size_t)want;
	}
	free(buffer);
}

static void send_frame(struct world *world, size_t len, size_t first, uint8_t seed)
{
	size_t all = NET_HEADER_BYTES + len;
	uint8_t *frame = malloc(all);
	uint8_t *at = world->out.bytes + world->out.sent;
	struct iovec segments[2];
	ssize_t r;

	if (first > all)
		first = all;
	segments[0] = (struct iovec){ frame, first };
	segments[1] = (struct iovec){ frame + first, all - first };
	memset(frame, seed, all);
	r = world->out.sent + 4 + len > BYTES_MAX ? -EAGAIN :
		frame_stream_send(&world->stream, segments, 2);
	if (len < FRAME_BYTES_MIN || len > FRAME_BYTES_MAX)
		require(r == -EMSGSIZE || r == -EAGAIN, "what is no frame is not sent");
	else
		require(r == (ssize_t)all || r == -EAGAIN, "a frame is sent, or lost");
	if (r > 0) {
		memcpy(at, (uint8_t[]){ 0, 0, (uint8_t)(len >> 8), (uint8_t)len }, 4);
		memset(at + 4, seed, len);
		world->out.sent += 4 + len;
	}
	free(frame);
}

static void peer_reads(struct world *world, size_t len)
{
	uint8_t *got = malloc(len + 1);
	ssize_t n = recv(world->peer, got, len, MSG_DONTWAIT);

	if (n > 0) {
		require((size_t)n <= world->out.sent - world->out.arrived, "no more than was sent");
		require(memcmp(got, world->out.bytes + world->out.arrived, (size_t)n) == 0,
			"what arrives was sent");
		world->out.arrived += (size_t)n;
	}
	free(got);
}

static void flush(struct world *world)
{
	int r = frame_stream_flush(&world->stream);

	require(r == 0 || r == -EAGAIN, "flushed, or not");
	require((r == 0) == !frame_stream_is_sending(&world->stream), "and it is known");
}

static void step(struct world *world, struct input *input)
{
	uint8_t what = (uint8_t)take(input);

	switch (what % 6) {
	case 0:
		peer_says_bytes(world, input, take(input));
		break;
	case 1:
		if (!world->broken)
			peer_says_frame(world, take_size(input), what);
		break;
	case 2: {
		size_t first = take_size(input);

		receive(world, first, what < 128 ? take_size(input) : NET_HEADER_BYTES + FRAME_BYTES_MAX);
		break;
	}
	case 3: {
		size_t len = take_size(input);

		send_frame(world, what < 250 ? len : FRAME_BYTES_MAX + len, take(input), what);
		break;
	}
	case 4:
		peer_reads(world, take_size(input));
		break;
	default:
		flush(world);
	}
}

/* All that was accepted arrives, once the peer reads. */
static void drain(struct world *world)
{
	for (size_t i = 0; i < DRAIN_ROUNDS && world->out.arrived < world->out.sent; i++) {
		flush(world);
		peer_reads(world, 1 << 16);
	}
	require(world->out.arrived == world->out.sent, "nothing gets stuck");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t in_bytes[BYTES_MAX], out_bytes[BYTES_MAX];	/* far quicker than the heap */
	struct input input = { data, size };
	struct world world = { 0 };
	int s[2], bytes = 16 << 10;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return 0;
	setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	world.peer = s[1];
	world.in.bytes = in_bytes;
	world.out.bytes = out_bytes;
	require(frame_stream_init(&world.stream) == 0, "memory");
	frame_stream_use(&world.stream, s[0]);
	while (input.size > 0)
		step(&world, &input);
	drain(&world);
	frame_stream_done(&world.stream);
	close(s[0]);
	close(s[1]);
	return 0;
}
