/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tcp.h"

#include <errno.h>
#include <string.h>

#include "net/wire.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2 };

#define OPTION_MSS_BYTES 4

static uint16_t read_mss(const uint8_t *options, size_t len)
{
	while (len > 0 && options[0] != OPTION_END) {
		size_t size = 1;

		if (options[0] != OPTION_NOP) {
			if (len < 2 || options[1] < 2 || options[1] > len)
				return 0;
			size = options[1];
			if (options[0] == OPTION_MSS && size == OPTION_MSS_BYTES)
				return wire_get16(options + 2);
		}
		options += size;
		len -= size;
	}
	return 0;
}

int tcp_read(const uint8_t *data, size_t len, struct tcp_segment *ret_segment)
{
	size_t header_len;

	if (len < TCP_HEADER_BYTES)
		return -EBADMSG;
	header_len = (size_t)(data[12] >> 4) * 4;
	if (header_len < TCP_HEADER_BYTES || header_len > len)
		return -EBADMSG;
	*ret_segment = (struct tcp_segment){
		.source_port = wire_get16(data),
		.destination_port = wire_get16(data + 2),
		.seq = wire_get32(data + 4),
		.ack = wire_get32(data + 8),
		.flags = data[13] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK),
		.window = wire_get16(data + 14),
		.mss = read_mss(data + TCP_HEADER_BYTES, header_len - TCP_HEADER_BYTES),
		.payload = data + header_len,
		.payload_len = len - header_len,
	};
	return 0;
}

size_t tcp_write_header(uint8_t *data, const struct tcp_segment *segment)
{
	size_t header_len = TCP_HEADER_BYTES + (segment->mss != 0 ? OPTION_MSS_BYTES : 0);

	memset(data, 0, header_len);
	wire_put16(data, segment->source_port);
	wire_put16(data + 2, segment->destination_port);
	wire_put32(data + 4, segment->seq);
	wire_put32(data + 8, segment->ack);
	data[12] = (uint8_t)(header_len / 4 << 4);
	data[13] = segment->flags;
	wire_put16(data + 14, segment->window);
	if (segment->mss != 0) {
		data[TCP_HEADER_BYTES] = OPTION_MSS;
		data[TCP_HEADER_BYTES + 1] = OPTION_MSS_BYTES;
		wire_put16(data + TCP_HEADER_BYTES + 2, segment->mss);
	}
	return header_len;
}

void tcp_set_checksum(uint8_t *data, uint16_t checksum)
{
	wire_put16(data + 16, checksum);
}
