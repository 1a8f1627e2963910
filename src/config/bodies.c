/* SPDX-License-Identifier: Apache-2.0 */
#include "config/bodies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "config/text.h"

/* Enumerations are decoded as unsigned int. */
_Static_assert(sizeof(enum squib_cpu_template) == sizeof(unsigned int), "size of an enum");

/* Rate limiters (2.14) */

static const struct field token_bucket_fields[] = {
	FIELD(squib_token_bucket, size, &u64_type, FIELD_REQUIRED),
	FIELD(squib_token_bucket, one_time_burst, &u64_type, FIELD_NULL),
	FIELD_AS("refill_time", squib_token_bucket, refill_time_ms, &u64_type, FIELD_REQUIRED),
};
static const struct type token_bucket_type = STRUCT_TYPE(
	squib_token_bucket, "TokenBucketConfig", FIELDS(token_bucket_fields), .open = true);
static const struct type token_bucket_pointer = POINTER_TYPE(&token_bucket_type);

static const struct field rate_limiter_fields[] = {
	FIELD(squib_rate_limiter, bandwidth, &token_bucket_pointer, FIELD_NULL),
	FIELD(squib_rate_limiter, ops, &token_bucket_pointer, FIELD_NULL),
};
static const struct type rate_limiter_type = STRUCT_TYPE(
	squib_rate_limiter, "RateLimiterConfig", FIELDS(rate_limiter_fields));
static const struct type rate_limiter_pointer = POINTER_TYPE(&rate_limiter_type);

/* PUT /actions (2.2) */

static const struct enum_name action_names[] = {
	{ "FlushMetrics", SQUIB_ACTION_KIND_FLUSH_METRICS },
	{ "InstanceStart", SQUIB_ACTION_KIND_INSTANCE_START },
	{ "SendCtrlAltDel", SQUIB_ACTION_KIND_SEND_CTRL_ALT_DEL },
};
static const struct type action_kind_type = ENUM_TYPE(action_names);
static const struct field action_info_fields[] = {
	FIELD(squib_action_info, action_type, &action_kind_type, FIELD_REQUIRED),
};
const struct type action_info_type = STRUCT_TYPE(
	squib_action_info, "ActionBody", FIELDS(action_info_fields));

/* PUT /boot-source (2.3) */

static const struct field boot_source_fields[] = {
	FIELD(squib_boot_source, kernel_image_path, &string_type, FIELD_REQUIRED),
	FIELD(squib_boot_source, initrd_path, &string_type, FIELD_NULL),
	FIELD(squib_boot_source, boot_args, &string_type, FIELD_NULL),
};
const struct type boot_source_type = STRUCT_TYPE(
	squib_boot_source, "BootSourceConfig", FIELDS(boot_source_fields));

/* /machine-config (2.4) */

static const struct enum_name cpu_templates_x86[] = {
	{ "C3", SQUIB_CPU_TEMPLATE_C3 },     { "T2", SQUIB_CPU_TEMPLATE_T2 },
	{ "T2S", SQUIB_CPU_TEMPLATE_T2S },   { "None", SQUIB_CPU_TEMPLATE_NONE },
	{ "T2CL", SQUIB_CPU_TEMPLATE_T2CL }, { "T2A", SQUIB_CPU_TEMPLATE_T2A },
};
static const struct enum_name cpu_templates_arm[] = {
	{ "V1N1", SQUIB_CPU_TEMPLATE_V1N1 },
	{ "None", SQUIB_CPU_TEMPLATE_NONE },
};
static const struct type cpu_template_x86_type = ENUM_TYPE(cpu_templates_x86);
static const struct type cpu_template_arm_type = ENUM_TYPE(cpu_templates_arm);
static const struct type cpu_template_type = {
	.kind = TYPE_BY_ARCH, .size = sizeof(unsigned int),
	.by_arch = {
		[SQUIB_ARCH_X86_64] = &cpu_template_x86_type,
		[SQUIB_ARCH_AARCH64] = &cpu_template_arm_type,
	},
};

static const struct enum_name huge_pages_names[] = {
	{ "None", SQUIB_HUGE_PAGES_NONE },
	{ "Transparent", SQUIB_HUGE_PAGES_TRANSPARENT },
	{ "2M", SQUIB_HUGE_PAGES_2M },
};
static const struct type huge_pages_type = ENUM_TYPE(huge_pages_names);

static const struct squib_machine_config machine_config_defaults = {
	.cpu_template = SQUIB_CPU_TEMPLATE_NONE,
};
static const struct field machine_config_fields[] = {
	FIELD(squib_machine_config, vcpu_count, &u8_type, FIELD_REQUIRED),
	FIELD(squib_machine_config, mem_size_mib, &usize_type, FIELD_REQUIRED),
	FIELD(squib_machine_config, smt, &bool_type, 0),
	FIELD_WITH_HAS(squib_machine_config, cpu_template, &cpu_template_type, FIELD_NULL),
	FIELD(squib_machine_config, track_dirty_pages, &bool_type, 0),
	FIELD(squib_machine_config, huge_pages, &huge_pages_type, 0),
};
const struct type machine_config_type = STRUCT_TYPE(
	squib_machine_config, "MachineConfig", FIELDS(machine_config_fields),
	.defaults = &machine_config_defaults);

static const struct type u8_pointer = POINTER_TYPE(&u8_type);
static const struct type usize_pointer = POINTER_TYPE(&usize_type);
static const struct type bool_pointer = POINTER_TYPE(&bool_type);
static const struct type cpu_template_pointer = POINTER_TYPE(&cpu_template_type);
static const struct type huge_pages_pointer = POINTER_TYPE(&huge_pages_type);

static const struct field machine_config_update_fields[] = {
	FIELD(squib_machine_config_update, vcpu_count, &u8_pointer, FIELD_NULL),
	FIELD(squib_machine_config_update, mem_size_mib, &usize_pointer, FIELD_NULL),
	FIELD(squib_machine_config_update, smt, &bool_pointer, FIELD_NULL),
	FIELD(squib_machine_config_update, cpu_template, &cpu_template_pointer, FIELD_NULL),
	FIELD(squib_machine_config_update, track_dirty_pages, &bool_pointer, FIELD_NULL),
	FIELD(squib_machine_config_update, huge_pages, &huge_pages_pointer, FIELD_NULL),
};
const struct type machine_config_update_type = STRUCT_TYPE(
	squib_machine_config_update, "MachineConfigUpdate", FIELDS(machine_config_update_fields));

/* PUT /cpu-config (2.5) */

static const struct field cpuid_register_fields[] = {
	FIELD_AS("register", squib_cpuid_register_modifier, reg, &cpuid_register_type,
		 FIELD_REQUIRED),
	FIELD(squib_cpuid_register_modifier, bitmap, &bitmap32_type, FIELD_REQUIRED),
};
static const struct type cpuid_register_modifier_type = STRUCT_TYPE(
	squib_cpuid_register_modifier, "CpuidRegisterModifier", FIELDS(cpuid_register_fields),
	.open = true);

static const struct field cpuid_modifier_fields[] = {
	FIELD(squib_cpuid_modifier, leaf, &hex32_type, FIELD_REQUIRED),
	FIELD(squib_cpuid_modifier, subleaf, &hex32_type, FIELD_REQUIRED),
	FIELD(squib_cpuid_modifier, flags, &u32_type, FIELD_REQUIRED),
	LIST(squib_cpuid_modifier, modifiers, modifier_count, &cpuid_register_modifier_type,
	     FIELD_REQUIRED),
};
static const struct type cpuid_modifier_type = STRUCT_TYPE(
	squib_cpuid_modifier, "CpuidLeafModifier", FIELDS(cpuid_modifier_fields), .open = true);

static const struct field msr_modifier_fields[] = {
	FIELD(squib_register_modifier, addr, &msr_address_type, FIELD_REQUIRED),
	FIELD(squib_register_modifier, bitmap, &bitmap64_type, FIELD_REQUIRED),
};
static const struct type msr_modifier_type = STRUCT_TYPE(
	squib_register_modifier, "RegisterModifier", FIELDS(msr_modifier_fields), .open = true);

static const struct field reg_modifier_fields[] = {
	FIELD(squib_register_modifier, addr, &hex64_type, FIELD_REQUIRED),
	FIELD(squib_register_modifier, bitmap, &bitmap128_type, FIELD_REQUIRED),
};
static const struct type reg_modifier_type = STRUCT_TYPE(
	squib_register_modifier, "RegisterModifier", FIELDS(reg_modifier_fields), .open = true);

static const struct field vcpu_feature_fields[] = {
	FIELD(squib_vcpu_feature, index, &u32_type, FIELD_REQUIRED),
	FIELD(squib_vcpu_feature, bitmap, &bitmap32_type, FIELD_REQUIRED),
};
static const struct type vcpu_feature_type = STRUCT_TYPE(
	squib_vcpu_feature, "VcpuFeatures", FIELDS(vcpu_feature_fields), .open = true);

static const struct field cpu_config_x86_fields[] = {
	LIST(squib_cpu_config, kvm_capabilities, kvm_capability_count, &kvm_capability_type, 0),
	LIST(squib_cpu_config, cpuid_modifiers, cpuid_modifier_count, &cpuid_modifier_type, 0),
	LIST(squib_cpu_config, msr_modifiers, msr_modifier_count, &msr_modifier_type, 0),
};
const struct type cpu_config_x86_type = STRUCT_TYPE(
	squib_cpu_config, "CustomCpuTemplate", FIELDS(cpu_config_x86_fields));

static const struct field cpu_config_arm_fields[] = {
	LIST(squib_cpu_config, kvm_capabilities, kvm_capability_count, &kvm_capability_type, 0),
	LIST(squib_cpu_config, vcpu_features, vcpu_feature_count, &vcpu_feature_type, 0),
	LIST(squib_cpu_config, reg_modifiers, reg_modifier_count, &reg_modifier_type, 0),
};
const struct type cpu_config_arm_type = STRUCT_TYPE(
	squib_cpu_config, "CustomCpuTemplate", FIELDS(cpu_config_arm_fields));

const struct type cpu_config_type = {
	.kind = TYPE_BY_ARCH, .size = sizeof(struct squib_cpu_config),
	.by_arch = {
		[SQUIB_ARCH_X86_64] = &cpu_config_x86_type,
		[SQUIB_ARCH_AARCH64] = &cpu_config_arm_type,
	},
};

/* /balloon (2.6) */

static const struct field balloon_fields[] = {
	FIELD(squib_balloon, amount_mib, &u32_type, FIELD_REQUIRED),
	FIELD(squib_balloon, deflate_on_oom, &bool_type, FIELD_REQUIRED),
	FIELD(squib_balloon, stats_polling_interval_s, &u16_type, 0),
	FIELD(squib_balloon, free_page_hinting, &bool_type, 0),
	FIELD(squib_balloon, free_page_reporting, &bool_type, 0),
};
const struct type balloon_type = STRUCT_TYPE(
	squib_balloon, "BalloonDeviceConfig", FIELDS(balloon_fields));

static const struct field balloon_update_fields[] = {
	FIELD(squib_balloon_update, amount_mib, &u32_type, FIELD_REQUIRED),
};
const struct type balloon_update_type = STRUCT_TYPE(
	squib_balloon_update, "BalloonUpdateConfig", FIELDS(balloon_update_fields));

static const struct field balloon_stats_update_fields[] = {
	FIELD(squib_balloon_stats_update, stats_polling_interval_s, &u16_type, FIELD_REQUIRED),
};
const struct type balloon_stats_update_type = STRUCT_TYPE(
	squib_balloon_stats_update, "BalloonUpdateStatsConfig",
	FIELDS(balloon_stats_update_fields));

static const struct squib_balloon_hinting_start balloon_hinting_start_defaults = {
	.acknowledge_on_stop = true,
};
static const struct field balloon_hinting_start_fields[] = {
	FIELD(squib_balloon_hinting_start, acknowledge_on_stop, &bool_type, 0),
};
const struct type balloon_hinting_start_type = STRUCT_TYPE(
	squib_balloon_hinting_start, "StartHintingCmd", FIELDS(balloon_hinting_start_fields),
	.defaults = &balloon_hinting_start_defaults, .open = true);

/* /drives (2.7) */

static const struct enum_name cache_names[] = {
	{ "Unsafe", SQUIB_CACHE_UNSAFE },
	{ "Writeback", SQUIB_CACHE_WRITEBACK },
};
static const struct type cache_type = ENUM_TYPE(cache_names);
static const struct enum_name io_engine_names[] = {
	{ "Async", SQUIB_IO_ENGINE_ASYNC },
	{ "Sync", SQUIB_IO_ENGINE_SYNC },
};
static const struct type io_engine_type = ENUM_TYPE(io_engine_names);

static const struct squib_drive drive_defaults = {
	.cache_type = SQUIB_CACHE_UNSAFE, .io_engine = SQUIB_IO_ENGINE_SYNC,
};
static const struct field drive_fields[] = {
	FIELD(squib_drive, drive_id, &string_type, FIELD_REQUIRED),
	FIELD(squib_drive, partuuid, &string_type, FIELD_NULL),
	FIELD(squib_drive, is_root_device, &bool_type, FIELD_REQUIRED),
	FIELD(squib_drive, cache_type, &cache_type, 0),
	FIELD_WITH_HAS(squib_drive, is_read_only, &bool_type, FIELD_NULL),
	FIELD(squib_drive, path_on_host, &string_type, FIELD_NULL),
	FIELD(squib_drive, rate_limiter, &rate_limiter_pointer, FIELD_NULL),
	FIELD_WITH_HAS(squib_drive, io_engine, &io_engine_type, FIELD_NULL),
	FIELD(squib_drive, socket, &string_type, FIELD_NULL),
};
const struct type drive_type = STRUCT_TYPE(
	squib_drive, "BlockDeviceConfig", FIELDS(drive_fields), .defaults = &drive_defaults);

static const struct field drive_update_fields[] = {
	FIELD(squib_drive_update, drive_id, &string_type, FIELD_REQUIRED),
	FIELD(squib_drive_update, path_on_host, &string_type, FIELD_NULL),
	FIELD(squib_drive_update, rate_limiter, &rate_limiter_pointer, FIELD_NULL),
};
const struct type drive_update_type = STRUCT_TYPE(
	squib_drive_update, "BlockDeviceUpdateConfig", FIELDS(drive_update_fields));

/* /network-interfaces (2.8) */

static const struct field network_interface_fields[] = {
	FIELD(squib_network_interface, iface_id, &string_type, FIELD_REQUIRED),
	FIELD(squib_network_interface, host_dev_name, &string_type, FIELD_REQUIRED),
	FIELD_WITH_HAS(squib_network_interface, guest_mac, &mac_type, FIELD_NULL),
	FIELD_WITH_HAS(squib_network_interface, mtu, &u16_type, FIELD_NULL),
	FIELD(squib_network_interface, rx_rate_limiter, &rate_limiter_pointer, FIELD_NULL),
	FIELD(squib_network_interface, tx_rate_limiter, &rate_limiter_pointer, FIELD_NULL),
};
const struct type network_interface_type = STRUCT_TYPE(
	squib_network_interface, "NetworkInterfaceConfig", FIELDS(network_interface_fields));

static const struct field network_interface_update_fields[] = {
	FIELD(squib_network_interface_update, iface_id, &string_type, FIELD_REQUIRED),
	FIELD(squib_network_interface_update, rx_rate_limiter, &rate_limiter_pointer, FIELD_NULL),
	FIELD(squib_network_interface_update, tx_rate_limiter, &rate_limiter_pointer, FIELD_NULL),
};
const struct type network_interface_update_type = STRUCT_TYPE(
	squib_network_interface_update, "NetworkInterfaceUpdateConfig",
	FIELDS(network_interface_update_fields));

/* /pmem (2.9); the other name of the id is squib's */

#define PMEM_ID_FIELD(struct_name) { \
	.name = "id", .alias = "pmem_id", .type = &string_type, .flags = FIELD_REQUIRED, \
	.offset = offsetof(struct struct_name, id) }

static const struct field pmem_fields[] = {
	PMEM_ID_FIELD(squib_pmem),
	FIELD(squib_pmem, path_on_host, &string_type, FIELD_REQUIRED),
	FIELD(squib_pmem, root_device, &bool_type, 0),
	FIELD(squib_pmem, read_only, &bool_type, 0),
	FIELD(squib_pmem, rate_limiter, &rate_limiter_pointer, FIELD_NULL),
};
const struct type pmem_type = STRUCT_TYPE(squib_pmem, "PmemConfig", FIELDS(pmem_fields));

static const struct field pmem_update_fields[] = {
	PMEM_ID_FIELD(squib_pmem_update),
	FIELD(squib_pmem_update, rate_limiter, &rate_limiter_pointer, FIELD_NULL),
};
const struct type pmem_update_type = STRUCT_TYPE(
	squib_pmem_update, "PmemDeviceUpdateConfig", FIELDS(pmem_update_fields));

/* PUT /vsock (2.10) */

static const struct field vsock_fields[] = {
	FIELD(squib_vsock, vsock_id, &string_type, FIELD_NULL),
	FIELD(squib_vsock, guest_cid, &u32_type, FIELD_REQUIRED),
	FIELD(squib_vsock, uds_path, &string_type, FIELD_REQUIRED),
};
const struct type vsock_type = STRUCT_TYPE(
	squib_vsock, "VsockDeviceConfig", FIELDS(vsock_fields));

/* PUT /entropy, /serial, /logger, /metrics (2.11) */

static const struct field entropy_fields[] = {
	FIELD(squib_entropy, rate_limiter, &rate_limiter_pointer, FIELD_NULL),
};
const struct type entropy_type = STRUCT_TYPE(
	squib_entropy, "EntropyDeviceConfig", FIELDS(entropy_fields));

static const struct field serial_fields[] = {
	FIELD(squib_serial, serial_out_path, &path_type, FIELD_NULL),
	FIELD(squib_serial, rate_limiter, &token_bucket_pointer, FIELD_NULL),
};
const struct type serial_type = STRUCT_TYPE(
	squib_serial, "SerialConfig", FIELDS(serial_fields));

static const struct squib_logger logger_defaults = { .level = SQUIB_LOG_INFO };
static const struct field logger_fields[] = {
	FIELD(squib_logger, log_path, &path_type, FIELD_NULL),
	FIELD(squib_logger, level, &log_level_type, FIELD_NULL),
	FIELD(squib_logger, show_level, &bool_pointer, FIELD_NULL),
	FIELD(squib_logger, show_log_origin, &bool_pointer, FIELD_NULL),
	FIELD(squib_logger, module, &string_type, FIELD_NULL),
};
const struct type logger_type = STRUCT_TYPE(
	squib_logger, "LoggerConfig", FIELDS(logger_fields), .defaults = &logger_defaults);

/* A property and its place in the document. */
struct placed_property {
	struct squib_property property;
	size_t place;
};

struct property_list {
	struct placed_property *items;
	size_t count;
	size_t cap;
};

static int add_property(struct decoder *decoder, struct property_list *list,
			const struct json_text *name)
{
	struct placed_property *item;
	int r;

	if (list->count == list->cap) {
		size_t cap = list->cap > 0 ? list->cap * 2 : 4;
		struct placed_property *items = arena_alloc(decoder->arena, cap * sizeof(*items));

		if (items == NULL)
			return -ENOMEM;
		if (list->count > 0)
			memcpy(items, list->items, list->count * sizeof(*items));
		list->items = items;
		list->cap = cap;
	}
	item = &list->items[list->count];
	item->place = list->count;
	r = decode_string_copy(decoder, name, &item->property.name);
	if (r == 0)
		r = json_colon(&decoder->reader);
	if (r == 0)
		r = decode_value(decoder, &string_type, &item->property.value);
	list->count += r == 0;
	return r;
}

static int decode_property_list(struct decoder *decoder, struct property_list *list)
{
	struct json_text name;
	bool first = true;
	int r;

	while ((r = json_object_next(&decoder->reader, &first, &name)) > 0) {
		r = add_property(decoder, list, &name);
		if (r < 0)
			return r;
	}
	return r;
}

static int compare_properties(const void *a, const void *b)
{
	const struct placed_property *left = a, *right = b;
	int order = strcmp(left->property.name, right->property.name);

	return order != 0 ? order : (left->place > right->place) - (left->place < right->place);
}

/* Upstream holds them in a sorted map: of equal names the last stays. */
static int store_properties(struct decoder *decoder, struct property_list *list,
			    struct squib_metrics *metrics)
{
	struct squib_property *properties =
		arena_alloc(decoder->arena, (list->count + 1) * sizeof(*properties));
	size_t kept = 0;

	if (properties == NULL)
		return -ENOMEM;
	if (list->count > 0)
		qsort(list->items, list->count, sizeof(*list->items), compare_properties);
	for (size_t i = 0; i < list->count; i++) {
		const struct squib_property *property = &list->items[i].property;

		if (kept > 0 && strcmp(properties[kept - 1].name, property->name) == 0)
			kept--;
		properties[kept++] = *property;
	}
	metrics->properties = properties;
	metrics->property_count = kept;
	return 0;
}

/* A map of strings. @value is the struct squib_metrics. */
static int decode_properties(struct decoder *decoder, void *value)
{
	struct property_list list = { 0 };
	int c = json_peek_value(&decoder->reader);
	int r;

	if (c < 0)
		return c;
	if (c != '{')
		return json_wrong_type(&decoder->reader, "a map");
	r = json_object_begin(&decoder->reader);
	if (r < 0)
		return r;
	r = json_object_end(&decoder->reader, decode_property_list(decoder, &list));
	return r < 0 ? r : store_properties(decoder, &list, value);
}

static const struct type properties_type = { .kind = TYPE_CUSTOM, .decode = decode_properties };
static const struct field metrics_fields[] = {
	FIELD(squib_metrics, metrics_path, &path_type, FIELD_REQUIRED),
	FIELD(squib_metrics, emit_id, &bool_type, 0),
	{ .name = "properties", .type = &properties_type, .flags = FIELD_NULL, .offset = 0 },
};
const struct type metrics_type = STRUCT_TYPE(
	squib_metrics, "MetricsConfig", FIELDS(metrics_fields), .open = true);

/* PUT /mmds/config (2.12) */

static const struct enum_name mmds_versions[] = {
	{ "V1", SQUIB_MMDS_V1 },
	{ "V2", SQUIB_MMDS_V2 },
};
static const struct type mmds_version_type = ENUM_TYPE(mmds_versions);
static const struct squib_mmds_config mmds_config_defaults = {
	.version = SQUIB_MMDS_V1, .ipv4_address = { 169, 254, 169, 254 },
};
static const struct field mmds_config_fields[] = {
	FIELD(squib_mmds_config, version, &mmds_version_type, 0),
	LIST(squib_mmds_config, network_interfaces, network_interface_count, &string_type,
	     FIELD_REQUIRED),
	FIELD(squib_mmds_config, ipv4_address, &ipv4_type, FIELD_NULL),
	FIELD(squib_mmds_config, imds_compat, &bool_type, 0),
};
const struct type mmds_config_type = STRUCT_TYPE(
	squib_mmds_config, "MmdsConfig", FIELDS(mmds_config_fields),
	.defaults = &mmds_config_defaults);

/* PATCH /vm and snapshots (2.13) */

static const struct enum_name vm_states[] = {
	{ "Paused", SQUIB_VM_PAUSED },
	{ "Resumed", SQUIB_VM_RESUMED },
};
static const struct type vm_state_type = ENUM_TYPE(vm_states);
static const struct field vm_fields[] = {
	FIELD(squib_vm, state, &vm_state_type, FIELD_REQUIRED),
};
const struct type vm_type = STRUCT_TYPE(squib_vm, "Vm", FIELDS(vm_fields));

static const struct enum_name snapshot_types[] = {
	{ "Diff", SQUIB_SNAPSHOT_DIFF },
	{ "Full", SQUIB_SNAPSHOT_FULL },
};
static const struct type snapshot_kind_type = ENUM_TYPE(snapshot_types);
static const struct squib_snapshot_create snapshot_create_defaults = {
	.snapshot_type = SQUIB_SNAPSHOT_FULL,
};
static const struct field snapshot_create_fields[] = {
	FIELD(squib_snapshot_create, snapshot_type, &snapshot_kind_type, 0),
	FIELD(squib_snapshot_create, snapshot_path, &path_type, FIELD_REQUIRED),
	FIELD(squib_snapshot_create, mem_file_path, &path_type, FIELD_REQUIRED),
};
const struct type snapshot_create_type = STRUCT_TYPE(
	squib_snapshot_create, "CreateSnapshotParams", FIELDS(snapshot_create_fields),
	.defaults = &snapshot_create_defaults);

static const struct enum_name backend_types[] = {
	{ "File", SQUIB_MEM_BACKEND_FILE },
	{ "Uffd", SQUIB_MEM_BACKEND_UFFD },
};
static const struct type backend_type_type = ENUM_TYPE(backend_types);
static const struct field mem_backend_fields[] = {
	FIELD(mem_backend, backend_path, &path_type, FIELD_REQUIRED),
	FIELD(mem_backend, backend_type, &backend_type_type, FIELD_REQUIRED),
};
static const struct type mem_backend_type = STRUCT_TYPE(
	mem_backend, "MemBackendConfig", FIELDS(mem_backend_fields));
static const struct type mem_backend_pointer = POINTER_TYPE(&mem_backend_type);

static const struct field network_override_fields[] = {
	FIELD(squib_network_override, iface_id, &string_type, FIELD_REQUIRED),
	FIELD(squib_network_override, host_dev_name, &string_type, FIELD_REQUIRED),
};
static const struct type network_override_type = STRUCT_TYPE(
	squib_network_override, "NetworkOverride", FIELDS(network_override_fields), .open = true);

static const struct field vsock_override_fields[] = {
	FIELD(vsock_override, uds_path, &string_type, FIELD_REQUIRED),
};
static const struct type vsock_override_type = STRUCT_TYPE(
	vsock_override, "VsockOverride", FIELDS(vsock_override_fields), .open = true);
static const struct type vsock_override_pointer = POINTER_TYPE(&vsock_override_type);

static const struct enum_name snapshot_huge_pages_names[] = {
	{ "Snapshot", SQUIB_SNAPSHOT_HUGE_PAGES_SNAPSHOT },
	{ "None", SQUIB_SNAPSHOT_HUGE_PAGES_NONE },
	{ "Transparent", SQUIB_SNAPSHOT_HUGE_PAGES_TRANSPARENT },
	{ "2M", SQUIB_SNAPSHOT_HUGE_PAGES_2M },
};
static const struct type snapshot_huge_pages_type = ENUM_TYPE(snapshot_huge_pages_names);

#define LOAD_FIELD(member, field_type, field_flags) \
	FIELD_AS(#member, snapshot_load_body, load.member, field_type, field_flags)

static const struct field snapshot_load_fields[] = {
	LOAD_FIELD(snapshot_path, &path_type, FIELD_REQUIRED),
	FIELD(snapshot_load_body, mem_file_path, &path_type, FIELD_NULL),
	FIELD(snapshot_load_body, mem_backend, &mem_backend_pointer, FIELD_NULL),
	FIELD(snapshot_load_body, enable_diff_snapshots, &bool_type, 0),
	LOAD_FIELD(track_dirty_pages, &bool_type, 0),
	LOAD_FIELD(resume_vm, &bool_type, 0),
	LIST_AS("network_overrides", snapshot_load_body, load.network_overrides,
		load.network_override_count, &network_override_type, 0),
	FIELD(snapshot_load_body, vsock_override, &vsock_override_pointer, FIELD_NULL),
	LOAD_FIELD(clock_realtime, &bool_type, 0),
	LOAD_FIELD(huge_pages, &snapshot_huge_pages_type, 0),
};
const struct type snapshot_load_type = STRUCT_TYPE(
	snapshot_load_body, "LoadSnapshotConfig", FIELDS(snapshot_load_fields));

/* /hotplug/memory (2.14) */

/* Sizes are of 32 bits on the wire (contract 0.3), of 64 in memory. */
static const struct type u32_wide_type = {
	.kind = TYPE_UINT, .size = 8, .want = "u32", .max = UINT32_MAX,
};
static const struct squib_memory_hotplug memory_hotplug_defaults = {
	.block_size_mib = 2, .slot_size_mib = 128,
};
static const struct field memory_hotplug_fields[] = {
	FIELD(squib_memory_hotplug, total_size_mib, &u32_wide_type, FIELD_REQUIRED),
	FIELD(squib_memory_hotplug, block_size_mib, &u32_wide_type, 0),
	FIELD(squib_memory_hotplug, slot_size_mib, &u32_wide_type, 0),
};
const struct type memory_hotplug_type = STRUCT_TYPE(
	squib_memory_hotplug, "MemoryHotplugConfig", FIELDS(memory_hotplug_fields),
	.defaults = &memory_hotplug_defaults);

static const struct field memory_hotplug_update_fields[] = {
	FIELD(squib_memory_hotplug_update, requested_size_mib, &u32_wide_type, FIELD_REQUIRED),
};
const struct type memory_hotplug_update_type = STRUCT_TYPE(
	squib_memory_hotplug_update, "MemoryHotplugSizeUpdate",
	FIELDS(memory_hotplug_update_fields));
