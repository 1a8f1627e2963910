/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The side of the guest: its packets come in the transmit queue and are dealt with at once; packets
 * for it are made when there is a buffer in the receive queue, by the streams in turn. What a stream
 * has to say is kept in its state, and what belongs to no stream, answers to what the guest should
 * not have sent, in a bounded queue; when that is full, nothing is taken from the guest until it
 * takes answers (5.10.6.1 wants that for lack of resources).
 *
 * A round ends after as many packets as the queue has, or ROUND_BYTES.
 */
#include "virtio/vsock_internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#define HOST_CID 2u
#define ROUND_BYTES (1u << 20)

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUE_COUNT };

static struct vsock *of_device(struct virtio_device *device)
{
	return container_of(device, struct vsock, device);
}

static void kick_itself(struct vsock *vsock, uint16_t queue)
{
	vsock->kicked_itself[queue] = true;
	vsock->device.transport->kick_queue(vsock->device.transport, queue);
}

/* --- answers that are no stream's */

static void queue_rst(struct vsock_rsts *rsts, struct vsock_ports ports)
{
	rsts->ports[(rsts->first + rsts->count) % VSOCK_RSTS_MAX] = ports;
	rsts->count++;
}

static bool take_rst(struct vsock_rsts *rsts, struct vsock_header *header)
{
	struct vsock_ports ports = rsts->ports[rsts->first];

	if (rsts->count == 0)
		return false;
	rsts->first = (rsts->first + 1) % VSOCK_RSTS_MAX;
	rsts->count--;
	*header = (struct vsock_header){
		.src_port = ports.local,
		.dst_port = ports.peer,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = VIRTIO_VSOCK_OP_RST,
	};
	return true;
}

/* --- to the guest */

static bool has_packets(const struct vsock *vsock)
{
	return vsock->rsts.count > 0 || !list_is_empty(&vsock->ready);
}

/* Of the first stream in the list, which goes to its end. */
static bool make_packet(struct vsock *vsock, struct vsock_header *header)
{
	struct vsock_stream *stream = container_of(list_first(&vsock->ready), struct vsock_stream,
						   in_ready);
	const struct vq_chain *chain = &vsock->chain;
	size_t count = vq_segments_slice(vq_chain_writable(chain), chain->writable_count,
					 VSOCK_HEADER_BYTES, VSOCK_DATA_BYTES_MAX, vsock->scratch);
	bool made = vsock_connection_send(&stream->connection, header, vsock->scratch, count,
					  clock_ns());

	list_remove(&stream->in_ready);
	vsock_host_settle(stream);
	return made;
}

/* Bytes that were written to the buffers in vsock->chain; 0: there was no packet. */
static uint32_t fill_chain(struct vsock *vsock)
{
	struct vsock_header header;
	bool made = take_rst(&vsock->rsts, &header);

	while (!made && !list_is_empty(&vsock->ready))
		made = make_packet(vsock, &header);
	if (!made)
		return 0;
	header.src_cid = HOST_CID;
	header.dst_cid = vsock->guest_cid;
	vsock_packet_write(&vsock->chain, &header);
	return VSOCK_HEADER_BYTES + header.len;
}

/* As fill_chain(); -EPROTO: there is no room for data, which is no way to receive. */
static int64_t serve_rx_chain(struct vsock *vsock)
{
	struct vq *vq = &vsock->device.queues[QUEUE_RX];
	uint32_t written;

	if (vsock->chain.writable_bytes <= VSOCK_HEADER_BYTES) {
		log_limited_warn(vsock->log, "vsock: a receive buffer of %u bytes",
				 vsock->chain.writable_bytes);
		vq_push(vq, &vsock->chain, 0);
		return -EPROTO;
	}
	written = fill_chain(vsock);
	if (written == 0)
		vq_unpop(vq);
	else
		vq_push(vq, &vsock->chain, written);
	return written;
}

void vsock_serve_rx(struct vsock *vsock)
{
	struct virtio_device *device = &vsock->device;
	unsigned int served = 0;
	uint64_t bytes = 0;

	while (has_packets(vsock) && virtio_queue_pop(device, QUEUE_RX, &vsock->chain) > 0) {
		int64_t r = serve_rx_chain(vsock);

		if (r == 0)
			break;
		bytes += r > 0 ? (uint64_t)r : 0;
		if (++served == device->queues[QUEUE_RX].size || bytes >= ROUND_BYTES) {
			kick_itself(vsock, QUEUE_RX);
			break;
		}
	}
	virtio_queue_notify(device, QUEUE_RX);
	if (vsock->tx_stalled && vsock->rsts.count < VSOCK_RSTS_MAX) {
		vsock->tx_stalled = false;
		kick_itself(vsock, QUEUE_TX);
	}
}

/* --- from the guest */

static void receive_packet(struct vsock *vsock, const struct vsock_header *header)
{
	struct vsock_ports ports = { .local = header->dst_port, .peer = header->src_port };
	struct vsock_stream *stream;

	if (header->type != VIRTIO_VSOCK_TYPE_STREAM) {
		queue_rst(&vsock->rsts, ports);
		return;
	}
	if (header->dst_cid != HOST_CID) {
		log_limited_info(vsock->log, "vsock: dropping a packet for CID %llu",
				 (unsigned long long)header->dst_cid);
		return;
	}
	stream = vsock_host_find(vsock, ports);
	if (header->op == VIRTIO_VSOCK_OP_RST) {
		if (stream != NULL)
			vsock_host_remove(stream);
	} else if (stream == NULL) {
		if (header->op != VIRTIO_VSOCK_OP_REQUEST || !vsock_host_dial(vsock, header))
			queue_rst(&vsock->rsts, ports);
	} else {
		vsock_connection_receive(&stream->connection, header, &vsock->chain, vsock->scratch,
					 clock_ns());
		vsock_host_settle(stream);
	}
}

/* Bytes of data in it. */
static uint32_t serve_tx_chain(struct vsock *vsock)
{
	struct vsock_header header = { 0 };

	if (vsock_packet_read(&vsock->chain, &header) == 0)
		receive_packet(vsock, &header);
	else
		log_limited_error(vsock->log, "vsock: a packet that is too short, or too long");
	vq_push(&vsock->device.queues[QUEUE_TX], &vsock->chain, 0);
	return header.len;
}

static void serve_tx(struct vsock *vsock)
{
	struct virtio_device *device = &vsock->device;
	unsigned int served = 0;
	uint64_t bytes = 0;

	while (vsock->rsts.count < VSOCK_RSTS_MAX &&
	       virtio_queue_pop(device, QUEUE_TX, &vsock->chain) > 0) {
		bytes += serve_tx_chain(vsock);
		if (++served == device->queues[QUEUE_TX].size || bytes >= ROUND_BYTES) {
			kick_itself(vsock, QUEUE_TX);
			break;
		}
	}
	vsock->tx_stalled = vsock->rsts.count == VSOCK_RSTS_MAX;
	virtio_queue_notify(device, QUEUE_TX);
}

/* --- the operations */

static bool was_itself(struct vsock *vsock, uint16_t queue)
{
	bool was = vsock->kicked_itself[queue];

	vsock->kicked_itself[queue] = false;
	return was;
}

static void tx_kicked(struct vsock *vsock)
{
	if (!was_itself(vsock, QUEUE_TX))
		metrics_inc(&vsock->counters->tx_queue_event_count);
	serve_tx(vsock);
	vsock_serve_rx(vsock);
}

static void rx_kicked(struct vsock *vsock)
{
	if (!was_itself(vsock, QUEUE_RX) && has_packets(vsock))
		metrics_inc(&vsock->counters->rx_queue_event_count);
	vsock_serve_rx(vsock);
}

static void vsock_queue_kicked(struct virtio_device *device, uint16_t queue)
{
	struct vsock *vsock = of_device(device);

	if (queue == QUEUE_TX)
		tx_kicked(vsock);
	else if (queue == QUEUE_RX)
		rx_kicked(vsock);
	vsock_host_leave(vsock);
}

static int vsock_activate(struct virtio_device *device)
{
	vsock_host_wake(of_device(device));
	return 0;
}

static void vsock_reset(struct virtio_device *device)
{
	struct vsock *vsock = of_device(device);

	vsock->rsts.count = 0;
	vsock->tx_stalled = false;
	vsock->kicked_itself[QUEUE_RX] = vsock->kicked_itself[QUEUE_TX] = false;
	vsock_host_drop_all(vsock);
}

static void vsock_pause(struct virtio_device *device)
{
	vsock_host_pause(of_device(device));
}

static void vsock_resume(struct virtio_device *device)
{
	vsock_host_resume(of_device(device));
}

static void vsock_config_read(struct virtio_device *device, uint32_t offset, void *data, size_t len)
{
	struct virtio_vsock_config config = { .guest_cid = htole64(of_device(device)->guest_cid) };

	memcpy(data, (const uint8_t *)&config + offset, len);
}

static void vsock_config_write(struct virtio_device *device, uint32_t offset, const void *data,
			       size_t len)
{
	struct vsock *vsock = of_device(device);

	(void)data;
	metrics_inc(&vsock->counters->cfg_fails);
	log_limited_warn(vsock->log, "vsock: %zu bytes written to the configuration at %u", len,
			 offset);
}

static void vsock_free(struct virtio_device *device)
{
	struct vsock *vsock = of_device(device);

	vsock_host_done(vsock);
	virtio_device_done(&vsock->device);
	free(vsock);
}

static const struct virtio_ops vsock_ops = {
	.device_id = VIRTIO_ID_VSOCK,
	.queue_count = QUEUE_COUNT,
	.activate = vsock_activate,
	.queue_kicked = vsock_queue_kicked,
	.reset = vsock_reset,
	.pause = vsock_pause,
	.resume = vsock_resume,
	.config_read = vsock_config_read,
	.config_write = vsock_config_write,
	.free = vsock_free,
};

int vsock_new(const struct vsock_params *params, struct virtio_device **ret_device)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));
	int r;

	if (vsock == NULL)
		return -ENOMEM;
	virtio_device_init(&vsock->device, &vsock_ops);
	/* A buffer is given back before the next one is taken. */
	vsock->device.features |= UINT64_C(1) << VIRTIO_F_IN_ORDER;
	vsock->device.config_len = sizeof(struct virtio_vsock_config);
	vsock->loop = params->loop;
	vsock->log = params->log;
	vsock->counters = &params->metrics->vsock;
	vsock->guest_cid = params->config->guest_cid;
	r = vsock_host_init(vsock, params);
	if (r < 0) {
		vsock_free(&vsock->device);
		return r;
	}
	*ret_device = &vsock->device;
	return 0;
}
