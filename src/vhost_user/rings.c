/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring runs, that is, the device's queue is enabled, while the front end has started and enabled it
 * and nothing is paused. The first that runs activates the device. When the last has been stopped
 * that is the driver's reset of the device; but not within a pause, for a front end stops all rings
 * too when its guest is to stand still. Then the device is left as it is, and each ring remembers
 * where it was. If the rings come back elsewhere, or with other features, the guest has reset the
 * device just before it stood still, and so it is reset after all.
 *
 * A queue may be taken from an active device only when the device has nothing under way, so it is
 * paused for that moment. The same goes for the memory.
 *
 * Kicks are edges and never read, as in virtio/mmio.c. When a ring begins to run it is served once
 * without a kick, so those that came before are not missed. The front end owns the eventfds: what is to
 * be served again is signalled with one of our own.
 */
#include "vhost_user/rings.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"

static struct vhost_user_device *of_transport(const struct virtio_transport *transport)
{
	return container_of(transport, struct vhost_user_device, transport);
}

void rings_interrupt_queue(const struct virtio_transport *transport, uint16_t queue)
{
	struct vhost_user_device *t = of_transport(transport);

	metrics_inc(&t->metrics->interrupts.triggers);
	if (t->rings[queue].call_fd >= 0)
		fd_signal(t->rings[queue].call_fd);
}

void rings_kick_queue(const struct virtio_transport *transport, uint16_t queue)
{
	struct vhost_user_device *t = of_transport(transport);

	t->again_mask |= 1u << queue;
	fd_signal(t->again.fd);
}

/* The protocol cannot tell the driver: QEMU would log the signal of an error descriptor, no more. */
void rings_needs_reset(const struct virtio_transport *transport)
{
	struct vhost_user_device *t = of_transport(transport);

	if (!t->broken)
		log_limited_error(t->log, "virtio device %u: the driver broke a queue, it needs a reset",
				  t->device->ops->device_id);
	t->broken = true;
}

static void serve(struct vhost_user_device *t, uint16_t index)
{
	struct virtio_device *device = t->device;

	if (device->active && !t->paused && !t->broken && device->queues[index].enabled)
		device->ops->queue_kicked(device, index);
}

static void kick_ready(struct loop_source *source, uint32_t events)
{
	struct ring *ring = container_of(source, struct ring, kick);
	struct vhost_user_device *t = ring->transport;

	(void)events;
	pthread_mutex_lock(&t->device->lock);
	serve(t, (uint16_t)(ring - t->rings));
	pthread_mutex_unlock(&t->device->lock);
}

static void again_ready(struct loop_source *source, uint32_t events)
{
	struct vhost_user_device *t = container_of(source, struct vhost_user_device, again);
	uint32_t mask;

	(void)events;
	pthread_mutex_lock(&t->device->lock);
	mask = t->again_mask;
	t->again_mask = 0;
	for (uint16_t i = 0; i < t->device->ops->queue_count; i++)
		if ((mask >> i & 1) != 0)
			serve(t, i);
	pthread_mutex_unlock(&t->device->lock);
}

/* --- from here on with the lock held */

static int translate(const struct vhost_user_device *t, uint64_t user_addr, gpa_t *ret_gpa)
{
	for (uint32_t i = 0; i < t->mem_table.region_count; i++) {
		const struct vu_region *region = &t->mem_table.regions[i];
		uint64_t offset = user_addr - region->user_addr;	/* huge when it is below */

		if (offset < region->size_bytes) {
			*ret_gpa = region->gpa + offset;
			return 0;
		}
	}
	return -EFAULT;
}

static int find_place(const struct vhost_user_device *t, const struct ring *ring,
		      struct ring_place *place)
{
	int r;

	if (ring->size > VQ_SIZE_QEMU_MAX)
		return -EINVAL;
	*place = (struct ring_place){ .size = (uint16_t)ring->size, .next_avail = ring->base };
	r = translate(t, ring->addr.desc_user_addr, &place->desc);
	if (r == 0)
		r = translate(t, ring->addr.avail_user_addr, &place->avail);
	if (r == 0)
		r = translate(t, ring->addr.used_user_addr, &place->used);
	return r;
}

static bool same_place(const struct ring_place *a, const struct ring_place *b)
{
	return a->size == b->size && a->next_avail == b->next_avail && a->desc == b->desc &&
	       a->avail == b->avail && a->used == b->used;
}

/* The driver's features: without the one that is the front end's. */
static uint64_t driver_features(const struct vhost_user_device *t)
{
	return t->features & t->device->features;
}

static bool is_wanted(const struct vhost_user_device *t, const struct ring *ring)
{
	bool enabled = ring->enabled || (t->features & VU_F_PROTOCOL_FEATURES) == 0;

	return ring_is_started(ring) && enabled && !ring->refused && t->mem != NULL && !t->paused;
}

/* The ring does not run any more; the device has nothing under way. */
static void put_down(struct vhost_user_device *t, uint16_t index)
{
	struct vq *vq = &t->device->queues[index];
	struct ring *ring = &t->rings[index];

	if (!vq->enabled)
		return;
	ring->base = vq->next_avail;
	ring->has_left = t->paused;
	ring->left = (struct ring_place){ .size = vq->size, .next_avail = vq->next_avail,
					  .desc = vq->desc_gpa, .avail = vq->avail_gpa,
					  .used = vq->used_gpa };
	vq_reset(vq);
}

static void reset(struct vhost_user_device *t)
{
	struct virtio_device *device = t->device;

	device->active = false;
	device->ops->reset(device);
	for (uint16_t i = 0; i < device->ops->queue_count; i++) {
		put_down(t, i);
		t->rings[i].has_left = false;
	}
	device->acked_features = 0;
	t->again_mask = 0;
	t->broken = false;
}

static void tell_config_change(struct vhost_user_device *t)
{
	if (t->config_changed)
		t->transport.interrupt_config(&t->transport);
}

/* The device is active before its ops learn of it, so that they may use its queues. */
static void activate(struct vhost_user_device *t)
{
	struct virtio_device *device = t->device;
	int r;

	device->acked_features = driver_features(t);
	device->active = true;
	r = device->ops->activate(device);
	if (r == 0) {
		tell_config_change(t);
		return;
	}
	log_limited_error(t->log, "virtio device %u cannot be activated: %s",
			  device->ops->device_id, strerror(-r));
	reset(t);
	t->broken = true;
}

/* What a legacy driver would put into memory is not what our devices read. */
static int enable_queue(struct vhost_user_device *t, uint16_t index)
{
	struct vq *vq = &t->device->queues[index];
	struct ring_place place;
	int r = find_place(t, &t->rings[index], &place);

	if (r < 0)
		return r;
	if ((t->features >> VIRTIO_F_VERSION_1 & 1) == 0)
		return -EOPNOTSUPP;
	vq->size = place.size;
	vq->desc_gpa = place.desc;
	vq->avail_gpa = place.avail;
	vq->used_gpa = place.used;
	vq->ready = true;
	return vq_enable_at(vq, t->mem, driver_features(t), place.next_avail);
}

/*
 * A driver can have the front end place its rings as they may not be, so that is no reason to end the
 * channel.
 */
static void run(struct vhost_user_device *t, uint16_t index)
{
	struct ring *ring = &t->rings[index];
	int r = enable_queue(t, index);

	if (r < 0) {
		log_limited_error(t->log, "virtio device %u: queue %u cannot be used: %s",
				  t->device->ops->device_id, index, strerror(-r));
		vq_reset(&t->device->queues[index]);
		ring->refused = true;
		return;
	}
	ring->has_left = false;
	if (!t->device->active)
		activate(t);
	rings_kick_queue(&t->transport, index);
}

/* Does the ring begin elsewhere than where it was left? */
static bool begins_anew(const struct vhost_user_device *t, const struct ring *ring)
{
	struct ring_place place;

	if (!ring->has_left || !is_wanted(t, ring))
		return false;
	return driver_features(t) != t->device->acked_features ||
	       find_place(t, ring, &place) < 0 || !same_place(&place, &ring->left);
}

/* Rings that are wanted run. */
static void run_wanted(struct vhost_user_device *t)
{
	const uint16_t count = t->device->ops->queue_count;

	for (uint16_t i = 0; i < count; i++)
		if (begins_anew(t, &t->rings[i]))
			reset(t);
	for (uint16_t i = 0; i < count && !t->broken; i++)
		if (is_wanted(t, &t->rings[i]) && !t->device->queues[i].enabled)
			run(t, i);
}

/* What is under way is finished, for changes between the two. */
static void hold(struct vhost_user_device *t)
{
	if (t->device->active && !t->paused && t->device->ops->pause != NULL)
		t->device->ops->pause(t->device);
}

static void let_go(struct vhost_user_device *t)
{
	if (t->device->active && !t->paused && t->device->ops->resume != NULL)
		t->device->ops->resume(t->device);
}

static void stop_running(struct vhost_user_device *t, uint16_t index)
{
	if (!t->device->queues[index].enabled)
		return;
	hold(t);
	put_down(t, index);
	let_go(t);
}

static bool any_started(const struct vhost_user_device *t)
{
	for (uint16_t i = 0; i < t->device->ops->queue_count; i++)
		if (ring_is_started(&t->rings[i]))
			return true;
	return false;
}

static void close_kick(struct ring *ring)
{
	loop_remove(ring->transport->loop, &ring->kick);
	fd_close(fd_take(&ring->kick.fd));
}

/* --- without the lock */

int rings_set_features(struct vhost_user_device *t, uint64_t features)
{
	if (features != t->features)
		for (uint16_t i = 0; i < t->device->ops->queue_count; i++)
			if (t->device->queues[i].enabled)
				return -EBUSY;
	t->features = features;
	return 0;
}

void rings_set_mem(struct vhost_user_device *t, struct guest_mem *mem,
		   const struct vu_mem_table *table)
{
	struct guest_mem *old = t->mem;

	pthread_mutex_lock(&t->device->lock);
	hold(t);
	t->mem = mem;
	t->mem_table = *table;
	for (uint16_t i = 0; i < t->device->ops->queue_count; i++) {
		if (!t->device->queues[i].enabled)
			continue;
		put_down(t, i);
		run(t, i);
	}
	let_go(t);
	run_wanted(t);
	pthread_mutex_unlock(&t->device->lock);
	guest_mem_free(old);
}

int rings_start(struct vhost_user_device *t, uint16_t index, int kick_fd)
{
	struct ring *ring = &t->rings[index];
	int r;

	close_kick(ring);
	ring->kick.fd = kick_fd;
	r = loop_add(t->loop, &ring->kick);
	if (r < 0) {
		fd_close(fd_take(&ring->kick.fd));
		return r;
	}
	ring->refused = false;
	pthread_mutex_lock(&t->device->lock);
	if (t->device->queues[index].enabled)	/* the descriptor before may have been signalled */
		rings_kick_queue(&t->transport, index);
	run_wanted(t);
	pthread_mutex_unlock(&t->device->lock);
	return 0;
}

void rings_enable(struct vhost_user_device *t, uint16_t index, bool enable)
{
	pthread_mutex_lock(&t->device->lock);
	t->rings[index].enabled = enable;
	if (enable)
		run_wanted(t);
	else
		stop_running(t, index);
	pthread_mutex_unlock(&t->device->lock);
}

/*
 * What was used while another descriptor was there may have been signalled to one that nobody
 * watches: QEMU gives a ring such a one first.
 */
void rings_set_call(struct vhost_user_device *t, uint16_t index, int call_fd)
{
	struct ring *ring = &t->rings[index];

	pthread_mutex_lock(&t->device->lock);
	fd_close(ring->call_fd);
	ring->call_fd = call_fd;
	if (call_fd >= 0 && t->device->queues[index].enabled)
		fd_signal(call_fd);
	pthread_mutex_unlock(&t->device->lock);
}

uint16_t rings_stop(struct vhost_user_device *t, uint16_t index)
{
	struct virtio_device *device = t->device;

	close_kick(&t->rings[index]);
	pthread_mutex_lock(&device->lock);
	if (!any_started(t) && (!t->paused || !device->active))
		reset(t);
	else
		stop_running(t, index);
	pthread_mutex_unlock(&device->lock);
	return t->rings[index].base;
}

void rings_stop_all(struct vhost_user_device *t)
{
	for (uint16_t i = 0; i < t->device->ops->queue_count; i++)
		close_kick(&t->rings[i]);
	pthread_mutex_lock(&t->device->lock);
	reset(t);
	pthread_mutex_unlock(&t->device->lock);
}

void vhost_user_device_pause(struct vhost_user_device *t)
{
	struct virtio_device *device = t->device;

	pthread_mutex_lock(&device->lock);
	if (!t->paused && device->ops->pause != NULL)
		device->ops->pause(device);
	t->paused = true;
	pthread_mutex_unlock(&device->lock);
}

/* Kicks that came meanwhile are made up for. */
void vhost_user_device_resume(struct vhost_user_device *t)
{
	struct virtio_device *device = t->device;
	bool was_paused;

	pthread_mutex_lock(&device->lock);
	was_paused = t->paused;
	t->paused = false;
	if (was_paused && device->ops->resume != NULL)
		device->ops->resume(device);
	run_wanted(t);
	for (uint16_t i = 0; was_paused && i < device->ops->queue_count; i++)
		if (device->queues[i].enabled)
			rings_kick_queue(&t->transport, i);
	if (device->active)
		tell_config_change(t);
	pthread_mutex_unlock(&device->lock);
}

int rings_init(struct vhost_user_device *t)
{
	int r;

	for (size_t i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		t->rings[i].transport = t;
		t->rings[i].call_fd = -1;
		t->rings[i].kick = (struct loop_source){ .fd = -1, .events = EPOLLIN | EPOLLET,
							 .ready = kick_ready };
	}
	t->again = (struct loop_source){ .events = EPOLLIN | EPOLLET, .ready = again_ready };
	t->again.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->again.fd < 0)
		return -errno;
	r = loop_add(t->loop, &t->again);
	if (r < 0)
		fd_close(fd_take(&t->again.fd));
	return r;
}

void rings_done(struct vhost_user_device *t)
{
	rings_stop_all(t);
	for (uint16_t i = 0; i < t->device->ops->queue_count; i++) {
		fd_close(fd_take(&t->rings[i].call_fd));
		t->rings[i].enabled = false;
	}
	guest_mem_free(t->mem);
	t->mem = NULL;
	t->mem_table.region_count = 0;
}
