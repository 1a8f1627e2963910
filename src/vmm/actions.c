/* SPDX-License-Identifier: Apache-2.0 */
/* What the monitor does for each type of action. */
#include "vmm/vmm_internal.h"

#include <errno.h>
#include <stdint.h>

#include "base/fd.h"
#include "base/log.h"

void vmm_answer(struct squib_action *action, int r, struct fault *fault)
{
	if (r < 0)
		squib_action_fail(action, fault_text(fault));
	else
		squib_action_succeed(action);
}

static void put_boot_source(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	vmm_answer(action, host_set_boot_source(vmm->host, squib_action_boot_source(action), fault),
		   fault);
}

static void put_vsock(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	const struct squib_vsock *vsock = squib_action_vsock(action);

	if (vsock->guest_cid < 3)
		log_warn(vmm->params.log, "guest_cid %u is reserved; guests may not accept it",
			 vsock->guest_cid);
	if (host_set_vsock(vmm->host, vsock, fault) < 0)
		squib_action_fail_lost(action, fault_text(fault));
	else
		squib_action_succeed(action);
}

static void put_logger(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	int r = log_configure(vmm->params.log, squib_action_logger(action), fault);

	if (r < 0)
		fault_prefix(fault, "Logger error: ");
	vmm_answer(action, r, fault);
}

static void put_metrics(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	int r = metrics_open(vmm->params.metrics, squib_action_metrics(action),
			     vmm->params.instance_id, fault);

	if (r < 0)
		fault_prefix(fault, "Metrics error: ");
	vmm_answer(action, r, fault);
}

static void flush_metrics(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	int r = metrics_write(vmm->params.metrics);
	char error[OS_ERROR_MAX];

	if (r == -EAGAIN)	/* a FIFO nobody reads: counted, and no failure of ours */
		r = 0;
	if (r < 0)
		fault_set(fault, r, "Internal VMM error: Failed to write metrics: %s",
			  os_error(r, error));
	vmm_answer(action, r, fault);
}

static void instance_start(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	int r = vmm_start(vmm, action, fault);

	if (r < 0)
		fault_prefix(fault, "Start microvm error: ");
	vmm_answer(action, r, fault);
}

static void send_ctrl_alt_del(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	int r;

	if (vmm->ops->send_ctrl_alt_del == NULL)
		r = fault_set(fault, -ENOTSUP, "SendCtrlAltDel is not supported by the %s engine",
			      vmm->ops->name);
	else
		r = vmm->ops->send_ctrl_alt_del(vmm->engine, fault);
	if (r < 0)
		fault_prefix(fault, "Internal VMM error: ");
	vmm_answer(action, r, fault);
}

static void patch_vm(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	bool pause = squib_action_vm(action)->state == SQUIB_VM_PAUSED;
	struct metrics *metrics = vmm->params.metrics;
	uint64_t start_ns = clock_ns(), took_us;
	int r;

	/* Also when it seems to be so already: a pause that failed in time may have worked later. */
	r = pause ? vmm->ops->pause(vmm->engine, fault) : vmm->ops->resume(vmm->engine, fault);
	if (r < 0) {
		fault_prefix(fault, "Internal VMM error: ");
	} else {
		vmm->paused = pause;
		took_us = (clock_ns() - start_ns) / 1000;
		metrics_store(pause ? &metrics->latencies_us.vmm_pause_vm
				    : &metrics->latencies_us.vmm_resume_vm, took_us);
		log_info(vmm->params.log, "'%s vm' VMM action took %ju us.",
			 pause ? "pause" : "resume", (uintmax_t)took_us);
	}
	vmm_answer(action, r, fault);
}

static void snapshot_create(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	int r = fault_set(fault, -ENOTSUP, "Create snapshot error: Snapshots are not supported by "
			  "the %s engine", vmm->ops->name);

	vmm_answer(action, r, fault);
}

static void snapshot_load(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	const struct squib_snapshot_load *load = squib_action_snapshot_load(action);
	char error[OS_ERROR_MAX];
	struct fault reason = FAULT_INIT;
	int fd = host_open_drive_file(load->snapshot_path, true, &reason);
	int r = fd;

	fault_done(&reason);
	fd_close(fd);
	if (vmm_choose_engine(vmm, fault) < 0)
		r = fault->error;
	else if (fd < 0)
		fault_set(fault, r, "Failed to open snapshot file: %s", os_error(r, error));
	else
		r = fault_set(fault, -ENOTSUP, "Failed to load snapshot state from file: Snapshots "
			      "are not supported by the %s engine", vmm->ops->name);
	fault_prefix(fault, "Load snapshot error: Failed to restore from snapshot: Failed to get "
		     "snapshot state from file: ");
	vmm_answer(action, r, fault);
	vmm_stop(vmm, 1);	/* as upstream ends after a failed restore */
}

/* The controller keeps the store and has checked it; this is the guest's copy of it. */
static void put_mmds(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	const struct squib_mmds_data *data = squib_action_mmds_data(action);
	int r = mmds_set_document(vmm->mmds, data->document, data->document_len);

	if (r < 0)
		fault_set(fault, r, "MMDS error: Out of memory (os error 12)");
	vmm_answer(action, r, fault);
}

static void nothing_to_do(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	(void)vmm;
	(void)fault;
	squib_action_succeed(action);
}

#define DEVICE_HANDLER(function) \
	static void on_##function(struct vmm *vmm, struct squib_action *action, struct fault *fault) \
	{ \
		(void)fault; \
		vmm_##function(vmm, action); \
	}
DEVICE_HANDLER(put_device)
DEVICE_HANDLER(delete_device)
DEVICE_HANDLER(patch_drive)
DEVICE_HANDLER(patch_network_interface)
DEVICE_HANDLER(patch_pmem)
DEVICE_HANDLER(balloon)
DEVICE_HANDLER(patch_memory_hotplug)

static void (*const handlers[SQUIB_ACTION_TYPE_COUNT])(struct vmm *vmm, struct squib_action *action,
						       struct fault *fault) = {
	[SQUIB_PUT_BOOT_SOURCE] = put_boot_source,
	[SQUIB_PUT_MACHINE_CONFIG] = nothing_to_do,
	[SQUIB_PATCH_MACHINE_CONFIG] = nothing_to_do,
	[SQUIB_PUT_CPU_CONFIG] = nothing_to_do,
	[SQUIB_PUT_BALLOON] = nothing_to_do,
	[SQUIB_PATCH_BALLOON] = on_balloon,
	[SQUIB_PATCH_BALLOON_STATISTICS] = on_balloon,
	[SQUIB_GET_BALLOON_STATISTICS] = on_balloon,
	[SQUIB_BALLOON_HINTING_START] = on_balloon,
	[SQUIB_BALLOON_HINTING_STOP] = on_balloon,
	[SQUIB_BALLOON_HINTING_STATUS_PATCH] = on_balloon,
	[SQUIB_GET_BALLOON_HINTING_STATUS] = on_balloon,
	[SQUIB_PUT_DRIVE] = on_put_device,
	[SQUIB_PATCH_DRIVE] = on_patch_drive,
	[SQUIB_DELETE_DRIVE] = on_delete_device,
	[SQUIB_PUT_NETWORK_INTERFACE] = on_put_device,
	[SQUIB_PATCH_NETWORK_INTERFACE] = on_patch_network_interface,
	[SQUIB_DELETE_NETWORK_INTERFACE] = on_delete_device,
	[SQUIB_PUT_PMEM] = on_put_device,
	[SQUIB_PATCH_PMEM] = on_patch_pmem,
	[SQUIB_DELETE_PMEM] = on_delete_device,
	[SQUIB_PUT_VSOCK] = put_vsock,
	[SQUIB_PUT_ENTROPY] = nothing_to_do,
	[SQUIB_PUT_SERIAL] = nothing_to_do,
	[SQUIB_PUT_LOGGER] = put_logger,
	[SQUIB_PUT_METRICS] = put_metrics,
	[SQUIB_PUT_MMDS] = put_mmds,
	[SQUIB_PATCH_MMDS] = put_mmds,
	[SQUIB_PUT_MMDS_CONFIG] = nothing_to_do,
	[SQUIB_PUT_MEMORY_HOTPLUG] = nothing_to_do,
	[SQUIB_PATCH_MEMORY_HOTPLUG] = on_patch_memory_hotplug,
	[SQUIB_INSTANCE_START] = instance_start,
	[SQUIB_FLUSH_METRICS] = flush_metrics,
	[SQUIB_SEND_CTRL_ALT_DEL] = send_ctrl_alt_del,
	[SQUIB_PATCH_VM] = patch_vm,
	[SQUIB_SNAPSHOT_CREATE] = snapshot_create,
	[SQUIB_SNAPSHOT_LOAD] = snapshot_load,
};

void vmm_handle(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	handlers[squib_action_type(action)](vmm, action, &fault);
}
