/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_VMM_INTERNAL_H
#define SQUIB_VMM_INTERNAL_H

#include "legacy/console.h"
#include "mmds/mmds.h"
#include "vmm/attached.h"
#include "vmm/host.h"
#include "vmm/vmm.h"

struct vmm {
	struct vmm_params params;
	const struct engine_ops *ops;		/* NULL: not chosen yet */
	struct host *host;
	struct mmds *mmds;

	struct loop_source actions;		/* the controller's queue */
	struct loop_timer metrics_timer;
	bool stopping;
	int exit_code;

	/* The machine that runs; all NULL before. */
	struct engine *engine;
	struct engine_listener engine_listener;
	struct console *console;
	struct console_listener console_listener;
	struct squib_action *started;		/* the InstanceStart that made it; owns machine */
	const struct squib_machine *machine;
	struct attached devices;
	bool paused;
	uint64_t start_us, start_cpu_us;	/* when InstanceStart came, for the boot timer */
	struct squib_balloon balloon;		/* as now; valid if machine->balloon is set */
};

/** vmm_choose_engine() - make sure there is one: vmm->ops. 0, or -errno with @fault */
int vmm_choose_engine(struct vmm *vmm, struct fault *fault);

/** vmm_start() - build and run the machine of an InstanceStart */
int vmm_start(struct vmm *vmm, struct squib_action *action, struct fault *fault);

/** vmm_handle() - do one action and answer it */
void vmm_handle(struct vmm *vmm, struct squib_action *action);

/* PUT, before and after the start, and DELETE of drives, network interfaces and pmem. */
void vmm_put_device(struct vmm *vmm, struct squib_action *action);
void vmm_delete_device(struct vmm *vmm, struct squib_action *action);

/* Requests to devices of a running machine (contract 2.6 to 2.9, 2.14); each answers @action. */
void vmm_patch_drive(struct vmm *vmm, struct squib_action *action);
void vmm_patch_network_interface(struct vmm *vmm, struct squib_action *action);
void vmm_patch_pmem(struct vmm *vmm, struct squib_action *action);
void vmm_balloon(struct vmm *vmm, struct squib_action *action);
void vmm_patch_memory_hotplug(struct vmm *vmm, struct squib_action *action);

/** vmm_answer() - succeed or, when @r is negative, fail with the fault's text */
void vmm_answer(struct squib_action *action, int r, struct fault *fault);

#endif
