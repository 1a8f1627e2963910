/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_QEMU_INTERNAL_H
#define SQUIB_ENGINE_QEMU_INTERNAL_H

#include <stdint.h>

#include "engine/engine.h"

/* How long QEMU may take. Nothing waits longer for it; tests shorten them. */
struct qemu_timeouts {
	unsigned int start_ms;		/* from exec until it answers */
	unsigned int command_ms;	/* to answer a command */
	unsigned int exit_ms;		/* to end after the guest has ended; then it is killed */
	unsigned int drain_ms;		/* the console, to take some of an ended guest's last output */
};

struct qemu_timeouts *qemu_timeouts(struct engine *engine);

struct qemu_engine;

/**
 * qemu_command() - a QMP command to a machine that is up, its answer waited for until @deadline_ns
 * @arguments: JSON text of an object, or NULL
 * @fd: sent along; -1: none
 *
 * Return: 0, or -errno with @fault, which may be NULL.
 */
int qemu_command(struct qemu_engine *qemu, const char *name, const char *arguments, int fd,
		 uint64_t deadline_ns, struct fault *fault);

#endif
