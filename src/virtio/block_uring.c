/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request has at most one entry in the ring, so the ring, which has as many entries as there are
 * slots, is never full. What the kernel did in part is asked for again, less what is done.
 *
 * A flush is held back until the writes before it are done, those whose number is less. The kernel
 * could do that (IOSQE_IO_DRAIN), but would hold back all that comes after too, and would not know
 * that a write which was done in part goes on.
 *
 * Lists of segments lie in a pool of blocks, and a request takes as many neighbouring ones as it needs.
 * A request of one segment, which most are, needs none.
 *
 * The ring can do with one file no more than what is needed here, as upstream's.
 */
#include "virtio/block_uring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "virtio/queue.h"

#define FILE_INDEX 0	/* among the files of the ring */

#define POOL_BLOCKS    64u	/* bits of a word */
#define BLOCK_SEGMENTS 32u
/* Waiting for all that is under way takes no longer than this much, and a request, do. */
#define UNDER_WAY_BYTES_MAX (64u << 20)

static_assert(VQ_SIZE_MAX <= POOL_BLOCKS * BLOCK_SEGMENTS, "any request finds room");

struct io {
	enum block_uring_op op;
	int error;
	uint64_t number;	/* in the order of starting */
	uint64_t offset;
	uint32_t bytes;
	uint32_t bytes_done;
	unsigned int writes_before;	/* of a flush: how many it waits for */
	size_t count;
	struct iovec *segments;	/* one, or in the pool */
	struct iovec one;
	struct io *next;	/* in the one list that it is in */
};

struct block_uring {
	struct io_uring ring;
	int event_fd;
	int broken;		/* -errno: the kernel takes no more */
	unsigned int started;	/* and not released */
	unsigned int in_kernel;
	unsigned int writes;	/* started and not done */
	uint64_t started_bytes;
	uint64_t next_number;
	struct io *free;
	struct io *held_back;	/* flushes */
	struct io *failed;	/* the kernel did not take them; done, and not told */
	uint64_t free_blocks;	/* a bit each */
	struct io ios[BLOCK_URING_SLOTS];
	struct iovec pool[POOL_BLOCKS][BLOCK_SEGMENTS];
};

static void push_io(struct io **list, struct io *io)
{
	io->next = *list;
	*list = io;
}

static struct io *pop_io(struct io **list)
{
	struct io *io = *list;

	if (io != NULL)
		*list = io->next;
	return io;
}

/* --- life */

static int fault_of_ring(struct fault *fault, int r, const char *what)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, r, "Virtio backend error: Error coming from the IO engine: Async error: "
			 "%s: %s", what, os_error(r, text));
}

static int restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction restrictions[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP,
		  .register_op = IORING_REGISTER_FILES_UPDATE },
	};

	return io_uring_register_restrictions(ring, restrictions, ARRAY_SIZE(restrictions));
}

/* Restrictions are for a ring that does not run yet (5.10); all else that is used is older. */
static int set_up_ring(struct block_uring *uring, int fd, struct fault *fault)
{
	struct io_uring *ring = &uring->ring;
	int r = io_uring_register_eventfd(ring, uring->event_fd);

	if (r < 0)
		return fault_of_ring(fault, r, "IoUring: Could not register eventfd");
	r = restrict_ring(ring);
	if (r < 0)
		return fault_of_ring(fault, r, "IoUring: Could not register restrictions");
	r = io_uring_register_files(ring, &fd, 1);
	if (r < 0)
		return fault_of_ring(fault, r, "IoUring: Could not register file");
	r = io_uring_enable_rings(ring);
	if (r < 0)
		return fault_of_ring(fault, r, "IoUring: Could not enable the ring");
	return 0;
}

static int make_ring(struct block_uring *uring, int fd, struct fault *fault)
{
	struct io_uring_params params = { .flags = IORING_SETUP_R_DISABLED };
	int r;

	uring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uring->event_fd < 0)
		return fault_of_ring(fault, -errno, "EventFd");
	r = io_uring_queue_init_params(BLOCK_URING_SLOTS, &uring->ring, &params);
	if (r < 0) {
		fault_of_ring(fault, r, "IoUring: Error calling io_uring_setup");
		goto close;
	}
	r = set_up_ring(uring, fd, fault);
	if (r == 0)
		return 0;
	io_uring_queue_exit(&uring->ring);
close:
	fd_close(uring->event_fd);
	return r;
}

int block_uring_new(int fd, struct block_uring **ret_uring, struct fault *fault)
{
	struct block_uring *uring = calloc(1, sizeof(*uring));
	int r;

	if (uring == NULL)
		return fault_set(fault, -ENOMEM, "out of memory");
	r = make_ring(uring, fd, fault);
	if (r < 0) {
		free(uring);
		return r;
	}
	uring->free_blocks = ~UINT64_C(0);
	for (size_t i = BLOCK_URING_SLOTS; i-- > 0;)
		push_io(&uring->free, &uring->ios[i]);
	*ret_uring = uring;
	return 0;
}

void block_uring_free(struct block_uring *uring)
{
	if (uring == NULL)
		return;
	assert(uring->started == 0);
	io_uring_queue_exit(&uring->ring);
	fd_close(uring->event_fd);
	free(uring);
}

int block_uring_event_fd(const struct block_uring *uring)
{
	return uring->event_fd;
}

int block_uring_set_file(struct block_uring *uring, int fd, struct fault *fault)
{
	int r;

	assert(uring->started == 0);
	r = io_uring_register_files_update(&uring->ring, FILE_INDEX, &fd, 1);
	return r < 0 ? fault_of_ring(fault, r, "IoUring: Could not register file") : 0;
}

/* --- segments */

/* A bit for each block with which @blocks free ones begin. */
static uint64_t free_runs(const struct block_uring *uring, size_t blocks)
{
	uint64_t runs = uring->free_blocks;

	for (size_t i = 1; i < blocks; i++)
		runs &= uring->free_blocks >> i;
	return runs;
}

static size_t blocks_of(size_t count)
{
	return (count + BLOCK_SEGMENTS - 1) / BLOCK_SEGMENTS;
}

static uint64_t run_mask(size_t count)
{
	return (UINT64_C(1) << blocks_of(count)) - 1;	/* of less than 64 */
}

static void store_segments(struct block_uring *uring, struct io *io, const struct iovec *segments,
			   size_t count)
{
	io->count = count;
	io->segments = &io->one;
	if (count > 1) {
		unsigned int first = (unsigned int)__builtin_ctzll(free_runs(uring, blocks_of(count)));

		uring->free_blocks &= ~(run_mask(count) << first);
		io->segments = uring->pool[first];
	}
	memcpy(io->segments, segments, count * sizeof(*segments));
}

static void drop_segments(struct block_uring *uring, struct io *io)
{
	if (io->segments != &io->one) {
		size_t first = (size_t)(io->segments - uring->pool[0]) / BLOCK_SEGMENTS;

		uring->free_blocks |= run_mask(io->count) << first;
	}
}

bool block_uring_has_room(const struct block_uring *uring, size_t count)
{
	return uring->free != NULL && uring->started_bytes < UNDER_WAY_BYTES_MAX &&
	       (count <= 1 || free_runs(uring, blocks_of(count)) != 0);
}

/* --- requests */

/*
 * Into the ring goes what is left of a request. Where the kernel stopped within a segment, that is the rest
 * of this segment; what is behind it comes next.
 */
static void prepare(struct block_uring *uring, struct io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
	const struct iovec *segment = io->segments;
	uint64_t within = io->bytes_done;

	assert(sqe != NULL);
	while (within > 0 && within >= segment->iov_len)
		within -= (segment++)->iov_len;
	if (io->op == BLOCK_URING_FLUSH)
		io_uring_prep_fsync(sqe, FILE_INDEX, IORING_FSYNC_DATASYNC);
	else if (within > 0 || io->count == 1)
		io_uring_prep_rw(io->op == BLOCK_URING_READ ? IORING_OP_READ : IORING_OP_WRITE, sqe,
				 FILE_INDEX, (uint8_t *)segment->iov_base + within,
				 (unsigned int)(segment->iov_len - within),
				 io->offset + io->bytes_done);
	else
		io_uring_prep_rw(io->op == BLOCK_URING_READ ? IORING_OP_READV : IORING_OP_WRITEV, sqe,
				 FILE_INDEX, segment,
				 (unsigned int)(io->count - (size_t)(segment - io->segments)),
				 io->offset + io->bytes_done);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, io);
}

static void fail(struct block_uring *uring, struct io *io, int error)
{
	io->error = error;
	push_io(&uring->failed, io);
}

static void queue(struct block_uring *uring, struct io *io)
{
	if (uring->broken < 0)
		fail(uring, io, uring->broken);
	else
		prepare(uring, io);
}

static uint32_t sum(const struct iovec *segments, size_t count)
{
	uint32_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += (uint32_t)segments[i].iov_len;
	return bytes;
}

unsigned int block_uring_start(struct block_uring *uring, enum block_uring_op op,
			       const struct iovec *segments, size_t count, uint64_t offset)
{
	struct io *io = pop_io(&uring->free);

	assert(io != NULL && count <= VQ_SIZE_MAX);
	*io = (struct io){ .op = op, .number = uring->next_number++, .offset = offset,
			   .bytes = sum(segments, count) };
	store_segments(uring, io, segments, count);
	uring->started++;
	uring->started_bytes += io->bytes;
	if (op == BLOCK_URING_FLUSH && uring->writes > 0) {
		io->writes_before = uring->writes;
		push_io(&uring->held_back, io);
	} else {
		uring->writes += op == BLOCK_URING_WRITE;
		queue(uring, io);
	}
	return (unsigned int)(io - uring->ios);
}

/* The kernel looks at the ring when it is told to, and will not be: what lies there is ours again. */
static void give_up(struct block_uring *uring, int error)
{
	const struct io_uring_sq *sq = &uring->ring.sq;

	uring->broken = error;
	for (unsigned int i = *sq->khead; i != sq->sqe_tail; i++)
		fail(uring, (struct io *)(uintptr_t)sq->sqes[i & sq->ring_mask].user_data, error);
}

int block_uring_submit(struct block_uring *uring)
{
	int handed_over = 0;

	/* As a rule once; again when the kernel did not take all. */
	while (uring->broken == 0 && io_uring_sq_ready(&uring->ring) > 0) {
		int n = io_uring_submit(&uring->ring);

		if (n == 0 || n == -EAGAIN || n == -EBUSY)
			return uring->in_kernel > 0 ? handed_over : -EAGAIN;
		if (n == -EINTR)
			continue;
		if (n > 0)
			uring->in_kernel += (unsigned int)n;
		else
			give_up(uring, n);
		handed_over = 1;
	}
	return handed_over;
}

/* @result: as of a system call. Is there more to do? */
static bool account(struct io *io, int result)
{
	if (result == -EINTR)
		return true;
	if (result < 0)
		io->error = result;
	else if (io->op == BLOCK_URING_FLUSH)
		return false;
	else if (result == 0)
		io->error = -ENODATA;
	else
		io->bytes_done += (uint32_t)result;
	return io->error == 0 && io->bytes_done < io->bytes;
}

static void write_is_done(struct block_uring *uring, const struct io *write)
{
	struct io **link = &uring->held_back;

	uring->writes--;
	while (*link != NULL) {
		struct io *flush = *link;

		if (flush->number > write->number && --flush->writes_before == 0) {
			*link = flush->next;
			queue(uring, flush);
		} else {
			link = &flush->next;
		}
	}
}

static struct io *next_done(struct block_uring *uring)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct io *io = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&uring->ring, cqe);
		uring->in_kernel--;
		if (!account(io, result))
			return io;
		queue(uring, io);
	}
	return pop_io(&uring->failed);
}

bool block_uring_next(struct block_uring *uring, struct block_uring_done *ret_done)
{
	struct io *io = next_done(uring);

	if (io == NULL)
		return false;
	if (io->op == BLOCK_URING_WRITE)
		write_is_done(uring, io);
	*ret_done = (struct block_uring_done){ .slot = (unsigned int)(io - uring->ios),
					       .error = io->error, .bytes = io->bytes_done,
					       .segments = io->segments, .count = io->count };
	return true;
}

void block_uring_release(struct block_uring *uring, unsigned int slot)
{
	struct io *io = &uring->ios[slot];

	drop_segments(uring, io);
	uring->started--;
	uring->started_bytes -= io->bytes;
	push_io(&uring->free, io);
}

static bool may_be_done(const struct block_uring *uring)
{
	return io_uring_cq_ready(&uring->ring) > 0 || uring->failed != NULL;
}

/*
 * By way of the event, which io_uring_enter() is not needed for: that may be what has failed. What is
 * done after the counter is read makes it readable again.
 */
bool block_uring_wait(struct block_uring *uring)
{
	struct pollfd event = { .fd = uring->event_fd, .events = POLLIN };
	uint64_t count;

	if (uring->started == 0)
		return false;
	for (;;) {
		int r = block_uring_submit(uring);
		ssize_t got = read(uring->event_fd, &count, sizeof(count));

		(void)got;	/* EAGAIN: it is 0 already */
		if (may_be_done(uring))
			return true;
		if (r >= 0)
			poll(&event, 1, -1);
	}
}
