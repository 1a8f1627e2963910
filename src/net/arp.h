/* SPDX-License-Identifier: Apache-2.0 */
/* ARP for IPv4 over Ethernet (RFC 826). */
#ifndef SQUIB_NET_ARP_H
#define SQUIB_NET_ARP_H

#include <stddef.h>
#include <stdint.h>

#define ARP_BYTES	     28u
#define ARP_TARGET_IP_OFFSET 24u

struct arp_packet {
	uint8_t sender_mac[6];
	uint8_t sender_ip[4];
	uint8_t target_mac[6];
	uint8_t target_ip[4];
};

/**
 * arp_read_request() - an ARP packet that asks for an address
 * @data: the frame's payload; may be longer, frames are padded
 *
 * Return: 0, or -EBADMSG: it is something else.
 */
int arp_read_request(const uint8_t *data, size_t len, struct arp_packet *ret_packet);

/** arp_write_reply() - write ARP_BYTES */
void arp_write_reply(uint8_t *data, const struct arp_packet *packet);

#endif
