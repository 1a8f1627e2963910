/* SPDX-License-Identifier: Apache-2.0 */
/* Segments as bytes, and the state machine of a connection with segments as structs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/tcp_connection.h"

#define ISS    UINT32_C(0xfffffff8)	/* numbers of both sides wrap soon */
#define THEIRS UINT32_C(0xfffffffc)
#define WINDOW 2500u

/* Segments */

static void headers_are_read(void **state)
{
	static const uint8_t data[] = {
		0xc0, 0x01, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x60, 0xff, 0x12, 0x34, 9, 9, 0, 0,
		2, 4, 0x05, 0xb4, 'h', 'i',
	};
	struct tcp_segment segment;

	(void)state;
	assert_int_equal(tcp_read(data, sizeof(data), &segment), 0);
	assert_int_equal(segment.source_port, 0xc001);
	assert_int_equal(segment.destination_port, 80);
	assert_int_equal(segment.seq, 0x01020304);
	assert_int_equal(segment.ack, 0x05060708);
	assert_int_equal(segment.flags, TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK);
	assert_int_equal(segment.window, 0x1234);
	assert_int_equal(segment.mss, 1460);
	assert_int_equal(segment.payload_len, 2);
	assert_memory_equal(segment.payload, "hi", 2);
	assert_int_equal(tcp_segment_length(&segment), 4);
}

static void header_lengths_are_checked(void **state)
{
	static const struct { uint8_t offset; size_t len; int want; } cases[] = {
		{ 0x50, 20, 0 },	{ 0x50, 19, -EBADMSG }, { 0x50, 0, -EBADMSG },
		{ 0x40, 40, -EBADMSG }, { 0x00, 40, -EBADMSG }, { 0x60, 23, -EBADMSG },
		{ 0x60, 24, 0 },	{ 0xf0, 59, -EBADMSG }, { 0xf0, 60, 0 },
	};
	struct tcp_segment segment;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t data[60] = { [12] = cases[i].offset };

		assert_int_equal(tcp_read(data, cases[i].len, &segment), cases[i].want);
	}
}

static void options_are_looked_through(void **state)
{
	static const struct { const char *name; uint8_t options[12]; uint16_t want; } cases[] = {
		{ "alone", { 2, 4, 0x05, 0xb4 }, 1460 },
		{ "behind others", { 1, 1, 3, 3, 7, 2, 4, 0, 100 }, 100 },
		{ "the first of two", { 2, 4, 1, 0, 2, 4, 2, 0 }, 256 },
		{ "as the last bytes", { 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1, 0 }, 256 },
		{ "none", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 0 },
		{ "behind the end", { 0, 2, 4, 1, 0 }, 0 },
		{ "cut", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1 }, 0 },
		{ "without its length", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 }, 0 },
		{ "of another length", { 2, 3, 1, 2, 4, 1, 0 }, 256 },
		{ "behind an option of no length", { 8, 0, 2, 4, 1, 0 }, 0 },
		{ "behind an option of length 1", { 8, 1, 2, 4, 1, 0 }, 0 },
		{ "behind an option that is too long", { 8, 13, 2, 4, 1, 0 }, 0 },
	};
	struct tcp_segment segment;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t data[32] = { [12] = 0x80 };

		memcpy(data + 20, cases[i].options, 12);
		assert_int_equal(tcp_read(data, sizeof(data), &segment), 0);
		if (segment.mss != cases[i].want)
			fail_msg("%s: %u", cases[i].name, segment.mss);
	}
}

static void what_is_written_is_read_again(void **state)
{
	struct tcp_segment segment = { 80, 50000, 0x80000001, 0xfffffffe, TCP_SYN | TCP_ACK, 65535,
				       1460, NULL, 0 };
	struct tcp_segment again;
	uint8_t data[TCP_HEADER_BYTES_MAX];

	(void)state;
	assert_int_equal(tcp_write_header(data, &segment), 24);
	assert_int_equal(tcp_read(data, 24, &again), 0);
	assert_int_equal(again.source_port, segment.source_port);
	assert_int_equal(again.destination_port, segment.destination_port);
	assert_int_equal(again.seq, segment.seq);
	assert_int_equal(again.ack, segment.ack);
	assert_int_equal(again.flags, segment.flags);
	assert_int_equal(again.window, segment.window);
	assert_int_equal(again.mss, segment.mss);
	assert_int_equal(again.payload_len, 0);
	segment.mss = 0;
	assert_int_equal(tcp_write_header(data, &segment), 20);
	tcp_set_checksum(data, 0x1234);
	assert_memory_equal(data + 16, "\x12\x34", 2);
}

/* Connections */

struct pair {
	struct tcp_connection tcp;
	uint64_t now_ns;
	uint32_t seq;		/* the peer's next */
	struct tcp_segment got;	/* what tcp_send() made last, and of which place */
	uint64_t place;
	const uint8_t *data;	/* what tcp_receive() gave last */
	size_t len;
};

static uint32_t place_seq(uint64_t place)
{
	return ISS + 1 + (uint32_t)place;
}

static enum tcp_verdict receive(struct pair *pair, uint8_t flags, uint32_t seq, uint64_t ack_place,
				uint16_t window, size_t len)
{
	static const uint8_t bytes[70000];
	struct tcp_segment segment = { .flags = flags, .seq = seq, .ack = place_seq(ack_place),
				       .window = window, .payload = bytes, .payload_len = len };

	return tcp_receive(&pair->tcp, &segment, pair->now_ns, &pair->data, &pair->len);
}

static int send_next(struct pair *pair)
{
	uint64_t due_ns = tcp_due_ns(&pair->tcp);
	int r = tcp_send(&pair->tcp, pair->now_ns, &pair->got, &pair->place);

	assert_int_equal(r != 0, due_ns <= pair->now_ns);
	return r;
}

/* The next is a segment with @len bytes from @place on. */
static void expect_data(struct pair *pair, uint64_t place, size_t len, uint8_t flags)
{
	assert_int_equal(send_next(pair), 1);
	assert_int_equal(pair->got.flags, flags);
	assert_int_equal(pair->place, place);
	assert_int_equal(pair->got.seq, place_seq(place));
	assert_int_equal(pair->got.payload_len, len);
	assert_int_equal(pair->got.ack, pair->tcp.receive_next);
}

static void expect_nothing(struct pair *pair)
{
	assert_int_equal(send_next(pair), 0);
}

static void expect_ack(struct pair *pair)
{
	expect_data(pair, pair->tcp.sent, 0, TCP_ACK);
	expect_nothing(pair);
}

static void open_half(struct pair *pair, uint16_t mss)
{
	struct tcp_segment syn = { .flags = TCP_SYN, .seq = THEIRS, .window = 65535, .mss = mss };

	*pair = (struct pair){ .now_ns = 1, .seq = THEIRS + 1 };
	assert_int_equal(tcp_open(&pair->tcp, &syn, ISS, WINDOW), 0);
	assert_int_equal(send_next(pair), 1);
	assert_int_equal(pair->got.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(pair->got.seq, ISS);
	assert_int_equal(pair->got.ack, THEIRS + 1);
	assert_int_equal(pair->got.mss, TCP_MSS_MAX);
	assert_int_equal(pair->got.window, WINDOW);
	expect_nothing(pair);
}

static void open_pair(struct pair *pair, uint16_t mss)
{
	open_half(pair, mss);
	assert_int_equal(receive(pair, TCP_ACK, pair->seq, 0, 65535, 0), TCP_USUAL);
	expect_nothing(pair);
	assert_int_equal(tcp_due_ns(&pair->tcp), UINT64_MAX);
}

static void only_plain_syns_open(void **state)
{
	static const struct { const char *name; uint8_t flags; uint16_t mss; size_t len; int want; }
	cases[] = {
		{ "SYN", TCP_SYN, 1460, 0, 0 },
		{ "without MSS", TCP_SYN, 0, 0, 0 },
		{ "MSS of 100", TCP_SYN, 100, 0, 0 },
		{ "MSS of 99", TCP_SYN, 99, 0, -EBADMSG },
		{ "with data", TCP_SYN, 1460, 1, -EBADMSG },
		{ "with ACK", TCP_SYN | TCP_ACK, 1460, 0, -EBADMSG },
		{ "with FIN", TCP_SYN | TCP_FIN, 1460, 0, -EBADMSG },
		{ "with RST", TCP_SYN | TCP_RST, 1460, 0, -EBADMSG },
		{ "ACK", TCP_ACK, 1460, 0, -EBADMSG },
	};
	struct tcp_connection tcp;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tcp_segment syn = { .flags = cases[i].flags, .mss = cases[i].mss,
					   .payload_len = cases[i].len };

		if (tcp_open(&tcp, &syn, ISS, WINDOW) != cases[i].want)
			fail_msg("%s", cases[i].name);
	}
}

static void a_silent_peer_is_asked_15_times(void **state)
{
	struct pair pair;

	(void)state;
	open_half(&pair, 0);
	for (int i = 0; i < TCP_RETRANSMIT_COUNT; i++) {
		assert_int_equal(tcp_due_ns(&pair.tcp), pair.now_ns + TCP_RETRANSMIT_NS);
		pair.now_ns += TCP_RETRANSMIT_NS - 1;
		expect_nothing(&pair);
		pair.now_ns += 1;
		assert_int_equal(send_next(&pair), 1);
		assert_int_equal(pair.got.flags, TCP_SYN | TCP_ACK);
		expect_nothing(&pair);
	}
	pair.now_ns += TCP_RETRANSMIT_NS;
	assert_int_equal(send_next(&pair), -ETIMEDOUT);
}

static void a_handshake_may_be_repeated_but_not_be_wrong(void **state)
{
	struct pair pair;

	(void)state;
	open_half(&pair, 0);
	assert_int_equal(receive(&pair, TCP_SYN, THEIRS, 0, 65535, 0), TCP_USUAL);
	assert_int_equal(send_next(&pair), 1);
	assert_int_equal(pair.got.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(receive(&pair, TCP_SYN, THEIRS + 77, 0, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(send_next(&pair), 1);
	assert_int_equal(pair.got.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(receive(&pair, 0, pair.seq, 0, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, 1, 65535, 0), TCP_REFUSED);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, (uint64_t)-1, 65535, 0), TCP_REFUSED);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, 0, 65535, 10), TCP_USUAL);
	assert_int_equal(pair.len, 10);
	assert_int_equal(pair.tcp.state, TCP_ESTABLISHED);
}

static void what_was_not_sent_is_not_acknowledged(void **state)
{
	struct tcp_segment syn = { .flags = TCP_SYN, .seq = THEIRS };
	struct pair pair = { .now_ns = 1 };

	(void)state;
	assert_int_equal(tcp_open(&pair.tcp, &syn, ISS, WINDOW), 0);
	assert_int_equal(receive(&pair, TCP_ACK, THEIRS + 1, 0, 65535, 0), TCP_REFUSED);
}

static void the_stream_is_put_together(void **state)
{
	/* From the next byte on: where a segment begins, how long it is, what of it is new. */
	static const struct {
		const char *name;
		int32_t at;
		size_t len, fresh;
		enum tcp_verdict verdict;
		bool acknowledged;
	} cases[] = {
		{ "next", 0, 100, 100, TCP_USUAL, true },
		{ "seen already", -100, 100, 0, TCP_UNUSUAL, true },
		{ "partly seen", -50, 100, 50, TCP_UNUSUAL, true },
		{ "last byte new", -99, 100, 1, TCP_UNUSUAL, true },
		{ "one byte missing", 1, 100, 0, TCP_UNUSUAL, true },
		{ "just in the window, after a gap", 2499, 1, 0, TCP_UNUSUAL, true },
		{ "behind the window", 2500, 1, 0, TCP_UNUSUAL, true },
		{ "far away", 1 << 30, 1, 0, TCP_UNUSUAL, true },
		{ "long ago", -(1 << 30), 1, 0, TCP_UNUSUAL, true },
		{ "as long as the window", 0, 2500, 2500, TCP_USUAL, true },
		{ "longer than the window", 0, 2501, 2500, TCP_UNUSUAL, true },
		{ "as long as can be", 0, 65495, 2500, TCP_UNUSUAL, true },
		{ "nothing", 0, 0, 0, TCP_USUAL, false },
		{ "a keep-alive", -1, 0, 0, TCP_UNUSUAL, true },
		{ "a keep-alive with a byte", -1, 1, 0, TCP_UNUSUAL, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pair pair;
		enum tcp_verdict verdict;

		open_pair(&pair, 0);
		verdict = receive(&pair, TCP_ACK, pair.seq + (uint32_t)cases[i].at, 0, 65535,
				  cases[i].len);
		if (verdict != cases[i].verdict || pair.len != cases[i].fresh)
			fail_msg("%s: %d, %zu", cases[i].name, verdict, pair.len);
		assert_int_equal(pair.tcp.receive_next, pair.seq + (uint32_t)cases[i].fresh);
		assert_int_equal(pair.tcp.window, WINDOW - cases[i].fresh);
		if (cases[i].acknowledged)
			expect_ack(&pair);
		else
			expect_nothing(&pair);
	}
}

static void a_window_that_opens_is_told(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 0);
	receive(&pair, TCP_ACK, pair.seq, 0, 65535, 2500);
	expect_ack(&pair);
	assert_int_equal(pair.got.window, 0);
	pair.seq += 2500;
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, 0, 65535, 1), TCP_UNUSUAL);	/* a probe */
	assert_int_equal(pair.len, 0);
	expect_ack(&pair);
	tcp_set_window(&pair.tcp, 1249);
	expect_nothing(&pair);
	tcp_set_window(&pair.tcp, 1250);
	expect_ack(&pair);
	assert_int_equal(pair.got.window, 1250);
	tcp_set_window(&pair.tcp, 2499);
	expect_nothing(&pair);
	tcp_set_window(&pair.tcp, 2500);
	expect_ack(&pair);
	assert_int_equal(pair.got.window, 2500);
}

static void acknowledgements_count_with_a_closed_window(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 0);
	receive(&pair, TCP_ACK, pair.seq, 0, 65535, 2500);
	expect_ack(&pair);
	tcp_queue(&pair.tcp, 10, pair.now_ns);
	expect_data(&pair, 0, 10, TCP_ACK | TCP_PSH);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq + 2500, 10, 65535, 5), TCP_UNUSUAL);
	assert_int_equal(pair.len, 0);
	assert_true(tcp_is_drained(&pair.tcp));
}

static void data_goes_in_segments(void **state)
{
	static const struct { uint16_t theirs, used; } cases[] = {
		{ 0, 536 }, { 100, 100 }, { 1460, 1460 }, { 1461, 1460 }, { 65535, 1460 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint16_t mss = cases[i].used;
		struct pair pair;

		open_pair(&pair, cases[i].theirs);
		tcp_queue(&pair.tcp, mss * 2u + 1, pair.now_ns);
		expect_data(&pair, 0, mss, TCP_ACK);
		expect_data(&pair, mss, mss, TCP_ACK);
		expect_data(&pair, mss * 2u, 1, TCP_ACK | TCP_PSH);
		expect_nothing(&pair);
		assert_false(tcp_is_drained(&pair.tcp));
		receive(&pair, TCP_ACK, pair.seq, mss * 2u, 65535, 0);
		assert_false(tcp_is_drained(&pair.tcp));
		receive(&pair, TCP_ACK, pair.seq, mss * 2u + 1, 65535, 0);
		assert_true(tcp_is_drained(&pair.tcp));
		assert_int_equal(tcp_due_ns(&pair.tcp), UINT64_MAX);
	}
}

static void no_more_goes_than_the_window_takes(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	tcp_queue(&pair.tcp, 100000, pair.now_ns);
	receive(&pair, TCP_ACK, pair.seq, 0, 2500, 0);
	expect_data(&pair, 0, 1000, TCP_ACK);
	expect_data(&pair, 1000, 1000, TCP_ACK);
	expect_nothing(&pair);		/* 500 could go, but more can when these are there */
	receive(&pair, TCP_ACK, pair.seq, 1000, 1500, 0);
	expect_nothing(&pair);
	receive(&pair, TCP_ACK, pair.seq, 2000, 500, 0);
	expect_data(&pair, 2000, 500, TCP_ACK);
	expect_nothing(&pair);
	receive(&pair, TCP_ACK, pair.seq, 2500, 1, 0);
	expect_data(&pair, 2500, 1, TCP_ACK);
	expect_nothing(&pair);
}

static void a_closed_window_is_probed(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	receive(&pair, TCP_ACK, pair.seq, 0, 0, 0);
	tcp_queue(&pair.tcp, 2000, pair.now_ns);
	for (int i = 0; i < 100; i++) {
		expect_nothing(&pair);
		assert_int_equal(tcp_due_ns(&pair.tcp), pair.now_ns + TCP_RETRANSMIT_NS);
		pair.now_ns += TCP_RETRANSMIT_NS;
		expect_data(&pair, 0, 1, TCP_ACK);
		expect_nothing(&pair);
		receive(&pair, TCP_ACK, pair.seq, 0, 0, 0);	/* it lives, but takes nothing */
	}
	receive(&pair, TCP_ACK, pair.seq, 1, 0, 0);
	expect_nothing(&pair);
	receive(&pair, TCP_ACK, pair.seq, 1, 1000, 0);
	expect_data(&pair, 1, 1000, TCP_ACK);
	for (int i = 0; i < TCP_RETRANSMIT_COUNT; i++) {
		pair.now_ns += TCP_RETRANSMIT_NS;
		expect_data(&pair, 1, 1000, TCP_ACK);
		expect_nothing(&pair);
	}
	pair.now_ns += TCP_RETRANSMIT_NS;
	assert_int_equal(send_next(&pair), -ETIMEDOUT);
}

static void a_window_may_shrink(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	tcp_queue(&pair.tcp, 5000, pair.now_ns);
	for (uint64_t place = 0; place < 5000; place += 1000)
		expect_data(&pair, place, 1000, place == 4000 ? TCP_ACK | TCP_PSH : TCP_ACK);
	receive(&pair, TCP_ACK, pair.seq, 1000, 0, 0);
	expect_nothing(&pair);
	pair.now_ns += TCP_RETRANSMIT_NS;
	expect_data(&pair, 1000, 1, TCP_ACK);
	receive(&pair, TCP_ACK, pair.seq, 5000, 65535, 0);
	assert_true(tcp_is_drained(&pair.tcp));
	assert_int_equal(tcp_due_ns(&pair.tcp), UINT64_MAX);
}

static void an_old_segment_does_not_move_the_window(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	receive(&pair, TCP_ACK, pair.seq, 0, 65535, 10);
	receive(&pair, TCP_ACK, pair.seq + 10, 0, 500, 10);
	receive(&pair, TCP_ACK, pair.seq, 0, 65535, 30);
	assert_int_equal(pair.len, 10);
	assert_int_equal(pair.tcp.window_end, 500);
}

static void what_is_lost_is_sent_again(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	tcp_queue(&pair.tcp, 3000, pair.now_ns);
	for (uint64_t place = 0; place < 3000; place += 1000)
		expect_data(&pair, place, 1000, place == 2000 ? TCP_ACK | TCP_PSH : TCP_ACK);
	pair.now_ns += TCP_RETRANSMIT_NS / 2;
	receive(&pair, TCP_ACK, pair.seq, 1000, 65535, 0);	/* the time begins anew */
	assert_int_equal(tcp_due_ns(&pair.tcp), pair.now_ns + TCP_RETRANSMIT_NS);
	pair.now_ns += TCP_RETRANSMIT_NS;
	expect_data(&pair, 1000, 1000, TCP_ACK);
	expect_data(&pair, 2000, 1000, TCP_ACK | TCP_PSH);
	expect_nothing(&pair);
	pair.now_ns += TCP_RETRANSMIT_NS;
	expect_data(&pair, 1000, 1000, TCP_ACK);
	receive(&pair, TCP_ACK, pair.seq, 3000, 65535, 0);	/* it had all, but for its answer */
	expect_nothing(&pair);
	assert_int_equal(tcp_due_ns(&pair.tcp), UINT64_MAX);
}

static void three_duplicates_bring_the_first_segment(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	tcp_queue(&pair.tcp, 4000, pair.now_ns);
	for (uint64_t place = 0; place < 4000; place += 1000)
		expect_data(&pair, place, 1000, place == 3000 ? TCP_ACK | TCP_PSH : TCP_ACK);
	for (int i = 0; i < 3; i++) {
		expect_nothing(&pair);
		assert_int_equal(receive(&pair, TCP_ACK, pair.seq, 0, 65535, 0), TCP_UNUSUAL);
	}
	expect_data(&pair, 0, 1000, TCP_ACK);
	for (int i = 0; i < 1000; i++) {
		receive(&pair, TCP_ACK, pair.seq, 0, 65535, 0);
		expect_nothing(&pair);
	}
	receive(&pair, TCP_ACK, pair.seq, 0, 65534, 0);		/* an update, no duplicate */
	receive(&pair, TCP_ACK, pair.seq, 4000, 65535, 0);
	expect_nothing(&pair);
}

static void acknowledgements_are_checked(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 1000);
	tcp_queue(&pair.tcp, 2000, pair.now_ns);
	expect_data(&pair, 0, 1000, TCP_ACK);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, 1001, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, 1u << 31, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq, (uint64_t)-1, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(pair.tcp.una, 0);
	assert_int_equal(receive(&pair, 0, pair.seq, 1000, 65535, 10), TCP_UNUSUAL);
	assert_int_equal(pair.len, 0);
	expect_data(&pair, 1000, 1000, TCP_ACK | TCP_PSH);
}

static void resets_have_to_be_exact(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 0);
	assert_int_equal(receive(&pair, TCP_RST, pair.seq - 1, 0, 0, 0), TCP_UNUSUAL);
	expect_nothing(&pair);
	assert_int_equal(receive(&pair, TCP_RST, pair.seq + WINDOW, 0, 0, 0), TCP_UNUSUAL);
	expect_nothing(&pair);
	assert_int_equal(receive(&pair, TCP_RST, pair.seq + 1, 0, 0, 0), TCP_UNUSUAL);
	expect_ack(&pair);
	assert_int_equal(receive(&pair, TCP_SYN, pair.seq, 0, 0, 0), TCP_UNUSUAL);
	expect_ack(&pair);
	assert_int_equal(receive(&pair, TCP_RST, pair.seq, 0, 0, 0), TCP_GONE);
	open_half(&pair, 0);
	assert_int_equal(receive(&pair, TCP_RST, pair.seq, 0, 0, 0), TCP_GONE);
}

static void both_ends_close(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 0);
	tcp_queue(&pair.tcp, 10, pair.now_ns);
	assert_int_equal(receive(&pair, TCP_ACK | TCP_FIN, pair.seq, 0, 65535, 5), TCP_USUAL);
	assert_int_equal(pair.len, 5);
	assert_int_equal(pair.tcp.receive_next, pair.seq + 6);
	assert_int_equal(pair.tcp.state, TCP_CLOSE_WAIT);
	expect_data(&pair, 0, 10, TCP_ACK | TCP_PSH);
	/* Once more, and bytes behind it */
	assert_int_equal(receive(&pair, TCP_ACK | TCP_FIN, pair.seq, 0, 65535, 5), TCP_UNUSUAL);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq + 6, 0, 65535, 5), TCP_UNUSUAL);
	assert_int_equal(pair.len, 0);
	expect_ack(&pair);
	receive(&pair, TCP_ACK, pair.seq + 6, 10, 65535, 0);
	tcp_close(&pair.tcp);
	expect_data(&pair, 10, 0, TCP_ACK | TCP_FIN);
	expect_nothing(&pair);
	pair.now_ns += TCP_RETRANSMIT_NS;
	expect_data(&pair, 10, 0, TCP_ACK | TCP_FIN);
	expect_nothing(&pair);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq + 6, 10, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq + 6, 11, 65535, 0), TCP_GONE);
}

static void a_fin_goes_with_the_last_bytes_and_into_any_window(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 0);
	tcp_queue(&pair.tcp, 10, pair.now_ns);
	receive(&pair, TCP_ACK | TCP_FIN, pair.seq, 0, 65535, 0);
	tcp_close(&pair.tcp);
	expect_data(&pair, 0, 10, TCP_ACK | TCP_PSH | TCP_FIN);
	expect_nothing(&pair);
	assert_int_equal(receive(&pair, TCP_ACK, pair.seq + 1, 11, 0, 0), TCP_GONE);

	open_pair(&pair, 0);
	receive(&pair, TCP_ACK | TCP_FIN, pair.seq, 0, 0, 0);
	tcp_close(&pair.tcp);
	expect_data(&pair, 0, 0, TCP_ACK | TCP_FIN);
}

static void a_fin_ahead_of_a_gap_waits(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, 0);
	assert_int_equal(receive(&pair, TCP_ACK | TCP_FIN, pair.seq + 5, 0, 65535, 0), TCP_UNUSUAL);
	assert_int_equal(pair.tcp.state, TCP_ESTABLISHED);
	receive(&pair, TCP_ACK | TCP_FIN, pair.seq, 0, 65535, 2501);	/* behind the window */
	assert_int_equal(pair.tcp.state, TCP_ESTABLISHED);
	assert_int_equal(pair.len, 2500);
}

static void segments_of_no_connection_are_refused(void **state)
{
	struct tcp_segment refused = { .seq = UINT32_MAX, .ack = 1234, .payload_len = 10,
				       .flags = TCP_ACK | TCP_FIN };
	struct tcp_segment reset;

	(void)state;
	tcp_make_refusal(&refused, &reset);
	assert_int_equal(reset.flags, TCP_RST);
	assert_int_equal(reset.seq, 1234);
	refused.flags = TCP_SYN;
	refused.payload_len = 0;
	tcp_make_refusal(&refused, &reset);
	assert_int_equal(reset.flags, TCP_RST | TCP_ACK);
	assert_int_equal(reset.seq, 0);
	assert_int_equal(reset.ack, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(header_lengths_are_checked),
		cmocka_unit_test(options_are_looked_through),
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(only_plain_syns_open),
		cmocka_unit_test(a_silent_peer_is_asked_15_times),
		cmocka_unit_test(a_handshake_may_be_repeated_but_not_be_wrong),
		cmocka_unit_test(what_was_not_sent_is_not_acknowledged),
		cmocka_unit_test(the_stream_is_put_together),
		cmocka_unit_test(a_window_that_opens_is_told),
		cmocka_unit_test(acknowledgements_count_with_a_closed_window),
		cmocka_unit_test(data_goes_in_segments),
		cmocka_unit_test(no_more_goes_than_the_window_takes),
		cmocka_unit_test(a_closed_window_is_probed),
		cmocka_unit_test(a_window_may_shrink),
		cmocka_unit_test(an_old_segment_does_not_move_the_window),
		cmocka_unit_test(what_is_lost_is_sent_again),
		cmocka_unit_test(three_duplicates_bring_the_first_segment),
		cmocka_unit_test(acknowledgements_are_checked),
		cmocka_unit_test(resets_have_to_be_exact),
		cmocka_unit_test(both_ends_close),
		cmocka_unit_test(a_fin_goes_with_the_last_bytes_and_into_any_window),
		cmocka_unit_test(a_fin_ahead_of_a_gap_waits),
		cmocka_unit_test(segments_of_no_connection_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
