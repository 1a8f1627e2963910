/* SPDX-License-Identifier: Apache-2.0 */
/* IPv4 packets (RFC 791) that are not fragmented. */
#ifndef SQUIB_NET_IPV4_H
#define SQUIB_NET_IPV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPV4_HEADER_BYTES	   20u	/* of what we send, and the least of what we get */
#define IPV4_DESTINATION_OFFSET	   16u
#define IPV4_PROTOCOL_TCP	   6

struct ipv4_packet {
	uint8_t protocol;
	bool is_fragment;
	uint8_t source[4];
	uint8_t destination[4];
	const uint8_t *payload;
	size_t payload_len;
};

/**
 * ipv4_read() - a packet's header
 * @data: the frame's payload; may be longer than the packet, frames are padded. The packet refers
 *	  to it
 *
 * Options are skipped. The header's checksum is not looked at.
 *
 * Return: 0, or -EBADMSG: lengths that cannot be, or another version.
 */
int ipv4_read(const uint8_t *data, size_t len, struct ipv4_packet *ret_packet);

/**
 * ipv4_write() - write a header of IPV4_HEADER_BYTES
 * @packet: all but is_fragment and payload count; payload_len is at most 65515
 */
void ipv4_write(uint8_t *data, const struct ipv4_packet *packet);

/** ipv4_checksum() - of data that begins with a header or follows a pseudo header (RFC 1071) */
uint16_t ipv4_checksum(const uint8_t *data, size_t len);

/** ipv4_payload_checksum() - the same with the pseudo header of @packet in front of its payload */
uint16_t ipv4_payload_checksum(const struct ipv4_packet *packet);

#endif
