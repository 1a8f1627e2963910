/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio driver that does everything right up to DRIVER_OK, and then hardly anything. */
#ifndef HOSTILE_RINGS_H
#define HOSTILE_RINGS_H

#include "machine.h"

#define QUEUES_MAX 3

/* A queue where the driver believes it to be. The device may have been told another place. */
struct ring {
	uint64_t descriptors, available, used;
	uint32_t size;		/* 0: not set up */
	uint16_t index;		/* of the available ring */
};

struct driver {
	const struct machine *machine;
	uint64_t page;		/* 0: no device found */
	uint32_t device_id;
	uint64_t cid;		/* of a vsock device */
	uint32_t garbage_one_in;	/* how tame this driver is */
	struct ring rings[QUEUES_MAX];
};

/** driver_setup() - take a device, another one than before perhaps, through its initialisation */
void driver_setup(struct driver *driver, struct rng *rng);

/**
 * driver_kick() - make some buffers available, sound ones and others, and notify the device
 *
 * A device that has given up, or that was reset, is set up again soon.
 */
void driver_kick(struct driver *driver, struct rng *rng);

/**
 * driver_scribble() - change a descriptor, an index or a request that the device may just be reading
 *
 * Needs no device: may be called by another CPU all the time.
 */
void driver_scribble(const struct machine *machine, struct rng *rng);

#endif
