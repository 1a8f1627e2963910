/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz what a hostile guest can say to the metadata service: frames of any kind, segments that
 * nearly belong to a connection, requests, time. Every frame that comes back has right lengths and
 * checksums; what was sent of a stream does not change when it is sent again; a frame is due if and
 * only if there is one; what is sent without a word of the guest's has an end; memory is bounded.
 *
 * The first byte chooses: bit 0 V2, bit 1 IMDS alone, bits 2 and 3 the document. Then there are
 * operations: a byte of which the highest two bits choose one of four ports and the others the
 * operation, and its arguments, as read in step(). What is missing at the end is 0.
 *
 *	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-fno-sanitize-recover=undefined -Isrc -Iinclude -o fuzz_packets \
 *		tests/fuzz/fuzz_packets.c \
 *		src/mmds/{answer,document,endpoint,mmds,stack,token}.c \
 *		src/net/{arp,ipv4,tcp,tcp_connection}.c src/http/{request,response,text}.c \
 *		src/json/{debug_text,reader,value}.c src/base/{buf,fault,file,log,loop,metrics}.c \
 *		-lnettle -lpthread
 *	mkdir -p found && ./fuzz_packets -max_len=4096 found tests/fuzz/corpus/packets
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"
#include "mmds/stack.h"
#include "net/arp.h"
#include "net/ethernet.h"
#include "net/ipv4.h"
#include "net/tcp.h"

#define PORTS	     4u
#define FRAME_MAX    512u	/* of what is made here */
#define STREAM_MAX   (64u * 1024u)
#define MS	     UINT64_C(1000000)
#define HELD_MAX     (30u * 8192u + 200000u)	/* and old documents */
/* 30 connections with a window of 64 KiB and the least MSS, and 100 resets */
#define FRAMES_MAX   (30u * (65535u / 100u + 2u) + 200u)

static const char *const documents[] = {
	"{\"a\":{\"b\":[1,\"two\",{\"c\":null}],\"~/\":\"x\"},\"latest\":{\"s\":\"text\"}}",
	"\"a string\"", "null", NULL,
};

static const char *const requests[] = {
	"GET / HTTP/1.1\r\n\r\n",
	"GET /latest//s/ HTTP/1.0\r\nAccept: application/json\r\n\r\n",
	"GET /a/b/2/c HTTP/1.1\r\nAccept: application/json\r\n\r\n",
	"PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 5\r\n\r\n",
	"PUT /x HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789",
	"PATCH / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
	"GET / HTTP/1.1\n\n",
};

/* The guest's view of a connection. */
struct peer {
	uint32_t seq;		/* its next */
	uint32_t ack;		/* what it has seen, more or less */
	bool open;		/* SYN-ACK came */
	uint32_t first;		/* number of the stream's first byte */
	size_t len;		/* bytes of it */
	uint8_t *stream;
};

struct run {
	struct metrics *metrics;
	struct mmds *mmds;
	struct mmds_stack *stack;
	uint64_t now_ns;
	struct peer peers[PORTS];
	char token[49];
	size_t held;
};

struct input {
	const uint8_t *data;
	size_t len;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern size_t __sanitizer_get_current_allocated_bytes(void);

/* In place of the C library's, so that a run can be repeated. */
ssize_t getrandom(void *buf, size_t len, unsigned int flags)
{
	(void)flags;
	memset(buf, 0x5a, len);
	return (ssize_t)len;
}

static void require(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static uint8_t take8(struct input *in)
{
	if (in->len == 0)
		return 0;
	in->len--;
	return *in->data++;
}

static uint16_t take16(struct input *in)
{
	uint16_t high = take8(in);

	return (uint16_t)(high << 8 | take8(in));
}

static const uint8_t *take_bytes(struct input *in, size_t *len)
{
	const uint8_t *data = in->data;

	if (*len > in->len)
		*len = in->len;
	in->data += *len;
	in->len -= *len;
	return data;
}

/* To the service */

/* From memory of just its size. */
static void receive(struct run *run, const uint8_t *frame, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	memcpy(copy, frame, len);
	if (mmds_stack_wants(run->stack, copy, len < MMDS_HEAD_BYTES ? len : MMDS_HEAD_BYTES))
		mmds_stack_receive(run->stack, copy, len, run->now_ns);
	free(copy);
}

static void send_segment(struct run *run, unsigned int port, const struct tcp_segment *fields,
			 const uint8_t *payload, size_t len)
{
	static const uint8_t mac[] = { 2, 0, 0, 0, 0, 1 };
	struct ipv4_packet packet = { .protocol = IPV4_PROTOCOL_TCP, .source = { 10, 0, 0, 2 },
				      .destination = { 169, 254, 169, 254 } };
	struct tcp_segment segment = *fields;
	uint8_t frame[FRAME_MAX], *tcp = frame + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES;
	size_t header_len;

	segment.source_port = (uint16_t)(1000 + port);
	segment.destination_port = 80;
	header_len = tcp_write_header(tcp, &segment);
	if (len > 0)
		memcpy(tcp + header_len, payload, len);
	packet.payload_len = header_len + len;
	ipv4_write(frame + ETHERNET_HEADER_BYTES, &packet);
	ethernet_write(frame, mac, mac, ETHERNET_TYPE_IPV4);
	receive(run, frame, ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + packet.payload_len);
}

static void say(struct run *run, unsigned int port, const uint8_t *data, size_t len)
{
	struct peer *peer = &run->peers[port];
	struct tcp_segment segment = { .seq = peer->seq, .ack = peer->ack, .flags = TCP_ACK,
				       .window = 65535 };

	send_segment(run, port, &segment, data, len);
	peer->seq += (uint32_t)len;
}

static void say_request(struct run *run, unsigned int port, uint8_t choice)
{
	const size_t count = sizeof(requests) / sizeof(requests[0]);
	char text[200];

	if (choice % (count + 1) < count)
		snprintf(text, sizeof(text), "%s", requests[choice % (count + 1)]);
	else
		snprintf(text, sizeof(text), "GET /latest HTTP/1.1\r\nX-metadata-token: %s\r\n\r\n",
			 run->token);
	say(run, port, (const uint8_t *)text, strlen(text));
}

static void open_connection(struct run *run, unsigned int port, uint16_t mss)
{
	struct peer *peer = &run->peers[port];
	struct tcp_segment segment = { .seq = peer->seq, .flags = TCP_SYN, .window = 65535,
				       .mss = mss };

	send_segment(run, port, &segment, NULL, 0);
	peer->seq++;
}

/* A segment that is off by as much as the input says. */
static void send_odd_segment(struct run *run, unsigned int port, struct input *in)
{
	struct peer *peer = &run->peers[port];
	struct tcp_segment segment = { .flags = take8(in) };
	uint8_t kind = take8(in);
	size_t len = 0;
	const uint8_t *payload;

	segment.seq = peer->seq + (uint32_t)(int16_t)(kind & 1 ? take16(in) : 0);
	segment.ack = peer->ack + (uint32_t)(int16_t)(kind & 2 ? take16(in) : 0);
	segment.window = kind & 4 ? take16(in) : 65535;
	segment.mss = kind & 8 ? take16(in) : 0;
	if (kind & 16)
		len = take8(in);
	payload = take_bytes(in, &len);
	send_segment(run, port, &segment, payload, len);
	if (kind & 32)
		peer->seq = segment.seq + (uint32_t)len + ((segment.flags & TCP_FIN) != 0);
}

/* From the service */

static void note_token(struct run *run, const uint8_t *data, size_t len)
{
	const char *at = memmem(data, len, "Content-Length: 48\r\n\r\n", 22);

	if (at != NULL && (size_t)(at - (const char *)data) + 22 + 48 <= len)
		memcpy(run->token, at + 22, 48);
}

static void take_segment(struct run *run, const struct tcp_segment *segment)
{
	unsigned int port = segment->destination_port - 1000u;
	struct peer *peer = &run->peers[port % PORTS];
	size_t at;

	if (port >= PORTS)
		return;		/* of a frame that the input made */
	require(segment->payload_len == 0 || (segment->flags & TCP_ACK), "data has ACK");
	if (segment->flags & TCP_SYN) {
		require(segment->flags == (TCP_SYN | TCP_ACK), "SYN has ACK and no more");
		peer->open = true;
		peer->first = segment->seq + 1;
		peer->ack = segment->seq + 1;
		peer->len = 0;
	}
	if (segment->flags & TCP_RST)
		peer->open = false;
	at = segment->seq - peer->first;
	if (!peer->open || segment->payload_len == 0 || at + segment->payload_len > STREAM_MAX)
		return;
	require(at <= peer->len, "nothing is left out");
	for (size_t i = 0; i < segment->payload_len; i++, at++) {
		require(at >= peer->len || peer->stream[at] == segment->payload[i], "the same again");
		peer->stream[at] = segment->payload[i];
	}
	if (at > peer->len)
		peer->len = at;
	note_token(run, segment->payload, segment->payload_len);
}

static void check_frame(struct run *run, const uint8_t *frame, size_t len)
{
	struct tcp_segment segment;
	struct ipv4_packet packet;

	require(len <= MMDS_FRAME_BYTES, "it fits");
	if (ethernet_type(frame) == ETHERNET_TYPE_ARP) {
		require(len == ETHERNET_HEADER_BYTES + ARP_BYTES, "ARP has its length");
		return;
	}
	require(ethernet_type(frame) == ETHERNET_TYPE_IPV4, "ARP or IPv4");
	require(ipv4_read(frame + 14, len - 14, &packet) == 0, "an IPv4 header");
	require(packet.payload_len + 34 == len && !packet.is_fragment, "all of a packet");
	require(ipv4_checksum(frame + 14, 20) == 0, "the header's checksum");
	require(ipv4_payload_checksum(&packet) == 0, "TCP's checksum");
	require(tcp_read(packet.payload, packet.payload_len, &segment) == 0, "a TCP header");
	take_segment(run, &segment);
}

static bool take_frame(struct run *run)
{
	uint64_t due_ns = mmds_stack_due_ns(run->stack);
	uint8_t *frame = malloc(MMDS_FRAME_BYTES);
	size_t len = mmds_stack_send(run->stack, frame, run->now_ns);

	require((len > 0) == (due_ns <= run->now_ns), "due if and only if there is one");
	if (len > 0)
		check_frame(run, frame, len);
	free(frame);
	return len > 0;
}

static void take_all(struct run *run)
{
	size_t count = 0;

	while (take_frame(run))
		require(++count <= FRAMES_MAX, "there is an end");
}

static void acknowledge(struct run *run, unsigned int port)
{
	struct peer *peer = &run->peers[port];

	peer->ack = peer->first + (uint32_t)peer->len;
	say(run, port, NULL, 0);
}

static void set_document(struct run *run, unsigned int choice)
{
	char *large;

	if (documents[choice % 4] != NULL) {
		mmds_set_document(run->mmds, documents[choice % 4], strlen(documents[choice % 4]));
		return;
	}
	large = malloc(20000);
	memset(large, 'l', 20000);
	large[0] = large[19999] = '"';
	mmds_set_document(run->mmds, large, 20000);
	free(large);
}

static void step(struct run *run, struct input *in)
{
	uint8_t op = take8(in);
	unsigned int port = op >> 6;
	size_t len;
	const uint8_t *data;

	switch (op & 0x0f) {
	case 0:
		len = take16(in) % 2048;
		data = take_bytes(in, &len);
		receive(run, data, len);
		break;
	case 1:
		open_connection(run, port, take16(in));
		break;
	case 2:
	case 3:
		send_odd_segment(run, port, in);
		break;
	case 4:
		say_request(run, port, take8(in));
		break;
	case 5:
		len = take8(in);
		data = take_bytes(in, &len);
		say(run, port, data, len);
		break;
	case 6:
		run->now_ns += take16(in) * MS;
		break;
	case 7:
		for (unsigned int n = take8(in) % 16u + 1; n > 0 && take_frame(run); n--)
			;
		break;
	case 8:
		take_all(run);
		break;
	case 9:
		acknowledge(run, port);
		break;
	case 10:
		set_document(run, take8(in));
		break;
	case 11:
		mmds_stack_reset(run->stack);
		break;
	default:	/* as it should be: request, answer, acknowledgement */
		say_request(run, port, op >> 4);
		take_all(run);
		acknowledge(run, port);
		break;
	}
	require(__sanitizer_get_current_allocated_bytes() <= run->held + HELD_MAX, "memory is bounded");
}

static void run_init(struct run *run, uint8_t choice)
{
	struct mmds_params params = { .instance_id = "fuzz" };
	struct squib_mmds_config config = {
		.version = choice & 1 ? SQUIB_MMDS_V2 : SQUIB_MMDS_V1, .imds_compat = choice & 2,
		.ipv4_address = { 169, 254, 169, 254 },
	};

	require(metrics_new(&run->metrics) == 0, "metrics");
	params.metrics = run->metrics;
	require(mmds_new(&params, &run->mmds) == 0, "a store");
	require(mmds_stack_new(run->mmds, &run->stack) == 0, "a stack");
	mmds_configure(run->mmds, &config);
	set_document(run, choice >> 2);
	for (size_t i = 0; i < PORTS; i++)
		run->peers[i].stream = malloc(STREAM_MAX);
	run->held = __sanitizer_get_current_allocated_bytes();
}

static void run_done(struct run *run)
{
	mmds_stack_free(run->stack);
	mmds_free(run->mmds);
	metrics_free(run->metrics);
	for (size_t i = 0; i < PORTS; i++)
		free(run->peers[i].stream);
	free(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct run *run = calloc(1, sizeof(*run));

	run_init(run, take8(&in));
	while (in.len > 0)
		step(run, &in);
	/* A guest that says no more: after a while there is nothing left to do. */
	for (int i = 0; i < 20; i++) {
		take_all(run);
		run->now_ns += 300 * MS;
	}
	take_all(run);
	require(mmds_stack_due_ns(run->stack) == UINT64_MAX, "it comes to rest");
	run_done(run);
	return 0;
}
