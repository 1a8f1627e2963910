/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_JSON_DEBUG_TEXT_H
#define SQUIB_JSON_DEBUG_TEXT_H

#include <stddef.h>

#include "base/buf.h"

/**
 * debug_text_add() - append a string as Rust's {:?} shows it, quotes included
 * @s: UTF-8; a byte that is none is shown as \xHH
 *
 * Upstream's faults and log lines quote what a client sent in this form.
 */
void debug_text_add(struct buf *buf, const char *s, size_t len);

/** utf8_decode() - length of the valid UTF-8 sequence at @s (1 to 4), or 0; @len is at least 1 */
size_t utf8_decode(const char *s, size_t len, unsigned int *ret_code_point);

#endif
