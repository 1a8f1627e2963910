/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

#define FILE_READ_BYTES 16384

int file_read(const char *path, struct buf *out)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		char *room = buf_reserve(out, FILE_READ_BYTES);
		ssize_t n;

		if (room == NULL)
			return -ENOMEM;
		n = read(fd, room, FILE_READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		out->len += (size_t)n;
		if (out->len > FILE_READ_MAX)
			return -EFBIG;
	}
}
