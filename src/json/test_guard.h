/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: bytes that end where memory ends, so that a read beyond them faults. */
#ifndef SQUIB_JSON_TEST_GUARD_H
#define SQUIB_JSON_TEST_GUARD_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
	char *map;
	size_t size;		/* of the readable part; the page after it is not */
};

static inline struct guarded guarded_new(size_t max_len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct guarded guarded = { .size = (max_len / page + 1) * page };

	guarded.map = mmap(NULL, guarded.size + page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guarded.map == MAP_FAILED || mprotect(guarded.map + guarded.size, page, PROT_NONE) < 0)
		abort();
	return guarded;
}

/* A copy that ends right before the unreadable page; replaces the one before. */
static inline const char *guarded_copy(struct guarded *guarded, const char *data, size_t len)
{
	char *copy = guarded->map + guarded->size - len;

	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

static inline void guarded_done(struct guarded *guarded)
{
	munmap(guarded->map, guarded->size + (size_t)sysconf(_SC_PAGESIZE));
}

#endif
