/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is a header of 16 bytes, data, and a status byte, which is the last byte that the device
 * writes; how they are spread over descriptors is the driver's choice (virtio 1.2, 2.7.4.1).
 *
 * Requests are carried out one after the other, in the loop. To leave time for what else is in the loop,
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
	struct log *log;
	struct metrics *metrics;
	struct metrics_block *counters;
	/* Too large for the stack of a round: */
	struct vq_chain chain;
	struct iovec data[VQ_SIZE_MAX];
};

struct request {
	uint32_t type;		/* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint32_t data_bytes;	/* what is read from or written to the disk */
	bool malformed;
	bool unsupported;
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

/* The chain has a status byte. */
static struct request parse(const struct block *block, const struct vq_chain *chain)
{
	struct virtio_blk_outhdr header;
	struct request request = { 0 };

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

static uint64_t passed_us(uint64_t since_ns)
{
	return (clock_ns() - since_ns) / 1000;
}

static int read_disk(struct block *block, const struct request *request, uint32_t *ret_done)
{
	const struct vq_chain *chain = &block->chain;
	size_t count = vq_segments_slice(vq_chain_writable(chain), chain->writable_count, 0,
					 request->data_bytes, block->data);
	uint64_t begin_ns = clock_ns(), done;
	int r = block_file_read(&block->file, block->data, count, request->sector * SECTOR_BYTES,
				&done);

	metrics_time(&block->counters->read_agg, passed_us(begin_ns));
	metrics_add(&block->counters->read_bytes, done);
	if (r == 0)
		metrics_inc(&block->counters->read_count);
	*ret_done = (uint32_t)done;
	return r;
}

static int write_disk(struct block *block, const struct request *request)
{
	const struct vq_chain *chain = &block->chain;
	size_t count = vq_segments_slice(vq_chain_readable(chain), chain->readable_count,
					 sizeof(struct virtio_blk_outhdr), request->data_bytes,
					 block->data);
	uint64_t begin_ns = clock_ns(), done;
	int r = block_file_write(&block->file, block->data, count, request->sector * SECTOR_BYTES,
				 &done);

	metrics_time(&block->counters->write_agg, passed_us(begin_ns));
	metrics_add(&block->counters->write_bytes, done);
	if (r == 0)
		metrics_inc(&block->counters->write_count);
	return r;
}

/* Also where the feature was not offered: a driver that asks all the same gets what it asks for. */
static int flush_disk(struct block *block)
{
	int r = block_file_flush(&block->file);

	if (r == 0)
		metrics_inc(&block->counters->flush_count);
	return r;
}

static int carry_out(struct block *block, const struct request *request, uint32_t *ret_done)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		return read_disk(block, request, ret_done);
	case VIRTIO_BLK_T_OUT:
		return write_disk(block, request);
	case VIRTIO_BLK_T_FLUSH:
		return flush_disk(block);
	default:	/* VIRTIO_BLK_T_GET_ID: parse() lets no other through */
		*ret_done = (uint32_t)vq_chain_write(&block->chain, 0, block->file.id,
						     BLOCK_ID_BYTES);
		return 0;
	}
}

/* The status; @ret_done: bytes that were written into the data buffers. */
static uint8_t execute(struct block *block, const struct request *request, uint32_t *ret_done)
{
	char text[OS_ERROR_MAX];
	int r;

	if (request->malformed) {
		metrics_inc(&block->counters->execute_fails);
		log_limited_warn(block->log, "drive %s: malformed request of type %u for sector %llu",
				 block->id, request->type, (unsigned long long)request->sector);
		return VIRTIO_BLK_S_IOERR;
	}
	if (request->unsupported) {
		metrics_inc(&block->counters->invalid_reqs_count);
		log_limited_warn(block->log, "drive %s: there are no requests of type %u", block->id,
				 request->type);
		return VIRTIO_BLK_S_UNSUPP;
	}
	r = carry_out(block, request, ret_done);
	if (r == 0)
		return VIRTIO_BLK_S_OK;
	metrics_inc(&block->counters->invalid_reqs_count);
	log_limited_error(block->log, "drive %s: request of type %u for sector %llu failed: %s",
			  block->id, request->type, (unsigned long long)request->sector,
			  os_error(r, text));
	return VIRTIO_BLK_S_IOERR;
}

/* Without a status byte there is no way to tell the driver. */
static void refuse_without_status(struct block *block)
{
	metrics_inc(&block->counters->execute_fails);
	log_limited_warn(block->log, "drive %s: a request without a status byte", block->id);
	vq_push(&block->device.queues[QUEUE], &block->chain, 0);
}

/* How many bytes that was; -EAGAIN: the limits do not allow it yet, and it is back in the queue. */
static int64_t serve_chain(struct block *block)
{
	struct vq_chain *chain = &block->chain;
	struct request request;
	uint32_t done = 0;
	uint8_t status;

	if (chain->writable_bytes == 0) {
		refuse_without_status(block);
		return 0;
	}
	request = parse(block, chain);
	if (!request.malformed &&
	    !rate_limiter_admit(&block->limiter, request.data_bytes, clock_ns())) {
		metrics_inc(&block->counters->rate_limiter_throttled_events);
		vq_unpop(&block->device.queues[QUEUE]);
		return -EAGAIN;
	}
	status = execute(block, &request, &done);
	vq_chain_write(chain, chain->writable_bytes - 1, &status, sizeof(status));
	vq_push(&block->device.queues[QUEUE], chain, done + 1);
	return request.data_bytes;
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
	else
		serve_queue(block);
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

/* --- the other operations */

static int block_activate(struct virtio_device *device)
{
	(void)device;
	return 0;
}

/* Nothing is kept from one request to the next. The limiter stays as it is: a reset is no way out. */
static void block_reset(struct virtio_device *device)
{
	of_device(device)->kicked_itself = false;
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

	if (block->writeback && block->file.fd >= 0) {
		int r = block_file_flush(&block->file);

		if (r < 0)
			log_error(block->log, "drive %s: flush at the end failed: %s", block->id,
				  os_error(r, text));
	}
	rate_limiter_done(&block->limiter);
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
	block->read_only = config->is_read_only;
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
	block->writeback = config->cache_type == SQUIB_CACHE_WRITEBACK;
	offer_features(block);
	warn_of_tail(block);
	*ret_device = &block->device;
	return 0;
fail:
	block_free(&block->device);
	return r;
}

static void use_file(struct block *block, struct block_file *file)
{
	block_file_done(&block->file);
	block->file = *file;
	warn_of_tail(block);
	if (block->device.transport != NULL)
		block->device.transport->interrupt_config(block->device.transport);
}

int block_update(struct virtio_device *device, const struct squib_drive_update *update, int file_fd,
		 struct fault *fault)
{
	struct block *block = of_device(device);
	struct block_file file;

	assert(device->ops == &block_ops);
	if (file_fd >= 0) {
		int r = block_file_init(&file, file_fd);

		if (r < 0) {
			metrics_inc(&block->counters->update_fails);
			return fault_of_file(fault, r, update->path_on_host);
		}
	}
	pthread_mutex_lock(&device->lock);
	if (file_fd >= 0) {
		use_file(block, &file);
		metrics_inc(&block->counters->update_count);
	}
	if (rate_limiter_update(&block->limiter, update->rate_limiter) && device->active)
		kick_itself(block);
	pthread_mutex_unlock(&device->lock);
	return 0;
}
