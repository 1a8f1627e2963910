/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three rings, all in guest memory (virtio 1.2, 2.7): the descriptor table, which only the driver
 * writes; the available ring, in which the driver lists heads of descriptor chains; and the used
 * ring, in which we list heads that are done. The indexes of both lists count up and wrap at 65536,
 * and their low bits say where in the ring they are, hence sizes are powers of two.
 *
 * Each side tells the other at which index it wants to be notified: we write avail_event behind the
 * used ring, the driver used_event behind the available ring (2.7.7.2, 2.7.10). While requests are
 * being taken avail_event stays behind, so the driver does not kick; only when the queue is empty it
 * is moved, and then the queue is looked at once more, since the driver may have looked at the old
 * value just before.
 *
 * What the guest can write is read once, by an atomic load or a copy with a barrier behind it, so
 * that the compiler cannot read it again after it was checked.
 */
#include "virtio/queue.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DESC_ALIGN  16u
#define AVAIL_ALIGN 2u
#define USED_ALIGN  4u

#define RING_HEAD_BYTES	 4u	/* flags, idx */
#define RING_EVENT_BYTES 2u	/* used_event, avail_event */

/* What a descriptor can name by its 16 bit "next". */
#define INDIRECT_TABLE_MAX 65536u

static_assert(sizeof(struct virtq_desc) == 16 && sizeof(struct virtq_used_elem) == 8,
	      "as in guest memory");

static size_t desc_bytes(uint16_t size)
{
	return size * sizeof(struct virtq_desc);
}

static size_t avail_bytes(uint16_t size)
{
	return RING_HEAD_BYTES + size * sizeof(uint16_t) + RING_EVENT_BYTES;
}

static size_t used_bytes(uint16_t size)
{
	return RING_HEAD_BYTES + size * sizeof(struct virtq_used_elem) + RING_EVENT_BYTES;
}

static uint16_t *avail_flags(const struct vq *vq)
{
	return (uint16_t *)vq->avail;
}

static uint16_t *avail_idx(const struct vq *vq)
{
	return (uint16_t *)(vq->avail + sizeof(uint16_t));
}

static uint16_t *avail_entry(const struct vq *vq, uint16_t index)
{
	return (uint16_t *)(vq->avail + RING_HEAD_BYTES) + (index & (vq->size - 1));
}

static uint16_t *used_event(const struct vq *vq)
{
	return (uint16_t *)(vq->avail + avail_bytes(vq->size) - RING_EVENT_BYTES);
}

static uint16_t *used_idx(const struct vq *vq)
{
	return (uint16_t *)(vq->used + sizeof(uint16_t));
}

static struct virtq_used_elem *used_entry(const struct vq *vq, uint16_t index)
{
	return (struct virtq_used_elem *)(vq->used + RING_HEAD_BYTES) + (index & (vq->size - 1));
}

static uint16_t *avail_event(const struct vq *vq)
{
	return (uint16_t *)(vq->used + used_bytes(vq->size) - RING_EVENT_BYTES);
}

static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

/*
 * A store of the first kind is seen by others before a load of the second kind that follows it is
 * done. (A fence would do too, but ThreadSanitizer does not know fences.)
 */
static void store16_ordered(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, htole16(value), __ATOMIC_SEQ_CST);
}

static uint16_t load16_ordered(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_SEQ_CST));
}

void vq_reset(struct vq *vq)
{
	*vq = (struct vq){ 0 };
}

/* Regions begin at whole pages in the host's memory too, so what is aligned there is so here. */
static int map_ring(const struct guest_mem *mem, gpa_t gpa, size_t len, unsigned int align,
		    uint8_t **ret_ring)
{
	void *data;
	int r;

	if (gpa % align != 0)
		return -EINVAL;
	r = guest_mem_slice(mem, gpa, len, &data);
	if (r == 0)
		*ret_ring = data;
	return r;
}

static bool has_feature(uint64_t features, unsigned int bit)
{
	return (features >> bit & 1) != 0;
}

static int enable(struct vq *vq, const struct guest_mem *mem, uint64_t features,
		  unsigned int size_max)
{
	uint8_t *desc = NULL, *avail = NULL, *used = NULL;
	int r;

	if (vq->size == 0 || vq->size > size_max || (vq->size & (vq->size - 1)) != 0)
		return -EINVAL;
	r = map_ring(mem, vq->desc_gpa, desc_bytes(vq->size), DESC_ALIGN, &desc);
	if (r == 0)
		r = map_ring(mem, vq->avail_gpa, avail_bytes(vq->size), AVAIL_ALIGN, &avail);
	if (r == 0)
		r = map_ring(mem, vq->used_gpa, used_bytes(vq->size), USED_ALIGN, &used);
	if (r < 0)
		return r;
	vq->mem = mem;
	vq->desc = desc;
	vq->avail = avail;
	vq->used = used;
	vq->event_idx = has_feature(features, VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = has_feature(features, VIRTIO_RING_F_INDIRECT_DESC);
	vq->next_avail = vq->avail_seen = vq->next_used = vq->signalled = 0;
	vq->broken = false;
	vq->enabled = true;
	return 0;
}

int vq_enable(struct vq *vq, const struct guest_mem *mem, uint64_t features)
{
	return enable(vq, mem, features, VQ_SIZE_MAX);
}

int vq_enable_at(struct vq *vq, const struct guest_mem *mem, uint64_t features,
		 uint16_t next_avail)
{
	int r = enable(vq, mem, features, VQ_SIZE_QEMU_MAX);
	uint16_t used;

	if (r < 0)
		return r;
	used = load16(used_idx(vq));
	vq->next_avail = vq->avail_seen = next_avail;
	vq->next_used = (uint16_t)(next_avail - used) <= vq->size ? used : next_avail;
	vq->signalled = vq->next_used;
	return 0;
}

static int break_queue(struct vq *vq)
{
	vq->broken = true;
	return -EPROTO;
}

/* 1: there is something; 0: nothing; -EPROTO. */
static int look(struct vq *vq)
{
	/*
	 * Acquire: the index is read before the entry and the descriptors that the driver wrote ahead
	 * of it. And sequentially consistent, for look_and_ask_for_kicks().
	 */
	uint16_t idx = load16_ordered(avail_idx(vq));

	if ((uint16_t)(idx - vq->next_avail) > vq->size)
		return -EPROTO;
	vq->avail_seen = idx;
	return idx != vq->next_avail;
}

static void mark_used_ring(const struct vq *vq)
{
	guest_mem_mark_dirty(vq->mem, vq->used, used_bytes(vq->size));
}

static int look_and_ask_for_kicks(struct vq *vq)
{
	int r = look(vq);

	if (r != 0 || !vq->event_idx)
		return r;
	/*
	 * Our store of avail_event comes before our load of the available index; the driver has the
	 * like between its store of the index and its load of avail_event. So one of us sees the
	 * other's, and a request that we do not see is kicked for.
	 */
	store16_ordered(avail_event(vq), vq->next_avail);
	mark_used_ring(vq);
	return look(vq);
}

static struct virtq_desc copy_desc(const uint8_t *table, uint32_t index)
{
	struct virtq_desc desc;

	memcpy(&desc, table + index * sizeof(desc), sizeof(desc));
	__asm__ volatile("" ::: "memory");	/* no second look at guest memory instead of the copy */
	desc.addr = le64toh(desc.addr);
	desc.len = le32toh(desc.len);
	desc.flags = le16toh(desc.flags);
	desc.next = le16toh(desc.next);
	return desc;
}

static int add_segment(const struct vq *vq, struct vq_chain *chain, const struct virtq_desc *desc)
{
	unsigned int count = chain->readable_count + chain->writable_count;
	bool writable = (desc->flags & VIRTQ_DESC_F_WRITE) != 0;
	uint32_t total;
	void *data;

	if (count == VQ_SIZE_MAX || (!writable && chain->writable_count > 0))
		return -EPROTO;
	if (__builtin_add_overflow(chain->readable_bytes + chain->writable_bytes, desc->len,
				   &total) ||
	    guest_mem_slice(vq->mem, desc->addr, desc->len, &data) < 0)
		return -EPROTO;
	chain->segments[count] = (struct iovec){ .iov_base = data, .iov_len = desc->len };
	if (writable) {
		chain->writable_count++;
		chain->writable_bytes += desc->len;
	} else {
		chain->readable_count++;
		chain->readable_bytes += desc->len;
	}
	return 0;
}

/*
 * Every step adds a segment and there is room for so many only, so that loops end. @steps_max is less
 * where the ring is smaller than that.
 */
static int walk(const struct vq *vq, const uint8_t *table, uint32_t table_size, uint32_t index,
		unsigned int steps_max, struct vq_chain *chain, struct virtq_desc *ret_indirect)
{
	for (unsigned int steps = 0;; steps++) {
		struct virtq_desc desc;
		int r;

		if (index >= table_size || steps == steps_max)
			return -EPROTO;
		desc = copy_desc(table, index);
		if ((desc.flags & VIRTQ_DESC_F_INDIRECT) != 0) {
			*ret_indirect = desc;
			return 1;
		}
		r = add_segment(vq, chain, &desc);
		if (r < 0)
			return r;
		if ((desc.flags & VIRTQ_DESC_F_NEXT) == 0)
			return 0;
		index = desc.next;
	}
}

/* The write flag of the descriptor that names the table means nothing (2.7.5.3.2). */
static int walk_indirect(const struct vq *vq, const struct virtq_desc *indirect,
			 struct vq_chain *chain)
{
	uint32_t size = indirect->len / sizeof(struct virtq_desc);
	struct virtq_desc nested;
	void *table;

	if (!vq->indirect || (indirect->flags & VIRTQ_DESC_F_NEXT) != 0)
		return -EPROTO;
	if (indirect->len % sizeof(struct virtq_desc) != 0 || size > INDIRECT_TABLE_MAX ||
	    guest_mem_slice(vq->mem, indirect->addr, indirect->len, &table) < 0)
		return -EPROTO;
	/* A table in a table is none (2.7.5.3.1). */
	return walk(vq, table, size, 0, VQ_SIZE_MAX, chain, &nested) == 0 ? 0 : -EPROTO;
}

int vq_pop(struct vq *vq, struct vq_chain *chain)
{
	struct virtq_desc indirect;
	int r;

	assert(vq->enabled);
	if (vq->broken)
		return -EPROTO;
	r = vq_waiting(vq) > 0 ? 1 : look_and_ask_for_kicks(vq);
	if (r <= 0)
		return r < 0 ? break_queue(vq) : 0;
	chain->head = load16(avail_entry(vq, vq->next_avail));
	chain->readable_count = chain->writable_count = 0;
	chain->readable_bytes = chain->writable_bytes = 0;
	r = walk(vq, vq->desc, vq->size, chain->head, vq->size, chain, &indirect);
	if (r > 0)
		r = walk_indirect(vq, &indirect, chain);
	if (r < 0)
		return break_queue(vq);
	vq->next_avail++;
	return 1;
}

void vq_unpop_many(struct vq *vq, uint16_t count)
{
	vq->next_avail = (uint16_t)(vq->next_avail - count);
}

void vq_unpop(struct vq *vq)
{
	vq_unpop_many(vq, 1);
}

void vq_add_used(struct vq *vq, uint16_t head, const struct iovec *writable, size_t count,
		 uint32_t written)
{
	struct virtq_used_elem *elem = used_entry(vq, vq->next_used);

	for (size_t i = 0; i < count; i++)
		guest_mem_mark_dirty(vq->mem, writable[i].iov_base, writable[i].iov_len);
	__atomic_store_n(&elem->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, htole32(written), __ATOMIC_RELAXED);
	vq->next_used++;
}

void vq_publish_used(struct vq *vq)
{
	/*
	 * Release: what was written to the buffers and the entries is there before the index that
	 * tells the driver to look at them. And sequentially consistent, for vq_interrupt_wanted().
	 */
	store16_ordered(used_idx(vq), vq->next_used);
	mark_used_ring(vq);
}

void vq_push(struct vq *vq, const struct vq_chain *chain, uint32_t written)
{
	vq_add_used(vq, chain->head, vq_chain_writable(chain), chain->writable_count, written);
	vq_publish_used(vq);
}

bool vq_interrupt_wanted(struct vq *vq)
{
	uint16_t pushed = (uint16_t)(vq->next_used - vq->signalled), since;

	if (pushed == 0)
		return false;
	vq->signalled = vq->next_used;
	/*
	 * Our store of the used index came before our load of what the driver wants; the driver has
	 * the like between its store of used_event, or the flags, and its load of the index. So one of
	 * us sees the other's: it sees the entry, or we the wish.
	 */
	if (!vq->event_idx)
		return (load16_ordered(avail_flags(vq)) & VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
	/* Was the entry at used_event among those pushed? All modulo 65536. */
	since = (uint16_t)(vq->next_used - load16_ordered(used_event(vq)));
	return since != 0 && since <= pushed;
}

size_t vq_segments_slice(const struct iovec *segments, size_t count, uint64_t offset, uint64_t len,
			 struct iovec *slice)
{
	size_t used = 0;

	for (size_t i = 0; i < count && len > 0; i++) {
		uint64_t rest;

		if (offset >= segments[i].iov_len) {
			offset -= segments[i].iov_len;
			continue;
		}
		rest = segments[i].iov_len - offset;
		if (rest > len)
			rest = len;
		slice[used].iov_base = (uint8_t *)segments[i].iov_base + offset;
		slice[used++].iov_len = rest;
		len -= rest;
		offset = 0;
	}
	return used;
}

size_t vq_segments_read(const struct iovec *segments, size_t count, uint64_t offset, void *data,
			size_t len)
{
	size_t done = 0;

	for (size_t i = 0; i < count && done < len; i++) {
		struct iovec part;

		if (vq_segments_slice(&segments[i], 1, offset, len - done, &part) == 0) {
			offset -= segments[i].iov_len;
			continue;
		}
		memcpy((uint8_t *)data + done, part.iov_base, part.iov_len);
		done += part.iov_len;
		offset = 0;
	}
	return done;
}

size_t vq_segments_write(const struct iovec *segments, size_t count, uint64_t offset,
			 const void *data, size_t len)
{
	size_t done = 0;

	for (size_t i = 0; i < count && done < len; i++) {
		struct iovec part;

		if (vq_segments_slice(&segments[i], 1, offset, len - done, &part) == 0) {
			offset -= segments[i].iov_len;
			continue;
		}
		memcpy(part.iov_base, (const uint8_t *)data + done, part.iov_len);
		done += part.iov_len;
		offset = 0;
	}
	return done;
}

size_t vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *data, size_t len)
{
	return vq_segments_read(vq_chain_readable(chain), chain->readable_count, offset, data, len);
}

size_t vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *data, size_t len)
{
	return vq_segments_write(vq_chain_writable(chain), chain->writable_count, offset, data, len);
}
