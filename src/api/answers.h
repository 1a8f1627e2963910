/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of GET answers (contract 2, 3 and 12.1), and which of them an action changes. */
#ifndef SQUIB_API_ANSWERS_H
#define SQUIB_API_ANSWERS_H

#include <squib/controller.h>

#include "api/route.h"
#include "base/buf.h"
#include "config/machine.h"

#define ANSWER_PRE_BOOT "The requested operation is not supported before starting the microVM."

/* Sets of resources, as bits. */
#define ANSWERS_ALL ((1u << RESOURCE_MIRROR_COUNT) - 1)
/* What a new phase changes. */
#define ANSWERS_OF_PHASE (1u << RESOURCE_INSTANCE_INFO | 1u << RESOURCE_BALLOON | \
			  1u << RESOURCE_MMDS | 1u << RESOURCE_MEMORY_HOTPLUG)

/* What answers are made from. */
struct answer_state {
	const struct squib_controller_options *options;
	enum squib_phase phase;
	const struct machine *machine;
};

/** answer_render() - append the body of GET @resource to the empty @out; the status, 200 or 400 */
int answer_render(const struct answer_state *state, enum resource resource, struct buf *out);

/** answers_changed_by() - the resources whose answers an action of @type changes */
unsigned int answers_changed_by(enum squib_action_type type);

static inline bool phase_is_post_boot(enum squib_phase phase)
{
	return phase == SQUIB_PHASE_RUNNING || phase == SQUIB_PHASE_PAUSED;
}

#endif
