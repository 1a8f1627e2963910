/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the type of a request to the table of its body, and what a table cannot say: the rules
 * that upstream applies after its decoder. Their faults have no position.
 */
#include "config/decode.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "config/bodies.h"
#include "config/decode_internal.h"

int decode_document(const struct type *type, enum squib_arch arch, const char *json, size_t len,
		    struct arena *arena, void **ret_value, struct fault *fault)
{
	struct decoder decoder = { .arena = arena, .arch = arch };
	void *value = arena_alloc(arena, type->size);
	int r = -ENOMEM;

	json_reader_init(&decoder.reader, json, len, fault);
	if (value != NULL)
		r = decode_value(&decoder, type, value);
	if (r == 0)
		r = json_reader_end(&decoder.reader);
	json_reader_done(&decoder.reader);
	if (r == -ENOMEM)
		return fault_set(fault, r, "out of memory");
	if (r == 0)
		*ret_value = value;
	return r;
}

/* The width of an Arm register is part of its number: log2 of its bytes (KVM_REG_SIZE_MASK). */
static unsigned int arm_register_bits(uint64_t addr)
{
	return 8u << (addr >> 52 & 0xf);
}

static bool bitmap_fits(const struct squib_bitmap *bitmap, unsigned int bits)
{
	/* value has no bits that filter lacks */
	if (bits == 32)
		return bitmap->filter[1] == 0 && bitmap->filter[0] <= UINT32_MAX;
	return bits == 128 || bitmap->filter[1] == 0;
}

int cpu_config_check(const struct squib_cpu_config *config, struct fault *fault)
{
	for (size_t i = 0; i < config->reg_modifier_count; i++) {
		const struct squib_register_modifier *modifier = &config->reg_modifiers[i];
		unsigned int bits = arm_register_bits(modifier->addr);

		if (bits != 32 && bits != 64 && bits != 128)
			return fault_set(fault, -EINVAL,
					 "Invalid aarch64 register address: 0x%" PRIx64
					 " - Only 32, 64 and 128 bit wide registers are supported",
					 modifier->addr);
		if (!bitmap_fits(&modifier->bitmap, bits))
			return fault_set(fault, -EINVAL,
					 "Invalid size of bitmap for register 0x%" PRIx64
					 ", should be <= %u bits",
					 modifier->addr, bits);
	}
	return 0;
}

/* The deprecated ways to say where memory is and that pages are tracked, folded in. */
static int finish_snapshot_load(struct snapshot_load_body *body, struct fault *fault)
{
	struct squib_snapshot_load *load = &body->load;

	if (body->mem_backend != NULL && body->mem_file_path != NULL)
		return fault_set(fault, -EINVAL,
				 "too many fields: either `mem_backend` or `mem_file_path` exclusively is required");
	if (body->mem_backend == NULL && body->mem_file_path == NULL)
		return fault_set(fault, -EINVAL,
				 "missing field: either `mem_backend` or `mem_file_path` is required");
	load->backend_type = SQUIB_MEM_BACKEND_FILE;
	load->backend_path = body->mem_file_path;
	if (body->mem_backend != NULL) {
		load->backend_type = body->mem_backend->backend_type;
		load->backend_path = body->mem_backend->backend_path;
	}
	load->deprecated_fields = body->mem_file_path != NULL || body->enable_diff_snapshots;
	load->track_dirty_pages |= body->enable_diff_snapshots;
	if (body->vsock_override != NULL)
		load->vsock_override_uds_path = body->vsock_override->uds_path;
	return 0;
}

static int decode_snapshot_load(enum squib_arch arch, const char *json, size_t len,
				struct arena *arena, const void **ret_config, struct fault *fault)
{
	void *value;
	struct snapshot_load_body *body;
	int r = decode_document(&snapshot_load_type, arch, json, len, arena, &value, fault);

	if (r < 0)
		return r;
	body = value;
	r = finish_snapshot_load(body, fault);
	if (r == 0)
		*ret_config = &body->load;
	return r;
}

static int decode_cpu_config(enum squib_arch arch, const char *json, size_t len,
			     struct arena *arena, const void **ret_config, struct fault *fault)
{
	void *value;
	int r = decode_document(&cpu_config_type, arch, json, len, arena, &value, fault);

	if (r == 0)
		r = cpu_config_check(value, fault);
	if (r == 0)
		*ret_config = value;
	return r;
}

/* Metadata is any JSON: checked here, and kept as it came. */
static int check_json(struct decoder *decoder, void *value)
{
	(void)value;
	return json_check(&decoder->reader);
}

static int decode_mmds_data(enum squib_arch arch, const char *json, size_t len,
			    struct arena *arena, const void **ret_config, struct fault *fault)
{
	static const struct type any_type = {
		.kind = TYPE_CUSTOM, .size = sizeof(struct squib_mmds_data), .decode = check_json,
	};
	struct squib_mmds_data *data;
	void *value;
	int r = decode_document(&any_type, arch, json, len, arena, &value, fault);

	if (r < 0)
		return r;
	data = value;
	data->body = arena_memdup(arena, json, len);
	data->body_len = len;
	if (data->body == NULL)
		return fault_set(fault, -ENOMEM, "out of memory");
	*ret_config = data;
	return 0;
}

static const struct type *const body_types[SQUIB_ACTION_TYPE_COUNT] = {
	[SQUIB_PUT_BOOT_SOURCE] = &boot_source_type,
	[SQUIB_PUT_MACHINE_CONFIG] = &machine_config_type,
	[SQUIB_PATCH_MACHINE_CONFIG] = &machine_config_update_type,
	[SQUIB_PUT_BALLOON] = &balloon_type,
	[SQUIB_PATCH_BALLOON] = &balloon_update_type,
	[SQUIB_PATCH_BALLOON_STATISTICS] = &balloon_stats_update_type,
	[SQUIB_BALLOON_HINTING_START] = &balloon_hinting_start_type,
	[SQUIB_PUT_DRIVE] = &drive_type,
	[SQUIB_PATCH_DRIVE] = &drive_update_type,
	[SQUIB_PUT_NETWORK_INTERFACE] = &network_interface_type,
	[SQUIB_PATCH_NETWORK_INTERFACE] = &network_interface_update_type,
	[SQUIB_PUT_PMEM] = &pmem_type,
	[SQUIB_PATCH_PMEM] = &pmem_update_type,
	[SQUIB_PUT_VSOCK] = &vsock_type,
	[SQUIB_PUT_ENTROPY] = &entropy_type,
	[SQUIB_PUT_SERIAL] = &serial_type,
	[SQUIB_PUT_LOGGER] = &logger_type,
	[SQUIB_PUT_METRICS] = &metrics_type,
	[SQUIB_PUT_MMDS_CONFIG] = &mmds_config_type,
	[SQUIB_PUT_MEMORY_HOTPLUG] = &memory_hotplug_type,
	[SQUIB_PATCH_MEMORY_HOTPLUG] = &memory_hotplug_update_type,
	[SQUIB_INSTANCE_START] = &action_info_type,
	[SQUIB_FLUSH_METRICS] = &action_info_type,
	[SQUIB_SEND_CTRL_ALT_DEL] = &action_info_type,
	[SQUIB_PATCH_VM] = &vm_type,
	[SQUIB_SNAPSHOT_CREATE] = &snapshot_create_type,
};

int config_decode(enum squib_action_type type, enum squib_arch arch, const char *json, size_t len,
		  struct arena *arena, const void **ret_config, struct fault *fault)
{
	void *value = NULL;
	int r;

	if (type == SQUIB_PUT_CPU_CONFIG)
		return decode_cpu_config(arch, json, len, arena, ret_config, fault);
	if (type == SQUIB_SNAPSHOT_LOAD)
		return decode_snapshot_load(arch, json, len, arena, ret_config, fault);
	if (type == SQUIB_PUT_MMDS || type == SQUIB_PATCH_MMDS)
		return decode_mmds_data(arch, json, len, arena, ret_config, fault);
	if (type == SQUIB_BALLOON_HINTING_START && len == 0) {
		json = "{}";
		len = 2;
	}
	assert(type < SQUIB_ACTION_TYPE_COUNT && body_types[type] != NULL);
	r = decode_document(body_types[type], arch, json, len, arena, &value, fault);
	if (r == 0)
		*ret_config = value;
	return r;
}

int config_fault_to_api(struct fault *fault)
{
	return fault_set(fault, fault->error,
			 "An error occurred when deserializing the json body of a request: %s.",
			 fault_text(fault));
}

const char *config_deprecation(enum squib_action_type type, const void *config)
{
	switch (type) {
	case SQUIB_PUT_MACHINE_CONFIG:
		if (((const struct squib_machine_config *)config)->has_cpu_template)
			return "PUT /machine-config: cpu_template field is deprecated.";
		return NULL;
	case SQUIB_PATCH_MACHINE_CONFIG:
		if (((const struct squib_machine_config_update *)config)->cpu_template != NULL)
			return "PATCH /machine-config: cpu_template field is deprecated.";
		return NULL;
	case SQUIB_PUT_VSOCK:
		if (((const struct squib_vsock *)config)->vsock_id != NULL)
			return "PUT /vsock: vsock_id field is deprecated.";
		return NULL;
	case SQUIB_PUT_MMDS_CONFIG:
		if (((const struct squib_mmds_config *)config)->version == SQUIB_MMDS_V1)
			return "PUT /mmds/config: V1 is deprecated. Use V2 instead.";
		return NULL;
	case SQUIB_SNAPSHOT_LOAD:
		if (((const struct squib_snapshot_load *)config)->deprecated_fields)
			return "PUT /snapshot/load: mem_file_path and enable_diff_snapshots fields are deprecated.";
		return NULL;
	default:
		return NULL;
	}
}

bool config_id_is_valid(const char *id, size_t len)
{
	if (len == 0 || len > 64)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = id[i];

		if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_')
			return false;
	}
	return true;
}
