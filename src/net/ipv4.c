/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ipv4.h"

#include <errno.h>
#include <string.h>

#include "net/wire.h"

#define FLAG_DONT_FRAGMENT 0x4000
#define FLAG_MORE	   0x2000
#define OFFSET_MASK	   0x1fff

/*
 * What we send is not forwarded: the service is for the guest itself, not for those behind it (as
 * with upstream, and with EC2's metadata service).
 */
#define HOPS 1

int ipv4_read(const uint8_t *data, size_t len, struct ipv4_packet *ret_packet)
{
	size_t header_len, total_len;

	if (len < IPV4_HEADER_BYTES || data[0] >> 4 != 4)
		return -EBADMSG;
	header_len = (data[0] & 0x0fu) * 4;
	total_len = wire_get16(data + 2);
	if (header_len < IPV4_HEADER_BYTES || total_len < header_len || total_len > len)
		return -EBADMSG;
	*ret_packet = (struct ipv4_packet){
		.protocol = data[9],
		.is_fragment = (wire_get16(data + 6) & (FLAG_MORE | OFFSET_MASK)) != 0,
		.payload = data + header_len,
		.payload_len = total_len - header_len,
	};
	memcpy(ret_packet->source, data + 12, 4);
	memcpy(ret_packet->destination, data + IPV4_DESTINATION_OFFSET, 4);
	return 0;
}

void ipv4_write(uint8_t *data, const struct ipv4_packet *packet)
{
	memset(data, 0, IPV4_HEADER_BYTES);
	data[0] = 4 << 4 | IPV4_HEADER_BYTES / 4;
	wire_put16(data + 2, (uint16_t)(IPV4_HEADER_BYTES + packet->payload_len));
	wire_put16(data + 6, FLAG_DONT_FRAGMENT);	/* so the identification may be 0 (RFC 6864) */
	data[8] = HOPS;
	data[9] = packet->protocol;
	memcpy(data + 12, packet->source, 4);
	memcpy(data + IPV4_DESTINATION_OFFSET, packet->destination, 4);
	wire_put16(data + 10, ipv4_checksum(data, IPV4_HEADER_BYTES));
}

/* At most 64 KiB are summed up, so 32 bits do not overflow. */
static uint32_t sum_words(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (; len >= 2; data += 2, len -= 2)
		sum += wire_get16(data);
	return len > 0 ? sum + ((uint32_t)data[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

uint16_t ipv4_checksum(const uint8_t *data, size_t len)
{
	return fold(sum_words(data, len));
}

uint16_t ipv4_payload_checksum(const struct ipv4_packet *packet)
{
	return fold(sum_words(packet->source, 4) + sum_words(packet->destination, 4) +
		    packet->protocol + (uint32_t)packet->payload_len +
		    sum_words(packet->payload, packet->payload_len));
}
