/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages. Each is checked here, so that rings.c is given only what the protocol allows; and what
 * it does not allow ends the channel. A front end waits for each reply, so replies always find room
 * in the socket, and one that does not is from none.
 *
 * Not offered, and so never to come:
 * - the inflight buffer (INFLIGHT_SHMFD), in which a back end that was started anew would find what
 *   its predecessor had under way: the monitor that serves the device is the front end's parent, and
 *   does not live on without it, nor the other way around;
 * - STATUS and RESET_DEVICE: QEMU 7.2 does not tell a reset with them, it stops the rings;
 * - a log of dirty pages (VHOST_F_LOG_ALL) and slots of memory that come and go.
 */
#include "vhost_user/device.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "vhost_user/rings.h"

#define ROUND_MESSAGES 32	/* in a round of the loop */

#define CONFIG_HEAD_BYTES offsetof(struct vu_config, data)

struct handler {
	int (*handle)(struct vhost_user_device *t, struct vu_message *message);
	uint32_t payload_bytes;		/* exactly; more when the handler checks that by itself */
	bool checks_size;
	uint8_t fds_max;
	bool replies;
};

static int reply(const struct vhost_user_device *t, const void *payload, uint32_t size)
{
	struct vu_header header = { .request = t->channel.message.header.request,
				    .flags = VU_FLAGS_VERSION | VU_FLAG_REPLY, .size = size };

	return vu_send(t->channel.fd, &header, payload, NULL, 0);
}

static int reply_u64(const struct vhost_user_device *t, uint64_t value)
{
	return reply(t, &value, sizeof(value));
}

/* --- features */

static uint64_t offered_features(const struct vhost_user_device *t)
{
	return t->device->features | VU_F_PROTOCOL_FEATURES;
}

/*
 * QEMU asks for the configuration of all devices but a network device's, which it makes up by itself;
 * there it takes the offer for a mistake.
 */
static uint64_t offered_protocol_features(const struct vhost_user_device *t)
{
	uint64_t features = VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK;

	if (t->device->config_len > 0 && t->device->ops->device_id != VIRTIO_ID_NET)
		features |= VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_BACKEND_REQ;
	return features;
}

static int get_features(struct vhost_user_device *t, struct vu_message *message)
{
	(void)message;
	return reply_u64(t, offered_features(t));
}

static int set_features(struct vhost_user_device *t, struct vu_message *message)
{
	if ((message->payload.u64 & ~offered_features(t)) != 0)
		return -EPROTO;
	return rings_set_features(t, message->payload.u64);
}

static int get_protocol_features(struct vhost_user_device *t, struct vu_message *message)
{
	(void)message;
	return reply_u64(t, offered_protocol_features(t));
}

static int set_protocol_features(struct vhost_user_device *t, struct vu_message *message)
{
	if ((message->payload.u64 & ~offered_protocol_features(t)) != 0)
		return -EPROTO;
	t->protocol_features = message->payload.u64;
	return 0;
}

static int get_queue_num(struct vhost_user_device *t, struct vu_message *message)
{
	(void)message;
	return reply_u64(t, t->device->ops->queue_count);
}

/* --- the session */

static int set_owner(struct vhost_user_device *t, struct vu_message *message)
{
	(void)t;
	(void)message;
	return 0;
}

static int reset_owner(struct vhost_user_device *t, struct vu_message *message)
{
	(void)message;
	rings_stop_all(t);
	return 0;
}

static int set_backend_req_fd(struct vhost_user_device *t, struct vu_message *message)
{
	if (message->fd_count != 1)
		return -EPROTO;
	pthread_mutex_lock(&t->device->lock);
	fd_close(t->backend_fd);
	t->backend_fd = fd_take(&message->fds[0]);
	pthread_mutex_unlock(&t->device->lock);
	return 0;
}

/* Addresses of the front end are only looked up, and translated: they may not wrap, that is all. */
static int set_mem_table(struct vhost_user_device *t, struct vu_message *message)
{
	const struct vu_mem_table *table = &message->payload.mem_table;
	struct guest_file files[VU_REGIONS_MAX];
	struct guest_mem *mem;
	uint64_t end;
	int r;

	if (table->region_count == 0 || table->region_count > VU_REGIONS_MAX ||
	    message->fd_count != table->region_count ||
	    message->header.size != offsetof(struct vu_mem_table, regions) +
				    table->region_count * sizeof(table->regions[0]))
		return -EPROTO;
	for (uint32_t i = 0; i < table->region_count; i++) {
		const struct vu_region *region = &table->regions[i];

		if (region->user_addr % GUEST_PAGE_BYTES != 0 ||
		    __builtin_add_overflow(region->user_addr, region->size_bytes, &end))
			return -EPROTO;
		files[i] = (struct guest_file){ .region = { region->gpa, region->size_bytes },
						.fd = message->fds[i], .offset = region->offset };
	}
	r = guest_mem_map(files, table->region_count, &mem);
	if (r == 0)
		rings_set_mem(t, mem, table);
	return r;
}

/* --- rings */

static struct ring *ring_of(struct vhost_user_device *t, uint32_t index)
{
	return index < t->device->ops->queue_count ? &t->rings[index] : NULL;
}

/* A ring that has been started stays where it is. */
static struct ring *stopped_ring_of(struct vhost_user_device *t, uint32_t index)
{
	struct ring *ring = ring_of(t, index);

	return ring != NULL && !ring_is_started(ring) ? ring : NULL;
}

static int set_vring_num(struct vhost_user_device *t, struct vu_message *message)
{
	struct ring *ring = stopped_ring_of(t, message->payload.state.index);

	if (ring == NULL)
		return -EPROTO;
	ring->size = message->payload.state.num;
	return 0;
}

static int set_vring_addr(struct vhost_user_device *t, struct vu_message *message)
{
	struct ring *ring = stopped_ring_of(t, message->payload.addr.index);

	if (ring == NULL || message->payload.addr.flags != 0)
		return -EPROTO;
	ring->addr = message->payload.addr;
	return 0;
}

static int set_vring_base(struct vhost_user_device *t, struct vu_message *message)
{
	struct ring *ring = stopped_ring_of(t, message->payload.state.index);

	if (ring == NULL || message->payload.state.num > UINT16_MAX)
		return -EPROTO;
	ring->base = (uint16_t)message->payload.state.num;
	return 0;
}

static int get_vring_base(struct vhost_user_device *t, struct vu_message *message)
{
	struct vhost_vring_state state = { .index = message->payload.state.index };

	if (ring_of(t, state.index) == NULL)
		return -EPROTO;
	state.num = rings_stop(t, (uint16_t)state.index);
	return reply(t, &state, sizeof(state));
}

static int set_vring_enable(struct vhost_user_device *t, struct vu_message *message)
{
	const struct vhost_vring_state *state = &message->payload.state;

	if (ring_of(t, state->index) == NULL || state->num > 1)
		return -EPROTO;
	rings_enable(t, (uint16_t)state->index, state->num == 1);
	return 0;
}

/*
 * An eventfd is a file of no type, as little else is: a pipe or a socket would be written to with
 * other effects. Signals of ours are not to wait for the other side. (It shares the flag, and could
 * take it back and fill the counter: a QEMU that is out to hang its monitor.)
 */
static int check_event_fd(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != 0)
		return -EPROTO;
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* Index and descriptor of KICK, CALL and ERR; @ret_fd: -1 when there is to be none. */
static int take_event(struct vhost_user_device *t, struct vu_message *message, uint16_t *ret_index,
		      int *ret_fd)
{
	uint64_t value = message->payload.u64;
	bool without = (value & VU_RING_NO_FD) != 0;
	int r = 0;

	if ((value & ~(uint64_t)(VU_RING_INDEX_MASK | VU_RING_NO_FD)) != 0 ||
	    ring_of(t, value & VU_RING_INDEX_MASK) == NULL ||
	    message->fd_count != (without ? 0 : 1))
		return -EPROTO;
	if (!without)
		r = check_event_fd(message->fds[0]);
	if (r < 0)
		return r;
	*ret_index = (uint16_t)(value & VU_RING_INDEX_MASK);
	*ret_fd = without ? -1 : fd_take(&message->fds[0]);
	return 0;
}

/* Without a descriptor we would have to poll the ring, and do not. */
static int set_vring_kick(struct vhost_user_device *t, struct vu_message *message)
{
	uint16_t index;
	int fd, r = take_event(t, message, &index, &fd);

	if (r < 0)
		return r;
	return fd >= 0 ? rings_start(t, index, fd) : -EPROTO;
}

static int set_vring_call(struct vhost_user_device *t, struct vu_message *message)
{
	uint16_t index;
	int fd, r = take_event(t, message, &index, &fd);

	if (r == 0)
		rings_set_call(t, index, fd);
	return r;
}

/* Never signalled, see rings_needs_reset(). */
static int set_vring_err(struct vhost_user_device *t, struct vu_message *message)
{
	uint16_t index;
	int fd, r = take_event(t, message, &index, &fd);

	if (r == 0)
		fd_close(fd);
	return r;
}

/* --- the configuration */

/* How much of what the message is about the device has. */
static uint32_t config_len(const struct vhost_user_device *t, const struct vu_config *config)
{
	uint32_t have = t->device->config_len;

	if (config->offset >= have)
		return 0;
	return config->size < have - config->offset ? config->size : have - config->offset;
}

static bool is_config_message(const struct vu_message *message)
{
	const struct vu_config *config = &message->payload.config;

	return message->header.size >= CONFIG_HEAD_BYTES &&
	       message->header.size - CONFIG_HEAD_BYTES == config->size &&
	       config->offset <= VU_CONFIG_BYTES_MAX &&
	       config->size <= VU_CONFIG_BYTES_MAX - config->offset;
}

/* QEMU asks for all that the standard has, also what goes with features that are not offered: zero. */
static int get_config(struct vhost_user_device *t, struct vu_message *message)
{
	struct vu_config config;
	uint32_t len;

	if (!is_config_message(message))
		return -EPROTO;
	config = message->payload.config;
	len = config_len(t, &config);
	memset(config.data, 0, sizeof(config.data));
	if (len > 0) {
		pthread_mutex_lock(&t->device->lock);
		t->device->ops->config_read(t->device, config.offset, config.data, len);
		pthread_mutex_unlock(&t->device->lock);
	}
	return reply(t, &config, message->header.size);
}

/* As in virtio-mmio, what is not to be written is left alone. */
static int set_config(struct vhost_user_device *t, struct vu_message *message)
{
	const struct vu_config *config = &message->payload.config;

	if (!is_config_message(message))
		return -EPROTO;
	if (config->size == 0 || config_len(t, config) != config->size ||
	    t->device->ops->config_write == NULL)
		return 0;
	pthread_mutex_lock(&t->device->lock);
	t->device->ops->config_write(t->device, config->offset, config->data, config->size);
	pthread_mutex_unlock(&t->device->lock);
	return 0;
}

/*
 * QEMU reads the configuration then, and tells the guest; but only while the device runs, so before
 * that the change is kept in mind. When the message finds no room, one that says the same is there
 * unread.
 */
static void interrupt_config(const struct virtio_transport *transport)
{
	struct vhost_user_device *t = container_of(transport, struct vhost_user_device, transport);
	struct vu_header header = { .request = VU_BACKEND_CONFIG_CHANGE,
				    .flags = VU_FLAGS_VERSION };

	t->config_changed = t->paused || !t->device->active;
	if (t->backend_fd < 0 || t->config_changed)
		return;
	metrics_inc(&t->metrics->interrupts.triggers);
	vu_send(t->backend_fd, &header, NULL, NULL, 0);
}

/* --- the channel */

static const struct handler handlers[] = {
	[VU_GET_FEATURES] = { get_features, 0, .replies = true },
	[VU_SET_FEATURES] = { set_features, sizeof(uint64_t) },
	[VU_SET_OWNER] = { set_owner, 0 },
	[VU_RESET_OWNER] = { reset_owner, 0 },
	[VU_SET_MEM_TABLE] = { set_mem_table, 0, .checks_size = true, .fds_max = VU_FDS_MAX },
	[VU_SET_VRING_NUM] = { set_vring_num, sizeof(struct vhost_vring_state) },
	[VU_SET_VRING_ADDR] = { set_vring_addr, sizeof(struct vhost_vring_addr) },
	[VU_SET_VRING_BASE] = { set_vring_base, sizeof(struct vhost_vring_state) },
	[VU_GET_VRING_BASE] = { get_vring_base, sizeof(struct vhost_vring_state), .replies = true },
	[VU_SET_VRING_KICK] = { set_vring_kick, sizeof(uint64_t), .fds_max = 1 },
	[VU_SET_VRING_CALL] = { set_vring_call, sizeof(uint64_t), .fds_max = 1 },
	[VU_SET_VRING_ERR] = { set_vring_err, sizeof(uint64_t), .fds_max = 1 },
	[VU_GET_PROTOCOL_FEATURES] = { get_protocol_features, 0, .replies = true },
	[VU_SET_PROTOCOL_FEATURES] = { set_protocol_features, sizeof(uint64_t) },
	[VU_GET_QUEUE_NUM] = { get_queue_num, 0, .replies = true },
	[VU_SET_VRING_ENABLE] = { set_vring_enable, sizeof(struct vhost_vring_state) },
	[VU_SET_BACKEND_REQ_FD] = { set_backend_req_fd, 0, .fds_max = 1 },
	[VU_GET_CONFIG] = { get_config, 0, .checks_size = true, .replies = true },
	[VU_SET_CONFIG] = { set_config, 0, .checks_size = true },
};

static const struct handler *find_handler(const struct vu_message *message)
{
	const struct vu_header *header = &message->header;
	const struct handler *handler;

	if (header->request >= ARRAY_SIZE(handlers) || (header->flags & VU_FLAG_REPLY) != 0)
		return NULL;
	handler = &handlers[header->request];
	if (handler->handle == NULL || message->fd_count > handler->fds_max ||
	    (!handler->checks_size && header->size != handler->payload_bytes))
		return NULL;
	return handler;
}

static int handle(struct vhost_user_device *t, struct vu_message *message)
{
	const struct handler *handler = find_handler(message);
	int r;

	if (handler == NULL)
		return -EPROTO;
	r = handler->handle(t, message);
	if (r == 0 && !handler->replies && (message->header.flags & VU_FLAG_NEED_REPLY) != 0 &&
	    (t->protocol_features & VU_PROTOCOL_F_REPLY_ACK) != 0)
		r = reply_u64(t, 0);
	return r;
}

static void close_channel(struct vhost_user_device *t)
{
	if (t->channel.fd < 0)
		return;
	loop_remove(t->loop, &t->source);
	t->source.fd = -1;
	vu_channel_done(&t->channel);
	rings_done(t);
	pthread_mutex_lock(&t->device->lock);
	fd_close(fd_take(&t->backend_fd));
	pthread_mutex_unlock(&t->device->lock);
}

static void channel_ready(struct loop_source *source, uint32_t events)
{
	struct vhost_user_device *t = container_of(source, struct vhost_user_device, source);
	uint32_t request = 0;
	int r = 1;

	(void)events;
	for (unsigned int i = 0; r > 0 && i < ROUND_MESSAGES; i++) {
		r = vu_channel_receive(&t->channel);
		if (r <= 0)
			break;
		request = t->channel.message.header.request;
		r = handle(t, &t->channel.message);
		vu_channel_next(&t->channel);
		r = r < 0 ? r : 1;
	}
	if (r >= 0)
		return;
	if (r == -ESHUTDOWN || r == -ECONNRESET)
		log_debug(t->log, "virtio device %u: the vhost-user channel was closed",
			  t->device->ops->device_id);
	else
		log_error(t->log, "virtio device %u: the vhost-user channel is closed after request "
			  "%u: %s", t->device->ops->device_id, request, strerror(-r));
	close_channel(t);
}

int vhost_user_device_new(const struct vhost_user_params *params,
			  struct vhost_user_device **ret_transport)
{
	struct vhost_user_device *t = calloc(1, sizeof(*t));
	int r;

	assert(!params->device->ops->served_elsewhere);
	if (t == NULL)
		return -ENOMEM;
	t->transport = (struct virtio_transport){ .interrupt_queue = rings_interrupt_queue,
						  .interrupt_config = interrupt_config,
						  .needs_reset = rings_needs_reset,
						  .kick_queue = rings_kick_queue };
	t->device = params->device;
	t->loop = params->loop;
	t->log = params->log;
	t->metrics = params->metrics;
	t->backend_fd = -1;
	t->source = (struct loop_source){ .fd = params->fd, .events = EPOLLIN,
					  .ready = channel_ready };
	r = rings_init(t);
	if (r < 0)
		goto fail;
	r = loop_add(t->loop, &t->source);
	if (r < 0)
		goto fail_rings;
	vu_channel_init(&t->channel, params->fd);
	t->device->transport = &t->transport;
	*ret_transport = t;
	return 0;
fail_rings:
	loop_remove(t->loop, &t->again);
	fd_close(t->again.fd);
fail:
	free(t);
	return r;
}

void vhost_user_device_free(struct vhost_user_device *t)
{
	if (t == NULL)
		return;
	close_channel(t);
	loop_remove(t->loop, &t->again);
	fd_close(t->again.fd);
	t->device->transport = NULL;
	virtio_device_free(t->device);
	free(t);
}
