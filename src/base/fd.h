/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors: closed is -1, and every one is close-on-exec. */
#ifndef SQUIB_BASE_FD_H
#define SQUIB_BASE_FD_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "base/util.h"

/** fd_close() - close unless it is -1; keeps errno */
static inline void fd_close(int fd)
{
	if (fd >= 0) {
		int saved = errno;

		close(fd);
		errno = saved;
	}
}
DEFINE_CLEANUP(int, fd_close)

/** fd_take() - move a descriptor out, leaving -1 */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/** fd_signal() - add one to an eventfd. One that does not block may be full: what watches it is awake */
static inline void fd_signal(int fd)
{
	uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));

	(void)written;
}

#endif
