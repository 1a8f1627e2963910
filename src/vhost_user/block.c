/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's kicks go from the transport's eventfd straight to the back end. Its interrupts come
 * to the loop, as the transport has more to do than to signal a descriptor.
 *
 * The driver's reset stops the ring, and waits for the back end to say so: what it does to memory
 * after that is not the driver's any more. While the machine stands still the back end finishes what
 * it has; nobody looks at memory then, since a machine with such a drive cannot be saved.
 *
 * activate() and reset() come from a vCPU, which may not take sources from the loop: the channel is
 * shut down when something goes wrong, and the loop sees it hang up.
 */
#include "vhost_user/block.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "vhost_user/frontend.h"
#include "virtio/device.h"

#define TIMEOUT_MS 2000u
#define QUEUE	   0u

/* The configuration that is asked for and shown: as upstream. */
#define CONFIG_BYTES 60u
#define SEG_MAX	     (VQ_SIZE_MAX - 2)	/* a request has a header and a status too */

static_assert(GUEST_REGIONS_MAX <= VU_REGIONS_MAX, "all memory can be told of");
static_assert(CONFIG_BYTES <= sizeof(struct virtio_blk_config), "as the standard has it");

struct vhost_user_block {
	struct virtio_device device;
	struct vu_frontend frontend;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct metrics_vhost_user_block *counters;
	char *id;		/* for the log */
	struct loop_source hangup;
	struct loop_source call;
	uint64_t backend_features;	/* those of ours that the back end has, with the protocol's */
	bool started;			/* the ring is the back end's */
	uint8_t config[CONFIG_BYTES];
};

static struct vhost_user_block *of_device(struct virtio_device *device)
{
	return container_of(device, struct vhost_user_block, device);
}

/* --- faults */

#define REASON_MAX (OS_ERROR_MAX + 64)

/* As upstream's library puts it. */
static const char *reason(int r, char text[REASON_MAX])
{
	char os[OS_ERROR_MAX];

	switch (r) {
	case -ESHUTDOWN:
		return "partial message";
	case -EPROTO:
		return "invalid message";
	case -EREMOTEIO:
		return "backend internal error";
	case -EOPNOTSUPP:
		return "virtio/protocol features mismatch";
	case -EPIPE:
	case -ECONNRESET:
		snprintf(text, REASON_MAX, "socket is broken: %s", os_error(r, os));
		return text;
	default:
		snprintf(text, REASON_MAX, "socket error: %s", os_error(r, os));
		return text;
	}
}

static int fault_of_step(struct fault *fault, int r, const char *step)
{
	char text[REASON_MAX];

	return fault_set(fault, r, "Vhost user backend error: Vhost-user error: %s failed: vhost-user: %s",
			 step, reason(r, text));
}

static int fault_of_config(struct fault *fault, int r)
{
	char text[REASON_MAX];

	return fault_set(fault, r, "Vhost user backend error: Vhost error: vhost-user: %s",
			 reason(r, text));
}

static int fault_of_memory(struct fault *fault)
{
	return fault_set(fault, -ENOMEM, "out of memory");
}

/* --- what the back end has */

static uint64_t wanted_features(const struct vhost_user_block *block, bool flush)
{
	return block->device.features | VU_F_PROTOCOL_FEATURES |
	       UINT64_C(1) << VIRTIO_BLK_F_RO | UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX |
	       UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
	       UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY |
	       (uint64_t)flush << VIRTIO_BLK_F_FLUSH;
}

static uint64_t features_of_config(void)
{
	return UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX | UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX |
	       UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE | UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY;
}

static int negotiate_protocol(struct vhost_user_block *block, struct fault *fault)
{
	struct vu_frontend *frontend = &block->frontend;
	uint64_t features;
	int r = vu_frontend_ask_u64(frontend, VU_GET_PROTOCOL_FEATURES, &features);

	if (r < 0)
		return fault_of_step(fault, r, "Get protocol features");
	features &= VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_REPLY_ACK;
	r = vu_frontend_tell(frontend, VU_SET_PROTOCOL_FEATURES, &features, sizeof(features), NULL, 0);
	if (r < 0)
		return fault_of_step(fault, r, "Set protocol features");
	frontend->protocol_features = features;
	return 0;
}

static bool has_config(const struct vhost_user_block *block)
{
	return (block->frontend.protocol_features & VU_PROTOCOL_F_CONFIG) != 0;
}

static int negotiate(struct vhost_user_block *block, bool flush, struct fault *fault)
{
	uint64_t features;
	int r = vu_frontend_tell(&block->frontend, VU_SET_OWNER, NULL, 0, NULL, 0);

	if (r < 0)
		return fault_of_step(fault, r, "Set owner");
	r = vu_frontend_ask_u64(&block->frontend, VU_GET_FEATURES, &features);
	/* A back end for legacy drivers has none here. */
	if (r == 0 && (features >> VIRTIO_F_VERSION_1 & 1) == 0)
		r = -EOPNOTSUPP;
	if (r < 0)
		return fault_of_step(fault, r, "Get features");
	features &= wanted_features(block, flush);
	if ((features & VU_F_PROTOCOL_FEATURES) != 0)
		r = negotiate_protocol(block, fault);
	if (r < 0)
		return r;
	if (!has_config(block))
		features &= ~features_of_config();
	block->backend_features = features;
	block->device.features = features & ~VU_F_PROTOCOL_FEATURES;
	block->device.config_len = has_config(block) ? CONFIG_BYTES : 0;
	return 0;
}

/* A request with more segments than the ring has would not fit. */
static void limit_segments(uint8_t config[CONFIG_BYTES])
{
	const size_t at = offsetof(struct virtio_blk_config, seg_max);
	uint32_t seg_max;

	memcpy(&seg_max, config + at, sizeof(seg_max));
	if (le32toh(seg_max) > SEG_MAX) {
		seg_max = htole32(SEG_MAX);
		memcpy(config + at, &seg_max, sizeof(seg_max));
	}
}

static int read_backend_config(struct vhost_user_block *block)
{
	struct vu_config config = { .size = CONFIG_BYTES, .flags = 1 };
	int r = vu_frontend_ask(&block->frontend, VU_GET_CONFIG, &config,
				offsetof(struct vu_config, data) + CONFIG_BYTES);

	if (r < 0)
		return r;
	if (config.size != CONFIG_BYTES || config.offset != 0)
		return config.size == 0 ? -EREMOTEIO : -EPROTO;
	memcpy(block->config, config.data, CONFIG_BYTES);
	limit_segments(block->config);
	return 0;
}

/* --- starting and stopping the ring */

static int tell_memory(struct vhost_user_block *block, const struct guest_mem *mem)
{
	struct vu_mem_table table = { .region_count = (uint32_t)guest_mem_region_count(mem) };
	int fds[VU_FDS_MAX];

	if (guest_mem_fd(mem) < 0)
		return -EBADF;
	for (uint32_t i = 0; i < table.region_count; i++) {
		const struct guest_region *region = guest_mem_region(mem, i);

		table.regions[i] = (struct vu_region){
			.gpa = region->start,
			.size_bytes = region->size_bytes,
			.user_addr = (uintptr_t)guest_mem_region_data(mem, i),
			.offset = guest_mem_region_offset(mem, i),
		};
		fds[i] = guest_mem_fd(mem);
	}
	return vu_frontend_tell(&block->frontend, VU_SET_MEM_TABLE, &table,
				offsetof(struct vu_mem_table, regions) +
					table.region_count * (uint32_t)sizeof(table.regions[0]),
				fds, table.region_count);
}

static int user_addr(const struct guest_mem *mem, gpa_t gpa, __u64 *ret_addr)
{
	void *data;
	int r = guest_mem_slice(mem, gpa, 1, &data);

	if (r == 0)
		*ret_addr = (uintptr_t)data;
	return r;
}

static int tell_state(struct vhost_user_block *block, enum vu_request request, unsigned int num)
{
	struct vhost_vring_state state = { .index = QUEUE, .num = num };

	return vu_frontend_tell(&block->frontend, request, &state, sizeof(state), NULL, 0);
}

static int tell_event(struct vhost_user_block *block, enum vu_request request, int fd)
{
	uint64_t index = QUEUE;

	return vu_frontend_tell(&block->frontend, request, &index, sizeof(index), &fd, 1);
}

static int tell_ring(struct vhost_user_block *block, const struct guest_mem *mem)
{
	const struct virtio_transport *transport = block->device.transport;
	const struct vq *vq = &block->device.queues[QUEUE];
	struct vhost_vring_addr addr = { .index = QUEUE };
	int r = user_addr(mem, vq->desc_gpa, &addr.desc_user_addr);

	if (r == 0)
		r = user_addr(mem, vq->avail_gpa, &addr.avail_user_addr);
	if (r == 0)
		r = user_addr(mem, vq->used_gpa, &addr.used_user_addr);
	if (r == 0)
		r = tell_state(block, VU_SET_VRING_NUM, vq->size);
	if (r == 0)
		r = vu_frontend_tell(&block->frontend, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (r == 0)
		r = tell_state(block, VU_SET_VRING_BASE, 0);
	if (r == 0)
		r = tell_event(block, VU_SET_VRING_CALL, block->call.fd);
	if (r == 0)
		r = tell_event(block, VU_SET_VRING_KICK, transport->kick_fd(transport, QUEUE));
	if (r == 0 && (block->backend_features & VU_F_PROTOCOL_FEATURES) != 0)
		r = tell_state(block, VU_SET_VRING_ENABLE, 1);
	return r;
}

static int start(struct vhost_user_block *block)
{
	const struct virtio_transport *transport = block->device.transport;
	const struct guest_mem *mem = transport->memory(transport);
	uint64_t features = block->device.acked_features |
			    (block->backend_features & VU_F_PROTOCOL_FEATURES);
	int r;

	vu_frontend_begin(&block->frontend, TIMEOUT_MS);
	r = vu_frontend_tell(&block->frontend, VU_SET_FEATURES, &features, sizeof(features), NULL, 0);
	if (r == 0)
		r = tell_memory(block, mem);
	if (r == 0)
		r = tell_ring(block, mem);
	block->started = true;	/* in part, after a failure */
	return r;
}

static uint64_t passed_us(uint64_t since_ns)
{
	return (clock_ns() - since_ns) / 1000;
}

static int block_activate(struct virtio_device *device)
{
	struct vhost_user_block *block = of_device(device);
	uint64_t begin_ns = clock_ns();
	int r;

	if (!device->queues[QUEUE].enabled)
		return 0;
	r = start(block);
	if (r < 0) {
		metrics_inc(&block->counters->activate_fails);
		return r;
	}
	metrics_store(&block->counters->activate_time_us, passed_us(begin_ns));
	return 0;
}

static void block_reset(struct virtio_device *device)
{
	struct vhost_user_block *block = of_device(device);
	struct vhost_vring_state state = { .index = QUEUE };
	char text[REASON_MAX];
	int r;

	if (!block->started)
		return;
	block->started = false;
	if (block->frontend.broken)
		return;
	vu_frontend_begin(&block->frontend, TIMEOUT_MS);
	r = vu_frontend_ask(&block->frontend, VU_GET_VRING_BASE, &state, sizeof(state));
	if (r < 0)
		log_limited_error(block->log, "drive %s: the vhost-user back end does not stop: %s",
				  block->id, reason(r, text));
}

/* --- sources */

static void call_ready(struct loop_source *source, uint32_t events)
{
	struct vhost_user_block *block = container_of(source, struct vhost_user_block, call);
	const struct virtio_transport *transport;

	(void)events;
	pthread_mutex_lock(&block->device.lock);
	transport = block->device.transport;
	if (block->device.active)
		transport->interrupt_queue(transport, QUEUE);
	pthread_mutex_unlock(&block->device.lock);
}

static void hangup_ready(struct loop_source *source, uint32_t events)
{
	struct vhost_user_block *block = container_of(source, struct vhost_user_block, hangup);

	(void)events;
	loop_remove(block->loop, source);
	pthread_mutex_lock(&block->device.lock);
	block->frontend.broken = true;
	pthread_mutex_unlock(&block->device.lock);
	log_error(block->log, "drive %s: the vhost-user back end is gone; what the guest asks of the drive "
		  "is not done any more", block->id);
}

/* Calls are edges and never read, as kicks in virtio/mmio.c. */
static int watch(struct vhost_user_block *block)
{
	int r;

	block->call.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (block->call.fd < 0)
		return -errno;
	r = loop_add(block->loop, &block->call);
	if (r < 0)
		return r;
	block->hangup.fd = block->frontend.channel.fd;
	return loop_add(block->loop, &block->hangup);
}

/* --- the other operations */

static void block_config_read(struct virtio_device *device, uint32_t offset, void *data, size_t len)
{
	memcpy(data, of_device(device)->config + offset, len);
}

static void block_free(struct virtio_device *device)
{
	struct vhost_user_block *block = of_device(device);

	loop_remove(block->loop, &block->hangup);
	loop_remove(block->loop, &block->call);
	fd_close(block->call.fd);
	vu_frontend_done(&block->frontend);
	metrics_vhost_user_block_unregister(block->metrics, block->counters);
	virtio_device_done(&block->device);
	free(block->id);
	free(block);
}

static const struct virtio_ops block_ops = {
	.device_id = VIRTIO_ID_BLOCK,
	.queue_count = 1,
	.served_elsewhere = true,
	.activate = block_activate,
	.reset = block_reset,
	.config_read = block_config_read,
	.free = block_free,
};

static int fault_of_connect(struct fault *fault, int r)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, r, "Vhost user backend error: Vhost-user error: Failed to connect to UDS "
			 "Unix stream: %s", r == -ENAMETOOLONG ?
			 "path must be shorter than SUN_LEN" : os_error(r, text));
}

int vhost_user_block_connect(const char *path, struct fault *fault)
{
	int fd = vu_connect(path);

	return fd < 0 ? fault_of_connect(fault, fd) : fd;
}

static int ask_backend(struct vhost_user_block *block, const struct vhost_user_block_params *params,
		       struct fault *fault)
{
	int fd = fcntl(params->fd, F_DUPFD_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return fault_of_connect(fault, -errno);
	vu_frontend_init(&block->frontend, fd);
	vu_frontend_begin(&block->frontend, TIMEOUT_MS);
	r = negotiate(block, params->config->cache_type == SQUIB_CACHE_WRITEBACK, fault);
	if (r == 0 && has_config(block)) {
		r = read_backend_config(block);
		if (r < 0)
			fault_of_config(fault, r);
	}
	return r;
}

int vhost_user_block_new(const struct vhost_user_block_params *params,
			 struct virtio_device **ret_device, struct fault *fault)
{
	struct vhost_user_block *block = calloc(1, sizeof(*block));
	uint64_t begin_ns = clock_ns();
	char text[OS_ERROR_MAX];
	int r;

	if (block == NULL)
		return fault_of_memory(fault);
	virtio_device_init(&block->device, &block_ops);
	block->loop = params->loop;
	block->log = params->log;
	block->metrics = params->metrics;
	block->call = (struct loop_source){ .fd = -1, .events = EPOLLIN | EPOLLET,
					    .ready = call_ready };
	block->hangup = (struct loop_source){ .fd = -1, .events = EPOLLRDHUP, .ready = hangup_ready };
	vu_frontend_init(&block->frontend, -1);
	r = ask_backend(block, params, fault);
	if (r < 0)
		goto fail;
	block->counters = metrics_vhost_user_block_register(params->metrics, params->config->drive_id);
	block->id = strdup(params->config->drive_id);
	if (block->counters == NULL || block->id == NULL) {
		r = fault_of_memory(fault);
		goto fail;
	}
	r = watch(block);
	if (r < 0) {
		fault_set(fault, r, "Vhost user backend error: Error opening eventfd: %s",
			  os_error(r, text));
		goto fail;
	}
	metrics_store(&block->counters->init_time_us, passed_us(begin_ns));
	*ret_device = &block->device;
	return 0;
fail:
	block_free(&block->device);
	return r;
}

int vhost_user_block_update_config(struct virtio_device *device, struct fault *fault)
{
	struct vhost_user_block *block = of_device(device);
	uint64_t begin_ns = clock_ns();
	int r;

	assert(device->ops == &block_ops);
	/* The library's words for a protocol feature, of this number, that was not negotiated. */
	if (!has_config(block))
		return fault_set(fault, -EOPNOTSUPP, "Vhost user backend error: Vhost error: vhost-user: "
				 "inactive protocol operation: %u", (unsigned int)VU_PROTOCOL_F_CONFIG);
	pthread_mutex_lock(&device->lock);
	vu_frontend_begin(&block->frontend, TIMEOUT_MS);
	r = read_backend_config(block);
	if (r == 0 && device->transport != NULL)
		device->transport->interrupt_config(device->transport);
	pthread_mutex_unlock(&device->lock);
	if (r < 0)
		return fault_of_config(fault, r);
	metrics_store(&block->counters->config_change_time_us, passed_us(begin_ns));
	return 0;
}
