/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of blocks, each handing out memory from its start to its end. The first block is part
 * of the arena's own allocation and holds an ordinary request whole.
 */
#include "base/arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_FIRST_BYTES 1024
#define ARENA_BLOCK_BYTES 4096

struct arena_block {
	struct arena_block *next;
	size_t used;
	size_t size;
	alignas(max_align_t) char data[];
};

struct arena_kept {
	struct arena_kept *next;
	struct arena *arena;
};

struct arena {
	atomic_uint refs;
	struct arena_block *blocks;	/* newest first; the last is first */
	struct arena_block *first;
	struct arena_kept *kept;	/* allocated in the arena itself */
};

struct arena *arena_new(void)
{
	size_t head = (sizeof(struct arena) + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	struct arena *arena = malloc(head + sizeof(struct arena_block) + ARENA_FIRST_BYTES);

	if (arena == NULL)
		return NULL;
	arena->first = (struct arena_block *)((char *)arena + head);
	*arena->first = (struct arena_block){ .size = ARENA_FIRST_BYTES };
	arena->blocks = arena->first;
	arena->kept = NULL;
	atomic_init(&arena->refs, 1);
	return arena;
}

struct arena *arena_ref(struct arena *arena)
{
	atomic_fetch_add_explicit(&arena->refs, 1, memory_order_relaxed);
	return arena;
}

void arena_unref(struct arena *arena)
{
	if (arena == NULL)
		return;
	/* acq_rel: whoever frees must see all that the others did with the memory */
	if (atomic_fetch_sub_explicit(&arena->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (struct arena_kept *kept = arena->kept; kept != NULL; kept = kept->next)
		arena_unref(kept->arena);
	while (arena->blocks != arena->first) {
		struct arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	free(arena);
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	void *p;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (block->size - block->used < size) {
		size_t bytes = size > ARENA_BLOCK_BYTES ? size : ARENA_BLOCK_BYTES;

		block = malloc(sizeof(*block) + bytes);
		if (block == NULL)
			return NULL;
		*block = (struct arena_block){ .next = arena->blocks, .size = bytes };
		arena->blocks = block;
	}
	p = block->data + block->used;
	block->used += size;
	return memset(p, 0, size);
}

int arena_keep(struct arena *arena, struct arena *other)
{
	struct arena_kept *kept;

	if (other == arena)	/* an arena that keeps itself would never go */
		return 0;
	kept = arena_new_object(arena, struct arena_kept);
	if (kept == NULL)
		return -ENOMEM;
	kept->arena = arena_ref(other);
	kept->next = arena->kept;
	arena->kept = kept;
	return 0;
}

char *arena_memdup(struct arena *arena, const void *data, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_alloc(arena, len + 1) : NULL;

	if (copy != NULL && len > 0)
		memcpy(copy, data, len);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *s)
{
	return arena_memdup(arena, s, strlen(s));
}
