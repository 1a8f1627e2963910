/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of contract section 2, one for every body. */
#ifndef SQUIB_CONFIG_BODIES_H
#define SQUIB_CONFIG_BODIES_H

#include <squib/action.h>

#include "config/schema.h"

/* What PUT /snapshot/load says, before the deprecated fields are folded in. */
struct mem_backend {
	const char *backend_path;
	enum squib_mem_backend_type backend_type;
};

struct vsock_override {
	const char *uds_path;
};

struct snapshot_load_body {
	struct squib_snapshot_load load;
	const char *mem_file_path;
	const struct mem_backend *mem_backend;
	bool enable_diff_snapshots;
	const struct vsock_override *vsock_override;
};

extern const struct type action_info_type, boot_source_type, machine_config_type,
	machine_config_update_type, cpu_config_type, balloon_type, balloon_update_type,
	balloon_stats_update_type, balloon_hinting_start_type, drive_type, drive_update_type,
	network_interface_type, network_interface_update_type, pmem_type, pmem_update_type,
	vsock_type, entropy_type, serial_type, logger_type, metrics_type, mmds_config_type, vm_type,
	snapshot_create_type, snapshot_load_type, memory_hotplug_type, memory_hotplug_update_type;

/* cpu_config_type is chosen by architecture; these are the structs themselves. */
extern const struct type cpu_config_x86_type, cpu_config_arm_type;

#endif
