/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile driver gives network and vsock devices to send. */
#ifndef HOSTILE_PACKETS_H
#define HOSTILE_PACKETS_H

#include "machine.h"

#define PACKET_MAX	0x1000u

/**
 * packet_frame() - a struct virtio_net_hdr_v1 and a frame at @to, where PACKET_MAX bytes are
 *
 * Mostly sound enough to get somewhere: to the metadata service by ARP, TCP over IPv4, or something
 * like these. Return: their length.
 */
uint32_t packet_frame(uint8_t *to, struct rng *rng);

/** packet_vsock() - the same for a vsock device whose guest is @cid: a header, and data perhaps */
uint32_t packet_vsock(uint8_t *to, uint64_t cid, struct rng *rng);

#endif
