/* SPDX-License-Identifier: Apache-2.0 */
#include "api/answers.h"

#include <assert.h>
#include <string.h>

static const char *wire_state(enum squib_phase phase)
{
	switch (phase) {
	case SQUIB_PHASE_RUNNING:
		return "Running";
	case SQUIB_PHASE_PAUSED:
		return "Paused";
	default:
		return "Not started";
	}
}

static void render_instance_info(const struct answer_state *state, struct buf *out)
{
	const char *version = state->options->vmm_version, *id = state->options->instance_id;

	buf_adds(out, "{\"id\":");
	buf_add_json_string(out, id, strlen(id));
	buf_addf(out, ",\"state\":\"%s\",\"vmm_version\":", wire_state(state->phase));
	buf_add_json_string(out, version, strlen(version));
	buf_adds(out, ",\"app_name\":\"Firecracker\"}");
}

static void render_version(const struct answer_state *state, struct buf *out)
{
	const char *version = state->options->firecracker_version;

	buf_adds(out, "{\"firecracker_version\":");
	buf_add_json_string(out, version, strlen(version));
	buf_addc(out, '}');
}

static int render_fault(struct buf *out, const char *fault)
{
	buf_reset(out);
	buf_adds(out, "{\"fault_message\":");
	buf_add_json_string(out, fault, strlen(fault));
	buf_addc(out, '}');
	return 400;
}

int answer_render(const struct answer_state *state, enum resource resource, struct buf *out)
{
	static const char no_device[] = "Internal VMM error: Failed perform action on device: "
					"Device not found";
	bool post_boot = phase_is_post_boot(state->phase);

	switch (resource) {
	case RESOURCE_INSTANCE_INFO:
		render_instance_info(state, out);
		break;
	case RESOURCE_VERSION:
		render_version(state, out);
		break;
	case RESOURCE_VM_CONFIG:
		machine_render_vm_config(state->machine, out);
		break;
	case RESOURCE_MACHINE_CONFIG:
		machine_render_machine_config(state->machine, out);
		break;
	case RESOURCE_BALLOON:
		if (!machine_render_balloon(state->machine, out))
			return render_fault(out, post_boot ? no_device : "Balloon config error: "
					    "No balloon device found.");
		break;
	case RESOURCE_MMDS:
		if (post_boot && !machine_has_mmds_interface(state->machine))
			return render_fault(out, "MMDS error: The MMDS data store is not initialized.");
		machine_render_mmds(state->machine, out);
		break;
	case RESOURCE_MEMORY_HOTPLUG:
		if (!machine_render_memory_hotplug(state->machine, out))
			return render_fault(out, post_boot ? no_device : ANSWER_PRE_BOOT);
		break;
	default:
		assert(false);
	}
	return 200;
}

unsigned int answers_changed_by(enum squib_action_type type)
{
	switch (type) {
	case SQUIB_PUT_MMDS:
	case SQUIB_PATCH_MMDS:
		return 1u << RESOURCE_MMDS;
	case SQUIB_PUT_LOGGER:
	case SQUIB_PUT_METRICS:
	case SQUIB_PUT_SERIAL:
	case SQUIB_FLUSH_METRICS:
	case SQUIB_SEND_CTRL_ALT_DEL:
	case SQUIB_GET_BALLOON_STATISTICS:
	case SQUIB_GET_BALLOON_HINTING_STATUS:
		return 0;
	case SQUIB_PUT_MACHINE_CONFIG:
	case SQUIB_PATCH_MACHINE_CONFIG:
	case SQUIB_PUT_CPU_CONFIG:
		return 1u << RESOURCE_VM_CONFIG | 1u << RESOURCE_MACHINE_CONFIG;
	case SQUIB_PUT_BOOT_SOURCE:
	case SQUIB_PUT_DRIVE:
	case SQUIB_PATCH_DRIVE:
	case SQUIB_DELETE_DRIVE:
		return 1u << RESOURCE_VM_CONFIG;
	default:
		return ANSWERS_ALL & ~(1u << RESOURCE_VERSION);
	}
}
