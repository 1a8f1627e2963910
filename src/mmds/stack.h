/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The detour: a small network stack behind one interface of the guest that answers ARP, TCP and HTTP
 * for the metadata service's address, and sees nothing else. Frames in and out, time passed in; no
 * descriptors, no clock. What it holds is bounded, whatever the guest sends.
 *
 * Threads: the loop's.
 */
#ifndef SQUIB_MMDS_STACK_H
#define SQUIB_MMDS_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mmds/mmds.h"

#define MMDS_HEAD_BYTES  42u	/* what mmds_stack_wants() looks at: Ethernet and ARP */
#define MMDS_FRAME_BYTES 1514u	/* of what it sends */

struct mmds_stack;

/** mmds_stack_new() - @mmds must outlive it. 0 or -errno */
int mmds_stack_new(struct mmds *mmds, struct mmds_stack **ret_stack);
void mmds_stack_free(struct mmds_stack *stack);	/* accepts NULL */

/** mmds_stack_reset() - forget all connections: the driver was reset */
void mmds_stack_reset(struct mmds_stack *stack);

/**
 * mmds_stack_wants() - is this frame from the guest for us? Then it goes nowhere else
 * @frame: its first bytes, without a virtio header; @len: up to MMDS_HEAD_BYTES
 */
bool mmds_stack_wants(const struct mmds_stack *stack, const uint8_t *frame, size_t len);

/**
 * mmds_stack_receive() - a frame that mmds_stack_wants()
 * @len: the whole frame; up to 64 KiB and more, the guest may leave segmentation to the device
 *
 * Should the guest have changed it since it was asked for, it is dropped.
 *
 * Checksums of TCP are not looked at: the guest leaves them to the device. The counters of group
 * "mmds" are all kept here, those of frames received and sent too.
 */
void mmds_stack_receive(struct mmds_stack *stack, const uint8_t *frame, size_t len,
			uint64_t now_ns);

/**
 * mmds_stack_send() - the next frame for the guest, with all checksums
 * @frame: room for MMDS_FRAME_BYTES
 *
 * Return: its length, 0: none now.
 */
size_t mmds_stack_send(struct mmds_stack *stack, uint8_t *frame, uint64_t now_ns);

/** mmds_stack_due_ns() - when mmds_stack_send() may have one; 0: now, UINT64_MAX: not by itself */
uint64_t mmds_stack_due_ns(const struct mmds_stack *stack);

#endif
