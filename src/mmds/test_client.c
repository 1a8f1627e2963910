/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/ethernet.h"
#include "net/ipv4.h"

static const uint8_t guest_mac[] = { 0x02, 0xfc, 0, 0, 0, 1 };
static const uint8_t service_mac[] = { 0x06, 0x01, 0x23, 0x45, 0x67, 0x01 };
static const uint8_t guest_ip[] = { 10, 0, 0, 2 };
static const uint8_t service_ip[] = { 169, 254, 169, 254 };

void guest_init(struct guest *guest, const char *document)
{
	struct mmds_params params = { .instance_id = "test" };

	*guest = (struct guest){ .now_ns = 1000 * SECOND_NS };
	assert_int_equal(metrics_new(&guest->metrics), 0);
	params.metrics = guest->metrics;
	assert_int_equal(mmds_new(&params, &guest->mmds), 0);
	assert_int_equal(mmds_stack_new(guest->mmds, &guest->stack), 0);
	if (document != NULL)
		assert_int_equal(mmds_set_document(guest->mmds, document, strlen(document)), 0);
}

void guest_done(struct guest *guest)
{
	mmds_stack_free(guest->stack);
	mmds_free(guest->mmds);
	metrics_free(guest->metrics);
}

void guest_configure(struct guest *guest, enum squib_mmds_version version, bool imds_compat)
{
	mmds_configure(guest->mmds, &(struct squib_mmds_config){
		.version = version, .imds_compat = imds_compat,
		.ipv4_address = { 169, 254, 169, 254 } });
}

size_t guest_frame(const struct tcp_segment *segment, uint8_t *frame)
{
	struct ipv4_packet packet = { .protocol = IPV4_PROTOCOL_TCP };
	uint8_t *tcp = frame + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES;
	size_t header_len = tcp_write_header(tcp, segment);

	if (segment->payload_len > 0)
		memcpy(tcp + header_len, segment->payload, segment->payload_len);
	memcpy(packet.source, guest_ip, 4);
	memcpy(packet.destination, service_ip, 4);
	packet.payload_len = header_len + segment->payload_len;
	ipv4_write(frame + ETHERNET_HEADER_BYTES, &packet);
	ethernet_write(frame, service_mac, guest_mac, ETHERNET_TYPE_IPV4);
	return ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + packet.payload_len;
}

void guest_send(struct guest *guest, const struct tcp_segment *segment)
{
	size_t room = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES_MAX +
		      segment->payload_len;
	uint8_t *frame = malloc(room);
	size_t len;

	assert_non_null(frame);
	len = guest_frame(segment, frame);
	frame = realloc(frame, len);	/* so that reading beyond it faults */
	assert_non_null(frame);
	assert_true(mmds_stack_wants(guest->stack, frame, MMDS_HEAD_BYTES));
	mmds_stack_receive(guest->stack, frame, len, guest->now_ns);
	free(frame);
}

bool guest_next(struct guest *guest, struct tcp_segment *ret_segment)
{
	static uint8_t frame[MMDS_FRAME_BYTES];
	uint64_t due_ns = mmds_stack_due_ns(guest->stack);
	size_t len = mmds_stack_send(guest->stack, frame, guest->now_ns);
	struct ipv4_packet packet;

	assert_int_equal(len > 0, due_ns <= guest->now_ns);
	if (len == 0)
		return false;
	assert_true(len <= sizeof(frame));
	assert_memory_equal(frame, guest_mac, 6);
	assert_memory_equal(frame + 6, service_mac, 6);
	assert_int_equal(ethernet_type(frame), ETHERNET_TYPE_IPV4);
	assert_int_equal(ipv4_read(frame + 14, len - 14, &packet), 0);
	assert_int_equal(ipv4_checksum(frame + 14, 20), 0);
	assert_int_equal(packet.payload_len, len - 34);
	assert_memory_equal(packet.source, service_ip, 4);
	assert_memory_equal(packet.destination, guest_ip, 4);
	assert_int_equal(packet.protocol, IPV4_PROTOCOL_TCP);
	assert_int_equal(ipv4_payload_checksum(&packet), 0);
	assert_int_equal(tcp_read(packet.payload, packet.payload_len, ret_segment), 0);
	return true;
}

void client_init(struct client *client, struct guest *guest, uint16_t port)
{
	*client = (struct client){ .guest = guest, .port = port, .seq = 0xfffffff0u + port,
				   .window = 65535, .mss = 1460 };
}

void client_done(struct client *client)
{
	buf_done(&client->received);
}

void client_segment(struct client *client, uint8_t flags, const char *data, size_t len)
{
	struct tcp_segment segment = {
		.source_port = client->port, .destination_port = 80,
		.seq = client->seq, .ack = flags & TCP_ACK ? client->ack : 0, .flags = flags,
		.window = client->window, .mss = flags & TCP_SYN ? client->mss : 0,
		.payload = (const uint8_t *)data, .payload_len = len,
	};

	guest_send(client->guest, &segment);
	client->seq += tcp_segment_length(&segment);
}

void client_open(struct client *client)
{
	struct tcp_segment segment;

	client_segment(client, TCP_SYN, NULL, 0);
	assert_true(guest_next(client->guest, &segment));
	assert_int_equal(segment.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(segment.ack, client->seq);
	assert_int_equal(segment.mss, 1460);
	assert_int_equal(segment.window, 2500);
	client->ack = segment.seq + 1;
	client_segment(client, TCP_ACK, NULL, 0);
	assert_false(guest_next(client->guest, &segment));
}

void client_say(struct client *client, const char *text)
{
	client_segment(client, TCP_ACK | TCP_PSH, text, strlen(text));
}

static void take_segment(struct client *client, const struct tcp_segment *segment)
{
	assert_int_equal(segment->source_port, 80);
	assert_int_equal(segment->destination_port, client->port);
	if (segment->flags & TCP_RST) {
		client->reset = true;
		return;
	}
	assert_int_equal(segment->seq, client->ack);
	assert_int_equal(segment->ack, client->seq);
	buf_add(&client->received, segment->payload, segment->payload_len);
	client->ack += tcp_segment_length(segment);
	client->fin |= (segment->flags & TCP_FIN) != 0;
	if (tcp_segment_length(segment) > 0)
		client_segment(client, TCP_ACK, NULL, 0);
}

void client_take(struct client *client)
{
	struct tcp_segment segment;

	while (guest_next(client->guest, &segment))
		take_segment(client, &segment);
}

const char *client_ask(struct client *client, const char *request)
{
	buf_reset(&client->received);
	client_say(client, request);
	client_take(client);
	return buf_str(&client->received);
}
