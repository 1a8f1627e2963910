/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/block_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* As Firecracker and kvmtool do it: what identifies the file on the host, cut off. */
static void make_id(char *id, const struct stat *st)
{
	char text[64] = "";

	snprintf(text, sizeof(text), "%llu%llu%llu", (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_rdev, (unsigned long long)st->st_ino);
	memcpy(id, text, BLOCK_ID_BYTES);
}

int block_file_init(struct block_file *file, int fd)
{
	CLEANUP(fd_close) int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct stat st;
	off_t size;

	if (own < 0 || fstat(own, &st) < 0)
		return -errno;
	size = lseek(own, 0, SEEK_END);		/* st_size is 0 for block devices */
	if (size < 0)
		return -errno;
	make_id(file->id, &st);
	file->size_bytes = (uint64_t)size;
	file->fd = fd_take(&own);
	return 0;
}

void block_file_done(struct block_file *file)
{
	fd_close(fd_take(&file->fd));
}

/* Leave out the first @done bytes. */
static void advance(struct iovec **segments, size_t *count, size_t done)
{
	while (*count > 0 && done >= (*segments)->iov_len) {
		done -= (*segments)->iov_len;
		(*segments)++;
		(*count)--;
	}
	if (done > 0) {
		(*segments)->iov_base = (char *)(*segments)->iov_base + done;
		(*segments)->iov_len -= done;
	}
}

typedef ssize_t (*transfer_fn)(int fd, const struct iovec *segments, int count, off_t offset);

static int transfer(transfer_fn fn, int fd, struct iovec *segments, size_t count, uint64_t offset,
		    uint64_t *ret_done)
{
	*ret_done = 0;
	while (count > 0) {
		ssize_t n = fn(fd, segments, (int)count, (off_t)(offset + *ret_done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		*ret_done += (uint64_t)n;
		advance(&segments, &count, (size_t)n);
	}
	return 0;
}

int block_file_read(const struct block_file *file, struct iovec *segments, size_t count,
		    uint64_t offset, uint64_t *ret_done)
{
	return transfer(preadv, file->fd, segments, count, offset, ret_done);
}

int block_file_write(const struct block_file *file, struct iovec *segments, size_t count,
		     uint64_t offset, uint64_t *ret_done)
{
	return transfer(pwritev, file->fd, segments, count, offset, ret_done);
}

int block_file_flush(const struct block_file *file)
{
	return fdatasync(file->fd) < 0 ? -errno : 0;
}
