/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_QEMU_INTERNAL_H
#define SQUIB_ENGINE_QEMU_INTERNAL_H

#include "engine/engine.h"

/* How long QEMU may take. Nothing waits longer for it; tests shorten them. */
struct qemu_timeouts {
	unsigned int start_ms;		/* from exec until it answers */
	unsigned int command_ms;	/* to answer a command */
	unsigned int exit_ms;		/* to end after the guest has ended; then it is killed */
	unsigned int drain_ms;		/* the console, to take some of an ended guest's last output */
};

struct qemu_timeouts *qemu_timeouts(struct engine *engine);

#endif
