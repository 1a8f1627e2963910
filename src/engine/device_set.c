/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/device_set.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmds/stack.h"
#include "net/backend.h"
#include "vhost_user/block.h"
#include "virtio/block.h"
#include "virtio/device.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

enum kind {
	KIND_DRIVE,
	KIND_SOCKET_DRIVE,	/* served by another process */
	KIND_NETWORK_INTERFACE,
	KIND_OTHER,
};

struct member {
	enum kind kind;
	const char *id;			/* NULL: has none */
	struct virtio_device *device;
	bool taken;
	const struct squib_drive *drive;
};

struct device_set {
	size_t count;
	struct member members[];	/* device_set_bound() */
};

struct building {
	const struct device_set_params *params;
	struct device_set *set;
	struct fault *fault;
};

static int failed(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Internal error while starting microVM: %s",
			 os_error(error, text));
}

size_t device_set_bound(const struct squib_machine *machine)
{
	return machine->drive_count + machine->network_interface_count +
	       (machine->vsock != NULL) + (machine->entropy != NULL);
}

/* The set's in any case: the device, and a copy of the id. */
static int add(struct building *building, struct member values)
{
	struct member *member = &building->set->members[building->set->count++];

	*member = values;
	if (values.id == NULL)
		return 0;
	member->id = strdup(values.id);
	return member->id != NULL ? 0 : failed(building->fault, -ENOMEM);
}

static int add_drive(struct building *building, size_t index)
{
	const struct engine_machine *machine = building->params->machine;
	const struct squib_drive *drive = machine->description->drives[index];
	struct block_params params = {
		.config = drive,
		.file_fd = machine->drives[index].fd,
		.loop = building->params->loop,
		.log = building->params->engine->log,
		.metrics = building->params->engine->metrics,
	};
	struct virtio_device *device;
	int r = block_new(&params, &device, building->fault);

	if (r < 0) {
		fault_prefix(building->fault, "Unable to attach block device to Vmm: ");
		return r;
	}
	return add(building, (struct member){ .kind = KIND_DRIVE, .id = drive->drive_id,
					      .device = device, .drive = drive });
}

static int add_socket_drive(struct building *building, size_t index)
{
	const struct engine_machine *machine = building->params->machine;
	const struct squib_drive *drive = machine->description->drives[index];
	struct vhost_user_block_params params = {
		.config = drive,
		.fd = machine->drives[index].fd,
		.loop = building->params->loop,
		.log = building->params->engine->log,
		.metrics = building->params->engine->metrics,
	};
	struct virtio_device *device;
	int r;

	if (building->params->for_qemu)
		return 0;
	r = vhost_user_block_new(&params, &device, building->fault);
	if (r < 0) {
		fault_prefix(building->fault, "Unable to attach block device to Vmm: ");
		return r;
	}
	return add(building, (struct member){ .kind = KIND_SOCKET_DRIVE, .id = drive->drive_id,
					      .device = device, .drive = drive });
}

static int add_drives(struct building *building)
{
	const struct squib_machine *description = building->params->machine->description;
	int r = 0;

	for (size_t i = 0; r == 0 && i < description->drive_count; i++) {
		r = description->drives[i]->socket != NULL ? add_socket_drive(building, i)
							   : add_drive(building, i);
	}
	return r;
}

static bool serves_mmds(const struct squib_machine *machine, const char *iface_id)
{
	const struct squib_mmds_config *config = machine->mmds_config;

	for (size_t i = 0; config != NULL && i < config->network_interface_count; i++)
		if (strcmp(config->network_interfaces[i], iface_id) == 0)
			return true;
	return false;
}

static int add_network_interface(struct building *building, size_t index)
{
	const struct engine_machine *machine = building->params->machine;
	const struct squib_network_interface *config =
		machine->description->network_interfaces[index];
	struct net_params params = {
		.config = config,
		.backend = machine->interfaces[index],
		.loop = building->params->loop,
		.log = building->params->engine->log,
		.metrics = building->params->engine->metrics,
	};
	struct virtio_device *device;
	int r = 0;

	if (serves_mmds(machine->description, config->iface_id))
		r = mmds_stack_new(machine->mmds, &params.mmds);
	if (r == 0)
		r = net_new(&params, &device);
	if (r < 0) {
		mmds_stack_free(params.mmds);
		return failed(building->fault, r);
	}
	machine->interfaces[index] = NULL;
	return add(building, (struct member){ .kind = KIND_NETWORK_INTERFACE,
					      .id = config->iface_id, .device = device });
}

static int add_other(struct building *building, struct virtio_device *device)
{
	return add(building, (struct member){ .kind = KIND_OTHER, .device = device });
}

static int add_vsock(struct building *building)
{
	const struct engine_machine *machine = building->params->machine;
	struct vsock_params params = {
		.config = machine->description->vsock,
		.listen_fd = machine->vsock.fd,
		.loop = building->params->loop,
		.log = building->params->engine->log,
		.metrics = building->params->engine->metrics,
	};
	struct virtio_device *device;
	int r = vsock_new(&params, &device);

	return r < 0 ? failed(building->fault, r) : add_other(building, device);
}

static int add_entropy(struct building *building)
{
	struct rng_params params = {
		.config = building->params->machine->description->entropy,
		.loop = building->params->loop,
		.log = building->params->engine->log,
		.metrics = building->params->engine->metrics,
	};
	struct virtio_device *device;
	int r;

	if (building->params->for_qemu)
		return 0;
	r = rng_new(&params, &device);
	return r < 0 ? failed(building->fault, r) : add_other(building, device);
}

static int add_all(struct building *building)
{
	const struct squib_machine *description = building->params->machine->description;
	int r = add_drives(building);

	for (size_t i = 0; r == 0 && i < description->network_interface_count; i++)
		r = add_network_interface(building, i);
	if (r == 0 && description->vsock != NULL)
		r = add_vsock(building);
	if (r == 0 && description->entropy != NULL)
		r = add_entropy(building);
	return r;
}

int device_set_new(const struct device_set_params *params, struct device_set **ret_set,
		   struct fault *fault)
{
	size_t bound = device_set_bound(params->machine->description);
	struct building building = { .params = params, .fault = fault };
	int r;

	building.set = calloc(1, sizeof(*building.set) + bound * sizeof(struct member));
	if (building.set == NULL)
		return failed(fault, -ENOMEM);
	r = add_all(&building);
	if (r < 0) {
		device_set_free(building.set);
		return r;
	}
	*ret_set = building.set;
	return 0;
}

void device_set_free(struct device_set *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->count; i++) {
		if (!set->members[i].taken)
			virtio_device_free(set->members[i].device);
		free((char *)set->members[i].id);
	}
	free(set);
}

size_t device_set_count(const struct device_set *set)
{
	return set->count;
}

struct virtio_device *device_set_device(const struct device_set *set, size_t index)
{
	assert(index < set->count);
	return set->members[index].device;
}

const struct squib_drive *device_set_drive(const struct device_set *set, size_t index)
{
	assert(index < set->count);
	return set->members[index].drive;
}

struct virtio_device *device_set_take(struct device_set *set, size_t index)
{
	assert(index < set->count && !set->members[index].taken);
	set->members[index].taken = true;
	return set->members[index].device;
}

static const struct member *find(const struct device_set *set, enum kind kind, const char *id)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct member *member = &set->members[i];

		if (member->kind == kind && strcmp(member->id, id) == 0)
			return member;
	}
	return NULL;
}

static int not_found(struct fault *fault)
{
	return fault_set(fault, -ENODEV, "Failed perform action on device: Device not found");
}

int device_set_update_drive(struct device_set *set, const struct squib_drive_update *update,
			    int file_fd, struct fault *fault)
{
	const struct member *drive = find(set, KIND_DRIVE, update->drive_id);
	const struct member *socket_drive = find(set, KIND_SOCKET_DRIVE, update->drive_id);
	int r;

	if (drive != NULL)
		r = block_update(drive->device, update, file_fd, fault);
	else if (socket_drive != NULL)
		r = vhost_user_block_update_config(socket_drive->device, fault);
	else
		return not_found(fault);
	if (r < 0)
		fault_prefix(fault, "Block: ");
	return r;
}

int device_set_update_network_interface(struct device_set *set,
					const struct squib_network_interface_update *update,
					struct fault *fault)
{
	const struct member *member = find(set, KIND_NETWORK_INTERFACE, update->iface_id);

	if (member == NULL)
		return not_found(fault);
	net_update(member->device, update);
	return 0;
}
