/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scanner, not a tree: a value is skipped, or a member of an object is found, in place. Depth is
 * bounded, so that nesting cannot exhaust the stack.
 */
#include "engine/qemu/qmp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

#define DEPTH_MAX 32

struct scan {
	const char *at, *end;
};

struct span {
	const char *data;
	size_t len;
};

static void skip_blanks(struct scan *scan)
{
	while (scan->at < scan->end && strchr(" \t\r\n", *scan->at) != NULL && *scan->at != '\0')
		scan->at++;
}

static bool take(struct scan *scan, char c)
{
	skip_blanks(scan);
	if (scan->at == scan->end || *scan->at != c)
		return false;
	scan->at++;
	return true;
}

/* The raw bytes between the quotes */
static bool scan_string(struct scan *scan, struct span *ret_raw)
{
	const char *start;

	if (!take(scan, '"'))
		return false;
	start = scan->at;
	while (scan->at < scan->end && *scan->at != '"') {
		if ((unsigned char)*scan->at < ' ')
			return false;
		scan->at += *scan->at == '\\' ? 2 : 1;
	}
	if (scan->at >= scan->end)
		return false;
	*ret_raw = (struct span){ start, (size_t)(scan->at - start) };
	scan->at++;
	return true;
}

/* true, false, null and numbers; what exactly is in there does not matter to us */
static bool scan_word(struct scan *scan)
{
	const char *start = scan->at;

	while (scan->at < scan->end &&
	       memchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *scan->at, 40) != NULL)
		scan->at++;
	return scan->at > start;
}

static bool scan_value(struct scan *scan, int depth, struct span *ret_value);

/* Members up to the closing brace. When one is called @key, the first such is @ret_value. */
static bool scan_members(struct scan *scan, int depth, const char *key, struct span *ret_value)
{
	bool found = false;

	if (take(scan, '}'))
		return true;
	do {
		struct span name, value;

		if (!scan_string(scan, &name) || !take(scan, ':') ||
		    !scan_value(scan, depth, &value))
			return false;
		if (!found && key != NULL && name.len == strlen(key) &&
		    memcmp(name.data, key, name.len) == 0) {
			*ret_value = value;
			found = true;
		}
	} while (take(scan, ','));
	return take(scan, '}');
}

static bool scan_elements(struct scan *scan, int depth)
{
	struct span value;

	if (take(scan, ']'))
		return true;
	do {
		if (!scan_value(scan, depth, &value))
			return false;
	} while (take(scan, ','));
	return take(scan, ']');
}

static bool scan_value(struct scan *scan, int depth, struct span *ret_value)
{
	const char *start;
	struct span ignored;
	bool ok;

	skip_blanks(scan);
	if (depth > DEPTH_MAX || scan->at == scan->end)
		return false;
	start = scan->at;
	switch (*start) {
	case '"':
		ok = scan_string(scan, &ignored);
		break;
	case '{':
		scan->at++;
		ok = scan_members(scan, depth + 1, NULL, NULL);
		break;
	case '[':
		scan->at++;
		ok = scan_elements(scan, depth + 1);
		break;
	default:
		ok = scan_word(scan);
	}
	*ret_value = (struct span){ start, (size_t)(scan->at - start) };
	return ok;
}

/* Whole and well-formed object, nothing behind it? Its member @key; data NULL: it has none */
static bool find(struct span object, const char *key, struct span *ret_value)
{
	struct scan scan = { object.data, object.data + object.len };

	*ret_value = (struct span){ NULL, 0 };
	if (!take(&scan, '{') || !scan_members(&scan, 0, key, ret_value))
		return false;
	skip_blanks(&scan);
	return scan.at == scan.end;
}

/* Only for showing and comparing: escapes other than of one character become '?' */
static void copy_string(struct span value, char *out, size_t size)
{
	size_t used = 0;

	if (value.len >= 2 && value.data[0] == '"') {
		for (size_t i = 1; i + 1 < value.len && used + 1 < size; i++) {
			char c = value.data[i];

			if (c == '\\' && i + 2 < value.len) {
				c = value.data[++i];
				if (strchr("\"\\/", c) == NULL)
					c = c == 'n' || c == 't' ? ' ' : '?';
			}
			out[used++] = c;
		}
	}
	out[used] = '\0';
}

static uint64_t number(struct span value)
{
	uint64_t n = 0;

	for (size_t i = 0; i < value.len; i++) {
		if (value.data[i] < '0' || value.data[i] > '9' ||
		    __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(value.data[i] - '0'), &n))
			return 0;
	}
	return n;
}

static void parse_event_data(struct span data, struct qmp_message *message)
{
	struct span value;

	if (find(data, "reason", &value))
		copy_string(value, message->reason, sizeof(message->reason));
	if (find(data, "guest", &value))
		message->guest = value.len == 4 && memcmp(value.data, "true", 4) == 0;
}

int qmp_parse(const char *line, size_t len, struct qmp_message *ret_message)
{
	struct span object = { line, len }, value, inner;

	*ret_message = (struct qmp_message){ .kind = QMP_OTHER };
	if (!find(object, "event", &value))
		return -EPROTO;
	if (value.data != NULL) {
		ret_message->kind = QMP_EVENT;
		copy_string(value, ret_message->name, sizeof(ret_message->name));
		if (find(object, "data", &value) && value.data != NULL)
			parse_event_data(value, ret_message);
		return 0;
	}
	if (find(object, "id", &value))
		ret_message->id = number(value);
	if (find(object, "return", &value) && value.data != NULL) {
		ret_message->kind = QMP_RETURN;
	} else if (find(object, "error", &value) && value.data != NULL) {
		ret_message->kind = QMP_ERROR;
		if (find(value, "desc", &inner))
			copy_string(inner, ret_message->text, sizeof(ret_message->text));
	} else if (find(object, "QMP", &value) && value.data != NULL) {
		ret_message->kind = QMP_GREETING;
	}
	return 0;
}

int qmp_receive(struct qmp *qmp)
{
	ssize_t n;

	if (qmp->start > 0) {
		qmp->len -= qmp->start;
		memmove(qmp->data, qmp->data + qmp->start, qmp->len);
		qmp->start = 0;
	}
	if (qmp->len == sizeof(qmp->data))
		return memchr(qmp->data, '\n', qmp->len) != NULL ? 1 : -EPROTO;
	do {
		n = recv(qmp->fd, qmp->data + qmp->len, sizeof(qmp->data) - qmp->len, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	qmp->len += (size_t)n;
	return 1;
}

int qmp_next(struct qmp *qmp, struct qmp_message *ret_message)
{
	const char *line = qmp->data + qmp->start;
	const char *end = memchr(line, '\n', qmp->len - qmp->start);

	if (end == NULL)
		return 0;
	qmp->start += (size_t)(end - line) + 1;
	return qmp_parse(line, (size_t)(end - line), ret_message) < 0 ? -EPROTO : 1;
}

int qmp_send(struct qmp *qmp, uint64_t id, const char *command, const char *arguments)
{
	char line[1024];
	int len = snprintf(line, sizeof(line), "{\"execute\":\"%s\",\"id\":%llu%s%s}\n", command,
			   (unsigned long long)id, arguments != NULL ? ",\"arguments\":" : "",
			   arguments != NULL ? arguments : "");
	ssize_t n;

	if (len < 0 || (size_t)len >= sizeof(line))
		return -EMSGSIZE;
	do {
		n = send(qmp->fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == len ? 0 : -EAGAIN;
}
