/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lengths, checksums and addresses are right until one of them is spoiled, so that packets get past
 * the first look at them. Numbers that connections are known by come from small sets: then later
 * packets belong to connections that earlier ones have opened.
 */
#include "packets.h"

#define NET_HEADER_BYTES   12u
#define ETHERNET_BYTES	   14u
#define ARP_BYTES	   28u
#define IPV4_BYTES	   20u
#define TCP_BYTES	   20u
#define VSOCK_HEADER_BYTES 44u

#define IPV4_FRAGMENT	   6u	/* offsets in the header */
#define IPV4_CHECKSUM	   10u
#define TCP_CHECKSUM	   16u
#define TCP_OPTIONS_MAX	   40u

#define ETHERTYPE_IPV4	0x0800u
#define ETHERTYPE_ARP	0x0806u
#define PROTOCOL_TCP	6u

#define METADATA_IP	0xa9fea9feu	/* 169.254.169.254 */
#define GUEST_IP	0xa9fe0001u

#define TCP_FIN 0x01u
#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define TCP_PSH 0x08u
#define TCP_ACK 0x10u

#define CID_HOST 2u

static uint64_t pick(struct rng *rng, const uint64_t *from, size_t count)
{
	return from[rng_below(rng, (uint32_t)count)];
}

#define PICK(rng, array) pick(rng, array, sizeof(array) / sizeof((array)[0]))

static void put_le(uint8_t *to, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

static void put_be(uint8_t *to, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static void put_random(uint8_t *to, uint32_t len, struct rng *rng)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = (uint8_t)rng_next(rng);
}

static uint32_t some_u32(struct rng *rng)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 1000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff,
	};

	return rng_one_in(rng, 4) ? (uint32_t)rng_next(rng) : (uint32_t)PICK(rng, numbers);
}

/* Data of a length that is mostly small; what is there already will do for the long ones. */
static uint32_t put_data(uint8_t *to, uint32_t room, struct rng *rng)
{
	static const char request[] = "GET /latest/meta-data/ HTTP/1.1\r\nAccept: */*\r\n\r\n";
	uint32_t len = rng_below(rng, rng_one_in(rng, 8) ? room : 64);

	switch (rng_below(rng, 4)) {
	case 0:
		return 0;
	case 1:
		put_random(to, len, rng);
		return len;
	case 2:
		return len;
	default:
		memcpy(to, request, sizeof(request) - 1);
		return sizeof(request) - 1 - (rng_one_in(rng, 2) ? rng_below(rng, 16) : 0);
	}
}

/* Network */

static void put_net_header(uint8_t *to, struct rng *rng)
{
	static const uint64_t types[] = { 0, 1, 3, 4, 5, 0x80, 0x81, 0xff };

	memset(to, 0, NET_HEADER_BYTES);
	if (rng_one_in(rng, 2))
		return;
	to[0] = (uint8_t)rng_below(rng, 8);			/* flags */
	to[1] = (uint8_t)PICK(rng, types);			/* gso_type */
	put_le(to + 2, some_u32(rng), 2);			/* hdr_len */
	put_le(to + 4, some_u32(rng), 2);			/* gso_size */
	put_le(to + 6, some_u32(rng), 2);			/* csum_start */
	put_le(to + 8, some_u32(rng), 2);			/* csum_offset */
	put_le(to + 10, some_u32(rng), 2);			/* num_buffers */
}

static void put_mac(uint8_t *to, struct rng *rng)
{
	static const uint64_t macs[] = {
		0xffffffffffff, 0, 0x060123456701, 0x060000000001, 0x01005e000001,
	};

	put_be(to, rng_one_in(rng, 8) ? rng_next(rng) : PICK(rng, macs), 6);
}

static uint32_t some_ip(struct rng *rng)
{
	static const uint64_t addresses[] = {
		METADATA_IP, METADATA_IP, METADATA_IP, METADATA_IP, GUEST_IP, GUEST_IP, 0, 0xffffffff,
		0x7f000001, 0xe0000001,
	};

	return rng_one_in(rng, 16) ? (uint32_t)rng_next(rng) : (uint32_t)PICK(rng, addresses);
}

static uint32_t put_arp(uint8_t *to, struct rng *rng)
{
	put_be(to, 1, 2);
	put_be(to + 2, ETHERTYPE_IPV4, 2);
	to[4] = 6;
	to[5] = 4;
	put_be(to + 6, 1 + rng_below(rng, 3), 2);
	put_mac(to + 8, rng);
	put_be(to + 14, some_ip(rng), 4);
	put_mac(to + 18, rng);
	put_be(to + 24, some_ip(rng), 4);
	return ARP_BYTES;
}

/* RFC 1071, of what is at @data; folded, not complemented */
static uint32_t sum_words(uint32_t sum, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t put_tcp(uint8_t *to, uint32_t room, struct rng *rng)
{
	static const uint64_t flags[] = {
		TCP_SYN, TCP_SYN, TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN, TCP_RST,
		TCP_RST | TCP_ACK, TCP_SYN | TCP_ACK, TCP_SYN | TCP_FIN, 0, 0xff,
	};
	uint32_t header = TCP_BYTES;

	put_be(to, 1024 + rng_below(rng, 4), 2);
	put_be(to + 2, rng_one_in(rng, 8) ? rng_next(rng) : 80, 2);
	put_be(to + 4, some_u32(rng), 4);
	put_be(to + 8, some_u32(rng), 4);
	if (rng_one_in(rng, 2)) {
		uint32_t options = 4 * rng_below(rng, TCP_OPTIONS_MAX / 4 + 1);

		put_random(to + header, options, rng);
		if (options > 0)
			to[header] = (uint8_t)rng_below(rng, 5);
		header += options;
	}
	to[12] = (uint8_t)((rng_one_in(rng, 16) ? rng_below(rng, 16) : header / 4) << 4);
	to[13] = (uint8_t)PICK(rng, flags);
	put_be(to + 14, some_u32(rng), 2);
	put_be(to + TCP_CHECKSUM, 0, 2);
	put_be(to + 18, 0, 2);
	return header + put_data(to + header, room - header, rng);
}

static void set_tcp_checksum(uint8_t *ip, uint32_t len)
{
	uint32_t sum = sum_words(PROTOCOL_TCP + len, ip + 12, 8);	/* both addresses */

	put_be(ip + IPV4_BYTES + TCP_CHECKSUM, ~sum_words(sum, ip + IPV4_BYTES, len), 2);
}

static uint32_t put_ipv4(uint8_t *to, uint32_t room, struct rng *rng)
{
	uint32_t payload = put_tcp(to + IPV4_BYTES, room - IPV4_BYTES, rng);
	uint32_t len = IPV4_BYTES + payload;

	memset(to, 0, IPV4_BYTES);
	to[0] = 0x45;
	put_be(to + 2, len, 2);
	to[8] = 64;
	to[9] = PROTOCOL_TCP;
	put_be(to + 12, GUEST_IP, 4);
	put_be(to + 16, rng_one_in(rng, 16) ? some_ip(rng) : METADATA_IP, 4);
	switch (rng_below(rng, 64)) {
	case 0: to[0] = (uint8_t)rng_next(rng); break;
	case 1: put_be(to + 2, some_u32(rng), 2); break;
	case 2: put_be(to + IPV4_FRAGMENT, rng_next(rng), 2); break;
	case 3: to[9] = (uint8_t)rng_next(rng); break;
	}
	put_be(to + IPV4_CHECKSUM, ~sum_words(0, to, IPV4_BYTES), 2);
	set_tcp_checksum(to, payload);
	return len;
}

static void spoil(uint8_t *data, uint32_t len, struct rng *rng)
{
	for (uint32_t n = 1 + rng_below(rng, 3); n > 0; n--)
		data[rng_below(rng, len)] = (uint8_t)rng_next(rng);
}

uint32_t packet_frame(uint8_t *to, struct rng *rng)
{
	static const uint64_t types[] = { 0, 0x0026, 0x0600, 0x8100, 0x86dd, 0xffff };
	uint8_t *frame = to + NET_HEADER_BYTES, *payload = frame + ETHERNET_BYTES;
	uint32_t room = PACKET_MAX - NET_HEADER_BYTES - ETHERNET_BYTES, len;

	put_net_header(to, rng);
	put_mac(frame, rng);
	put_mac(frame + 6, rng);
	switch (rng_below(rng, 8)) {
	case 0:
	case 1:
		put_be(frame + 12, ETHERTYPE_ARP, 2);
		len = put_arp(payload, rng);
		break;
	case 2:
		put_be(frame + 12, PICK(rng, types), 2);
		len = put_data(payload, room, rng);
		break;
	default:
		put_be(frame + 12, ETHERTYPE_IPV4, 2);
		len = put_ipv4(payload, room, rng);
		break;
	}
	len += ETHERNET_BYTES;
	if (rng_one_in(rng, 16))
		spoil(frame, len, rng);
	if (rng_one_in(rng, 16))
		len = rng_below(rng, len);
	return NET_HEADER_BYTES + len;
}

/* vsock */

static uint64_t some_cid(uint64_t right, struct rng *rng)
{
	static const uint64_t cids[] = { 0, 1, 2, 3, 0xffffffff, UINT64_C(1) << 32, UINT64_MAX };

	return rng_one_in(rng, 16) ? PICK(rng, cids) : right;
}

uint32_t packet_vsock(uint8_t *to, uint64_t cid, struct rng *rng)
{
	/* request, response, reset, shutdown, data, credit update, credit request (virtio 1.2, 5.10.6) */
	static const uint64_t ops[] = { 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 0, 8, 0xffff };
	static const uint64_t types[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 0xffff };
	static const uint64_t host_ports[] = { 52, 52, 52, 52, 53, 1024, 0, 0xffffffff };
	uint32_t len = put_data(to + VSOCK_HEADER_BYTES, PACKET_MAX - VSOCK_HEADER_BYTES, rng);

	put_le(to, some_cid(cid, rng), 8);
	put_le(to + 8, some_cid(CID_HOST, rng), 8);
	put_le(to + 16, 1024 + rng_below(rng, 8), 4);
	put_le(to + 20, PICK(rng, host_ports), 4);
	put_le(to + 24, rng_one_in(rng, 8) ? some_u32(rng) : len, 4);
	put_le(to + 28, PICK(rng, types), 2);
	put_le(to + 30, PICK(rng, ops), 2);
	put_le(to + 32, rng_one_in(rng, 4) ? some_u32(rng) : rng_below(rng, 4), 4);
	/* buf_alloc and fwd_cnt: what the device may send, and that is a lie as a rule */
	put_le(to + 36, rng_one_in(rng, 2) ? 0x40000 : some_u32(rng), 4);
	put_le(to + 40, rng_one_in(rng, 2) ? 0 : some_u32(rng), 4);
	return VSOCK_HEADER_BYTES + len;
}
