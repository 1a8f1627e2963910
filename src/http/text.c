/* SPDX-License-Identifier: Apache-2.0 */
#include "http/text.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

bool text_is(struct text text, struct text other)
{
	return text.len == other.len && memcmp(text.data, other.data, text.len) == 0;
}

bool text_is_word(struct text text, struct text word)
{
	return text.len == word.len && strncasecmp(text.data, word.data, text.len) == 0;
}

bool text_contains(struct text text, struct text part)
{
	return memmem(text.data, text.len, part.data, part.len) != NULL;
}

static bool is_ascii_space(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Unicode's White_Space beyond ASCII, in UTF-8. */
static const struct text wide_spaces[] = {
	{ "\xc2\x85", 2 },     { "\xc2\xa0", 2 },     { "\xe1\x9a\x80", 3 }, { "\xe2\x80\x80", 3 },
	{ "\xe2\x80\x81", 3 }, { "\xe2\x80\x82", 3 }, { "\xe2\x80\x83", 3 }, { "\xe2\x80\x84", 3 },
	{ "\xe2\x80\x85", 3 }, { "\xe2\x80\x86", 3 }, { "\xe2\x80\x87", 3 }, { "\xe2\x80\x88", 3 },
	{ "\xe2\x80\x89", 3 }, { "\xe2\x80\x8a", 3 }, { "\xe2\x80\xa8", 3 }, { "\xe2\x80\xa9", 3 },
	{ "\xe2\x80\xaf", 3 }, { "\xe2\x81\x9f", 3 }, { "\xe3\x80\x80", 3 },
};

/* Length of the white space character that @text begins with (or ends with); 0: none. */
static size_t space_at(struct text text, bool at_end)
{
	unsigned char edge;

	if (text.len == 0)
		return 0;
	edge = (unsigned char)text.data[at_end ? text.len - 1 : 0];
	if (edge < 0x80)
		return is_ascii_space(edge) ? 1 : 0;
	/* In UTF-8 a whole character is found at the end as surely as at the start. */
	for (size_t i = 0; i < ARRAY_SIZE(wide_spaces); i++) {
		const struct text *space = &wide_spaces[i];

		if (text.len >= space->len &&
		    memcmp(text.data + (at_end ? text.len - space->len : 0), space->data,
			   space->len) == 0)
			return space->len;
	}
	return 0;
}

struct text text_trim(struct text text)
{
	size_t n;

	while ((n = space_at(text, false)) > 0)
		text = (struct text){ text.data + n, text.len - n };
	while ((n = space_at(text, true)) > 0)
		text.len -= n;
	return text;
}

struct text text_cut(struct text *rest, char separator)
{
	const char *at = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
	struct text part = *rest;

	if (at == NULL) {
		*rest = (struct text){ NULL, 0 };
		return part;
	}
	part.len = (size_t)(at - part.data);
	*rest = (struct text){ at + 1, rest->len - part.len - 1 };
	return part;
}

bool text_parse_u32(struct text text, uint32_t *ret_value)
{
	uint64_t value = 0;
	size_t i = text.len > 0 && text.data[0] == '+' ? 1 : 0;

	if (i == text.len)
		return false;
	for (; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.data[i] - '0');
		if (value > UINT32_MAX)
			return false;
	}
	*ret_value = (uint32_t)value;
	return true;
}

static bool is_ascii_word(const char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return (word & UINT64_C(0x8080808080808080)) == 0;
}

/* How many bytes from @p on are ASCII: a word at a time, as nearly all lines are ASCII alone. */
static size_t ascii_prefix(const char *p, size_t len)
{
	size_t i = 0;

	while (len - i >= sizeof(uint64_t) && is_ascii_word(p + i))
		i += sizeof(uint64_t);
	/* The rest is shorter than a word; one that overlaps what was seen ends with it. */
	if (i > 0 && len - i < sizeof(uint64_t) && is_ascii_word(p + len - sizeof(uint64_t)))
		return len;
	while (i < len && (unsigned char)p[i] < 0x80)
		i++;
	return i;
}

/*
 * The sequence of more than one byte at @p (Unicode 15, table 3-7). Return: its length, or 0 when
 * it is not well formed. Then *@ret_bad is the number of bytes that began well, at least 1; or 0
 * if all were good and the text is too short.
 */
static size_t utf8_sequence(const unsigned char *p, size_t len, size_t *ret_bad)
{
	unsigned char lead = p[0], low = 0x80, high = 0xbf;
	size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

	*ret_bad = 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	/* The second byte rules out long forms, surrogates, and what lies above U+10FFFF. */
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < need; i++) {
		if (i == len) {
			*ret_bad = 0;
			return 0;
		}
		if (p[i] < low || p[i] > high) {
			*ret_bad = i;
			return 0;
		}
		low = 0x80;
		high = 0xbf;
	}
	return need;
}

bool utf8_is_valid(struct text text, size_t *ret_at, size_t *ret_bytes)
{
	size_t i = 0, n;

	while (i < text.len) {
		i += ascii_prefix(text.data + i, text.len - i);
		if (i == text.len)
			break;
		n = utf8_sequence((const unsigned char *)text.data + i, text.len - i, ret_bytes);
		if (n == 0) {
			*ret_at = i;
			return false;
		}
		i += n;
	}
	return true;
}

void utf8_add_lossy(struct buf *out, struct text text)
{
	size_t at, bytes;

	while (!utf8_is_valid(text, &at, &bytes)) {
		if (bytes == 0)		/* the text ends within a sequence */
			bytes = text.len - at;
		buf_add(out, text.data, at);
		buf_adds(out, "\xef\xbf\xbd");
		text = (struct text){ text.data + at + bytes, text.len - at - bytes };
	}
	buf_add(out, text.data, text.len);
}
