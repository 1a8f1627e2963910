/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest (device_guest.c) and the host's end of its connections (device_peer.c) agree upon. */
#ifndef SQUIB_BENCH_DEVICE_PEER_H
#define SQUIB_BENCH_DEVICE_PEER_H

#include <stdint.h>

#define PEER_PORT   5001
#define PEER_ADDRESS  "172.16.0.1"
#define GUEST_ADDRESS "172.16.0.2"
#define PEER_CHUNK_BYTES 65536

/* The first on each connection, from the guest. */
struct peer_request {
	char what;
	uint8_t unused[7];
	uint64_t bytes;
};

#define PEER_TAKE 't'	/* bytes are sent; then the peer sends one */
#define PEER_GIVE 'g'	/* the peer sends bytes */
#define PEER_ECHO 'e'	/* the peer sends each byte back */

#endif
