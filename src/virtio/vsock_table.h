/* SPDX-License-Identifier: Apache-2.0 */
/* Finds what is known by the two ports of a connection. */
#ifndef SQUIB_VIRTIO_VSOCK_TABLE_H
#define SQUIB_VIRTIO_VSOCK_TABLE_H

#include <stdint.h>

#define VSOCK_TABLE_BUCKETS 512u

struct vsock_ports {
	uint32_t local;		/* the host's */
	uint32_t peer;		/* the guest's */
};

struct vsock_entry {		/* embedded in what is found */
	struct vsock_ports ports;
	struct vsock_entry *next;
};

struct vsock_table {
	uint64_t multiplier;	/* a secret, so that no guest knows what ports fall into one bucket */
	struct vsock_entry *buckets[VSOCK_TABLE_BUCKETS];
};

void vsock_table_init(struct vsock_table *table);
/** vsock_table_add() - no entry has its ports yet */
void vsock_table_add(struct vsock_table *table, struct vsock_entry *entry);
void vsock_table_remove(struct vsock_table *table, struct vsock_entry *entry);	/* it is in there */
struct vsock_entry *vsock_table_find(const struct vsock_table *table, struct vsock_ports ports);

#endif
