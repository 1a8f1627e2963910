/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: takes actions from a controller's queue, opens what they name, builds and runs the
 * machine by an engine, and ends with it. It owns the thread that calls vmm_run().
 */
#ifndef SQUIB_VMM_H
#define SQUIB_VMM_H

#include <squib/controller.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "engine/engine.h"

struct vmm;
struct passt_port;

/*
 * Tells by which engine machines are made. Asked when the first is to be made, and not again after it
 * answered: finding out whether KVM works takes longer than all that comes before.
 */
struct engine_chooser {
	/* NULL: the engine that is wanted cannot be used, @fault says why ("Kvm error: ..."). */
	const struct engine_ops *(*choose)(struct engine_chooser *chooser, struct fault *fault);
};

/* How the guest's network interfaces reach the host. */
enum vmm_network {
	VMM_NETWORK_TAP,	/* a tap each, opened by PUT */
	VMM_NETWORK_USERSPACE,	/* a passt each, looked for by PUT and run by InstanceStart */
	VMM_NETWORK_NONE,	/* not at all: the engine runs no guests */
};

struct vmm_params {
	struct squib_controller *controller;
	struct engine_chooser *engine_chooser;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	enum squib_arch arch;
	const char *instance_id;
	bool boot_timer;
	enum vmm_network network;
	const struct passt_port *ports;	/* of userspace: of the host, leading to the first interface */
	size_t port_count;
	bool pci;			/* asked for; an engine may have none */
	int console_in, console_out;	/* the guest's serial port; not closed */
	int ending_fd;			/* polls readable when a signal ends the program; -1: none */
	/* All must outlive the monitor. */
};

int vmm_new(const struct vmm_params *params, struct vmm **ret_vmm);

/** vmm_free() - stop the machine at once, if one runs; accepts NULL */
void vmm_free(struct vmm *vmm);

/** vmm_run() - serve actions until the machine ends or vmm_stop(); the program's exit code */
int vmm_run(struct vmm *vmm);

/** vmm_stop() - make vmm_run() return @exit_code; from a handler of the loop */
void vmm_stop(struct vmm *vmm, int exit_code);

/** vmm_restore_terminal() - for fatal signals; async-signal-safe; accepts NULL */
void vmm_restore_terminal(const struct vmm *vmm);

#endif
