/* SPDX-License-Identifier: Apache-2.0 */
/* Refusals that engines share: what is in a machine and cannot be given. */
#ifndef SQUIB_ENGINE_REFUSE_H
#define SQUIB_ENGINE_REFUSE_H

#include <squib/config.h>

#include "base/fault.h"

/**
 * engine_refuse() - "Internal error while starting microVM: the ‹engine› engine does not support ‹what› yet"
 * @kind, @id: which device, appended as " (‹kind› ‹id›)"; NULL: there is only one
 *
 * Return: -ENOTSUP.
 */
int engine_refuse(struct fault *fault, const char *engine, const char *what, const char *kind,
		  const char *id);

/** engine_refuse_devices() - kinds of devices that no engine has yet; 0 when there is none of them */
int engine_refuse_devices(struct fault *fault, const char *engine,
			  const struct squib_machine *machine);

/** engine_refuse_count() - the fault for more devices than the machine has places; -ENOSPC */
int engine_refuse_count(struct fault *fault);

#endif
