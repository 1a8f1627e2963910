/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer. A failed allocation makes it "broken": further appends do nothing, and
 * buf_error() tells at the end, so that a writer checks once.
 */
#ifndef SQUIB_BASE_BUF_H
#define SQUIB_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/util.h"

struct buf {
	char *data;	/* not NUL-terminated unless buf_str() was called */
	size_t len;
	size_t cap;
	bool broken;
};

#define BUF_INIT { 0 }

void buf_done(struct buf *buf);
static inline void buf_done_p(struct buf *buf) { buf_done(buf); }

/** buf_reset() - empty, keeping the memory */
void buf_reset(struct buf *buf);

/** buf_reserve() - room for @more further bytes; pointer to it or NULL */
char *buf_reserve(struct buf *buf, size_t more);

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_addc(struct buf *buf, char c);
void buf_adds(struct buf *buf, const char *s);
void buf_addf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vaddf(struct buf *buf, const char *fmt, va_list ap);

/** buf_add_json_string() - append as a JSON string, quotes included, escaped as serde_json does */
void buf_add_json_string(struct buf *buf, const char *s, size_t len);

/** buf_error() - 0, or -ENOMEM when an append failed */
int buf_error(const struct buf *buf);

/** buf_str() - terminate with NUL (not counted in len) and return data; NULL when broken */
char *buf_str(struct buf *buf);

/** buf_take() - move the NUL-terminated string out, to be freed with free(); NULL when broken */
char *buf_take(struct buf *buf);

#endif
