/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as upstream's language sees it: what is UTF-8, what is white space, and the words for what
 * is not. Clients get these words, so they are matched exactly. For src/http, and src/mmds.
 */
#ifndef SQUIB_HTTP_TEXT_H
#define SQUIB_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct text {
	const char *data;
	size_t len;
};

#define TEXT(literal) ((struct text){ (literal), sizeof(literal) - 1 })

bool text_is(struct text text, struct text other);
/** text_is_word() - equal but for the case of ASCII letters */
bool text_is_word(struct text text, struct text word);
bool text_contains(struct text text, struct text part);

/** text_trim() - without Unicode white space at both ends; @text must be UTF-8 */
struct text text_trim(struct text text);

/** text_cut() - the part before @separator; @rest becomes what follows, data NULL at the end */
struct text text_cut(struct text *rest, char separator);

/** text_parse_u32() - decimal, at most 2^32-1; one plus sign and any number of zeros may stand in front */
bool text_parse_u32(struct text text, uint32_t *ret_value);

/**
 * utf8_is_valid() - is it UTF-8?
 * @ret_at:	if not, the index of the first sequence that is none,
 * @ret_bytes:	and its length: 1 to 3 bytes, or 0 when the text ends within a good sequence
 */
bool utf8_is_valid(struct text text, size_t *ret_at, size_t *ret_bytes);

/** utf8_add_lossy() - append, with U+FFFD for each sequence that is not UTF-8 */
void utf8_add_lossy(struct buf *out, struct text text);

#endif
