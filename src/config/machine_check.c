/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be refused by looking at the description alone, with upstream's texts in upstream's
 * order.
 *
 * A request that names a device this description does not know always passes: the device may
 * come from a snapshot, and "not found" is the monitor's to say. The same goes for what upstream
 * looks at before the checks here. A device hot-plugged with PCI off or under a used id is
 * refused for that reason first, whatever else is wrong with it, so it passes too.
 */
#include "config/machine.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "config/machine_internal.h"
#include "json/value.h"

#define VCPU_COUNT_MAX 32
#define MTU_MIN 68
#define HOTPLUG_BLOCK_MIB_MIN 2
#define HOTPLUG_SLOT_MIB_MIN 128
#define BALLOON_PAGES_PER_MIB 256	/* of 4 KiB */
#define CMDLINE_BYTES_MAX 2048		/* with NUL */

static int check_vcpus_and_memory(const struct machine *machine,
				  const struct squib_machine_config *config, struct fault *fault)
{
	uint64_t unit_mib = config->huge_pages == SQUIB_HUGE_PAGES_NONE ? 1 : 2;

	if (config->vcpu_count == 0 || config->vcpu_count > VCPU_COUNT_MAX ||
	    (config->smt && config->vcpu_count > 1 && config->vcpu_count % 2 == 1))
		return fault_set(fault, -EINVAL,
				 "Machine config error: The number of vCPUs must be greater than 0, "
				 "less than 32 and must be 1 or an even number if SMT is enabled.");
	if (config->mem_size_mib == 0 || config->mem_size_mib % unit_mib != 0)
		return fault_set(fault, -EINVAL,
				 "Machine config error: The memory size (MiB) is either 0, or not a "
				 "multiple of the configured page size.");
	if (machine->has_balloon && config->mem_size_mib < machine->balloon.amount_mib)
		return fault_set(fault, -EINVAL,
				 "Machine config error: The memory size (MiB) is smaller than the "
				 "previously set balloon device target size.");
	return 0;
}

#define SMT_TEXT "Invalid arch field for SMT: SMT not supported on Apple Silicon"

static int check_smt(const struct machine *machine, bool smt, struct fault *fault)
{
	if (!smt || machine->rules.smt == SQUIB_SMT_ALLOWED)
		return 0;
	if (machine->rules.smt == SQUIB_SMT_AARCH64)
		return fault_set(fault, -EINVAL,
				 "Machine config error: Enabling simultaneous multithreading is "
				 "not supported on aarch64. " SMT_TEXT);
	return fault_set(fault, -EINVAL, SMT_TEXT);
}

static int check_machine_config(const struct machine *machine,
				const struct squib_machine_config *config, struct fault *fault)
{
	int r = check_smt(machine, config->smt, fault);

	return r < 0 ? r : check_vcpus_and_memory(machine, config, fault);
}

static int check_machine_config_update(const struct machine *machine,
				       const struct squib_machine_config_update *update,
				       struct fault *fault)
{
	struct squib_machine_config merged = machine->config;

	if (update->vcpu_count == NULL && update->mem_size_mib == NULL && update->smt == NULL &&
	    update->cpu_template == NULL && update->track_dirty_pages == NULL &&
	    update->huge_pages == NULL)
		return fault_set(fault, -EINVAL, "Empty PATCH request.");
	machine_config_update(&merged, update);
	return check_machine_config(machine, &merged, fault);
}

static int check_balloon(const struct machine *machine, const struct squib_balloon *balloon,
			 struct fault *fault)
{
	if (balloon->amount_mib > machine->config.mem_size_mib)
		return fault_set(fault, -EINVAL,
				 "Balloon config error: Amount of pages requested is too large.");
	if (balloon->amount_mib > UINT32_MAX / BALLOON_PAGES_PER_MIB)	/* pages are 32 bits */
		return fault_set(fault, -EINVAL,
				 "Balloon config error: Error creating the balloon device: "
				 "Requested memory should be less than %uMiB",
				 UINT32_MAX / BALLOON_PAGES_PER_MIB);
	return 0;
}

static int check_balloon_update(const struct machine *machine,
				const struct squib_balloon_update *update, struct fault *fault)
{
	if (!machine->has_balloon || update->amount_mib <= machine->config.mem_size_mib)
		return 0;
	return fault_set(fault, -EINVAL,
			 "Balloon update error: Balloon: Requested memory should be less than %uMiB",
			 update->amount_mib);
}

static int check_balloon_stats_update(const struct machine *machine,
				      const struct squib_balloon_stats_update *update,
				      struct fault *fault)
{
	bool on = machine->balloon.stats_polling_interval_s > 0;

	if (!machine->has_balloon || on == (update->stats_polling_interval_s > 0))
		return 0;
	return fault_set(fault, -EINVAL,
			 "Balloon update error: Balloon: Statistics cannot be enabled/disabled after "
			 "activation.");
}

static int check_balloon_stats(const struct machine *machine, struct fault *fault)
{
	if (!machine->has_balloon || machine->balloon.stats_polling_interval_s > 0)
		return 0;
	return fault_set(fault, -EINVAL,
			 "Internal VMM error: Balloon: Received stats query when stats are "
			 "disabled.");
}

static int check_balloon_hinting(const struct machine *machine, struct fault *fault)
{
	if (!machine->has_balloon || machine->balloon.free_page_hinting)
		return 0;
	return fault_set(fault, -EINVAL,
			 "Balloon update error: Balloon: Attempting to use hinting when not enabled");
}

/*
 * Is a post-boot PUT one that the monitor refuses before it looks at the config? Pre-boot never:
 * there a known id is replaced.
 */
static bool monitor_refuses(const struct machine *machine, bool post_boot,
			    const struct device_list *list, const char *id)
{
	return post_boot && (!machine->rules.pci || device_list_find(list, id) < list->count);
}

static int check_cap(const struct device_list *list, const char *id, uint32_t cap, const char *name,
		     struct fault *fault)
{
	if (cap == 0 || list->count < cap || device_list_find(list, id) < list->count)
		return 0;
	return fault_set(fault, -EINVAL, "%s: per-class cap %u exceeded", name, cap);
}

static int check_root_drive(const struct machine *machine, bool post_boot, const char *id,
			    struct fault *fault)
{
	if (!post_boot && machine_has_root_pmem(machine))
		return fault_set(fault, -EINVAL,
				 "Drive config error: Attempt to add block as a root device while "
				 "the root device defined as a pmem device");
	if (post_boot || (machine_has_root_drive(machine) &&
			  device_list_find(&machine->drives, id) != 0))
		return fault_set(fault, -EINVAL,
				 "Drive config error: A root block device already exists!");
	return 0;
}

static bool drive_is_consistent(const struct squib_drive *drive)
{
	if (drive->path_on_host != NULL)
		return drive->socket == NULL;
	return drive->socket != NULL && drive->rate_limiter == NULL && !drive->has_is_read_only &&
	       !drive->has_io_engine;
}

static int check_drive(const struct machine *machine, bool post_boot, const char *id,
		       const struct squib_drive *drive, struct fault *fault)
{
	int r;

	if (monitor_refuses(machine, post_boot, &machine->drives, id))
		return 0;
	if (drive->is_root_device) {
		r = check_root_drive(machine, post_boot, id, fault);
		if (r < 0)
			return r;
	}
	if (!drive_is_consistent(drive))
		return fault_set(fault, -EINVAL,
				 "Drive config error: Unable to create the virtio block device: "
				 "Invalid block config.");
	return check_cap(&machine->drives, id, machine->rules.limits.drives, "drives", fault);
}

/* Without a field, a PATCH has a vhost-user drive ask its backend again; all else is virtio's. */
static int check_drive_update(const struct machine *machine, const char *id,
			      const struct squib_drive_update *update, struct fault *fault)
{
	size_t index = device_list_find(&machine->drives, id);
	bool for_virtio = update->path_on_host != NULL || update->rate_limiter != NULL;

	if (index == machine->drives.count)
		return 0;
	if (for_virtio == (device_drive(&machine->drives.items[index])->socket == NULL))
		return 0;
	return fault_set(fault, -EINVAL,
			 "Drive config error: Unable to patch the block device: Block: Running "
			 "method expected different backend. Please verify the request arguments.");
}

static int check_mac(const struct machine *machine, const char *id, const uint8_t mac[6],
		     struct fault *fault)
{
	for (size_t i = 0; i < machine->network_interfaces.count; i++) {
		const struct squib_network_interface *other =
			device_interface(&machine->network_interfaces.items[i]);

		if (!other->has_guest_mac || memcmp(other->guest_mac, mac, 6) != 0 ||
		    strcmp(other->iface_id, id) == 0)
			continue;
		return fault_set(fault, -EINVAL,
				 "Network config error: The MAC address is already in use: "
				 "%02x:%02x:%02x:%02x:%02x:%02x",
				 mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	}
	return 0;
}

static int check_network_interface(const struct machine *machine, bool post_boot, const char *id,
				   const struct squib_network_interface *iface, struct fault *fault)
{
	int r;

	if (monitor_refuses(machine, post_boot, &machine->network_interfaces, id))
		return 0;
	if (iface->has_guest_mac) {
		r = check_mac(machine, id, iface->guest_mac, fault);
		if (r < 0)
			return r;
	}
	if (iface->has_mtu && iface->mtu < MTU_MIN)
		return fault_set(fault, post_boot ? -EINVAL : -ESTALE,
				 "Network config error: Could not create the network device: MTU %u "
				 "is out of range [68, 65535]", iface->mtu);
	return check_cap(&machine->network_interfaces, id, machine->rules.limits.network_interfaces,
			 "network_interfaces", fault);
}

static int check_root_pmem(const struct machine *machine, bool post_boot, const char *id,
			   struct fault *fault)
{
	const struct device_list *pmems = &machine->pmems;
	size_t index = device_list_find(pmems, id);

	if (post_boot || machine_has_root_drive(machine))
		return fault_set(fault, -EINVAL,
				 "Pmem config error: Attempt to add pmem as a root device while the "
				 "root device defined as a block device");
	if (machine_has_root_pmem(machine) &&
	    (index == pmems->count || !device_pmem(&pmems->items[index])->root_device))
		return fault_set(fault, -EINVAL,
				 "Pmem config error: A root pmem device already exist");
	return 0;
}

static int check_pmem(const struct machine *machine, bool post_boot, const char *id,
		      const struct squib_pmem *pmem, struct fault *fault)
{
	int r;

	if (monitor_refuses(machine, post_boot, &machine->pmems, id))
		return 0;
	if (pmem->root_device) {
		r = check_root_pmem(machine, post_boot, id, fault);
		if (r < 0)
			return r;
	}
	return check_cap(&machine->pmems, id, machine->rules.limits.pmems, "pmem", fault);
}

/* RFC 3927 2.1: the first and the last 256 addresses of 169.254/16 are reserved. */
static bool is_link_local(const uint8_t address[4])
{
	return address[0] == 169 && address[1] == 254 && address[2] > 0 && address[2] < 255;
}

static int check_mmds_config(const struct machine *machine, const struct squib_mmds_config *config,
			     struct fault *fault)
{
	const struct device_list *interfaces = &machine->network_interfaces;

	if (!is_link_local(config->ipv4_address))
		return fault_set(fault, -EINVAL,
				 "MMMDS config error: The MMDS IPv4 address is not link local.");
	if (config->network_interface_count == 0)
		return fault_set(fault, -EINVAL,
				 "MMMDS config error: The list of network interface IDs that allow "
				 "forwarding MMDS requests is empty.");
	for (size_t i = 0; i < config->network_interface_count; i++)
		if (device_list_find(interfaces, config->network_interfaces[i]) == interfaces->count)
			return fault_set(fault, -EINVAL,
					 "MMMDS config error: The list of network interface IDs "
					 "provided contains at least one ID that does not correspond "
					 "to any existing network interface.");
	return 0;
}

static int hotplug_fault(struct fault *fault, const char *text)
{
	return fault_set(fault, -EINVAL, "Memory hotplug config error: %s", text);
}

static int hotplug_fault_mib(struct fault *fault, const char *text, uint64_t mib)
{
	return fault_set(fault, -EINVAL, "Memory hotplug config error: %s (%ju MiB)", text,
			 (uintmax_t)mib);
}

static int check_memory_hotplug(const struct squib_memory_hotplug *hotplug, struct fault *fault)
{
	uint64_t total = hotplug->total_size_mib;
	uint64_t block = hotplug->block_size_mib;
	uint64_t slot = hotplug->slot_size_mib;

	if (block < HOTPLUG_BLOCK_MIB_MIN)
		return hotplug_fault(fault, "Block size must not be lower than 2 MiB");
	if ((block & (block - 1)) != 0)
		return hotplug_fault(fault, "Block size must be a power of 2");
	if (slot < HOTPLUG_SLOT_MIB_MIN)
		return hotplug_fault(fault, "Slot size must not be lower than 128 MiB");
	if (slot % block != 0)
		return hotplug_fault_mib(fault, "Slot size must be a multiple of block size", block);
	if (total < slot)
		return hotplug_fault_mib(fault, "Total size must not be lower than slot size", slot);
	if (total % slot != 0)
		return hotplug_fault_mib(fault, "Total size must be a multiple of slot size", slot);
	return 0;
}

int machine_check(const struct machine *machine, enum squib_action_type type, bool post_boot,
		  const char *id, const void *config, struct fault *fault)
{
	switch (type) {
	case SQUIB_PUT_MACHINE_CONFIG:
		return check_machine_config(machine, config, fault);
	case SQUIB_PATCH_MACHINE_CONFIG:
		return check_machine_config_update(machine, config, fault);
	case SQUIB_PUT_BALLOON:
		return check_balloon(machine, config, fault);
	case SQUIB_PATCH_BALLOON:
		return check_balloon_update(machine, config, fault);
	case SQUIB_PATCH_BALLOON_STATISTICS:
		return check_balloon_stats_update(machine, config, fault);
	case SQUIB_GET_BALLOON_STATISTICS:
		return check_balloon_stats(machine, fault);
	case SQUIB_BALLOON_HINTING_START:
	case SQUIB_BALLOON_HINTING_STOP:
	case SQUIB_GET_BALLOON_HINTING_STATUS:
		return check_balloon_hinting(machine, fault);
	case SQUIB_PUT_DRIVE:
		return check_drive(machine, post_boot, id, config, fault);
	case SQUIB_PATCH_DRIVE:
		return check_drive_update(machine, id, config, fault);
	case SQUIB_PUT_NETWORK_INTERFACE:
		return check_network_interface(machine, post_boot, id, config, fault);
	case SQUIB_PUT_PMEM:
		return check_pmem(machine, post_boot, id, config, fault);
	case SQUIB_PUT_MMDS_CONFIG:
		return check_mmds_config(machine, config, fault);
	case SQUIB_PUT_MEMORY_HOTPLUG:
		return check_memory_hotplug(config, fault);
	default:
		return 0;
	}
}

/* What the store holds once @patch is merged into it. */
static int merge_mmds(const struct machine *machine, const struct json_value *patch,
		      struct json_value *ret_merged, struct fault *fault)
{
	const struct squib_mmds_data *now = machine->mmds_data.config;
	CLEANUP(json_value_done) struct json_value merged = JSON_VALUE_INIT;
	int r;

	r = json_value_parse(now->document, now->document_len, &merged, fault);
	if (r < 0)
		return r;
	r = json_value_merge(&merged, patch);
	if (r < 0)
		return r;
	*ret_merged = json_value_take(&merged);
	return 0;
}

static int store_document(const struct machine *machine, const struct json_value *value,
			  struct arena *arena, struct squib_mmds_data *data, struct fault *fault)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	char *document;

	json_value_write(&text, value);
	if (buf_error(&text) < 0)
		return -ENOMEM;
	if (text.len > machine->rules.limits.mmds_bytes)
		return fault_set(fault, -EFBIG,
				 "MMDS limit exceeded error: The MMDS patch request doesn't fit.");
	document = arena_memdup(arena, text.data, text.len);
	if (document == NULL)
		return -ENOMEM;
	data->document = document;
	data->document_len = text.len;
	return 0;
}

int machine_check_mmds(const struct machine *machine, enum squib_action_type type, bool post_boot,
		       struct arena *arena, struct squib_mmds_data *data, struct fault *fault)
{
	CLEANUP(json_value_done) struct json_value value = JSON_VALUE_INIT;
	CLEANUP(json_value_done) struct json_value merged = JSON_VALUE_INIT;
	bool patch = type == SQUIB_PATCH_MMDS;
	int r;

	if ((post_boot && !machine_has_mmds_interface(machine)) ||
	    (patch && machine->mmds_data.config == NULL))
		return fault_set(fault, -EINVAL,
				 "MMDS error: The MMDS data store is not initialized.");
	r = json_value_parse(data->body, data->body_len, &value, fault);
	if (r == 0 && patch)
		r = merge_mmds(machine, &value, &merged, fault);
	if (r < 0)
		return r;
	return store_document(machine, patch ? &merged : &value, arena, data, fault);
}

struct span {
	const char *data;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct span trim(struct span s)
{
	while (s.len > 0 && is_blank(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

#define INIT_SEPARATOR " -- "

/* Where the arguments of init begin: at the first separator outside double quotes, or NULL. */
static const char *find_init_separator(const char *args)
{
	const char *from = args;
	bool quoted = false;

	for (const char *at; (at = strstr(from, INIT_SEPARATOR)) != NULL;
	     from = at + strlen(INIT_SEPARATOR)) {
		for (const char *p = from; p < at; p++)
			quoted ^= *p == '"';
		if (!quoted)
			return at;
	}
	return NULL;
}

static bool is_printable(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] < ' ' || s.data[i] > '~')
			return false;
	return true;
}

#define CMDLINE_FAULT "Boot source error: The kernel command line is invalid: "

int boot_args_check(const char *args, struct fault *fault)
{
	const char *separator = args != NULL ? find_init_separator(args) : NULL;
	struct span boot = { 0 }, init = { 0 };
	size_t size;

	if (args == NULL)
		return 0;
	if (separator != NULL) {
		const char *rest = separator + strlen(INIT_SEPARATOR);

		boot = trim((struct span){ args, (size_t)(separator - args) });
		init = trim((struct span){ rest, strlen(rest) });
	} else {
		boot = trim((struct span){ args, strlen(args) });
	}
	size = boot.len + 1 + (init.len > 0 ? strlen(INIT_SEPARATOR) + init.len : 0);
	if (size > CMDLINE_BYTES_MAX)
		return fault_set(fault, -EINVAL, CMDLINE_FAULT "Invalid cmdline capacity provided.");
	if (!is_printable(boot) || !is_printable(init))
		return fault_set(fault, -EINVAL,
				 CMDLINE_FAULT "String contains a non-printable ASCII character.");
	return 0;
}
