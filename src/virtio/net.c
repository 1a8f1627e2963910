/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames go right between the guest's buffers and the back end, in the loop. A round ends after as many
 * frames as the ring has, or ROUND_BYTES, and kicks its own queue to go on.
 *
 * How long a frame is shows only when it has been received. So it is received into as many of the
 * driver's buffers as the longest of late would need, and what it did not need goes back to the queue;
 * behind them lies room of our own, for longer ones and for when the driver has too few. A frame that
 * went beyond them, or that the rate limiter does not admit yet, is held: it is ours then, and is
 * copied into buffers as soon as it may. Frames of the metadata service come to the guest the same
 * way. Nothing else is received while a frame is held.
 *
 * The back end is watched only while something can be done about what it has: not while the driver has
 * no buffers, or has broken a queue, or the limiter is waiting, or the device is paused or not active.
 * The loop is the loop's thread's alone, while a reset comes from a vCPU's: so whoever has reason to
 * watch kicks the receive queue, and an event that comes when there should be none ends the watch.
 */
#include "virtio/net.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "mmds/stack.h"
#include "net/backend.h"
#include "virtio/device.h"
#include "virtio/rate_limiter.h"

#define RX 0u
#define TX 1u

#define ROUND_BYTES (4u << 20)

#define HEAD_BYTES	(NET_HEADER_BYTES + MMDS_HEAD_BYTES)
#define SEGMENTS_MAX	(2u * VQ_SIZE_MAX)	/* one more than this is below IOV_MAX */

/* What is advertised of the configuration: up to the MTU. */
#define CONFIG_BYTES (offsetof(struct virtio_net_config, mtu) + sizeof(uint16_t))

static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER_BYTES, "as the standard has it");
static_assert(HEAD_BYTES >= NET_HEADER_BYTES + ETH_HLEN, "the head has the addresses in it");

/* Buffers of the driver that were popped to receive into, in order. Empty between rounds. */
struct rx_buffers {
	unsigned int count;
	unsigned int segment_count;
	uint64_t bytes;		/* room in all of them */
	struct {
		uint16_t head;
		uint16_t segment_count;
		uint32_t bytes;
	} buffers[VQ_SIZE_MAX];
	struct iovec segments[SEGMENTS_MAX + 1];	/* one after the other; the last is ours */
};

struct net {
	struct virtio_device device;
	struct net_backend *backend;
	struct mmds_stack *mmds;	/* may be NULL */
	char *id;			/* for the log */
	struct rate_limiter rx_limiter;
	struct rate_limiter tx_limiter;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct metrics_net *counters;

	/* The loop's thread's: */
	struct loop_source source;	/* the back end; fd -1: not watched */
	struct loop_timer mmds_timer;

	/* The rest is under the device's lock. */
	uint64_t mmds_due_ns;		/* what the timer is set to; 0: not at all */
	bool mmds_stale;		/* the driver was reset since the stack was last used */
	bool paused;
	bool starved;			/* the driver has to bring buffers before anything is received */
	bool kicked_itself[2];		/* the next kick, or one merged into it, is not the driver's */
	uint8_t configured_mac[ETH_ALEN];
	bool has_configured_mac;
	uint8_t mac[ETH_ALEN];		/* as now: the driver may change it */
	bool has_mac;
	uint16_t mtu;

	uint32_t room_bytes;		/* how much of the driver's to receive into, if it has it */
	uint32_t longest_bytes;		/* of the round's frames */
	uint8_t *held;			/* room for NET_FRAME_BYTES */
	uint32_t held_bytes;		/* 0: no frame is held */
	uint8_t *linear;		/* the same, for frames to the metadata service; may be NULL */

	/* Too large for the stack of a round: */
	struct vq_chain chain;
	struct rx_buffers rx;
	struct iovec tx_segments[VQ_SIZE_MAX + 1];
};

static struct net *of_device(struct virtio_device *device)
{
	return container_of(device, struct net, device);
}

static void kick_itself(struct net *net, uint16_t queue)
{
	net->kicked_itself[queue] = true;
	net->device.transport->kick_queue(net->device.transport, queue);
}

/* --- buffers to receive into */

static bool merges_buffers(const struct net *net)
{
	return virtio_has_feature(&net->device, VIRTIO_NET_F_MRG_RXBUF);
}

static bool chain_is_usable(const struct vq_chain *chain)
{
	return chain->readable_count == 0 && chain->writable_bytes >= NET_HEADER_BYTES;
}

static void add_chain(struct rx_buffers *rx, const struct vq_chain *chain)
{
	rx->buffers[rx->count].head = chain->head;
	rx->buffers[rx->count].segment_count = chain->writable_count;
	rx->buffers[rx->count].bytes = chain->writable_bytes;
	rx->count++;
	memcpy(&rx->segments[rx->segment_count], vq_chain_writable(chain),
	       chain->writable_count * sizeof(struct iovec));
	rx->segment_count += chain->writable_count;
	rx->bytes += chain->writable_bytes;
}

/*
 * A chain of no use is given back at once, but not past others that may yet go back to the queue: then
 * it waits for its turn.
 */
static void refuse_chain(struct net *net)
{
	struct vq *vq = &net->device.queues[RX];

	if (net->rx.count > 0) {
		vq_unpop(vq);
		return;
	}
	metrics_inc(&net->counters->rx_fails);
	log_limited_warn(net->log, "interface %s: a buffer that no frame can be received into", net->id);
	vq_push(vq, &net->chain, 0);
}

/*
 * Pop buffers until they have room for @wanted bytes; only one where a frame may not be spread over
 * several.
 *
 * Return: were they all that the driver had? Then it kicks when it has more.
 */
static bool collect_buffers(struct net *net, uint64_t wanted)
{
	struct rx_buffers *rx = &net->rx;

	while (rx->count == 0 || (merges_buffers(net) && rx->bytes < wanted)) {
		if (rx->count == VQ_SIZE_MAX)
			return false;
		if (virtio_queue_pop(&net->device, RX, &net->chain) == 0)
			return true;
		if (!chain_is_usable(&net->chain)) {
			refuse_chain(net);
			return false;
		}
		if (net->chain.writable_count > SEGMENTS_MAX - rx->segment_count) {
			vq_unpop(&net->device.queues[RX]);
			return false;
		}
		add_chain(rx, &net->chain);
	}
	return false;
}

static void return_buffers(struct net *net)
{
	vq_unpop_many(&net->device.queues[RX], (uint16_t)net->rx.count);
	net->rx.count = net->rx.segment_count = 0;
	net->rx.bytes = 0;
}

static void drop_first_buffers(struct rx_buffers *rx, unsigned int count, unsigned int segment_count)
{
	for (unsigned int i = 0; i < count; i++)
		rx->bytes -= rx->buffers[i].bytes;
	rx->count -= count;
	rx->segment_count -= segment_count;
	memmove(rx->buffers, rx->buffers + count, rx->count * sizeof(rx->buffers[0]));
	memmove(rx->segments, rx->segments + segment_count,
		rx->segment_count * sizeof(rx->segments[0]));
}

/* The first @len bytes of room have a frame in them, which is the driver's now. */
static void deliver(struct net *net, uint32_t len)
{
	struct vq *vq = &net->device.queues[RX];
	struct rx_buffers *rx = &net->rx;
	unsigned int used = 0, segments = 0;
	uint16_t num_buffers;

	for (uint64_t room = 0; room < len; used++)
		room += rx->buffers[used].bytes;
	num_buffers = htole16((uint16_t)used);
	vq_segments_write(rx->segments, rx->segment_count,
			  offsetof(struct virtio_net_hdr_v1, num_buffers), &num_buffers,
			  sizeof(num_buffers));
	metrics_inc(&net->counters->rx_count);
	metrics_inc(&net->counters->rx_packets_count);
	metrics_add(&net->counters->rx_bytes_count, len);
	for (unsigned int i = 0; i < used; i++) {
		uint32_t written = len < rx->buffers[i].bytes ? len : rx->buffers[i].bytes;

		vq_add_used(vq, rx->buffers[i].head, &rx->segments[segments],
			    rx->buffers[i].segment_count, written);
		segments += rx->buffers[i].segment_count;
		len -= written;
	}
	vq_publish_used(vq);	/* all at once: a driver may take a part of a frame for all of it */
	drop_first_buffers(rx, used, segments);
}

/* --- receiving */

static bool rx_admits(struct net *net, uint32_t len)
{
	if (rate_limiter_admit(&net->rx_limiter, len, clock_ns()))
		return true;
	metrics_inc(&net->counters->rx_rate_limiter_throttled);
	return false;
}

/* Functions that receive return how many bytes, 0 for a frame that was lost, or: */
#define NOTHING_MORE (-1)

static int64_t wait_for_buffers(struct net *net)
{
	metrics_inc(&net->counters->no_rx_avail_buffer);
	net->starved = true;
	return NOTHING_MORE;
}

static int64_t lose_frame(struct net *net)
{
	metrics_inc(&net->counters->rx_fails);
	return 0;
}

/* Can the driver, that has brought all its buffers, bring more than these? */
static bool may_have_more(const struct net *net)
{
	return net->rx.count == 0 ||
	       (merges_buffers(net) && net->rx.segment_count < net->device.queues[RX].size);
}

static int64_t receive_held(struct net *net)
{
	bool were_all = collect_buffers(net, net->held_bytes);
	uint32_t len = net->held_bytes;

	if (net->rx.bytes < len) {
		if (were_all && may_have_more(net))
			return wait_for_buffers(net);
		if (net->rx.count == 0)
			return 0;	/* there was one, and it was refused */
		net->held_bytes = 0;
		return lose_frame(net);
	}
	if (!rx_admits(net, len))
		return NOTHING_MORE;
	vq_segments_write(net->rx.segments, net->rx.segment_count, 0, net->held, len);
	net->held_bytes = 0;
	deliver(net, len);
	return len;
}

/* The room of our own is laid out as if what is before it were a copy of the driver's buffers. */
static int offer_segments(struct net *net)
{
	struct rx_buffers *rx = &net->rx;

	if (rx->bytes >= NET_FRAME_BYTES)
		return (int)rx->segment_count;
	rx->segments[rx->segment_count] = (struct iovec){ .iov_base = net->held + rx->bytes,
							  .iov_len = NET_FRAME_BYTES - rx->bytes };
	return (int)rx->segment_count + 1;
}

static void hold(struct net *net, uint32_t len)
{
	vq_segments_read(net->rx.segments, net->rx.segment_count, 0, net->held, len);
	net->held_bytes = len;
}

/* A frame that goes beyond costs more than buffers that were looked at in vain: quick to grow. */
static void note_length(struct net *net, uint32_t len)
{
	if (len > net->rx.bytes)
		net->room_bytes = NET_FRAME_BYTES;
	if (len > net->longest_bytes)
		net->longest_bytes = len;
}

/* At the end of a round: slow to shrink, and not while there are frames of such a size. */
static void adapt_room(struct net *net)
{
	if (net->longest_bytes > 0 && net->longest_bytes < net->room_bytes / 4)
		net->room_bytes -= net->room_bytes / 8;
	net->longest_bytes = 0;
}

static int64_t backend_failed(struct net *net, ssize_t r)
{
	char text[OS_ERROR_MAX];

	if (r == -ENOBUFS)
		return lose_frame(net);
	if (r != -EAGAIN) {
		metrics_inc(&net->counters->tap_read_fails);
		metrics_inc(&net->counters->event_fails);
		log_limited_error(net->log, "interface %s: nothing can be received: %s", net->id,
				  os_error((int)r, text));
	}
	return NOTHING_MORE;
}

static int64_t receive_new(struct net *net)
{
	bool were_all;
	ssize_t len;

	if (net->backend->fd < 0)
		return NOTHING_MORE;
	were_all = collect_buffers(net, net->room_bytes);
	if (net->rx.count == 0)
		return were_all ? wait_for_buffers(net) : 0;
	len = net->backend->ops->receive(net->backend, net->rx.segments, offer_segments(net));
	if (len < 0)
		return backend_failed(net, len);
	if (len < (ssize_t)NET_HEADER_BYTES)
		return lose_frame(net);
	note_length(net, (uint32_t)len);
	if ((uint64_t)len > net->rx.bytes) {
		if (!merges_buffers(net))
			return lose_frame(net);
		hold(net, (uint32_t)len);
		return receive_held(net);
	}
	if (!rx_admits(net, (uint32_t)len)) {
		hold(net, (uint32_t)len);
		return NOTHING_MORE;
	}
	deliver(net, (uint32_t)len);
	return len;
}

static void take_from_mmds(struct net *net)
{
	size_t len = mmds_stack_send(net->mmds, net->held + NET_HEADER_BYTES, clock_ns());

	if (len > 0) {
		memset(net->held, 0, NET_HEADER_BYTES);
		net->held_bytes = NET_HEADER_BYTES + (uint32_t)len;
	}
}

static int64_t receive(struct net *net)
{
	if (net->held_bytes == 0 && net->mmds != NULL)
		take_from_mmds(net);
	return net->held_bytes > 0 ? receive_held(net) : receive_new(net);
}

static void unwatch(struct net *net)
{
	if (net->source.fd >= 0)
		loop_remove(net->loop, &net->source);
	net->source.fd = -1;
}

static void watch(struct net *net)
{
	char text[OS_ERROR_MAX];
	int r;

	if (net->source.fd >= 0)
		return;
	net->source.fd = net->backend->fd;
	r = loop_add(net->loop, &net->source);
	if (r < 0) {
		net->source.fd = -1;
		metrics_inc(&net->counters->event_fails);
		log_limited_error(net->log, "interface %s: cannot be watched: %s", net->id,
				  os_error(r, text));
	}
}

static void watch_if_useful(struct net *net)
{
	if (net->backend->fd >= 0 && net->device.queues[RX].enabled && !net->starved &&
	    !net->rx_limiter.blocked && !virtio_device_is_broken(&net->device))
		watch(net);
	else
		unwatch(net);
}

/* 0: not by itself; while a frame is held, what it waits for comes first. */
static uint64_t mmds_due_ns(const struct net *net)
{
	uint64_t due_ns = net->held_bytes == 0 ? mmds_stack_due_ns(net->mmds) : UINT64_MAX;

	if (due_ns == UINT64_MAX)
		return 0;
	return due_ns > 0 ? due_ns : 1;		/* long past: at once */
}

static void set_mmds_timer(struct net *net)
{
	uint64_t due_ns = net->mmds != NULL ? mmds_due_ns(net) : 0;

	if (due_ns != net->mmds_due_ns)
		loop_timer_set(&net->mmds_timer, due_ns);
	net->mmds_due_ns = due_ns;
}

static void catch_up_with_reset(struct net *net)
{
	if (net->mmds_stale)
		mmds_stack_reset(net->mmds);
	net->mmds_stale = false;
}

static void serve_rx(struct net *net)
{
	struct vq *vq = &net->device.queues[RX];
	uint64_t bytes = 0;
	unsigned int served = 0;

	catch_up_with_reset(net);
	if (vq->enabled && !net->rx_limiter.blocked && !virtio_device_is_broken(&net->device)) {
		int64_t r = 0;

		net->starved = false;
		while (served < vq->size && bytes < ROUND_BYTES && (r = receive(net)) >= 0) {
			served++;
			bytes += (uint64_t)r;
		}
		return_buffers(net);
		adapt_room(net);
		virtio_queue_notify(&net->device, RX);
		if (r >= 0)
			kick_itself(net, RX);
		set_mmds_timer(net);
	}
	watch_if_useful(net);
}

static void backend_ready(struct loop_source *source, uint32_t events)
{
	struct net *net = container_of(source, struct net, source);

	(void)events;
	pthread_mutex_lock(&net->device.lock);
	if (net->device.active && !net->paused) {
		metrics_inc(&net->counters->rx_tap_event_count);
		serve_rx(net);
	} else {
		unwatch(net);
	}
	pthread_mutex_unlock(&net->device.lock);
}

/* The lock may be held, or not. */
static void backend_changed(struct net_backend *backend)
{
	struct net *net = backend->owner;

	unwatch(net);
	if (net->device.transport != NULL)
		net->device.transport->kick_queue(net->device.transport, RX);
}

static void mmds_timer_expired(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, mmds_timer);

	pthread_mutex_lock(&net->device.lock);
	net->mmds_due_ns = 0;
	if (net->device.active && !net->paused)
		serve_rx(net);
	pthread_mutex_unlock(&net->device.lock);
}

/* --- sending */

/* May the driver ask for this, and does it make sense (5.1.6.2.1)? */
static bool header_is_fine(const struct net *net, const struct virtio_net_hdr_v1 *header)
{
	const struct virtio_device *device = &net->device;

	if ((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 &&
	    !virtio_has_feature(device, VIRTIO_NET_F_CSUM))
		return false;
	switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO4) && header->gso_size != 0;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO6) && header->gso_size != 0;
	case VIRTIO_NET_HDR_GSO_UDP:
		return virtio_has_feature(device, VIRTIO_NET_F_HOST_UFO) && header->gso_size != 0;
	default:
		return false;
	}
}

/* @head: the frame's first @len bytes; up to HEAD_BYTES. */
static bool frame_is_fine(const struct net *net, const uint8_t *head, size_t len)
{
	struct virtio_net_hdr_v1 header;

	memcpy(&header, head, sizeof(header));
	return len >= NET_HEADER_BYTES + ETH_HLEN && net->chain.readable_bytes <= NET_FRAME_BYTES &&
	       header_is_fine(net, &header);
}

static bool has_foreign_source(const struct net *net, const uint8_t *head)
{
	return net->has_mac && memcmp(head + NET_HEADER_BYTES + ETH_ALEN, net->mac, ETH_ALEN) != 0;
}

/*
 * The head is sent from our copy: what was checked, and did not go to the metadata service, is what the
 * back end gets, whatever the driver makes of its buffers meanwhile.
 */
static ssize_t send_chain(struct net *net, uint8_t *head, size_t len)
{
	const struct vq_chain *chain = &net->chain;
	size_t count = 1;

	net->tx_segments[0] = (struct iovec){ .iov_base = head, .iov_len = len };
	count += vq_segments_slice(vq_chain_readable(chain), chain->readable_count, len,
				   chain->readable_bytes - len, &net->tx_segments[1]);
	return net->backend->ops->send(net->backend, net->tx_segments, (int)count);
}

static void send_to_backend(struct net *net, uint8_t *head, size_t len)
{
	uint64_t begin_ns = clock_ns();
	ssize_t r;

	if (has_foreign_source(net, head))
		metrics_inc(&net->counters->tx_spoofed_mac_count);
	r = send_chain(net, head, len);
	metrics_time(&net->counters->tap_write_agg, (clock_ns() - begin_ns) / 1000);
	if (r < 0) {
		char text[OS_ERROR_MAX];

		metrics_inc(&net->counters->tap_write_fails);
		log_limited_error(net->log, "interface %s: a frame cannot be sent: %s", net->id,
				  os_error((int)r, text));
		return;
	}
	metrics_inc(&net->counters->tx_count);
	metrics_inc(&net->counters->tx_packets_count);
	metrics_add(&net->counters->tx_bytes_count, net->chain.readable_bytes);
}

static bool is_for_mmds(const struct net *net, const uint8_t *head, size_t len)
{
	return net->mmds != NULL && mmds_stack_wants(net->mmds, head + NET_HEADER_BYTES,
						     len - NET_HEADER_BYTES);
}

static void send_to_mmds(struct net *net, const uint8_t *head, size_t len)
{
	size_t rest = net->chain.readable_bytes - len;

	memcpy(net->linear, head, len);
	vq_chain_read(&net->chain, len, net->linear + len, rest);
	mmds_stack_receive(net->mmds, net->linear + NET_HEADER_BYTES,
			   len + rest - NET_HEADER_BYTES, clock_ns());
}

static bool tx_admits(struct net *net)
{
	if (rate_limiter_admit(&net->tx_limiter, net->chain.readable_bytes, clock_ns()))
		return true;
	metrics_inc(&net->counters->tx_rate_limiter_throttled);
	return false;
}

/*
 * Send the frame of the chain, or drop it.
 *
 * Return: false when it has to wait. @ret_mmds is set when it was for the metadata service.
 */
static bool send_frame(struct net *net, bool *ret_mmds)
{
	uint8_t head[HEAD_BYTES] = { 0 };
	size_t len = vq_chain_read(&net->chain, 0, head, sizeof(head));

	if (net->chain.writable_count > 0) {
		metrics_inc(&net->counters->tx_fails);
		log_limited_warn(net->log, "interface %s: a frame with something to write to", net->id);
	} else if (!frame_is_fine(net, head, len)) {
		metrics_inc(&net->counters->tx_malformed_frames);
		log_limited_warn(net->log, "interface %s: a malformed frame of %u bytes", net->id,
				 net->chain.readable_bytes);
	} else if (is_for_mmds(net, head, len)) {
		send_to_mmds(net, head, len);
		*ret_mmds = true;
	} else {
		if (!tx_admits(net))
			return false;
		send_to_backend(net, head, len);
	}
	return true;
}

static void serve_tx(struct net *net)
{
	struct vq *vq = &net->device.queues[TX];
	uint64_t bytes = 0;
	unsigned int served = 0;
	bool for_mmds = false;

	catch_up_with_reset(net);
	while (virtio_queue_pop(&net->device, TX, &net->chain) > 0) {
		metrics_add(&net->counters->tx_remaining_reqs_count, vq_waiting(vq));
		if (!send_frame(net, &for_mmds)) {
			vq_unpop(vq);
			break;
		}
		bytes += net->chain.readable_bytes;
		vq_push(vq, &net->chain, 0);
		if (++served == vq->size || bytes >= ROUND_BYTES) {
			kick_itself(net, TX);
			break;
		}
	}
	if (served == 0)
		metrics_inc(&net->counters->no_tx_avail_buffer);
	virtio_queue_notify(&net->device, TX);
	if (for_mmds)
		serve_rx(net);
}

/* --- the other operations */

static void rx_kicked(struct net *net)
{
	if (!net->kicked_itself[RX])
		metrics_inc(&net->counters->rx_queue_event_count);
	net->kicked_itself[RX] = false;
	if (net->rx_limiter.blocked)
		metrics_inc(&net->counters->rx_rate_limiter_throttled);
	serve_rx(net);
}

static void tx_kicked(struct net *net)
{
	if (!net->kicked_itself[TX])
		metrics_inc(&net->counters->tx_queue_event_count);
	net->kicked_itself[TX] = false;
	if (net->tx_limiter.blocked)
		metrics_inc(&net->counters->tx_rate_limiter_throttled);
	else
		serve_tx(net);
}

static void net_queue_kicked(struct virtio_device *device, uint16_t queue)
{
	if (queue == RX)
		rx_kicked(of_device(device));
	else
		tx_kicked(of_device(device));
}

/* By way of the queue's kick: the transport knows whether the device is active, or paused. */
static void rx_unblocked(struct rate_limiter *limiter)
{
	struct net *net = container_of(limiter, struct net, rx_limiter);

	pthread_mutex_lock(&net->device.lock);
	metrics_inc(&net->counters->rx_event_rate_limiter_count);
	if (net->device.active)
		kick_itself(net, RX);
	pthread_mutex_unlock(&net->device.lock);
}

static void tx_unblocked(struct rate_limiter *limiter)
{
	struct net *net = container_of(limiter, struct net, tx_limiter);

	pthread_mutex_lock(&net->device.lock);
	metrics_inc(&net->counters->tx_rate_limiter_event_count);
	if (net->device.active)
		kick_itself(net, TX);
	pthread_mutex_unlock(&net->device.lock);
}

static int net_activate(struct virtio_device *device)
{
	struct net *net = of_device(device);
	int r = net->backend->ops->set_features(net->backend, device->acked_features);

	if (r < 0) {
		metrics_inc(&net->counters->activate_fails);
		return r;
	}
	kick_itself(net, RX);
	return 0;
}

/* The limiters stay as they are: a reset is no way out. The watch ends with the next event. */
static void net_reset(struct virtio_device *device)
{
	struct net *net = of_device(device);

	net->held_bytes = 0;
	net->starved = false;
	net->mmds_stale = net->mmds != NULL;
	net->kicked_itself[RX] = net->kicked_itself[TX] = false;
	memcpy(net->mac, net->configured_mac, ETH_ALEN);
	net->has_mac = net->has_configured_mac;
}

static void net_pause(struct virtio_device *device)
{
	of_device(device)->paused = true;
}

static void net_resume(struct virtio_device *device)
{
	struct net *net = of_device(device);

	net->paused = false;
	if (device->active)
		kick_itself(net, RX);
}

static void net_config_read(struct virtio_device *device, uint32_t offset, void *data, size_t len)
{
	const struct net *net = of_device(device);
	struct virtio_net_config config = { .mtu = htole16(net->mtu) };

	memcpy(config.mac, net->mac, ETH_ALEN);
	memcpy(data, (const uint8_t *)&config + offset, len);
}

/* Of the configuration the address alone is the driver's to write. */
static void net_config_write(struct virtio_device *device, uint32_t offset, const void *data,
			     size_t len)
{
	struct net *net = of_device(device);

	if (offset >= ETH_ALEN || len > ETH_ALEN - offset) {
		metrics_inc(&net->counters->cfg_fails);
		log_limited_warn(net->log, "interface %s: the driver cannot write there", net->id);
		return;
	}
	memcpy(net->mac + offset, data, len);
	net->has_mac = true;
	metrics_inc(&net->counters->mac_address_updates);
}

static void net_free(struct virtio_device *device)
{
	struct net *net = of_device(device);

	unwatch(net);
	if (net->mmds_timer.source.fd >= 0)
		loop_timer_done(net->loop, &net->mmds_timer);
	rate_limiter_done(&net->rx_limiter);
	rate_limiter_done(&net->tx_limiter);
	net_backend_free(net->backend);
	mmds_stack_free(net->mmds);
	metrics_net_unregister(net->metrics, net->counters);
	virtio_device_done(&net->device);
	free(net->linear);
	free(net->held);
	free(net->id);
	free(net);
}

static const struct virtio_ops net_ops = {
	.device_id = VIRTIO_ID_NET,
	.queue_count = 2,
	.activate = net_activate,
	.queue_kicked = net_queue_kicked,
	.reset = net_reset,
	.pause = net_pause,
	.resume = net_resume,
	.config_read = net_config_read,
	.config_write = net_config_write,
	.free = net_free,
};

static void offer_features(struct net *net, const struct squib_network_interface *config,
			   uint64_t offloads)
{
	const uint64_t known = UINT64_C(1) << VIRTIO_NET_F_CSUM |
			       UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM |
			       UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |
			       UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 |
			       UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO |
			       UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 |
			       UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 |
			       UINT64_C(1) << VIRTIO_NET_F_HOST_UFO;

	net->device.features |= UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF | (known & offloads);
	if (config->has_guest_mac) {
		memcpy(net->configured_mac, config->guest_mac, ETH_ALEN);
		memcpy(net->mac, config->guest_mac, ETH_ALEN);
		net->has_configured_mac = net->has_mac = true;
		net->device.features |= UINT64_C(1) << VIRTIO_NET_F_MAC;
	}
	if (config->has_mtu) {
		net->mtu = config->mtu;
		net->device.features |= UINT64_C(1) << VIRTIO_NET_F_MTU;
	}
	net->device.config_len = CONFIG_BYTES;
}

/* What can fail, but for memory. */
static int init_loop_parts(struct net *net, const struct squib_network_interface *config)
{
	int r = rate_limiter_init(&net->rx_limiter, net->loop, config->rx_rate_limiter, rx_unblocked);

	if (r == 0)
		r = rate_limiter_init(&net->tx_limiter, net->loop, config->tx_rate_limiter,
				      tx_unblocked);
	if (r == 0 && net->mmds != NULL)
		r = loop_timer_init(net->loop, &net->mmds_timer, mmds_timer_expired);
	return r;
}

/* The counters are last, as only free() comes after them. */
static int allocate_parts(struct net *net, const char *id)
{
	net->id = strdup(id);
	net->held = malloc(NET_FRAME_BYTES);
	if (net->mmds != NULL)
		net->linear = malloc(NET_FRAME_BYTES);
	net->counters = metrics_net_register(net->metrics, id);
	return net->id != NULL && net->held != NULL && net->counters != NULL &&
	       (net->mmds == NULL || net->linear != NULL) ? 0 : -ENOMEM;
}

int net_new(const struct net_params *params, struct virtio_device **ret_device)
{
	struct net *net = calloc(1, sizeof(*net));
	int r;

	if (net == NULL)
		return -ENOMEM;
	virtio_device_init(&net->device, &net_ops);
	net->source = (struct loop_source){ .fd = -1, .events = EPOLLIN, .ready = backend_ready };
	net->mmds_timer.source.fd = -1;
	net->backend = params->backend;
	net->mmds = params->mmds;
	net->room_bytes = NET_FRAME_BYTES;
	net->loop = params->loop;
	net->log = params->log;
	net->metrics = params->metrics;
	r = allocate_parts(net, params->config->iface_id);
	if (r == 0)
		r = init_loop_parts(net, params->config);
	if (r < 0) {
		net->backend = NULL;	/* still the caller's, as the stack is */
		net->mmds = NULL;
		net_free(&net->device);
		return r;
	}
	offer_features(net, params->config, net->backend->features);
	net->backend->owner = net;
	net->backend->changed = backend_changed;
	*ret_device = &net->device;
	return 0;
}

void net_update(struct virtio_device *device, const struct squib_network_interface_update *update)
{
	struct net *net = of_device(device);

	assert(device->ops == &net_ops);
	pthread_mutex_lock(&device->lock);
	if (rate_limiter_update(&net->rx_limiter, update->rx_rate_limiter) && device->active)
		kick_itself(net, RX);
	if (rate_limiter_update(&net->tx_limiter, update->tx_rate_limiter) && device->active)
		kick_itself(net, TX);
	if (net->backend->ops->revive != NULL) {
		char text[OS_ERROR_MAX];
		int r = net->backend->ops->revive(net->backend);

		if (r < 0)
			log_error(net->log, "interface %s: cannot be brought back: %s", net->id,
				  os_error(r, text));
	}
	pthread_mutex_unlock(&device->lock);
}
