/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices of a machine, made of its description, before an engine puts its transports in
 * front of them. What is asked of a device by its id goes through here, whatever the transport.
 *
 * Threads: the monitor's.
 */
#ifndef SQUIB_ENGINE_DEVICE_SET_H
#define SQUIB_ENGINE_DEVICE_SET_H

#include "engine/engine.h"

struct device_set;
struct virtio_device;

/** device_set_bound() - no more devices than that has a machine with @machine's description */
size_t device_set_bound(const struct squib_machine *machine);

struct device_set_params {
	const struct engine_params *engine;
	const struct engine_machine *machine;	/* its interfaces are taken over */
	struct loop *loop;			/* of the devices; may be another than the engine's */
	/* Leave out what QEMU does better by itself: entropy, and drives that are served by a socket. */
	bool for_qemu;
};

/**
 * device_set_new() - make them, in attach order (contract 4.4)
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: ".
 */
int device_set_new(const struct device_set_params *params, struct device_set **ret_set,
		   struct fault *fault);
/** device_set_free() - with the devices that no transport has taken; accepts NULL */
void device_set_free(struct device_set *set);

size_t device_set_count(const struct device_set *set);
struct virtio_device *device_set_device(const struct device_set *set, size_t index);
/** device_set_drive() - of which drive is it? NULL: of none. Valid as long as the description */
const struct squib_drive *device_set_drive(const struct device_set *set, size_t index);
/** device_set_take() - the device is the caller's, who keeps it as long as there is the set */
struct virtio_device *device_set_take(struct device_set *set, size_t index);

/** device_set_update_drive() - see engine_ops.update_drive */
int device_set_update_drive(struct device_set *set, const struct squib_drive_update *update,
			    int file_fd, struct fault *fault);
/** device_set_update_network_interface() - see engine_ops.update_network_interface */
int device_set_update_network_interface(struct device_set *set,
					const struct squib_network_interface_update *update,
					struct fault *fault);

#endif
