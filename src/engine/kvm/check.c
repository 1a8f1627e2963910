/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/check.h"

#include "arch_constants.h"
#include "engine/device_set.h"
#include "engine/refuse.h"

int kvm_check(const struct squib_machine *machine, struct fault *fault)
{
	int r = engine_refuse_devices(fault, engine_kvm.name, machine);

	if (r == 0 && device_set_bound(machine) > ARCH_DEVICES_MAX)
		r = engine_refuse_count(fault);
	return r;
}
