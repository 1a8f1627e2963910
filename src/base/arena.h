/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for one decoded request: many small allocations, one lifetime, counted references. Not
 * thread-safe while it is filled; ref and unref are.
 */
#ifndef SQUIB_BASE_ARENA_H
#define SQUIB_BASE_ARENA_H

#include <stddef.h>

#include "base/util.h"

struct arena;

struct arena *arena_new(void);				/* NULL: out of memory */
struct arena *arena_ref(struct arena *arena);
void arena_unref(struct arena *arena);			/* accepts NULL */
DEFINE_CLEANUP(struct arena *, arena_unref)

/** arena_alloc() - zeroed, aligned for any type; NULL: out of memory */
void *arena_alloc(struct arena *arena, size_t size);
/** arena_memdup() - copy of @len bytes plus a NUL */
char *arena_memdup(struct arena *arena, const void *data, size_t len);
char *arena_strdup(struct arena *arena, const char *s);

/**
 * arena_keep() - keep @other alive as long as @arena
 *
 * For an arena whose objects point into another. Takes a reference of its own. 0 or -ENOMEM.
 */
int arena_keep(struct arena *arena, struct arena *other);

#define arena_new_object(arena, type) ((type *)arena_alloc((arena), sizeof(type)))

#endif
