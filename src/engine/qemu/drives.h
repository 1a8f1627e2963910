/* SPDX-License-Identifier: Apache-2.0 */
/* Drives of a machine that is up: other files and other limits (PATCH /drives/{drive_id}). */
#ifndef SQUIB_ENGINE_QEMU_DRIVES_H
#define SQUIB_ENGINE_QEMU_DRIVES_H

#include "engine/qemu/qemu_internal.h"

struct drives;

/** drives_new() - what there is to know of @machine's drives; NULL: out of memory */
struct drives *drives_new(const struct squib_machine *machine);
void drives_free(struct drives *drives);	/* accepts NULL */

/**
 * drives_update() - a PATCH that names one of them
 * @file_fd: the new file, not taken over; -1: it stays
 * @paused: the guest stands still and is to stay so; else it is stopped for some milliseconds
 *
 * Return: 0, or -errno with @fault behind "Drive config error: Unable to patch the block device: ";
 * the drive is then as it was.
 */
int drives_update(struct drives *drives, struct qemu_engine *qemu,
		  const struct squib_drive_update *update, int file_fd, bool paused,
		  uint64_t deadline_ns, struct fault *fault);

#endif
