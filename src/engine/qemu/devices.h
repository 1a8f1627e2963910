/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices that QEMU's guest has of us: each is served to QEMU over vhost-user on a socket that
 * QEMU inherits.
 *
 * QEMU's main thread waits for their answers, so they must be served whenever we wait for QEMU. They
 * therefore have a loop of their own, which is a source of the monitor's, and which the engine
 * runs too while it waits in place.
 */
#ifndef SQUIB_ENGINE_QEMU_DEVICES_H
#define SQUIB_ENGINE_QEMU_DEVICES_H

#include "engine/device_set.h"

struct qemu_devices;

/** qemu_devices_new() - 0, or -errno with @fault, a whole text behind "Start microvm error: " */
int qemu_devices_new(const struct engine_params *params, const struct engine_machine *machine,
		     struct qemu_devices **ret_devices, struct fault *fault);
void qemu_devices_free(struct qemu_devices *devices);	/* accepts NULL */

/**
 * qemu_devices_peers() - QEMU's ends, in attach order: drives, network interfaces, vsock
 *
 * Those of drives by "socket" lead to the other process. Until qemu_devices_close_peers().
 */
const int *qemu_devices_peers(const struct qemu_devices *devices, size_t *ret_count);
void qemu_devices_close_peers(struct qemu_devices *devices);

/** qemu_devices_fd() - polls readable when they have something to do */
int qemu_devices_fd(const struct qemu_devices *devices);
/** qemu_devices_serve() - do it; does not wait */
void qemu_devices_serve(struct qemu_devices *devices);

/** qemu_devices_pause() / qemu_devices_resume() - QEMU is about to stop, it goes on; idempotent */
void qemu_devices_pause(struct qemu_devices *devices);
void qemu_devices_resume(struct qemu_devices *devices);

/** qemu_devices_set() - to find them by their ids */
struct device_set *qemu_devices_set(struct qemu_devices *devices);

#endif
