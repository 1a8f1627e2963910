/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to devices while the guest runs. Which devices there are is what the machine was started
 * with; only an engine that has the device at all can be asked here, so what is left to do is the
 * bookkeeping that clients see.
 */
#include "vmm/vmm_internal.h"

#include <errno.h>
#include <stdint.h>

#include "api/controller_internal.h"
#include "base/fd.h"
#include "net/tap.h"
#include "vmm/userspace.h"

#define NOT_FOUND "Failed perform action on device: Device not found"
#define VERIFY " Please verify the request arguments."

static enum device_kind kind_of(enum squib_action_type type)
{
	switch (type) {
	case SQUIB_PUT_DRIVE:
	case SQUIB_DELETE_DRIVE:
		return DEVICE_DRIVE;
	case SQUIB_PUT_NETWORK_INTERFACE:
	case SQUIB_DELETE_NETWORK_INTERFACE:
		return DEVICE_NETWORK_INTERFACE;
	default:
		return DEVICE_PMEM;
	}
}

/* A PUT that never came here may have taken an interface away: its tap is free for others. */
static void close_lost_taps(struct vmm *vmm)
{
	const char *id;
	size_t index = 0;

	while ((id = host_tap_owner(vmm->host, index)) != NULL)
		if (controller_has_network_interface(vmm->params.controller, id))
			index++;
		else
			host_remove_network_interface(vmm->host, id);
}

static int prepare_network_interface(struct vmm *vmm,
				     const struct squib_network_interface *interface,
				     struct fault *fault)
{
	int r;

	switch (vmm->params.network) {
	case VMM_NETWORK_TAP:
		close_lost_taps(vmm);
		r = host_set_network_interface(vmm->host, interface, fault);
		break;
	case VMM_NETWORK_USERSPACE:
		r = userspace_check(fault);
		break;
	default:
		r = tap_check_name(interface->host_dev_name, fault);
		if (r < 0)
			fault_prefix(fault, "Network config error: Could not create the network "
				     "device: ");
	}
	return r < 0 ? 1 : 0;
}

/* What has to be opened or looked at on the host. Positive: the device before is gone as well. */
static int prepare_device(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	struct fault reason = FAULT_INIT;
	int r = 0;

	switch (squib_action_type(action)) {
	case SQUIB_PUT_DRIVE:
		return host_set_drive(vmm->host, squib_action_drive(action), fault);
	case SQUIB_PUT_NETWORK_INTERFACE:
		return prepare_network_interface(vmm, squib_action_network_interface(action),
						 fault);
	default:
		if (vmm->engine != NULL)	/* before the start, files are opened at the start */
			r = host_check_pmem_file(squib_action_pmem(action), &reason);
		if (r < 0)
			fault_set(fault, r, "Pmem config error: Unable to create the virtio-pmem "
				  "device: %s", fault_text(&reason));
		fault_done(&reason);
		return r;
	}
}

/* A device that comes while the guest runs. Positive as above, but nothing is lost then. */
static int plug_device(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	enum device_kind kind = kind_of(squib_action_type(action));
	int r;

	if (!vmm->ops->pci || !vmm->params.pci)
		return fault_set(fault, -ENOTSUP, "PCI is not enabled");
	if (attached_find(&vmm->devices, kind, squib_action_id(action)) != NULL)
		return fault_set(fault, -EEXIST, "Device ID in use");
	r = prepare_device(vmm, action, fault);
	if (r != 0)
		return r < 0 ? r : -EINVAL;
	r = attached_add(&vmm->devices, action);
	return r < 0 ? fault_set(fault, r, "Out of memory") : 0;
}

void vmm_put_device(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	int r;

	r = vmm->engine != NULL ? plug_device(vmm, action, &fault)
				: prepare_device(vmm, action, &fault);
	if (r > 0)
		squib_action_fail_lost(action, fault_text(&fault));
	else
		vmm_answer(action, r, &fault);
}

static int unplug_device(struct vmm *vmm, const struct squib_action *action, struct fault *fault)
{
	struct device *device;

	if (!vmm->ops->pci || !vmm->params.pci)
		return fault_set(fault, -ENOTSUP, "PCI is not enabled");
	device = attached_find(&vmm->devices, kind_of(squib_action_type(action)),
				  squib_action_id(action));
	if (device == NULL)
		return fault_set(fault, -ENODEV, "Device not found");
	if (device->root)
		return fault_set(fault, -EINVAL, "Cannot unplug root device");
	if (device->kind == DEVICE_DRIVE)
		host_remove_drive(vmm->host, device->id);
	else if (device->kind == DEVICE_NETWORK_INTERFACE)
		host_remove_network_interface(vmm->host, device->id);
	attached_remove(&vmm->devices, device);
	return 0;
}

void vmm_delete_device(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	vmm_answer(action, unplug_device(vmm, action, &fault), &fault);
}

static int patch_drive(struct vmm *vmm, const struct squib_drive_update *update,
		       struct fault *fault)
{
	const struct device *device = attached_find(&vmm->devices, DEVICE_DRIVE,
							update->drive_id);
	const struct squib_drive *drive = device != NULL ? device->config : NULL;
	bool no_field = update->path_on_host == NULL && update->rate_limiter == NULL;
	CLEANUP(fd_close) int fd = -1;

	if (drive == NULL)
		return fault_set(fault, -ENODEV, NOT_FOUND);
	if (no_field != (drive->socket != NULL))
		return fault_set(fault, -EINVAL, "Block: Running method expected different backend.");
	if (update->path_on_host != NULL) {
		fd = host_open_drive_file(update->path_on_host, drive->is_read_only, fault);
		if (fd < 0) {
			fault_prefix(fault, "Block: ");
			return fault->error;
		}
	}
	if (vmm->ops->update_drive == NULL)
		return fault_set(fault, -ENOTSUP, "Block: The %s engine cannot change drive %s while "
				 "the guest runs.", vmm->ops->name, update->drive_id);
	return vmm->ops->update_drive(vmm->engine, update, fd, fault);
}

void vmm_patch_drive(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(fault_done) struct fault whole = FAULT_INIT;
	int r = patch_drive(vmm, squib_action_drive_update(action), &fault);

	if (r < 0)
		fault_set(&whole, r, "Drive config error: Unable to patch the block device: %s"
			  VERIFY, fault_text(&fault));
	vmm_answer(action, r, &whole);
}

static int patch_network_interface(struct vmm *vmm,
				   const struct squib_network_interface_update *update,
				   struct fault *fault)
{
	if (attached_find(&vmm->devices, DEVICE_NETWORK_INTERFACE, update->iface_id) == NULL)
		return fault_set(fault, -ENODEV, NOT_FOUND);
	if (vmm->ops->update_network_interface == NULL)
		return 0;
	return vmm->ops->update_network_interface(vmm->engine, update, fault);
}

void vmm_patch_network_interface(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	int r = patch_network_interface(vmm, squib_action_network_interface_update(action), &fault);

	if (r < 0)
		fault_prefix(&fault, "Network config error: Unable to update the net device: ");
	vmm_answer(action, r, &fault);
}

void vmm_patch_pmem(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	const struct squib_pmem_update *update = squib_action_pmem_update(action);
	int r = 0;

	/* upstream looks for the device only when there is something to change */
	if (update->rate_limiter != NULL &&
	    attached_find(&vmm->devices, DEVICE_PMEM, update->id) == NULL)
		r = fault_set(&fault, -ENODEV, "Pmem config error: Unable to patch the pmem device: "
			      NOT_FOUND VERIFY);
	vmm_answer(action, r, &fault);
}

static int resize_balloon(struct vmm *vmm, uint32_t amount_mib, struct fault *fault)
{
	if (amount_mib > vmm->machine->config.mem_size_mib)
		return fault_set(fault, -EINVAL, "Balloon update error: Balloon: Requested memory "
				 "should be less than %uMiB", amount_mib);
	vmm->balloon.amount_mib = amount_mib;
	return 0;
}

static int set_stats_interval(struct vmm *vmm, uint16_t interval_s, struct fault *fault)
{
	if ((interval_s == 0) != (vmm->balloon.stats_polling_interval_s == 0))
		return fault_set(fault, -EINVAL, "Balloon update error: Balloon: Statistics cannot "
				 "be enabled/disabled after activation.");
	vmm->balloon.stats_polling_interval_s = interval_s;
	return 0;
}

static int check_hinting(const struct vmm *vmm, struct fault *fault)
{
	if (vmm->balloon.free_page_hinting)
		return 0;
	return fault_set(fault, -EINVAL, "Balloon update error: Balloon: Attempting to use hinting "
			 "when not enabled");
}

static int check_balloon(const struct vmm *vmm, enum squib_action_type type, struct fault *fault)
{
	if (vmm->machine->balloon != NULL)
		return 0;
	return fault_set(fault, -ENODEV, "%s" NOT_FOUND, type == SQUIB_GET_BALLOON_STATISTICS ?
			 "Internal VMM error: " : "Balloon update error: ");
}

static void answer_stats(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	struct squib_balloon_stats stats = {
		.target_pages = (uint64_t)vmm->balloon.amount_mib << (20 - 12),
		.target_mib = vmm->balloon.amount_mib,
	};

	if (vmm->balloon.stats_polling_interval_s == 0) {
		fault_set(fault, -EINVAL, "Internal VMM error: Balloon: Received stats query when "
			  "stats are disabled.");
		squib_action_fail(action, fault_text(fault));
		return;
	}
	squib_action_succeed_balloon_stats(action, &stats);
}

static void answer_hinting_status(struct squib_action *action)
{
	squib_action_succeed_hinting_status(action, &(struct squib_balloon_hinting_status){ 0 });
}

void vmm_balloon(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	enum squib_action_type type = squib_action_type(action);
	int r = check_balloon(vmm, type, &fault);

	if (r == 0 && type == SQUIB_GET_BALLOON_STATISTICS) {
		answer_stats(vmm, action, &fault);
		return;
	}
	if (r == 0 && type == SQUIB_PATCH_BALLOON)
		r = resize_balloon(vmm, squib_action_balloon_update(action)->amount_mib, &fault);
	else if (r == 0 && type == SQUIB_PATCH_BALLOON_STATISTICS)
		r = set_stats_interval(vmm, squib_action_balloon_stats_update(action)->
				       stats_polling_interval_s, &fault);
	else if (r == 0)
		r = check_hinting(vmm, &fault);
	if (r == 0 && type == SQUIB_GET_BALLOON_HINTING_STATUS)
		answer_hinting_status(action);
	else
		vmm_answer(action, r, &fault);
}

static int resize_memory(struct vmm *vmm, uint64_t requested_mib, struct fault *fault)
{
	const struct squib_memory_hotplug *config = vmm->machine->memory_hotplug;

	if (config == NULL)
		return fault_set(fault, -ENODEV, NOT_FOUND);
	if (requested_mib % config->block_size_mib != 0 || requested_mib > config->total_size_mib)
		return fault_set(fault, -EINVAL, "Failed to create memory hotplug device: Size %ju "
				 "is invalid: it must be a multiple of block size and less than the "
				 "total size", (uintmax_t)requested_mib << 20);
	squib_controller_publish_memory_hotplug(vmm->params.controller, requested_mib,
						requested_mib);
	return 0;
}

void vmm_patch_memory_hotplug(struct vmm *vmm, struct squib_action *action)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	int r = resize_memory(vmm, squib_action_memory_hotplug_update(action)->requested_size_mib,
			      &fault);

	if (r < 0)
		fault_prefix(&fault, "Memory hotplug update error: ");
	vmm_answer(action, r, &fault);
}
