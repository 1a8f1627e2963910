/* SPDX-License-Identifier: Apache-2.0 */
/* What the contract says of each action type (2.0, 5), as tables indexed by the type. */
#ifndef SQUIB_API_ACTION_TABLE_H
#define SQUIB_API_ACTION_TABLE_H

#include <squib/action.h>

enum action_phase {
	ACTION_ANY_PHASE,
	ACTION_PRE_BOOT,
	ACTION_POST_BOOT,
};

/* Deadlines go by class. */
enum action_class {
	ACTION_CLASS_CONFIG,
	ACTION_CLASS_INSTANCE_START,
	ACTION_CLASS_SNAPSHOT_CREATE,
	ACTION_CLASS_SNAPSHOT_LOAD,
	ACTION_CLASS_STATE_CHANGE,
	ACTION_CLASS_BALLOON_RESIZE,
	ACTION_CLASS_OTHER,
	ACTION_CLASS_COUNT,
};

extern const char *const action_names[SQUIB_ACTION_TYPE_COUNT];
extern const unsigned char action_phases[SQUIB_ACTION_TYPE_COUNT];	/* enum action_phase */
extern const unsigned char action_classes[SQUIB_ACTION_TYPE_COUNT];	/* enum action_class */
extern const char *const action_class_labels[ACTION_CLASS_COUNT];	/* in a 504 */

#endif
