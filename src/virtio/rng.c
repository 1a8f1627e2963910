/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is buffers to fill. At most BYTES_MAX of them are, which a driver has to expect (virtio
 * 1.2, 5.4.6.1), so that no request keeps the loop for long.
 */
#include "virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "virtio/device.h"
#include "virtio/rate_limiter.h"

#define BYTES_MAX    65536u
#define ROUND_BYTES  (1u << 20)
#define QUEUE	     0u

struct rng {
	struct virtio_device device;
	struct rate_limiter limiter;
	struct log *log;
	struct metrics_entropy *counters;
};

static struct rng *of_device(struct virtio_device *device)
{
	return container_of(device, struct rng, device);
}

/* It does not block: only a host that has just booted has no entropy yet. Returns bytes or -errno. */
static int fill(const struct iovec *segment, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom((char *)segment->iov_base + done, len - done, GRND_NONBLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return (int)done;
}

static uint32_t fill_chain(struct rng *rng, const struct vq_chain *chain, uint32_t wanted)
{
	const struct iovec *segments = vq_chain_writable(chain);
	uint32_t done = 0;

	for (unsigned int i = 0; done < wanted; i++) {
		size_t rest = wanted - done;
		int r = fill(&segments[i], rest < segments[i].iov_len ? rest : segments[i].iov_len);

		if (r < 0) {
			char text[OS_ERROR_MAX];

			metrics_inc(&rng->counters->host_rng_fails);
			metrics_inc(&rng->counters->entropy_event_fails);
			log_limited_error(rng->log, "entropy: %s", os_error(r, text));
			break;
		}
		done += (uint32_t)r;
	}
	return done;
}

/* How many bytes that was; -EAGAIN: the limits do not allow it yet, and it is back in the queue. */
static int serve_chain(struct rng *rng, const struct vq_chain *chain)
{
	struct vq *vq = &rng->device.queues[QUEUE];
	uint32_t wanted = chain->writable_bytes < BYTES_MAX ? chain->writable_bytes : BYTES_MAX;
	uint32_t done = 0;

	metrics_inc(&rng->counters->entropy_event_count);
	if (chain->readable_count > 0) {	/* 5.4.6.1 */
		metrics_inc(&rng->counters->entropy_event_fails);
		log_limited_warn(rng->log, "entropy: a request with something to read");
	} else if (!rate_limiter_admit(&rng->limiter, wanted, clock_ns())) {
		metrics_inc(&rng->counters->entropy_rate_limiter_throttled);
		vq_unpop(vq);
		return -EAGAIN;
	} else {
		done = fill_chain(rng, chain, wanted);
		metrics_add(&rng->counters->entropy_bytes, done);
	}
	vq_push(vq, chain, done);
	return (int)done;
}

static void rng_queue_kicked(struct virtio_device *device, uint16_t queue)
{
	struct rng *rng = of_device(device);
	struct vq_chain chain;
	unsigned int served = 0;
	uint32_t bytes = 0;

	if (rng->limiter.blocked)
		return;
	while (virtio_queue_pop(device, queue, &chain) > 0) {
		int r = serve_chain(rng, &chain);

		if (r < 0)
			break;
		bytes += (uint32_t)r;
		if (++served == device->queues[queue].size || bytes >= ROUND_BYTES) {
			device->transport->kick_queue(device->transport, queue);
			break;
		}
	}
	virtio_queue_notify(device, queue);
}

/* By way of the queue's kick: the transport knows whether the device is active, or paused. */
static void limiter_unblocked(struct rate_limiter *limiter)
{
	struct rng *rng = container_of(limiter, struct rng, limiter);

	pthread_mutex_lock(&rng->device.lock);
	metrics_inc(&rng->counters->rate_limiter_event_count);
	if (rng->device.active)
		rng->device.transport->kick_queue(rng->device.transport, QUEUE);
	pthread_mutex_unlock(&rng->device.lock);
}

static int rng_activate(struct virtio_device *device)
{
	(void)device;
	return 0;
}

/* Nothing is kept from one request to the next. The limiter stays as it is: a reset is no way out. */
static void rng_reset(struct virtio_device *device)
{
	(void)device;
}

static void rng_free(struct virtio_device *device)
{
	struct rng *rng = of_device(device);

	rate_limiter_done(&rng->limiter);
	virtio_device_done(&rng->device);
	free(rng);
}

/* There is no configuration: config_len is 0, so config_read() is never called. */
static const struct virtio_ops rng_ops = {
	.device_id = VIRTIO_ID_RNG,
	.queue_count = 1,
	.activate = rng_activate,
	.queue_kicked = rng_queue_kicked,
	.reset = rng_reset,
	.free = rng_free,
};

int rng_new(const struct rng_params *params, struct virtio_device **ret_device)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	int r;

	if (rng == NULL)
		return -ENOMEM;
	virtio_device_init(&rng->device, &rng_ops);
	rng->log = params->log;
	rng->counters = &params->metrics->entropy;
	r = rate_limiter_init(&rng->limiter, params->loop, params->config->rate_limiter,
			      limiter_unblocked);
	if (r < 0) {
		rng_free(&rng->device);
		return r;
	}
	*ret_device = &rng->device;
	return 0;
}
