/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers are accessed by vCPU threads while the loop's thread serves the queues. What a driver reads
 * in its interrupt handler (status, interrupt status) is atomic, so that a handler does not wait
 * for a disk; all else is under the device's lock. With it held, no queue is being served, which
 * makes a reset synchronous.
 *
 * Kicks are edges: the eventfds are watched with EPOLLET and never read. Each write to an eventfd
 * wakes epoll anew, whatever its counter stands at, and the state that counts is in the rings, so the
 * counter would tell nothing and reading it would only cost a system call a kick. (It would be full
 * after 2^64 kicks.) A kick that comes while the device is not active or paused is remembered in
 * "missed" and given again later, since no second edge would come.
 */
#include "virtio/mmio.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "virtio/device.h"

#define MAGIC	  0x74726976u	/* "virt" */
#define VERSION	  2u
#define VENDOR_ID 0u		/* as Firecracker */

#define REGISTERS_END VIRTIO_MMIO_CONFIG
#define NO_SHM	      UINT32_MAX	/* SHMLenLow, SHMLenHigh: there is no such region (4.2.2) */

static_assert(VIRTIO_MMIO_QUEUE_NOTIFY == VIRTIO_MMIO_NOTIFY_OFFSET, "as the standard has it");

struct mmio_queue {
	struct loop_source kick;
	struct virtio_mmio *mmio;
};

struct virtio_mmio {
	struct virtio_transport transport;
	struct virtio_device *device;
	const struct guest_mem *mem;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	int irq_fd;
	struct mmio_queue queues[VIRTIO_QUEUES_MAX];

	_Atomic uint32_t interrupt_status;
	_Atomic uint32_t status;	/* written with the lock held */
	_Atomic uint32_t config_generation;	/* the same */

	/* Under the device's lock: */
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint64_t driver_features;
	bool features_beyond;	/* the driver wants one past bit 63 */
	bool paused;
	uint32_t missed;	/* a bit for each queue with a kick that was not served */
};

static uint32_t status_of(const struct virtio_mmio *mmio)
{
	return atomic_load_explicit(&mmio->status, memory_order_acquire);
}

static void set_status(struct virtio_mmio *mmio, uint32_t status)
{
	atomic_store_explicit(&mmio->status, status, memory_order_release);
}

/*
 * The line is an edge, and is signalled also when the bit is set already: an edge that came while the
 * guest had the line masked is lost, and the next one has to make up for it. Release and acquire on
 * the one variable order the ring, or the configuration, ahead of the driver's look.
 */
static void interrupt(struct virtio_mmio *mmio, uint32_t bit)
{
	atomic_fetch_or_explicit(&mmio->interrupt_status, bit, memory_order_acq_rel);
	metrics_inc(&mmio->metrics->interrupts.triggers);
	fd_signal(mmio->irq_fd);
}

static struct virtio_mmio *of_transport(const struct virtio_transport *transport)
{
	return container_of(transport, struct virtio_mmio, transport);
}

static void interrupt_queue(const struct virtio_transport *transport, uint16_t queue)
{
	(void)queue;
	interrupt(of_transport(transport), VIRTIO_MMIO_INT_VRING);
}

/* Before DRIVER_OK there is nobody to interrupt (2.1.2), and the driver reads everything anyway. */
static void interrupt_config(const struct virtio_transport *transport)
{
	struct virtio_mmio *mmio = of_transport(transport);

	atomic_fetch_add_explicit(&mmio->config_generation, 1, memory_order_acq_rel);
	if ((status_of(mmio) & VIRTIO_CONFIG_S_DRIVER_OK) != 0)
		interrupt(mmio, VIRTIO_MMIO_INT_CONFIG);
}

static void needs_reset(const struct virtio_transport *transport)
{
	struct virtio_mmio *mmio = of_transport(transport);
	uint32_t status = status_of(mmio);

	log_limited_error(mmio->log, "virtio device %u: the driver broke a queue, it needs a reset",
			  mmio->device->ops->device_id);
	if ((status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0)
		return;
	set_status(mmio, status | VIRTIO_CONFIG_S_NEEDS_RESET);
	interrupt_config(transport);
}

static void kick_queue(const struct virtio_transport *transport, uint16_t queue)
{
	fd_signal(of_transport(transport)->queues[queue].kick.fd);
}

static int kick_fd(const struct virtio_transport *transport, uint16_t queue)
{
	return of_transport(transport)->queues[queue].kick.fd;
}

static const struct guest_mem *memory(const struct virtio_transport *transport)
{
	return of_transport(transport)->mem;
}

static bool may_serve(const struct virtio_mmio *mmio)
{
	return mmio->device->active && !mmio->paused;
}

static void kick_ready(struct loop_source *source, uint32_t events)
{
	struct mmio_queue *queue = container_of(source, struct mmio_queue, kick);
	struct virtio_mmio *mmio = queue->mmio;
	struct virtio_device *device = mmio->device;
	uint16_t index = (uint16_t)(queue - mmio->queues);

	(void)events;
	pthread_mutex_lock(&device->lock);
	if (!may_serve(mmio))
		mmio->missed |= 1u << index;
	else if (device->queues[index].enabled &&
		 (status_of(mmio) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0)
		device->ops->queue_kicked(device, index);
	pthread_mutex_unlock(&device->lock);
}

static void serve_missed(struct virtio_mmio *mmio)
{
	for (uint16_t i = 0; i < mmio->device->ops->queue_count; i++)
		if ((mmio->missed >> i & 1) != 0)
			kick_queue(&mmio->transport, i);
	mmio->missed = 0;
}

/* --- status */

static void reset(struct virtio_mmio *mmio)
{
	struct virtio_device *device = mmio->device;

	device->active = false;
	device->ops->reset(device);
	for (size_t i = 0; i < VIRTIO_QUEUES_MAX; i++)
		vq_reset(&device->queues[i]);
	device->acked_features = 0;
	mmio->device_features_sel = mmio->driver_features_sel = mmio->queue_sel = 0;
	mmio->driver_features = 0;
	mmio->features_beyond = false;
	mmio->missed = 0;
	atomic_store_explicit(&mmio->interrupt_status, 0, memory_order_release);
	/* The generation goes on, so that no driver mistakes a new configuration for an old one. */
	set_status(mmio, 0);
}

static bool features_are_fine(const struct virtio_mmio *mmio)
{
	return !mmio->features_beyond &&
	       (mmio->driver_features & ~mmio->device->features) == 0 &&
	       (mmio->driver_features >> VIRTIO_F_VERSION_1 & 1) != 0;
}

static int enable_queues(struct virtio_mmio *mmio)
{
	struct virtio_device *device = mmio->device;

	for (uint16_t i = 0; i < device->ops->queue_count; i++) {
		int r;

		if (!device->queues[i].ready)
			continue;
		r = vq_enable(&device->queues[i], mmio->mem, device->acked_features);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The device is active before its ops learn of it, so that they may use its queues. */
static void activate(struct virtio_mmio *mmio)
{
	struct virtio_device *device = mmio->device;
	int r = enable_queues(mmio);

	if (r == 0) {
		device->active = true;
		r = device->ops->activate(device);
	}
	if (r < 0) {
		device->active = false;
		log_limited_error(mmio->log, "virtio device %u cannot be activated: %s",
				  device->ops->device_id, strerror(-r));
		set_status(mmio, status_of(mmio) | VIRTIO_CONFIG_S_NEEDS_RESET);
		interrupt_config(&mmio->transport);
		return;
	}
	if (!mmio->paused)
		serve_missed(mmio);
}

/* The steps of 3.1.1: each adds one bit to those before it. */
static void write_status(struct virtio_mmio *mmio, uint32_t value)
{
	static const uint32_t steps[] = { VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER,
					  VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK };
	uint32_t status = status_of(mmio), done = 0;

	if (value == 0) {
		reset(mmio);
		return;
	}
	if ((value & VIRTIO_CONFIG_S_FAILED) != 0) {
		set_status(mmio, status | VIRTIO_CONFIG_S_FAILED);
		return;
	}
	value |= status & VIRTIO_CONFIG_S_NEEDS_RESET;	/* ours; a driver may write it back or not */
	if (value == status)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(steps); done |= steps[i++]) {
		if (status != done || value != (done | steps[i]))
			continue;
		if (steps[i] == VIRTIO_CONFIG_S_FEATURES_OK) {
			if (!features_are_fine(mmio)) {
				log_limited_warn(mmio->log, "virtio device %u: features %#llx refused",
						 mmio->device->ops->device_id,
						 (unsigned long long)mmio->driver_features);
				return;		/* the bit does not stick: that is the refusal */
			}
			mmio->device->acked_features = mmio->driver_features;
		}
		set_status(mmio, value);
		if (steps[i] == VIRTIO_CONFIG_S_DRIVER_OK)
			activate(mmio);
		return;
	}
	log_limited_warn(mmio->log, "virtio device %u: status %#x after %#x ignored",
			 mmio->device->ops->device_id, value, status);
}

/* --- registers */

static struct vq *selected_queue(const struct virtio_mmio *mmio)
{
	return mmio->queue_sel < mmio->device->ops->queue_count ?
		       &mmio->device->queues[mmio->queue_sel] : NULL;
}

static uint32_t device_features(const struct virtio_mmio *mmio)
{
	switch (mmio->device_features_sel) {
	case 0:
		return (uint32_t)mmio->device->features;
	case 1:
		return (uint32_t)(mmio->device->features >> 32);
	default:
		return 0;
	}
}

static uint32_t read_locked_register(const struct virtio_mmio *mmio, uint64_t offset)
{
	const struct vq *vq = selected_queue(mmio);

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return device_features(mmio);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq != NULL ? VQ_SIZE_MAX : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq != NULL && vq->ready;
	default:
		log_limited_warn(mmio->log, "virtio device %u: no register %#llx to read",
				 mmio->device->ops->device_id, (unsigned long long)offset);
		return 0;
	}
}

static uint32_t read_register(struct virtio_mmio *mmio, uint64_t offset)
{
	uint32_t value;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return mmio->device->ops->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return atomic_load_explicit(&mmio->interrupt_status, memory_order_acquire);
	case VIRTIO_MMIO_STATUS:
		return status_of(mmio);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load_explicit(&mmio->config_generation, memory_order_acquire);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return NO_SHM;
	default:
		pthread_mutex_lock(&mmio->device->lock);
		value = read_locked_register(mmio, offset);
		pthread_mutex_unlock(&mmio->device->lock);
		return value;
	}
}

static bool in_config(const struct virtio_mmio *mmio, uint64_t offset, size_t len)
{
	return offset < mmio->device->config_len && len <= mmio->device->config_len - offset;
}

void virtio_mmio_read(struct virtio_mmio *mmio, uint64_t offset, void *data, size_t len)
{
	struct virtio_device *device = mmio->device;

	memset(data, 0, len);
	if (offset >= REGISTERS_END) {
		if (!in_config(mmio, offset - REGISTERS_END, len))
			return;
		pthread_mutex_lock(&device->lock);
		device->ops->config_read(device, (uint32_t)(offset - REGISTERS_END), data, len);
		pthread_mutex_unlock(&device->lock);
	} else if (len == sizeof(uint32_t)) {	/* others are no accesses (4.2.2.2) */
		uint32_t value = htole32(read_register(mmio, offset));

		memcpy(data, &value, sizeof(value));
	}
}

/* Features are the driver's to choose once it has said that it is one, and until FEATURES_OK. */
static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
	unsigned int shift = 32 * (mmio->driver_features_sel & 1);
	uint32_t status = status_of(mmio);

	if (status != (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)) {
		log_limited_warn(mmio->log, "virtio device %u: features in status %#x ignored",
				 mmio->device->ops->device_id, status);
	} else if (mmio->driver_features_sel > 1) {
		mmio->features_beyond |= value != 0;
	} else {
		mmio->driver_features &= ~((uint64_t)UINT32_MAX << shift);
		mmio->driver_features |= (uint64_t)value << shift;
	}
}

static void set_low(gpa_t *gpa, uint32_t value)
{
	*gpa = (*gpa & ~(gpa_t)UINT32_MAX) | value;
}

static void set_high(gpa_t *gpa, uint32_t value)
{
	*gpa = (*gpa & UINT32_MAX) | (gpa_t)value << 32;
}

static void write_queue_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	const uint32_t wanted = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				VIRTIO_CONFIG_S_FEATURES_OK;
	struct vq *vq = selected_queue(mmio);

	if (status_of(mmio) != wanted || vq == NULL) {
		log_limited_warn(mmio->log, "virtio device %u: queue %u in status %#x not set up",
				 mmio->device->ops->device_id, mmio->queue_sel, status_of(mmio));
		return;
	}
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* What does not fit is no size, and refused when the queue is enabled. */
		vq->size = value <= VQ_SIZE_MAX ? (uint16_t)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		vq->ready = value == 1;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&vq->desc_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&vq->desc_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&vq->avail_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&vq->avail_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&vq->used_gpa, value);
		break;
	default:
		set_high(&vq->used_gpa, value);
		break;
	}
}

static void write_locked_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		mmio->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(mmio, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		mmio->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		mmio->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_READY:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		write_queue_register(mmio, offset, value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(mmio, value);
		break;
	case VIRTIO_MMIO_SHM_SEL:
		break;
	default:
		log_limited_warn(mmio->log, "virtio device %u: no register %#llx to write",
				 mmio->device->ops->device_id, (unsigned long long)offset);
		break;
	}
}

static void write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		if (value < mmio->device->ops->queue_count)
			fd_signal(mmio->queues[value].kick.fd);
	} else if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and_explicit(&mmio->interrupt_status, ~value, memory_order_acq_rel);
	} else {
		pthread_mutex_lock(&mmio->device->lock);
		write_locked_register(mmio, offset, value);
		pthread_mutex_unlock(&mmio->device->lock);
	}
}

static void write_config(struct virtio_mmio *mmio, uint32_t offset, const void *data, size_t len)
{
	struct virtio_device *device = mmio->device;

	pthread_mutex_lock(&device->lock);
	if (device->ops->config_write != NULL &&
	    (status_of(mmio) & (VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED |
				VIRTIO_CONFIG_S_NEEDS_RESET)) == VIRTIO_CONFIG_S_DRIVER)
		device->ops->config_write(device, offset, data, len);
	pthread_mutex_unlock(&device->lock);
}

void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t offset, const void *data, size_t len)
{
	if (offset >= REGISTERS_END) {
		if (in_config(mmio, offset - REGISTERS_END, len))
			write_config(mmio, (uint32_t)(offset - REGISTERS_END), data, len);
	} else if (len == sizeof(uint32_t)) {
		uint32_t value;

		memcpy(&value, data, sizeof(value));
		write_register(mmio, offset, le32toh(value));
	}
}

/* --- life */

static void close_fds(struct virtio_mmio *mmio)
{
	for (size_t i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		loop_remove(mmio->loop, &mmio->queues[i].kick);
		fd_close(fd_take(&mmio->queues[i].kick.fd));
	}
	fd_close(fd_take(&mmio->irq_fd));
}

static int open_fds(struct virtio_mmio *mmio)
{
	mmio->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mmio->irq_fd < 0)
		return -errno;
	for (uint16_t i = 0; i < mmio->device->ops->queue_count; i++) {
		struct loop_source *kick = &mmio->queues[i].kick;
		int r;

		kick->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (kick->fd < 0)
			return -errno;
		if (mmio->device->ops->served_elsewhere)
			continue;
		r = loop_add(mmio->loop, kick);
		if (r < 0)
			return r;
	}
	return 0;
}

int virtio_mmio_new(const struct virtio_mmio_params *params, struct virtio_mmio **ret_mmio)
{
	struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));
	int r;

	if (mmio == NULL)
		return -ENOMEM;
	mmio->transport = (struct virtio_transport){ .interrupt_queue = interrupt_queue,
						     .interrupt_config = interrupt_config,
						     .needs_reset = needs_reset,
						     .kick_queue = kick_queue,
						     .kick_fd = kick_fd, .memory = memory };
	mmio->device = params->device;
	mmio->mem = params->mem;
	mmio->loop = params->loop;
	mmio->log = params->log;
	mmio->metrics = params->metrics;
	for (size_t i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		mmio->queues[i].mmio = mmio;
		mmio->queues[i].kick = (struct loop_source){ .fd = -1, .events = EPOLLIN | EPOLLET,
							     .ready = kick_ready };
	}
	r = open_fds(mmio);
	if (r < 0) {
		close_fds(mmio);
		free(mmio);
		return r;
	}
	mmio->device->transport = &mmio->transport;
	*ret_mmio = mmio;
	return 0;
}

void virtio_mmio_free(struct virtio_mmio *mmio)
{
	if (mmio == NULL)
		return;
	close_fds(mmio);
	mmio->device->transport = NULL;
	mmio->device->active = false;
	virtio_device_free(mmio->device);
	free(mmio);
}

uint16_t virtio_mmio_queue_count(const struct virtio_mmio *mmio)
{
	return mmio->device->ops->queue_count;
}

int virtio_mmio_kick_fd(const struct virtio_mmio *mmio, uint16_t queue)
{
	assert(queue < mmio->device->ops->queue_count);
	return mmio->queues[queue].kick.fd;
}

int virtio_mmio_irq_fd(const struct virtio_mmio *mmio)
{
	return mmio->irq_fd;
}

/* The event stays in the loop: kicks that come meanwhile are remembered, see the top. */
void virtio_mmio_pause(struct virtio_mmio *mmio)
{
	struct virtio_device *device = mmio->device;

	pthread_mutex_lock(&device->lock);
	if (!mmio->paused && device->ops->pause != NULL)
		device->ops->pause(device);
	mmio->paused = true;
	pthread_mutex_unlock(&device->lock);
}

void virtio_mmio_resume(struct virtio_mmio *mmio)
{
	struct virtio_device *device = mmio->device;

	pthread_mutex_lock(&device->lock);
	if (mmio->paused && device->ops->resume != NULL)
		device->ops->resume(device);
	mmio->paused = false;
	if (device->active)
		serve_missed(mmio);
	pthread_mutex_unlock(&device->lock);
}
