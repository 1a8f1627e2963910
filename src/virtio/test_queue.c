/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "virtio/queue.h"

#define MEM_BYTES 0x200000u
#define HIGH	  UINT64_C(0x100000000)	/* the second region, as large */

#define DESC  0x1000u
#define AVAIL 0x3000u
#define USED  0x4000u
#define TABLE 0x6000u	/* indirect tables */
#define DATA  0x100000u

#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

#define NEXT  VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define IND   VIRTQ_DESC_F_INDIRECT

/* The driver's side, that can write anything anywhere. */
struct rings {
	struct guest_mem *mem;
	uint8_t *low;		/* guest memory from 0 */
	struct vq vq;
};

static void *at(const struct rings *rings, gpa_t gpa)
{
	return rings->low + gpa;
}

static void put_desc(const struct rings *rings, gpa_t table, unsigned int index, uint64_t addr,
		     uint32_t len, unsigned int flags, unsigned int next)
{
	struct virtq_desc desc = { htole64(addr), htole32(len), htole16((uint16_t)flags),
				   htole16((uint16_t)next) };

	memcpy((uint8_t *)at(rings, table) + index * sizeof(desc), &desc, sizeof(desc));
}

static uint16_t get16(const struct rings *rings, gpa_t gpa)
{
	return le16toh(__atomic_load_n((uint16_t *)at(rings, gpa), __ATOMIC_ACQUIRE));
}

static void put16(const struct rings *rings, gpa_t gpa, unsigned int value)
{
	__atomic_store_n((uint16_t *)at(rings, gpa), htole16((uint16_t)value), __ATOMIC_RELEASE);
}

/* Make @head available as the @index-th request. */
static void offer(const struct rings *rings, unsigned int index, unsigned int head)
{
	put16(rings, AVAIL + 4 + 2 * (index % rings->vq.size), head);
	put16(rings, AVAIL + 2, index + 1);
}

static gpa_t used_event_gpa(const struct rings *rings)
{
	return AVAIL + 4 + 2u * rings->vq.size;
}

static gpa_t avail_event_gpa(const struct rings *rings)
{
	return USED + 4 + 8u * rings->vq.size;
}

static void place(struct vq *vq, uint16_t size)
{
	vq_reset(vq);
	vq->size = size;
	vq->desc_gpa = DESC;
	vq->avail_gpa = AVAIL;
	vq->used_gpa = USED;
}

static void enable(struct rings *rings, uint16_t size, uint64_t features)
{
	memset(rings->low, 0, DATA);
	place(&rings->vq, size);
	assert_int_equal(vq_enable(&rings->vq, rings->mem, features), 0);
}

static int set_up(void **state)
{
	static const struct guest_region regions[] = { { 0, MEM_BYTES }, { HIGH, MEM_BYTES } };
	struct guest_mem_params params = { .regions = regions, .region_count = 2,
					   .track_dirty = true };
	struct rings *rings = calloc(1, sizeof(*rings));

	if (rings == NULL || guest_mem_new(&params, &rings->mem, NULL) < 0)
		return -1;
	rings->low = guest_mem_region_data(rings->mem, 0);
	*state = rings;
	return 0;
}

static int tear_down(void **state)
{
	struct rings *rings = *state;

	guest_mem_free(rings->mem);
	free(rings);
	return 0;
}

static void rings_are_checked_when_enabled(void **state)
{
	static const struct {
		const char *name;
		unsigned int size;
		gpa_t desc, avail, used;
		int want;
	} cases[] = {
		{ "the smallest size", 1, DESC, AVAIL, USED, 0 },
		{ "the largest size", 256, DESC, AVAIL, USED, 0 },
		{ "no size", 0, DESC, AVAIL, USED, -EINVAL },
		{ "more than the largest", 512, DESC, AVAIL, USED, -EINVAL },
		{ "no power of two", 255, DESC, AVAIL, USED, -EINVAL },
		{ "the largest 16 bit number", 0xffff, DESC, AVAIL, USED, -EINVAL },
		{ "0x8000", 0x8000, DESC, AVAIL, USED, -EINVAL },
		{ "table not aligned to 16", 4, DESC + 8, AVAIL, USED, -EINVAL },
		{ "available ring not aligned to 2", 4, DESC, AVAIL + 1, USED, -EINVAL },
		{ "available ring aligned to 2", 4, DESC, AVAIL + 2, USED, 0 },
		{ "used ring not aligned to 4", 4, DESC, AVAIL, USED + 2, -EINVAL },
		{ "used ring aligned to 4", 4, DESC, AVAIL, USED + 4, 0 },
		{ "table ends with memory", 4, MEM_BYTES - 64, AVAIL, USED, 0 },
		{ "table goes past it", 4, MEM_BYTES - 48, AVAIL, USED, -EFAULT },
		{ "available ring ends with memory", 4, DESC, MEM_BYTES - 14, USED, 0 },
		{ "its used_event is past it", 4, DESC, MEM_BYTES - 12, USED, -EFAULT },
		{ "used ring ends with memory", 1, DESC, AVAIL, MEM_BYTES - 16, 0 },
		{ "used ring goes past it", 2, DESC, AVAIL, MEM_BYTES - 16, -EFAULT },
		{ "in the hole", 4, MEM_BYTES, AVAIL, USED, -EFAULT },
		{ "all in the second region", 4, HIGH, HIGH + 0x1000, HIGH + 0x2000, 0 },
		{ "at the end of addresses", 4, UINT64_MAX - 15, AVAIL, USED, -EFAULT },
		{ "on top of each other", 4, 0, 0, 0, 0 },
	};
	struct rings *rings = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vq vq = { .size = (uint16_t)cases[i].size, .desc_gpa = cases[i].desc,
				 .avail_gpa = cases[i].avail, .used_gpa = cases[i].used };
		int r = vq_enable(&vq, rings->mem, 0);

		if (r != cases[i].want)
			fail_msg("%s: got %d, want %d", cases[i].name, r, cases[i].want);
		assert_true(vq.enabled == (r == 0));
	}
}

/* A chain as the driver puts it, and what becomes of it. Descriptors are the first of the table. */
struct chain_case {
	const char *name;
	int want;		/* 1 or -EPROTO */
	unsigned int head;
	struct { uint64_t addr; uint32_t len; unsigned int flags, next; } desc[5], table[5];
	unsigned int readable, writable;	/* segments when want is 1 */
	bool without_indirect;
	unsigned int table_shift;
};

static const struct chain_case chain_cases[] = {
	{ "one buffer to read", 1, 0, { { DATA, 16, 0, 0 } }, { { 0 } }, 1, 0, false },
	{ "one buffer to write", 1, 0, { { DATA, 1, WRITE, 0 } }, { { 0 } }, 0, 1, false },
	{ "reads, then writes", 1, 0,
	  { { DATA, 16, NEXT, 2 }, { DATA, 8, WRITE, 0 }, { DATA, 8, NEXT, 1 } }, { { 0 } }, 2, 1,
	  false },
	{ "the last descriptor", 1, 3, { { 0 }, { 0 }, { 0 }, { DATA, 1, 0, 9 } }, { { 0 } }, 1, 0,
	  false },
	{ "as long as the ring", 1, 0,
	  { { DATA, 1, NEXT, 1 }, { DATA, 1, NEXT, 2 }, { DATA, 1, NEXT | WRITE, 3 },
	    { DATA, 1, WRITE, 0 } }, { { 0 } }, 2, 2, false },
	{ "a buffer twice", 1, 0, { { DATA, 9, NEXT, 1 }, { DATA, 9, 0, 0 } }, { { 0 } }, 2, 0,
	  false },
	{ "a buffer in the rings", 1, 0, { { DESC, 64, WRITE, 0 } }, { { 0 } }, 0, 1, false },
	{ "a buffer in the second region", 1, 0, { { HIGH, MEM_BYTES, 0, 0 } }, { { 0 } }, 1, 0,
	  false },
	{ "a buffer that ends with memory", 1, 0, { { MEM_BYTES - 1, 1, 0, 0 } }, { { 0 } }, 1, 0,
	  false },
	{ "flags of no meaning", 1, 0, { { DATA, 1, 0xfff8, 0 } }, { { 0 } }, 1, 0, false },

	{ "the head is the size of the ring", -EPROTO, 4, { { 0 } }, { { 0 } }, 0, 0, false },
	{ "the head is the largest", -EPROTO, 0xffff, { { 0 } }, { { 0 } }, 0, 0, false },
	{ "next is the size of the ring", -EPROTO, 0, { { DATA, 1, NEXT, 4 } }, { { 0 } }, 0, 0,
	  false },
	{ "next is the largest", -EPROTO, 0, { { DATA, 1, NEXT, 0xffff } }, { { 0 } }, 0, 0, false },
	{ "a descriptor that is its own next", -EPROTO, 0, { { DATA, 1, NEXT, 0 } }, { { 0 } }, 0, 0,
	  false },
	{ "a loop of two", -EPROTO, 0, { { DATA, 1, NEXT, 1 }, { DATA, 1, NEXT, 0 } }, { { 0 } }, 0,
	  0, false },
	{ "a loop behind a beginning", -EPROTO, 0,
	  { { DATA, 1, NEXT, 1 }, { DATA, 1, NEXT, 2 }, { DATA, 1, NEXT, 1 } }, { { 0 } }, 0, 0,
	  false },
	{ "a read behind a write", -EPROTO, 0, { { DATA, 1, NEXT | WRITE, 1 }, { DATA, 1, 0, 0 } },
	  { { 0 } }, 0, 0, false },
	{ "an empty buffer", -EPROTO, 0, { { DATA, 0, 0, 0 } }, { { 0 } }, 0, 0, false },
	{ "a buffer one byte past memory", -EPROTO, 0, { { MEM_BYTES - 1, 2, 0, 0 } }, { { 0 } }, 0,
	  0, false },
	{ "a buffer in the hole", -EPROTO, 0, { { MEM_BYTES, 1, 0, 0 } }, { { 0 } }, 0, 0, false },
	{ "a buffer whose end wraps", -EPROTO, 0, { { UINT64_MAX, 2, WRITE, 0 } }, { { 0 } }, 0, 0,
	  false },
	{ "the largest buffer", -EPROTO, 0, { { 0, UINT32_MAX, 0, 0 } }, { { 0 } }, 0, 0, false },

	{ "a table with one entry", 1, 0, { { TABLE, 16, IND, 0 } }, { { DATA, 4, 0, 0 } }, 1, 0,
	  false },
	{ "the write flag of a table means nothing", 1, 0, { { TABLE, 16, IND | WRITE, 0 } },
	  { { DATA, 4, 0, 0 } }, 1, 0, false },
	{ "a table not in order", 1, 0, { { TABLE, 48, IND, 0 } },
	  { { DATA, 4, NEXT, 2 }, { DATA, 4, WRITE, 0 }, { DATA, 4, NEXT, 1 } }, 2, 1, false },
	{ "a table longer than the ring", 1, 0, { { TABLE, 80, IND, 0 } },
	  { { DATA, 4, NEXT, 1 }, { DATA, 4, NEXT, 2 }, { DATA, 4, NEXT, 3 }, { DATA, 4, NEXT, 4 },
	    { DATA, 4, 0, 0 } }, 5, 0, false },
	{ "a table behind a descriptor", 1, 0, { { DATA, 3, NEXT, 1 }, { TABLE, 16, IND, 0 } },
	  { { DATA, 4, WRITE, 0 } }, 1, 1, false },
	{ "a table not aligned", 1, 0, { { TABLE + 1, 16, IND, 0 } }, { { DATA, 4, 0, 0 } }, 1, 0,
	  false, 1 },
	{ "entries of the table that are not reached", 1, 0, { { TABLE, 65536 * 16, IND, 0 } },
	  { { DATA, 4, 0, 0 } }, 1, 0, false },
	{ "an empty table", -EPROTO, 0, { { TABLE, 0, IND, 0 } }, { { DATA, 4, 0, 0 } }, 0, 0, false },
	{ "half an entry", -EPROTO, 0, { { TABLE, 8, IND, 0 } }, { { DATA, 4, 0, 0 } }, 0, 0, false },
	{ "an entry and a byte", -EPROTO, 0, { { TABLE, 17, IND, 0 } }, { { DATA, 4, 0, 0 } }, 0, 0,
	  false },
	{ "more entries than can be named", -EPROTO, 0, { { TABLE, 65537 * 16, IND, 0 } },
	  { { DATA, 4, 0, 0 } }, 0, 0, false },
	{ "the largest table", -EPROTO, 0, { { TABLE, 0xfffffff0, IND, 0 } }, { { DATA, 4, 0, 0 } },
	  0, 0, false },
	{ "a table past memory", -EPROTO, 0, { { MEM_BYTES - 16, 32, IND, 0 } }, { { 0 } }, 0, 0,
	  false },
	{ "a table with a next", -EPROTO, 0, { { TABLE, 16, IND | NEXT, 1 }, { DATA, 1, 0, 0 } },
	  { { DATA, 4, 0, 0 } }, 0, 0, false },
	{ "a table in a table", -EPROTO, 0, { { TABLE, 32, IND, 0 } },
	  { { TABLE + 16, 16, IND, 0 }, { DATA, 4, 0, 0 } }, 0, 0, false },
	{ "a next outside of the table", -EPROTO, 0, { { TABLE, 16, IND, 0 } },
	  { { DATA, 4, NEXT, 1 }, { DATA, 4, 0, 0 } }, 0, 0, false },
	{ "a loop in the table", -EPROTO, 0, { { TABLE, 32, IND, 0 } },
	  { { DATA, 4, NEXT, 1 }, { DATA, 4, NEXT, 0 } }, 0, 0, false },
	{ "a write ahead of the table's read", -EPROTO, 0,
	  { { DATA, 3, NEXT | WRITE, 1 }, { TABLE, 16, IND, 0 } }, { { DATA, 4, 0, 0 } }, 0, 0,
	  false },
	{ "a table that was not negotiated", -EPROTO, 0, { { TABLE, 16, IND, 0 } },
	  { { DATA, 4, 0, 0 } }, 0, 0, true },
};

static void put_case(struct rings *rings, const struct chain_case *c)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(c->desc); i++)
		put_desc(rings, DESC, i, c->desc[i].addr, c->desc[i].len, c->desc[i].flags,
			 c->desc[i].next);
	for (unsigned int i = 0; i < ARRAY_SIZE(c->table); i++)
		put_desc(rings, TABLE + c->table_shift, i, c->table[i].addr, c->table[i].len,
			 c->table[i].flags, c->table[i].next);
	offer(rings, 0, c->head);
}

static void chains_are_checked(void **state)
{
	struct rings *rings = *state;

	for (size_t i = 0; i < ARRAY_SIZE(chain_cases); i++) {
		const struct chain_case c = chain_cases[i];
		struct vq_chain chain;
		int r;

		enable(rings, 4, c.without_indirect ? 0 : INDIRECT);
		put_case(rings, &c);
		r = vq_pop(&rings->vq, &chain);
		if (r != c.want)
			fail_msg("%s: got %d, want %d", c.name, r, c.want);
		if (r == 1 && (chain.readable_count != c.readable ||
			       chain.writable_count != c.writable || chain.head != c.head))
			fail_msg("%s: other segments", c.name);
		if (r < 0)	/* until the reset, whatever the driver does */
			assert_int_equal(vq_pop(&rings->vq, &chain), -EPROTO);
		else
			assert_int_equal(vq_pop(&rings->vq, &chain), 0);
	}
}

static void a_chain_has_a_bound_of_segments_and_bytes(void **state)
{
	struct rings *rings = *state;
	struct vq_chain chain;

	/* 256 in an indirect table are as many as there can be */
	enable(rings, 4, INDIRECT);
	put_desc(rings, DESC, 0, TABLE, 257 * 16, IND, 0);
	for (unsigned int i = 0; i < 257; i++)
		put_desc(rings, TABLE, i, DATA, 1, i < 255 ? NEXT : 0, i + 1);
	offer(rings, 0, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.readable_count, 256);
	assert_int_equal(chain.readable_bytes, 256);
	put_desc(rings, TABLE, 255, DATA, 1, NEXT, 256);
	offer(rings, 1, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), -EPROTO);

	/* one more, ahead of the table */
	enable(rings, 4, INDIRECT);
	put_desc(rings, DESC, 0, DATA, 1, NEXT, 1);
	put_desc(rings, DESC, 1, TABLE, 256 * 16, IND, 0);
	for (unsigned int i = 0; i < 256; i++)
		put_desc(rings, TABLE, i, DATA, 1, i < 255 ? NEXT : 0, i + 1);
	offer(rings, 0, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), -EPROTO);
}

static void a_chain_of_4_gib_is_refused(void **state)
{
	static const struct guest_region region = { 0, UINT64_C(1) << 31 };
	struct guest_mem_params params = { .regions = &region, .region_count = 1 };
	CLEANUP(guest_mem_free) struct guest_mem *mem = NULL;
	struct rings rings = { 0 };
	struct vq_chain chain;

	(void)state;
	assert_int_equal(guest_mem_new(&params, &mem, NULL), 0);
	rings.mem = mem;
	rings.low = guest_mem_region_data(mem, 0);
	enable(&rings, 4, 0);
	put_desc(&rings, DESC, 0, 0, 1u << 31, NEXT, 1);
	put_desc(&rings, DESC, 1, 0, (1u << 31) - 1, WRITE, 2);
	offer(&rings, 0, 0);
	assert_int_equal(vq_pop(&rings.vq, &chain), 1);
	put_desc(&rings, DESC, 1, 0, 1u << 31, WRITE, 2);
	offer(&rings, 1, 0);
	assert_int_equal(vq_pop(&rings.vq, &chain), -EPROTO);
}

static void the_available_index_is_at_most_the_ring_ahead(void **state)
{
	static const struct { unsigned int idx; int want; } cases[] = {
		{ 0, 0 }, { 1, 1 }, { 4, 1 }, { 5, -EPROTO }, { 0x8000, -EPROTO },
		{ 0xffff, -EPROTO },	/* it went back */
	};
	struct rings *rings = *state;
	struct vq_chain chain;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enable(rings, 4, EVENT_IDX);
		put_desc(rings, DESC, 0, DATA, 1, 0, 0);
		put16(rings, AVAIL + 2, cases[i].idx);
		assert_int_equal(vq_pop(&rings->vq, &chain), cases[i].want);
	}
}

static void a_queue_goes_on_where_it_stopped(void **state)
{
	static const struct { const char *name; unsigned int at, used, want_used; } cases[] = {
		{ "from the beginning", 0, 0, 0 },
		{ "nothing under way", 7, 7, 7 },
		{ "all of the ring under way", 7, 3, 3 },
		{ "more than that", 7, 2, 7 },
		{ "more done than taken", 7, 8, 7 },
		{ "around the wrap", 1, 0xffff, 0xffff },
		{ "at the wrap", 0xffff, 0xffff, 0xffff },
	};
	struct rings *rings = *state;
	struct vq_chain chain;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint16_t at = (uint16_t)cases[i].at;

		memset(rings->low, 0, DATA);
		place(&rings->vq, 4);
		put16(rings, USED + 2, cases[i].used);
		put_desc(rings, DESC, 1, DATA, 1, 0, 0);
		put16(rings, AVAIL + 4 + 2 * (at & 3), 1);
		put16(rings, AVAIL + 2, (uint16_t)(at + 1));
		assert_int_equal(vq_enable_at(&rings->vq, rings->mem, 0, at), 0);
		if (rings->vq.next_used != cases[i].want_used)
			fail_msg("%s: %u", cases[i].name, rings->vq.next_used);
		assert_false(vq_interrupt_wanted(&rings->vq));
		assert_int_equal(vq_pop(&rings->vq, &chain), 1);
		assert_int_equal(chain.head, 1);
		vq_push(&rings->vq, &chain, 0);
		assert_true(vq_interrupt_wanted(&rings->vq));
		assert_int_equal(get16(rings, USED + 2), (uint16_t)(cases[i].want_used + 1));
	}
	rings->vq.size = 3;
	assert_int_equal(vq_enable_at(&rings->vq, rings->mem, 0, 0), -EINVAL);
}

static void a_large_ring_has_requests_of_the_usual_size(void **state)
{
	struct rings *rings = *state;
	struct vq_chain chain;

	memset(rings->low, 0, DATA);
	place(&rings->vq, 2048);
	rings->vq.avail_gpa = 0x8000;
	rings->vq.used_gpa = 0xa000;
	assert_int_equal(vq_enable_at(&rings->vq, rings->mem, 0, 0), -EINVAL);
	rings->vq.size = 1024;
	assert_int_equal(vq_enable(&rings->vq, rings->mem, 0), -EINVAL);
	assert_int_equal(vq_enable_at(&rings->vq, rings->mem, 0, 0), 0);
	for (unsigned int i = 0; i < 1024; i++)
		put_desc(rings, DESC, i, DATA, 1, i < 1023 ? NEXT : 0, i + 1);
	put16(rings, 0x8000 + 4, 1024 - 256);
	put16(rings, 0x8000 + 6, 1024 - 257);
	put16(rings, 0x8000 + 2, 2);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.readable_count, 256);
	assert_int_equal(vq_pop(&rings->vq, &chain), -EPROTO);
}

static void what_the_driver_changes_later_does_not_matter(void **state)
{
	struct rings *rings = *state;
	struct vq_chain chain;

	enable(rings, 4, INDIRECT);
	put_desc(rings, DESC, 0, TABLE, 16, IND, 0);
	put_desc(rings, TABLE, 0, DATA, 8, WRITE, 0);
	offer(rings, 0, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	memset(at(rings, DESC), 0xff, 0x1000);
	memset(at(rings, TABLE), 0xff, 0x1000);
	assert_ptr_equal(vq_chain_writable(&chain)->iov_base, at(rings, DATA));
	assert_int_equal(vq_chain_writable(&chain)->iov_len, 8);
	memset(at(rings, AVAIL), 0xff, 0x100);
	vq_push(&rings->vq, &chain, 8);
	assert_int_equal(get16(rings, USED + 2), 1);
}

static void what_is_put_back_comes_again(void **state)
{
	struct rings *rings = *state;
	struct vq_chain chain;

	enable(rings, 2, EVENT_IDX);
	put_desc(rings, DESC, 0, DATA, 8, WRITE, 0);
	put_desc(rings, DESC, 1, DATA, 8, WRITE, 0);
	offer(rings, 0, 1);
	offer(rings, 1, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(vq_waiting(&rings->vq), 1);
	vq_unpop(&rings->vq);
	assert_int_equal(vq_waiting(&rings->vq), 2);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.head, 1);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.head, 0);
	vq_unpop(&rings->vq);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.head, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), 0);
}

static void several_are_put_back_and_done_at_once(void **state)
{
	struct rings *rings = *state;
	struct vq_chain chain;

	enable(rings, 4, EVENT_IDX);
	for (unsigned int i = 0; i < 4; i++) {
		put_desc(rings, DESC, i, DATA + 16 * i, 8, WRITE, 0);
		offer(rings, i, i);
	}
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	vq_add_used(&rings->vq, 0, vq_chain_writable(&chain), 1, 8);
	vq_add_used(&rings->vq, 1, vq_chain_writable(&chain), 1, 3);
	assert_int_equal(get16(rings, USED + 2), 0);	/* not seen yet */
	vq_publish_used(&rings->vq);
	assert_int_equal(get16(rings, USED + 2), 2);
	assert_int_equal(get16(rings, USED + 4 + 8), 1);
	assert_int_equal(get16(rings, USED + 4 + 12), 3);
	vq_unpop_many(&rings->vq, 2);
	assert_int_equal(vq_waiting(&rings->vq), 2);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.head, 2);
	vq_unpop_many(&rings->vq, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	assert_int_equal(chain.head, 3);
	assert_int_equal(vq_pop(&rings->vq, &chain), 0);
}

/*
 * The moment between looking and asking for a kick, stopped: the page of avail_event cannot be written,
 * and the handler of the fault is the driver, which is quick.
 */
static struct rings *racing;	/* for the handler of the signal */

#define RACE_SIZE 256u
#define RACE_USED (0x8000u - 4u - 8u * RACE_SIZE)	/* avail_event is at 0x8000 */

static void driver_is_quick(int signal)
{
	(void)signal;
	offer(racing, 0, 0);
	mprotect(at(racing, 0x8000), GUEST_PAGE_BYTES, PROT_READ | PROT_WRITE);
}

static void a_request_that_comes_as_the_device_goes_to_sleep_is_seen(void **state)
{
	struct sigaction action = { .sa_handler = driver_is_quick }, old;
	struct rings *rings = *state;
	struct vq_chain chain;
	int r;

	memset(rings->low, 0, DATA);
	place(&rings->vq, RACE_SIZE);
	rings->vq.used_gpa = RACE_USED;
	assert_int_equal(vq_enable(&rings->vq, rings->mem, EVENT_IDX), 0);
	put_desc(rings, DESC, 0, DATA, 8, WRITE, 0);
	racing = rings;
	assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
	assert_int_equal(mprotect(at(rings, 0x8000), GUEST_PAGE_BYTES, PROT_READ), 0);
	r = vq_pop(&rings->vq, &chain);
	sigaction(SIGSEGV, &old, NULL);
	racing = NULL;
	assert_int_equal(r, 1);
}

static void without_event_indexes_the_flag_decides(void **state)
{
	struct rings *rings = *state;
	struct vq_chain chain;

	enable(rings, 4, 0);
	put_desc(rings, DESC, 0, DATA, 8, WRITE, 0);
	assert_false(vq_interrupt_wanted(&rings->vq));
	for (unsigned int i = 0; i < 4; i++) {
		offer(rings, i, 0);
		assert_int_equal(vq_pop(&rings->vq, &chain), 1);
		vq_push(&rings->vq, &chain, 0);
		put16(rings, AVAIL, i % 2 ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0);
		assert_true(vq_interrupt_wanted(&rings->vq) == (i % 2 == 0));
		put16(rings, AVAIL, 0);
		assert_false(vq_interrupt_wanted(&rings->vq));	/* of the same again */
	}
}

static void what_was_written_is_dirty(void **state)
{
	struct rings *rings = *state;
	uint64_t bitmap[MEM_BYTES / GUEST_PAGE_BYTES / 64] = { 0 };
	struct vq_chain chain;

	enable(rings, 4, 0);
	put_desc(rings, DESC, 0, DATA, 8, NEXT, 1);
	put_desc(rings, DESC, 1, DATA + 0x2fff, 2, WRITE, 0);
	offer(rings, 0, 0);
	assert_int_equal(vq_pop(&rings->vq, &chain), 1);
	vq_push(&rings->vq, &chain, 1);
	guest_mem_take_dirty(rings->mem, 0, bitmap);
	assert_int_equal(bitmap[0], 1u << (USED / GUEST_PAGE_BYTES));
	assert_int_equal(bitmap[DATA / GUEST_PAGE_BYTES / 64], 0xc);
	guest_mem_take_dirty(rings->mem, 1, bitmap);
}

static void segments_are_sliced_and_copied_at_any_offset(void **state)
{
	struct vq_chain chain = { .readable_count = 3, .writable_count = 3 };
	char from[] = "abcdefghij", to[10], got[11];

	(void)state;
	/* 1, 4 and 5 bytes; the writable ones 5, 4 and 1 */
	chain.segments[0] = (struct iovec){ from, 1 };
	chain.segments[1] = (struct iovec){ from + 1, 4 };
	chain.segments[2] = (struct iovec){ from + 5, 5 };
	chain.segments[3] = (struct iovec){ to, 5 };
	chain.segments[4] = (struct iovec){ to + 5, 4 };
	chain.segments[5] = (struct iovec){ to + 9, 1 };
	for (size_t offset = 0; offset <= 11; offset++) {
		for (size_t len = 0; len <= 12; len++) {
			size_t rest = offset < 10 ? 10 - offset : 0, want = len < rest ? len : rest;
			struct iovec slice[3];
			size_t count, total = 0;

			memset(got, '-', sizeof(got));
			assert_int_equal(vq_chain_read(&chain, offset, got, len), want);
			assert_memory_equal(got, from + (offset < 10 ? offset : 0), want);
			memset(to, '.', sizeof(to));
			assert_int_equal(vq_chain_write(&chain, offset, from, len < 10 ? len : 10),
					 want < 10 ? want : 10);
			for (size_t i = 0; i < 10; i++)
				assert_int_equal(to[i], i >= offset && i < offset + want ?
							from[i - offset] : '.');
			count = vq_segments_slice(chain.segments, 3, offset, len, slice);
			for (size_t i = 0; i < count; i++) {
				assert_memory_equal(slice[i].iov_base, from + offset + total,
						    slice[i].iov_len);
				assert_true(slice[i].iov_len > 0);
				total += slice[i].iov_len;
			}
			assert_int_equal(total, want);
		}
	}
}

/* --- random operations, against a model */

#define MODEL_SIZE   8u
#define MODEL_HELD   4u
#define MODEL_STEPS  1500000u

struct model_request {
	unsigned int head;
	unsigned int readable, writable;
	gpa_t gpa[VQ_SIZE_MAX];
	uint32_t len[VQ_SIZE_MAX];
};

/* The driver, and what it believes of the device. Indexes here do not wrap. */
struct model {
	struct rings *rings;
	uint32_t seed;
	uint64_t offered, taken, returned;	/* requests so far */
	uint64_t signalled;
	uint64_t slept_at;	/* the device found the queue empty at this index */
	bool sleeping;
	bool in_use[MODEL_SIZE];
	struct model_request requests[MODEL_SIZE];	/* by index modulo */
	struct vq_chain held[MODEL_HELD];
	bool is_held[MODEL_HELD];
	bool last_can_go_back;
	unsigned int last_held;
};

static unsigned int pick(struct model *model, unsigned int below)
{
	model->seed ^= model->seed << 13;
	model->seed ^= model->seed >> 17;
	model->seed ^= model->seed << 5;
	return model->seed % below;
}

static int free_desc(const struct model *model)
{
	for (unsigned int i = 0; i < MODEL_SIZE; i++)
		if (!model->in_use[i])
			return (int)i;
	return -1;
}

static void fill_segment(struct model *model, struct model_request *request, gpa_t table,
			 unsigned int index, bool last, unsigned int next, bool write)
{
	unsigned int i = request->readable + request->writable;

	request->gpa[i] = pick(model, 2) ? DATA + pick(model, 0x80000) : HIGH + pick(model, 0x80000);
	request->len[i] = 1 + pick(model, 5000);
	put_desc(model->rings, table, index, request->gpa[i], request->len[i],
		 (last ? 0 : NEXT) | (write ? WRITE : 0), next);
	if (write)
		request->writable++;
	else
		request->readable++;
}

/* A request is one descriptor of the ring: a buffer, or a table of its own with some. */
static void model_offer(struct model *model)
{
	struct model_request *request = &model->requests[model->offered % MODEL_SIZE];
	int head = free_desc(model);
	unsigned int segments = 1 + pick(model, 6), first_write = pick(model, segments + 1);
	uint16_t event = get16(model->rings, avail_event_gpa(model->rings));
	bool kick;

	if (head < 0)
		return;
	*request = (struct model_request){ .head = (unsigned int)head };
	if (segments == 1) {
		fill_segment(model, request, DESC, (unsigned int)head, true, 0, first_write == 0);
	} else {
		gpa_t table = TABLE + 0x100u * (unsigned int)head;

		for (unsigned int i = 0; i < segments; i++)
			fill_segment(model, request, table, i, i == segments - 1, i + 1,
				     i >= first_write);
		put_desc(model->rings, DESC, (unsigned int)head, table, segments * 16, IND, 0);
	}
	model->in_use[head] = true;
	offer(model->rings, (unsigned int)(model->offered & 0xffff), (unsigned int)head);
	kick = event == (uint16_t)model->offered;	/* the driver's rule, for one request */
	model->offered++;
	if (model->sleeping && model->slept_at == model->offered - 1)
		assert_true(kick);	/* or it would sleep for ever */
	model->sleeping = false;
}

static void check_chain(const struct model *model, const struct vq_chain *chain,
			const struct model_request *request)
{
	uint64_t readable_bytes = 0, writable_bytes = 0;

	assert_int_equal(chain->head, request->head);
	assert_int_equal(chain->readable_count, request->readable);
	assert_int_equal(chain->writable_count, request->writable);
	for (unsigned int i = 0; i < request->readable + request->writable; i++) {
		void *data = NULL;

		guest_mem_slice(model->rings->mem, request->gpa[i], request->len[i], &data);
		assert_ptr_equal(chain->segments[i].iov_base, data);
		assert_int_equal(chain->segments[i].iov_len, request->len[i]);
		if (i < request->readable)
			readable_bytes += request->len[i];
		else
			writable_bytes += request->len[i];
	}
	assert_int_equal(chain->readable_bytes, readable_bytes);
	assert_int_equal(chain->writable_bytes, writable_bytes);
}

static void model_pop(struct model *model)
{
	unsigned int i = 0;
	int r;

	while (i < MODEL_HELD && model->is_held[i])
		i++;
	if (i == MODEL_HELD)
		return;
	r = vq_pop(&model->rings->vq, &model->held[i]);
	assert_int_equal(r, model->taken < model->offered);
	if (r == 0) {
		model->sleeping = true;
		model->slept_at = model->offered;
		return;
	}
	check_chain(model, &model->held[i], &model->requests[model->taken % MODEL_SIZE]);
	model->taken++;
	model->is_held[i] = true;
	model->last_can_go_back = true;
	model->last_held = i;
}

static void model_unpop(struct model *model)
{
	if (!model->last_can_go_back || !model->is_held[model->last_held])
		return;
	vq_unpop(&model->rings->vq);
	model->is_held[model->last_held] = false;
	model->last_can_go_back = false;
	model->taken--;
}

static void model_push(struct model *model)
{
	unsigned int i = pick(model, MODEL_HELD), len = pick(model, 9999);
	struct virtq_used_elem elem;

	if (!model->is_held[i])
		return;
	vq_push(&model->rings->vq, &model->held[i], len);
	memcpy(&elem, at(model->rings, USED + 4 + 8 * (model->returned % MODEL_SIZE)), sizeof(elem));
	assert_int_equal(le32toh(elem.id), model->held[i].head);
	assert_int_equal(le32toh(elem.len), len);
	model->returned++;
	assert_int_equal(get16(model->rings, USED + 2), model->returned & 0xffff);
	model->is_held[i] = false;
	model->in_use[model->held[i].head] = false;
	model->last_can_go_back = false;
}

/* The driver asked for the entry at some index near; was it among those that were pushed? */
static void model_interrupt(struct model *model)
{
	uint64_t event = model->signalled + pick(model, 12);
	bool want;

	event = event >= 3 ? event - 3 : 0;
	want = event >= model->signalled && event < model->returned;
	put16(model->rings, used_event_gpa(model->rings), (unsigned int)(event & 0xffff));
	assert_true(vq_interrupt_wanted(&model->rings->vq) == want);
	model->signalled = model->returned;
}

static void random_operations_do_what_the_model_does(void **state)
{
	static struct model model;	/* large */
	struct rings *rings = *state;

	model = (struct model){ .rings = rings, .seed = 2463534242u };
	enable(rings, MODEL_SIZE, EVENT_IDX | INDIRECT);
	for (unsigned int i = 0; i < MODEL_STEPS; i++) {
		switch (pick(&model, 9)) {
		case 0: case 1: case 2:
			model_offer(&model);
			break;
		case 3: case 4: case 5:
			model_pop(&model);
			break;
		case 6: case 7:
			model_push(&model);
			break;
		default:
			if (pick(&model, 4) == 0)
				model_unpop(&model);
			else
				model_interrupt(&model);
			break;
		}
	}
	assert_true(model.returned > 70000);	/* every index wrapped */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rings_are_checked_when_enabled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(chains_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_chain_has_a_bound_of_segments_and_bytes, set_up,
						tear_down),
		cmocka_unit_test(a_chain_of_4_gib_is_refused),
		cmocka_unit_test_setup_teardown(the_available_index_is_at_most_the_ring_ahead,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_queue_goes_on_where_it_stopped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_large_ring_has_requests_of_the_usual_size, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_the_driver_changes_later_does_not_matter,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_put_back_comes_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(several_are_put_back_and_done_at_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_request_that_comes_as_the_device_goes_to_sleep_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_event_indexes_the_flag_decides, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_was_written_is_dirty, set_up, tear_down),
		cmocka_unit_test(segments_are_sliced_and_copied_at_any_offset),
		cmocka_unit_test_setup_teardown(random_operations_do_what_the_model_does, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
