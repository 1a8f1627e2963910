/* SPDX-License-Identifier: Apache-2.0 */
/* TCP segments (RFC 9293, 3.1). */
#ifndef SQUIB_NET_TCP_H
#define SQUIB_NET_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TCP_HEADER_BYTES     20u
#define TCP_HEADER_BYTES_MAX 24u	/* of what we write: with the MSS option */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

struct tcp_segment {
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t seq;
	uint32_t ack;
	uint8_t flags;		/* TCP_* */
	uint16_t window;
	uint16_t mss;		/* the option; 0: there is none, or it cannot be read */
	const uint8_t *payload;
	size_t payload_len;
};

/** tcp_segment_length() - in sequence numbers: SYN and FIN have one each */
static inline uint32_t tcp_segment_length(const struct tcp_segment *segment)
{
	return (uint32_t)segment->payload_len + ((segment->flags & TCP_SYN) != 0) +
	       ((segment->flags & TCP_FIN) != 0);
}

/**
 * tcp_read() - a segment; the checksum is not looked at
 * @data: the packet's payload, which the segment refers to
 *
 * Return: 0, or -EBADMSG: a header that cannot be.
 */
int tcp_read(const uint8_t *data, size_t len, struct tcp_segment *ret_segment);

/**
 * tcp_write_header() - write the header that goes in front of the payload; its checksum is 0
 *
 * Return: its length, TCP_HEADER_BYTES_MAX at most.
 */
size_t tcp_write_header(uint8_t *data, const struct tcp_segment *segment);

/** tcp_set_checksum() - put it into a header that was written with 0 */
void tcp_set_checksum(uint8_t *data, uint16_t checksum);

#endif
