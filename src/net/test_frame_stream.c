/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/backend.h"
#include "net/frame_stream.h"

#define BIG_BYTES (NET_HEADER_BYTES + FRAME_BYTES_MAX)

struct bench {
	struct frame_stream stream;
	int peer;
	uint8_t *data;		/* two frames of the longest kind */
};

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(frame_stream_init(&bench->stream), 0);
	frame_stream_use(&bench->stream, s[0]);
	bench->peer = s[1];
	bench->data = malloc(2 * BIG_BYTES);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	close(bench->stream.fd);
	if (bench->peer >= 0)
		close(bench->peer);
	frame_stream_done(&bench->stream);
	free(bench->data);
	free(bench);
	return 0;
}

static void say(struct bench *bench, const void *data, size_t len)
{
	assert_int_equal(send(bench->peer, data, len, MSG_NOSIGNAL), len);
}

static void say_length(struct bench *bench, uint32_t length)
{
	uint32_t wire = htobe32(length);

	say(bench, &wire, sizeof(wire));
}

/* A frame whose bytes tell where they belong */
static void fill(uint8_t *frame, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(seed + i * 7);
}

static void say_frame(struct bench *bench, size_t len, uint8_t seed)
{
	say_length(bench, (uint32_t)len);
	fill(bench->data, len, seed);
	say(bench, bench->data, len);
}

/* Receive into segments of @part bytes each, and compare */
static void expect_frame(struct bench *bench, size_t len, uint8_t seed, size_t part)
{
	static const uint8_t no_header[NET_HEADER_BYTES];
	size_t all = NET_HEADER_BYTES + len;
	int count = (int)((all + part - 1) / part);
	struct iovec *segments = calloc((size_t)count, sizeof(*segments));
	uint8_t *want = malloc(all), *got = malloc((size_t)count * part);

	memcpy(want, no_header, NET_HEADER_BYTES);
	fill(want + NET_HEADER_BYTES, len, seed);
	memset(got, 0xee, all);
	for (int i = 0; i < count; i++)
		segments[i] = (struct iovec){ got + (size_t)i * part, part };
	assert_int_equal(frame_stream_receive(&bench->stream, segments, count), all);
	assert_memory_equal(got, want, all);
	free(got);
	free(want);
	free(segments);
}

static ssize_t receive(struct bench *bench)
{
	struct iovec segment = { bench->data, 2 * BIG_BYTES };

	return frame_stream_receive(&bench->stream, &segment, 1);
}

static void frames_are_cut_apart(void **state)
{
	static const size_t lens[] = { FRAME_BYTES_MIN, 60, 1514, FRAME_BYTES_MAX, 61, 1514 };
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
		say_frame(bench, lens[i], (uint8_t)i);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
		expect_frame(bench, lens[i], (uint8_t)i, 1000);
	assert_int_equal(receive(bench), -EAGAIN);
	assert_int_equal(receive(bench), -EAGAIN);
}

static void frames_come_in_pieces(void **state)
{
	struct bench *bench = *state;
	uint8_t wire[4 + 100] = { 0, 0, 0, 100 };

	fill(wire + 4, 100, 3);
	for (size_t cut = 1; cut < sizeof(wire); cut++) {
		say(bench, wire, cut);
		assert_int_equal(receive(bench), -EAGAIN);
		say(bench, wire + cut, sizeof(wire) - cut);
		if (receive(bench) == -EAGAIN)	/* what it read before was all there was then */
			expect_frame(bench, 100, 3, 7);
	}
	for (size_t i = 0; i < sizeof(wire); i++) {
		ssize_t r;

		say(bench, wire + i, 1);
		r = receive(bench);
		if (r == -EAGAIN)
			r = receive(bench);
		assert_int_equal(r, i + 1 < sizeof(wire) ? -EAGAIN : (int)NET_HEADER_BYTES + 100);
	}
}

/* Whatever was read, whoever is told -EAGAIN finds the socket readable when there is more. */
static void nothing_waits_unseen(void **state)
{
	struct bench *bench = *state;

	say_frame(bench, 60, 1);
	expect_frame(bench, 60, 1, 100);
	say_frame(bench, 60, 2);
	assert_int_equal(receive(bench), -EAGAIN);
	assert_int_equal(recv(bench->stream.fd, bench->data, 1, MSG_PEEK | MSG_DONTWAIT), 1);
	expect_frame(bench, 60, 2, 100);
}

static void segments_of_any_shape_are_filled(void **state)
{
	static const size_t parts[] = { 1, 5, NET_HEADER_BYTES - 1, NET_HEADER_BYTES,
					NET_HEADER_BYTES + 1, 72, 100 };
	struct bench *bench = *state;
	uint8_t got[72];
	struct iovec odd[] = { { got, 0 }, { got, 12 }, { NULL, 0 }, { got + 12, 59 },
			       { got + 71, 1 }, { NULL, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		say_frame(bench, 60, (uint8_t)i);
		expect_frame(bench, 60, (uint8_t)i, parts[i]);
		assert_int_equal(receive(bench), -EAGAIN);
	}
	say_frame(bench, 60, 9);
	assert_int_equal(frame_stream_receive(&bench->stream, odd, ARRAY_SIZE(odd)), 72);
	assert_memory_equal(got + 12, bench->data, 60);
}

static void a_frame_without_room_is_lost_alone(void **state)
{
	struct bench *bench = *state;
	uint8_t got[NET_HEADER_BYTES + 60];
	struct iovec short_of_one = { got, sizeof(got) - 1 };

	say_frame(bench, 60, 1);
	say_frame(bench, 60, 2);
	assert_int_equal(frame_stream_receive(&bench->stream, &short_of_one, 1), -ENOBUFS);
	expect_frame(bench, 60, 2, 72);
	say_frame(bench, 60, 3);
	assert_int_equal(receive(bench), -EAGAIN);
	assert_int_equal(frame_stream_receive(&bench->stream, NULL, 0), -ENOBUFS);
}

static void a_wrong_length_is_the_end(void **state)
{
	static const uint32_t lengths[] = { 0, 1, FRAME_BYTES_MIN - 1, FRAME_BYTES_MAX + 1, 0x10000,
					    0x80000000, UINT32_MAX };
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		int s[2];

		say_frame(bench, 60, 1);
		say_length(bench, lengths[i]);
		expect_frame(bench, 60, 1, 72);
		assert_int_equal(receive(bench), -EPROTO);
		assert_int_equal(receive(bench), -EPROTO);
		close(bench->stream.fd);
		close(bench->peer);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
		bench->peer = s[1];
		frame_stream_use(&bench->stream, s[0]);	/* and nothing of it is left */
	}
}

static void a_peer_that_is_gone_is_told_after_its_frames(void **state)
{
	struct bench *bench = *state;
	struct iovec segment = { bench->data, NET_HEADER_BYTES + 60 };
	ssize_t r;

	say_frame(bench, 60, 1);
	say_length(bench, 100);	/* cut off in the middle */
	close(bench->peer);
	bench->peer = -1;
	expect_frame(bench, 60, 1, 72);
	r = receive(bench);
	assert_int_equal(r == -EAGAIN ? receive(bench) : r, -ECONNRESET);
	assert_int_equal(frame_stream_send(&bench->stream, &segment, 1), -EPIPE);
	assert_false(frame_stream_is_sending(&bench->stream));
}

/* The peer's side of sending */

static void hear(struct bench *bench, void *data, size_t len)
{
	assert_int_equal(recv(bench->peer, data, len, MSG_WAITALL), len);
}

static void hear_frame(struct bench *bench, size_t len, uint8_t seed)
{
	uint8_t *got = malloc(len), *want = malloc(len);
	uint32_t length;

	hear(bench, &length, sizeof(length));
	assert_int_equal(be32toh(length), len);
	hear(bench, got, len);
	fill(want, len, seed);
	assert_memory_equal(got, want, len);
	free(got);
	free(want);
}

static ssize_t send_frame(struct bench *bench, size_t len, uint8_t seed, size_t part)
{
	size_t all = NET_HEADER_BYTES + len;
	int count = (int)((all + part - 1) / part);
	struct iovec *segments = calloc((size_t)count, sizeof(*segments));
	ssize_t r;

	memset(bench->data, 0xff, NET_HEADER_BYTES);	/* a header that means nothing to us */
	fill(bench->data + NET_HEADER_BYTES, len, seed);
	for (int i = 0; i < count; i++) {
		size_t offset = (size_t)i * part;

		segments[i] = (struct iovec){ bench->data + offset,
					      all - offset < part ? all - offset : part };
	}
	r = frame_stream_send(&bench->stream, segments, count);
	free(segments);
	return r;
}

static void frames_are_sent_behind_their_length(void **state)
{
	static const size_t parts[] = { 1, 5, NET_HEADER_BYTES, NET_HEADER_BYTES + 1, 40, 2000 };
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		assert_int_equal(send_frame(bench, 1514, (uint8_t)i, parts[i]), 1526);
		hear_frame(bench, 1514, (uint8_t)i);
	}
	assert_int_equal(send_frame(bench, FRAME_BYTES_MIN, 1, 100), NET_HEADER_BYTES + 14);
	hear_frame(bench, FRAME_BYTES_MIN, 1);
	assert_int_equal(send_frame(bench, FRAME_BYTES_MAX, 1, 4096), BIG_BYTES);
	hear_frame(bench, FRAME_BYTES_MAX, 1);
}

static void what_is_no_frame_is_not_sent(void **state)
{
	struct bench *bench = *state;
	struct iovec segments[] = { { bench->data, 0 }, { bench->data, 0 } };
	static const size_t lens[] = { 0, 5, NET_HEADER_BYTES, NET_HEADER_BYTES + FRAME_BYTES_MIN - 1,
				       BIG_BYTES + 1, 2 * BIG_BYTES };

	memset(bench->data, 0, 2 * BIG_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		segments[1].iov_len = lens[i];
		assert_int_equal(frame_stream_send(&bench->stream, segments, 2), -EMSGSIZE);
	}
	assert_int_equal(frame_stream_send(&bench->stream, NULL, 0), -EMSGSIZE);
	assert_int_equal(recv(bench->peer, bench->data, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Such that a longest one finds room for its first part alone */
static size_t slow_len(int i)
{
	return i % 4 == 3 ? FRAME_BYTES_MAX : 20000;
}

/* Whole frames are lost, and of each that arrives all arrives, however little room there is. */
static void a_slow_peer_loses_whole_frames(void **state)
{
	struct bench *bench = *state;
	uint8_t sent[64];
	int bytes = 40 << 10, lost = 0, pending = 0;

	assert_int_equal(setsockopt(bench->stream.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)),
			 0);
	for (int round = 0; round < 20; round++) {
		int count = 0, taken;

		for (int i = 0; i < 8; i++) {
			uint8_t seed = (uint8_t)(round * 8 + i);
			size_t len = slow_len(i);
			ssize_t r = send_frame(bench, len, seed, 8192);

			assert_true(r == -EAGAIN || r == (ssize_t)(NET_HEADER_BYTES + len));
			if (r > 0)
				sent[count++] = (uint8_t)i;
			else
				lost++;
		}
		pending += frame_stream_is_sending(&bench->stream);
		for (taken = 0; taken < count; taken++) {
			uint8_t seed = (uint8_t)(round * 8 + sent[taken]);
			size_t len = slow_len(sent[taken]);
			uint8_t *got = malloc(4 + len);
			size_t have = 0;

			while (have < 4 + len) {
				ssize_t n = recv(bench->peer, got + have, 4 + len - have,
						 MSG_DONTWAIT);

				if (n > 0)
					have += (size_t)n;
				else
					assert_int_not_equal(frame_stream_flush(&bench->stream),
							     -EPIPE);
			}
			fill(bench->data, len, seed);
			assert_memory_equal(got + 4, bench->data, len);
			free(got);
		}
		assert_false(frame_stream_is_sending(&bench->stream));
		assert_int_equal(recv(bench->peer, bench->data, 1, MSG_DONTWAIT), -1);
	}
	assert_true(lost > 0);
	assert_true(pending > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(frames_are_cut_apart),
		TEST(frames_come_in_pieces),
		TEST(nothing_waits_unseen),
		TEST(segments_of_any_shape_are_filled),
		TEST(a_frame_without_room_is_lost_alone),
		TEST(a_wrong_length_is_the_end),
		TEST(a_peer_that_is_gone_is_told_after_its_frames),
		TEST(frames_are_sent_behind_their_length),
		TEST(what_is_no_frame_is_not_sent),
		TEST(a_slow_peer_loses_whole_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
