/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A validated request on its way to the monitor.
 *
 * The API side decodes a request, checks everything that needs no host, and queues an action.
 * The monitor takes it from the queue (squib_controller_next()), does it, and answers exactly once
 * with one of the squib_action_ functions below, from any thread. The answer consumes the
 * caller's reference: the action must not be touched afterwards, unless squib_action_ref() was called.
 *
 * An action that is never answered meets its deadline: the client gets 504. Its late answer is
 * safe; it still updates the state that GET requests show, and nobody else sees it.
 */
#ifndef SQUIB_ACTION_H
#define SQUIB_ACTION_H

#include <squib/config.h>
#include <squib/export.h>

#ifdef __cplusplus
extern "C" {
#endif

enum squib_action_type {
	SQUIB_PUT_BOOT_SOURCE,
	SQUIB_PUT_MACHINE_CONFIG,
	SQUIB_PATCH_MACHINE_CONFIG,
	SQUIB_PUT_CPU_CONFIG,
	SQUIB_PUT_BALLOON,
	SQUIB_PATCH_BALLOON,
	SQUIB_PATCH_BALLOON_STATISTICS,
	SQUIB_GET_BALLOON_STATISTICS,
	SQUIB_BALLOON_HINTING_START,
	SQUIB_BALLOON_HINTING_STOP,
	SQUIB_BALLOON_HINTING_STATUS_PATCH,	/* PATCH: answered with 204 */
	SQUIB_GET_BALLOON_HINTING_STATUS,
	SQUIB_PUT_DRIVE,
	SQUIB_PATCH_DRIVE,
	SQUIB_DELETE_DRIVE,
	SQUIB_PUT_NETWORK_INTERFACE,
	SQUIB_PATCH_NETWORK_INTERFACE,
	SQUIB_DELETE_NETWORK_INTERFACE,
	SQUIB_PUT_PMEM,
	SQUIB_PATCH_PMEM,
	SQUIB_DELETE_PMEM,
	SQUIB_PUT_VSOCK,
	SQUIB_PUT_ENTROPY,
	SQUIB_PUT_SERIAL,
	SQUIB_PUT_LOGGER,
	SQUIB_PUT_METRICS,
	SQUIB_PUT_MMDS,
	SQUIB_PATCH_MMDS,
	SQUIB_PUT_MMDS_CONFIG,
	SQUIB_PUT_MEMORY_HOTPLUG,
	SQUIB_PATCH_MEMORY_HOTPLUG,
	SQUIB_INSTANCE_START,
	SQUIB_FLUSH_METRICS,
	SQUIB_SEND_CTRL_ALT_DEL,
	SQUIB_PATCH_VM,
	SQUIB_SNAPSHOT_CREATE,
	SQUIB_SNAPSHOT_LOAD,
	SQUIB_ACTION_TYPE_COUNT,
};

struct squib_action;

/** squib_action_type() - what is asked for. */
SQUIB_EXPORT enum squib_action_type squib_action_type(const struct squib_action *action);

/** squib_action_name() - "PUT /drives/rootfs" and the like, for a log; lives as long as @action. */
SQUIB_EXPORT const char *squib_action_name(const struct squib_action *action);

/**
 * squib_action_id() - the id in the path of a drive, network interface or pmem request
 *
 * Return: the id, or NULL for other requests. DELETE requests have an id and no config.
 */
SQUIB_EXPORT const char *squib_action_id(const struct squib_action *action);

/**
 * squib_action_machine() - the whole machine this action starts from
 *
 * For SQUIB_INSTANCE_START the machine to build, complete and consistent; NULL for other types.
 * Valid as long as a reference to @action is held.
 */
SQUIB_EXPORT const struct squib_machine *squib_action_machine(const struct squib_action *action);

/*
 * The typed body. Each may only be asked of an action of the matching type; the value lives as
 * long as a reference to the action is held.
 */
#define SQUIB_ACTION_CONFIGS(X) \
	X(boot_source, SQUIB_PUT_BOOT_SOURCE) \
	X(machine_config, SQUIB_PUT_MACHINE_CONFIG) \
	X(machine_config_update, SQUIB_PATCH_MACHINE_CONFIG) \
	X(cpu_config, SQUIB_PUT_CPU_CONFIG) \
	X(balloon, SQUIB_PUT_BALLOON) \
	X(balloon_update, SQUIB_PATCH_BALLOON) \
	X(balloon_stats_update, SQUIB_PATCH_BALLOON_STATISTICS) \
	X(balloon_hinting_start, SQUIB_BALLOON_HINTING_START) \
	X(drive, SQUIB_PUT_DRIVE) \
	X(drive_update, SQUIB_PATCH_DRIVE) \
	X(network_interface, SQUIB_PUT_NETWORK_INTERFACE) \
	X(network_interface_update, SQUIB_PATCH_NETWORK_INTERFACE) \
	X(pmem, SQUIB_PUT_PMEM) \
	X(pmem_update, SQUIB_PATCH_PMEM) \
	X(vsock, SQUIB_PUT_VSOCK) \
	X(entropy, SQUIB_PUT_ENTROPY) \
	X(serial, SQUIB_PUT_SERIAL) \
	X(logger, SQUIB_PUT_LOGGER) \
	X(metrics, SQUIB_PUT_METRICS) \
	X(mmds_data, SQUIB_PUT_MMDS) /* and SQUIB_PATCH_MMDS */ \
	X(mmds_config, SQUIB_PUT_MMDS_CONFIG) \
	X(memory_hotplug, SQUIB_PUT_MEMORY_HOTPLUG) \
	X(memory_hotplug_update, SQUIB_PATCH_MEMORY_HOTPLUG) \
	X(vm, SQUIB_PATCH_VM) \
	X(snapshot_create, SQUIB_SNAPSHOT_CREATE) \
	X(snapshot_load, SQUIB_SNAPSHOT_LOAD)

#define SQUIB_DECLARE_ACTION_CONFIG(name, type) \
	SQUIB_EXPORT const struct squib_##name *squib_action_##name(const struct squib_action *action);
SQUIB_ACTION_CONFIGS(SQUIB_DECLARE_ACTION_CONFIG)
#undef SQUIB_DECLARE_ACTION_CONFIG

/**
 * squib_action_ref() / squib_action_unref() - keep an action, and its config, beyond the answer
 *
 * Any thread. unref accepts NULL.
 */
SQUIB_EXPORT struct squib_action *squib_action_ref(struct squib_action *action);
SQUIB_EXPORT void squib_action_unref(struct squib_action *action);

/** squib_action_succeed() - 204. Consumes @action. Any thread. */
SQUIB_EXPORT void squib_action_succeed(struct squib_action *action);

/**
 * squib_action_fail() - 400 with @fault as the fault_message. Consumes @action. Any thread.
 * @fault: whole text, with its class prefix ("Drive config error: ..."); copied
 */
SQUIB_EXPORT void squib_action_fail(struct squib_action *action, const char *fault);

/**
 * squib_action_fail_lost() - as squib_action_fail(), and the resource of that id (or the single
 * resource of that kind) that was configured before is gone too (vsock, network interface).
 */
SQUIB_EXPORT void squib_action_fail_lost(struct squib_action *action, const char *fault);

#define SQUIB_BALLOON_STATS(X) \
	X(swap_in) X(swap_out) X(major_faults) X(minor_faults) X(free_memory) X(total_memory) \
	X(available_memory) X(disk_caches) X(hugetlb_allocations) X(hugetlb_failures) X(oom_kill) \
	X(alloc_stall) X(async_scan) X(direct_scan) X(async_reclaim) X(direct_reclaim)

struct squib_balloon_stats {
	uint64_t target_pages, actual_pages;	/* of 4 KiB */
	uint64_t target_mib, actual_mib;
	/* What the guest reported; has_x tells whether it did. */
#define SQUIB_BALLOON_STAT_FIELD(name) bool has_##name; uint64_t name;
	SQUIB_BALLOON_STATS(SQUIB_BALLOON_STAT_FIELD)
#undef SQUIB_BALLOON_STAT_FIELD
};

/** squib_action_succeed_balloon_stats() - 200, for SQUIB_GET_BALLOON_STATISTICS. Consumes @action. */
SQUIB_EXPORT void squib_action_succeed_balloon_stats(struct squib_action *action,
						     const struct squib_balloon_stats *stats);

struct squib_balloon_hinting_status {
	uint32_t host_cmd;
	bool has_guest_cmd;
	uint32_t guest_cmd;
};

/** squib_action_succeed_hinting_status() - 200, for SQUIB_GET_BALLOON_HINTING_STATUS. Consumes @action. */
SQUIB_EXPORT void squib_action_succeed_hinting_status(struct squib_action *action,
						      const struct squib_balloon_hinting_status *status);

#ifdef __cplusplus
}
#endif

#endif
