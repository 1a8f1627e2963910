/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices that QEMU's guest has of us: each is served to QEMU over vhost-user, on a socket that
 * QEMU connects to. (It takes an inherited one for drives, but for a network device it wants an
 * address.) The addresses are of the kernel's choice, without a file, and only QEMU is let in.
 *
 * QEMU's main thread waits for their answers, so they must be served whenever we wait for QEMU. They
 * therefore have a loop of their own, which is a source of the monitor's, and which the engine
 * runs too while it waits in place.
 */
#ifndef SQUIB_ENGINE_QEMU_DEVICES_H
#define SQUIB_ENGINE_QEMU_DEVICES_H

#include <sys/types.h>

#include "engine/device_set.h"

#define QEMU_ADDRESS_MAX 16

struct qemu_devices;

/** qemu_devices_new() - 0, or -errno with @fault, a whole text behind "Start microvm error: " */
int qemu_devices_new(const struct engine_params *params, const struct engine_machine *machine,
		     struct qemu_devices **ret_devices, struct fault *fault);
void qemu_devices_free(struct qemu_devices *devices);	/* accepts NULL */

/* How QEMU reaches a device. */
struct qemu_peer {
	int fd;				/* connected, to be inherited; -1: by the address */
	char address[QEMU_ADDRESS_MAX];	/* in the abstract namespace (unix(7)) */
};

/**
 * qemu_devices_peers() - in attach order: drives, network interfaces, vsock
 *
 * Those of drives by "socket" lead to the other process.
 */
const struct qemu_peer *qemu_devices_peers(const struct qemu_devices *devices, size_t *ret_count);

/** qemu_devices_expect() - process @pid is QEMU, and has all it inherits */
void qemu_devices_expect(struct qemu_devices *devices, pid_t pid);

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
