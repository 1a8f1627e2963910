/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

#define CHUNK		4096
#define ROUND_CHUNKS	16
#define FINISH_ROUNDS	64	/* a pipe holds 1 MiB at most; another writer may still be there */

int lines_open(struct lines *lines, void (*line)(struct lines *lines, const char *text),
	       int *ret_peer_fd)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	/* Ours alone: the other end has a description of its own, and may block. */
	if (fcntl(p[0], F_SETFL, O_NONBLOCK) < 0) {
		int r = -errno;

		fd_close(p[0]);
		fd_close(p[1]);
		return r;
	}
	lines->source.fd = p[0];
	lines->source.events = EPOLLIN;
	lines->line = line;
	lines->len = 0;
	*ret_peer_fd = p[1];
	return 0;
}

void lines_close(struct lines *lines, struct loop *loop)
{
	loop_remove(loop, &lines->source);
	fd_close(fd_take(&lines->source.fd));
}

static void end_line(struct lines *lines)
{
	if (lines->len > 0) {
		lines->data[lines->len] = '\0';
		lines->line(lines, lines->data);
	}
	lines->len = 0;
}

static void put(struct lines *lines, char c)
{
	if (c == '\n')
		end_line(lines);
	else if (c != '\r' && lines->len + 1 < sizeof(lines->data))
		lines->data[lines->len++] = (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
}

bool lines_read(struct lines *lines)
{
	char chunk[CHUNK];

	for (int i = 0; i < ROUND_CHUNKS; i++) {
		ssize_t n = read(lines->source.fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		for (ssize_t j = 0; j < n; j++)
			put(lines, chunk[j]);
		if ((size_t)n < sizeof(chunk))
			return true;
	}
	return true;
}

void lines_finish(struct lines *lines)
{
	if (lines->source.fd < 0)
		return;
	for (int i = 0; i < FINISH_ROUNDS && lines_read(lines); i++) {
		char byte;

		if (read(lines->source.fd, &byte, 1) != 1)
			break;
		put(lines, byte);
	}
	end_line(lines);
}
