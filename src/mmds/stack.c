/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing is queued as frames but what is small and counted: one ARP reply, and resets. All else is
 * made when it is asked for, out of the state of a connection.
 */
#include "mmds/stack.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"
#include "mmds/endpoint.h"
#include "mmds/mmds_internal.h"
#include "net/arp.h"
#include "net/ethernet.h"
#include "net/ipv4.h"
#include "net/tcp.h"

#define PORT		80
#define CONNECTIONS_MAX 30
#define RESETS_MAX	100
#define IDLE_NS		(10 * UINT64_C(1000000000))

static const uint8_t own_mac[] = { 0x06, 0x01, 0x23, 0x45, 0x67, 0x01 };

struct reset {
	uint8_t ip[4];
	struct tcp_segment segment;	/* without payload */
};

struct mmds_stack {
	struct mmds *mmds;
	uint8_t guest_mac[ETHERNET_ADDRESS_BYTES];	/* whoever spoke last */
	bool arp_due;
	uint8_t arp_ip[4];		/* who asked */
	struct reset resets[RESETS_MAX];
	unsigned int reset_first;
	unsigned int reset_count;
	struct endpoint *endpoints[CONNECTIONS_MAX];
	unsigned int turn;		/* whose turn it is to send */
};

static_assert(MMDS_HEAD_BYTES == ETHERNET_HEADER_BYTES + ARP_BYTES, "an ARP packet fits");
static_assert(MMDS_FRAME_BYTES == ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES +
	      TCP_MSS_MAX, "a full segment fits");

int mmds_stack_new(struct mmds *mmds, struct mmds_stack **ret_stack)
{
	struct mmds_stack *stack = calloc(1, sizeof(*stack));

	if (stack == NULL)
		return -ENOMEM;
	stack->mmds = mmds;
	*ret_stack = stack;
	return 0;
}

void mmds_stack_free(struct mmds_stack *stack)
{
	if (stack == NULL)
		return;
	mmds_stack_reset(stack);
	free(stack);
}

static void forget(struct mmds_stack *stack, struct endpoint **slot)
{
	endpoint_free(*slot);
	*slot = NULL;
	metrics_inc(&stack->mmds->counters->connections_destroyed);
}

void mmds_stack_reset(struct mmds_stack *stack)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (stack->endpoints[i] != NULL)
			forget(stack, &stack->endpoints[i]);
	stack->arp_due = false;
	stack->reset_count = 0;
}

bool mmds_stack_wants(const struct mmds_stack *stack, const uint8_t *frame, size_t len)
{
	const uint8_t *payload = frame + ETHERNET_HEADER_BYTES, *target;

	if (len < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES)
		return false;
	if (ethernet_type(frame) == ETHERNET_TYPE_IPV4)
		target = payload + IPV4_DESTINATION_OFFSET;
	else if (ethernet_type(frame) == ETHERNET_TYPE_ARP && len >= MMDS_HEAD_BYTES)
		target = payload + ARP_TARGET_IP_OFFSET;
	else
		return false;
	return memcmp(target, stack->mmds->address, sizeof(stack->mmds->address)) == 0;
}

/* Receiving */

static void receive_arp(struct mmds_stack *stack, const uint8_t *data, size_t len)
{
	struct arp_packet packet;

	if (arp_read_request(data, len, &packet) < 0)
		return;
	memcpy(stack->guest_mac, packet.sender_mac, sizeof(stack->guest_mac));
	memcpy(stack->arp_ip, packet.sender_ip, sizeof(stack->arp_ip));
	stack->arp_due = true;
}

/* One too many is not sent: whoever waits for it will ask again. */
static void queue_reset(struct mmds_stack *stack, const uint8_t *ip, uint16_t from_port,
			uint16_t to_port, const struct tcp_segment *segment)
{
	struct reset *reset;

	if (stack->reset_count == RESETS_MAX)
		return;
	reset = &stack->resets[(stack->reset_first + stack->reset_count++) % RESETS_MAX];
	memcpy(reset->ip, ip, sizeof(reset->ip));
	reset->segment = *segment;
	reset->segment.source_port = from_port;
	reset->segment.destination_port = to_port;
}

static void refuse(struct mmds_stack *stack, const struct ipv4_packet *packet,
		   const struct tcp_segment *segment)
{
	struct tcp_segment reset;

	if (segment->flags & TCP_RST)
		return;
	tcp_make_refusal(segment, &reset);
	queue_reset(stack, packet->source, segment->destination_port, segment->source_port, &reset);
}

static void give_up(struct mmds_stack *stack, struct endpoint **slot)
{
	const struct endpoint *endpoint = *slot;
	struct tcp_segment reset;

	tcp_make_reset(&endpoint->tcp, &reset);
	queue_reset(stack, endpoint->ip, PORT, endpoint->port, &reset);
	forget(stack, slot);
}

static struct endpoint **find_endpoint(struct mmds_stack *stack, const uint8_t *ip, uint16_t port)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		const struct endpoint *endpoint = stack->endpoints[i];

		if (endpoint != NULL && endpoint->port == port &&
		    memcmp(endpoint->ip, ip, sizeof(endpoint->ip)) == 0)
			return &stack->endpoints[i];
	}
	return NULL;
}

/* A free slot, or that of the connection that was silent longest, if that is long enough. */
static struct endpoint **find_slot(struct mmds_stack *stack, uint64_t now_ns)
{
	struct endpoint **oldest = &stack->endpoints[0];

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (stack->endpoints[i] == NULL)
			return &stack->endpoints[i];
		if (stack->endpoints[i]->heard_ns < (*oldest)->heard_ns)
			oldest = &stack->endpoints[i];
	}
	return (*oldest)->heard_ns + IDLE_NS <= now_ns ? oldest : NULL;
}

/* RFC 9293, 3.4.1: nobody can guess it. */
static int make_iss(uint32_t *ret_iss)
{
	return getrandom(ret_iss, sizeof(*ret_iss), 0) == sizeof(*ret_iss) ? 0 : -EIO;
}

static void open_connection(struct mmds_stack *stack, const struct ipv4_packet *packet,
			    const struct tcp_segment *syn, uint64_t now_ns)
{
	struct endpoint **slot = find_slot(stack, now_ns);
	struct endpoint *endpoint;
	uint32_t iss;

	if (slot == NULL) {
		refuse(stack, packet, syn);
		return;
	}
	if (make_iss(&iss) < 0 || endpoint_new(syn, iss, now_ns, &endpoint) < 0)
		return;
	memcpy(endpoint->ip, packet->source, sizeof(endpoint->ip));
	if (*slot != NULL)
		give_up(stack, slot);
	*slot = endpoint;
	metrics_inc(&stack->mmds->counters->connections_created);
}

static void receive_on(struct mmds_stack *stack, struct endpoint **slot,
		       const struct ipv4_packet *packet, const struct tcp_segment *segment,
		       uint64_t now_ns)
{
	switch (endpoint_receive(*slot, stack->mmds, segment, now_ns)) {
	case ENDPOINT_GOES_ON:
		break;
	case ENDPOINT_RESET:
		give_up(stack, slot);
		break;
	case ENDPOINT_REFUSED:
		refuse(stack, packet, segment);
		forget(stack, slot);
		break;
	case ENDPOINT_GONE:
		forget(stack, slot);
		break;
	}
}

static void receive_tcp(struct mmds_stack *stack, const struct ipv4_packet *packet,
			uint64_t now_ns)
{
	struct metrics_mmds *counters = stack->mmds->counters;
	struct tcp_segment segment;
	struct endpoint **slot;

	if (tcp_read(packet->payload, packet->payload_len, &segment) < 0) {
		metrics_inc(&counters->rx_accepted_err);
		return;
	}
	if (segment.destination_port != PORT) {
		metrics_inc(&counters->rx_accepted_err);
		refuse(stack, packet, &segment);
		return;
	}
	metrics_inc(&counters->rx_count);
	slot = find_endpoint(stack, packet->source, segment.source_port);
	if (slot != NULL)
		receive_on(stack, slot, packet, &segment, now_ns);
	else if ((segment.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		open_connection(stack, packet, &segment, now_ns);
	else
		refuse(stack, packet, &segment);
}

static void receive_ipv4(struct mmds_stack *stack, const uint8_t *frame, size_t len,
			 uint64_t now_ns)
{
	struct ipv4_packet packet;

	if (ipv4_read(frame + ETHERNET_HEADER_BYTES, len - ETHERNET_HEADER_BYTES, &packet) < 0)
		return;
	if (packet.is_fragment || packet.protocol != IPV4_PROTOCOL_TCP) {
		metrics_inc(&stack->mmds->counters->rx_accepted_unusual);
		return;
	}
	memcpy(stack->guest_mac, ethernet_source(frame), sizeof(stack->guest_mac));
	receive_tcp(stack, &packet, now_ns);
}

void mmds_stack_receive(struct mmds_stack *stack, const uint8_t *frame, size_t len,
			uint64_t now_ns)
{
	struct metrics_mmds *counters = stack->mmds->counters;

	metrics_inc(&counters->rx_accepted);
	if (len < ETHERNET_HEADER_BYTES)
		metrics_inc(&counters->rx_bad_eth);
	else if (!mmds_stack_wants(stack, frame, len))
		return;		/* the guest changed it since */
	else if (ethernet_type(frame) == ETHERNET_TYPE_ARP)
		receive_arp(stack, frame + ETHERNET_HEADER_BYTES, len - ETHERNET_HEADER_BYTES);
	else
		receive_ipv4(stack, frame, len, now_ns);
}

/* Sending */

static size_t send_arp(struct mmds_stack *stack, uint8_t *frame)
{
	struct arp_packet packet;

	memcpy(packet.sender_mac, own_mac, sizeof(packet.sender_mac));
	memcpy(packet.sender_ip, stack->mmds->address, sizeof(packet.sender_ip));
	memcpy(packet.target_mac, stack->guest_mac, sizeof(packet.target_mac));
	memcpy(packet.target_ip, stack->arp_ip, sizeof(packet.target_ip));
	ethernet_write(frame, stack->guest_mac, own_mac, ETHERNET_TYPE_ARP);
	arp_write_reply(frame + ETHERNET_HEADER_BYTES, &packet);
	stack->arp_due = false;
	return ETHERNET_HEADER_BYTES + ARP_BYTES;
}

/* Where the payload of a segment begins; only SYN has an option, and no payload. */
static uint8_t *tcp_payload(uint8_t *frame)
{
	return frame + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES;
}

/* Put the headers in front of the payload. Return: the frame's length. */
static size_t finish_frame(const struct mmds_stack *stack, uint8_t *frame, const uint8_t *ip,
			   const struct tcp_segment *segment)
{
	uint8_t *header = frame + ETHERNET_HEADER_BYTES, *tcp = header + IPV4_HEADER_BYTES;
	struct ipv4_packet packet = { .protocol = IPV4_PROTOCOL_TCP, .payload = tcp };

	packet.payload_len = tcp_write_header(tcp, segment) + segment->payload_len;
	memcpy(packet.source, stack->mmds->address, sizeof(packet.source));
	memcpy(packet.destination, ip, sizeof(packet.destination));
	tcp_set_checksum(tcp, ipv4_payload_checksum(&packet));
	ipv4_write(header, &packet);
	ethernet_write(frame, stack->guest_mac, own_mac, ETHERNET_TYPE_IPV4);
	return ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + packet.payload_len;
}

static size_t send_reset(struct mmds_stack *stack, uint8_t *frame)
{
	const struct reset *reset = &stack->resets[stack->reset_first];

	stack->reset_first = (stack->reset_first + 1) % RESETS_MAX;
	stack->reset_count--;
	return finish_frame(stack, frame, reset->ip, &reset->segment);
}

/* Connections take turns. Return: 0: none of them has anything to send. */
static size_t send_segment(struct mmds_stack *stack, uint8_t *frame, uint64_t now_ns)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct endpoint **slot = &stack->endpoints[stack->turn];
		struct tcp_segment segment;
		int r;

		stack->turn = (stack->turn + 1) % CONNECTIONS_MAX;
		if (*slot == NULL)
			continue;
		r = endpoint_send(*slot, now_ns, &segment, tcp_payload(frame));
		if (r < 0) {
			give_up(stack, slot);
		} else if (r > 0) {
			segment.source_port = PORT;
			segment.destination_port = (*slot)->port;
			return finish_frame(stack, frame, (*slot)->ip, &segment);
		}
	}
	return 0;
}

static size_t send_any(struct mmds_stack *stack, uint8_t *frame, uint64_t now_ns)
{
	size_t len = 0;

	if (stack->arp_due)
		return send_arp(stack, frame);
	if (stack->reset_count == 0)
		len = send_segment(stack, frame, now_ns);
	return len == 0 && stack->reset_count > 0 ? send_reset(stack, frame) : len;
}

size_t mmds_stack_send(struct mmds_stack *stack, uint8_t *frame, uint64_t now_ns)
{
	struct metrics_mmds *counters = stack->mmds->counters;
	size_t len = send_any(stack, frame, now_ns);

	if (len > 0) {
		metrics_inc(&counters->tx_count);
		metrics_inc(&counters->tx_frames);
		metrics_add(&counters->tx_bytes, len);
	}
	return len;
}

uint64_t mmds_stack_due_ns(const struct mmds_stack *stack)
{
	uint64_t due_ns = stack->arp_due || stack->reset_count > 0 ? 0 : UINT64_MAX;

	for (size_t i = 0; i < CONNECTIONS_MAX && due_ns > 0; i++) {
		const struct endpoint *endpoint = stack->endpoints[i];
		uint64_t own_ns = endpoint != NULL ? endpoint_due_ns(endpoint) : UINT64_MAX;

		if (own_ns < due_ns)
			due_ns = own_ns;
	}
	return due_ns;
}
