/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/attached.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add(struct attached *list, struct squib_action *owner, struct device values)
{
	struct device *device = malloc(sizeof(*device));

	if (device == NULL)
		return -ENOMEM;
	*device = values;
	device->owner = squib_action_ref(owner);
	device->next = list->first;
	list->first = device;
	return 0;
}

static int add_drive(struct attached *list, struct squib_action *owner,
		     const struct squib_drive *drive)
{
	return add(list, owner, (struct device){ .kind = DEVICE_DRIVE, .id = drive->drive_id,
						 .config = drive, .root = drive->is_root_device });
}

static int add_interface(struct attached *list, struct squib_action *owner,
			 const struct squib_network_interface *interface)
{
	return add(list, owner, (struct device){ .kind = DEVICE_NETWORK_INTERFACE,
						 .id = interface->iface_id, .config = interface });
}

static int add_pmem(struct attached *list, struct squib_action *owner,
		    const struct squib_pmem *pmem)
{
	return add(list, owner, (struct device){ .kind = DEVICE_PMEM, .id = pmem->id,
						 .config = pmem, .root = pmem->root_device });
}

int attached_fill(struct attached *list, struct squib_action *action)
{
	const struct squib_machine *machine = squib_action_machine(action);
	int r = 0;

	for (size_t i = 0; i < machine->drive_count && r == 0; i++)
		r = add_drive(list, action, machine->drives[i]);
	for (size_t i = 0; i < machine->network_interface_count && r == 0; i++)
		r = add_interface(list, action, machine->network_interfaces[i]);
	for (size_t i = 0; i < machine->pmem_count && r == 0; i++)
		r = add_pmem(list, action, machine->pmems[i]);
	return r;
}

void attached_done(struct attached *list)
{
	while (list->first != NULL)
		attached_remove(list, list->first);
}

struct device *attached_find(const struct attached *list, enum device_kind kind,
				const char *id)
{
	for (struct device *device = list->first; device != NULL; device = device->next)
		if (device->kind == kind && strcmp(device->id, id) == 0)
			return device;
	return NULL;
}

int attached_add(struct attached *list, struct squib_action *action)
{
	switch (squib_action_type(action)) {
	case SQUIB_PUT_DRIVE:
		return add_drive(list, action, squib_action_drive(action));
	case SQUIB_PUT_NETWORK_INTERFACE:
		return add_interface(list, action, squib_action_network_interface(action));
	default:
		return add_pmem(list, action, squib_action_pmem(action));
	}
}

void attached_remove(struct attached *list, struct device *device)
{
	struct device **at = &list->first;

	while (*at != device)
		at = &(*at)->next;
	*at = device->next;
	squib_action_unref(device->owner);
	free(device);
}
