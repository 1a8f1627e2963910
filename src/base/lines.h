/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe that text comes from, cut into lines. Bounded: what is too long for a line is dropped. */
#ifndef SQUIB_BASE_LINES_H
#define SQUIB_BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"

#define LINE_MAX_BYTES 512

struct lines {
	struct loop_source source;	/* its fd is owned; -1: none */
	/* A line without its end; never empty. Control characters in it are shown as '?'. */
	void (*line)(struct lines *lines, const char *text);
	size_t len;
	char data[LINE_MAX_BYTES];
};

/** lines_open() - @ret_peer_fd is the writing end, to be closed by the caller; 0 or -errno */
int lines_open(struct lines *lines, void (*line)(struct lines *lines, const char *text),
	       int *ret_peer_fd);

/** lines_close() - and remove it from @loop */
void lines_close(struct lines *lines, struct loop *loop);

/** lines_read() - what is there, up to 64 KiB, without waiting; false at the end of the stream */
bool lines_read(struct lines *lines);

/** lines_finish() - everything that is there, and what is left without an end as a line */
void lines_finish(struct lines *lines);

#endif
