/* SPDX-License-Identifier: Apache-2.0 */
/* GET bodies: what the machine description looks like to clients. */
#include "config/machine.h"

#include <string.h>

#include "config/machine_internal.h"
#include "config/render.h"
#include "json/value.h"

typedef void render_device_fn(struct buf *out, const struct device *device);

static void render_device_drive(struct buf *out, const struct device *device)
{
	render_drive(out, device_drive(device));
}

static void render_device_interface(struct buf *out, const struct device *device)
{
	render_network_interface(out, device_interface(device));
}

static void render_device_pmem(struct buf *out, const struct device *device)
{
	render_pmem(out, device_pmem(device));
}

static void render_list(struct buf *out, const struct device_list *list, render_device_fn *render)
{
	buf_addc(out, '[');
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0)
			buf_addc(out, ',');
		render(out, &list->items[i]);
	}
	buf_addc(out, ']');
}

static void render_null(struct buf *out)
{
	render_string(out, NULL);
}

/*
 * The interfaces that serve MMDS now, in attach order: not the list that was sent, since an
 * interface that was replaced or removed no longer serves.
 */
static void render_mmds_interfaces(struct buf *out, const struct device_list *interfaces)
{
	bool first = true;

	buf_addc(out, '[');
	for (size_t i = 0; i < interfaces->count; i++) {
		if (!interfaces->items[i].mmds)
			continue;
		if (!first)
			buf_addc(out, ',');
		render_string(out, interfaces->items[i].id);
		first = false;
	}
	buf_addc(out, ']');
}

static void render_mmds_config(struct buf *out, const struct machine *machine)
{
	const struct squib_mmds_config *config = machine->mmds_config.config;
	const uint8_t *address;

	if (!machine_has_mmds_interface(machine)) {
		render_null(out);
		return;
	}
	address = config->ipv4_address;
	buf_addc(out, '{');
	render_key(out, true, "version");
	render_string(out, render_mmds_version(config->version));
	render_key(out, false, "network_interfaces");
	render_mmds_interfaces(out, &machine->network_interfaces);
	render_key(out, false, "ipv4_address");
	buf_addf(out, "\"%u.%u.%u.%u\"", address[0], address[1], address[2], address[3]);
	render_key(out, false, "imds_compat");
	render_bool(out, config->imds_compat);
	buf_addc(out, '}');
}

static void render_balloon_or_null(struct buf *out, const struct machine *machine)
{
	if (!machine_render_balloon(machine, out))
		render_null(out);
}

static void render_single_devices(struct buf *out, const struct machine *machine)
{
	render_key(out, false, "vsock");
	if (machine->vsock.config != NULL)
		render_vsock(out, machine->vsock.config);
	else
		render_null(out);
	render_key(out, false, "entropy");
	if (machine->entropy.config != NULL)
		render_entropy(out, machine->entropy.config);
	else
		render_null(out);
}

void machine_render_vm_config(const struct machine *machine, struct buf *out)
{
	buf_addc(out, '{');
	render_key(out, true, "balloon");
	render_balloon_or_null(out, machine);
	render_key(out, false, "drives");
	render_list(out, &machine->drives, render_device_drive);
	render_key(out, false, "boot-source");
	render_boot_source(out, machine->boot_source.config);
	buf_adds(out, ",\"cpu-config\":null,\"logger\":null");
	render_key(out, false, "machine-config");
	render_machine_config(out, &machine->config);
	buf_adds(out, ",\"metrics\":null");
	render_key(out, false, "mmds-config");
	render_mmds_config(out, machine);
	render_key(out, false, "network-interfaces");
	render_list(out, &machine->network_interfaces, render_device_interface);
	render_single_devices(out, machine);
	render_key(out, false, "pmem");
	render_list(out, &machine->pmems, render_device_pmem);
	render_key(out, false, "memory-hotplug");
	if (machine->has_memory_hotplug)
		render_memory_hotplug(out, &machine->memory_hotplug);
	else
		render_null(out);
	buf_addc(out, '}');
}

void machine_render_machine_config(const struct machine *machine, struct buf *out)
{
	render_machine_config(out, &machine->config);
}

bool machine_render_balloon(const struct machine *machine, struct buf *out)
{
	if (machine->has_balloon)
		render_balloon(out, &machine->balloon);
	return machine->has_balloon;
}

void machine_render_mmds(const struct machine *machine, struct buf *out)
{
	static const char null[] = "null";
	const struct squib_mmds_data *data = machine->mmds_data.config;

	if (data == NULL || (data->document_len == sizeof(null) - 1 &&
			     memcmp(data->document, null, sizeof(null) - 1) == 0))
		buf_adds(out, "{}");
	else
		buf_add(out, data->document, data->document_len);
}

/* Unlike in GET /vm/config, the block size comes first. */
bool machine_render_memory_hotplug(const struct machine *machine, struct buf *out)
{
	const struct squib_memory_hotplug *hotplug = &machine->memory_hotplug;

	if (!machine->has_memory_hotplug)
		return false;
	buf_adds(out, "{\"block_size_mib\":");
	json_write_u64(out, hotplug->block_size_mib);
	buf_adds(out, ",\"total_size_mib\":");
	json_write_u64(out, hotplug->total_size_mib);
	buf_adds(out, ",\"slot_size_mib\":");
	json_write_u64(out, hotplug->slot_size_mib);
	buf_adds(out, ",\"plugged_size_mib\":");
	json_write_u64(out, machine->plugged_size_mib);
	buf_adds(out, ",\"requested_size_mib\":");
	json_write_u64(out, machine->requested_size_mib);
	buf_addc(out, '}');
	return true;
}
