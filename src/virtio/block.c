/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is a header of 16 bytes, data, and a status byte, which is the last byte that the device
 * writes; how they are spread over descriptors is the driver's choice (virtio 1.2, 2.7.4.1).
 *
 * With io_engine Sync requests are carried out one after the other, in the loop; with Async those that
 * reach the disk are started, and completed as they are done. To leave time for what else is in the loop,
 * a round ends after as many requests as the ring has, or ROUND_BYTES, and kicks its own queue
 * to go on; and a request may not be larger than size_max and seg_max say, so that no guest can
 * have the loop busy with one for long.
 */
#include "virtio/block.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/block_file.h"
#include "virtio/block_uring.h"
#include "virtio/device.h"
#include "virtio/rate_limiter.h"

#define SECTOR_BYTES 512u
#define SEG_MAX	     (VQ_SIZE_MAX - 2)	/* a request has a header and a status too */
#define SIZE_MAX_BYTES (1u << 20)	/* of a segment; Linux's are smaller */
#define REQUEST_BYTES_MAX (SEG_MAX * SIZE_MAX_BYTES)
#define ROUND_BYTES  (8u << 20)

#define QUEUE 0u

static_assert(BLOCK_ID_BYTES == VIRTIO_BLK_ID_BYTES, "as the standard has it");

/* The configuration as far as it means something: up to seg_max (5.2.4). */
#define CONFIG_BYTES (offsetof(struct virtio_blk_config, seg_max) + sizeof(uint32_t))

struct block {
	struct virtio_device device;
	struct block_file file;
	char *id;		/* for the log */
	bool read_only;
	bool writeback;
	bool kicked_itself;	/* the next kick, or one merged into it, is not the driver's */
	struct rate_limiter limiter;
	uint64_t now_ns;	/* as it was last looked at in this round */
	/* With io_engine Async, else NULL: */
	struct block_uring *uring;
	struct request *started;	/* for each of its slots */
	bool throttled;		/* a request found no room in it */
	struct loop_source uring_event;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct metrics_block *counters;
	/* Too large for the stack of a round: */
	struct vq_chain chain;
	struct iovec data[VQ_SIZE_MAX];	/* of the request in @chain */
};

struct request {
	uint32_t type;		/* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint32_t data_bytes;	/* what is read from or written to the disk */
	bool malformed;
	bool unsupported;
	uint16_t head;
	uint8_t *status;	/* in guest memory */
	uint64_t begin_ns;
};

static struct block *of_device(struct virtio_device *device)
{
	return container_of(device, struct block, device);
}

/* --- requests */

static bool lies_on_disk(const struct block *block, const struct request *request)
{
	uint64_t sectors = block->file.size_bytes / SECTOR_BYTES;

	return request->data_bytes > 0 && request->data_bytes % SECTOR_BYTES == 0 &&
	       request->data_bytes <= REQUEST_BYTES_MAX &&
	       request->sector <= sectors &&
	       request->data_bytes / SECTOR_BYTES <= sectors - request->sector;
}

static uint8_t *status_byte(const struct vq_chain *chain)
{
	const struct iovec *last = vq_chain_writable(chain) + chain->writable_count - 1;

	return (uint8_t *)last->iov_base + last->iov_len - 1;
}

/* The chain has a status byte. */
static struct request parse(const struct block *block, const struct vq_chain *chain)
{
	struct request request = { .head = chain->head, .status = status_byte(chain),
				   .begin_ns = block->now_ns };
	struct virtio_blk_outhdr header;

	if (vq_chain_read(chain, 0, &header, sizeof(header)) < sizeof(header)) {
		request.malformed = true;
		return request;
	}
	request.type = le32toh(header.type);
	request.sector = le64toh(header.sector);
	switch (request.type) {
	case VIRTIO_BLK_T_IN:
		request.data_bytes = chain->writable_bytes - 1;
		request.malformed = !lies_on_disk(block, &request);
		break;
	case VIRTIO_BLK_T_OUT:
		request.data_bytes = chain->readable_bytes - (uint32_t)sizeof(header);
		request.malformed = block->read_only || !lies_on_disk(block, &request);
		break;
	case VIRTIO_BLK_T_GET_ID:
		request.malformed = chain->writable_bytes - 1 < BLOCK_ID_BYTES;
		break;
	case VIRTIO_BLK_T_FLUSH:
		break;
	default:
		request.unsupported = true;
		break;
	}
	return request;
}

/* What is read from or written to the disk as segments in block->data; how many. */
static size_t slice_data(struct block *block, const struct request *request)
{
	const struct vq_chain *chain = &block->chain;

	if (request->type == VIRTIO_BLK_T_OUT)
		return vq_segments_slice(vq_chain_readable(chain), chain->readable_count,
					 sizeof(struct virtio_blk_outhdr), request->data_bytes,
					 block->data);
	return vq_segments_slice(vq_chain_writable(chain), chain->writable_count, 0,
				 request->data_bytes, block->data);
}

static bool is_of_disk(const struct request *request)
{
	return !request->malformed && !request->unsupported &&
	       request->type != VIRTIO_BLK_T_GET_ID;
}

/* From the segments in block->data, which are used up. */
static int transfer(struct block *block, const struct request *request, size_t count,
		    uint64_t *ret_bytes)
{
	uint64_t offset = request->sector * SECTOR_BYTES;
	int r;

	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		r = block_file_read(&block->file, block->data, count, offset, ret_bytes);
		break;
	case VIRTIO_BLK_T_OUT:
		r = block_file_write(&block->file, block->data, count, offset, ret_bytes);
		break;
	default:	/* also where it was not offered: who asks all the same gets what he asks for */
		r = block_file_flush(&block->file);
		break;
	}
	block->now_ns = clock_ns();
	return r;
}

static void count_transfer(const struct block *block, const struct request *request, int r,
			   uint64_t bytes)
{
	struct metrics_block *counters = block->counters;
	uint64_t passed_us = (block->now_ns - request->begin_ns) / 1000;

	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		metrics_time(&counters->read_agg, passed_us);
		metrics_add(&counters->read_bytes, bytes);
		metrics_add(&counters->read_count, r == 0);
		break;
	case VIRTIO_BLK_T_OUT:
		metrics_time(&counters->write_agg, passed_us);
		metrics_add(&counters->write_bytes, bytes);
		metrics_add(&counters->write_count, r == 0);
		break;
	default:
		metrics_add(&counters->flush_count, r == 0);
		break;
	}
}

/* The disk was asked. The status is written; how many bytes were written to the request. */
static uint32_t conclude(const struct block *block, const struct request *request, int r,
			 uint64_t bytes)
{
	char text[OS_ERROR_MAX];

	count_transfer(block, request, r, bytes);
	*request->status = r == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
	if (r < 0) {
		metrics_inc(&block->counters->invalid_reqs_count);
		log_limited_error(block->log, "drive %s: request of type %u for sector %llu failed: %s",
				  block->id, request->type, (unsigned long long)request->sector,
				  os_error(r, text));
	}
	return 1 + (request->type == VIRTIO_BLK_T_IN ? (uint32_t)bytes : 0);
}

/* A request that does not reach the disk; as conclude(). */
static uint32_t answer(const struct block *block, const struct request *request)
{
	if (request->malformed) {
		metrics_inc(&block->counters->execute_fails);
		log_limited_warn(block->log, "drive %s: malformed request of type %u for sector %llu",
				 block->id, request->type, (unsigned long long)request->sector);
		*request->status = VIRTIO_BLK_S_IOERR;
		return 1;
	}
	if (request->unsupported) {
		metrics_inc(&block->counters->invalid_reqs_count);
		log_limited_warn(block->log, "drive %s: there are no requests of type %u", block->id,
				 request->type);
		*request->status = VIRTIO_BLK_S_UNSUPP;
		return 1;
	}
	vq_chain_write(&block->chain, 0, block->file.id, BLOCK_ID_BYTES);
	*request->status = VIRTIO_BLK_S_OK;
	return BLOCK_ID_BYTES + 1;
}

/* Without a status byte there is no way to tell the driver. */
static uint32_t refuse_without_status(const struct block *block)
{
	metrics_inc(&block->counters->execute_fails);
	log_limited_warn(block->log, "drive %s: a request without a status byte", block->id);
	return 0;
}

/* --- rounds */

static void start(struct block *block, const struct request *request, size_t count)
{
	static const enum block_uring_op ops[] = {
		[VIRTIO_BLK_T_IN] = BLOCK_URING_READ,
		[VIRTIO_BLK_T_OUT] = BLOCK_URING_WRITE,
		[VIRTIO_BLK_T_FLUSH] = BLOCK_URING_FLUSH,
	};
	unsigned int slot = block_uring_start(block->uring, ops[request->type], block->data, count,
					      request->sector * SECTOR_BYTES);

	block->started[slot] = *request;
}

static bool find_room(struct block *block, size_t count)
{
	if (block_uring_has_room(block->uring, count))
		return true;
	block->throttled = true;
	metrics_inc(&block->counters->io_engine_throttled_events);
	return false;
}

static bool admit(struct block *block, const struct request *request)
{
	if (request->malformed ||
	    rate_limiter_admit(&block->limiter, request->data_bytes, block->now_ns))
		return true;
	metrics_inc(&block->counters->rate_limiter_throttled_events);
	return false;
}

/* Room is looked for first: limits are paid once. False: the request has to wait. */
static bool serve_request(struct block *block, const struct request *request)
{
	struct vq *vq = &block->device.queues[QUEUE];
	uint64_t bytes = 0;
	size_t count;
	int r;

	if (!is_of_disk(request)) {
		if (!admit(block, request))
			return false;
		vq_push(vq, &block->chain, answer(block, request));
		return true;
	}
	count = slice_data(block, request);
	if (block->uring != NULL && !find_room(block, count))
		return false;
	if (!admit(block, request))
		return false;
	if (block->uring != NULL) {
		start(block, request, count);
		return true;
	}
	r = transfer(block, request, count, &bytes);
	vq_push(vq, &block->chain, conclude(block, request, r, bytes));
	return true;
}

/* How many bytes that was; -EAGAIN: it has to wait, and is back in the queue. */
static int64_t serve_chain(struct block *block)
{
	struct vq *vq = &block->device.queues[QUEUE];
	struct request request;

	if (block->chain.writable_bytes == 0) {
		vq_push(vq, &block->chain, refuse_without_status(block));
		return 0;
	}
	request = parse(block, &block->chain);
	if (serve_request(block, &request))
		return request.data_bytes;
	vq_unpop(vq);
	return -EAGAIN;
}

static void kick_itself(struct block *block)
{
	block->kicked_itself = true;
	block->device.transport->kick_queue(block->device.transport, QUEUE);
}

static void serve_queue(struct block *block)
{
	struct vq *vq = &block->device.queues[QUEUE];
	uint64_t bytes = 0;
	unsigned int served = 0;

	block->now_ns = clock_ns();
	while (virtio_queue_pop(&block->device, QUEUE, &block->chain) > 0) {
		int64_t r;

		metrics_add(&block->counters->remaining_reqs_count, vq_waiting(vq));
		r = serve_chain(block);
		if (r < 0)
			break;
		bytes += (uint64_t)r;
		if (++served == vq->size || bytes >= ROUND_BYTES) {
			kick_itself(block);
			break;
		}
	}
	if (served == 0)
		metrics_inc(&block->counters->no_avail_buffer);
}

static void finish(struct block *block, const struct block_uring_done *done)
{
	struct vq *vq = &block->device.queues[QUEUE];
	const struct request *request = &block->started[done->slot];
	uint32_t written = conclude(block, request, done->error, done->bytes);

	if (request->type == VIRTIO_BLK_T_IN)
		for (size_t i = 0; i < done->count; i++)
			guest_mem_mark_dirty(vq->mem, done->segments[i].iov_base,
					     done->segments[i].iov_len);
	guest_mem_mark_dirty(vq->mem, request->status, sizeof(*request->status));
	vq_add_used(vq, request->head, NULL, 0, written);	/* what was written is marked */
}

/* If there was any, what found no room tries again. */
static void finish_done(struct block *block)
{
	struct block_uring_done done;
	bool any = false;

	while (block_uring_next(block->uring, &done)) {
		if (!any)
			block->now_ns = clock_ns();
		any = true;
		finish(block, &done);
		block_uring_release(block->uring, done.slot);
	}
	if (!any)
		return;
	vq_publish_used(&block->device.queues[QUEUE]);
	if (block->throttled) {
		block->throttled = false;
		kick_itself(block);
	}
}

/* What was started goes to the kernel, what is done to the driver, which is told once. */
static void end_round(struct block *block)
{
	if (block->uring != NULL) {
		int r;

		do {
			finish_done(block);
			r = block_uring_submit(block->uring);
		} while (r > 0);
		if (r < 0)
			kick_itself(block);
	}
	virtio_queue_notify(&block->device, QUEUE);
}

static void block_queue_kicked(struct virtio_device *device, uint16_t queue)
{
	struct block *block = of_device(device);

	(void)queue;
	if (!block->kicked_itself)
		metrics_inc(&block->counters->queue_event_count);
	block->kicked_itself = false;
	if (block->limiter.blocked)
		metrics_inc(&block->counters->rate_limiter_throttled_events);
	else if (block->throttled)
		metrics_inc(&block->counters->io_engine_throttled_events);
	else
		serve_queue(block);
	end_round(block);
}

static void uring_event(struct loop_source *source, uint32_t events)
{
	struct block *block = container_of(source, struct block, uring_event);

	(void)events;
	pthread_mutex_lock(&block->device.lock);
	end_round(block);
	pthread_mutex_unlock(&block->device.lock);
}

/* By way of the queue's kick: the transport knows whether the device is active, or paused. */
static void limiter_unblocked(struct rate_limiter *limiter)
{
	struct block *block = container_of(limiter, struct block, limiter);

	pthread_mutex_lock(&block->device.lock);
	metrics_inc(&block->counters->rate_limiter_event_count);
	if (block->device.active)
		kick_itself(block);
	pthread_mutex_unlock(&block->device.lock);
}

/* Nothing is under way after it. */
static void finish_all(struct block *block)
{
	if (block->uring == NULL)
		return;
	while (block_uring_wait(block->uring))
		finish_done(block);
	virtio_queue_notify(&block->device, QUEUE);
}

static void drop_all(struct block *block)
{
	struct block_uring_done done;

	if (block->uring == NULL)
		return;
	while (block_uring_wait(block->uring))
		while (block_uring_next(block->uring, &done))
			block_uring_release(block->uring, done.slot);
	block->throttled = false;
}

/* --- the other operations */

static int block_activate(struct virtio_device *device)
{
	(void)device;
	return 0;
}

/* The limiter stays as it is: a reset is no way out. */
static void block_reset(struct virtio_device *device)
{
	struct block *block = of_device(device);

	drop_all(block);
	block->kicked_itself = false;
}

/* Nothing begins by itself after that: there are kicks, and what is under way, alone. */
static void block_pause(struct virtio_device *device)
{
	finish_all(of_device(device));
}

static void block_config_read(struct virtio_device *device, uint32_t offset, void *data, size_t len)
{
	struct virtio_blk_config config = {
		.capacity = htole64(of_device(device)->file.size_bytes / SECTOR_BYTES),
		.size_max = htole32(SIZE_MAX_BYTES),
		.seg_max = htole32(SEG_MAX),
	};

	memcpy(data, (const uint8_t *)&config + offset, len);
}

static void block_free(struct virtio_device *device)
{
	struct block *block = of_device(device);
	char text[OS_ERROR_MAX];

	drop_all(block);
	if (block->writeback && block->file.fd >= 0) {
		int r = block_file_flush(&block->file);

		if (r < 0)
			log_error(block->log, "drive %s: flush at the end failed: %s", block->id,
				  os_error(r, text));
	}
	rate_limiter_done(&block->limiter);
	loop_remove(block->loop, &block->uring_event);
	block_uring_free(block->uring);
	free(block->started);
	block_file_done(&block->file);
	metrics_block_unregister(block->metrics, block->counters);
	virtio_device_done(&block->device);
	free(block->id);
	free(block);
}

static const struct virtio_ops block_ops = {
	.device_id = VIRTIO_ID_BLOCK,
	.queue_count = 1,
	.activate = block_activate,
	.queue_kicked = block_queue_kicked,
	.reset = block_reset,
	.pause = block_pause,
	.config_read = block_config_read,
	.free = block_free,
};

static int fault_of_file(struct fault *fault, int r, const char *path)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, r, "Virtio backend error: Error manipulating the backing file: %s %s",
			 os_error(r, text), path != NULL ? path : "");
}

static void warn_of_tail(const struct block *block)
{
	if (block->file.size_bytes % SECTOR_BYTES != 0)
		log_warn(block->log, "Disk size %llu is not a multiple of sector size %u; the "
			 "remainder will not be visible to the guest.",
			 (unsigned long long)block->file.size_bytes, SECTOR_BYTES);
}

static void offer_features(struct block *block)
{
	block->device.features |= UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX |
				  UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX;
	if (block->read_only)
		block->device.features |= UINT64_C(1) << VIRTIO_BLK_F_RO;
	if (block->writeback)
		block->device.features |= UINT64_C(1) << VIRTIO_BLK_F_FLUSH;
	block->device.config_len = CONFIG_BYTES;
}

static int make_uring(struct block *block, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	int r = block_uring_new(block->file.fd, &block->uring, fault);

	if (r < 0)
		return r;
	block->started = calloc(BLOCK_URING_SLOTS, sizeof(*block->started));
	block->uring_event.fd = block_uring_event_fd(block->uring);
	r = block->started != NULL ? loop_add(block->loop, &block->uring_event) : -ENOMEM;
	return r < 0 ? fault_set(fault, r, "Virtio backend error: %s", os_error(r, text)) : 0;
}

int block_new(const struct block_params *params, struct virtio_device **ret_device,
	      struct fault *fault)
{
	const struct squib_drive *config = params->config;
	struct block *block = calloc(1, sizeof(*block));
	int r;

	if (block == NULL)
		return fault_set(fault, -ENOMEM, "out of memory");
	virtio_device_init(&block->device, &block_ops);
	block->file.fd = -1;
	block->uring_event = (struct loop_source){ .fd = -1, .events = EPOLLIN | EPOLLET,
						   .ready = uring_event };
	block->read_only = config->is_read_only;
	block->loop = params->loop;
	block->log = params->log;
	block->metrics = params->metrics;
	r = block_file_init(&block->file, params->file_fd);
	if (r < 0) {
		fault_of_file(fault, r, config->path_on_host);
		goto fail;
	}
	r = rate_limiter_init(&block->limiter, params->loop, config->rate_limiter,
			      limiter_unblocked);
	block->counters = metrics_block_register(params->metrics, config->drive_id);
	block->id = strdup(config->drive_id);
	if (r == 0 && (block->counters == NULL || block->id == NULL))
		r = -ENOMEM;
	if (r < 0) {
		char text[OS_ERROR_MAX];

		fault_set(fault, r, "Virtio backend error: %s", os_error(r, text));
		goto fail;
	}
	r = config->io_engine == SQUIB_IO_ENGINE_ASYNC ? make_uring(block, fault) : 0;
	if (r < 0)
		goto fail;
	block->writeback = config->cache_type == SQUIB_CACHE_WRITEBACK;
	offer_features(block);
	warn_of_tail(block);
	*ret_device = &block->device;
	return 0;
fail:
	block_free(&block->device);
	return r;
}

static int use_file(struct block *block, struct block_file *file, struct fault *fault)
{
	int r = 0;

	finish_all(block);
	if (block->uring != NULL)
		r = block_uring_set_file(block->uring, file->fd, fault);
	if (r < 0) {
		block_file_done(file);
		return r;
	}
	block_file_done(&block->file);
	block->file = *file;
	warn_of_tail(block);
	if (block->device.transport != NULL)
		block->device.transport->interrupt_config(block->device.transport);
	return 0;
}

int block_update(struct virtio_device *device, const struct squib_drive_update *update, int file_fd,
		 struct fault *fault)
{
	struct block *block = of_device(device);
	struct block_file file;
	int r = 0;

	assert(device->ops == &block_ops);
	if (file_fd >= 0) {
		r = block_file_init(&file, file_fd);
		if (r < 0) {
			metrics_inc(&block->counters->update_fails);
			return fault_of_file(fault, r, update->path_on_host);
		}
	}
	pthread_mutex_lock(&device->lock);
	if (file_fd >= 0) {
		r = use_file(block, &file, fault);
		metrics_inc(r == 0 ? &block->counters->update_count : &block->counters->update_fails);
	}
	if (r == 0 && rate_limiter_update(&block->limiter, update->rate_limiter) && device->active)
		kick_itself(block);
	pthread_mutex_unlock(&device->lock);
	return r;
}
