/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM engine where the host's architecture has none yet: the probe says so, and nothing is made. */
#include <errno.h>

#include "engine/engine.h"
#include "engine/kvm/probe.h"

static int absent_probe(enum squib_arch arch, struct fault *reason)
{
	return kvm_probe(arch, reason);
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.probe = absent_probe,
};
