/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_done(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf)BUF_INIT;
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->broken = false;
}

char *buf_reserve(struct buf *buf, size_t more)
{
	size_t cap = buf->cap ? buf->cap : 128;
	char *data;

	if (buf->broken)
		return NULL;
	if (buf->cap - buf->len >= more)
		return buf->data + buf->len;
	if (more > SIZE_MAX / 2 - buf->len) {
		buf->broken = true;
		return NULL;
	}
	while (cap - buf->len < more)
		cap *= 2;
	data = realloc(buf->data, cap);
	if (data == NULL) {
		buf->broken = true;
		return NULL;
	}
	buf->data = data;
	buf->cap = cap;
	return data + buf->len;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
	char *room = len > 0 ? buf_reserve(buf, len) : NULL;

	if (room == NULL)
		return;
	memcpy(room, data, len);
	buf->len += len;
}

void buf_addc(struct buf *buf, char c)
{
	buf_add(buf, &c, 1);
}

void buf_adds(struct buf *buf, const char *s)
{
	buf_add(buf, s, strlen(s));
}

void buf_vaddf(struct buf *buf, const char *fmt, va_list ap)
{
	va_list again;
	char *room;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0) {
		buf->broken = true;
		return;
	}
	room = buf_reserve(buf, (size_t)len + 1);	/* vsnprintf() writes a NUL too */
	if (room == NULL)
		return;
	vsnprintf(room, (size_t)len + 1, fmt, ap);
	buf->len += (size_t)len;
}

void buf_addf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(buf, fmt, ap);
	va_end(ap);
}

void buf_add_json_string(struct buf *buf, const char *s, size_t len)
{
	static const char short_escapes[0x20] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
	};
	size_t plain = 0;	/* where the run not yet appended begins */

	buf_addc(buf, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(buf, s + plain, i - plain);
		plain = i + 1;
		if (c >= 0x20)
			buf_add(buf, (char[]){ '\\', (char)c }, 2);
		else if (short_escapes[c] != 0)
			buf_add(buf, (char[]){ '\\', short_escapes[c] }, 2);
		else
			buf_addf(buf, "\\u%04x", c);
	}
	buf_add(buf, s + plain, len - plain);
	buf_addc(buf, '"');
}

int buf_error(const struct buf *buf)
{
	return buf->broken ? -ENOMEM : 0;
}

char *buf_str(struct buf *buf)
{
	char *room = buf_reserve(buf, 1);

	if (room == NULL)
		return NULL;
	*room = '\0';
	return buf->data;
}

char *buf_take(struct buf *buf)
{
	char *s = buf_str(buf);

	if (s == NULL) {
		buf_done(buf);
		return NULL;
	}
	*buf = (struct buf)BUF_INIT;
	return s;
}
