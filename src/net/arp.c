/* SPDX-License-Identifier: Apache-2.0 */
#include "net/arp.h"

#include <errno.h>
#include <string.h>

#include "net/ethernet.h"
#include "net/wire.h"

enum { OPERATION_REQUEST = 1, OPERATION_REPLY = 2 };

/* Hardware: Ethernet, 6 bytes; protocol: IPv4, 4 bytes. */
static const uint8_t address_kinds[] = { 0x00, 0x01, 0x08, 0x00, 6, 4 };

int arp_read_request(const uint8_t *data, size_t len, struct arp_packet *ret_packet)
{
	if (len < ARP_BYTES || memcmp(data, address_kinds, sizeof(address_kinds)) != 0 ||
	    wire_get16(data + 6) != OPERATION_REQUEST)
		return -EBADMSG;
	memcpy(ret_packet->sender_mac, data + 8, 6);
	memcpy(ret_packet->sender_ip, data + 14, 4);
	memcpy(ret_packet->target_mac, data + 18, 6);
	memcpy(ret_packet->target_ip, data + ARP_TARGET_IP_OFFSET, 4);
	return 0;
}

void arp_write_reply(uint8_t *data, const struct arp_packet *packet)
{
	memcpy(data, address_kinds, sizeof(address_kinds));
	wire_put16(data + 6, OPERATION_REPLY);
	memcpy(data + 8, packet->sender_mac, 6);
	memcpy(data + 14, packet->sender_ip, 4);
	memcpy(data + 18, packet->target_mac, 6);
	memcpy(data + ARP_TARGET_IP_OFFSET, packet->target_ip, 4);
}
