/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: in place of the stack of the metadata service, one that wants frames to MMDS_TEST_TARGET,
 * notes what it received, and has to send what it is told.
 */
#ifndef SQUIB_VIRTIO_TEST_MMDS_STACK_H
#define SQUIB_VIRTIO_TEST_MMDS_STACK_H

#include "mmds/stack.h"

#define MMDS_TEST_TARGET 0x4du		/* the first byte of a frame that it wants */

struct mmds_stack {
	unsigned int received;
	size_t received_bytes;		/* of the last frame */
	unsigned int resets;
	unsigned int to_send;		/* frames of send_bytes, each full of its number, from 1 on */
	unsigned int sent;
	size_t send_bytes;
	uint64_t due_ns;		/* when to_send may be sent; 0: now */
};

#endif
