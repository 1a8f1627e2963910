/* SPDX-License-Identifier: Apache-2.0 */
/* An action as an object: made from a decoded config, counted references, what it is asked about. */
#include <squib/action.h>

#include "api/controller_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/action_table.h"

int action_new(struct squib_controller *controller, enum squib_action_type type,
	       struct arena *arena, const char *id, size_t id_len, const void *config,
	       struct squib_action **ret_action)
{
	struct squib_action *action = calloc(1, sizeof(*action));
	const char *name = action_names[type];
	char *full;

	if (action == NULL)
		return -ENOMEM;
	action->name = name;
	if (id != NULL) {
		action->id = arena_memdup(arena, id, id_len);
		full = arena_alloc(arena, strlen(name) + 1 + id_len + 1);
		if (action->id == NULL || full == NULL) {
			free(action);
			return -ENOMEM;
		}
		sprintf(full, "%s/%s", name, action->id);
		action->name = full;
	}
	atomic_init(&action->refs, 1);
	action->arena = arena_ref(arena);
	action->type = type;
	action->config = config;
	action->controller = controller_ref(controller);
	*ret_action = action;
	return 0;
}

struct squib_action *squib_action_ref(struct squib_action *action)
{
	atomic_fetch_add_explicit(&action->refs, 1, memory_order_relaxed);
	return action;
}

void squib_action_unref(struct squib_action *action)
{
	if (action == NULL ||
	    atomic_fetch_sub_explicit(&action->refs, 1, memory_order_acq_rel) != 1)
		return;
	controller_unref(action->controller);
	arena_unref(action->arena);
	free(action->outcome.body);
	free(action);
}

enum squib_action_type squib_action_type(const struct squib_action *action)
{
	return action->type;
}

const char *squib_action_name(const struct squib_action *action)
{
	return action->name;
}

const char *squib_action_id(const struct squib_action *action)
{
	return action->id;
}

const struct squib_machine *squib_action_machine(const struct squib_action *action)
{
	return action->machine;
}

static bool action_has_config(const struct squib_action *action, enum squib_action_type type)
{
	if (action->type == SQUIB_PATCH_MMDS)
		return type == SQUIB_PUT_MMDS;
	return action->type == type;
}

#define DEFINE_ACTION_CONFIG(name, type) \
	const struct squib_##name *squib_action_##name(const struct squib_action *action) \
	{ \
		assert(action_has_config(action, type)); \
		return action->config; \
	}
SQUIB_ACTION_CONFIGS(DEFINE_ACTION_CONFIG)
