/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet II frames without tags: destination, source, type, payload. */
#ifndef SQUIB_NET_ETHERNET_H
#define SQUIB_NET_ETHERNET_H

#include <stdint.h>
#include <string.h>

#include "net/wire.h"

#define ETHERNET_HEADER_BYTES  14u
#define ETHERNET_ADDRESS_BYTES 6u
#define ETHERNET_MTU_BYTES     1500u

enum ethernet_type {
	ETHERNET_TYPE_IPV4 = 0x0800,
	ETHERNET_TYPE_ARP  = 0x0806,
};

/* @frame has at least a header. */
static inline const uint8_t *ethernet_source(const uint8_t *frame)
{
	return frame + ETHERNET_ADDRESS_BYTES;
}

static inline uint16_t ethernet_type(const uint8_t *frame)
{
	return wire_get16(frame + 12);
}

static inline void ethernet_write(uint8_t *frame, const uint8_t *destination,
				  const uint8_t *source, enum ethernet_type type)
{
	memcpy(frame, destination, ETHERNET_ADDRESS_BYTES);
	memcpy(frame + 6, source, ETHERNET_ADDRESS_BYTES);
	wire_put16(frame + 12, (uint16_t)type);
}

#endif
