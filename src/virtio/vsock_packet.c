/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_packet.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HEADER_BYTES, "as in guest memory");

int vsock_packet_read(const struct vq_chain *chain, struct vsock_header *header)
{
	struct virtio_vsock_hdr raw;
	uint32_t len;

	if (vq_chain_read(chain, 0, &raw, sizeof(raw)) < sizeof(raw))
		return -EPROTO;
	len = le32toh(raw.len);
	if (len > VSOCK_DATA_BYTES_MAX || len > chain->readable_bytes - VSOCK_HEADER_BYTES)
		return -EPROTO;
	*header = (struct vsock_header){
		.src_cid = le64toh(raw.src_cid),
		.dst_cid = le64toh(raw.dst_cid),
		.src_port = le32toh(raw.src_port),
		.dst_port = le32toh(raw.dst_port),
		.len = len,
		.type = le16toh(raw.type),
		.op = le16toh(raw.op),
		.flags = le32toh(raw.flags),
		.buf_alloc = le32toh(raw.buf_alloc),
		.fwd_cnt = le32toh(raw.fwd_cnt),
	};
	return 0;
}

void vsock_packet_write(const struct vq_chain *chain, const struct vsock_header *header)
{
	struct virtio_vsock_hdr raw = {
		.src_cid = htole64(header->src_cid),
		.dst_cid = htole64(header->dst_cid),
		.src_port = htole32(header->src_port),
		.dst_port = htole32(header->dst_port),
		.len = htole32(header->len),
		.type = htole16(header->type),
		.op = htole16(header->op),
		.flags = htole32(header->flags),
		.buf_alloc = htole32(header->buf_alloc),
		.fwd_cnt = htole32(header->fwd_cnt),
	};

	assert(chain->writable_bytes >= sizeof(raw));
	vq_chain_write(chain, 0, &raw, sizeof(raw));
}
