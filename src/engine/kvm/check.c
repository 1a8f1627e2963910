/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/check.h"

#include "arch_constants.h"
#include "engine/refuse.h"

int kvm_check(const struct squib_machine *machine, struct fault *fault)
{
	size_t count = machine->drive_count + (machine->entropy != NULL ? 1 : 0);
	int r = engine_refuse_devices(fault, engine_kvm.name, machine);

	if (r < 0)
		return r;
	return count > ARCH_DEVICES_MAX ? engine_refuse_count(fault) : 0;
}
