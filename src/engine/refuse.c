/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/refuse.h"

#include <errno.h>

int engine_refuse(struct fault *fault, const char *engine, const char *what, const char *kind,
		  const char *id)
{
	static const char text[] = "Internal error while starting microVM: the";

	if (id == NULL)
		return fault_set(fault, -ENOTSUP, "%s %s engine does not support %s yet", text,
				 engine, what);
	return fault_set(fault, -ENOTSUP, "%s %s engine does not support %s yet (%s %s)", text,
			 engine, what, kind, id);
}

int engine_refuse_devices(struct fault *fault, const char *engine,
			  const struct squib_machine *machine)
{
	if (machine->pmem_count > 0)
		return engine_refuse(fault, engine, "pmem devices", "pmem", machine->pmems[0]->id);
	if (machine->balloon != NULL)
		return engine_refuse(fault, engine, "balloon devices", NULL, NULL);
	if (machine->memory_hotplug != NULL)
		return engine_refuse(fault, engine, "memory hotplug", NULL, NULL);
	return 0;
}

int engine_refuse_count(struct fault *fault)
{
	return fault_set(fault, -ENOSPC, "Could not attach device: MMIO transport error: Could not "
			 "allocate GSI: The requested resource is not available.");
}
