/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: what is taken, what comes back, and what a guest can make it hold. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mmds/endpoint.h"
#include "mmds/test_client.h"
#include "net/arp.h"
#include "net/ethernet.h"
#include "net/ipv4.h"

#define DOCUMENT "{\"a\":\"one\",\"b\":\"two\"}"
#define GET(path) "GET " path " HTTP/1.1\r\n\r\n"
#define ANSWER(body, len) \
	"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n" \
	"Content-Type: text/plain\r\nContent-Length: " #len "\r\n\r\n" body

#define CONNECTIONS 30
#define RESETS	    100

/* A test takes the memory away here. */
static bool no_memory;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return no_memory ? NULL : __real_realloc(p, size);
}

static uint64_t count(const struct metric_count *count)
{
	return atomic_load(&count->value);
}

/* Which frames */

static void only_its_address_is_taken(void **state)
{
	uint8_t frame[60] = { [12] = 0x08 };
	struct guest guest;

	(void)state;
	guest_init(&guest, NULL);
	memcpy(frame + 30, "\xa9\xfe\xa9\xfe", 4);
	assert_true(mmds_stack_wants(guest.stack, frame, 34));
	assert_true(mmds_stack_wants(guest.stack, frame, 42));
	for (size_t len = 0; len < 34; len++)
		assert_false(mmds_stack_wants(guest.stack, frame, len));
	frame[33] = 0xfd;
	assert_false(mmds_stack_wants(guest.stack, frame, 42));
	memcpy(frame + 38, "\xa9\xfe\xa9\xfe", 4);
	assert_false(mmds_stack_wants(guest.stack, frame, 42));
	frame[13] = 0x06;	/* ARP */
	assert_true(mmds_stack_wants(guest.stack, frame, 42));
	assert_false(mmds_stack_wants(guest.stack, frame, 41));
	frame[41] = 0;
	assert_false(mmds_stack_wants(guest.stack, frame, 42));
	frame[12] = 0x86, frame[13] = 0xdd;	/* IPv6 */
	memcpy(frame + 30, "\xa9\xfe\xa9\xfe", 4);
	assert_false(mmds_stack_wants(guest.stack, frame, 42));
	mmds_configure(guest.mmds, &(struct squib_mmds_config){ .ipv4_address = { 169, 254, 1, 2 } });
	frame[12] = 0x08, frame[13] = 0x00;
	assert_false(mmds_stack_wants(guest.stack, frame, 42));
	memcpy(frame + 30, "\xa9\xfe\x01\x02", 4);
	assert_true(mmds_stack_wants(guest.stack, frame, 42));
	guest_done(&guest);
}

static const uint8_t arp_request[42] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xfc, 0, 0, 0, 1, 0x08, 0x06,
	0, 1, 8, 0, 6, 4, 0, 1, 2, 0xfc, 0, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 169, 254, 169, 254,
};

static void arp_is_answered(void **state)
{
	static const uint8_t reply[42] = {
		2, 0xfc, 0, 0, 0, 1, 6, 1, 0x23, 0x45, 0x67, 1, 0x08, 0x06,
		0, 1, 8, 0, 6, 4, 0, 2, 6, 1, 0x23, 0x45, 0x67, 1, 169, 254, 169, 254,
		2, 0xfc, 0, 0, 0, 1, 10, 0, 0, 2,
	};
	uint8_t frame[MMDS_FRAME_BYTES];
	struct guest guest;

	(void)state;
	guest_init(&guest, NULL);
	assert_int_equal(mmds_stack_due_ns(guest.stack), UINT64_MAX);
	for (int i = 0; i < 5; i++)
		mmds_stack_receive(guest.stack, arp_request, sizeof(arp_request), 0);
	assert_int_equal(mmds_stack_due_ns(guest.stack), 0);
	assert_int_equal(mmds_stack_send(guest.stack, frame, 0), sizeof(reply));
	assert_memory_equal(frame, reply, sizeof(reply));
	assert_int_equal(mmds_stack_send(guest.stack, frame, 0), 0);	/* once for all */
	assert_int_equal(count(&guest.metrics->mmds.rx_accepted), 5);
	assert_int_equal(count(&guest.metrics->mmds.tx_count), 1);
	assert_int_equal(count(&guest.metrics->mmds.tx_frames), 1);
	assert_int_equal(count(&guest.metrics->mmds.tx_bytes), 42);
	guest_done(&guest);
}

static void what_cannot_be_is_only_counted(void **state)
{
	static const struct { const char *name; size_t at; uint8_t value; size_t len; char counter; }
	cases[] = {
		{ "UDP", 23, 17, 54, 'u' },
		{ "a fragment", 20, 0x20, 54, 'u' },
		{ "no IPv4", 14, 0x65, 54, 0 },
		{ "a total that is too long", 17, 41, 54, 0 },
		{ "TCP with no header", 46, 0x40, 54, 'e' },
		{ "half a frame", 0, 0, 13, 'b' },
		{ "ARP that is no request", 13, 0x06, 54, 0 },
		{ "IPv6", 12, 0x86, 54, 0 },
		{ "another address", 33, 0xfd, 54, 0 },
	};
	static const uint8_t good[54] = {
		6, 1, 0x23, 0x45, 0x67, 1, 2, 0xfc, 0, 0, 0, 1, 0x08, 0x00,
		0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 169, 254, 169, 254,
		4, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x04, 0, 0,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct guest guest;
		const struct metrics_mmds *counters;
		uint8_t frame[54], out[MMDS_FRAME_BYTES];

		guest_init(&guest, NULL);
		counters = &guest.metrics->mmds;
		memcpy(frame, good, sizeof(frame));
		frame[cases[i].at] = cases[i].value;
		mmds_stack_receive(guest.stack, frame, cases[i].len, 1);
		assert_int_equal(mmds_stack_send(guest.stack, out, 1), 0);
		if (count(&counters->rx_accepted) != 1 ||
		    count(&counters->rx_accepted_unusual) != (cases[i].counter == 'u') ||
		    count(&counters->rx_accepted_err) != (cases[i].counter == 'e') ||
		    count(&counters->rx_bad_eth) != (cases[i].counter == 'b') ||
		    count(&counters->rx_count) != 0)
			fail_msg("%s", cases[i].name);
		guest_done(&guest);
	}
}

static void headers_may_have_options_and_frames_padding(void **state)
{
	static const uint8_t syn[] = {
		6, 1, 0x23, 0x45, 0x67, 1, 2, 0xfc, 0, 0, 0, 1, 0x08, 0x00,
		0x47, 0, 0, 52, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 169, 254, 169, 254,
		1, 1, 1, 1, 1, 1, 1, 0,
		0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0xc2, 1, 0, 0, 0, 0, 0, 2, 4, 1, 0,
		9, 9, 9, 9, 9, 9,
	};
	struct tcp_segment segment;
	struct guest guest;

	(void)state;
	guest_init(&guest, NULL);
	mmds_stack_receive(guest.stack, syn, sizeof(syn), guest.now_ns);	/* with ECN's bits */
	assert_true(guest_next(&guest, &segment));
	assert_int_equal(segment.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(segment.ack, 2);
	guest_done(&guest);
}

/* Connections */

static void a_connection_is_made_used_and_closed(void **state)
{
	struct guest guest;
	struct client client;
	const struct metrics_mmds *counters;

	(void)state;
	guest_init(&guest, DOCUMENT);
	counters = &guest.metrics->mmds;
	client_init(&client, &guest, 5000);
	client_open(&client);
	for (int i = 0; i < 1000; i++) {
		assert_string_equal(client_ask(&client, GET("/a")), ANSWER("one", 3));
		assert_string_equal(client_ask(&client, GET("/b")), ANSWER("two", 3));
	}
	assert_int_equal(count(&counters->connections_created), 1);
	assert_int_equal(count(&counters->connections_destroyed), 0);
	client_segment(&client, TCP_ACK | TCP_FIN, NULL, 0);
	client_take(&client);
	assert_true(client.fin);
	assert_false(client.reset);
	assert_int_equal(count(&counters->connections_destroyed), 1);
	assert_int_equal(count(&counters->rx_accepted), count(&counters->rx_count));
	assert_int_equal(count(&counters->rx_accepted_unusual), 0);
	assert_int_equal(count(&counters->rx_accepted_err), 0);
	assert_int_equal(count(&counters->tx_errors), 0);
	assert_int_equal(mmds_stack_due_ns(guest.stack), UINT64_MAX);
	client_done(&client);
	guest_done(&guest);
}

static void a_request_may_come_in_any_pieces(void **state)
{
	static const char request[] = GET("/a") GET("/b");
	const size_t len = sizeof(request) - 1;

	(void)state;
	for (size_t size = 1; size <= len; size++) {
		struct guest guest;
		struct client client;

		guest_init(&guest, DOCUMENT);
		client_init(&client, &guest, 5000);
		client_open(&client);
		for (size_t at = 0; at < len; at += size) {
			client_segment(&client, TCP_ACK, request + at,
				       len - at < size ? len - at : size);
			client_take(&client);
		}
		assert_string_equal(buf_str(&client.received), ANSWER("one", 3) ANSWER("two", 3));
		client_done(&client);
		guest_done(&guest);
	}
}

static void a_request_and_fin_may_come_at_once(void **state)
{
	struct guest guest;
	struct client client;

	(void)state;
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 5000);
	client_open(&client);
	client_segment(&client, TCP_ACK | TCP_FIN, GET("/a") GET("/b"), 2 * strlen(GET("/a")));
	client_take(&client);
	assert_string_equal(buf_str(&client.received), ANSWER("one", 3) ANSWER("two", 3));
	assert_true(client.fin);
	assert_int_equal(count(&guest.metrics->mmds.connections_destroyed), 1);
	client_done(&client);
	guest_done(&guest);
}

/* Deterministic: a failure can be repeated. */
static uint32_t random_below(uint32_t *seed, uint32_t bound)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % bound;
}

/* What is on the way to the guest. */
struct wire {
	struct tcp_segment segments[64];
	uint8_t payloads[64][1460];
	size_t count;
};

static void wire_fill(struct guest *guest, struct wire *wire, uint32_t *seed)
{
	struct tcp_segment segment;

	while (wire->count < 64 && guest_next(guest, &segment)) {
		size_t i = wire->count;

		if (random_below(seed, 10) == 0)
			continue;			/* lost */
		wire->segments[i] = segment;
		memcpy(wire->payloads[i], segment.payload, segment.payload_len);
		wire->segments[i].payload = wire->payloads[i];
		wire->count++;
	}
}

/* Any of them, which stays there now and then. */
static struct tcp_segment wire_take(struct wire *wire, uint32_t *seed, uint8_t *payload)
{
	size_t i = random_below(seed, (uint32_t)wire->count);
	struct tcp_segment segment = wire->segments[i];

	memcpy(payload, segment.payload, segment.payload_len);
	segment.payload = payload;
	if (random_below(seed, 10) > 0) {
		wire->count--;
		wire->segments[i] = wire->segments[wire->count];
		memcpy(wire->payloads[i], wire->payloads[wire->count], 1460);
		wire->segments[i].payload = wire->payloads[i];
	}
	return segment;
}

static void resend_request(struct client *client, uint32_t start, const char *request, size_t len,
			   uint32_t *seed)
{
	size_t from = random_below(seed, (uint32_t)len), n = 1 + random_below(seed, (uint32_t)len);

	client->seq = start + (uint32_t)from;
	client_segment(client, TCP_ACK, request + from, n < len - from ? n : len - from);
}

/* Everything is lost, repeated, cut anew and shuffled, and the answer comes through whole. */
static void a_bad_wire_changes_nothing(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n";
	static const char head[] = "HTTP/1.1 200 \r\nServer: Firecracker API\r\n"
		"Connection: keep-alive\r\nContent-Type: application/json\r\n"
		"Content-Length: 30001\r\n\r\n";
	const size_t head_len = sizeof(head) - 1;
	static char document[30002];
	static struct wire wire;
	uint32_t seed = 1;

	(void)state;
	memset(document, 'x', sizeof(document) - 1);
	for (size_t i = 1; i < sizeof(document) - 2; i++)
		document[i] = (char)('a' + i / 7 % 26);
	document[0] = document[sizeof(document) - 2] = '"';
	for (int round = 0; round < 30; round++) {
		struct guest guest;
		struct client client;
		uint32_t start;

		guest_init(&guest, document);
		client_init(&client, &guest, 5000);
		client.mss = (uint16_t)(100 + random_below(&seed, 1361));
		client_open(&client);
		start = client.seq;
		wire.count = 0;
		for (int i = 0; i < 100000 && client.received.len < head_len + 30001; i++) {
			uint8_t payload[1460];
			struct tcp_segment segment;

			guest.now_ns += TCP_RETRANSMIT_NS / 50;
			if (client.received.len == 0)
				resend_request(&client, start, request, strlen(request), &seed);
			wire_fill(&guest, &wire, &seed);
			if (wire.count == 0)
				continue;
			segment = wire_take(&wire, &seed, payload);
			assert_false(segment.flags & TCP_RST);
			if (segment.seq == client.ack) {
				buf_add(&client.received, segment.payload, segment.payload_len);
				client.ack += (uint32_t)segment.payload_len;
			}
			client.seq = start + (uint32_t)strlen(request);
			client.window = (uint16_t)(random_below(&seed, 4) == 0 ? 0 :
						   random_below(&seed, 20000));
			if (random_below(&seed, 10) > 0 && client.received.len > 0)
				client_segment(&client, TCP_ACK, NULL, 0);
		}
		assert_memory_equal(buf_str(&client.received), head, head_len);
		assert_string_equal(buf_str(&client.received) + head_len, document);
		client_done(&client);
		guest_done(&guest);
	}
}

static void documents_stay_while_they_are_sent(void **state)
{
	static char old[50003];
	struct guest guest;
	struct client client;
	struct tcp_segment segment;

	(void)state;
	memset(old, 'o', sizeof(old) - 1);
	old[0] = old[sizeof(old) - 2] = '"';
	guest_init(&guest, old);
	client_init(&client, &guest, 5000);
	client_open(&client);
	client_say(&client, "GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	assert_true(guest_next(&guest, &segment));
	buf_add(&client.received, segment.payload, segment.payload_len);
	client.ack += (uint32_t)segment.payload_len;
	assert_int_equal(mmds_set_document(guest.mmds, "\"new\"", 5), 0);
	client_segment(&client, TCP_ACK, NULL, 0);
	client_take(&client);
	assert_string_equal(strstr(buf_str(&client.received), "\r\n\r\n") + 4, old);
	assert_string_equal(client_ask(&client, GET("/")), ANSWER("new", 3));
	client_done(&client);
	guest_done(&guest);
}

static void a_request_of_2500_bytes_is_the_longest(void **state)
{
	static const struct { size_t len; bool answered; } cases[] = {
		{ 2499, true }, { 2500, true }, { 2501, false }, { 5000, false }, { 60000, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		static const char head[] = "GET /a HTTP/1.1\r\nA: ";
		struct guest guest;
		struct client client;
		char *request = malloc(cases[i].len);

		memset(request, 'x', cases[i].len);
		memcpy(request, head, strlen(head));
		memcpy(request + cases[i].len - 4, "\r\n\r\n", 4);
		guest_init(&guest, DOCUMENT);
		client_init(&client, &guest, 5000);
		client_open(&client);
		client_segment(&client, TCP_ACK, request, cases[i].len);
		client_take(&client);
		if (cases[i].answered)
			assert_string_equal(buf_str(&client.received), ANSWER("one", 3));
		assert_int_equal(client.reset, !cases[i].answered);
		assert_int_equal(count(&guest.metrics->mmds.connections_destroyed),
				 !cases[i].answered);
		client_done(&client);
		guest_done(&guest);
		free(request);
	}
}

/* While an answer is on its way, what comes is kept, as far as there is room. */
static void requests_queue_up_to_the_window(void **state)
{
	struct guest guest;
	struct client client;
	struct buf want = BUF_INIT;
	char requests[2500];
	size_t n = sizeof(requests) / strlen(GET("/a"));

	(void)state;
	for (size_t i = 0; i < n; i++)
		memcpy(requests + i * strlen(GET("/a")), GET("/a"), strlen(GET("/a")));
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 5000);
	client_open(&client);
	client_segment(&client, TCP_ACK, requests, n * strlen(GET("/a")));
	client_take(&client);
	for (size_t i = 0; i < n; i++)
		buf_adds(&want, ANSWER("one", 3));
	assert_string_equal(buf_str(&client.received), buf_str(&want));
	assert_string_equal(client_ask(&client, GET("/b")), ANSWER("two", 3));
	buf_done(&want);
	client_done(&client);
	guest_done(&guest);
}

static void other_ports_and_strangers_are_refused(void **state)
{
	struct tcp_segment segment = { .source_port = 7, .destination_port = 81, .seq = 10,
				       .flags = TCP_SYN };
	struct guest guest;
	struct client client;

	(void)state;
	guest_init(&guest, DOCUMENT);
	guest_send(&guest, &segment);
	assert_true(guest_next(&guest, &segment));
	assert_int_equal(segment.flags, TCP_RST | TCP_ACK);
	assert_int_equal(segment.source_port, 81);
	assert_int_equal(segment.destination_port, 7);
	assert_int_equal(segment.ack, 11);
	assert_int_equal(count(&guest.metrics->mmds.rx_accepted_err), 1);
	assert_int_equal(count(&guest.metrics->mmds.rx_count), 0);
	client_init(&client, &guest, 5000);
	client.ack = 77;
	client_segment(&client, TCP_ACK, "hello", 5);
	assert_true(guest_next(&guest, &segment));
	assert_int_equal(segment.flags, TCP_RST);
	assert_int_equal(segment.seq, 77);
	client_segment(&client, TCP_RST, NULL, 0);
	assert_false(guest_next(&guest, &segment));
	assert_int_equal(count(&guest.metrics->mmds.connections_created), 0);
	guest_done(&guest);
}

static void the_31st_waits_for_one_that_is_idle(void **state)
{
	struct guest guest;
	struct client clients[CONNECTIONS], late;
	struct tcp_segment segment;
	const struct metrics_mmds *counters;

	(void)state;
	guest_init(&guest, DOCUMENT);
	counters = &guest.metrics->mmds;
	for (uint16_t i = 0; i < CONNECTIONS; i++) {
		client_init(&clients[i], &guest, (uint16_t)(5000 + i));
		client_open(&clients[i]);
		guest.now_ns += 1;
	}
	client_init(&late, &guest, 6000);
	client_segment(&late, TCP_SYN, NULL, 0);
	assert_true(guest_next(&guest, &segment));
	assert_int_equal(segment.flags, TCP_RST | TCP_ACK);
	assert_int_equal(segment.ack, late.seq);
	assert_int_equal(segment.destination_port, 6000);
	assert_int_equal(count(&counters->connections_created), CONNECTIONS);

	guest.now_ns += 9 * SECOND_NS;
	assert_string_equal(client_ask(&clients[0], GET("/a")), ANSWER("one", 3));
	guest.now_ns += 1 * SECOND_NS;
	late.seq--;
	client_segment(&late, TCP_SYN, NULL, 0);
	assert_true(guest_next(&guest, &segment));	/* number 1 was silent longest */
	assert_int_equal(segment.flags, TCP_RST | TCP_ACK);
	assert_int_equal(segment.destination_port, 5001);
	assert_int_equal(segment.seq, clients[1].ack);
	assert_true(guest_next(&guest, &segment));
	assert_int_equal(segment.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(segment.destination_port, 6000);
	assert_int_equal(count(&counters->connections_created), CONNECTIONS + 1);
	assert_int_equal(count(&counters->connections_destroyed), 1);
	assert_string_equal(client_ask(&clients[0], GET("/b")), ANSWER("two", 3));
	for (int i = 0; i < CONNECTIONS; i++)
		client_done(&clients[i]);
	guest_done(&guest);
}

static void a_reset_device_forgets_all(void **state)
{
	struct guest guest;
	struct client client;
	struct tcp_segment segment;

	(void)state;
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 5000);
	client_open(&client);
	client_say(&client, GET("/a"));
	mmds_stack_receive(guest.stack, arp_request, sizeof(arp_request), guest.now_ns);
	client_init(&client, &guest, 5001);
	client_segment(&client, TCP_ACK, NULL, 0);
	mmds_stack_reset(guest.stack);
	assert_false(guest_next(&guest, &segment));
	assert_int_equal(mmds_stack_due_ns(guest.stack), UINT64_MAX);
	assert_int_equal(count(&guest.metrics->mmds.connections_destroyed), 1);
	guest_done(&guest);
}

/* What a guest can make it hold */

/* The C library's own count includes blocks that it keeps for the next to ask. */
#define SLACK 4096u

extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t held_bytes(void)
{
	if (__sanitizer_get_current_allocated_bytes != NULL)
		return __sanitizer_get_current_allocated_bytes();
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* Take what there is, without an answer. Return: how many segments had one of @flags. */
static size_t drain(struct guest *guest, uint8_t flags)
{
	struct tcp_segment segment;
	size_t n = 0;

	while (guest_next(guest, &segment))
		n += (segment.flags & flags) != 0;
	return n;
}

static void floods_of_syns_are_bounded(void **state)
{
	struct tcp_segment segment = { .destination_port = 80, .flags = TCP_SYN, .window = 65535 };
	size_t before, answers;
	struct guest guest;

	(void)state;
	guest_init(&guest, DOCUMENT);
	before = held_bytes();
	for (uint32_t i = 0; i < 60000; i++) {
		segment.source_port = (uint16_t)i;
		segment.seq = i;
		guest_send(&guest, &segment);
	}
	assert_true(held_bytes() - before <= CONNECTIONS * (sizeof(struct endpoint) + 64));
	answers = drain(&guest, TCP_RST | TCP_SYN);
	assert_int_equal(answers, CONNECTIONS + RESETS);
	/* None is answered: after a while all are given up, and it holds what it did before. */
	for (int i = 0; i <= TCP_RETRANSMIT_COUNT; i++) {
		guest.now_ns += TCP_RETRANSMIT_NS;
		assert_int_equal(drain(&guest, TCP_RST | TCP_SYN), CONNECTIONS);
	}
	assert_int_equal(mmds_stack_due_ns(guest.stack), UINT64_MAX);
	assert_true(held_bytes() <= before + SLACK);
	assert_int_equal(count(&guest.metrics->mmds.connections_destroyed),
			 count(&guest.metrics->mmds.connections_created));
	guest_done(&guest);
}

/* 30 connections ask for all of a large store and take nothing: it is held once. */
static void large_answers_are_not_copied(void **state)
{
	const size_t size = 10u << 20;
	char *document = malloc(size);
	struct client clients[CONNECTIONS];
	struct guest guest;
	size_t before;

	(void)state;
	memset(document, 'x', size);
	document[0] = document[size - 1] = '"';
	guest_init(&guest, NULL);
	assert_int_equal(mmds_set_document(guest.mmds, document, size), 0);
	free(document);
	before = held_bytes();
	for (uint16_t i = 0; i < CONNECTIONS; i++) {
		client_init(&clients[i], &guest, (uint16_t)(5000 + i));
		clients[i].window = 0;
		client_open(&clients[i]);
		client_say(&clients[i], "GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n");
		drain(&guest, 0);
	}
	assert_true(held_bytes() - before <= CONNECTIONS * (sizeof(struct endpoint) + 1024));
	mmds_stack_reset(guest.stack);
	assert_true(held_bytes() <= before + SLACK);
	guest_done(&guest);
}

/* It asks for each document and takes none: two are held, the rest of its connections is reset. */
static void old_documents_are_not_held(void **state)
{
	const size_t size = 1u << 20;
	char *document = malloc(size);
	struct client client;
	struct guest guest;
	size_t before, once;

	(void)state;
	memset(document, 'x', size);
	document[0] = document[size - 1] = '"';
	guest_init(&guest, NULL);
	before = held_bytes();
	assert_int_equal(mmds_set_document(guest.mmds, document, size), 0);
	once = held_bytes() - before;
	for (uint16_t i = 0; i < 20; i++) {
		client_init(&client, &guest, (uint16_t)(5000 + i));
		client_open(&client);
		client.window = 0;
		client_say(&client, "GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n");
		drain(&guest, 0);
		assert_int_equal(mmds_set_document(guest.mmds, document, size), 0);
		assert_true(held_bytes() - before <= 2 * once + CONNECTIONS * 4096);
		assert_int_equal(drain(&guest, TCP_RST), i > 0);
	}
	assert_int_equal(count(&guest.metrics->mmds.connections_destroyed), 19);
	client.window = 65535;
	client_segment(&client, TCP_ACK, NULL, 0);
	client_take(&client);
	assert_false(client.reset);
	assert_true(client.received.len > size);
	client_done(&client);
	guest_done(&guest);
	free(document);
}

static void what_it_holds_at_rest_is_small(void **state)
{
	struct guest guest;
	size_t before;

	(void)state;
	before = held_bytes();
	guest_init(&guest, DOCUMENT);
	assert_true(held_bytes() - before < 20u << 10);
	guest_done(&guest);
}

static void without_memory_connections_end_and_the_store_stays(void **state)
{
	struct tcp_segment syn = { .source_port = 1, .destination_port = 80, .flags = TCP_SYN };
	struct tcp_segment segment = { .source_port = 5000, .destination_port = 80,
				       .flags = TCP_ACK };
	struct guest guest;
	struct client client;
	uint8_t frame[54 + sizeof(GET("/a"))];

	(void)state;
	guest_init(&guest, DOCUMENT);
	client_init(&client, &guest, 5000);
	client_open(&client);
	segment.seq = client.seq;
	segment.ack = client.ack;
	guest_frame(&syn, frame);
	no_memory = true;
	mmds_stack_receive(guest.stack, frame, 54, guest.now_ns);
	no_memory = false;
	assert_false(guest_next(&guest, &syn));

	segment.payload = (const uint8_t *)GET("/a");
	segment.payload_len = strlen(GET("/a"));
	guest_frame(&segment, frame);
	no_memory = true;
	mmds_stack_receive(guest.stack, frame, 54 + segment.payload_len, guest.now_ns);
	assert_true(mmds_set_document(guest.mmds, "{\"c\":\"d\"}", 9) == -ENOMEM);
	no_memory = false;
	assert_true(guest_next(&guest, &segment));
	assert_true(segment.flags & TCP_RST);
	assert_int_equal(count(&guest.metrics->mmds.tx_errors), 1);
	assert_int_equal(count(&guest.metrics->mmds.connections_created), 1);
	assert_int_equal(count(&guest.metrics->mmds.connections_destroyed), 1);

	client_init(&client, &guest, 5001);
	client_open(&client);
	assert_string_equal(client_ask(&client, GET("/a")), ANSWER("one", 3));
	client_done(&client);
	guest_done(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_its_address_is_taken),
		cmocka_unit_test(arp_is_answered),
		cmocka_unit_test(what_cannot_be_is_only_counted),
		cmocka_unit_test(headers_may_have_options_and_frames_padding),
		cmocka_unit_test(a_connection_is_made_used_and_closed),
		cmocka_unit_test(a_request_may_come_in_any_pieces),
		cmocka_unit_test(a_request_and_fin_may_come_at_once),
		cmocka_unit_test(a_bad_wire_changes_nothing),
		cmocka_unit_test(documents_stay_while_they_are_sent),
		cmocka_unit_test(a_request_of_2500_bytes_is_the_longest),
		cmocka_unit_test(requests_queue_up_to_the_window),
		cmocka_unit_test(other_ports_and_strangers_are_refused),
		cmocka_unit_test(the_31st_waits_for_one_that_is_idle),
		cmocka_unit_test(a_reset_device_forgets_all),
		cmocka_unit_test(floods_of_syns_are_bounded),
		cmocka_unit_test(large_answers_are_not_copied),
		cmocka_unit_test(old_documents_are_not_held),
		cmocka_unit_test(what_it_holds_at_rest_is_small),
		cmocka_unit_test(without_memory_connections_end_and_the_store_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
