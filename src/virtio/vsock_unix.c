/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_unix.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GREETING_BYTES_MIN 10u	/* "CONNECT 0\n" */
#define WORD "connect"

int vsock_unix_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int vsock_unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int vsock_unix_connect(int fd, const char *path, uint32_t port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", path, port);

	if (len < 0 || (size_t)len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* What upstream's language takes for white space, of ASCII. */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *skip_spaces(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

static const char *skip_word(const char *p, const char *end)
{
	while (p < end && !is_space(*p))
		p++;
	return p;
}

static int parse_port(const char *p, const char *end, uint32_t *ret_port)
{
	uint32_t port = 0;

	if (p < end && *p == '+')
		p++;
	if (p == end)
		return -EPROTO;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(port, 10, &port) ||
		    __builtin_add_overflow(port, *p - '0', &port))
			return -EPROTO;
	}
	*ret_port = port;
	return 0;
}

/*
 * The line ends at the first newline that is not among the first nine bytes, or after 32 bytes. Two
 * words are looked at, what is behind them is not.
 */
int vsock_unix_parse_greeting(const char *text, size_t len, uint32_t *ret_port, size_t *ret_used)
{
	const char *newline, *end, *word, *port;
	int r;

	if (len < GREETING_BYTES_MIN)
		return -EPROTO;
	newline = memchr(text + GREETING_BYTES_MIN - 1, '\n', len - (GREETING_BYTES_MIN - 1));
	if (newline == NULL && len < VSOCK_GREETING_BYTES_MAX)
		return -EPROTO;
	end = newline != NULL ? newline + 1 : text + len;
	word = skip_spaces(text, end);
	port = skip_word(word, end);
	if ((size_t)(port - word) != strlen(WORD) || strncasecmp(word, WORD, strlen(WORD)) != 0)
		return -EPROTO;
	port = skip_spaces(port, end);
	r = parse_port(port, skip_word(port, end), ret_port);
	if (r == 0)
		*ret_used = (size_t)(end - text);
	return r;
}

int vsock_unix_read_greeting(int fd, uint32_t *ret_port)
{
	char text[VSOCK_GREETING_BYTES_MAX];
	ssize_t n = recv(fd, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT);
	size_t used;
	int r;

	if (n < 0)
		return -errno;
	r = vsock_unix_parse_greeting(text, (size_t)n, ret_port, &used);
	if (r < 0)
		return r;
	n = recv(fd, text, used, MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	return (size_t)n == used ? 0 : -EPROTO;
}
