/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the machine description share: machine.c changes it, machine_check.c and
 * machine_render.c read it.
 */
#ifndef SQUIB_CONFIG_MACHINE_INTERNAL_H
#define SQUIB_CONFIG_MACHINE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/machine.h"

/* One config and the arena that owns it; both NULL: not configured. */
struct held {
	const void *config;
	struct arena *arena;
};

/* A drive, network interface or pmem device. */
struct device {
	const char *id;		/* in held.config */
	struct held held;
	bool mmds;		/* network interface that serves MMDS */
};

/* In attach order. */
struct device_list {
	struct device *items;
	size_t count;
	size_t cap;
};

/*
 * What holds no pointers is kept by value; everything else is held with its arena, so that it
 * can be shared with the action it came with and with views.
 */
struct machine {
	struct machine_rules rules;

	struct squib_machine_config config;	/* has_cpu_template: a static template is set */
	struct held cpu_config;			/* never together with a static template */
	struct held boot_source;
	struct device_list drives;		/* a root drive is the first */
	struct device_list network_interfaces;
	struct device_list pmems;
	struct held vsock;
	struct held entropy;
	struct held serial;
	bool has_balloon;
	struct squib_balloon balloon;
	bool has_memory_hotplug;
	struct squib_memory_hotplug memory_hotplug;
	uint64_t plugged_size_mib;
	uint64_t requested_size_mib;
	struct held mmds_config;		/* its interface list is only what was sent */
	struct held mmds_data;			/* set: the data store is initialised */
};

/** device_list_find() - index of the device with that id; list->count when there is none */
size_t device_list_find(const struct device_list *list, const char *id);

static inline const struct squib_drive *device_drive(const struct device *device)
{
	return device->held.config;
}

static inline const struct squib_network_interface *device_interface(const struct device *device)
{
	return device->held.config;
}

static inline const struct squib_pmem *device_pmem(const struct device *device)
{
	return device->held.config;
}

/** machine_config_update() - what a PATCH makes of @config, template included */
void machine_config_update(struct squib_machine_config *config,
			   const struct squib_machine_config_update *update);

/* The root device is the first drive or no drive at all; a pmem root may stand anywhere. */
bool machine_has_root_drive(const struct machine *machine);
bool machine_has_root_pmem(const struct machine *machine);

#endif
