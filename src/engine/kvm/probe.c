/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/probe.h"
#include <errno.h>
int kvm_probe(enum squib_arch arch, struct fault *reason)
{
	(void)arch;
	return fault_set(reason, -ENOTSUP, "not yet");
}
