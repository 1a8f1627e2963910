/* SPDX-License-Identifier: Apache-2.0 */
#include "api/action_table.h"

#include <assert.h>

#include "base/util.h"

/* name, phase, class */
#define ACTIONS(X) \
	X(PUT_BOOT_SOURCE, "PUT /boot-source", PRE_BOOT, CONFIG) \
	X(PUT_MACHINE_CONFIG, "PUT /machine-config", PRE_BOOT, CONFIG) \
	X(PATCH_MACHINE_CONFIG, "PATCH /machine-config", PRE_BOOT, CONFIG) \
	X(PUT_CPU_CONFIG, "PUT /cpu-config", PRE_BOOT, CONFIG) \
	X(PUT_BALLOON, "PUT /balloon", PRE_BOOT, CONFIG) \
	X(PATCH_BALLOON, "PATCH /balloon", POST_BOOT, BALLOON_RESIZE) \
	X(PATCH_BALLOON_STATISTICS, "PATCH /balloon/statistics", POST_BOOT, CONFIG) \
	X(GET_BALLOON_STATISTICS, "GET /balloon/statistics", POST_BOOT, OTHER) \
	X(BALLOON_HINTING_START, "PATCH /balloon/hinting/start", POST_BOOT, CONFIG) \
	X(BALLOON_HINTING_STOP, "PATCH /balloon/hinting/stop", POST_BOOT, CONFIG) \
	X(BALLOON_HINTING_STATUS_PATCH, "PATCH /balloon/hinting/status", POST_BOOT, CONFIG) \
	X(GET_BALLOON_HINTING_STATUS, "GET /balloon/hinting/status", POST_BOOT, OTHER) \
	X(PUT_DRIVE, "PUT /drives", ANY_PHASE, CONFIG) \
	X(PATCH_DRIVE, "PATCH /drives", POST_BOOT, CONFIG) \
	X(DELETE_DRIVE, "DELETE /drives", POST_BOOT, CONFIG) \
	X(PUT_NETWORK_INTERFACE, "PUT /network-interfaces", ANY_PHASE, CONFIG) \
	X(PATCH_NETWORK_INTERFACE, "PATCH /network-interfaces", POST_BOOT, CONFIG) \
	X(DELETE_NETWORK_INTERFACE, "DELETE /network-interfaces", POST_BOOT, CONFIG) \
	X(PUT_PMEM, "PUT /pmem", ANY_PHASE, CONFIG) \
	X(PATCH_PMEM, "PATCH /pmem", POST_BOOT, CONFIG) \
	X(DELETE_PMEM, "DELETE /pmem", POST_BOOT, CONFIG) \
	X(PUT_VSOCK, "PUT /vsock", PRE_BOOT, CONFIG) \
	X(PUT_ENTROPY, "PUT /entropy", PRE_BOOT, CONFIG) \
	X(PUT_SERIAL, "PUT /serial", PRE_BOOT, CONFIG) \
	X(PUT_LOGGER, "PUT /logger", PRE_BOOT, CONFIG) \
	X(PUT_METRICS, "PUT /metrics", PRE_BOOT, CONFIG) \
	X(PUT_MMDS, "PUT /mmds", ANY_PHASE, CONFIG) \
	X(PATCH_MMDS, "PATCH /mmds", ANY_PHASE, CONFIG) \
	X(PUT_MMDS_CONFIG, "PUT /mmds/config", PRE_BOOT, CONFIG) \
	X(PUT_MEMORY_HOTPLUG, "PUT /hotplug/memory", PRE_BOOT, CONFIG) \
	X(PATCH_MEMORY_HOTPLUG, "PATCH /hotplug/memory", POST_BOOT, CONFIG) \
	X(INSTANCE_START, "PUT /actions InstanceStart", PRE_BOOT, INSTANCE_START) \
	X(FLUSH_METRICS, "PUT /actions FlushMetrics", POST_BOOT, OTHER) \
	X(SEND_CTRL_ALT_DEL, "PUT /actions SendCtrlAltDel", POST_BOOT, OTHER) \
	X(PATCH_VM, "PATCH /vm", POST_BOOT, STATE_CHANGE) \
	X(SNAPSHOT_CREATE, "PUT /snapshot/create", POST_BOOT, SNAPSHOT_CREATE) \
	X(SNAPSHOT_LOAD, "PUT /snapshot/load", PRE_BOOT, SNAPSHOT_LOAD)

#define NAME(type, name, phase, class) [SQUIB_##type] = name,
#define PHASE(type, name, phase, class) [SQUIB_##type] = ACTION_##phase,
#define CLASS(type, name, phase, class) [SQUIB_##type] = ACTION_CLASS_##class,
#define COUNT(type, name, phase, class) + 1

const char *const action_names[] = { ACTIONS(NAME) };
const unsigned char action_phases[] = { ACTIONS(PHASE) };
const unsigned char action_classes[] = { ACTIONS(CLASS) };
static_assert(0 ACTIONS(COUNT) == SQUIB_ACTION_TYPE_COUNT, "an action type is missing here");

const char *const action_class_labels[] = {
	[ACTION_CLASS_CONFIG] = "pre-boot config",
	[ACTION_CLASS_INSTANCE_START] = "InstanceStart",
	[ACTION_CLASS_SNAPSHOT_CREATE] = "PUT /snapshot/create",
	[ACTION_CLASS_SNAPSHOT_LOAD] = "PUT /snapshot/load",
	[ACTION_CLASS_STATE_CHANGE] = "PATCH /vm",
	[ACTION_CLASS_BALLOON_RESIZE] = "PATCH /balloon",
	[ACTION_CLASS_OTHER] = "VMM action",
};
static_assert(ARRAY_SIZE(action_class_labels) == ACTION_CLASS_COUNT, "a class has no label");
