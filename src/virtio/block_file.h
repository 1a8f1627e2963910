/* SPDX-License-Identifier: Apache-2.0 */
/* The back end of a block device: a file or block device of the host. */
#ifndef SQUIB_VIRTIO_BLOCK_FILE_H
#define SQUIB_VIRTIO_BLOCK_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_ID_BYTES 20	/* virtio 1.2, 5.2.6 */

struct block_file {
	int fd;
	uint64_t size_bytes;
	char id[BLOCK_ID_BYTES];	/* padded with NUL, not ended by it */
};

/** block_file_init() - of a duplicate of @fd. 0 or -errno */
int block_file_init(struct block_file *file, int fd);
void block_file_done(struct block_file *file);

/**
 * block_file_read() / block_file_write() - all of the segments, at @offset
 * @segments: up to IOV_MAX; used up
 * @ret_done: how many bytes were transferred, also on failure
 *
 * Return: 0, or -errno; -ENODATA where the file ends.
 */
int block_file_read(const struct block_file *file, struct iovec *segments, size_t count,
		    uint64_t offset, uint64_t *ret_done);
int block_file_write(const struct block_file *file, struct iovec *segments, size_t count,
		     uint64_t offset, uint64_t *ret_done);

/** block_file_flush() - what was written is on stable storage. 0 or -errno */
int block_file_flush(const struct block_file *file);

#endif
