/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both sides of vhost-user say (QEMU's docs/interop/vhost-user.rst): numbers in the host's byte
 * order, a header, a payload, and descriptors beside it. The front end is the one that has the
 * guest, the back end serves the queues.
 */
#ifndef SQUIB_VHOST_USER_PROTOCOL_H
#define SQUIB_VHOST_USER_PROTOCOL_H

#include <linux/vhost_types.h>
#include <stdint.h>

#define VU_REGIONS_MAX	    8
#define VU_FDS_MAX	    VU_REGIONS_MAX
#define VU_CONFIG_BYTES_MAX 256u

/* The one feature that is not the virtio device's: there are protocol features. */
#define VU_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

#define VU_PROTOCOL_F_MQ	  (UINT64_C(1) << 0)
#define VU_PROTOCOL_F_REPLY_ACK	  (UINT64_C(1) << 3)
#define VU_PROTOCOL_F_BACKEND_REQ (UINT64_C(1) << 5)
#define VU_PROTOCOL_F_CONFIG	  (UINT64_C(1) << 9)

/* From the front end. */
enum vu_request {
	VU_GET_FEATURES		 = 1,
	VU_SET_FEATURES		 = 2,
	VU_SET_OWNER		 = 3,
	VU_RESET_OWNER		 = 4,
	VU_SET_MEM_TABLE	 = 5,
	VU_SET_VRING_NUM	 = 8,
	VU_SET_VRING_ADDR	 = 9,
	VU_SET_VRING_BASE	 = 10,
	VU_GET_VRING_BASE	 = 11,
	VU_SET_VRING_KICK	 = 12,
	VU_SET_VRING_CALL	 = 13,
	VU_SET_VRING_ERR	 = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM	 = 17,
	VU_SET_VRING_ENABLE	 = 18,
	VU_SET_BACKEND_REQ_FD	 = 21,
	VU_GET_CONFIG		 = 24,
	VU_SET_CONFIG		 = 25,
};

/* From the back end, on the channel that VU_SET_BACKEND_REQ_FD gave it. */
#define VU_BACKEND_CONFIG_CHANGE 2u

#define VU_FLAGS_VERSION_MASK 3u
#define VU_FLAGS_VERSION      1u
#define VU_FLAG_REPLY	      (1u << 2)
#define VU_FLAG_NEED_REPLY    (1u << 3)

struct vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size;		/* of the payload */
};

struct vu_region {
	uint64_t gpa;
	uint64_t size_bytes;
	uint64_t user_addr;	/* in the front end's address space */
	uint64_t offset;	/* in the file */
};

struct vu_mem_table {
	uint32_t region_count;
	uint32_t padding;
	struct vu_region regions[VU_REGIONS_MAX];
};

struct vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VU_CONFIG_BYTES_MAX];
};

/* Of KICK, CALL and ERR: the ring's index, and whether there is no descriptor. */
#define VU_RING_INDEX_MASK 0xffu
#define VU_RING_NO_FD	   (1u << 8)

union vu_payload {
	uint64_t u64;
	struct vhost_vring_state state;
	struct vhost_vring_addr addr;
	struct vu_mem_table mem_table;
	struct vu_config config;
};

#endif
