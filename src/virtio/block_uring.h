/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of a block device with io_engine Async: io_uring reads and writes a file, many requests at
 * a time, which are done in any order.
 *
 * A request is started, which gives a slot, and handed to the kernel with all that were started since
 * the last block_uring_submit(). Once it is done block_uring_next() tells so, and the slot is free after
 * block_uring_release(). Memory is taken by block_uring_new() alone.
 *
 * Threads: none here; the device's lock is held. All but new and free may be called by any.
 */
#ifndef SQUIB_VIRTIO_BLOCK_URING_H
#define SQUIB_VIRTIO_BLOCK_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/fault.h"

#define BLOCK_URING_SLOTS 128u	/* as upstream's ring */

struct block_uring;

enum block_uring_op {
	BLOCK_URING_READ,
	BLOCK_URING_WRITE,
	BLOCK_URING_FLUSH,	/* of all writes that were started before; those are waited for */
};

/* A request that is done. */
struct block_uring_done {
	unsigned int slot;
	int error;			/* 0, or -errno; -ENODATA where the file ends */
	uint64_t bytes;			/* transferred, also on failure */
	const struct iovec *segments;	/* as they were given; until the slot is released */
	size_t count;
};

/**
 * block_uring_new() - a ring for @fd, which stays the caller's and may be closed
 *
 * Return: 0, or -errno with @fault, where the kernel has no io_uring (5.10 is needed) or forbids it.
 */
int block_uring_new(int fd, struct block_uring **ret_uring, struct fault *fault);
/** block_uring_free() - when nothing is under way; accepts NULL */
void block_uring_free(struct block_uring *uring);

/** block_uring_event_fd() - readable, and EPOLLET tells each time, when requests may be done */
int block_uring_event_fd(const struct block_uring *uring);

/** block_uring_set_file() - when nothing is under way. 0, or -errno with @fault: the old one is kept */
int block_uring_set_file(struct block_uring *uring, int fd, struct fault *fault);

/** block_uring_has_room() - for a request of @count segments. If not, there is once some are released */
bool block_uring_has_room(const struct block_uring *uring, size_t count);

/**
 * block_uring_start() - there is room
 * @segments: up to VQ_SIZE_MAX, copied; what they point to must stay until the request is done
 *
 * Return: its slot, below BLOCK_URING_SLOTS.
 */
unsigned int block_uring_start(struct block_uring *uring, enum block_uring_op op,
			       const struct iovec *segments, size_t count, uint64_t offset);

/**
 * block_uring_submit() - hand what was started to the kernel, by one system call
 *
 * Return: 1 when there was something, and some of it may be done; 0; -EAGAIN: the kernel is short of
 * memory and nothing is under way, so that no event will come, and the caller tries again.
 */
int block_uring_submit(struct block_uring *uring);

/**
 * block_uring_next() - take a request that is done; false: none is. No system call as a rule
 *
 * After it there can be something to submit: the rest of a request, or a flush.
 */
bool block_uring_next(struct block_uring *uring, struct block_uring_done *ret_done);
void block_uring_release(struct block_uring *uring, unsigned int slot);

/** block_uring_wait() - until a request is done; false: none is under way. Submits too */
bool block_uring_wait(struct block_uring *uring);

#endif
