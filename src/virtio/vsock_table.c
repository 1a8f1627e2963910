/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_table.h"

#include <assert.h>
#include <stddef.h>
#include <sys/random.h>

#define BUCKET_BITS 9u

static_assert(1u << BUCKET_BITS == VSOCK_TABLE_BUCKETS, "as many as the hash has values");

void vsock_table_init(struct vsock_table *table)
{
	*table = (struct vsock_table){ .multiplier = UINT64_C(0x9e3779b97f4a7c15) };
	/* A host without entropy yet does not make it wait: the secret is not worth that. */
	if (getrandom(&table->multiplier, sizeof(table->multiplier), GRND_NONBLOCK) < 0)
		return;
	table->multiplier |= 1;
}

static unsigned int bucket_of(const struct vsock_table *table, struct vsock_ports ports)
{
	uint64_t key = ((uint64_t)ports.local << 32 | ports.peer) * table->multiplier;

	return (unsigned int)(key >> (64 - BUCKET_BITS));
}

struct vsock_entry *vsock_table_find(const struct vsock_table *table, struct vsock_ports ports)
{
	struct vsock_entry *entry = table->buckets[bucket_of(table, ports)];

	while (entry != NULL && (entry->ports.local != ports.local || entry->ports.peer != ports.peer))
		entry = entry->next;
	return entry;
}

void vsock_table_add(struct vsock_table *table, struct vsock_entry *entry)
{
	struct vsock_entry **bucket = &table->buckets[bucket_of(table, entry->ports)];

	assert(vsock_table_find(table, entry->ports) == NULL);
	entry->next = *bucket;
	*bucket = entry;
}

void vsock_table_remove(struct vsock_table *table, struct vsock_entry *entry)
{
	struct vsock_entry **slot = &table->buckets[bucket_of(table, entry->ports)];

	while (*slot != entry)
		slot = &(*slot)->next;
	*slot = entry->next;
}
