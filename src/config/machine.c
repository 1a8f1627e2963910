/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How accepted changes add up.
 *
 * A config that came with a request is not copied: the description holds the request's arena.
 * Only a PATCH makes a new config, which is a deep copy in an arena of its own. Were it to point
 * into the old one, each PATCH would keep all before it alive.
 *
 * Every change first does what may fail, which is allocation, and then what cannot.
 */
#include "config/machine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/machine_internal.h"
#include "config/render.h"

static void held_set(struct held *held, const void *config, struct arena *arena)
{
	struct arena *old = held->arena;

	*held = (struct held){ .config = config, .arena = arena_ref(arena) };
	arena_unref(old);	/* last: it may be the same arena */
}

static void held_drop(struct held *held)
{
	arena_unref(held->arena);
	*held = (struct held){ 0 };
}

size_t device_list_find(const struct device_list *list, const char *id)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		if (strcmp(list->items[i].id, id) == 0)
			break;
	return i;
}

static int device_list_reserve(struct device_list *list)
{
	size_t cap = list->cap > 0 ? 2 * list->cap : 4;
	struct device *items;

	if (list->count < list->cap)
		return 0;
	items = reallocarray(list->items, cap, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	list->items = items;
	list->cap = cap;
	return 0;
}

/* Room was reserved before. */
static struct device *device_list_insert(struct device_list *list, size_t index)
{
	struct device *device = &list->items[index];

	assert(list->count < list->cap && index <= list->count);
	memmove(device + 1, device, (list->count - index) * sizeof(*device));
	list->count++;
	*device = (struct device){ 0 };
	return device;
}

static void device_list_remove(struct device_list *list, size_t index)
{
	struct device *device = &list->items[index];

	held_drop(&device->held);
	list->count--;
	memmove(device, device + 1, (list->count - index) * sizeof(*device));
}

/* The last one takes the place of the one removed. */
static void device_list_swap_remove(struct device_list *list, size_t index)
{
	held_drop(&list->items[index].held);
	list->count--;
	list->items[index] = list->items[list->count];
}

static void device_list_done(struct device_list *list)
{
	while (list->count > 0)
		device_list_swap_remove(list, list->count - 1);
	free(list->items);
	*list = (struct device_list){ 0 };
}

/* @id must lie in @config. */
static void device_set(struct device *device, const char *id, const void *config,
		       struct arena *arena)
{
	held_set(&device->held, config, arena);
	device->id = id;
}

int machine_new(const struct machine_rules *rules, struct machine **ret_machine)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (machine == NULL)
		return -ENOMEM;
	machine->rules = *rules;
	machine->config = (struct squib_machine_config){ .vcpu_count = 1, .mem_size_mib = 128 };
	*ret_machine = machine;
	return 0;
}

void machine_free(struct machine *machine)
{
	if (machine == NULL)
		return;
	device_list_done(&machine->drives);
	device_list_done(&machine->network_interfaces);
	device_list_done(&machine->pmems);
	held_drop(&machine->cpu_config);
	held_drop(&machine->boot_source);
	held_drop(&machine->vsock);
	held_drop(&machine->entropy);
	held_drop(&machine->serial);
	held_drop(&machine->mmds_config);
	held_drop(&machine->mmds_data);
	free(machine);
}

bool machine_has_root_drive(const struct machine *machine)
{
	return machine->drives.count > 0 && device_drive(&machine->drives.items[0])->is_root_device;
}

bool machine_has_root_pmem(const struct machine *machine)
{
	for (size_t i = 0; i < machine->pmems.count; i++)
		if (device_pmem(&machine->pmems.items[i])->root_device)
			return true;
	return false;
}

bool machine_has_boot_source(const struct machine *machine)
{
	return machine->boot_source.config != NULL;
}

bool machine_has_network_interface(const struct machine *machine, const char *id)
{
	return device_list_find(&machine->network_interfaces, id) <
	       machine->network_interfaces.count;
}

bool machine_has_mmds_interface(const struct machine *machine)
{
	for (size_t i = 0; i < machine->network_interfaces.count; i++)
		if (machine->network_interfaces.items[i].mmds)
			return true;
	return false;
}

void machine_config_update(struct squib_machine_config *config,
			   const struct squib_machine_config_update *update)
{
	if (update->vcpu_count != NULL)
		config->vcpu_count = *update->vcpu_count;
	if (update->mem_size_mib != NULL)
		config->mem_size_mib = *update->mem_size_mib;
	if (update->smt != NULL)
		config->smt = *update->smt;
	if (update->track_dirty_pages != NULL)
		config->track_dirty_pages = *update->track_dirty_pages;
	if (update->huge_pages != NULL)
		config->huge_pages = *update->huge_pages;
	if (update->cpu_template != NULL) {
		config->cpu_template = *update->cpu_template;
		config->has_cpu_template = *update->cpu_template != SQUIB_CPU_TEMPLATE_NONE;
	}
}

/* As upstream, a PUT is a PATCH with all fields, but for a template that was not sent. */
static void put_machine_config(struct machine *machine, const struct squib_machine_config *config)
{
	struct squib_machine_config_update update = {
		.vcpu_count = &config->vcpu_count,
		.mem_size_mib = &config->mem_size_mib,
		.smt = &config->smt,
		.cpu_template = config->has_cpu_template ? &config->cpu_template : NULL,
		.track_dirty_pages = &config->track_dirty_pages,
		.huge_pages = &config->huge_pages,
	};

	machine_config_update(&machine->config, &update);
	if (update.cpu_template != NULL)
		held_drop(&machine->cpu_config);
}

static void patch_machine_config(struct machine *machine,
				 const struct squib_machine_config_update *update)
{
	machine_config_update(&machine->config, update);
	if (update->cpu_template != NULL)
		held_drop(&machine->cpu_config);
}

static void put_cpu_config(struct machine *machine, const struct squib_cpu_config *config,
			   struct arena *arena)
{
	held_set(&machine->cpu_config, config, arena);
	machine->config.has_cpu_template = false;
}

static int put_drive(struct machine *machine, const struct squib_drive *drive, struct arena *arena)
{
	struct device_list *drives = &machine->drives;
	size_t index = device_list_find(drives, drive->drive_id);

	if (index == drives->count) {
		int r = device_list_reserve(drives);

		if (r < 0)
			return r;
		index = drive->is_root_device ? 0 : drives->count;
		device_set(device_list_insert(drives, index), drive->drive_id, drive, arena);
		return 0;
	}
	device_set(&drives->items[index], drive->drive_id, drive, arena);
	if (drive->is_root_device && index > 0) {
		struct device root = drives->items[index];

		drives->items[index] = drives->items[0];
		drives->items[0] = root;
	}
	return 0;
}

/* A replaced interface is a new one: it comes last, and serves no MMDS until it is listed again. */
static int put_network_interface(struct machine *machine,
				 const struct squib_network_interface *iface, struct arena *arena)
{
	struct device_list *interfaces = &machine->network_interfaces;
	size_t index = device_list_find(interfaces, iface->iface_id);
	int r = device_list_reserve(interfaces);

	if (r < 0)
		return r;
	if (index < interfaces->count)
		device_list_swap_remove(interfaces, index);
	device_set(device_list_insert(interfaces, interfaces->count), iface->iface_id, iface, arena);
	return 0;
}

static int put_pmem(struct machine *machine, const struct squib_pmem *pmem, struct arena *arena)
{
	struct device_list *pmems = &machine->pmems;
	size_t index = device_list_find(pmems, pmem->id);

	if (index == pmems->count) {
		int r = device_list_reserve(pmems);

		if (r < 0)
			return r;
		device_list_insert(pmems, index);
	}
	device_set(&pmems->items[index], pmem->id, pmem, arena);
	return 0;
}

static void put_mmds_config(struct machine *machine, const struct squib_mmds_config *config,
			    struct arena *arena)
{
	held_set(&machine->mmds_config, config, arena);
	for (size_t i = 0; i < machine->network_interfaces.count; i++) {
		struct device *device = &machine->network_interfaces.items[i];

		device->mmds = false;
		for (size_t j = 0; j < config->network_interface_count; j++)
			if (strcmp(device->id, config->network_interfaces[j]) == 0)
				device->mmds = true;
	}
}

/*
 * Copies for PATCH. Each clears *ok when memory runs out, so that a caller checks once.
 */
static char *copy_string(struct arena *arena, const char *s, bool *ok)
{
	char *copy = s != NULL ? arena_strdup(arena, s) : NULL;

	if (s != NULL && copy == NULL)
		*ok = false;
	return copy;
}

static const struct squib_token_bucket *merge_bucket(struct arena *arena,
						     const struct squib_token_bucket *old,
						     const struct squib_token_bucket *update,
						     bool *ok)
{
	const struct squib_token_bucket *merged = update != NULL ? update : old;
	struct squib_token_bucket *copy;

	if (!token_bucket_limits(merged))
		return NULL;
	copy = arena_new_object(arena, struct squib_token_bucket);
	if (copy == NULL)
		*ok = false;
	else
		*copy = *merged;
	return copy;
}

/* Contract 2.14: an absent bucket stays, one that limits nothing removes, any other replaces. */
static const struct squib_rate_limiter *merge_limiter(struct arena *arena,
						      const struct squib_rate_limiter *old,
						      const struct squib_rate_limiter *update,
						      bool *ok)
{
	static const struct squib_rate_limiter none = { 0 };
	struct squib_rate_limiter *merged = arena_new_object(arena, struct squib_rate_limiter);

	if (merged == NULL) {
		*ok = false;
		return NULL;
	}
	if (old == NULL)
		old = &none;
	if (update == NULL)
		update = &none;
	merged->bandwidth = merge_bucket(arena, old->bandwidth, update->bandwidth, ok);
	merged->ops = merge_bucket(arena, old->ops, update->ops, ok);
	return merged->bandwidth != NULL || merged->ops != NULL ? merged : NULL;
}

/* A device that is not in the description (a restored one) has nothing to change here. */
static int patch_drive(struct machine *machine, const char *id,
		       const struct squib_drive_update *update)
{
	size_t index = device_list_find(&machine->drives, id);
	CLEANUP(arena_unref) struct arena *arena = NULL;
	struct device *device;
	struct squib_drive *drive;
	bool ok = true;

	if (index == machine->drives.count ||
	    (update->path_on_host == NULL && update->rate_limiter == NULL))
		return 0;
	device = &machine->drives.items[index];
	arena = arena_new();
	drive = arena != NULL ? arena_new_object(arena, struct squib_drive) : NULL;
	if (drive == NULL)
		return -ENOMEM;
	*drive = *device_drive(device);
	if (update->path_on_host != NULL)
		drive->path_on_host = update->path_on_host;
	drive->drive_id = copy_string(arena, drive->drive_id, &ok);
	drive->partuuid = copy_string(arena, drive->partuuid, &ok);
	drive->path_on_host = copy_string(arena, drive->path_on_host, &ok);
	drive->socket = copy_string(arena, drive->socket, &ok);
	drive->rate_limiter = merge_limiter(arena, drive->rate_limiter, update->rate_limiter, &ok);
	if (!ok)
		return -ENOMEM;
	device_set(device, drive->drive_id, drive, arena);
	return 0;
}

static int patch_network_interface(struct machine *machine, const char *id,
				   const struct squib_network_interface_update *update)
{
	size_t index = device_list_find(&machine->network_interfaces, id);
	CLEANUP(arena_unref) struct arena *arena = NULL;
	struct squib_network_interface *iface;
	struct device *device;
	bool ok = true;

	if (index == machine->network_interfaces.count ||
	    (update->rx_rate_limiter == NULL && update->tx_rate_limiter == NULL))
		return 0;
	device = &machine->network_interfaces.items[index];
	arena = arena_new();
	iface = arena != NULL ? arena_new_object(arena, struct squib_network_interface) : NULL;
	if (iface == NULL)
		return -ENOMEM;
	*iface = *device_interface(device);
	iface->iface_id = copy_string(arena, iface->iface_id, &ok);
	iface->host_dev_name = copy_string(arena, iface->host_dev_name, &ok);
	iface->rx_rate_limiter = merge_limiter(arena, iface->rx_rate_limiter,
					       update->rx_rate_limiter, &ok);
	iface->tx_rate_limiter = merge_limiter(arena, iface->tx_rate_limiter,
					       update->tx_rate_limiter, &ok);
	if (!ok)
		return -ENOMEM;
	device_set(device, iface->iface_id, iface, arena);	/* it keeps its MMDS */
	return 0;
}

static int patch_pmem(struct machine *machine, const char *id,
		      const struct squib_pmem_update *update)
{
	size_t index = device_list_find(&machine->pmems, id);
	CLEANUP(arena_unref) struct arena *arena = NULL;
	struct squib_pmem *pmem;
	struct device *device;
	bool ok = true;

	if (index == machine->pmems.count || update->rate_limiter == NULL)
		return 0;
	device = &machine->pmems.items[index];
	arena = arena_new();
	pmem = arena != NULL ? arena_new_object(arena, struct squib_pmem) : NULL;
	if (pmem == NULL)
		return -ENOMEM;
	*pmem = *device_pmem(device);
	pmem->id = copy_string(arena, pmem->id, &ok);
	pmem->path_on_host = copy_string(arena, pmem->path_on_host, &ok);
	pmem->rate_limiter = merge_limiter(arena, pmem->rate_limiter, update->rate_limiter, &ok);
	if (!ok)
		return -ENOMEM;
	device_set(device, pmem->id, pmem, arena);
	return 0;
}

static void put_balloon(struct machine *machine, const struct squib_balloon *balloon)
{
	machine->balloon = *balloon;
	machine->has_balloon = true;
}

static void put_memory_hotplug(struct machine *machine, const struct squib_memory_hotplug *hotplug)
{
	machine->memory_hotplug = *hotplug;
	machine->has_memory_hotplug = true;
	machine_set_plugged(machine, 0, 0);
}

static void remove_device(struct device_list *list, const char *id)
{
	size_t index = device_list_find(list, id);

	if (index < list->count)
		device_list_remove(list, index);
}

/* Changes of what is already running: PATCH and DELETE. */
static int apply_post_boot(struct machine *machine, enum squib_action_type type, const char *id,
			   const void *config)
{
	const struct squib_balloon_update *balloon = config;
	const struct squib_balloon_stats_update *stats = config;
	const struct squib_memory_hotplug_update *hotplug = config;

	switch (type) {
	case SQUIB_PATCH_DRIVE:
		return patch_drive(machine, id, config);
	case SQUIB_PATCH_NETWORK_INTERFACE:
		return patch_network_interface(machine, id, config);
	case SQUIB_PATCH_PMEM:
		return patch_pmem(machine, id, config);
	case SQUIB_DELETE_DRIVE:
		remove_device(&machine->drives, id);
		return 0;
	case SQUIB_DELETE_NETWORK_INTERFACE:
		remove_device(&machine->network_interfaces, id);
		return 0;
	case SQUIB_DELETE_PMEM:
		remove_device(&machine->pmems, id);
		return 0;
	case SQUIB_PATCH_BALLOON:
		machine->balloon.amount_mib = balloon->amount_mib;
		return 0;
	case SQUIB_PATCH_BALLOON_STATISTICS:
		machine->balloon.stats_polling_interval_s = stats->stats_polling_interval_s;
		return 0;
	case SQUIB_PATCH_MEMORY_HOTPLUG:
		machine->requested_size_mib = hotplug->requested_size_mib;
		return 0;
	default:
		return 0;	/* logger, metrics, snapshots and the like are no part of this */
	}
}

int machine_apply(struct machine *machine, enum squib_action_type type, const char *id,
		  const void *config, struct arena *arena)
{
	switch (type) {
	case SQUIB_PUT_BOOT_SOURCE:
		held_set(&machine->boot_source, config, arena);
		return 0;
	case SQUIB_PUT_MACHINE_CONFIG:
		put_machine_config(machine, config);
		return 0;
	case SQUIB_PATCH_MACHINE_CONFIG:
		patch_machine_config(machine, config);
		return 0;
	case SQUIB_PUT_CPU_CONFIG:
		put_cpu_config(machine, config, arena);
		return 0;
	case SQUIB_PUT_BALLOON:
		put_balloon(machine, config);
		return 0;
	case SQUIB_PUT_DRIVE:
		return put_drive(machine, config, arena);
	case SQUIB_PUT_NETWORK_INTERFACE:
		return put_network_interface(machine, config, arena);
	case SQUIB_PUT_PMEM:
		return put_pmem(machine, config, arena);
	case SQUIB_PUT_VSOCK:
		held_set(&machine->vsock, config, arena);
		return 0;
	case SQUIB_PUT_ENTROPY:
		held_set(&machine->entropy, config, arena);
		return 0;
	case SQUIB_PUT_SERIAL:
		held_set(&machine->serial, config, arena);
		return 0;
	case SQUIB_PUT_MMDS:
	case SQUIB_PATCH_MMDS:
		held_set(&machine->mmds_data, config, arena);
		return 0;
	case SQUIB_PUT_MMDS_CONFIG:
		put_mmds_config(machine, config, arena);
		return 0;
	case SQUIB_PUT_MEMORY_HOTPLUG:
		put_memory_hotplug(machine, config);
		return 0;
	default:
		return apply_post_boot(machine, type, id, config);
	}
}

void machine_lose(struct machine *machine, enum squib_action_type type, const char *id)
{
	size_t index;

	switch (type) {
	case SQUIB_PUT_VSOCK:
		held_drop(&machine->vsock);
		break;
	case SQUIB_PUT_NETWORK_INTERFACE:
		index = device_list_find(&machine->network_interfaces, id);
		if (index < machine->network_interfaces.count)
			device_list_swap_remove(&machine->network_interfaces, index);
		break;
	default:
		break;
	}
}

bool machine_action_blocks_load(enum squib_action_type type)
{
	switch (type) {
	case SQUIB_PUT_BOOT_SOURCE:
	case SQUIB_PUT_MACHINE_CONFIG:
	case SQUIB_PATCH_MACHINE_CONFIG:
	case SQUIB_PUT_BALLOON:
	case SQUIB_PUT_DRIVE:
	case SQUIB_PUT_NETWORK_INTERFACE:
	case SQUIB_PUT_PMEM:
	case SQUIB_PUT_VSOCK:
	case SQUIB_PUT_ENTROPY:
	case SQUIB_PUT_MMDS_CONFIG:
	case SQUIB_PUT_MEMORY_HOTPLUG:
		return true;
	default:
		return false;
	}
}

void machine_set_plugged(struct machine *machine, uint64_t plugged_mib, uint64_t requested_mib)
{
	machine->plugged_size_mib = plugged_mib;
	machine->requested_size_mib = requested_mib;
}

/* The config of @held, which @arena keeps alive from now on. */
static const void *keep(struct arena *arena, const struct held *held, bool *ok)
{
	if (held->arena != NULL && arena_keep(arena, held->arena) < 0)
		*ok = false;
	return held->config;
}

static const void *keep_list(struct arena *arena, const struct device_list *list, bool *ok)
{
	const void **configs = arena_alloc(arena, list->count * sizeof(*configs));

	if (configs == NULL) {
		*ok = false;
		return NULL;
	}
	for (size_t i = 0; i < list->count; i++)
		configs[i] = keep(arena, &list->items[i].held, ok);
	return configs;
}

static const void *copy_object(struct arena *arena, const void *object, size_t size, bool *ok)
{
	void *copy = arena_memdup(arena, object, size);

	if (copy == NULL)
		*ok = false;
	return copy;
}

/* Like what clients see: only interfaces that serve MMDS now, in attach order. */
static const struct squib_mmds_config *view_mmds_config(const struct machine *machine,
							struct arena *arena, bool *ok)
{
	const struct device_list *interfaces = &machine->network_interfaces;
	struct squib_mmds_config *config;
	const char **ids;

	if (!machine_has_mmds_interface(machine))
		return NULL;
	config = arena_new_object(arena, struct squib_mmds_config);
	ids = arena_alloc(arena, interfaces->count * sizeof(*ids));
	if (config == NULL || ids == NULL) {
		*ok = false;
		return NULL;
	}
	*config = *(const struct squib_mmds_config *)machine->mmds_config.config;
	config->network_interfaces = ids;
	config->network_interface_count = 0;
	for (size_t i = 0; i < interfaces->count; i++)
		if (interfaces->items[i].mmds)	/* ids are alive with the interfaces' configs */
			ids[config->network_interface_count++] = interfaces->items[i].id;
	return config;
}

int machine_view(const struct machine *machine, struct arena *arena,
		 const struct squib_machine **ret_view)
{
	struct squib_machine *view = arena_new_object(arena, struct squib_machine);
	bool ok = true;

	if (view == NULL)
		return -ENOMEM;
	view->config = machine->config;
	view->boot_source = keep(arena, &machine->boot_source, &ok);
	view->cpu_config = keep(arena, &machine->cpu_config, &ok);
	view->drives = keep_list(arena, &machine->drives, &ok);
	view->drive_count = machine->drives.count;
	view->network_interfaces = keep_list(arena, &machine->network_interfaces, &ok);
	view->network_interface_count = machine->network_interfaces.count;
	view->pmems = keep_list(arena, &machine->pmems, &ok);
	view->pmem_count = machine->pmems.count;
	view->vsock = keep(arena, &machine->vsock, &ok);
	view->entropy = keep(arena, &machine->entropy, &ok);
	view->serial = keep(arena, &machine->serial, &ok);
	if (machine->has_balloon)
		view->balloon = copy_object(arena, &machine->balloon, sizeof(machine->balloon), &ok);
	if (machine->has_memory_hotplug)
		view->memory_hotplug = copy_object(arena, &machine->memory_hotplug,
						   sizeof(machine->memory_hotplug), &ok);
	view->mmds_config = view_mmds_config(machine, arena, &ok);
	if (!ok)
		return -ENOMEM;
	*ret_view = view;
	return 0;
}
